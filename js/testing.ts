/** For tests of applications: time that moves when it is told to, and a server that answers by a script. */

import { nextTask } from "./turns.ts";
import type { Host } from "./types.ts";

export interface ManualHostOptions {
  /** Where the clock begins, in milliseconds. Default: 2026-01-01T00:00:00Z. */
  now?: number;
  /** Settles every random number. Default 1. */
  seed?: number;
}

/** A host whose clock stands still until `advance` is called. */
export class ManualHost implements Host {
  #now: number;
  #random: number;
  readonly #sleepers = new Set<{ until: number; wake: () => void }>();

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
        this.#sleepers.delete(sleeper);
        signal?.removeEventListener("abort", wake);
        resolve();
      };
      const sleeper = { until: this.#now + ms, wake };
      this.#sleepers.add(sleeper);
      signal?.addEventListener("abort", wake, { once: true });
    });
  }

  /** How many sleep now. */
  get sleeping(): number {
    return this.#sleepers.size;
  }

  /** Moves the clock on, waking each sleeper at its time and letting what follows from it happen before the next. */
  async advance(ms: number): Promise<void> {
    const end = this.#now + ms;
    await settled();
    for (;;) {
      const [first] = [...this.#sleepers]
        .filter(({ until }) => until <= end)
        .sort((a, b) => a.until - b.until);
      if (!first) break;
      this.#now = Math.max(this.#now, first.until);
      first.wake();
      await settled();
    }
    this.#now = end;
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
      const next = Math.min(...[...this.#sleepers].map(({ until }) => until));
      if (next < Number.POSITIVE_INFINITY) {
        await this.advance(Math.max(0, next - this.#now));
        idle = 0;
      } else if (idle > PATIENCE) {
        throw new Error("Nobody sleeps, and the promise is still pending.");
      }
      if (pending) await nextTask();
    }
    return promise;
  }
}

/** One answer of a scripted server: a status with what goes with it, or a lost connection. */
export type ScriptedAnswer =
  | number
  | "lost"
  | { status: number; headers?: Record<string, string>; body?: unknown; statusText?: string };

/** A `fetch` that gives these answers one after the other, and the last one from then on. */
export function scriptedFetch(...answers: ScriptedAnswer[]): typeof fetch & { requests: Request[] } {
  const requests: Request[] = [];
  const scripted = async (input: RequestInfo | URL, init?: RequestInit): Promise<Response> => {
    const request = new Request(input, init);
    request.signal.throwIfAborted();
    requests.push(request);
    const answer = answers[Math.min(requests.length, answers.length) - 1] ?? 200;
    if (answer === "lost") throw new TypeError("Failed to fetch");
    return typeof answer === "number" ? responseOf({ status: answer }) : responseOf(answer);
  };
  return Object.assign(scripted, { requests });
}

function responseOf({
  status,
  headers,
  body,
  statusText,
}: Exclude<ScriptedAnswer, number | "lost">): Response {
  const text = body === undefined ? null : typeof body === "string" ? body : JSON.stringify(body);
  return new Response(text, {
    status,
    ...(headers && { headers }),
    ...(statusText !== undefined && { statusText }),
  });
}

/** Lets everything happen that needs no time. */
async function settled(): Promise<void> {
  for (let turn = 0; turn < TURNS; turn++) await Promise.resolve();
}

/** Tasks of others: some tenths of a second. */
const PATIENCE = 10_000;

/** More than any chain of promises between two waits. */
const TURNS = 100;
