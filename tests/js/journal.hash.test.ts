import { describe, expect, it } from "vitest";
import { murmurOf, murmurWords } from "../../js/import/journal/hash.ts";

function wordsOf(bytes: Uint8Array): Uint32Array {
  const padded = new Uint8Array((bytes.length + 3) & ~3);
  padded.set(bytes);
  return new Uint32Array(padded.buffer);
}

/** As the reference prints it: byte by byte. */
function hex(hash: Uint32Array): string {
  return Buffer.from(hash.buffer).toString("hex");
}

describe("MurmurHash3", () => {
  it.each([
    ["", "00000000000000000000000000000000"],
    ["a", "3c9394a71bb056551bb056551bb05655"],
    ["The quick brown fox jumps over the lazy dog", "c383152f672ceeec6cf67b5d2c1de9e5"],
    ["Zoë;Köln\n", "e3c011174c948925220a33beb8ae37ba"],
  ])("of the UTF-8 of %j is the reference's", (text, expected) => {
    const bytes = new TextEncoder().encode(text);
    expect(hex(murmurWords(wordsOf(bytes), bytes.length))).toBe(expected);
  });

  it.each([0, 1, 2, 3, 4, 7, 8, 9, 1_023, 1_024, 1_025, 5_000])(
    "of a text of %i characters is that of its UTF-16",
    (length) => {
      const text = Array.from({ length }, (_, i) => String.fromCharCode((i * 7_919) & 0xffff)).join("");
      const bytes = new Uint8Array(Buffer.from(text, "utf16le"));
      expect(hex(murmurOf(text))).toBe(hex(murmurWords(wordsOf(bytes), bytes.length)));
    },
  );
});
