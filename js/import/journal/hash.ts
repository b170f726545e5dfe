/** Names for rows and files: the same on every machine, and not against people who look for two of one name. */

/**
 * The MurmurHash3 of the UTF-16 of a text, as four words. Two milliseconds for a megabyte; synchronous, and not WebCrypto, which pages
 * on plain http lack.
 */
export function murmurOf(text: string): Uint32Array {
  const words = text.length <= SHORT ? scratch() : new Uint32Array((text.length + 1) >> 1);
  for (let i = 0; 2 * i < text.length; i++) {
    // What lies behind the end is NaN, and 0 here.
    words[i] = text.charCodeAt(2 * i) | (text.charCodeAt(2 * i + 1) << 16);
  }
  return murmurWords(words, 2 * text.length);
}

/** Keys are seldom longer. */
const SHORT = 1_024;

let short: Uint32Array | undefined;

function scratch(): Uint32Array {
  short ??= new Uint32Array(SHORT / 2);
  return short;
}

/**
 * MurmurHash3_x86_128 (Appleby, public domain), seed 0, of `length` bytes that lie in words, the lowest byte first. The last
 * word ends with zeros where it is not full.
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
