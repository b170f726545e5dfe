import fc from "fast-check";
import { afterEach, describe, expect, it, vi } from "vitest";
import "../../js/index.ts";
import { RateLimitConfigError } from "../../js/errors.ts";
import type { AcquireOptions } from "../../js/gate.ts";
import { Lease, Slots, type SlotsOptions } from "../../js/slots.ts";
import { ManualHost } from "../../js/testing.ts";
import { sabotageCore } from "./support/broken-core.ts";
import { deferred, ended, Log, rejection } from "./support/service.ts";

afterEach(() => {
  vi.unstubAllGlobals();
  vi.useRealTimers();
});

const SECOND = 1_000;
const MINUTE = 60_000;
const HOUR = 3_600_000;
const DAY = 86_400_000;

interface Bench {
  slots: Slots;
  host: ManualHost;
  log: Log;
}

function bench(options: SlotsOptions, Class = Slots): Bench {
  const host = new ManualHost();
  const log = new Log();
  return { slots: new Class({ host, logger: log, ...options }), host, log };
}

/** What has happened to a promise so far. */
function watched<T>(promise: Promise<T>): {
  state: "pending" | "resolved" | "rejected";
  promise: Promise<T>;
} {
  const watch = { state: "pending" as "pending" | "resolved" | "rejected", promise };
  promise.then(
    () => {
      watch.state = "resolved";
    },
    () => {
      watch.state = "rejected";
    },
  );
  return watch;
}

describe("caps", () => {
  it("over all: one more waits until one is released", async () => {
    const { slots, host } = bench({ global: 2 });
    const [first] = await Promise.all([slots.acquire("a"), slots.acquire("b")]);
    const third = watched(slots.acquire("c"));
    await host.advance(SECOND);
    expect(third.state).toBe("pending");
    expect([slots.inFlight(), slots.waiting]).toEqual([2, 1]);
    first.release();
    await third.promise;
    expect([slots.inFlight(), slots.waiting]).toEqual([2, 0]);
  });

  it("per group: one group does not stand in the way of another", async () => {
    const { slots, host } = bench({ global: 10, perGroup: 2 });
    for (let n = 0; n < 2; n++) await slots.acquire("busy");
    const waiting = watched(slots.acquire("busy"));
    await slots.acquire("other");
    await host.advance(0);
    expect(waiting.state).toBe("pending");
    expect([
      slots.inFlight("busy"),
      slots.inFlight("other"),
      slots.inFlight("none"),
      slots.inFlight(),
    ]).toEqual([2, 1, 0, 3]);
  });

  it("100 of a campaign and 10,000 over all: what is beyond is refused, and never failed otherwise", async () => {
    const { slots } = bench({ global: 10_000, perGroup: 100, onLimit: "reject" });
    const codes = new Map<string, number>();
    for (let campaign = 0; campaign < 105; campaign++) {
      for (let call = 0; call < 101; call++) {
        const end = await ended(slots.acquire(`campaign ${campaign}`));
        const code = "error" in end ? (end.error as { code: string }).code : "held";
        codes.set(code, (codes.get(code) ?? 0) + 1);
      }
    }
    expect(Object.fromEntries(codes)).toEqual({
      held: 10_000,
      RATE_LIMIT_CONCURRENCY_EXCEEDED: 105 * 101 - 10_000,
    });
    expect(slots.inFlight()).toBe(10_000);
  });

  it("without a group it is the group of no name", async () => {
    const { slots } = bench({ perGroup: 1 });
    const lease = await slots.acquire();
    expect(lease.group).toBe("");
    expect(slots.tryAcquire("")).toBeNull();
    expect(slots.inFlight("")).toBe(1);
  });

  it("20 jobs through 5 slots are never more than 5 at work", async () => {
    const { slots, host } = bench({ global: 5 });
    let working = 0;
    let most = 0;
    const job = (n: number): Promise<number> =>
      slots.run("jobs", async () => {
        most = Math.max(most, ++working);
        await host.sleep(100 * (1 + (n % 3)));
        working--;
        return n;
      });
    const all = Promise.all(Array.from({ length: 20 }, (_, n) => job(n)));
    expect(await host.drive(all)).toEqual(Array.from({ length: 20 }, (_, n) => n));
    expect(most).toBe(5);
    expect(slots.inFlight()).toBe(0);
  });
});

describe("the line", () => {
  it("is first come, first served", async () => {
    const { slots, host } = bench({ perGroup: 1 });
    const order: number[] = [];
    const job = (n: number): Promise<unknown> =>
      slots.run("g", async () => {
        order.push(n);
        await host.sleep(10);
      });
    await host.drive(Promise.all([0, 1, 2, 3, 4].map(job)));
    expect(order).toEqual([0, 1, 2, 3, 4]);
  });

  it("lets a higher priority go first, and one that has waited long before that", async () => {
    const { slots, host } = bench({ global: 1 });
    const order: string[] = [];
    const held = await slots.acquire();
    const job = (name: string, priority: number): Promise<unknown> =>
      slots.run("g", () => order.push(name), { priority });
    const all = [job("old", 0)];
    await host.advance(25 * SECOND);
    all.push(job("low", -1), job("normal", 0), job("high", 2));
    held.release();
    await host.drive(Promise.all(all));
    expect(order).toEqual(["old", "high", "normal", "low"]);
  });

  it("is bounded", async () => {
    const { slots } = bench({ global: 1, maxQueue: 2 });
    const held = await slots.acquire();
    const waiting = [slots.acquire(), slots.acquire("other")];
    expect(await rejection(slots.acquire())).toMatchObject({ code: "RATE_LIMIT_QUEUE_FULL" });
    held.release();
    (await waiting[0])?.release();
    (await waiting[1])?.release();
    expect(slots.inFlight()).toBe(0);
  });

  it("is left at once when the signal aborts, and the slot goes to the next one", async () => {
    const { slots, host } = bench({ global: 1 });
    const held = await slots.acquire();
    const controller = new AbortController();
    const aborted = ended(slots.acquire("a", { signal: controller.signal }));
    const next = slots.acquire("b");
    await host.advance(SECOND);
    const reason = new Error("gone");
    controller.abort(reason);
    expect(await aborted).toEqual({ error: reason });
    expect(slots.waiting).toBe(1);
    held.release();
    expect((await next).group).toBe("b");
    expect(await rejection(slots.acquire("c", { signal: controller.signal }))).toBe(reason);
  });

  it("is left at the deadline", async () => {
    const { slots, host } = bench({ global: 1 });
    await slots.acquire();
    const waiting = ended(slots.acquire("", { deadlineMs: 5 * SECOND }));
    const begun = host.now();
    await host.drive(waiting);
    expect((await waiting).error).toMatchObject({ code: "RATE_LIMIT_DEADLINE_EXCEEDED" });
    expect(host.now() - begun).toBe(5 * SECOND);
    expect(slots.waiting).toBe(0);
  });

  it("is over for all when the slots are disposed of", async () => {
    const { slots } = bench({ global: 1 });
    const lease = await slots.acquire();
    const waiting = ended(slots.acquire());
    slots.dispose();
    expect((await waiting).error).toMatchObject({ name: "AbortError" });
    lease.release();
    expect(await rejection(slots.acquire())).toMatchObject({ name: "AbortError" });
  });

  it("is not overtaken by tryAcquire", async () => {
    const { slots, host } = bench({ perGroup: 1 });
    const held = slots.tryAcquire("g");
    expect(slots.tryAcquire("g")).toBeNull();
    const waiting = slots.acquire("g");
    held?.release();
    expect(slots.tryAcquire("g")).toBeNull();
    await host.advance(0);
    (await waiting).release();
    expect(slots.tryAcquire("g")).toBeInstanceOf(Lease);
  });
});

describe("a lease", () => {
  it("says when it ends", async () => {
    const { slots, host } = bench({ global: 1 });
    expect((await slots.acquire()).expiresAt).toBe(host.now() + 600 * SECOND);
    const endless = bench({ global: 1, leaseMs: null });
    expect((await endless.slots.acquire()).expiresAt).toBeNull();
  });

  it("that leaks comes back after 600 s, also when nobody has it any more", async () => {
    const { slots, host } = bench({ global: 100, perGroup: 100, leaseMs: 600 * SECOND });
    for (let n = 0; n < 100; n++) await slots.acquire("campaign");
    const next = watched(slots.acquire("campaign"));
    await host.advance(600 * SECOND - 1);
    expect(next.state).toBe("pending");
    await host.advance(1);
    expect(next.state).toBe("resolved");
    expect(slots.inFlight("campaign")).toBe(1);
  });

  it("that ran out while nobody asked counts no longer", async () => {
    const { slots, host } = bench({ perGroup: 2, leaseMs: SECOND });
    await slots.acquire("g");
    await host.advance(SECOND);
    expect(slots.inFlight()).toBe(0);
    await slots.acquire("g");
    await host.advance(SECOND);
    expect(slots.inFlight("g")).toBe(0);
    await slots.acquire("g");
    await slots.acquire("g");
    expect(slots.tryAcquire("g")).toBeNull();
  });

  it("is released once: again is harmless, and so is after somebody else has the slot", async () => {
    const { slots, host } = bench({ global: 1, leaseMs: MINUTE });
    const first = await slots.acquire("a");
    first.release();
    first.release();
    const second = await slots.acquire("b");
    first.release();
    expect(slots.inFlight()).toBe(1);
    await host.advance(MINUTE);
    const third = await slots.acquire("c");
    second.release();
    expect([slots.inFlight("c"), slots.inFlight()]).toEqual([1, 1]);
    expect(slots.tryAcquire()).toBeNull();
    third.release();
    expect(slots.inFlight()).toBe(0);
  });

  it("that is renewed lasts as long again from then on", async () => {
    const { slots, host } = bench({ global: 1, leaseMs: MINUTE });
    const lease = await slots.acquire();
    const waiting = watched(slots.acquire());
    for (let times = 0; times < 5; times++) {
      await host.advance(MINUTE - 1);
      expect(lease.renew()).toBe(true);
      expect(lease.expiresAt).toBe(host.now() + MINUTE);
    }
    expect(waiting.state).toBe("pending");
    await host.advance(MINUTE);
    expect(waiting.state).toBe("resolved");
    expect(lease.renew()).toBe(false);
  });

  it("that is renewed is still held when others are taken after its first end", async () => {
    const { slots, host } = bench({ global: 3, leaseMs: MINUTE });
    const lease = await slots.acquire();
    await host.advance(MINUTE - 1);
    expect(lease.renew()).toBe(true);
    await host.advance(SECOND);
    await slots.acquire();
    expect(lease.renew()).toBe(true);
    expect(slots.inFlight()).toBe(2);
  });

  it("that has ended is not renewed: neither released nor run out, even when nobody has taken the slot", async () => {
    const { slots, host } = bench({ global: 2, leaseMs: MINUTE });
    const released = await slots.acquire();
    released.release();
    expect(released.renew()).toBe(false);
    const over = await slots.acquire();
    const end = over.expiresAt;
    await host.advance(MINUTE);
    expect(over.renew()).toBe(false);
    expect(over.expiresAt).toBe(end);
    expect(slots.inFlight()).toBe(0);
  });

  it("without a limit is held until it is released", async () => {
    const { slots, host } = bench({ global: 1, leaseMs: null });
    const lease = await slots.acquire();
    await host.advance(365 * DAY);
    expect(slots.tryAcquire()).toBeNull();
    expect(lease.renew()).toBe(true);
    expect(lease.expiresAt).toBeNull();
    lease.release();
    lease.release();
    expect(slots.inFlight()).toBe(0);
    expect(lease.renew()).toBe(false);
    expect(host.sleeping).toBe(0);
  });

  it("is released by `using`, where the platform has it", async () => {
    const { slots } = bench({ global: 1 });
    const dispose = (Symbol as { dispose?: symbol }).dispose;
    if (dispose === undefined) throw new Error("this platform has no Symbol.dispose");
    const lease = (await slots.acquire()) as unknown as Record<symbol, () => void>;
    lease[dispose]?.();
    expect(slots.inFlight()).toBe(0);
  });

  it("keeps no alarm when nobody waits", async () => {
    const { slots, host } = bench({ global: 1 });
    await slots.acquire();
    expect(host.sleeping).toBe(0);
  });
});

describe("run", () => {
  it("brings what the work brings, and releases", async () => {
    const { slots } = bench({ global: 1 });
    const value = { any: "thing" };
    const seen: unknown[] = [];
    expect(
      await slots.run("g", (lease) => {
        seen.push(lease.group, slots.inFlight("g"));
        return value;
      }),
    ).toBe(value);
    expect(seen).toEqual(["g", 1]);
    expect(slots.inFlight()).toBe(0);
  });

  it.each([
    ["throws", () => Promise.reject(new Error("no"))],
    [
      "throws at once",
      () => {
        throw new Error("no");
      },
    ],
  ])("passes on what the work %s, and releases", async (_, work) => {
    const { slots } = bench({ global: 1 });
    expect(await rejection(slots.run("g", work))).toMatchObject({ message: "no" });
    expect(slots.inFlight()).toBe(0);
  });

  it("rejects at once when the signal aborts; the slot stays taken until the work has settled", async () => {
    const { slots, host } = bench({ global: 1 });
    const work = deferred();
    const controller = new AbortController();
    const running = ended(slots.run("g", () => work.promise, { signal: controller.signal }));
    await host.advance(SECOND);
    controller.abort();
    expect((await running).error).toMatchObject({ name: "AbortError" });
    expect(slots.inFlight()).toBe(1);
    work.reject(new Error("nobody listens"));
    await host.advance(0);
    expect(slots.inFlight()).toBe(0);
  });

  it("does nothing when there is no slot, or no work", async () => {
    const { slots } = bench({ global: 1, onLimit: "reject" });
    await slots.acquire();
    const work = vi.fn();
    expect(await rejection(slots.run("g", work))).toMatchObject({ code: "RATE_LIMIT_CONCURRENCY_EXCEEDED" });
    expect(work).not.toHaveBeenCalled();
    expect(await rejection(slots.run("g", undefined as never))).toBeInstanceOf(TypeError);
  });
});

describe("never more than the caps", () => {
  it("whatever is acquired, released twice, renewed, leaked, aborted", async () => {
    const step = fc.oneof(
      fc.record({ do: fc.constant("acquire" as const), group: fc.constantFrom("a", "b", "c") }),
      fc.record({ do: fc.constant("try" as const), group: fc.constantFrom("a", "b", "c") }),
      fc.record({ do: fc.constant("release" as const), which: fc.nat() }),
      fc.record({ do: fc.constant("renew" as const), which: fc.nat() }),
      fc.record({ do: fc.constant("abort" as const), which: fc.nat() }),
      fc.record({ do: fc.constant("pass" as const), ms: fc.integer({ min: 0, max: 600 }) }),
    );
    const cap = fc.option(fc.integer({ min: 1, max: 4 }), { nil: null });
    await fc.assert(
      fc.asyncProperty(cap, cap, fc.array(step, { maxLength: 60 }), async (global, perGroup, steps) => {
        if (global === null && perGroup === null) return;
        const { slots, host } = bench({ global, perGroup, leaseMs: SECOND });
        const leases: { lease: Lease; isReleased: boolean }[] = [];
        const waiting: AbortController[] = [];
        let pending = 0;
        const keep = (lease: Lease | null): void => {
          if (lease) leases.push({ lease, isReleased: false });
        };
        const held = (group?: string): number =>
          leases.filter(
            ({ lease, isReleased }) =>
              !isReleased &&
              (lease.expiresAt ?? 0) > host.now() &&
              (group === undefined || lease.group === group),
          ).length;
        const check = (): void => {
          expect(held()).toBeLessThanOrEqual(global ?? Number.POSITIVE_INFINITY);
          for (const group of ["a", "b", "c"]) {
            expect(held(group)).toBeLessThanOrEqual(perGroup ?? Number.POSITIVE_INFINITY);
            expect(slots.inFlight(group)).toBe(held(group));
          }
          expect(slots.inFlight()).toBe(held());
          expect(slots.waiting).toBe(pending);
        };
        for (const act of steps) {
          const which = "which" in act ? act.which : 0;
          const one = leases[which % Math.max(1, leases.length)];
          if (act.do === "pass") await host.advance(act.ms);
          else if (act.do === "try") keep(slots.tryAcquire(act.group));
          else if (act.do === "release") {
            one?.lease.release();
            if (one) one.isReleased = true;
          } else if (act.do === "renew") {
            const isHeld = one && !one.isReleased && (one.lease.expiresAt ?? 0) > host.now();
            if (one) expect(one.lease.renew()).toBe(isHeld);
          } else if (act.do === "abort") waiting[which % Math.max(1, waiting.length)]?.abort();
          else {
            const controller = new AbortController();
            waiting.push(controller);
            pending++;
            void ended(slots.acquire(act.group, { signal: controller.signal })).then((end) => {
              pending--;
              if (!("error" in end)) keep(end.value);
            });
          }
          await host.advance(0);
          check();
        }
        // Nobody is forgotten: as leases run out, everybody has a turn.
        await host.advance(61 * SECOND);
        expect(pending).toBe(0);
        check();
      }),
      { numRuns: 200 },
    );
  });
});

describe("groups", () => {
  it("are bounded: an idle one goes for a new one, one that is in use never", async () => {
    const { slots, host } = bench({ perGroup: 1, maxKeys: 2 });
    const first = await slots.acquire("a");
    const second = await slots.acquire("b");
    expect(await rejection(slots.acquire("c"))).toMatchObject({ code: "RATE_LIMIT_QUOTA_EXHAUSTED" });
    expect(slots.tryAcquire("c")).toBeNull();
    first.release();
    await host.advance(SECOND);
    await slots.acquire("c");
    expect([slots.inFlight("b"), slots.inFlight("c")]).toEqual([1, 1]);
    second.release();
  });
});

describe("updateLimits", () => {
  it("more slots go at once to those who wait", async () => {
    const { slots, host } = bench({ global: 1 });
    await slots.acquire();
    const waits = [watched(slots.acquire()), watched(slots.acquire()), watched(slots.acquire())];
    slots.updateLimits({ global: 3 });
    await host.advance(0);
    expect(waits.map(({ state }) => state)).toEqual(["resolved", "resolved", "pending"]);
  });

  it("fewer slots take none away", async () => {
    const { slots } = bench({ global: 3, onLimit: "reject" });
    const leases = [await slots.acquire(), await slots.acquire(), await slots.acquire()];
    slots.updateLimits({ global: 1 });
    expect(slots.inFlight()).toBe(3);
    leases[0]?.release();
    leases[1]?.release();
    expect(slots.tryAcquire()).toBeNull();
    leases[2]?.release();
    expect(slots.tryAcquire()).toBeInstanceOf(Lease);
  });

  it("goes on from the last update", async () => {
    const { slots, host } = bench({ global: 1, onLimit: "reject" });
    slots.updateLimits({ global: 2 });
    slots.updateLimits({ leaseMs: MINUTE });
    expect((await slots.acquire()).expiresAt).toBe(host.now() + MINUTE);
    expect(slots.tryAcquire()).toBeInstanceOf(Lease);
    expect(slots.tryAcquire()).toBeNull();
  });

  it("that brings leases leaves who has none without: held, and given back once", async () => {
    const { slots, host } = bench({ global: 1, leaseMs: null });
    const lease = await slots.acquire();
    slots.updateLimits({ leaseMs: SECOND });
    const waiting = watched(slots.acquire());
    await host.advance(5 * SECOND);
    expect(waiting.state).toBe("pending");
    expect([lease.renew(), lease.expiresAt]).toEqual([true, null]);
    lease.release();
    await host.advance(0);
    expect(waiting.state).toBe("resolved");
    expect((await waiting.promise).expiresAt).toBe(host.now() + SECOND);
    expect(slots.inFlight()).toBe(1);
  });

  it("that ends leases holds for who is renewed by a core that was started anew", async () => {
    const sabotage = sabotageCore();
    vi.resetModules();
    await import("../../js/index.ts");
    const { Slots: Fresh } = await import("../../js/slots.ts");
    const { slots, host } = bench({ global: 1, leaseMs: SECOND, onLimit: "reject" }, Fresh);
    const lease = await slots.acquire();
    slots.updateLimits({ leaseMs: null });
    sabotage.trapIn = new Set(["limits_status"]);
    slots.inFlight();
    sabotage.trapIn = new Set();
    await host.advance(0);
    expect([lease.renew(), lease.expiresAt]).toEqual([true, null]);
    lease.release();
    expect(slots.inFlight()).toBe(0);
  });

  it("changes nothing when it is not legal", async () => {
    const { slots } = bench({ global: 1, onLimit: "reject" });
    expect(() => slots.updateLimits({ global: null })).toThrow(RateLimitConfigError);
    expect(() => slots.updateLimits({ global: 5, leaseMs: 0 })).toThrow(RateLimitConfigError);
    await slots.acquire();
    expect(slots.tryAcquire()).toBeNull();
  });
});

describe("the clock", () => {
  it("set forward by a day: leases have run out, and who waited goes", async () => {
    const { slots, host } = bench({ global: 1 });
    const lease = await slots.acquire();
    const waiting = slots.acquire();
    await host.advance(DAY);
    await waiting;
    expect(lease.renew()).toBe(false);
  });

  it("set back by an hour: leases still end", async () => {
    vi.useFakeTimers();
    const slots = new Slots({ global: 1, leaseMs: MINUTE, logger: new Log() });
    await slots.acquire();
    const waiting = watched(slots.acquire());
    await vi.advanceTimersByTimeAsync(10 * SECOND);
    vi.setSystemTime(Date.now() - HOUR);
    await vi.advanceTimersByTimeAsync(49 * SECOND);
    expect(waiting.state).toBe("pending");
    await vi.advanceTimersByTimeAsync(2 * SECOND);
    expect(waiting.state).toBe("resolved");
    expect(vi.getTimerCount()).toBe(0);
  });
});

describe("a holder that waits for a second slot of its own group", () => {
  const hint = /does a holder wait for a second slot of its own group\?/;

  it("is noticed in the debug log, at most once a minute", async () => {
    const { slots, host, log } = bench({ perGroup: 2, logLevel: "debug" });
    const nested = (): Promise<unknown> => slots.run("import", () => slots.run("import", () => "never"));
    const all = Promise.all([nested(), nested()]);
    await host.advance(30 * SECOND - 1);
    expect(log.lines).toEqual([]);
    await host.advance(1);
    expect(log.lines).toHaveLength(1);
    expect(log.lines[0]).toMatch(/^debug: \[RateLimit\] .*group "import".* for 30 s/);
    expect(log.lines[0]).toMatch(hint);
    await host.advance(MINUTE - 1);
    expect(log.lines).toHaveLength(1);
    await host.advance(1);
    expect(log.lines).toHaveLength(2);
    // The leases run out, and it goes on.
    await host.drive(all);
    expect(host.sleeping).toBe(0);
  });

  it("is noticed as long as anybody waits, and once for all groups", async () => {
    const { slots, host, log } = bench({ perGroup: 1, logLevel: "debug", leaseMs: null });
    const controller = new AbortController();
    for (const group of ["a", "b"]) {
      await slots.acquire(group);
      void slots.acquire(group);
      void ended(slots.acquire(group, { signal: controller.signal }));
    }
    controller.abort();
    await host.advance(50 * SECOND);
    expect(log.lines).toHaveLength(1);
    await host.advance(MINUTE);
    expect(log.lines).toHaveLength(2);
  });

  it("is not suspected when a slot of the group has come back, whoever got it", async () => {
    const { slots, host, log } = bench({ global: 3, logLevel: "debug", leaseMs: null });
    const [first] = [await slots.acquire("a"), await slots.acquire("a"), await slots.acquire("b")];
    const other = slots.acquire("b");
    void slots.acquire("a");
    await host.advance(20 * SECOND);
    first.release();
    await other;
    await host.advance(29 * SECOND);
    expect(log.lines.filter((line) => line.includes('"a"'))).toEqual([]);
    await host.advance(SECOND);
    expect(log.lines.filter((line) => line.includes('"a"'))).toHaveLength(1);
  });

  it("is not suspected as long as slots are released now and then", async () => {
    const { slots, host, log } = bench({ perGroup: 1, logLevel: "debug", leaseMs: null });
    let held = await slots.acquire("g");
    const waits = Array.from({ length: 5 }, () => slots.acquire("g"));
    for (const wait of waits) {
      await host.advance(29 * SECOND);
      held.release();
      held = await wait;
    }
    expect(log.lines).toEqual([]);
    expect(host.sleeping).toBe(0);
  });

  it("is not suspected as long as leases run out, and others begin", async () => {
    const { slots, host, log } = bench({ perGroup: 1, logLevel: "debug", leaseMs: 25 * SECOND });
    const waits = Array.from({ length: 5 }, () => slots.acquire("g"));
    await host.drive(Promise.all(waits));
    expect(log.lines).toEqual([]);
  });

  it("is not suspected where the group holds nothing", async () => {
    const { slots, host, log } = bench({ global: 1, logLevel: "debug" });
    await slots.acquire("slow");
    const controller = new AbortController();
    const waiting = ended(slots.acquire("patient", { signal: controller.signal }));
    await host.advance(5 * MINUTE);
    expect(log.lines).toEqual([]);
    controller.abort();
    await waiting;
    expect(host.sleeping).toBe(0);
  });

  it("costs nothing without the debug log", async () => {
    const { slots, host, log } = bench({ perGroup: 1, leaseMs: null });
    await slots.acquire("g");
    const controller = new AbortController();
    const waiting = ended(slots.acquire("g", { signal: controller.signal }));
    await host.advance(5 * MINUTE);
    expect(log.lines).toEqual([]);
    expect(host.sleeping).toBe(0);
    controller.abort();
    await waiting;
  });
});

describe("what is not legal", () => {
  const numbers = [0, -1, 1.5, Number.NaN, Number.POSITIVE_INFINITY, "5", true, [5], {}, 1_000_001];
  const options: [string, unknown][] = [
    ...numbers.map((value): [string, unknown] => ["global", { global: value }]),
    ...numbers.map((value): [string, unknown] => ["perGroup", { perGroup: value }]),
    ...numbers
      .filter((value) => value !== 1.5 && value !== 1_000_001)
      .map((value): [string, unknown] => ["leaseMs", { global: 1, leaseMs: value }]),
    ["leaseMs", { global: 1, leaseMs: 31_536_000_001 }],
    ["global", {}],
    ["global", { global: null, perGroup: null }],
    ["onLimit", { global: 1, onLimit: "fail" }],
    ["maxQueue", { global: 1, maxQueue: 1.5 }],
    ["maxKeys", { global: 1, maxKeys: 0 }],
    ["onCoreUnavailable", { global: 1, onCoreUnavailable: null }],
    ["logger", { global: 1, logger: null }],
    ["logLevel", { global: 1, logLevel: "verbose" }],
    ["host", { global: 1, host: 5 }],
    ["host", { global: 1, host: { now: 5 } }],
    ["cap", { cap: 5 }],
    ["options", null],
    ["options", undefined],
    ["options", []],
    ["options", 5],
  ];

  it.each(options)("as an option: %s in %o", (field, value) => {
    expect(() => new Slots(value as SlotsOptions)).toThrowError(
      expect.objectContaining({ name: "RateLimitConfigError", field }),
    );
  });

  it.each<[string, unknown, unknown]>([
    ["group", 5, {}],
    ["group", null, {}],
    ["signal", "g", { signal: {} }],
    ["signal", "g", { signal: new EventTarget() }],
    ["priority", "g", { priority: "1" }],
    ["deadlineMs", "g", { deadlineMs: Number.NaN }],
    ["weight", "g", { weight: 2 }],
    ["options", "g", null],
    ["options", "g", 5],
  ])("of acquire: %s for %o with %o", async (field, group, given) => {
    const { slots } = bench({ global: 1 });
    const error = await rejection(slots.acquire(group as string, given as AcquireOptions));
    expect(error).toMatchObject({ name: "RateLimitConfigError", field });
    expect([slots.inFlight(), slots.waiting]).toEqual([0, 0]);
  });

  it("of tryAcquire and inFlight: thrown at once", () => {
    const { slots } = bench({ global: 1 });
    for (const act of [() => slots.tryAcquire(5 as never), () => slots.inFlight(null as never)]) {
      expect(act).toThrowError(expect.objectContaining({ name: "RateLimitConfigError", field: "group" }));
    }
  });
});

describe("without the core", () => {
  async function fresh(): Promise<typeof Slots> {
    vi.resetModules();
    await import("../../js/index.ts");
    return (await import("../../js/slots.ts")).Slots;
  }

  it("slots are refused, because nobody can count", async () => {
    vi.stubGlobal("WebAssembly", undefined);
    const { slots } = bench({ global: 1 }, await fresh());
    expect(await rejection(slots.acquire())).toMatchObject({ code: "RATE_LIMIT_CORE_UNAVAILABLE" });
    expect(() => slots.tryAcquire()).toThrow(/Limits cannot be checked/);
    expect(await rejection(slots.run("g", () => 1))).toMatchObject({ code: "RATE_LIMIT_CORE_UNAVAILABLE" });
    expect([slots.inFlight(), slots.inFlight("g"), slots.waiting]).toEqual([0, 0, 0]);
    slots.dispose();
  });

  it("everybody passes where that was asked for", async () => {
    vi.stubGlobal("WebAssembly", undefined);
    const { slots } = bench({ global: 1, onCoreUnavailable: "pass" }, await fresh());
    const leases = [await slots.acquire(), await slots.acquire(), slots.tryAcquire()];
    for (const lease of leases) {
      expect(lease?.renew()).toBe(true);
      expect(lease?.expiresAt).toBeNull();
      lease?.release();
      expect(lease?.renew()).toBe(false);
    }
  });

  it("after it failed, those who hold a slot still hold it, and their leases begin anew", async () => {
    const sabotage = sabotageCore();
    const Fresh = await fresh();
    const { coreState } = await import("../../js/core.ts");
    const { slots, host } = bench({ perGroup: 2, leaseMs: MINUTE }, Fresh);
    const lease = await slots.acquire("g");
    const leaked = await slots.acquire("g");
    await host.advance(50 * SECOND);
    sabotage.trapIn = true;
    slots.inFlight();
    expect(coreState()).toBe("trap");
    sabotage.trapIn = new Set();
    await vi.waitFor(() => expect(coreState()).toBe("ready"));
    expect(slots.inFlight("g")).toBe(2);
    expect(slots.tryAcquire("g")).toBeNull();
    lease.release();
    expect(slots.inFlight("g")).toBe(1);
    expect(leaked.renew()).toBe(true);
    await host.advance(MINUTE);
    expect(slots.inFlight("g")).toBe(0);
  });
});
