import { afterEach, describe, expect, it, vi } from "vitest";
import { contentHash, murmur3 } from "../../js/import/journal/hash.ts";

afterEach(() => vi.unstubAllGlobals());

const MEGABYTE = 2 ** 20;

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("hex");
}

function insecure(): void {
  vi.stubGlobal("crypto", { getRandomValues: () => {} });
}

describe.each([
  ["sha256", 64, () => {}],
  ["murmur3", 32, insecure],
] as const)("the hash of a content by %s", (name, length, prepare) => {
  it("is the same for the same bytes, however they come", async () => {
    prepare();
    const text = "Name;Stadt\nZoë;Köln\n";
    const bytes = new TextEncoder().encode(text);
    const hash = await contentHash(text);
    expect(hash).toMatch(new RegExp(`^${name}-[0-9a-f]{${length}}$`));
    const shifted = new Uint8Array([0, ...bytes]).subarray(1);
    const file = new File([text], "contacts.csv", { lastModified: 5 });
    for (const content of [bytes, bytes.buffer, shifted, new Blob([text]), file]) {
      expect(await contentHash(content)).toBe(hash);
    }
  });

  it("differs when a byte differs, moves, or is added", async () => {
    prepare();
    const bytes = new Uint8Array(2 * MEGABYTE + 5).map((_, i) => (i * 31) ^ (i >> 16));
    const changed = (index: number): Uint8Array => {
      const copy = bytes.slice();
      copy[index] = (copy[index] ?? 0) ^ 1;
      return copy;
    };
    const swapped = new Uint8Array([
      ...bytes.subarray(MEGABYTE, 2 * MEGABYTE),
      ...bytes.subarray(0, MEGABYTE),
    ]);
    const contents = [
      bytes,
      ...[0, MEGABYTE - 1, MEGABYTE, bytes.length - 1].map(changed),
      bytes.subarray(1),
      bytes.subarray(0, -1),
      swapped,
      bytes.subarray(0, 2 * MEGABYTE),
      new Uint8Array(0),
      new Uint8Array(1),
    ];
    const hashes = await Promise.all(
      contents.map((content) => contentHash(content as Uint8Array<ArrayBuffer>)),
    );
    expect(new Set(hashes).size).toBe(contents.length);
  });

  it("tells how far it is, and stops when it is told to", async () => {
    prepare();
    const blob = new Blob([new Uint8Array(2.5 * MEGABYTE)]);
    const seen: number[] = [];
    await contentHash(blob, { onProgress: (bytes, total) => seen.push(bytes, total) });
    expect(seen).toEqual([1, 2.5, 2, 2.5, 2.5, 2.5].map((megabytes) => megabytes * MEGABYTE));
    const stop = new AbortController();
    const stopped = contentHash(blob, {
      signal: stop.signal,
      onProgress: () => stop.abort(new Error("enough")),
    });
    await expect(stopped).rejects.toThrow("enough");
  });

  it("fails as the reading of the file does", async () => {
    prepare();
    const blob = new Blob(["gone"]);
    const error = new DOMException("changed", "NotReadableError");
    vi.spyOn(Blob.prototype, "arrayBuffer").mockRejectedValueOnce(error);
    await expect(contentHash(blob)).rejects.toBe(error);
  });
});

describe("MurmurHash3", () => {
  it.each([
    ["", "00000000000000000000000000000000"],
    ["a", "3c9394a71bb056551bb056551bb05655"],
    ["The quick brown fox jumps over the lazy dog", "c383152f672ceeec6cf67b5d2c1de9e5"],
    ["Zoë;Köln\n", "e3c011174c948925220a33beb8ae37ba"],
  ])("of %j is the reference's", (text, expected) => {
    expect(hex(murmur3(new TextEncoder().encode(text)))).toBe(expected);
  });
});
