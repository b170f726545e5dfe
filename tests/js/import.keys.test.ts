import fc from "fast-check";
import { describe, expect, it, test } from "vitest";
import { murmurWords } from "../../js/import/journal/hash.ts";
import { KeySet, keyHash } from "../../js/import/key-set.ts";

const word = fc.nat({ max: 2 ** 32 - 1 });
/** Few, so that they meet: also in one place of the table with other keys. */
const fewWords = fc.constantFrom(0, 1, 15, 16, 2 ** 31, 2 ** 32 - 1);

describe("KeySet", () => {
  test.each([
    ["any keys", word],
    ["few keys", fewWords],
  ])("says what a Map says, for %s", (_, part) => {
    fc.assert(
      fc.property(fc.array(fc.tuple(part, part, word), { maxLength: 300 }), fc.nat(100), (adds, expected) => {
        const set = new KeySet(expected);
        const map = new Map<string, number>();
        for (const [high, low, given] of adds) {
          const value = Math.min(given, 2 ** 32 - 2);
          const name = `${high} ${low}`;
          expect(set.has(high, low)).toBe(map.has(name));
          expect(set.add(high, low, value)).toBe(map.get(name) ?? -1);
          if (!map.has(name)) map.set(name, value);
        }
        expect(set.size).toBe(map.size);
        for (const name of map.keys()) {
          const [high = 0, low = 0] = name.split(" ").map(Number);
          expect(set.has(high, low)).toBe(true);
          expect(set.has(low, high)).toBe(map.has(`${low} ${high}`));
        }
      }),
    );
  });

  it("takes words with and without a sign", () => {
    const set = new KeySet();
    expect(set.add(-1, -2, 7)).toBe(-1);
    expect(set.add(2 ** 32 - 1, 2 ** 32 - 2, 8)).toBe(7);
    expect(set.has(-1, -2)).toBe(true);
  });

  it("keeps what it has while it grows", () => {
    const set = new KeySet();
    let there = 0;
    for (let i = 0; i < 100_000; i++) if (set.add(...keyHash(`key ${i}`), i) !== -1) there++;
    expect(there).toBe(0);
    expect(set.size).toBe(100_000);
    for (let i = 0; i < 100_000; i += 997) expect(set.add(...keyHash(`key ${i}`), 0)).toBe(i);
    expect(set.has(...keyHash("key"))).toBe(false);
  });
});

describe("keyHash", () => {
  test.each([
    ["", 0, 0],
    ["a", 54243734, 3438235617],
    ["ada@example.com", 3589672889, 3959164371],
    ["Zoë 🦊", 3369046689, 2402111519],
  ])("of %j stays what it was: hashes are kept", (text, high, low) => {
    expect(keyHash(text)).toEqual([high, low]);
  });

  test("is the first half of the MurmurHash3 of the letters", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary", maxLength: 100 }), (text) => {
        const bytes = Buffer.alloc((2 * text.length + 3) & ~3);
        bytes.write(text, "utf16le");
        const words = new Uint32Array(new Uint8Array(bytes).buffer);
        expect(keyHash(text)).toEqual([...murmurWords(words, 2 * text.length)].slice(0, 2));
      }),
    );
  });

  test("forgets the text before it, also a longer one, and takes long ones", () => {
    const before = keyHash("ab");
    const long = keyHash("x".repeat(5_000));
    keyHash("x".repeat(1_000));
    expect(keyHash("ab")).toEqual(before);
    expect(keyHash("x".repeat(5_000))).toEqual(long);
    expect(keyHash("x".repeat(5_001))).not.toEqual(long);
  });

  test("tells halves of surrogate pairs apart, and texts that end in NUL", () => {
    const texts = ["\ud800", "\udbff", "\ufffd", "", "\0", "\0\0", "a", "a\0", "a\0\0"];
    expect(new Set(texts.map((text) => keyHash(text).join())).size).toBe(texts.length);
  });

  test("half of the bits differ after a change of one", () => {
    let differing = 0;
    for (let i = 0; i < 1_000; i++) {
      const [a, b] = keyHash(`ada${i}@example.com`);
      const [c, d] = keyHash(`ada${i}@example.con`);
      for (let both = (a ^ c) >>> 0; both; both &= both - 1) differing++;
      for (let both = (b ^ d) >>> 0; both; both &= both - 1) differing++;
    }
    expect(differing / 1_000).toBeGreaterThan(30);
    expect(differing / 1_000).toBeLessThan(34);
  });
});
