import { afterEach, describe, expect, it, vi } from "vitest";
import "../../js/index.ts";
import { RateLimitConfigError, RateLimitError } from "../../js/errors.ts";
import { RateLimiter, type RateLimiterOptions, type WaitOptions } from "../../js/limiter.ts";
import { ManualHost } from "../../js/testing.ts";
import { ended, Log, rejection } from "./support/service.ts";

afterEach(() => {
  vi.unstubAllGlobals();
});

const SECOND = 1_000;
const MINUTE = 60_000;
const HOUR = 3_600_000;
const DAY = 86_400_000;

interface Bench {
  limiter: RateLimiter;
  host: ManualHost;
  log: Log;
  /** When each wait that was begun with `run` ended, in seconds since the beginning, in the order in which they ended. */
  starts: number[];
  run(times: number, key?: string, options?: WaitOptions): Promise<unknown>;
}

function bench(options: RateLimiterOptions): Bench {
  const host = new ManualHost();
  const log = new Log();
  const limiter = new RateLimiter({ host, logger: log, ...options });
  const begun = host.now();
  const starts: number[] = [];
  const run = (times: number, key?: string, more?: WaitOptions): Promise<unknown> =>
    Promise.all(
      Array.from({ length: times }, async () => {
        await limiter.wait(key, more);
        starts.push((host.now() - begun) / SECOND);
      }),
    );
  return { limiter, host, log, starts, run };
}

/** The most units that came in any stretch of that length, of starts in seconds. */
function most(starts: readonly number[], windowMs: number): number {
  const within = (from: number): number =>
    starts.filter((at) => at >= from && at * SECOND < from * SECOND + windowMs).length;
  return Math.max(0, ...starts.map(within));
}

describe("a minimum interval", () => {
  it("5 starts at 1 s apart take 4 s, the first at once", async () => {
    const { host, run, starts } = bench({ minIntervalMs: SECOND });
    const all = run(5);
    await host.advance(0);
    expect(starts).toEqual([0]);
    await host.drive(all);
    expect(starts).toEqual([0, 1, 2, 3, 4]);
  });

  it("counts from the start before, however long nobody came", async () => {
    const { host, run, starts } = bench({ minIntervalMs: SECOND });
    await run(1);
    await host.advance(10 * SECOND + 1);
    await host.drive(run(2));
    expect(starts).toEqual([0, 10.001, 11.001]);
  });

  it("holds each key by itself", async () => {
    const { host, run, starts } = bench({ minIntervalMs: SECOND });
    await Promise.all([run(1, "a"), run(1, "b"), run(1)]);
    expect(starts).toEqual([0, 0, 0]);
    await host.drive(run(1, "b"));
    expect(starts.at(-1)).toBe(1);
  });

  it("counts 1 until it has passed", async () => {
    const { host, limiter } = bench({ minIntervalMs: SECOND });
    expect(limiter.count()).toBe(0);
    expect(limiter.tryAcquire()).toBe(true);
    expect(limiter.count()).toBe(1);
    expect(limiter.status()).toEqual({ windows: [], nextPermitAt: host.now() + SECOND });
    await host.advance(SECOND);
    expect(limiter.count()).toBe(0);
  });

  it("holds beside windows", async () => {
    const { host, run, starts } = bench({
      minIntervalMs: SECOND,
      windows: { maxRequests: 3, windowMs: MINUTE },
    });
    await host.drive(run(4));
    expect(starts.slice(0, 3)).toEqual([0, 1, 2]);
    expect(starts[3]).toBeGreaterThanOrEqual(60);
    expect(starts[3]).toBeLessThanOrEqual(60 * (1 + 1 / 64) + 2);
  });
});

describe("windows", () => {
  it("lets everybody go at once who has room, and the others as it comes back", async () => {
    const { host, run, starts } = bench({ windows: { maxRequests: 3, windowMs: 10 * SECOND } });
    const all = run(7);
    await host.advance(0);
    expect(starts).toEqual([0, 0, 0]);
    await host.drive(all);
    expect(starts).toHaveLength(7);
    expect(most(starts, 10 * SECOND)).toBe(3);
    expect(starts.at(-1)).toBeLessThanOrEqual(2 * 10 * (1 + 1 / 64));
  });

  it("60 a minute and 500 an hour, both at once", async () => {
    const { host, run, starts } = bench({
      windows: [
        { maxRequests: 60, windowMs: MINUTE },
        { maxRequests: 500, windowMs: HOUR },
      ],
    });
    await host.drive(run(1_000));
    expect(starts).toHaveLength(1_000);
    expect(most(starts, MINUTE)).toBe(60);
    expect(most(starts, HOUR)).toBe(500);
    // Eight minutes and a bit for the first 500, then an hour from the first of them, late by at most a 64th.
    expect(starts[499]).toBeLessThanOrEqual(8 * 60 * (1 + 1 / 64));
    expect(starts[500]).toBeGreaterThanOrEqual(3_600);
    expect(starts[500]).toBeLessThanOrEqual(3_600 * (1 + 1 / 64));
  });

  it("does not let twice the limit through where one minute ends and the next begins", async () => {
    const { host, run, starts } = bench({ windows: { maxRequests: 60, windowMs: MINUTE } });
    await host.advance(59_900);
    await run(60);
    await host.advance(200);
    const next = run(60);
    await host.advance(MINUTE - 201);
    expect(starts).toHaveLength(60);
    await host.drive(next);
    expect(most(starts, MINUTE)).toBe(60);
  });

  it("serves a key in the order of arrival", async () => {
    const { host, limiter } = bench({ windows: { maxRequests: 1, windowMs: SECOND } });
    const order: number[] = [];
    const all = Promise.all([0, 1, 2, 3, 4].map((n) => limiter.wait("k").then(() => order.push(n))));
    await host.drive(all);
    expect(order).toEqual([0, 1, 2, 3, 4]);
  });

  it("serves a higher priority first, and one that has waited long before that", async () => {
    const { host, limiter } = bench({ windows: { maxRequests: 1, windowMs: 4 * SECOND } });
    const order: string[] = [];
    const wait = (name: string, priority: number): Promise<unknown> =>
      limiter.wait("k", { priority }).then(() => order.push(name));
    await wait("first", 0);
    const early = [wait("low", 0), wait("high", 2)];
    await host.advance(11 * SECOND);
    expect(order).toEqual(["first", "high", "low"]);
    const late = [wait("later", 0)];
    await host.advance(1);
    late.push(wait("urgent", 1));
    await host.drive(Promise.all([...early, ...late]));
    expect(order.slice(3)).toEqual(["urgent", "later"]);
  });

  it("10 callers times 3: one limit for all of them", async () => {
    const { host, run, starts } = bench({ windows: { maxRequests: 10, windowMs: SECOND } });
    const caller = async (): Promise<void> => {
      for (let call = 0; call < 3; call++) await run(1);
    };
    await host.drive(Promise.all(Array.from({ length: 10 }, caller)));
    expect(starts).toHaveLength(30);
    expect(most(starts, SECOND)).toBe(10);
    expect(starts.at(-1)).toBeLessThanOrEqual(2 * (1 + 1 / 64));
  });

  it("spaces starts evenly when it is smooth", async () => {
    const { host, run, starts } = bench({ windows: { maxRequests: 60, windowMs: MINUTE }, smooth: true });
    await host.drive(run(5));
    expect(starts).toEqual([0, 1, 2, 3, 4]);
  });

  it("takes a weight all at once, and lets nobody overtake who needs less", async () => {
    const { host, limiter } = bench({ windows: { maxRequests: 10, windowMs: SECOND } });
    const order: string[] = [];
    const wait = (name: string, weight: number): Promise<unknown> =>
      limiter.wait("k", { weight }).then(() => order.push(name));
    await wait("six", 6);
    const all = [wait("seven", 7), wait("one", 1)];
    await host.advance(0);
    expect(order).toEqual(["six"]);
    expect(limiter.tryAcquire("k")).toBe(false);
    await host.drive(Promise.all(all));
    expect(order).toEqual(["six", "seven", "one"]);
    expect(limiter.count("k")).toBe(8);
  });

  it("tells of 80 % of a window, once until it has been less", async () => {
    const { host, limiter, run } = bench({ windows: { maxRequests: 5, windowMs: SECOND } });
    const told: unknown[] = [];
    const off = limiter.on("warned", (event) => told.push(event));
    await run(3, "k");
    expect(told).toEqual([]);
    await run(2, "k");
    expect(told).toMatchObject([{ key: "k", maxRequests: 5, windowMs: SECOND, used: 4 }]);
    await host.advance(2 * SECOND);
    await run(4, "k");
    expect(told).toHaveLength(2);
    off();
    await host.advance(2 * SECOND);
    await run(4, "k");
    expect(told).toHaveLength(2);
  });
});

describe("set to reject", () => {
  it("rejects with the time and the window, and spends nothing by that", async () => {
    const { host, limiter, run } = bench({
      windows: [
        { maxRequests: 2, windowMs: SECOND },
        { maxRequests: 3, windowMs: MINUTE },
      ],
      onLimit: "reject",
    });
    await run(2, "k");
    const error = (await rejection(limiter.wait("k"))) as RateLimitError;
    expect(error).toBeInstanceOf(RateLimitError);
    expect(error).toMatchObject({
      code: "RATE_LIMIT_QUOTA_EXHAUSTED",
      limit: { maxRequests: 2, windowMs: SECOND },
      attempts: 0,
    });
    expect(error.retryAfterMs).toBeGreaterThan(0);
    expect(error.retryAfterMs).toBeLessThanOrEqual(SECOND * (1 + 1 / 64));
    expect(error.userMessage).toContain("The limit of 2 per second is reached.");
    await host.advance(error.retryAfterMs ?? 0);
    await limiter.wait("k");
    expect(await rejection(limiter.wait("k"))).toMatchObject({ limit: { maxRequests: 3, windowMs: MINUTE } });
    expect(limiter.status("k").windows).toMatchObject([{ used: 1 }, { used: 3 }]);
  });

  it("rejects what the minimum interval holds", async () => {
    const { limiter } = bench({ minIntervalMs: SECOND, onLimit: "reject" });
    await limiter.wait();
    expect(await rejection(limiter.wait())).toMatchObject({
      code: "RATE_LIMIT_QUOTA_EXHAUSTED",
      retryAfterMs: SECOND,
    });
  });
});

describe("a wait that ends early", () => {
  it("is rejected at once when it cannot be over by its deadline", async () => {
    const { limiter, host } = bench({ minIntervalMs: SECOND });
    await limiter.wait();
    const begun = host.now();
    expect(await rejection(limiter.wait("", { deadlineMs: SECOND }))).toMatchObject({
      code: "RATE_LIMIT_DEADLINE_EXCEEDED",
    });
    expect(host.now()).toBe(begun);
    await host.drive(limiter.wait("", { deadlineMs: SECOND + 1 }));
    expect(host.now()).toBe(begun + SECOND);
  });

  it("rejects with the signal's reason within the same turn, and spends nothing", async () => {
    const { limiter, host, run, starts } = bench({ windows: { maxRequests: 1, windowMs: SECOND } });
    await run(1);
    const controller = new AbortController();
    const reason = new Error("the user went away");
    const waiting = ended(limiter.wait("", { signal: controller.signal }));
    const next = run(1);
    await host.advance(500);
    const before = host.now();
    controller.abort(reason);
    expect(await waiting).toEqual({ error: reason });
    expect(host.now()).toBe(before);
    expect(limiter.count()).toBe(1);
    await host.drive(next);
    // The one behind it goes when the first would have.
    expect(starts[1]).toBeLessThanOrEqual(1 + 1 / 64);
  });

  it("does not begin with a signal that has aborted", async () => {
    const { limiter } = bench({ minIntervalMs: SECOND });
    expect(await rejection(limiter.wait("", { signal: AbortSignal.abort() }))).toMatchObject({
      name: "AbortError",
    });
    expect(limiter.count()).toBe(0);
  });

  it("leaves nobody asleep", async () => {
    const { limiter, host } = bench({ minIntervalMs: HOUR });
    await limiter.wait();
    const controller = new AbortController();
    const waits = Array.from({ length: 20 }, () => ended(limiter.wait("", { signal: controller.signal })));
    await host.advance(0);
    expect(host.sleeping).toBe(1);
    controller.abort();
    await Promise.all(waits);
    expect(host.sleeping).toBe(0);
  });

  it("is over for all when the limiter is disposed of", async () => {
    const { limiter } = bench({ minIntervalMs: HOUR });
    await limiter.wait();
    const waiting = ended(limiter.wait());
    limiter.dispose();
    expect((await waiting).error).toMatchObject({ name: "AbortError" });
  });

  it("finds no place in a line that is full", async () => {
    const { limiter } = bench({ minIntervalMs: SECOND, maxQueue: 2 });
    await limiter.wait();
    void limiter.wait();
    void limiter.wait("other");
    void limiter.wait();
    expect(await rejection(limiter.wait())).toMatchObject({ code: "RATE_LIMIT_QUEUE_FULL" });
  });
});

describe("tryAcquire, reserve, reset, count and status", () => {
  it("tryAcquire takes what is free, and never overtakes who waits", async () => {
    const { limiter, host } = bench({ windows: { maxRequests: 2, windowMs: SECOND } });
    expect(limiter.tryAcquire("k", { weight: 2 })).toBe(true);
    expect(limiter.tryAcquire("k")).toBe(false);
    expect(limiter.tryAcquire("other")).toBe(true);
    const waiting = limiter.wait("k", { weight: 2 });
    await host.drive(waiting);
    expect(limiter.tryAcquire("k")).toBe(false);
  });

  it("a reservation gives its units back, once", () => {
    const { limiter } = bench({ windows: { maxRequests: 5, windowMs: MINUTE } });
    limiter.tryAcquire("k", { weight: 2 });
    const reservation = limiter.reserve("k", { weight: 3 });
    expect(limiter.count("k")).toBe(5);
    expect(limiter.reserve("k")).toBeNull();
    reservation?.giveBack();
    reservation?.giveBack();
    expect(limiter.count("k")).toBe(2);
  });

  it("what comes back goes to who waits for it, at once", async () => {
    const { limiter, host } = bench({ windows: { maxRequests: 1, windowMs: HOUR } });
    const reservation = limiter.reserve("k");
    const waiting = limiter.wait("k");
    await host.advance(SECOND);
    reservation?.giveBack();
    expect(await ended(waiting)).toEqual({ value: undefined });
  });

  it("giving back is harmless after the window, and after a reset", async () => {
    const { limiter, host } = bench({ windows: { maxRequests: 5, windowMs: SECOND } });
    const old = limiter.reserve("k", { weight: 5 });
    await host.advance(2 * SECOND);
    expect(limiter.tryAcquire("k", { weight: 4 })).toBe(true);
    old?.giveBack();
    expect(limiter.count("k")).toBe(4);
    const wiped = limiter.reserve("k");
    limiter.reset("k");
    await host.advance(1);
    expect(limiter.tryAcquire("k", { weight: 3 })).toBe(true);
    wiped?.giveBack();
    expect(limiter.count("k")).toBe(3);
  });

  it("reset forgets one key or all, and lets those go who waited", async () => {
    const { limiter, host } = bench({ windows: { maxRequests: 1, windowMs: HOUR } });
    for (const key of ["a", "b"]) await limiter.wait(key);
    const waits = [limiter.wait("a"), limiter.wait("b")];
    await host.advance(SECOND);
    limiter.reset("a");
    await waits[0];
    expect([limiter.count("a"), limiter.count("b")]).toEqual([1, 1]);
    limiter.reset();
    await waits[1];
    limiter.reset();
    expect([limiter.count("a"), limiter.count("b")]).toEqual([0, 0]);
  });

  it("status tells every window, and when the next unit comes", async () => {
    const { limiter, host } = bench({
      windows: [
        { maxRequests: 500, windowMs: HOUR },
        { maxRequests: 60, windowMs: MINUTE },
      ],
    });
    const minute = { maxRequests: 60, windowMs: MINUTE };
    const hour = { maxRequests: 500, windowMs: HOUR };
    expect(limiter.status("k")).toEqual({
      windows: [
        { ...minute, used: 0, left: 60 },
        { ...hour, used: 0, left: 500 },
      ],
      nextPermitAt: host.now(),
    });
    limiter.tryAcquire("k", { weight: 60 });
    const { windows, nextPermitAt } = limiter.status("k");
    expect(windows).toEqual([
      { ...minute, used: 60, left: 0 },
      { ...hour, used: 60, left: 440 },
    ]);
    expect(nextPermitAt).toBeGreaterThanOrEqual(host.now() + MINUTE);
    expect(limiter.count("k")).toBe(60);
    await host.advance(nextPermitAt - host.now() - 1);
    expect(limiter.tryAcquire("k")).toBe(false);
    await host.advance(1);
    expect(limiter.tryAcquire("k")).toBe(true);
  });
});

describe("keys", () => {
  it("are bounded: an idle one goes for a new one", async () => {
    const { limiter, host } = bench({ windows: { maxRequests: 1, windowMs: SECOND }, maxKeys: 2 });
    for (const key of ["a", "b"]) await limiter.wait(key);
    await host.advance(2 * SECOND);
    for (const key of ["c", "d"]) await limiter.wait(key);
    expect(["a", "c", "d"].map((key) => limiter.count(key))).toEqual([0, 1, 1]);
  });

  it("are refused while none is idle, and none that counts is forgotten", async () => {
    const { limiter, host } = bench({ windows: { maxRequests: 1, windowMs: MINUTE }, maxKeys: 2 });
    for (const key of ["a", "b"]) await limiter.wait(key);
    const error = (await rejection(limiter.wait("c"))) as RateLimitError;
    expect(error).toMatchObject({ code: "RATE_LIMIT_QUOTA_EXHAUSTED" });
    expect(error.retryAfterMs).toBeGreaterThan(0);
    expect(error.retryAfterMs).toBeLessThanOrEqual(MINUTE * (1 + 1 / 64));
    expect(limiter.tryAcquire("c")).toBe(false);
    expect(["a", "b"].map((key) => limiter.count(key))).toEqual([1, 1]);
    await host.advance(error.retryAfterMs ?? 0);
    await limiter.wait("c");
  });

  it("of ten thousand, each has its own count", async () => {
    const { limiter } = bench({ windows: { maxRequests: 3, windowMs: MINUTE } });
    for (let n = 0; n < 10_000; n++) limiter.tryAcquire(`key ${n}`, { weight: 1 + (n % 3) });
    expect([0, 1, 2, 9_999].map((n) => limiter.count(`key ${n}`))).toEqual([1, 2, 3, 1]);
  });

  it.each(["", " ", "__proto__", "constructor", "0 a", "🔑", "a\u0000b"])(
    "may have any name: %j",
    async (key) => {
      const { limiter } = bench({ windows: { maxRequests: 1, windowMs: MINUTE } });
      expect(limiter.tryAcquire(key)).toBe(true);
      expect(limiter.count(key)).toBe(1);
      expect(limiter.count(`${key}!`)).toBe(0);
    },
  );
});

describe("the clock", () => {
  it("set forward by a day: every window is empty", async () => {
    const { limiter, host } = bench({ windows: { maxRequests: 2, windowMs: DAY / 2 } });
    limiter.tryAcquire("k", { weight: 2 });
    await host.advance(DAY);
    expect(limiter.count("k")).toBe(0);
    expect(limiter.tryAcquire("k", { weight: 2 })).toBe(true);
  });

  it("set forward by a day while somebody waits: the wait is over", async () => {
    const { limiter, host } = bench({ windows: { maxRequests: 1, windowMs: HOUR } });
    await limiter.wait();
    const waiting = limiter.wait();
    await host.advance(DAY);
    expect(await ended(waiting)).toEqual({ value: undefined });
  });

  it("with fractions: the next permit is never in the past", async () => {
    const host = new ManualHost({ now: 1_000_000.75 });
    const limiter = new RateLimiter({ windows: { maxRequests: 2, windowMs: MINUTE }, host });
    limiter.tryAcquire();
    await host.advance(0.125);
    expect(limiter.status().nextPermitAt).toBe(host.now());
  });

  it("set back by an hour: never more than the limit, and nobody waits for the hour", async () => {
    let offset = 0;
    const manual = new ManualHost();
    const host = { now: () => manual.now() + offset, sleep: manual.sleep };
    const { limiter } = bench({ windows: { maxRequests: 2, windowMs: MINUTE }, host });
    limiter.tryAcquire("k", { weight: 2 });
    await manual.advance(30 * SECOND);
    offset = -HOUR;
    expect(limiter.tryAcquire("k")).toBe(false);
    expect(limiter.count("k")).toBe(2);
    await manual.advance(HOUR + MINUTE);
    expect(limiter.tryAcquire("k", { weight: 2 })).toBe(true);
  });
});

describe("updateLimits", () => {
  it("more room lets those go at once who waited for it", async () => {
    const { limiter, host, run, starts } = bench({ windows: { maxRequests: 1, windowMs: HOUR } });
    const all = run(3);
    await host.advance(SECOND);
    expect(starts).toEqual([0]);
    limiter.updateLimits({ windows: { maxRequests: 3, windowMs: HOUR } });
    await host.advance(0);
    expect(starts).toEqual([0, 1, 1]);
    await all;
    expect(limiter.status().windows).toEqual([{ maxRequests: 3, windowMs: HOUR, used: 3, left: 0 }]);
  });

  it("less room keeps what is counted", async () => {
    const { limiter } = bench({ windows: { maxRequests: 10, windowMs: HOUR } });
    limiter.tryAcquire("k", { weight: 8 });
    limiter.updateLimits({ windows: { maxRequests: 5, windowMs: HOUR } });
    expect(limiter.status("k").windows).toEqual([{ maxRequests: 5, windowMs: HOUR, used: 8, left: 0 }]);
    expect(limiter.tryAcquire("k")).toBe(false);
  });

  it("keeps what is left out, and takes away what is null", async () => {
    const { limiter } = bench({ windows: { maxRequests: 10, windowMs: HOUR }, minIntervalMs: SECOND });
    limiter.updateLimits({ onLimit: "reject" });
    expect(limiter.status().windows).toHaveLength(1);
    limiter.tryAcquire();
    expect(limiter.tryAcquire()).toBe(false);
    limiter.updateLimits({ minIntervalMs: null });
    expect(limiter.tryAcquire()).toBe(true);
  });

  it("goes on from the last update, also with the weight that fits", () => {
    const { limiter } = bench({ windows: { maxRequests: 10, windowMs: HOUR } });
    limiter.updateLimits({ windows: { maxRequests: 5, windowMs: HOUR } });
    limiter.updateLimits({ maxQueue: 3 });
    expect(limiter.status().windows).toMatchObject([{ maxRequests: 5 }]);
    expect(() => limiter.tryAcquire("k", { weight: 6 })).toThrow(/weight: expected at most 5/);
  });

  it("changes nothing when one field is not legal", () => {
    const { limiter } = bench({ windows: { maxRequests: 10, windowMs: HOUR } });
    expect(() => limiter.updateLimits({ windows: null })).toThrow(RateLimitConfigError);
    expect(() => limiter.updateLimits({ windows: { maxRequests: 3, windowMs: HOUR }, maxQueue: -1 })).toThrow(
      RateLimitConfigError,
    );
    expect(limiter.status().windows).toMatchObject([{ maxRequests: 10, left: 10 }]);
  });
});

describe("what is not legal", () => {
  const minute = { maxRequests: 60, windowMs: MINUTE };
  const numbers = [0, -1, Number.NaN, Number.POSITIVE_INFINITY, "5", null, true, [5], {}];

  const options: [string, unknown, unknown?][] = [
    ...numbers.map((value): [string, unknown] => [
      "windows.maxRequests",
      { windows: { ...minute, maxRequests: value } },
    ]),
    ...numbers.map((value): [string, unknown] => [
      "windows.windowMs",
      { windows: { ...minute, windowMs: value } },
    ]),
    ...numbers
      .filter((value) => value !== null)
      .map((value): [string, unknown] => ["minIntervalMs", { minIntervalMs: value }]),
    ["windows.maxRequests", { windows: { ...minute, maxRequests: 1.5 } }],
    ["windows.maxRequests", { windows: { windowMs: 1 } }],
    ["windows.windowMs", { windows: { maxRequests: 1 } }],
    ["windows[1].windowMs", { windows: [minute, { ...minute, windowMs: 31_536_000_001 }] }],
    ["windows[0]", { windows: [5] }],
    ["windows[0].per", { windows: [{ ...minute, per: "user" }] }],
    ["windows.burst", { windows: { ...minute, burst: 5 } }],
    ["windows", { windows: [minute, { ...minute, maxRequests: 3 }] }],
    ["windows", { windows: [] }],
    ["windows", { windows: "60/minute" }],
    ["windows", {}],
    ["windows", { minIntervalMs: null, windows: null }],
    ["options", undefined],
    ["options", null],
    ["options", []],
    ["options", 60],
    ["smooth", { windows: minute, smooth: "yes" }],
    ["onLimit", { windows: minute, onLimit: "drop" }],
    ["onCoreUnavailable", { windows: minute, onCoreUnavailable: "wait" }],
    ["maxQueue", { windows: minute, maxQueue: -1 }],
    ["maxKeys", { windows: minute, maxKeys: 0 }],
    ["host", { windows: minute, host: null }],
    ["logger", { windows: minute, logger: {} }],
    ["logLevel", { windows: minute, logLevel: "all" }],
    ["store", { windows: minute, store: "limits" }],
    ["store.key", { windows: minute, store: {} }],
    ["store.key", { windows: minute, store: { key: "" } }],
    ["store.storage", { windows: minute, store: { key: "k", storage: {} } }],
    ["store.storage", { windows: minute, store: { key: "k", storage: null } }],
    ["maxRequests", { maxRequests: 5, windowMs: 1_000 }],
  ];

  it.each(options)("as an option: %s in %j", (field, value) => {
    const error = thrownBy(() => new RateLimiter(value as RateLimiterOptions));
    expect(error).toMatchObject({ name: "RateLimitConfigError", field });
    expect(error.message).toMatch(/expected .+, got .+\.$/);
  });

  const waits: [string, unknown, unknown][] = [
    ...[0, -1, 1.5, Number.NaN, "1", null, 61].map((weight): [string, unknown, unknown] => [
      "weight",
      "k",
      { weight },
    ]),
    ...[Number.NaN, "soon", null].map((deadlineMs): [string, unknown, unknown] => [
      "deadlineMs",
      "k",
      { deadlineMs },
    ]),
    ["priority", "k", { priority: "high" }],
    ["signal", "k", { signal: {} }],
    ["signal", "k", { signal: new AbortController() }],
    ["timeout", "k", { timeout: 5 }],
    ["options", "k", null],
    ["key", 5, {}],
    ["key", null, {}],
    ["key", { signal: undefined }, {}],
  ];

  it.each(waits)("of a wait: %s for the key %j and %o", async (field, key, given) => {
    const { limiter } = bench({ windows: minute });
    const error = await rejection(limiter.wait(key as string, given as WaitOptions));
    expect(error).toMatchObject({ name: "RateLimitConfigError", field });
    expect(limiter.count()).toBe(0);
  });

  it("of tryAcquire, reserve, reset, count and status: thrown at once", () => {
    const { limiter } = bench({ windows: minute });
    expect(thrownBy(() => limiter.tryAcquire("k", { weight: 61 }))).toMatchObject({
      field: "weight",
      value: 61,
      expected: "at most 60, all that a window holds",
    });
    expect(thrownBy(() => limiter.reserve("k", { signal: null } as object))).toMatchObject({
      field: "signal",
    });
    for (const act of [
      () => limiter.tryAcquire(5 as never),
      () => limiter.reset(5 as never),
      () => limiter.count(5 as never),
      () => limiter.status(null as never),
    ]) {
      expect(thrownBy(act)).toMatchObject({ field: "key" });
    }
  });

  function thrownBy(act: () => unknown): RateLimitConfigError {
    try {
      act();
    } catch (error) {
      return error as RateLimitConfigError;
    }
    throw new Error("nothing was thrown");
  }
});

describe("without the core", () => {
  async function fresh(): Promise<typeof import("../../js/limiter.ts")> {
    vi.resetModules();
    vi.stubGlobal("WebAssembly", undefined);
    await import("../../js/index.ts");
    return import("../../js/limiter.ts");
  }

  it("refuses, because nobody can count", async () => {
    const { RateLimiter } = await fresh();
    const limiter = new RateLimiter({ minIntervalMs: 1, logger: new Log() });
    expect(await rejection(limiter.wait())).toMatchObject({ code: "RATE_LIMIT_CORE_UNAVAILABLE" });
    expect(() => limiter.tryAcquire()).toThrow(/Limits cannot be checked/);
    expect(limiter.count()).toBe(0);
    expect(limiter.snapshot()).toEqual({ version: 1, keys: [] });
    limiter.reset("k");
    expect(limiter.snapshot()).toEqual({ version: 1, keys: [] });
    limiter.reset();
    limiter.dispose();
  });

  it("lets everybody pass where that was asked for", async () => {
    const { RateLimiter } = await fresh();
    const limiter = new RateLimiter({ minIntervalMs: HOUR, onCoreUnavailable: "pass", logger: new Log() });
    await limiter.wait();
    await limiter.wait();
    expect(limiter.tryAcquire()).toBe(true);
    limiter.reserve()?.giveBack();
  });

  it("finds mistakes all the same", async () => {
    const { RateLimiter } = await fresh();
    expect(() => new RateLimiter({})).toThrow(/windows: expected a window, or minIntervalMs/);
  });
});
