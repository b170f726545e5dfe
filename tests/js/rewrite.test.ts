import { describe, expect, it } from "vitest";
import { asText, withLateCoders, withMutePanics, withShortNames } from "../../js/rewrite.mjs";
import { bytesOf } from "../../js/text.ts";

describe("asText()", () => {
  it("writes every byte so that bytesOf() reads it", () => {
    const bytes = Uint8Array.from({ length: 512 }, (_, i) => (i < 256 ? i : 511 - i));
    expect(bytesOf(asText(bytes))).toEqual(bytes);
  });

  it("takes one character for a byte below 90, two for the others", () => {
    expect(asText([0, 25, 57, 89])).toBe("# !|");
    expect(asText([90, 179, 180, 255])).toBe("}#}|~#~n");
  });
});

describe("withMutePanics()", () => {
  /** Exports functions of these names, each of which returns its number; the first one is imported. */
  function module(names: string[]): Buffer<ArrayBuffer> {
    const text = (name: string): number[] => [name.length, ...Buffer.from(name)];
    const section = (id: number, content: number[]): number[] => [id, content.length, ...content];
    const own = names.slice(1);
    const named = names.flatMap((name, i) => [i, ...text(name)]);
    return Buffer.from([
      ...[0, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
      ...section(1, [1, 0x60, 0, 1, 0x7f]),
      ...section(2, [1, ...text("a"), ...text("b"), 0, 0]),
      ...section(3, [own.length, ...own.map(() => 0)]),
      ...section(7, [own.length, ...own.flatMap((_, i) => [...text(`f${i + 1}`), 0, i + 1])]),
      ...section(10, [own.length, ...own.flatMap((_, i) => [4, 0, 0x41, i + 1, 0x0b])]),
      ...section(0, [...text("name"), ...section(1, [names.length, ...named])]),
    ]);
  }

  const calls = (wasm: Buffer<ArrayBuffer>): (() => number)[] => {
    const { exports } = new WebAssembly.Instance(new WebAssembly.Module(wasm), { a: { b: () => 0 } });
    return Object.values(exports) as (() => number)[];
  };

  it("lets panics trap, and everything else do what it did", () => {
    const names = ["core::panicking::imported", "service::end", "core[1f]::panicking::panic_fmt", "begin"];
    const [end, panic, begin] = calls(withMutePanics(module(names)));
    expect([end?.(), begin?.()]).toEqual([1, 3]);
    expect(panic).toThrow(WebAssembly.RuntimeError);
  });

  it.each([
    "core::cell::panic_already_borrowed",
    "<core[c5930c85a12de822]::fmt::Formatter>::pad",
    "alloc[3ca501edff3f0c7c]::raw_vec::handle_error",
    "alloc::alloc::handle_alloc_error",
  ])("knows %s", (name) => {
    expect(calls(withMutePanics(module(["import", name])))[0]).toThrow(WebAssembly.RuntimeError);
  });

  it("forgets where in the sources something may panic", () => {
    const files = [
      `/rustc/${"5a".repeat(20)}/library/core/src/cell/once.rs`,
      "index.crates.io-1949cf8c6b5b557f/js-sys-0.3.107/src/futures/queue.rs",
      "src/wasm/alarm.rs",
    ];
    const content = Buffer.from(`\u0004data${files.map((file) => `${file}\0`).join("")}kept.rs`);
    const wasm = Buffer.concat([
      module(["import", "core::panicking::panic"]),
      Buffer.of(0, 0x80 + (content.length % 128), content.length >> 7),
      content,
    ]);
    const [told] = WebAssembly.Module.customSections(new WebAssembly.Module(withMutePanics(wasm)), "data");
    expect(Buffer.from(told ?? new ArrayBuffer(0)).toString()).toMatch(/^\0+kept\.rs$/);
  });

  it("fails when no function has the name of a panic", () => {
    expect(() => withMutePanics(module(["import", "begin"]))).toThrow("panic");
  });
});

describe("withShortNames()", () => {
  /** Imports a function of each of these names from "./core_bg.js", and exports the first one under each of those. */
  function module(imports: string[], exports: string[]): Buffer {
    const text = (name: string): number[] => [name.length, ...Buffer.from(name)];
    const section = (id: number, content: number[]): number[] => {
      const { length } = content;
      return [id, ...(length < 128 ? [length] : [(length % 128) + 128, length >> 7]), ...content];
    };
    return Buffer.from([
      ...[0, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
      ...section(1, [1, 0x60, 0, 1, 0x7f]),
      ...section(2, [
        imports.length,
        ...imports.flatMap((name) => [...text("./core_bg.js"), ...text(name), 0, 0]),
      ]),
      ...section(7, [exports.length, ...exports.flatMap((name) => [...text(name), 0, 0])]),
    ]);
  }

  const hash = (digit: number): string => `_${String(digit).repeat(16)}`;
  const imports = [`__wbg_get${hash(1)}`, `__wbg_get${hash(2)}`, `__wbg___wbindgen_throw${hash(3)}`, "get3"];

  it("takes letters for imports and for what is exported to the glue alone, in a module and in its glue alike, and lets it work", () => {
    const exported = `invoke__h${"a".repeat(16)}`;
    const keys = imports.map((name, i) => `  ${name}: () => ${i},\n`);
    const made = withShortNames({
      wasm: module(imports, [exported]),
      glue: `{\n${keys.join("")}}\n{\n  "./core_bg.js": import0,\n}\nwasm.${exported}() + get3`,
    });
    expect(made.glue).toBe(
      "{\n  b: () => 0,\n  c: () => 1,\n  d: () => 2,\n  e: () => 3,\n}\n{\n  a: import0,\n}\nwasm._a() + get3",
    );
    expect(made.letters).toEqual({ b: "get", c: "get2", d: "wbindgen_throw", e: "get3" });
    const compiled = new WebAssembly.Module(made.wasm);
    const told = WebAssembly.Module.imports(compiled).map(({ module, name }) => `${module}.${name}`);
    expect(told).toEqual(["a.b", "a.c", "a.d", "a.e"]);
    const get = (): number => 7;
    const { exports } = new WebAssembly.Instance(compiled, { a: { b: get, c: get, d: get, e: get } });
    expect((exports._a as () => number)()).toBe(7);
  });

  it("gives each of a hundred imports a name of its own", () => {
    const many = Array.from({ length: 100 }, (_, i) => `get_${i}_`);
    const glue = ["./core_bg.js", ...many].map((name) => `  "${name}": 0,\n`).join("");
    const compiled = new WebAssembly.Module(withShortNames({ wasm: module(many, ["run"]), glue }).wasm);
    expect(new Set(WebAssembly.Module.imports(compiled).map(({ name }) => name)).size).toBe(100);
  });

  it("leaves the names of ours, of what is no function, and of what starts the module", () => {
    const names = ["begin", "begin_in", "__wbindgen_start", "__wbindgen_malloc"];
    const glue = `  "./core_bg.js": 0,\n  get: 0,\n${names.map((name) => `wasm.${name}`).join()}`;
    const made = withShortNames({ wasm: module(["get"], names), glue });
    expect(made.glue).toBe("  a: 0,\n  b: 0,\nwasm.begin,wasm.begin_in,wasm.__wbindgen_start,wasm._a");
    const told = WebAssembly.Module.exports(new WebAssembly.Module(made.wasm)).map(({ name }) => name);
    expect(told).toEqual(["begin", "begin_in", "__wbindgen_start", "_a"]);
  });

  it("fails when the glue does not serve an import as it knows it", () => {
    const wasm = module(["get"], ["run"]);
    expect(() => withShortNames({ wasm, glue: '  "./core_bg.js": 0,\n' })).toThrow("serves get");
  });
});

it("withLateCoders() fails when the glue is not as it knows it, instead of leaving it as it is", () => {
  expect(() => withLateCoders("let cachedTextDecoder = null;\n")).toThrow("coders");
});
