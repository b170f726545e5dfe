import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import "../../js/index.ts";
import { RateLimiter, type RateLimiterOptions } from "../../js/limiter.ts";
import type { LimiterState, StateStorage } from "../../js/store.ts";
import { ManualHost } from "../../js/testing.ts";
import { sabotageCore } from "./support/broken-core.ts";
import { ended, Log } from "./support/service.ts";

afterEach(() => {
  vi.unstubAllGlobals();
  vi.useRealTimers();
});

const SECOND = 1_000;
const MINUTE = 60_000;
const HOUR = 3_600_000;
const DAY = 86_400_000;

/** By then a unit that was used in a window of that length is back: at most a 64th late. */
function over(windowMs: number): number {
  return Math.ceil(windowMs * (1 + 1 / 64));
}

const CALLS = {
  windows: [
    { maxRequests: 60, windowMs: MINUTE },
    { maxRequests: 500, windowMs: HOUR },
  ],
};

/** A storage in memory, with its writes counted. */
class Memory implements StateStorage {
  readonly texts = new Map<string, string>();
  writes = 0;

  getItem(key: string): string | null {
    return this.texts.get(key) ?? null;
  }

  setItem(key: string, value: string): void {
    this.writes++;
    this.texts.set(key, value);
  }

  state(key: string): LimiterState {
    return JSON.parse(this.texts.get(key) ?? "null");
  }
}

function limiterOf(options: Partial<RateLimiterOptions>, Limiter = RateLimiter): RateLimiter {
  return new Limiter({ ...CALLS, logger: new Log(), ...options });
}

describe("snapshot and restore", () => {
  it("carry every count and every time to another limiter", async () => {
    const host = new ManualHost();
    const first = limiterOf({ host });
    first.tryAcquire("a", { weight: 10 });
    await host.advance(20 * SECOND);
    first.tryAcquire("a", { weight: 5 });
    first.tryAcquire("b");
    const state = JSON.parse(JSON.stringify(first.snapshot()));
    const second = limiterOf({ host });
    second.restore(state);
    expect(second.snapshot()).toEqual(first.snapshot());
    for (let minute = 0; minute < 70; minute++) {
      expect(second.status("a")).toEqual(first.status("a"));
      expect(second.status("b")).toEqual(first.status("b"));
      await host.advance(MINUTE);
    }
    expect(second.status("a").windows).toMatchObject([{ used: 0 }, { used: 0 }]);
  });

  it("are plain data with the version and wall times", async () => {
    const host = new ManualHost({ now: Date.UTC(2026, 4, 1) });
    const limiter = limiterOf({ minIntervalMs: 2 * SECOND, host });
    limiter.tryAcquire("agent 7", { weight: 3 });
    expect(limiter.snapshot()).toEqual({
      version: 1,
      keys: [
        {
          key: "agent 7",
          nextAt: Date.UTC(2026, 4, 1) + 2 * SECOND,
          taken: [
            [MINUTE, Date.UTC(2026, 4, 1), 3],
            [HOUR, Date.UTC(2026, 4, 1), 3],
          ],
        },
      ],
    });
  });

  it("leave idle keys out, and stay small however much is counted", async () => {
    const host = new ManualHost();
    const limiter = limiterOf({ host, windows: { maxRequests: 1_000_000, windowMs: DAY } });
    limiter.tryAcquire("gone");
    await host.advance(2 * DAY);
    for (let n = 0; n < 10_000; n++) {
      limiter.tryAcquire("busy");
      await host.advance(8_640);
    }
    const { keys } = limiter.snapshot();
    expect(keys.map(({ key }) => key)).toEqual(["busy"]);
    expect(keys[0]?.taken.length).toBeLessThanOrEqual(66);
    expect(JSON.stringify(limiter.snapshot()).length).toBeLessThan(3_000);
  });

  it("drop what is older than its window by now", async () => {
    const host = new ManualHost();
    const first = limiterOf({ host });
    first.tryAcquire("k", { weight: 60 });
    const state = first.snapshot();
    await host.advance(over(MINUTE));
    const second = limiterOf({ host });
    second.restore(state);
    expect(second.status("k").windows).toMatchObject([{ used: 0 }, { used: 60 }]);
    await host.advance(over(HOUR));
    const third = limiterOf({ host });
    third.restore(state);
    expect(third.status("k").windows).toMatchObject([{ used: 0 }, { used: 0 }]);
  });

  it("count a time in the future as now, so that a clock that was ahead holds nobody for long", async () => {
    const ahead = new ManualHost({ now: Date.UTC(2030, 0, 1) });
    const first = limiterOf({ host: ahead, minIntervalMs: 5 * SECOND });
    first.tryAcquire("k", { weight: 60 });
    const host = new ManualHost({ now: Date.UTC(2026, 0, 1) });
    const second = limiterOf({ host, minIntervalMs: 5 * SECOND });
    second.restore(first.snapshot());
    expect(second.status("k").windows).toMatchObject([{ used: 60 }, { used: 60 }]);
    await host.advance(over(MINUTE));
    expect(second.tryAcquire("k")).toBe(true);
    second.updateLimits({ windows: null });
    await host.advance(5 * SECOND);
    second.restore({ version: 1, keys: [{ key: "j", nextAt: Date.UTC(2030, 0, 1), taken: [] }] });
    expect(second.status("j").nextPermitAt).toBe(host.now() + 5 * SECOND);
  });

  it("count on top of what is counted already, and let nobody slip through between", async () => {
    const host = new ManualHost();
    const first = limiterOf({ host });
    first.tryAcquire("k", { weight: 40 });
    const second = limiterOf({ host });
    second.tryAcquire("k", { weight: 30 });
    const waiting = ended(second.wait("k", { weight: 31 }));
    second.restore(first.snapshot());
    expect(second.status("k").windows).toMatchObject([{ used: 70, left: 0 }, { used: 70 }]);
    let isOver = false;
    void waiting.then(() => {
      isOver = true;
    });
    await host.advance(MINUTE - 1);
    expect(isOver).toBe(false);
    await host.drive(waiting);
  });

  it("keep the window that both have when the limits are others by then", () => {
    const host = new ManualHost();
    const first = limiterOf({ host });
    first.tryAcquire("k", { weight: 7 });
    const second = limiterOf({ host, windows: { maxRequests: 100, windowMs: HOUR } });
    second.restore(first.snapshot());
    expect(second.status("k").windows).toEqual([{ maxRequests: 100, windowMs: HOUR, used: 7, left: 93 }]);
  });

  it("hold the minimum interval beyond a reload", async () => {
    const host = new ManualHost();
    const first = limiterOf({ host, windows: null, minIntervalMs: 10 * SECOND });
    first.tryAcquire("k");
    await host.advance(4 * SECOND);
    const second = limiterOf({ host, windows: null, minIntervalMs: 10 * SECOND });
    second.restore(first.snapshot());
    expect(second.status("k").nextPermitAt).toBe(host.now() + 6 * SECOND);
    expect(second.count("k")).toBe(1);
  });

  it("hold the even spacing beyond a reload", async () => {
    const host = new ManualHost();
    const smooth = { host, windows: { maxRequests: 6, windowMs: MINUTE }, smooth: true };
    const first = limiterOf(smooth);
    first.tryAcquire("k");
    await host.advance(4 * SECOND);
    const second = limiterOf(smooth);
    second.restore(first.snapshot());
    expect(second.status("k").nextPermitAt).toBe(host.now() + 6 * SECOND);
  });

  const legal = { key: "k", taken: [[MINUTE, 0, 1]] };
  const states: [string, unknown][] = [
    ["state", undefined],
    ["state", null],
    ["state", "{}"],
    ["state", []],
    ["state.version", {}],
    ["state.version", { version: 2, keys: [] }],
    ["state.version", { groups: [], version: 2 }],
    ["state.version", { version: "1", keys: [] }],
    ["state.version", { keys: [] }],
    ["state.keys", { version: 1 }],
    ["state.keys", { version: 1, keys: {} }],
    ["state.windows", { version: 1, windows: {} }],
    ["state.keys[0]", { version: 1, keys: [null] }],
    ["state.keys[1].key", { version: 1, keys: [legal, { ...legal, key: 5 }] }],
    ["state.keys[0].key", { version: 1, keys: [{ taken: [] }] }],
    ["state.keys[0].taken", { version: 1, keys: [{ key: "k" }] }],
    ["state.keys[0].nextAt", { version: 1, keys: [{ ...legal, nextAt: Number.NaN }] }],
    ["state.keys[0].more", { version: 1, keys: [{ ...legal, more: 1 }] }],
    ...[
      null,
      [],
      [MINUTE, 0],
      [MINUTE, 0, 1, 1],
      [MINUTE, 0, 0],
      [MINUTE, 0, -1],
      [MINUTE, 0, 1.5],
      [MINUTE, 0, 2 ** 32],
      [MINUTE, "0", 1],
      [Number.POSITIVE_INFINITY, 0, 1],
    ].map((taken): [string, unknown] => [
      "state.keys[0].taken[1]",
      { version: 1, keys: [{ key: "k", taken: [[MINUTE, 0, 1], taken] }] },
    ]),
  ];

  it.each(states)("refuse what snapshot() did not make: %s of %j", (field, state) => {
    const limiter = limiterOf({ host: new ManualHost() });
    limiter.tryAcquire("k");
    const before = limiter.snapshot();
    expect(() => limiter.restore(state as LimiterState)).toThrowError(
      expect.objectContaining({ name: "RateLimitConfigError", field }),
    );
    expect(limiter.snapshot()).toEqual(before);
  });

  it("tell when there are more keys than there is room for", () => {
    const host = new ManualHost();
    const log = new Log();
    const first = limiterOf({ host });
    for (const key of ["a", "b", "c"]) first.tryAcquire(key);
    const second = limiterOf({ host, maxKeys: 2, logger: log });
    second.restore(first.snapshot());
    expect(log.lines).toEqual([
      "warn: [RateLimit] There is no room for 1 keys that were counted before: raise maxKeys",
    ]);
    expect(["a", "b"].map((key) => second.count(key))).toEqual([1, 1]);
  });

  it("can still be had after dispose", () => {
    const limiter = limiterOf({ host: new ManualHost() });
    limiter.tryAcquire("k");
    const before = limiter.snapshot();
    limiter.dispose();
    expect(limiter.snapshot()).toEqual(before);
    expect(before.keys).toHaveLength(1);
  });

  it("survive a state that makes no sense", () => {
    const host = new ManualHost();
    const limiter = limiterOf({ host });
    const taken = Array.from({ length: 10_000 }, (_, n): [number, number, number] => [
      n % 2 ? MINUTE : -n,
      host.now() - (n % 61) * SECOND,
      2 ** 32 - 1,
    ]);
    limiter.restore({ version: 1, keys: [{ key: "k", nextAt: -8.64e15, taken }] });
    expect(limiter.tryAcquire("k")).toBe(false);
    expect(limiter.status("k").windows[0]).toMatchObject({ left: 0 });
    expect(limiter.tryAcquire("other")).toBe(true);
  });
});

describe("a store", () => {
  it("is read when the limiter is made, and counts go on", async () => {
    const host = new ManualHost();
    const storage = new Memory();
    const before = limiterOf({ host, store: { key: "calls", storage } });
    before.tryAcquire("agent", { weight: 42 });
    await host.advance(SECOND);
    await host.advance(10 * MINUTE);
    const after = limiterOf({ host, store: { key: "calls", storage } });
    expect(after.status("agent").windows).toMatchObject([{ used: 0 }, { used: 42 }]);
    const other = limiterOf({ host, store: { key: "others", storage } });
    expect(other.status("agent").windows).toMatchObject([{ used: 0 }, { used: 0 }]);
  });

  it("is written at most once a second, and not while nothing changes", async () => {
    const host = new ManualHost();
    const storage = new Memory();
    const limiter = limiterOf({ host, store: { key: "calls", storage } });
    for (let step = 0; step < 30; step++) {
      limiter.tryAcquire("k");
      await host.advance(100);
    }
    expect(storage.writes).toBeGreaterThanOrEqual(2);
    expect(storage.writes).toBeLessThanOrEqual(3);
    await host.advance(SECOND);
    const { writes } = storage;
    expect(storage.state("calls")).toEqual(limiter.snapshot());
    await host.advance(MINUTE / 2);
    expect(storage.writes).toBe(writes);
    expect(host.sleeping).toBe(0);
  });

  it.each<[string, (limiter: RateLimiter) => unknown]>([
    ["wait", (limiter) => limiter.wait("k")],
    ["tryAcquire", (limiter) => limiter.tryAcquire("k")],
    ["reserve", (limiter) => limiter.reserve("k")],
    ["reset", (limiter) => limiter.reset("before")],
    ["restore", (limiter) => limiter.restore(limiter.snapshot())],
  ])("is written after %s", async (_, act) => {
    const host = new ManualHost();
    const storage = new Memory();
    const limiter = limiterOf({ host, store: { key: "calls", storage } });
    limiter.tryAcquire("before");
    await host.advance(SECOND);
    const before = storage.texts.get("calls");
    await act(limiter);
    await host.advance(SECOND);
    expect(storage.texts.get("calls")).not.toBe(before);
    expect(storage.state("calls")).toEqual(limiter.snapshot());
  });

  it("is written after units came back", async () => {
    const host = new ManualHost();
    const storage = new Memory();
    const limiter = limiterOf({ host, store: { key: "calls", storage } });
    const reservation = limiter.reserve("k");
    await host.advance(SECOND);
    reservation?.giveBack();
    await host.advance(SECOND);
    expect(storage.state("calls").keys).toEqual([]);
  });

  it("is not written after something was refused", async () => {
    const host = new ManualHost();
    const storage = new Memory();
    const limiter = limiterOf({ host, store: { key: "calls", storage } });
    limiter.tryAcquire("k", { weight: 60 });
    await host.advance(SECOND);
    limiter.tryAcquire("k");
    await ended(limiter.wait("k", { deadlineMs: 1 }));
    await host.advance(SECOND);
    expect(storage.writes).toBe(1);
  });

  it("is written by dispose, and never after it", async () => {
    const host = new ManualHost();
    const storage = new Memory();
    const limiter = limiterOf({ host, store: { key: "calls", storage } });
    const reservation = limiter.reserve("k", { weight: 3 });
    limiter.dispose();
    expect(storage.state("calls").keys).toMatchObject([{ key: "k", taken: { length: 2 } }]);
    reservation?.giveBack();
    limiter.dispose();
    await host.advance(2 * SECOND);
    expect(storage.writes).toBe(1);
    expect(host.sleeping).toBe(0);
  });

  it("is not written by dispose when nothing has changed", () => {
    const storage = new Memory();
    limiterOf({ host: new ManualHost(), store: { key: "calls", storage } }).dispose();
    expect(storage.writes).toBe(0);
  });

  it("is written when the page goes, if there is something to write", () => {
    const page = new EventTarget();
    vi.stubGlobal("addEventListener", page.addEventListener.bind(page));
    vi.stubGlobal("removeEventListener", page.removeEventListener.bind(page));
    const host = new ManualHost();
    const storage = new Memory();
    const limiter = limiterOf({ host, store: { key: "calls", storage } });
    page.dispatchEvent(new Event("pagehide"));
    expect(storage.writes).toBe(0);
    limiter.tryAcquire("k");
    page.dispatchEvent(new Event("pagehide"));
    expect(storage.writes).toBe(1);
    page.dispatchEvent(new Event("visibilitychange"));
    expect(storage.writes).toBe(1);
    expect(host.sleeping).toBe(0);
    limiter.tryAcquire("k");
    page.dispatchEvent(new Event("visibilitychange"));
    expect(storage.writes).toBe(2);
    expect(storage.state("calls")).toEqual(limiter.snapshot());
  });

  it("listens to the page only while there is something to write", async () => {
    const added = vi.fn();
    const removed = vi.fn();
    vi.stubGlobal("addEventListener", added);
    vi.stubGlobal("removeEventListener", removed);
    const host = new ManualHost();
    const limiter = limiterOf({ host, store: { key: "calls", storage: new Memory() } });
    expect(added).not.toHaveBeenCalled();
    limiter.tryAcquire("k");
    limiter.tryAcquire("k");
    expect(added.mock.calls.map(([event]) => event)).toEqual(["pagehide", "visibilitychange"]);
    await host.advance(SECOND);
    expect(removed.mock.calls).toEqual(added.mock.calls);
  });

  it("brings the hour back after the core failed; the minute counts as full, because nobody knows", async () => {
    const sabotage = sabotageCore();
    vi.resetModules();
    const { coreState } = await import("../../js/index.ts");
    const fresh = await import("../../js/limiter.ts");
    const host = new ManualHost();
    const limiter = limiterOf({ host, store: { key: "calls", storage: new Memory() } }, fresh.RateLimiter);
    limiter.tryAcquire("k", { weight: 50 });
    await host.advance(SECOND);
    await host.advance(2 * MINUTE);
    sabotage.trapIn = true;
    limiter.count("k");
    expect(coreState()).toBe("trap");
    sabotage.trapIn = new Set();
    await vi.waitFor(() => expect(coreState()).toBe("ready"));
    expect(limiter.status("k").windows).toMatchObject([{ left: 0 }, { used: 50, left: 450 }]);
    await host.advance(over(MINUTE));
    expect(limiter.tryAcquire("k")).toBe(true);
  });

  it("is not needed to get back what snapshot() told; a key that was reset stays so", async () => {
    const sabotage = sabotageCore();
    vi.resetModules();
    const { coreState } = await import("../../js/index.ts");
    const fresh = await import("../../js/limiter.ts");
    const host = new ManualHost();
    const limiter = limiterOf({ host }, fresh.RateLimiter);
    for (const key of ["a", "b"]) limiter.tryAcquire(key, { weight: 9 });
    limiter.snapshot();
    limiter.reset("a");
    sabotage.trapIn = true;
    limiter.count("b");
    sabotage.trapIn = new Set();
    await vi.waitFor(() => expect(coreState()).toBe("ready"));
    const usedInTheHour = (key: string): number | undefined => limiter.status(key).windows[1]?.used;
    expect([usedInTheHour("a"), usedInTheHour("b")]).toEqual([0, 9]);
  });

  it("is not overwritten while there is no core that could tell", async () => {
    const host = new ManualHost();
    const storage = new Memory();
    limiterOf({ host, store: { key: "calls", storage } }).tryAcquire("k", { weight: 9 });
    await host.advance(SECOND);
    const before = storage.texts.get("calls");
    vi.stubGlobal("WebAssembly", undefined);
    vi.resetModules();
    await import("../../js/index.ts");
    const fresh = await import("../../js/limiter.ts");
    const options = { host, onCoreUnavailable: "pass", store: { key: "calls", storage } } as const;
    const limiter = limiterOf(options, fresh.RateLimiter);
    await limiter.wait("k");
    await host.advance(SECOND);
    limiter.dispose();
    expect(storage.texts.get("calls")).toBe(before);
    expect(limiter.snapshot()).toEqual(JSON.parse(before ?? ""));
  });
});

describe("a store that is of no use", () => {
  const key = "calls";

  it.each([
    ["no JSON", "{"],
    ["another program's", '{"theme":"dark"}'],
    ["of a newer version", '{"version":2,"keys":[]}'],
    ["cut off", '{"version":1,"keys":[{"key":"k"}]}'],
    ["null", "null"],
  ])("%s: is ignored with one warning, and written anew", async (_, text) => {
    const host = new ManualHost();
    const storage = new Memory();
    const log = new Log();
    storage.texts.set(key, text);
    const limiter = limiterOf({ host, logger: log, store: { key, storage } });
    expect(log.lines).toEqual(['warn: [RateLimit] The store "calls" is of no use and is not read']);
    expect(log.details[0]?.[0]).toBeInstanceOf(Error);
    expect(limiter.tryAcquire("k", { weight: 60 })).toBe(true);
    await host.advance(SECOND);
    expect(storage.state(key)).toEqual(limiter.snapshot());
  });

  it("full: one warning, and the counts go on in memory", async () => {
    const host = new ManualHost();
    const log = new Log();
    const storage = new Memory();
    storage.setItem = () => {
      throw new DOMException("full", "QuotaExceededError");
    };
    const limiter = limiterOf({ host, logger: log, store: { key, storage } });
    for (let step = 0; step < 3; step++) {
      limiter.tryAcquire("k");
      await host.advance(2 * SECOND);
    }
    expect(log.lines).toEqual([
      'warn: [RateLimit] The store "calls" cannot be written: counts will end with the page',
    ]);
    expect(limiter.count("k")).toBe(3);
  });

  it("forbidden: one warning, and the counts go on in memory", async () => {
    forbidStorage();
    const host = new ManualHost();
    const log = new Log();
    const limiter = limiterOf({ host, logger: log, store: { key } });
    limiter.tryAcquire("k");
    await host.advance(2 * SECOND);
    limiter.dispose();
    expect(log.lines).toEqual(['warn: [RateLimit] The store "calls" is not available']);
  });

  it("not there, as on a server: not a word, and nothing is kept awake", async () => {
    vi.stubGlobal("localStorage", undefined);
    const host = new ManualHost();
    const log = new Log();
    const limiter = limiterOf({ host, logger: log, store: { key } });
    expect(limiter.tryAcquire("k")).toBe(true);
    expect(host.sleeping).toBe(0);
    expect(log.lines).toEqual([]);
  });

  function forbidStorage(): void {
    const before = Object.getOwnPropertyDescriptor(globalThis, "localStorage");
    Object.defineProperty(globalThis, "localStorage", {
      configurable: true,
      get() {
        throw new DOMException("The user forbids it.", "SecurityError");
      },
    });
    restores.push(() => {
      if (before) Object.defineProperty(globalThis, "localStorage", before);
      else Reflect.deleteProperty(globalThis, "localStorage");
    });
  }

  const restores: (() => void)[] = [];
  afterEach(() => {
    for (const restore of restores.splice(0)) restore();
  });
});

describe("by default the store is localStorage", () => {
  let storage: Memory;
  beforeEach(() => {
    storage = new Memory();
    vi.stubGlobal("localStorage", storage);
    vi.useFakeTimers({ now: Date.UTC(2026, 0, 1, 23, 59) });
  });

  it("a daily quota survives a reload, with the clock and the timers of the platform", async () => {
    const options = { windows: { maxRequests: 800, windowMs: DAY }, store: { key: "calls of agent 7" } };
    const before = limiterOf(options);
    for (let call = 0; call < 300; call++) before.tryAcquire();
    await vi.advanceTimersByTimeAsync(SECOND);
    expect(storage.writes).toBe(1);
    await vi.advanceTimersByTimeAsync(8 * HOUR);
    const after = limiterOf(options);
    expect(after.count()).toBe(300);
    expect(after.tryAcquire("", { weight: 500 })).toBe(true);
    expect(after.tryAcquire()).toBe(false);
    await vi.advanceTimersByTimeAsync(over(DAY) - 8 * HOUR);
    expect(after.count()).toBe(500);
    expect(vi.getTimerCount()).toBe(0);
  });
});
