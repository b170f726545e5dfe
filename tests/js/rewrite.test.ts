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
  /** Imports a function of each of these names from "./core_bg.js", and exports the first one. */
  function module(imports: string[], exported: string): Buffer {
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
      ...section(7, [1, ...text(exported), 0, 0]),
    ]);
  }

  const hash = (digit: number): string => `_${String(digit).repeat(16)}`;
  const imports = [`__wbg_get${hash(1)}`, `__wbg_get${hash(2)}`, `__wbg___wbindgen_throw${hash(3)}`, "get3"];

  it("takes the hashes out of a module and out of its glue alike, and lets it work", () => {
    const glue = `{ ${imports.map((name, i) => `${name}: () => ${i}`).join(", ")} }`;
    const made = withShortNames({ wasm: module(imports, `invoke__h${"a".repeat(16)}`), glue });
    expect(made.glue).toBe("{ get: () => 0, get2: () => 1, wbindgen_throw: () => 2, get3: () => 3 }");
    const compiled = new WebAssembly.Module(made.wasm);
    expect(WebAssembly.Module.imports(compiled).map(({ name }) => name)).toEqual([
      ...["get", "get2", "wbindgen_throw", "get3"],
    ]);
    const get = (): number => 7;
    const served = { get, get2: get, wbindgen_throw: get, get3: get };
    const { exports } = new WebAssembly.Instance(compiled, { "./core_bg.js": served });
    expect((exports.invoke as () => number)()).toBe(7);
  });

  it("never gives a name that is taken already", () => {
    const { glue } = withShortNames({
      wasm: module([`__wbg_get${hash(1)}`, "get", "get2"], "run"),
      glue: `__wbg_get${hash(1)}`,
    });
    expect(glue).toBe("get3");
  });

  it("changes nothing where there is nothing to shorten", () => {
    const wasm = module(["get"], "run");
    const made = withShortNames({ wasm, glue: "get, run" });
    expect(made.wasm.equals(wasm)).toBe(true);
    expect(made.glue).toBe("get, run");
  });
});

it("withLateCoders() fails when the glue is not as it knows it, instead of leaving it as it is", () => {
  expect(() => withLateCoders("let cachedTextDecoder = null;\n")).toThrow("coders");
});
