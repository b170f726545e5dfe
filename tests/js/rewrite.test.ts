import { describe, expect, it } from "vitest";
import { asText, withLateCoders, withShortNames } from "../../js/rewrite.mjs";
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

  it("takes letters for imports and no hash for exports, in a module and in its glue alike, and lets it work", () => {
    const exported = `invoke__h${"a".repeat(16)}`;
    const keys = imports.map((name, i) => `  ${name}: () => ${i},\n`);
    const made = withShortNames({
      wasm: module(imports, [exported]),
      glue: `{\n${keys.join("")}}\n{\n  "./core_bg.js": import0,\n}\nwasm.${exported}() + get3`,
    });
    expect(made.glue).toBe(
      "{\n  b: () => 0,\n  c: () => 1,\n  d: () => 2,\n  e: () => 3,\n}\n{\n  a: import0,\n}\nwasm.invoke() + get3",
    );
    const compiled = new WebAssembly.Module(made.wasm);
    const told = WebAssembly.Module.imports(compiled).map(({ module, name }) => `${module}.${name}`);
    expect(told).toEqual(["a.b", "a.c", "a.d", "a.e"]);
    const get = (): number => 7;
    const { exports } = new WebAssembly.Instance(compiled, { a: { b: get, c: get, d: get, e: get } });
    expect((exports.invoke as () => number)()).toBe(7);
  });

  it("gives each of a hundred imports a name of its own", () => {
    const many = Array.from({ length: 100 }, (_, i) => `get_${i}_`);
    const glue = ["./core_bg.js", ...many].map((name) => `  "${name}": 0,\n`).join("");
    const compiled = new WebAssembly.Module(withShortNames({ wasm: module(many, ["run"]), glue }).wasm);
    expect(new Set(WebAssembly.Module.imports(compiled).map(({ name }) => name)).size).toBe(100);
  });

  it("never gives an export a name that is taken already", () => {
    const exported = `run__h${"1".repeat(16)}`;
    const glue = `  "./core_bg.js": 0,\n  get: 0,\nwasm.${exported}, wasm.run`;
    const made = withShortNames({ wasm: module(["get"], [exported, "run"]), glue });
    expect(made.glue).toBe("  a: 0,\n  b: 0,\nwasm.run2, wasm.run");
    const names = WebAssembly.Module.exports(new WebAssembly.Module(made.wasm)).map(({ name }) => name);
    expect(names).toEqual(["run2", "run"]);
  });

  it("fails when the glue does not serve an import as it knows it", () => {
    const wasm = module(["get"], ["run"]);
    expect(() => withShortNames({ wasm, glue: '  "./core_bg.js": 0,\n' })).toThrow("serves get");
  });
});

it("withLateCoders() fails when the glue is not as it knows it, instead of leaving it as it is", () => {
  expect(() => withLateCoders("let cachedTextDecoder = null;\n")).toThrow("coders");
});
