import fc from "fast-check";
import { afterEach, describe, expect, it, vi } from "vitest";
import { plainAlarm, platform, type Wait, Waits } from "../../js/host.ts";
import { RateLimitService } from "../../js/index.ts";
import { ManualHost } from "../../js/testing.ts";
import type { Host, RateLimitConfig } from "../../js/types.ts";
import { ended, refusal, rejection, script } from "./support/service.ts";

afterEach(() => {
  vi.useRealTimers();
});

const QUIET = { logLevel: "silent", jitter: "none" } as const;
const DAY = 86_400_000;

function serviceBy(host: Partial<Host>, config: Partial<RateLimitConfig> = {}): RateLimitService {
  return new RateLimitService({ ...QUIET, ...config }, host);
}

describe("a host with only a sleep", () => {
  it("that returns at once is believed: nothing spins and nobody waits", async () => {
    const sleep = vi.fn(async () => {});
    const service = serviceBy({ sleep });
    const begun = performance.now();
    const operation = script(refusal(30), refusal(40), refusal(50), "done");
    expect(await service.executeWithRetry(operation)).toBe("done");
    expect(performance.now() - begun).toBeLessThan(1_000);
    expect(sleep.mock.calls.length).toBeLessThan(20);
  });

  it("that returns at once, for a wait of days as well", async () => {
    const sleep = vi.fn(async () => {});
    const service = serviceBy({ sleep }, { maxRetryAfterMs: 40 * DAY });
    expect(await service.executeWithRetry(script(refusal(30 * 86_400), "done"))).toBe("done");
    // A tenth of what is left at a time: some two hundred steps, not millions.
    expect(sleep.mock.calls.length).toBeLessThan(500);
  });

  it("that returns at once holds and lets go of many callers", async () => {
    const sleep = vi.fn(async () => {});
    const service = serviceBy({ sleep }, { circuitBreakerThreshold: 1_000 });
    const refused = service.executeWithRetry(script(refusal(5), "done"));
    const others = Array.from({ length: 50 }, () => service.executeWithRetry(async () => "done"));
    expect(new Set(await Promise.all([refused, ...others]))).toEqual(new Set(["done"]));
    expect(sleep.mock.calls.length).toBeLessThan(200);
  });
});

describe("a sleep that fails", () => {
  it.each<[string, Host["sleep"]]>([
    ["rejects", () => Promise.reject(new Error("no timers here"))],
    [
      "throws",
      () => {
        throw new Error("no timers here");
      },
    ],
    ["returns nothing", (() => undefined) as never],
  ])("because it %s harms no call", async (_, sleep) => {
    vi.useFakeTimers();
    const loose = vi.fn();
    process.on("unhandledRejection", loose);
    const service = serviceBy({ sleep });
    const call = ended(service.executeWithRetry(script(refusal(2), refusal(), "done")));
    const bounded = ended(service.executeWithRetry(() => new Promise(() => {}), { deadlineMs: 3_000 }));
    await vi.advanceTimersByTimeAsync(10_000);
    expect(await call).toEqual({ value: "done" });
    expect((await bounded).error).toMatchObject({ code: "RATE_LIMIT_DEADLINE_EXCEEDED" });
    vi.useRealTimers();
    await new Promise(setImmediate);
    process.off("unhandledRejection", loose);
    expect(loose).not.toHaveBeenCalled();
  });

  it("late is a wait that ends late", async () => {
    const host = new ManualHost();
    const late = { now: host.now, random: host.random, sleep: (ms: number) => host.sleep(ms + 5_000) };
    const service = serviceBy(late);
    const begun = host.now();
    await host.drive(service.executeWithRetry(script(refusal(), "done")));
    expect(host.now() - begun).toBe(5_100);
  });

  it("early does not end a wait early, by a host that has a clock", async () => {
    const host = new ManualHost();
    const early = {
      now: host.now,
      random: host.random,
      sleep: (ms: number) => host.sleep(Math.ceil(ms / 3)),
    };
    const service = serviceBy(early);
    const begun = host.now();
    const operation = script(refusal(30), "done");
    await host.drive(service.executeWithRetry(operation));
    expect(host.now() - begun).toBeGreaterThanOrEqual(10_000);
    expect(operation.times).toBe(2);
  });
});

describe("alarms", () => {
  /** The lengths of the alarms of a call that waits so long. */
  async function alarmsOf(waitMs: number): Promise<{ alarms: number[]; tookMs: number }> {
    const host = new ManualHost();
    const alarms: number[] = [];
    const sleep = (ms: number, signal?: AbortSignal): Promise<void> => {
      alarms.push(ms);
      return host.sleep(ms, signal);
    };
    const service = serviceBy({ now: host.now, random: host.random, sleep }, { maxRetryAfterMs: 365 * DAY });
    const begun = host.now();
    const error = Object.assign(refusal(), { headers: { "retry-after-ms": String(waitMs) } });
    expect(await host.drive(service.executeWithRetry(script(error, "done")))).toBe("done");
    return { alarms, tookMs: host.now() - begun };
  }

  it.each([1_000, 60_000, 61_234, 3_600_000, 3 * DAY + 7, 40 * DAY, 364 * DAY + 11])(
    "of a wait of %d ms are whole, short enough to notice a sleep of the machine, and end it on time",
    async (waitMs) => {
      const { alarms, tookMs } = await alarmsOf(waitMs);
      expect(tookMs).toBe(waitMs);
      let left = waitMs;
      for (const ms of alarms) {
        expect(Number.isInteger(ms), `${ms} is whole`).toBe(true);
        expect(ms).toBeGreaterThan(0);
        expect(ms).toBeLessThanOrEqual(Math.max(60_000, Math.ceil(left / 10)));
        expect(ms).toBeLessThanOrEqual(2 ** 31 - 1);
        left -= ms;
      }
    },
  );

  it("of the platform never ask for more than its timers can hold", async () => {
    vi.useFakeTimers();
    const setTimeoutSpy = vi.spyOn(globalThis, "setTimeout");
    const service = new RateLimitService({ ...QUIET, maxRetryAfterMs: 365 * DAY });
    const call = service.executeWithRetry(script(refusal(360 * 86_400), "done"));
    const timeout = ended(service.executeWithRetry(() => new Promise(() => {}), { deadlineMs: 200 * DAY }));
    await vi.advanceTimersByTimeAsync(359 * DAY);
    expect((await timeout).error).toMatchObject({ code: "RATE_LIMIT_DEADLINE_EXCEEDED" });
    expect(vi.getTimerCount()).toBe(1);
    await vi.advanceTimersByTimeAsync(2 * DAY);
    expect(await call).toBe("done");
    for (const [, ms] of setTimeoutSpy.mock.calls) expect(ms ?? 0).toBeLessThanOrEqual(2 ** 31 - 1);
  });

  it("are one for everybody who waits", async () => {
    const host = new ManualHost();
    const service = serviceBy(host);
    const calls = Array.from({ length: 40 }, () =>
      ended(service.executeWithRetry(script(refusal(5), "done"))),
    );
    await host.advance(0);
    expect(host.sleeping).toBe(1);
    await host.advance(60_000);
    expect(host.sleeping).toBe(0);
    for (const call of calls) expect(await call).toEqual({ value: "done" });
  });
});

describe("Waits", () => {
  interface Bench {
    waits: Waits;
    host: ManualHost;
    woken: string[];
    add(name: string, inMs: number, and?: () => void): Wait;
  }

  function bench(): Bench {
    const host = new ManualHost();
    const begun = host.now();
    const waits = new Waits(platform(host, plainAlarm));
    const woken: string[] = [];
    const add = (name: string, inMs: number, and?: () => void): Wait =>
      waits.add(begun + inMs, () => {
        woken.push(name);
        and?.();
      });
    return { waits, host, woken, add };
  }

  it("wake by time, and of equals the first to come first", async () => {
    const { host, woken, add } = bench();
    for (const [name, ms] of Object.entries({ d: 30, a: 10, e: 30, b: 20, f: 30, c: 20, g: 30 }))
      add(name, ms);
    await host.advance(19);
    expect(woken.join("")).toBe("a");
    await host.advance(1_000);
    expect(woken.join("")).toBe("abcdefg");
    expect(host.sleeping).toBe(0);
  });

  it("in any order of coming and going wake whom they should, when they should", async () => {
    const wait = fc.record({ ms: fc.integer({ min: 0, max: 50 }), leaves: fc.boolean() });
    await fc.assert(
      fc.asyncProperty(fc.array(wait, { maxLength: 60 }), async (given) => {
        const { waits, host, woken, add } = bench();
        const all = given.map(({ ms }, i) => add(String(i), ms));
        given.forEach(({ leaves }, i) => {
          if (leaves) waits.remove(all[i]);
        });
        await host.advance(25);
        const due = given.map(({ ms, leaves }, i) => ({ ms, leaves, i })).filter(({ leaves }) => !leaves);
        const names = (until: number): string[] =>
          due
            .filter(({ ms }) => ms <= until)
            .sort((a, b) => a.ms - b.ms || a.i - b.i)
            .map(({ i }) => String(i));
        expect(woken).toEqual(names(25));
        await host.advance(50);
        expect(woken).toEqual(names(50));
        expect(host.sleeping).toBe(0);
      }),
    );
  });

  it("one that wakes may end another that is due, and begin one that is due at once; one that fails harms nobody", async () => {
    const { waits, host, woken, add } = bench();
    let second: Wait | undefined;
    add("first", 10, () => {
      waits.remove(second);
      add("new", 0);
      throw new Error("failed to wake");
    });
    second = add("second", 10);
    add("third", 10);
    await host.advance(10);
    expect(woken).toEqual(["first", "third", "new"]);
    expect(host.sleeping).toBe(0);
  });

  it("that have ended, or never were, may be ended again", async () => {
    const { waits, host, woken, add } = bench();
    const wait = add("once", 5);
    await host.advance(5);
    const other = add("other", 20);
    for (const gone of [wait, wait, other, other, null, undefined]) waits.remove(gone);
    await host.advance(100);
    expect(woken).toEqual(["once"]);
    expect(host.sleeping).toBe(0);
  });

  it("by the hundred thousand cost no more for each than alone", async () => {
    let now = 0;
    let ring = (): void => {};
    const sleep = (): Promise<void> => new Promise((resolve) => (ring = resolve));
    const waits = new Waits(platform({ now: () => now, sleep }, plainAlarm));
    const begun = performance.now();
    let woken = 0;
    const all = Array.from({ length: 100_000 }, (_, i) =>
      waits.add(1 + ((i * 7_919) % 100_000), () => woken++),
    );
    for (let i = 0; i < all.length; i += 2) waits.remove(all[i]);
    // Half of them are due at one ring, the others each at one of its own.
    for (now = 50_000; woken < 50_000 && now <= 101_000; now += 10) {
      ring();
      await new Promise(setImmediate);
    }
    expect(woken).toBe(50_000);
    expect(performance.now() - begun).toBeLessThan(4_000);
  });
});

describe("a partial host", () => {
  const parts: Record<string, () => Partial<Host>> = {
    nothing: () => ({}),
    "a clock": () => ({ now: () => Date.now() }),
    "a clock from zero": () => {
      const begun = Date.now();
      return { now: () => Date.now() - begun };
    },
    randomness: () => ({ random: () => 0.5 }),
    "a sleep": () => ({ sleep: (ms) => new Promise((done) => setTimeout(done, ms)) }),
    "undefined parts": () => ({ now: undefined, random: undefined, sleep: undefined }) as never,
  };

  it.each(Object.entries(parts))("with %s: the platform does the rest", async (_, make) => {
    vi.useFakeTimers();
    const service = new RateLimitService({ logLevel: "silent" }, make());
    const begun = Date.now();
    const operation = script(refusal(2), "done");
    const call = service.executeWithRetry(operation);
    await vi.advanceTimersByTimeAsync(1_999);
    expect(operation.times).toBe(1);
    await vi.advanceTimersByTimeAsync(500);
    expect(await call).toBe("done");
    expect(Date.now() - begun).toBe(2_499);
    expect(vi.getTimerCount()).toBe(0);
  });

  it("is called with itself as `this`", async () => {
    class Counting implements Host {
      readonly #inner = new ManualHost();
      calls = 0;
      now(): number {
        this.calls++;
        return this.#inner.now();
      }
      random(): number {
        this.calls++;
        return this.#inner.random();
      }
      sleep(ms: number, signal?: AbortSignal): Promise<void> {
        this.calls++;
        return this.#inner.sleep(ms, signal);
      }
      drive<T>(promise: Promise<T>): Promise<T> {
        return this.#inner.drive(promise);
      }
    }
    const host = new Counting();
    const service = new RateLimitService({ logLevel: "silent" }, host);
    expect(await host.drive(service.executeWithRetry(script(refusal(), "done")))).toBe("done");
    expect(host.calls).toBeGreaterThan(2);
  });

  it("whose randomness is out of range, or none, still makes a legal pause", async () => {
    for (const drawn of [-1, 2, Number.NaN, Number.POSITIVE_INFINITY]) {
      const host = new ManualHost();
      const service = new RateLimitService(
        { logLevel: "silent" },
        { now: host.now, sleep: host.sleep, random: () => drawn },
      );
      const pauses: number[] = [];
      service.on("retry", ({ delayMs }) => pauses.push(delayMs));
      await host.drive(service.executeWithRetry(script(refusal(), "done")));
      expect(pauses[0]).toBeGreaterThanOrEqual(100);
      expect(pauses[0]).toBeLessThanOrEqual(120);
    }
  });

  it("whose clock goes back ends its waits all the same", async () => {
    const host = new ManualHost();
    let back = 0;
    const service = serviceBy({ now: () => host.now() - back, random: host.random, sleep: host.sleep });
    const operation = script(refusal(5), "done");
    const call = service.executeWithRetry(operation);
    await host.advance(2_000);
    back = 3_600_000;
    expect(
      await rejection(service.executeWithRetry(script(refusal(undefined, 404)), { deadlineMs: 1 })),
    ).toBeDefined();
    await host.advance(2 * 3_600_000);
    expect(await call).toBe("done");
  });
});
