import { readFileSync } from "node:fs";
import { gzipSync } from "node:zlib";
import { describe, expect, it } from "vitest";
import { bytesOf } from "../../js/text.ts";
import { text } from "../../pkg/core.inline.js";

describe("the core as text", () => {
  it.each([
    ["", []],
    ["#", [0]],
    ["|", [89]],
    ["}#", [90]],
    ["}|", [179]],
    ["~#", [180]],
    ["~n", [255]],
    [" !", [25, 57]],
    ["#~ #}!|", [0, 205, 0, 147, 89]],
  ])("%j is %j", (written, bytes) => {
    expect([...bytesOf(written)]).toEqual(bytes);
  });

  it("is the core, byte by byte", () => {
    expect(Buffer.from(bytesOf(text)).equals(readFileSync("pkg/core_bg.wasm"))).toBe(true);
  });

  it("has no character that a string in a script of a page would have to mask", () => {
    expect(text).not.toMatch(/["\\<]|[^ -~]/);
  });

  it("compresses no worse than the core itself by more than a fiftieth", () => {
    const size = (content: string | Uint8Array): number => gzipSync(content, { level: 9 }).length;
    expect(size(text)).toBeLessThan(size(bytesOf(text)) * 1.02);
  });
});
