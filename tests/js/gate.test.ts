import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { describe, expect, it, vi } from "vitest";
import { Gate, type GateOptions, type Hold } from "../../js/gate.ts";
import { RateLimitConfigError, RateLimitError } from "../../js/index.ts";
import type { LimitsPlan } from "../../js/lanes.ts";
import { ManualHost } from "../../js/testing.ts";
import { sabotageCore } from "./support/broken-core.ts";
import { placeOf, planOf, policyOf, slotOf } from "./support/limits.ts";
import { ended, leavesNothingLoose, rejection, type Settled } from "./support/service.ts";

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

interface Stage {
  gate: Gate;
  host: ManualHost;
  /** Milliseconds since the stage was set. */
  elapsed(): number;
}

function stage(plan: Partial<LimitsPlan>, options: Partial<GateOptions> = {}, Class = Gate): Stage {
  const host = new ManualHost();
  const begun = host.now();
  const gate = new Class(planOf(plan), { host, onCoreUnavailable: "reject", logLevel: "silent", ...options });
  return { gate, host, elapsed: () => host.now() - begun };
}

leavesNothingLoose();

describe("slots", () => {
  it("are taken at once while there are any, then first come, first served", async () => {
    const { gate, host } = stage({ concurrency: 2 });
    const holds = [await gate.acquire(slotOf("a")), await gate.acquire(slotOf("b"))];
    const order: string[] = [];
    for (const name of ["c", "a", "b"]) void gate.acquire(slotOf(name)).then(() => order.push(name));
    await host.advance(HOUR);
    expect(order).toEqual([]);
    expect(gate.totals()).toEqual({ inFlight: 2, waiting: 3 });
    holds[0]?.release();
    await host.advance(0);
    expect(order).toEqual(["c"]);
    holds[1]?.release();
    await host.advance(0);
    expect(order).toEqual(["c", "a"]);
    expect(gate.totals()).toEqual({ inFlight: 2, waiting: 1 });
  });

  it("go to who has the higher priority, and ten seconds of waiting are a step of it", async () => {
    const { gate, host } = stage({ concurrency: 1 });
    const order: string[] = [];
    const queue = (name: string, priority: number): void =>
      void gate.acquire(slotOf(), { priority }).then((hold) => {
        order.push(name);
        hold.release();
      });
    const hold = await gate.acquire(slotOf());
    queue("patient", 0);
    await host.advance(10_001);
    queue("normal", 0);
    queue("urgent", 1);
    hold.release();
    await host.advance(0);
    expect(order).toEqual(["patient", "urgent", "normal"]);
  });

  it("are counted apart for each key where that is configured, and all together", async () => {
    const { gate } = stage({ concurrency: 3, concurrencyPerKey: 2 });
    const first = gate.tryAcquire(slotOf("a"));
    expect(gate.tryAcquire(slotOf("a"))).not.toBeNull();
    expect(gate.tryAcquire(slotOf("a"))).toBeNull();
    expect(gate.tryAcquire(slotOf("b"))).not.toBeNull();
    expect(gate.tryAcquire(slotOf("b"))).toBeNull();
    first?.release();
    expect(gate.tryAcquire(slotOf("b"))).not.toBeNull();
    expect(gate.status(slotOf("a"))).toMatchObject({ inFlight: 1, operationInFlight: 3, waiting: 0 });
  });

  it("come back once, however often they are released", async () => {
    const { gate } = stage({ concurrency: 2 });
    const hold = gate.tryAcquire(slotOf());
    gate.tryAcquire(slotOf());
    for (let i = 0; i < 5; i++) hold?.release();
    expect(gate.totals().inFlight).toBe(1);
    expect(gate.tryAcquire(slotOf())).not.toBeNull();
    expect(gate.tryAcquire(slotOf())).toBeNull();
    hold?.release();
    expect(gate.totals().inFlight).toBe(2);
  });

  it("are refused at once where the plan says so", async () => {
    const { gate } = stage({ concurrency: 1, reject: true });
    await gate.acquire(slotOf());
    const error = await rejection(gate.acquire(slotOf()));
    expect(error).toBeInstanceOf(RateLimitError);
    expect(error).toMatchObject({
      code: "RATE_LIMIT_CONCURRENCY_EXCEEDED",
      message: "All slots are taken. Too many operations at once. Please try again in a moment.",
      attempts: 0,
    });
    expect((error as RateLimitError).limit).toBeUndefined();
  });

  it("of a new plan: who waits goes at once when there are more, who has one keeps it when there are fewer", async () => {
    const { gate, host } = stage({ concurrency: 1 });
    const holds: Hold[] = [];
    for (let i = 0; i < 4; i++) void gate.acquire(slotOf()).then((hold) => holds.push(hold));
    await host.advance(0);
    expect(holds.length).toBe(1);
    gate.configure(planOf({ concurrency: 3 }));
    await host.advance(0);
    expect(holds.length).toBe(3);
    gate.configure(planOf({ concurrency: 1 }));
    holds[0]?.release();
    holds[1]?.release();
    await host.advance(0);
    expect(holds.length).toBe(3);
    holds[2]?.release();
    await host.advance(0);
    expect(holds.length).toBe(4);
  });

  it("of a plan that had none before are held from then on", async () => {
    const { gate } = stage({});
    await gate.acquire(slotOf());
    gate.configure(planOf({ concurrency: 1 }));
    const hold = gate.tryAcquire(slotOf());
    expect(gate.tryAcquire(slotOf())).toBeNull();
    hold?.release();
    expect(gate.tryAcquire(slotOf())).not.toBeNull();
  });

  it("a line that is full takes nobody in", async () => {
    const { gate } = stage({ concurrency: 1, maxQueue: 2 });
    await gate.acquire(slotOf());
    const waiting = [ended(gate.acquire(slotOf())), ended(gate.acquire(slotOf()))];
    expect(await rejection(gate.acquire(slotOf()))).toMatchObject({
      code: "RATE_LIMIT_QUEUE_FULL",
      userMessage: "Too many operations are waiting. Please try again later.",
    });
    gate.dispose();
    await Promise.all(waiting);
  });
});

describe("leases", () => {
  it("that run out give the slot back, to who waits for it", async () => {
    const { gate, host, elapsed } = stage({ concurrency: 1, leaseMs: 10 * MINUTE });
    const lost = await gate.acquire(slotOf());
    const next = gate.acquire(slotOf());
    const hold = await host.drive(next);
    expect(elapsed()).toBe(10 * MINUTE);
    expect([lost.expiresAt - lost.takenAt, hold.takenAt - lost.takenAt]).toEqual([10 * MINUTE, 10 * MINUTE]);
  });

  it("that ran out: a late release gives back nobody else's slot, and there is nothing to renew", async () => {
    const { gate, host } = stage({ concurrency: 1, leaseMs: 1_000 });
    const lost = await gate.acquire(slotOf());
    await host.advance(1_000);
    const hold = gate.tryAcquire(slotOf());
    expect(hold).not.toBeNull();
    lost.release();
    expect(gate.tryAcquire(slotOf())).toBeNull();
    expect(lost.renew()).toBeNull();
    expect(hold?.renew()).toBe(host.now() + 1_000);
  });

  it("that are renewed last on, by the time of their end", async () => {
    const { gate, host, elapsed } = stage({ concurrency: 1, leaseMs: 1_000 });
    const hold = await gate.acquire(slotOf());
    const next = gate.acquire(slotOf());
    await host.advance(900);
    expect(hold.renew()).toBe(hold.takenAt + 1_900);
    expect(hold.expiresAt).toBe(hold.takenAt + 1_900);
    await host.drive(next);
    expect(elapsed()).toBe(1_900);
    expect(hold.renew()).toBeNull();
  });

  it("that ran out have nothing to renew, also where nobody has come for the slot", async () => {
    const { gate, host } = stage({ concurrency: 1, leaseMs: 1_000 });
    const hold = await gate.acquire(slotOf());
    await host.advance(1_000);
    expect(hold.renew()).toBeNull();
    expect(hold.renew()).toBeNull();
    expect(gate.totals().inFlight).toBe(0);
  });

  it("that are released have nothing to renew", async () => {
    const { gate } = stage({ concurrency: 1, leaseMs: 1_000 });
    const hold = await gate.acquire(slotOf());
    hold.release();
    expect(hold.renew()).toBeNull();
  });

  it("without one a slot is held for ever, and says so", async () => {
    const { gate, host } = stage({ concurrency: 1 });
    const hold = await gate.acquire(slotOf());
    await host.advance(400 * DAY);
    expect(gate.tryAcquire(slotOf())).toBeNull();
    expect([hold.expiresAt, hold.renew()]).toEqual([Infinity, Infinity]);
  });

  it("leaked by the thousand come back, all of them", async () => {
    const { gate, host } = stage({ concurrency: 1_000, leaseMs: 600_000 });
    for (let i = 0; i < 1_000; i++) gate.tryAcquire(slotOf(`campaign ${i % 7}`));
    expect(gate.tryAcquire(slotOf())).toBeNull();
    await host.advance(599_999);
    expect(gate.tryAcquire(slotOf())).toBeNull();
    await host.advance(1);
    const taken = Array.from({ length: 1_001 }, () => gate.tryAcquire(slotOf())).filter(Boolean);
    expect(taken.length).toBe(1_000);
  });
});

describe("quotas", () => {
  it("let go as many as the window holds, and the next ones when there is room again", async () => {
    const { gate, host, elapsed } = stage({ policies: [policyOf([3, MINUTE])] });
    const times: number[] = [];
    for (let i = 0; i < 7; i++) void gate.acquire(placeOf("u1")).then(() => times.push(elapsed()));
    await host.advance(10 * MINUTE);
    expect(times.slice(0, 3)).toEqual([0, 0, 0]);
    for (const [index, time] of times.entries()) {
      const before = times[index - 3];
      if (before !== undefined) expect(time - before).toBeGreaterThanOrEqual(MINUTE);
    }
    expect(times.at(-1)).toBeLessThanOrEqual(2 * MINUTE * (1 + 1 / 64) + 2);
  });

  it("of different keys have nothing to do with each other", async () => {
    const { gate } = stage({ policies: [policyOf([1, MINUTE])] });
    for (const key of ["", "a", "b", "__proto__", "constructor", "0 a"]) {
      expect(gate.tryAcquire(placeOf(key)), key).not.toBeNull();
      expect(gate.tryAcquire(placeOf(key)), key).toBeNull();
    }
  });

  it("that several places need are one and the same for them", async () => {
    const { gate } = stage({ policies: [policyOf([2, MINUTE]), policyOf([3, HOUR])] });
    const session = (name: string) =>
      placeOf(name, {
        needs: [
          { policy: 0, key: name },
          { policy: 1, key: "agent" },
        ],
      });
    expect([1, 2, 3].map(() => gate.tryAcquire(session("s1")) !== null)).toEqual([true, true, false]);
    expect([1, 2].map(() => gate.tryAcquire(session("s2")) !== null)).toEqual([true, false]);
    expect(gate.status(session("s2"))?.windows).toEqual([
      { used: 1, maxRequests: 2, windowMs: MINUTE },
      { used: 3, maxRequests: 3, windowMs: HOUR },
    ]);
  });

  it("that are full are an error where the plan says so, with the window and the time", async () => {
    const { gate, host } = stage({ policies: [policyOf([2, MINUTE], [3, HOUR])], reject: true });
    await gate.acquire(placeOf("u1"));
    await gate.acquire(placeOf("u1"));
    const minute = (await rejection(gate.acquire(placeOf("u1")))) as RateLimitError;
    expect(minute).toMatchObject({
      code: "RATE_LIMIT_QUOTA_EXHAUSTED",
      limit: { maxRequests: 2, windowMs: MINUTE },
      attempts: 0,
    });
    expect(minute.userMessage).toMatch(/^The limit of 2 per minute is reached\. Next one at .+\.$/);
    await host.advance(minute.retryAfterMs ?? 0);
    await gate.acquire(placeOf("u1"));
    const hour = (await rejection(gate.acquire(placeOf("u1")))) as RateLimitError;
    expect(hour.limit).toEqual({ maxRequests: 3, windowMs: HOUR });
    expect(hour.userMessage).toMatch(/^The limit of 3 per hour is reached\./);
    await host.advance((hour.retryAfterMs ?? 0) - 1);
    expect(gate.tryAcquire(placeOf("u1"))).toBeNull();
    await host.advance(1);
    expect(gate.tryAcquire(placeOf("u1"))).not.toBeNull();
  });

  it("with a minimum interval space out the starts of each key", async () => {
    const policies = [{ windows: [], intervalMs: 1_000, smooth: false }];
    const { gate, host, elapsed } = stage({ policies });
    const times: number[] = [];
    for (let i = 0; i < 5; i++) void gate.acquire(placeOf("")).then(() => times.push(elapsed()));
    await host.advance(MINUTE);
    expect(times).toEqual([0, 1_000, 2_000, 3_000, 4_000]);
  });

  it("a place says when the next one may go", async () => {
    const { gate, host } = stage({
      policies: [{ windows: [], intervalMs: 1_000, smooth: false }],
      concurrency: 1,
    });
    expect(gate.status(placeOf(""))?.nextTime).toBeLessThanOrEqual(host.now());
    const hold = await gate.acquire(placeOf(""));
    expect(gate.status(placeOf(""))?.nextTime).toBe(Infinity);
    hold.release();
    expect(gate.status(placeOf(""))?.nextTime).toBe(host.now() + 1_000);
  });

  it("clear() forgets what one key has used, or all, and who waits goes", async () => {
    const { gate, host } = stage({ policies: [policyOf([1, HOUR])] });
    const went: string[] = [];
    for (const key of ["a", "b"]) {
      gate.tryAcquire(placeOf(key));
      for (let i = 0; i < 2; i++)
        void ended(gate.acquire(placeOf(key))).then(({ value }) => value && went.push(key));
    }
    await host.advance(0);
    gate.clear(placeOf("a"));
    await host.advance(0);
    expect(went).toEqual(["a"]);
    gate.clear();
    await host.advance(0);
    expect(went.sort()).toEqual(["a", "a", "b"]);
    gate.dispose();
    await host.advance(0);
  });

  it("giveBack() makes room for who waits", async () => {
    const { gate, host } = stage({ policies: [policyOf([2, HOUR])] });
    const hold = await gate.acquire(placeOf("a", { weight: 2 }));
    const next = ended(gate.acquire(placeOf("a")));
    await host.advance(1_000);
    expect(gate.status(placeOf("a"))?.waiting).toBe(1);
    gate.giveBack(placeOf("a"), hold.takenAt, 2);
    expect((await next).value).toBeDefined();
    expect(gate.status(placeOf("a"))?.windows[0]?.used).toBe(1);
  });

  it("tell at four fifths, once", async () => {
    const { gate } = stage({ policies: [policyOf([10, HOUR])] });
    const told: unknown[] = [];
    gate.on("warned", (warning) => told.push(warning));
    for (let i = 0; i < 7; i++) gate.tryAcquire(placeOf("u1"));
    expect(told).toEqual([]);
    gate.tryAcquire(placeOf("u1"));
    const warning = { key: "u1", maxRequests: 10, windowMs: HOUR, used: 8 };
    expect(told).toEqual([warning]);
    gate.tryAcquire(placeOf("u1"));
    gate.tryAcquire(placeOf("u1"));
    expect(told).toEqual([warning]);
  });

  it("tell at once, however they were taken", async () => {
    const told: string[] = [];
    const { gate } = stage({ policies: [policyOf([5, HOUR])], concurrency: 100 });
    gate.on("warned", ({ key }) => told.push(key));
    for (let i = 0; i < 4; i++) gate.tryAcquire(placeOf("tried"));
    expect(told).toEqual(["tried"]);
    for (let i = 0; i < 4; i++) await gate.acquire(placeOf("acquired"));
    expect(told).toEqual(["tried", "acquired"]);
  });

  it("that nothing but time limits need no release", async () => {
    const { gate } = stage({ policies: [policyOf([1_000, MINUTE])] });
    for (let i = 0; i < 100; i++) await gate.acquire(placeOf("a"));
    expect(gate.totals()).toEqual({ inFlight: 0, waiting: 0 });
  });
});

describe("keys", () => {
  it("that are idle go first; while none is, a new one is refused and no old one forgotten", async () => {
    const { gate, host } = stage({ policies: [policyOf([1, MINUTE])], maxKeys: 2 });
    gate.tryAcquire(placeOf("a"));
    await host.advance(30_000);
    gate.tryAcquire(placeOf("b"));
    expect(gate.tryAcquire(placeOf("c"))).toBeNull();
    const error = (await rejection(gate.acquire(placeOf("c")))) as RateLimitError;
    expect(error).toMatchObject({ code: "RATE_LIMIT_QUOTA_EXHAUSTED" });
    expect(error.message).toMatch(/^Too many keys are in use\. The limit is reached\. Next one at .+\.$/);
    expect(error.retryAfterMs).toBeGreaterThan(0);
    expect(gate.status(placeOf("c"))).toBeNull();
    expect(gate.tryAcquire(placeOf("a"))).toBeNull();
    await host.advance(31_000);
    expect(gate.tryAcquire(placeOf("c"))).not.toBeNull();
    expect(gate.names().sort()).toEqual(["b", "c"]);
    expect(gate.tryAcquire(placeOf("b"))).toBeNull();
  });

  it("in which somebody waits or runs are not idle", async () => {
    const { gate, host } = stage({ concurrency: 1, maxKeys: 2 });
    const hold = await gate.acquire(slotOf("runs"));
    const waiting = gate.acquire(slotOf("waits"));
    await host.advance(HOUR);
    expect(await rejection(gate.acquire(slotOf("new")))).toMatchObject({
      code: "RATE_LIMIT_QUOTA_EXHAUSTED",
    });
    hold.release();
    (await waiting).release();
    await host.advance(MINUTE);
    expect(gate.tryAcquire(slotOf("new"))).not.toBeNull();
  });

  it("by the hundred thousand leave no more behind than is allowed", async () => {
    const { gate, host } = stage({ policies: [policyOf([1, 1_000])], maxKeys: 100 });
    for (let round = 0; round < 1_000; round++) {
      for (let i = 0; i < 100; i++) gate.tryAcquire(placeOf(`${round} ${i}`));
      await host.advance(1_100);
    }
    expect(gate.names().length).toBe(100);
  });
});

describe("who waits", () => {
  it("ends at once when its signal aborts, with the signal's reason, and the next one moves up", async () => {
    const { gate, host } = stage({ concurrency: 1 });
    const hold = await gate.acquire(slotOf());
    const controller = new AbortController();
    const aborted = ended(gate.acquire(slotOf(), { signal: controller.signal }));
    const next = ended(gate.acquire(slotOf()));
    await host.advance(1_000);
    const reason = new Error("enough");
    controller.abort(reason);
    expect(await aborted).toEqual({ error: reason });
    expect(gate.totals()).toEqual({ inFlight: 1, waiting: 1 });
    hold.release();
    expect((await next).value).toBeDefined();
  });

  it("for a quota ends at once as well, and has used nothing of it", async () => {
    const { gate, host } = stage({ policies: [policyOf([1, HOUR])] });
    gate.tryAcquire(placeOf("a"));
    const controller = new AbortController();
    const aborted = ended(gate.acquire(placeOf("a"), { signal: controller.signal }));
    await host.advance(1);
    controller.abort();
    expect((await aborted).error).toMatchObject({ name: "AbortError" });
    expect(gate.status(placeOf("a"))).toMatchObject({ waiting: 0, windows: [{ used: 1 }] });
    expect(host.sleeping).toBe(0);
  });

  it("never begins with a signal that has aborted", async () => {
    const { gate } = stage({ concurrency: 1 });
    const signal = AbortSignal.abort("why");
    expect(await rejection(gate.acquire(slotOf(), { signal }))).toBe("why");
    expect(gate.totals()).toEqual({ inFlight: 0, waiting: 0 });
  });

  it("listens to a signal once, however many share it, and no longer than it waits", async () => {
    const { gate, host } = stage({ concurrency: 1 });
    const { signal } = new AbortController();
    const added = vi.spyOn(signal, "addEventListener");
    const removed = vi.spyOn(signal, "removeEventListener");
    const holds = Array.from({ length: 20 }, () =>
      gate.acquire(slotOf(), { signal }).then((hold) => hold.release()),
    );
    expect(added).toHaveBeenCalledTimes(1);
    await host.drive(Promise.all(holds));
    expect(removed).toHaveBeenCalledTimes(1);
  });

  it("ends at its deadline, or at once when it is known that it cannot go by then", async () => {
    const { gate, host, elapsed } = stage({ concurrency: 1, policies: [policyOf([1, HOUR])] });
    await gate.acquire(slotOf());
    const late = host.drive(rejection(gate.acquire(slotOf(), { deadlineMs: 500 })));
    expect(await late).toMatchObject({ code: "RATE_LIMIT_DEADLINE_EXCEEDED", attempts: 0 });
    expect(elapsed()).toBe(500);
    const quota = stage({ policies: [policyOf([1, HOUR])] });
    quota.gate.tryAcquire(placeOf("a"));
    const hopeless = (await rejection(
      quota.gate.acquire(placeOf("a"), { deadlineMs: MINUTE }),
    )) as RateLimitError;
    expect(hopeless.code).toBe("RATE_LIMIT_DEADLINE_EXCEEDED");
    expect(hopeless.retryAfterMs).toBeGreaterThanOrEqual(HOUR);
    expect(quota.elapsed()).toBe(0);
  });

  it.each<[string, object]>([
    ["signal", { signal: {} }],
    ["priority", { priority: "high" }],
    ["deadlineMs", { deadlineMs: Number.NaN }],
  ])("with an illegal %s is told so", async (field, options) => {
    const { gate } = stage({ concurrency: 1 });
    const error = await rejection(gate.acquire(slotOf(), options));
    expect(error).toBeInstanceOf(RateLimitConfigError);
    expect(error).toMatchObject({ field });
  });

  it("by the ten thousand, with deadlines and a signal, costs no more for each than alone", async () => {
    const { gate, host } = stage({ concurrency: 1, maxQueue: 100_000 });
    const controller = new AbortController();
    await gate.acquire(slotOf());
    const wait = (deadlineMs: number): Promise<Settled<Hold>> =>
      ended(gate.acquire(slotOf(), { deadlineMs, signal: controller.signal }));
    const late = Array.from({ length: 10_000 }, (_, i) => wait(1 + ((i * 7_919) % 10_000)));
    const aborted = Array.from({ length: 10_000 }, (_, i) => wait(HOUR + i));
    // A step for each of so many deadlines would be a test of the manual host: the machine was asleep.
    await host.advance(0);
    const begun = performance.now();
    const asleep = vi.spyOn(host, "sleep");
    await host.advance(20_000);
    controller.abort();
    const ends = await Promise.all([...late, ...aborted]);
    expect(ends.filter(({ error }) => (error as Error).name === "RateLimitError").length).toBe(10_000);
    expect(ends.filter(({ error }) => (error as Error).name === "AbortError").length).toBe(10_000);
    expect(performance.now() - begun).toBeLessThan(4_000);
    expect(asleep.mock.calls.length).toBeLessThanOrEqual(10_001);
    expect(gate.totals().waiting).toBe(0);
    expect(host.sleeping).toBe(0);
  });
});

describe("dispose()", () => {
  it("ends every wait with an AbortError, and every later one; what is held needs no release", async () => {
    const { gate, host } = stage({ concurrency: 1, leaseMs: HOUR });
    const hold = await gate.acquire(slotOf());
    const waiting = [1, 2, 3].map(() => ended(gate.acquire(slotOf())));
    await host.advance(0);
    gate.dispose();
    gate.dispose();
    for (const one of waiting) expect((await one).error).toMatchObject({ name: "AbortError" });
    expect(await rejection(gate.acquire(slotOf()))).toMatchObject({ name: "AbortError" });
    expect(() => gate.tryAcquire(slotOf())).toThrow(expect.objectContaining({ name: "AbortError" }));
    expect(() => hold.release()).not.toThrow();
    expect(hold.renew()).toBeNull();
    expect(host.sleeping).toBe(0);
    expect(gate.totals()).toEqual({ inFlight: 0, waiting: 0 });
    expect(gate.status(slotOf())).toBeNull();
    expect(gate.names()).toEqual([]);
    expect(gate.dump(slotOf())).toBeNull();
    gate.load(slotOf(), { quotas: [] });
    gate.clear();
    gate.giveBack(slotOf(), 0, 1);
    gate.configure(planOf());
  });

  it("is not needed: a gate that nobody holds is collected", async () => {
    setFlagsFromString("--expose-gc");
    const collect = runInNewContext("gc") as () => void;
    const make = async (): Promise<WeakRef<Gate>[]> => {
      const gates = Array.from({ length: 50 }, () => stage({ concurrency: 2 }, { host: {} }).gate);
      for (const gate of gates) (await gate.acquire(slotOf())).release();
      return gates.map((gate) => new WeakRef(gate));
    };
    const gates = await make();
    for (let turn = 0; turn < 20 && gates.some((gate) => gate.deref()); turn++) {
      await new Promise((resolve) => setImmediate(resolve));
      collect();
    }
    expect(gates.filter((gate) => gate.deref()).length).toBeLessThan(5);
  });
});

describe("what was counted", () => {
  const plan = { policies: [policyOf([10, HOUR], [100, DAY])] };

  it("can be taken along and counts on, by the wall clock", async () => {
    const { gate, host } = stage(plan);
    for (let i = 0; i < 4; i++) gate.tryAcquire(placeOf("a"));
    await host.advance(30 * MINUTE);
    for (let i = 0; i < 5; i++) gate.tryAcquire(placeOf("a"));
    const state = JSON.parse(JSON.stringify(gate.dump(placeOf("a"))));
    expect(gate.dump(placeOf("b"))).toBeNull();

    const later = stage(plan);
    await later.host.advance(45 * MINUTE);
    later.gate.load(placeOf("a"), state);
    expect(later.gate.status(placeOf("a"))?.windows).toMatchObject([{ used: 9 }, { used: 9 }]);
    await later.host.advance(17 * MINUTE);
    expect(later.gate.status(placeOf("a"))?.windows).toMatchObject([{ used: 5 }, { used: 9 }]);
    await later.host.advance(2 * HOUR);
    expect(later.gate.status(placeOf("a"))?.windows).toMatchObject([{ used: 0 }, { used: 9 }]);
  });

  it("in the future counts as now, and what is too old not at all", async () => {
    const { gate, host } = stage(plan);
    const now = host.now();
    const taken: [number, number, number][] = [
      [HOUR, now + 5 * DAY, 3],
      [HOUR, now - 2 * HOUR, 4],
      [7, now, 5],
    ];
    gate.load(placeOf("a"), { quotas: [{ taken }] });
    expect(gate.status(placeOf("a"))?.windows).toMatchObject([{ used: 3 }, { used: 0 }]);
    await host.advance(HOUR * (1 + 1 / 32));
    expect(gate.status(placeOf("a"))?.windows).toMatchObject([{ used: 0 }, { used: 0 }]);
  });

  it("of a minimum interval holds the next one until it has passed", async () => {
    const spaced = { policies: [{ windows: [], intervalMs: 10_000, smooth: false }] };
    const { gate, host } = stage(spaced);
    gate.tryAcquire(placeOf("a"));
    await host.advance(4_000);
    const state = gate.dump(placeOf("a"));
    expect(state).toEqual({ quotas: [{ nextAt: host.now() + 6_000, taken: [] }] });
    const later = stage(spaced);
    await later.host.advance(5_000);
    if (state) later.gate.load(placeOf("a"), state);
    expect(later.gate.tryAcquire(placeOf("a"))).toBeNull();
    await later.host.advance(5_000);
    expect(later.gate.tryAcquire(placeOf("a"))).not.toBeNull();
  });
});

describe("time", () => {
  const plan = planOf({ policies: [policyOf([2, MINUTE])], concurrencyPerKey: 5, leaseMs: 10 * MINUTE });
  const options = { onCoreUnavailable: "reject", logLevel: "silent" } as const;

  it("by fake timers: quotas, leases and deadlines follow them, and no timer stays", async () => {
    vi.useFakeTimers();
    const gate = new Gate(plan, options);
    const times: number[] = [];
    const begun = Date.now();
    for (let i = 0; i < 6; i++) {
      void gate.acquire(placeOf("a")).then((hold) => {
        times.push(Date.now() - begun);
        hold.release();
      });
    }
    const late = ended(gate.acquire(placeOf("a"), { deadlineMs: 200 * MINUTE }));
    await vi.advanceTimersByTimeAsync(MINUTE - 1);
    expect(times).toEqual([0, 0]);
    await vi.advanceTimersByTimeAsync(4 * MINUTE);
    expect(times.length).toBe(6);
    expect((await late).value).toBeDefined();
    expect(vi.getTimerCount()).toBe(0);
  });

  it("that jumps forward by a day is time that passed", async () => {
    vi.useFakeTimers();
    const gate = new Gate(plan, options);
    const held = [await gate.acquire(placeOf("a")), await gate.acquire(placeOf("a"))];
    const waiting = Array.from({ length: 3 }, () => ended(gate.acquire(placeOf("a"))));
    await vi.advanceTimersByTimeAsync(1_000);
    vi.setSystemTime(Date.now() + DAY);
    await vi.advanceTimersByTimeAsync(MINUTE);
    for (const one of waiting.slice(0, 2)) expect((await one).value).toBeDefined();
    expect(held.map((hold) => hold.renew())).toEqual([null, null]);
    await vi.advanceTimersByTimeAsync(2 * MINUTE);
    expect((await waiting[2])?.value).toBeDefined();
  });

  it("that is set back by an hour stalls nobody, and lets nobody go too early", async () => {
    vi.useFakeTimers();
    const gate = new Gate(plan, options);
    const times: number[] = [];
    const begun = performance.now();
    for (let i = 0; i < 8; i++) {
      void gate.acquire(placeOf("a")).then((hold) => {
        times.push(performance.now() - begun);
        hold.release();
      });
    }
    await vi.advanceTimersByTimeAsync(30_000);
    vi.setSystemTime(Date.now() - HOUR);
    await vi.advanceTimersByTimeAsync(5 * MINUTE);
    expect(times.length).toBe(8);
    for (const [index, time] of times.entries()) {
      const before = times[index - 2];
      if (before !== undefined) expect(time - before).toBeGreaterThanOrEqual(MINUTE - 1);
    }
  });

  it("that a laptop slept through: who waited goes soon after its waking", async () => {
    vi.useFakeTimers();
    const gate = new Gate(planOf({ policies: [policyOf([1, DAY])] }), options);
    gate.tryAcquire(placeOf("a"));
    const waiting = ended(gate.acquire(placeOf("a")));
    let went = false;
    void waiting.then(() => {
      went = true;
    });
    await vi.advanceTimersByTimeAsync(HOUR);
    // Timers stand still while the machine sleeps; Date goes on.
    vi.setSystemTime(Date.now() + 2 * DAY);
    expect(went).toBe(false);
    await vi.advanceTimersByTimeAsync(Math.ceil(DAY / 10));
    expect(went).toBe(true);
  });
});

describe("without the core", () => {
  async function freshGate(): Promise<typeof Gate> {
    vi.resetModules();
    return (await import("../../js/gate.ts")).Gate;
  }

  it("nobody gets anything, unless it was told to let pass", async () => {
    vi.stubGlobal("WebAssembly", undefined);
    const Fresh = await freshGate();
    const { gate } = stage({ concurrency: 1 }, {}, Fresh);
    const unavailable = {
      code: "RATE_LIMIT_CORE_UNAVAILABLE",
      userMessage: "Limits cannot be checked on this device.",
    };
    expect(await rejection(gate.acquire(slotOf()))).toMatchObject(unavailable);
    expect(() => gate.tryAcquire(slotOf())).toThrow(expect.objectContaining(unavailable));
    const open = stage({ concurrency: 1 }, { onCoreUnavailable: "pass" }, Fresh).gate;
    for (let i = 0; i < 3; i++) {
      const hold = i % 2 ? open.tryAcquire(slotOf()) : await open.acquire(slotOf());
      expect(hold?.expiresAt).toBe(Infinity);
      expect(hold?.renew()).toBe(Infinity);
      hold?.release();
    }
    expect(open.status(slotOf())).toBeNull();
    expect(open.totals()).toEqual({ inFlight: 0, waiting: 0 });
    expect(open.dump(slotOf())).toBeNull();
    expect(open.names()).toEqual([]);
    expect(() => open.configure(planOf())).not.toThrow();
    expect(() => open.clear(slotOf())).not.toThrow();
    open.dispose();
  });
});

describe("a trap", () => {
  async function trappable(): Promise<{
    Fresh: typeof Gate;
    sabotage: ReturnType<typeof sabotageCore>;
    trap: (gate: Gate) => void;
  }> {
    const sabotage = sabotageCore();
    vi.resetModules();
    await import("../../js/index.ts");
    const Fresh = (await import("../../js/gate.ts")).Gate;
    const trap = (gate: Gate): void => {
      sabotage.trapIn = new Set(["limits_status"]);
      gate.totals();
      sabotage.trapIn = new Set();
    };
    return { Fresh, sabotage, trap };
  }

  it("leaves the slots to those who have them, and the line in its order", async () => {
    const { Fresh, trap } = await trappable();
    const { gate, host } = stage({ concurrency: 2, leaseMs: HOUR }, {}, Fresh);
    const told: string[] = [];
    gate.on("core", ({ state }) => told.push(state));
    const holds = [await gate.acquire(slotOf("a")), await gate.acquire(slotOf("b"))];
    const order: string[] = [];
    const queue = (name: string, priority: number): void =>
      void gate.acquire(slotOf(name), { priority }).then(() => order.push(name));
    queue("late", -1);
    queue("first", 0);
    queue("second", 0);
    queue("urgent", 2);
    await host.advance(1_000);
    trap(gate);
    await host.advance(1_000);
    expect(told.slice(-2)).toEqual(["trap", "ready"]);
    expect(order).toEqual([]);
    expect(gate.totals()).toEqual({ inFlight: 2, waiting: 4 });
    holds[0]?.release();
    holds[0]?.release();
    await host.advance(0);
    expect(order).toEqual(["urgent"]);
    expect(holds[1]?.renew()).toBe(host.now() + HOUR);
    holds[1]?.release();
    await host.advance(0);
    expect(order).toEqual(["urgent", "first"]);
    await host.advance(HOUR);
    expect(order).toEqual(["urgent", "first", "second", "late"]);
  });

  it("takes slots again although less is allowed than before: none is free until enough have come back", async () => {
    const { Fresh, trap } = await trappable();
    const { gate, host } = stage({ concurrency: 3 }, {}, Fresh);
    const holds = [
      await gate.acquire(slotOf("a")),
      await gate.acquire(slotOf("b")),
      await gate.acquire(slotOf()),
    ];
    gate.configure(planOf({ concurrency: 1, maxKeys: 1 }));
    trap(gate);
    await host.advance(1_000);
    for (const left of [3, 2, 1]) {
      expect([gate.totals().inFlight, gate.tryAcquire(slotOf())]).toEqual([left, null]);
      holds.pop()?.release();
    }
    expect(gate.tryAcquire(slotOf())).not.toBeNull();
  });

  it("does not take again what was released, or expired, before there was another core", async () => {
    const { Fresh, trap } = await trappable();
    const { gate, host } = stage({ concurrency: 3, leaseMs: 1_000 }, {}, Fresh);
    gate.tryAcquire(slotOf());
    await host.advance(500);
    const released = gate.tryAcquire(slotOf());
    gate.tryAcquire(slotOf());
    trap(gate);
    released?.release();
    await host.advance(600);
    expect(gate.totals().inFlight).toBe(1);
  });

  it("fills the windows of up to a minute, since nobody else has counted", async () => {
    const { Fresh, trap } = await trappable();
    const { gate, host } = stage({ policies: [policyOf([5, MINUTE], [50, HOUR])] }, {}, Fresh);
    gate.tryAcquire(placeOf("a"));
    trap(gate);
    await host.advance(1_000);
    expect(gate.tryAcquire(placeOf("a"))).toBeNull();
    expect(gate.tryAcquire(placeOf("never seen"))).toBeNull();
    const waiting = gate.acquire(placeOf("a"));
    await host.drive(waiting);
    expect(gate.status(placeOf("a"))?.windows[1]?.used).toBe(1);
  });

  it("takes slots again although the windows are full, and spends nothing for it", async () => {
    const { Fresh, trap } = await trappable();
    const plan = { concurrency: 1, policies: [policyOf([5, MINUTE], [50, HOUR])] };
    const { gate, host } = stage(plan, {}, Fresh);
    const hold = await gate.acquire(placeOf("a"));
    trap(gate);
    await host.advance(0);
    expect(gate.totals()).toEqual({ inFlight: 1, waiting: 0 });
    expect(gate.status(placeOf("a"))?.windows[1]?.used).toBe(0);
    hold.release();
    expect(gate.totals()).toEqual({ inFlight: 0, waiting: 0 });
  });

  it("and then dispose(): who waits for the core ends with an AbortError", async () => {
    const { Fresh, trap } = await trappable();
    vi.useFakeTimers();
    const gate = new Fresh(planOf({ concurrency: 1 }), { onCoreUnavailable: "reject", logLevel: "silent" });
    await gate.acquire(slotOf());
    const waiting = ended(gate.acquire(slotOf(), { deadlineMs: HOUR }));
    await vi.advanceTimersByTimeAsync(1_000);
    trap(gate);
    await vi.advanceTimersByTimeAsync(1_000);
    gate.dispose();
    expect((await waiting).error).toMatchObject({ name: "AbortError" });
    await vi.advanceTimersByTimeAsync(HOUR);
    expect(vi.getTimerCount()).toBe(0);
  });

  it("harms nobody who aborts, is late, or is disposed of meanwhile", async () => {
    const { Fresh, trap } = await trappable();
    vi.useFakeTimers();
    const gate = new Fresh(planOf({ concurrency: 1 }), { onCoreUnavailable: "reject", logLevel: "silent" });
    await gate.acquire(slotOf());
    const controller = new AbortController();
    const aborted = ended(gate.acquire(slotOf(), { signal: controller.signal }));
    const late = ended(gate.acquire(slotOf(), { deadlineMs: 5_000 }));
    const disposed = ended(gate.acquire(slotOf(), { deadlineMs: HOUR }));
    await vi.advanceTimersByTimeAsync(1_000);
    trap(gate);
    controller.abort();
    expect((await aborted).error).toBe(controller.signal.reason);
    await vi.advanceTimersByTimeAsync(5_000);
    expect((await late).error).toMatchObject({ code: "RATE_LIMIT_DEADLINE_EXCEEDED" });
    gate.dispose();
    expect((await disposed).error).toMatchObject({ name: "AbortError" });
    await vi.advanceTimersByTimeAsync(2 * HOUR);
    expect(vi.getTimerCount()).toBe(0);
  });

  it.each(["reject", "pass"] as const)(
    "for the third time within a minute: who waits is told (%s)",
    async (way) => {
      const { Fresh, trap } = await trappable();
      const { gate, host } = stage({ concurrency: 1 }, { onCoreUnavailable: way }, Fresh);
      const hold = await gate.acquire(slotOf());
      const waiting = ended(gate.acquire(slotOf()));
      for (let turn = 0; turn < 3; turn++) {
        await host.advance(1_000);
        trap(gate);
      }
      await host.advance(0);
      const end = await waiting;
      if (way === "reject") expect(end.error).toMatchObject({ code: "RATE_LIMIT_CORE_UNAVAILABLE" });
      else expect(end.value?.expiresAt).toBe(Infinity);
      hold.release();
      expect(hold.renew()).toBeNull();
    },
  );

  it.each(["begin_in", "try_in", "poll", "release", "renew", "lane", "need", "quota", "freed", "leave"])(
    "in %s harms nobody",
    async (name) => {
      const { Fresh, sabotage } = await trappable();
      const { gate, host } = stage(
        { concurrency: 2, leaseMs: MINUTE, policies: [policyOf([100, 1_000])] },
        {},
        Fresh,
      );
      const hold = await gate.acquire(placeOf("a"));
      await gate.acquire(placeOf("b"));
      const controller = new AbortController();
      const waiting = [ended(gate.acquire(placeOf("a"))), ended(gate.acquire(placeOf("b")))];
      const aborted = ended(gate.acquire(placeOf("c"), { signal: controller.signal }));
      await host.advance(100);
      sabotage.trapIn = new Set([name]);
      controller.abort();
      const begun = ended(gate.acquire(placeOf("d")));
      try {
        gate.tryAcquire(placeOf("e"));
      } catch (error) {
        expect(error).toMatchObject({ code: "RATE_LIMIT_CORE_UNAVAILABLE" });
      }
      hold.renew();
      hold.release();
      await host.advance(10);
      sabotage.trapIn = new Set();
      await host.advance(10 * MINUTE);
      expect((await aborted).error).toBe(controller.signal.reason);
      const begunEnd = await begun;
      if (begunEnd.error) expect(begunEnd.error).toMatchObject({ code: "RATE_LIMIT_CORE_UNAVAILABLE" });
      for (const one of waiting) {
        const end = await one;
        if (end.error) expect(end.error).toMatchObject({ code: "RATE_LIMIT_CORE_UNAVAILABLE" });
      }
      expect(gate.totals().waiting).toBe(0);
    },
  );
});
