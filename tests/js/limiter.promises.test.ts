import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import "../../js/index.ts";
import { RateLimiter } from "../../js/limiter.ts";
import { ManualHost } from "../../js/testing.ts";
import { ended, Log } from "./support/service.ts";

/** What a limiter promises whatever happens, against a log that forgets nothing; and the same by other clocks. */

const SECOND = 1_000;
const MINUTE = 60_000;
const HOUR = 3_600_000;
const DAY = 86_400_000;

interface Limit {
  maxRequests: number;
  windowMs: number;
}

/** Every unit that was used, by key: when, and how many. */
class Ledger {
  readonly #used = new Map<string, { at: number; units: number }[]>();

  add(key: string, at: number, units: number): { at: number; units: number } {
    const entry = { at, units };
    this.#used.set(key, [...(this.#used.get(key) ?? []), entry]);
    return entry;
  }

  /** Units of the last `windowMs`; one that is exactly so old counts no longer. */
  usedIn(key: string, windowMs: number, now: number): number {
    let used = 0;
    for (const { at, units } of this.#used.get(key) ?? [])
      if (at <= now && at > now - windowMs) used += units;
    return used;
  }

  /** Fails when any window, wherever it ends, has more than it may. */
  check(limits: readonly Limit[]): void {
    for (const [key, entries] of this.#used) {
      for (const { at } of entries) {
        for (const { maxRequests, windowMs } of limits) {
          const used = this.usedIn(key, windowMs, at);
          if (used > maxRequests) {
            throw new Error(
              `${used} units of ${key} in ${windowMs} ms until ${at}; the limit is ${maxRequests}`,
            );
          }
        }
      }
    }
  }
}

const limits = fc.uniqueArray(
  fc.record({ maxRequests: fc.integer({ min: 1, max: 12 }), windowMs: fc.integer({ min: 1, max: 5_000 }) }),
  { minLength: 1, maxLength: 3, selector: ({ windowMs }) => windowMs },
);

const key = fc.constantFrom("a", "b");

const step = fc.oneof(
  fc.record({ do: fc.constant("pass" as const), ms: fc.integer({ min: 0, max: 700 }) }),
  fc.record({ do: fc.constant("pass" as const), ms: fc.integer({ min: 0, max: 20_000 }) }),
  fc.record({ do: fc.constant("take" as const), key, weight: fc.integer({ min: 1, max: 4 }) }),
  fc.record({ do: fc.constant("take" as const), key, weight: fc.constant(1) }),
  fc.record({ do: fc.constant("reserve" as const), key, weight: fc.integer({ min: 1, max: 4 }) }),
  fc.record({ do: fc.constant("give back" as const), which: fc.nat() }),
  fc.record({ do: fc.constant("reload" as const), ms: fc.integer({ min: 0, max: 3_000 }) }),
);

describe("never more than the limit in any window", () => {
  it("of units that are taken, reserved, given back and carried over a reload; and what has room is not refused", async () => {
    await fc.assert(
      fc.asyncProperty(limits, fc.array(step, { minLength: 1, maxLength: 60 }), async (windows, steps) => {
        const host = new ManualHost();
        const most = Math.min(...windows.map(({ maxRequests }) => maxRequests));
        const ledger = new Ledger();
        /** What was given back was taken, until it was: it may keep others out, and never lets more in. */
        const everTaken = new Ledger();
        let limiter = new RateLimiter({ windows, host });
        let reservations: { giveBack(): void; entry: { units: number } }[] = [];

        const took = (key: string, weight: number): ReturnType<Ledger["add"]> => {
          everTaken.add(key, host.now(), weight);
          const entry = ledger.add(key, host.now(), weight);
          ledger.check(windows);
          return entry;
        };
        const refused = (key: string, weight: number): void => {
          const isFull = windows.some(
            ({ maxRequests, windowMs }) =>
              everTaken.usedIn(key, windowMs + Math.ceil(windowMs / 64) + 1, host.now()) + weight >
              maxRequests,
          );
          if (!isFull) throw new Error(`refused ${weight} of ${key}, and every window has room`);
        };

        for (const act of steps) {
          if (act.do === "pass") await host.advance(act.ms);
          else if (act.do === "take") {
            const weight = Math.min(act.weight, most);
            if (limiter.tryAcquire(act.key, { weight })) took(act.key, weight);
            else refused(act.key, weight);
          } else if (act.do === "reserve") {
            const weight = Math.min(act.weight, most);
            const reservation = limiter.reserve(act.key, { weight });
            if (reservation) {
              reservations.push({ giveBack: reservation.giveBack, entry: took(act.key, weight) });
            } else refused(act.key, weight);
          } else if (act.do === "give back") {
            const [reservation] = reservations.splice(act.which % Math.max(1, reservations.length), 1);
            reservation?.giveBack();
            if (reservation) reservation.entry.units = 0;
          } else {
            const state = JSON.parse(JSON.stringify(limiter.snapshot()));
            limiter.dispose();
            await host.advance(act.ms);
            limiter = new RateLimiter({ windows, host });
            limiter.restore(state);
            reservations = [];
          }
        }
      }),
      { numRuns: 300 },
    );
  });

  it("of those who wait, with weights, priorities, aborts and deadlines; and everybody comes to an end", async () => {
    const call = fc.record({
      after: fc.integer({ min: 0, max: 2_000 }),
      key,
      weight: fc.integer({ min: 1, max: 4 }),
      priority: fc.integer({ min: -1, max: 1 }),
      abortAfter: fc.option(fc.integer({ min: 0, max: 5_000 }), { nil: null, freq: 4 }),
      deadlineMs: fc.option(fc.integer({ min: 1, max: 10_000 }), { nil: undefined, freq: 4 }),
    });
    await fc.assert(
      fc.asyncProperty(limits, fc.array(call, { minLength: 1, maxLength: 25 }), async (windows, calls) => {
        const host = new ManualHost();
        const limiter = new RateLimiter({ windows, host });
        const most = Math.min(...windows.map(({ maxRequests }) => maxRequests));
        const ledger = new Ledger();
        const gone: { number: number; key: string; priority: number }[] = [];
        const waits = calls.map(
          async ({ after, key, weight: wished, priority, abortAfter, deadlineMs }, number) => {
            const controller = new AbortController();
            const weight = Math.min(wished, most);
            await host.sleep(after);
            if (abortAfter !== null) void host.sleep(abortAfter).then(() => controller.abort());
            const begun = host.now();
            const end = await ended(
              limiter.wait(key, { weight, priority, signal: controller.signal, deadlineMs }),
            );
            if (!("error" in end)) {
              ledger.add(key, host.now(), weight);
              gone.push({ number, key, priority });
            } else if (deadlineMs !== undefined && host.now() > begun + deadlineMs) {
              throw new Error("it was told after its deadline");
            }
          },
        );
        await host.drive(Promise.all(waits));
        ledger.check(windows);
        // Nobody overtakes one of the same priority who came before.
        for (const [place, one] of gone.entries()) {
          for (const other of gone.slice(place + 1)) {
            const isSame = one.key === other.key && one.priority === other.priority;
            const came = (number: number): number => calls[number]?.after ?? 0;
            if (isSame && came(other.number) < came(one.number)) throw new Error("it was overtaken");
          }
        }
      }),
      { numRuns: 200 },
    );
  });

  it("holds through a whole day of 60 a minute, 500 an hour and 800 a day", async () => {
    const windows = [
      { maxRequests: 60, windowMs: MINUTE },
      { maxRequests: 500, windowMs: HOUR },
      { maxRequests: 800, windowMs: DAY },
    ];
    const host = new ManualHost();
    const limiter = new RateLimiter({ windows, host });
    const ledger = new Ledger();
    let used = 0;
    for (let tick = 0; tick < 2 * 86_400; tick += 7) {
      while (limiter.tryAcquire("agent")) {
        ledger.add("agent", host.now(), 1);
        used++;
      }
      await host.advance(7 * SECOND);
    }
    ledger.check(windows);
    expect(used).toBe(1_600);
  }, 20_000);
});

describe("with Vitest's timers", () => {
  beforeEach(() => {
    vi.useFakeTimers();
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  const quiet = { logger: new Log() };

  it("5 requests at 1 s apart take 4 s, the first at once", async () => {
    const begun = Date.now();
    const limiter = new RateLimiter({ minIntervalMs: SECOND, ...quiet });
    const starts: number[] = [];
    const all = Promise.all(
      Array.from({ length: 5 }, () => limiter.wait().then(() => starts.push(Date.now() - begun))),
    );
    await vi.advanceTimersByTimeAsync(3_999);
    expect(starts).toEqual([0, 1_000, 2_000, 3_000]);
    await vi.advanceTimersByTimeAsync(1);
    await all;
    expect(starts).toEqual([0, 1_000, 2_000, 3_000, 4_000]);
    expect(vi.getTimerCount()).toBe(0);
  });

  it("an abort ends a wait within the same turn of the event loop", async () => {
    const limiter = new RateLimiter({ minIntervalMs: DAY, ...quiet });
    await limiter.wait();
    const controller = new AbortController();
    const waiting = ended(limiter.wait("", { signal: controller.signal }));
    await vi.advanceTimersByTimeAsync(SECOND);
    controller.abort();
    expect((await waiting).error).toMatchObject({ name: "AbortError" });
    expect(vi.getTimerCount()).toBe(0);
  });

  it("a window longer than a timer can be does not end at once", async () => {
    const limiter = new RateLimiter({ windows: { maxRequests: 1, windowMs: 40 * DAY }, ...quiet });
    await limiter.wait();
    let isOver = false;
    const waiting = limiter.wait().then(() => {
      isOver = true;
    });
    await vi.advanceTimersByTimeAsync(40 * DAY - 1);
    expect(isOver).toBe(false);
    await vi.advanceTimersByTimeAsync(DAY);
    await waiting;
  });

  it("a clock that is set forward by a day while somebody waits ends the wait at the next look", async () => {
    const limiter = new RateLimiter({ windows: { maxRequests: 1, windowMs: HOUR }, ...quiet });
    await limiter.wait();
    const waiting = ended(limiter.wait());
    vi.setSystemTime(Date.now() + DAY);
    await vi.advanceTimersByTimeAsync(HOUR / 10 + MINUTE);
    expect(await waiting).toEqual({ value: undefined });
  });

  it("a clock that is set back by an hour makes nobody wait longer", async () => {
    const limiter = new RateLimiter({ windows: { maxRequests: 1, windowMs: MINUTE }, ...quiet });
    await limiter.wait();
    const waiting = limiter.wait();
    await vi.advanceTimersByTimeAsync(10 * SECOND);
    vi.setSystemTime(Date.now() - HOUR);
    await vi.advanceTimersByTimeAsync(MINUTE);
    await waiting;
    expect(limiter.tryAcquire()).toBe(false);
  });
});
