/**
 * A seeded generator of numbers in [0, 1): the same seed gives the same numbers everywhere. Not for secrets.
 *
 * Mulberry32 (Tommy Ettinger, public domain): 32 bits of state, good enough to mix people and faults.
 *
 * @param {number} seed its lowest 32 bits count
 * @returns {() => number}
 */
export function seededRandom(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}
