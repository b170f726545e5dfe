/** By what rows are known: the key that a row has in itself, and the id that the server gets. */

/** Whom ids are made for. */
export interface IdScope {
  /** Where the table is, as `https://project.supabase.co`. */
  origin: string;
  table: string;
}

/**
 * The id of the row with this key: UUID v5 (RFC 9562, 5.5) in a namespace of ours. It depends on nothing else, so that a
 * corrected file, another browser and the next year find the same row.
 *
 * The name that is hashed is the JSON of `[origin, table, key]`. There no two triples are alike, not even by quotes or by
 * halves of surrogate pairs, which UTF-8 cannot tell apart.
 */
export function rowId({ origin, table }: IdScope, key: string): string {
  return uuidV5(NAMESPACE, JSON.stringify([origin, table, key]));
}

/**
 * The key of a row: what `key` says of it, as a string. Where that is nothing (`undefined`, `null`, only white space), and
 * where there is no `key`, a hash of the row: 40 hexadecimal digits, the same for rows that are the same as JSON in
 * whatever order their fields are.
 *
 * @throws TypeError when `key` says something that is no key, and when the row cannot be written as JSON; whatever `key`
 *   throws.
 */
export function rowKey<Row>(row: Row, key?: (row: Row) => unknown): string {
  const said = key?.(row) ?? "";
  if (typeof said !== "string" && typeof said !== "bigint" && !Number.isFinite(said)) {
    throw new TypeError(`key: expected a string or a number, got ${typeof said}.`);
  }
  const text = String(said).trim();
  return text === "" ? hashOf(row) : text;
}

/**
 * An e-mail address as a key: without `mailto:`, a name around it, and white space, in small letters. Dots and `+tags` stay:
 * what they mean is the provider's business, and two people taken for one are worse than one taken for two. `null`: it is
 * none, so that `key: (row) => normalisedEmail(row.email)` falls back to the whole row.
 */
export function normalisedEmail(value: unknown): string | null {
  if (typeof value !== "string") return null;
  const text = value.normalize("NFC").replace(INVISIBLE, "").trim();
  const [, inside = text] = /<([^<>]*)>$/.exec(text) ?? [];
  const address = inside.trim().replace(/^mailto:/i, "");
  return /^[^\s@<>]+@[^\s@<>]+$/.test(address) ? address.toLowerCase() : null;
}

/**
 * A UUID from the SHA-1 of a namespace and a name (RFC 9562, 5.5).
 *
 * @param namespace A UUID.
 * @throws TypeError when `namespace` is none.
 */
export function uuidV5(namespace: string, name: string): string {
  const digits = namespace.replaceAll("-", "");
  if (!/^[0-9a-f]{32}$/i.test(digits)) throw new TypeError(`namespace: expected a UUID, got "${namespace}".`);
  const text = utf8(name);
  const input = new Uint8Array(16 + text.length);
  for (let i = 0; i < 16; i++) input[i] = Number.parseInt(digits.slice(2 * i, 2 * i + 2), 16);
  input.set(text, 16);
  const hash = sha1(input);
  hash[1] = (at(hash, 1) & 0xffff_0fff) | 0x5000;
  hash[2] = (at(hash, 2) & 0x3fff_ffff) | 0x8000_0000;
  const hex = hexOf(hash);
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20, 32)}`;
}

function hashOf(row: unknown): string {
  const text = jsonOf(row);
  if (text === undefined) throw new TypeError(`A row must be an object, got ${typeof row}.`);
  return hexOf(sha1(utf8(text)));
}

/** With the fields of every object in the order of their names. */
function jsonOf(row: unknown): string | undefined {
  try {
    return JSON.stringify(row, inOrder);
  } catch (cause) {
    // A cycle overflows the stack here, because the replacer answers with a copy each time.
    throw new TypeError("The row cannot be written as JSON.", { cause });
  }
}

function inOrder(_name: string, value: unknown): unknown {
  if (typeof value === "bigint") return String(value);
  if (typeof value !== "object" || value === null || Array.isArray(value)) return value;
  return Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)));
}

/**
 * SHA-1 (FIPS 180-4), as five words. It names rows and keeps no secret. Our own, because WebCrypto is there in secure
 * contexts only, and one way that is the same on every page beats two. For a name either takes some microseconds.
 */
function sha1(bytes: Uint8Array): Int32Array {
  const blocks = (bytes.length + 72) >>> 6;
  const padded = new Uint8Array(blocks * 64);
  padded.set(bytes);
  padded[bytes.length] = 0x80;
  const words = new DataView(padded.buffer);
  // In bits. Above 2^32 of them the word before would be needed too, and no name is half a gigabyte.
  words.setUint32(padded.length - 4, bytes.length << 3);

  const hash = Int32Array.of(0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0);
  const w = new Int32Array(80);
  for (let block = 0; block < padded.length; block += 64) {
    for (let t = 0; t < 16; t++) w[t] = words.getInt32(block + 4 * t);
    for (let t = 16; t < 80; t++) w[t] = rotl(at(w, t - 3) ^ at(w, t - 8) ^ at(w, t - 14) ^ at(w, t - 16), 1);
    mix(hash, w);
  }
  return hash;
}

/** The eighty steps of one block. */
function mix(hash: Int32Array, w: Int32Array): void {
  // Not by destructuring a list: that would be half of the time.
  let a = at(hash, 0);
  let b = at(hash, 1);
  let c = at(hash, 2);
  let d = at(hash, 3);
  let e = at(hash, 4);
  for (let t = 0; t < 80; t++) {
    const mixed = (rotl(a, 5) + step(t, b, c, d) + e + at(w, t)) | 0;
    e = d;
    d = c;
    c = rotl(b, 30);
    b = a;
    a = mixed;
  }
  hash[0] = at(hash, 0) + a;
  hash[1] = at(hash, 1) + b;
  hash[2] = at(hash, 2) + c;
  hash[3] = at(hash, 3) + d;
  hash[4] = at(hash, 4) + e;
}

/** The function of a step, with its constant. */
function step(t: number, b: number, c: number, d: number): number {
  if (t < 20) return (((b & c) | (~b & d)) + 0x5a827999) | 0;
  if (t < 40) return ((b ^ c ^ d) + 0x6ed9eba1) | 0;
  if (t < 60) return (((b & c) | (b & d) | (c & d)) + 0x8f1bbcdc) | 0;
  return ((b ^ c ^ d) + 0xca62c1d6) | 0;
}

function rotl(word: number, bits: number): number {
  return (word << bits) | (word >>> (32 - bits));
}

function at(words: Int32Array, i: number): number {
  return words[i] as number;
}

function hexOf(words: Int32Array): string {
  let hex = "";
  for (const word of words) hex += (word >>> 0).toString(16).padStart(8, "0");
  return hex;
}

/** The encoder is made when it is needed: Jest's jsdom has none, and what only imports us must not fail there. */
function utf8(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

/** Ours, drawn at random once (a UUID v4). It must never change: every id ever made depends on it. */
const NAMESPACE = "ccffc21c-0a2d-487a-b20c-2725f847dc15";

/** What spreadsheets and web pages leave in a cell without showing it: zero-width characters, soft hyphens, a BOM. */
const INVISIBLE = /[\u00ad\u200b-\u200d\u2060\ufeff]/g;
