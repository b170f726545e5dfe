/**
 * The only file that reads a clock, sets a timer or asks for randomness, and the table of everybody who waits.
 */

import type { Host } from "./types.ts";

/**
 * Milliseconds that never go backwards.
 *
 * `Date.now()`, looked up on the global object at each reading: cheap, moved by fake timers, and it goes on while the
 * machine sleeps. Where it was set back, or stands still while time goes by (a test that freezes it), the time since the
 * anchor is taken from `performance.now()`, which is not read otherwise. The two are only ever compared over one and the
 * same stretch of time, from the anchor on, and the longer one counts: adding up steps of both would run faster than
 * real time.
 */
export class Clock {
  /** The time at the anchor, and what both clocks showed then. */
  #anchor = 0;
  #anchorWall = 0;
  #anchorPerformance = 0;
  /** The latest that Date has shown since the anchor. */
  #peak = 0;
  /** The last reading. */
  #now = 0;
  /** Date was seen standing still. */
  #doubted = false;

  constructor() {
    const wall = Date.now();
    this.#drop(wall, wall);
  }

  now(): number {
    const wall = Date.now();
    // Most calls come in the millisecond of another.
    if (wall === this.#peak && !this.#doubted) return this.#now;
    let now = this.#anchor + wall - this.#anchorWall;
    if (wall < this.#peak || this.#doubted) now = Math.max(now, this.#anchor + this.#elapsed());
    now = Math.max(now, this.#now);
    // A step back of a few milliseconds is noise, a longer one is for good.
    if (wall < this.#peak - TOLERANCE_MS) this.#drop(now, wall);
    this.#peak = Math.max(this.#peak, wall);
    this.#now = now;
    return now;
  }

  /** Compares the two clocks. Called when a wait begins or ends: often enough to notice, too seldom to cost. */
  check(): void {
    this.now();
    const wall = Date.now();
    const byDate = wall - this.#anchorWall;
    const elapsed = this.#elapsed();
    this.#doubted = elapsed - byDate > TOLERANCE_MS;
    // After a forward step, or a sleep of the machine, Date is right; and small differences must not grow with the days.
    if (byDate - elapsed > TOLERANCE_MS || (elapsed > OLD_MS && !this.#doubted)) {
      this.#drop(this.#anchor + byDate, wall);
    }
  }

  #elapsed(): number {
    return Math.max(0, performanceNow() - this.#anchorPerformance);
  }

  #drop(now: number, wall: number): void {
    this.#anchor = now;
    this.#now = Math.max(this.#now, now);
    this.#anchorWall = wall;
    this.#anchorPerformance = performanceNow();
    this.#peak = wall;
  }
}

/** More than the granularity of any browser's clock, less than anybody notices. */
const TOLERANCE_MS = 50;

/** By then two clocks of one machine have not drifted apart by anything that counts. */
const OLD_MS = 60_000;

function performanceNow(): number {
  return globalThis.performance?.now() ?? 0;
}

/** What the platform offers. The alarm is the core's while there is one. */
export interface Platform extends Host {
  /** The wall clock, for dates that a server wrote. */
  wall(): number;
  /** Called when a wait begins or ends. */
  check(): void;
  /** Called when an alarm has run its full length, so that it is then at least. */
  reached(time: number): void;
  /** Our own randomness is seeded in the core; a host of the caller's replaces it. */
  readonly draws: boolean;
}

/** The host in use: what the caller gave, and the platform for the rest. */
export function platform(given: Partial<Host> | undefined, alarm: Alarm): Platform {
  const clock = new Clock();
  const read = given?.now?.bind(given) ?? (() => clock.now());
  const sleep = given?.sleep?.bind(given);
  // A sleep of the caller's has the last word on time: one that returns at once must not be asked for ever.
  let floor = Number.NEGATIVE_INFINITY;
  return {
    now: sleep ? () => Math.max(read(), floor) : read,
    wall: given?.now ? read : () => Date.now(),
    check: given?.now ? () => {} : () => clock.check(),
    reached: (time) => {
      if (sleep) floor = Math.max(floor, time);
    },
    random: given?.random?.bind(given) ?? Math.random,
    draws: given?.random !== undefined,
    sleep: sleep ?? alarm,
  };
}

/** Resolves after `ms`, or when the signal aborts. */
export type Alarm = (ms: number, signal?: AbortSignal) => Promise<void>;

/** An alarm without the core. */
export function plainAlarm(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal?.aborted) return resolve();
    const done = (): void => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, Math.min(ms, LONGEST_TIMER_MS));
    signal?.addEventListener("abort", done, { once: true });
  });
}

/** A timer of the platform holds its delay in 31 bits and fires at once beyond. */
const LONGEST_TIMER_MS = 2 ** 31 - 1;

/** One that waits. */
export interface Wait {
  readonly until: number;
  wake(): void;
  /** How many came before: of equals, the first to come wakes first. */
  readonly coming: number;
  /** In the heap; -1: no longer there. */
  index: number;
}

/**
 * Everybody who waits until a time, and one alarm for the first of them. Beginning and ending a wait are O(log n).
 *
 * An alarm only wakes; who is due is decided by the clock. Alarms last at most a minute, or a tenth of what is left,
 * so that a laptop that slept through the end of a wait notices soon.
 */
export class Waits {
  readonly #platform: Platform;
  /** A binary heap, the first one to wake at 0. Each knows its index, so that one can be taken out of the middle. */
  readonly #heap: Wait[] = [];
  #comings = 0;
  #alarm: { at: number; stop: AbortController } | null = null;

  constructor(platform: Platform) {
    this.#platform = platform;
  }

  add(until: number, wake: () => void): Wait {
    this.#platform.check();
    const wait = { until, wake, coming: this.#comings++, index: this.#heap.length };
    this.#heap.push(wait);
    this.#settle(wait);
    if (this.#alarm === null || until < this.#alarm.at) this.#arm(until);
    return wait;
  }

  remove(wait: Wait | null | undefined): void {
    if (!wait) return;
    // It may be due, and out of the heap already.
    wait.wake = nobody;
    if (wait.index < 0) return;
    this.#takeOut(wait);
    if (this.#heap.length === 0) this.#disarm();
  }

  /** Sets a new alarm without touching the old one, which belongs to an instance of the core that is gone. */
  rearm(): void {
    this.#alarm = null;
    this.#armForFirst();
  }

  #arm(until: number): void {
    this.#disarm();
    const now = this.#platform.now();
    const left = Math.max(0, Math.ceil(until - now));
    const ms = Math.min(left, Math.max(SHORT_ALARM_MS, Math.ceil(left / 10)), LONGEST_TIMER_MS);
    const alarm = { at: until, stop: new AbortController() };
    this.#alarm = alarm;
    this.#sleep(ms, alarm.stop.signal).then(() => {
      if (alarm !== this.#alarm) return;
      this.#platform.reached(now + ms);
      this.#ring();
    });
  }

  /** A host whose sleep fails is one that cannot sleep: the platform's timer stands in. */
  async #sleep(ms: number, signal: AbortSignal): Promise<void> {
    try {
      await this.#platform.sleep(ms, signal);
    } catch {
      await plainAlarm(ms, signal);
    }
  }

  #disarm(): void {
    this.#alarm?.stop.abort();
    this.#alarm = null;
  }

  #ring(): void {
    this.#alarm = null;
    this.#platform.check();
    const now = this.#platform.now();
    const due: Wait[] = [];
    for (let first = this.#heap[0]; first !== undefined && first.until <= now; first = this.#heap[0]) {
      this.#takeOut(first);
      due.push(first);
    }
    // What one that wakes adds has an alarm of its own, also where it is due at once: nothing spins here.
    for (const wait of due) {
      try {
        wait.wake();
      } catch {
        // Whoever fails to wake must not keep the others asleep.
      }
    }
    this.#armForFirst();
  }

  #armForFirst(): void {
    const [first] = this.#heap;
    if (first !== undefined && (this.#alarm === null || first.until < this.#alarm.at)) this.#arm(first.until);
  }

  #takeOut(wait: Wait): void {
    const { index } = wait;
    const last = this.#heap.pop();
    wait.index = -1;
    if (last === undefined || last === wait) return;
    last.index = index;
    this.#settle(last);
  }

  /** Puts a wait where it belongs: from its index up, or else down. */
  #settle(wait: Wait): void {
    let { index } = wait;
    for (let parent = this.#at((index - 1) >> 1); parent !== undefined && isBefore(wait, parent); ) {
      const above = parent.index;
      this.#put(parent, index);
      index = above;
      parent = this.#at((index - 1) >> 1);
    }
    for (let child = this.#firstBelow(index); child !== undefined && isBefore(child, wait); ) {
      const below = child.index;
      this.#put(child, index);
      index = below;
      child = this.#firstBelow(index);
    }
    this.#put(wait, index);
  }

  #firstBelow(index: number): Wait | undefined {
    const left = this.#at(2 * index + 1);
    const right = this.#at(2 * index + 2);
    return left !== undefined && right !== undefined && isBefore(right, left) ? right : left;
  }

  #at(index: number): Wait | undefined {
    return this.#heap[index];
  }

  #put(wait: Wait, index: number): void {
    this.#heap[index] = wait;
    wait.index = index;
  }
}

function isBefore(a: Wait, b: Wait): boolean {
  return a.until < b.until || (a.until === b.until && a.coming < b.coming);
}

function nobody(): void {}

/** An alarm of a minute is cheap, and a minute late after a sleep is soon enough. */
const SHORT_ALARM_MS = 60_000;

/** Whether the platform believes that it has a connection; where it cannot tell, it has. */
export function isOnline(): boolean {
  return globalThis.navigator?.onLine !== false;
}

/** A random UUID, also on pages without a secure context. */
export function randomKey(): string {
  if (typeof globalThis.crypto?.randomUUID === "function") return crypto.randomUUID();
  const hex = Array.from({ length: 32 }, () => Math.floor(Math.random() * 16).toString(16));
  hex[12] = "4";
  hex[16] = "89ab".charAt(Math.floor(Math.random() * 4));
  return hex.join("").replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}
