// Virtual time for whole libraries: their timers, their Date and their Math.random are ours for one simulation.
import sinon from "sinon";

/** A run moves from timer to timer; between two of them everything happens that needs no time. */
export class VirtualTime {
  /** One of `seeded(…)` for each purpose, so that what one part draws changes nothing for another. */
  constructor(seed) {
    this.seed = seed;
    this.fake = sinon.useFakeTimers({ now: Date.UTC(2026, 0, 5, 8), toFake: FAKED });
    // Like those of every platform; without it, who waits for a fraction of a millisecond waits for ever.
    const { setTimeout: faked } = globalThis;
    globalThis.setTimeout = (callback, ms, ...given) =>
      faked(callback, Math.max(1, Math.trunc(ms) || 0), ...given);
    this.random = Math.random;
    Math.random = seeded(seed * 31 + 7);
    this.host = { now: Date.now, random: seeded(seed * 31 + 11), sleep };
  }

  /** What a service of tidegate is given, with a randomness of its own. */
  hostOf(client) {
    return { now: Date.now, sleep, random: seeded(this.seed * 1_009 + client) };
  }

  /** Lets time pass until the promise is settled. */
  async drive(promise) {
    let pending = true;
    const done = () => {
      pending = false;
    };
    promise.then(done, done);
    await turn();
    while (pending) {
      if (this.fake.countTimers() === 0) throw new Error("No timer is set, and the run is not over");
      this.fake.next();
      await turn();
    }
    return promise;
  }

  restore() {
    Math.random = this.random;
    this.fake.restore();
  }
}

/** Mulberry32 (Ettinger). */
export function seeded(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

function sleep(ms, signal) {
  return new Promise((resolve) => {
    if (signal?.aborted) return resolve();
    const done = () => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal?.addEventListener("abort", done, { once: true });
  });
}

/** Everything that promises do is over by the next turn of the real event loop. */
const realImmediate = setImmediate;
const turn = () => new Promise(realImmediate);

const FAKED = ["setTimeout", "clearTimeout", "setInterval", "clearInterval", "Date", "performance"];
