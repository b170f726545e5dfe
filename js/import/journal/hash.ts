export interface ContentHashOptions {
  /** Aborts the reading; the hash rejects with the signal's reason. */
  signal?: AbortSignal | undefined;
  /** Hears after each slice how much has been read, in bytes. */
  onProgress?: ((bytes: number, total: number) => void) | undefined;
}

/**
 * A name for a content: the same for the same bytes, on this page and every other of this origin. A string counts as UTF-8.
 *
 * A file is read in slices of a megabyte, one at a time: what is named is the list of their hashes and the length. On pages
 * with WebCrypto they are hashed with SHA-256 outside the main thread; on plain http with MurmurHash3, about two
 * milliseconds for each.
 *
 * @throws the error of the browser when the file has changed or gone since it was chosen; the signal's reason.
 */
export async function contentHash(
  content: Blob | string | BufferSource,
  { signal, onProgress }: ContentHashOptions = {},
): Promise<string> {
  const blob = content instanceof Blob ? content : new Blob([content]);
  const { name, hash } = hasher();
  const hashes: Uint8Array<ArrayBuffer>[] = [];
  for (let start = 0; start < blob.size; start += SLICE_BYTES) {
    signal?.throwIfAborted();
    const end = Math.min(blob.size, start + SLICE_BYTES);
    hashes.push(await hash(new Uint8Array(await blob.slice(start, end).arrayBuffer())));
    onProgress?.(end, blob.size);
  }
  signal?.throwIfAborted();
  const whole = await new Blob([...hashes, `${blob.size}`]).arrayBuffer();
  return `${name}-${hexOf(await hash(new Uint8Array(whole)))}`;
}

/** Large enough that a call does not matter, small enough that the main thread is free between two. */
const SLICE_BYTES = 2 ** 20;

interface Hasher {
  name: string;
  hash(bytes: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> | Promise<Uint8Array<ArrayBuffer>>;
}

/** WebCrypto hashes nothing outside secure contexts: the object is there, `subtle` is not. */
function hasher(): Hasher {
  const subtle = globalThis.crypto?.subtle as SubtleCrypto | undefined;
  if (!subtle) return { name: "murmur3", hash: murmur3 };
  return { name: "sha256", hash: async (bytes) => new Uint8Array(await subtle.digest("SHA-256", bytes)) };
}

/**
 * MurmurHash3_x86_128 (Appleby, public domain), seed 0. Not against people who look for two files of one hash: all that
 * they would gain is to be offered their own import.
 */
export function murmur3(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  const padded = new Uint8Array((bytes.length + 3) & ~3);
  padded.set(bytes);
  const view = new DataView(padded.buffer);
  const words = new Uint32Array(padded.length >>> 2);
  for (let i = 0; i < words.length; i++) words[i] = view.getUint32(4 * i, true);
  const hash = new DataView(new ArrayBuffer(16));
  murmurWords(words, bytes.length).forEach((word, lane) => {
    hash.setUint32(4 * lane, word, true);
  });
  return new Uint8Array(hash.buffer);
}

/**
 * The same of `length` bytes that lie in words, the lowest byte first. The last word ends with zeros where it is not full.
 */
export function murmurWords(words: Uint32Array, length: number): Uint32Array {
  const h = new Uint32Array(4);
  const whole = (length >>> 4) << 2;
  for (let i = 0; i < whole; i += 4) {
    for (let lane = 0; lane < 4; lane++) {
      const mixed = rotl(at(h, lane) ^ scrambled(at(words, i + lane), lane), at(MIX_BITS, lane));
      h[lane] = Math.imul(mixed + at(h, (lane + 1) & 3), 5) + at(MIX, lane);
    }
  }
  const rest = length & 15;
  for (let lane = 0; 4 * lane < rest; lane++) {
    h[lane] = at(h, lane) ^ scrambled(at(words, whole + lane), lane);
  }
  for (let lane = 0; lane < 4; lane++) h[lane] = at(h, lane) ^ length;
  spread(h);
  for (let lane = 0; lane < 4; lane++) h[lane] = avalanched(at(h, lane));
  spread(h);
  return h;
}

/** The constants of the algorithm, by lane. */
const FACTORS = [0x239b961b, 0xab0e9789, 0x38b34ae5, 0xa1e38b93] as const;
const SCRAMBLE_BITS = [15, 16, 17, 18] as const;
const MIX_BITS = [19, 17, 15, 13] as const;
const MIX = [0x561ccd1b, 0x0bcaa747, 0x96cd1c35, 0x32ac3b17] as const;

function scrambled(word: number, lane: number): number {
  return Math.imul(
    rotl(Math.imul(word, at(FACTORS, lane)), at(SCRAMBLE_BITS, lane)),
    at(FACTORS, (lane + 1) & 3),
  );
}

/** Each lane hears of all others. */
function spread(h: Uint32Array): void {
  h[0] = at(h, 0) + at(h, 1) + at(h, 2) + at(h, 3);
  for (let lane = 1; lane < 4; lane++) h[lane] = at(h, lane) + at(h, 0);
}

function avalanched(word: number): number {
  let h = Math.imul(word ^ (word >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return h ^ (h >>> 16);
}

function rotl(word: number, bits: number): number {
  return (word << bits) | (word >>> (32 - bits));
}

function at(list: ArrayLike<number>, index: number): number {
  return list[index] as number;
}

function hexOf(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
