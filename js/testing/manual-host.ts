import { nextTask } from "../turns.ts";
import type { Host } from "../types.ts";

export interface ManualHostOptions {
  /** Where the clock begins, in milliseconds. Default: 2026-01-01T00:00:00Z. */
  now?: number;
  /** Settles every random number. Default 1. */
  seed?: number;
}

interface Sleeper {
  until: number;
  wake: () => void;
}

/** A host whose clock stands still until `advance` is called. */
export class ManualHost implements Host {
  #now: number;
  #random: number;
  /** In the order in which they wake; of those with one time, the first to sleep is first. */
  readonly #sleepers: Sleeper[] = [];

  constructor({ now = Date.UTC(2026, 0, 1), seed = 1 }: ManualHostOptions = {}) {
    this.#now = now;
    this.#random = seed >>> 0;
    // A service calls these without `this`.
    this.now = this.now.bind(this);
    this.random = this.random.bind(this);
    this.sleep = this.sleep.bind(this);
  }

  now(): number {
    return this.#now;
  }

  /** Mulberry32 (Ettinger): the same numbers for the same seed. */
  random(): number {
    this.#random = (this.#random + 0x6d2b79f5) >>> 0;
    let t = this.#random;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  }

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      if (signal?.aborted) return resolve();
      const wake = (): void => {
        this.#takeOut(sleeper);
        signal?.removeEventListener("abort", wake);
        resolve();
      };
      const sleeper = { until: this.#now + ms, wake };
      this.#sleepers.splice(this.#placeOf(sleeper.until), 0, sleeper);
      signal?.addEventListener("abort", wake, { once: true });
    });
  }

  /** How many sleep now. */
  get sleeping(): number {
    return this.#sleepers.length;
  }

  /** Moves the clock on, waking each sleeper at its time and letting what follows from it happen before the next. */
  async advance(ms: number): Promise<void> {
    const end = this.#now + ms;
    await settled();
    for (let [first] = this.#sleepers; first && first.until <= end; [first] = this.#sleepers) {
      this.#now = Math.max(this.#now, first.until);
      first.wake();
      await settled();
    }
    // Somebody else may have moved it further meanwhile.
    this.#now = Math.max(this.#now, end);
    await settled();
  }

  /**
   * Moves the clock on until `promise` is settled, from sleeper to sleeper. Whatever needs no time of this clock (files, a
   * reader that gives way to the page) gets the time that it needs; fails when nobody sleeps for long, and it is not.
   */
  async drive<T>(promise: PromiseLike<T>): Promise<T> {
    let pending = true;
    const done = (): void => {
      pending = false;
    };
    promise.then(done, done);
    await settled();
    for (let idle = 0; pending; idle++) {
      const [next] = this.#sleepers;
      if (next) {
        await this.advance(Math.max(0, next.until - this.#now));
        idle = 0;
      } else if (idle > PATIENCE) {
        throw new Error("Nobody sleeps, and the promise is still pending.");
      }
      if (pending) await nextTask();
    }
    return promise;
  }

  /** Behind all that wake by then. */
  #placeOf(until: number): number {
    let low = 0;
    for (let high = this.#sleepers.length; low < high; ) {
      const middle = (low + high) >>> 1;
      if ((this.#sleepers[middle]?.until ?? 0) <= until) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  #takeOut(sleeper: Sleeper): void {
    const place = this.#sleepers.indexOf(sleeper);
    if (place >= 0) this.#sleepers.splice(place, 1);
  }
}

/** Lets everything happen that needs no time. */
async function settled(): Promise<void> {
  for (let turn = 0; turn < TURNS; turn++) await Promise.resolve();
}

/** Tasks of others: some tenths of a second. */
const PATIENCE = 10_000;

/** More than any chain of promises between two waits. */
const TURNS = 100;
