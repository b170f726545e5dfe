/** Mulberry32 (Ettinger), with the draws that a soak needs. */
export function seeded(seed) {
  let state = seed >>> 0;
  const next = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
  const below = (n) => Math.floor(next() * n);
  return { next, below, chance: (p) => next() < p, one: (list) => list[below(list.length)] };
}

/** Draws from `[weight, what]` as often as the weights say. */
export function weighted(pairs) {
  const total = pairs.reduce((sum, [weight]) => sum + weight, 0);
  return (random) => {
    let left = random.next() * total;
    for (const [weight, what] of pairs) {
      left -= weight;
      if (left < 0) return what;
    }
    return pairs[0][1];
  };
}
