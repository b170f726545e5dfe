/** Many keys in little memory, by their hashes. */

import { murmurOf } from "./journal/hash.ts";

/**
 * Hashes of 64 bits, each with a number from 0 to 4,294,967,294: a table of open addressing. It takes 16 to 32 bytes for
 * each, and for a moment half as much again when it grows. Two different ones of a million keys have the same hash once in
 * 37 million imports.
 */
export class KeySet {
  /** Three words a place: high, low, and the number plus one; 0 where nothing is. */
  #places: Uint32Array;
  #size = 0;

  /** `expected`: how many keys it has room for before it grows. */
  constructor(expected = 0) {
    this.#places = new Uint32Array(3 * 2 ** Math.ceil(Math.log2(Math.max(expected / FULL, 16))));
  }

  get size(): number {
    return this.#size;
  }

  /** The number that was there, which stays; -1: none was, and `value` is there from now on. */
  add(high: number, low: number, value: number): number {
    const place = this.#placeOf(high, low);
    const there = this.#places[place + 2] as number;
    if (there !== 0) return there - 1;
    this.#places[place] = high;
    this.#places[place + 1] = low;
    this.#places[place + 2] = value + 1;
    this.#size++;
    if (3 * this.#size > FULL * this.#places.length) this.#grow();
    return -1;
  }

  has(high: number, low: number): boolean {
    return this.#places[this.#placeOf(high, low) + 2] !== 0;
  }

  /** Where it is, or where it would be: there is always a free place. */
  #placeOf(high: number, low: number): number {
    const places = this.#places;
    let place = 3 * (low & (places.length / 3 - 1));
    while (places[place + 2] !== 0 && (places[place + 1] !== low >>> 0 || places[place] !== high >>> 0)) {
      place += 3;
      if (place === places.length) place = 0;
    }
    return place;
  }

  #grow(): void {
    const before = this.#places;
    this.#places = new Uint32Array(2 * before.length);
    for (let from = 0; from < before.length; from += 3) {
      if (before[from + 2] === 0) continue;
      const place = this.#placeOf(before[from] as number, before[from + 1] as number);
      for (let word = 0; word < 3; word++) this.#places[place + word] = before[from + word] as number;
    }
  }
}

/** Of the places; beyond that, searches become long. */
const FULL = 0.75;

/** 64 bits of the MurmurHash3 of a text, as two words: the same on every machine. */
export function keyHash(text: string): [high: number, low: number] {
  const [high = 0, low = 0] = murmurOf(text);
  return [high, low];
}
