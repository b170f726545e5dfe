import fc from "fast-check";
import { describe, expect, it, vi } from "vitest";
import { RateLimitError, RateLimitService } from "../../js/index.ts";
import type { LimitsPlan, OnCoreUnavailable } from "../../js/lanes.ts";
import { ManualHost } from "../../js/testing.ts";
import type { RateLimitConfig, WaitInfo } from "../../js/types.ts";
import { sabotageCore } from "./support/broken-core.ts";
import { placeOf, planOf, policyOf, slotOf } from "./support/limits.ts";
import {
  deferred,
  ended,
  freshPackage,
  Log,
  leavesNothingLoose,
  refusal,
  rejection,
  type Settled,
  script,
} from "./support/service.ts";

/** Calls of a service that stand in lanes: what a registry makes of its limits. */

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;

interface Stage {
  service: RateLimitService;
  host: ManualHost;
  log: Log;
  elapsed(): number;
}

interface Setting extends Partial<RateLimitConfig> {
  onCoreUnavailable?: OnCoreUnavailable;
}

function stage(
  plan: Partial<LimitsPlan>,
  { onCoreUnavailable = "reject", ...config }: Setting = {},
  Service = RateLimitService,
): Stage {
  const host = new ManualHost();
  const log = new Log();
  const begun = host.now();
  const limits = { ...planOf(plan), onCoreUnavailable };
  const service = new Service({ jitter: "none", logger: log, ...config }, host, limits);
  return { service, host, log, elapsed: () => host.now() - begun };
}

leavesNothingLoose();

/** An operation that runs until it is told to end, and how many of it run. */
function busy(): { run: () => Promise<unknown>; running: () => number; end: () => void; most: () => number } {
  const all: (() => void)[] = [];
  let running = 0;
  let most = 0;
  return {
    run: () => {
      most = Math.max(most, ++running);
      return new Promise((resolve) => {
        all.push(() => {
          running--;
          resolve("done");
        });
      });
    },
    running: () => running,
    end: () => all.shift()?.(),
    most: () => most,
  };
}

describe("slots", () => {
  it("run no more at a time than there are, in the order of their coming", async () => {
    const { service, host } = stage({ concurrency: 2 });
    const order: number[] = [];
    const calls = Array.from({ length: 20 }, (_, i) =>
      service.executeIn(slotOf(`lane ${i % 3}`), async () => {
        order.push(i);
        await host.sleep(100);
        return i;
      }),
    );
    await host.advance(50);
    expect(order).toEqual([0, 1]);
    expect(await host.drive(Promise.all(calls))).toEqual(Array.from({ length: 20 }, (_, i) => i));
    expect(order).toEqual(Array.from({ length: 20 }, (_, i) => i));
    expect(service.status(slotOf("lane 0"))).toMatchObject({ inFlight: 0, waiting: 0, operationInFlight: 0 });
  });

  it("are held by the operation alone: not in a backoff, and not once the call is over", async () => {
    const { service, host } = stage({ concurrency: 1 }, { sharedCooldown: false });
    const first = service.executeIn(slotOf("a"), script(refusal(10), "first"));
    await host.advance(0);
    const second = script("second");
    expect(await service.executeIn(slotOf("b"), second)).toBe("second");
    expect(await host.drive(first)).toBe("first");
    const failed = await rejection(service.executeIn(slotOf("c"), script(refusal(undefined, 404))));
    expect(failed).toMatchObject({ status: 404 });
    expect(await service.executeIn(slotOf("c"), second)).toBe("second");
    await rejection(
      service.executeIn(slotOf("d"), () => {
        throw new Error("before its first await");
      }),
    );
    expect(service.status(slotOf("d"))?.operationInFlight).toBe(0);
  });

  it.each<[string, object, Partial<RateLimitConfig>, object]>([
    ["was aborted", { signal: true }, {}, { name: "AbortError" }],
    ["is past its deadline", { deadlineMs: 1_000 }, {}, { code: "RATE_LIMIT_DEADLINE_EXCEEDED" }],
    ["took too long", {}, { attemptTimeoutMs: 1_000 }, { name: "TimeoutError" }],
  ])("of a call that %s stay taken until its operation settles", async (_, context, config, expected) => {
    const { service, host } = stage({ concurrency: 1 }, config);
    const controller = new AbortController();
    const work = busy();
    const signal = "signal" in context ? controller.signal : null;
    const call = ended(service.executeIn(slotOf(), work.run, { ...context, signal }));
    await host.advance(1_000);
    controller.abort();
    expect((await call).error).toMatchObject(expected);
    const next = service.executeIn(slotOf(), async () => "next");
    await host.advance(500);
    expect(service.status(slotOf())).toMatchObject({ inFlight: 1, waiting: 1 });
    work.end();
    expect(await host.drive(next)).toBe("next");
    expect(service.status(slotOf())).toMatchObject({ inFlight: 0, waiting: 0 });
  });

  it("of an operation that never settles come back with the lease, and then once", async () => {
    const { service, host, elapsed } = stage(
      { concurrency: 1, leaseMs: 10_000 },
      { attemptTimeoutMs: 1_000 },
    );
    const work = busy();
    const call = ended(service.executeIn(slotOf(), work.run));
    await host.advance(2_000);
    expect((await call).error).toMatchObject({ name: "TimeoutError" });
    let began = 0;
    const other = busy();
    const next = ended(
      service.executeIn(slotOf(), () => {
        began = elapsed();
        return other.run();
      }),
    );
    await host.advance(8_000);
    expect(began).toBe(10_000);
    work.end();
    await host.advance(0);
    expect(service.status(slotOf())?.inFlight).toBe(1);
    other.end();
    expect((await next).value).toBe("done");
  });

  it("a retry beside an attempt that goes on takes another one", async () => {
    const config = { attemptTimeoutMs: 100, retryTransient: "always", retryBudget: null } as const;
    const { service, host } = stage({ concurrency: 2 }, config);
    const work = busy();
    const call = ended(service.executeIn(slotOf(), ({ attempt }) => (attempt < 3 ? work.run() : "done")));
    await host.advance(5_000);
    // The third attempt waits: both slots are with the first two.
    expect(service.status(slotOf())).toMatchObject({ inFlight: 2, waiting: 1 });
    work.end();
    expect(await call).toEqual({ value: "done" });
    work.end();
    await host.advance(0);
    expect(service.status(slotOf())).toMatchObject({ inFlight: 0, waiting: 0 });
    expect(work.most()).toBe(2);
  });

  it("an operation that aborts its own call keeps its slot as well", async () => {
    const { service, host } = stage({ concurrency: 1 });
    const controller = new AbortController();
    const work = busy();
    const call = ended(
      service.executeIn(
        slotOf(),
        () => {
          controller.abort();
          return work.run();
        },
        { signal: controller.signal },
      ),
    );
    expect((await call).error).toBe(controller.signal.reason);
    expect(service.status(slotOf())?.inFlight).toBe(1);
    work.end();
    await host.advance(0);
    expect(service.status(slotOf())?.inFlight).toBe(0);
  });

  it("that a call was given as its signal aborted come back at once: nothing has begun", async () => {
    const { service, host } = stage({ concurrency: 1 });
    const controller = new AbortController();
    const work = busy();
    const first = service.executeIn(slotOf(), work.run);
    const operation = vi.fn();
    const second = ended(service.executeIn(slotOf(), operation, { signal: controller.signal }));
    const third = service.executeIn(slotOf(), async () => "third");
    await host.advance(0);
    work.end();
    void first.then(() => controller.abort());
    expect(await third).toBe("third");
    const end = await second;
    if (operation.mock.calls.length === 0) expect(end.error).toBe(controller.signal.reason);
    expect(service.status(slotOf())?.inFlight).toBe(0);
  });

  it("of an operation, and of a call that wants fewer of it", async () => {
    const { service, host } = stage({ concurrencyPerOperation: [3, null] });
    const work = busy();
    const calls = [1, 2].map(() => service.executeIn(slotOf("a"), work.run));
    const modest = service.executeIn(slotOf("a", { concurrency: 2 }), async () => "modest");
    await host.advance(0);
    expect(await service.executeIn(slotOf("b", { operation: 1 }), async () => "other")).toBe("other");
    expect(service.status(slotOf("a"))).toMatchObject({ operationInFlight: 2, waiting: 1 });
    work.end();
    expect(await modest).toBe("modest");
    work.end();
    await Promise.all(calls);
  });

  it("hold whatever becomes of the calls: no more run than there are, and all come back", async () => {
    const job = fc.record({
      startsAt: fc.integer({ min: 0, max: 300 }),
      takesMs: fc.integer({ min: 0, max: 200 }),
      fails: fc.constantFrom("no", "no", "error", "refusal", "throw"),
      abortsAt: fc.option(fc.integer({ min: 0, max: 400 })),
      deadlineMs: fc.option(fc.integer({ min: 1, max: 300 })),
      key: fc.constantFrom("a", "b"),
    });
    await fc.assert(
      fc.asyncProperty(
        fc.array(job, { minLength: 1, maxLength: 25 }),
        fc.integer({ min: 1, max: 4 }),
        async (jobs, cap) => {
          const config = {
            attemptTimeoutMs: 120,
            circuitBreakerThreshold: 1_000,
            logLevel: "silent",
          } as const;
          const { service, host } = stage({ concurrency: cap, concurrencyPerKey: 2 }, config);
          let running = 0;
          let most = 0;
          const calls = jobs.map(async ({ startsAt, takesMs, fails, abortsAt, deadlineMs, key }) => {
            await host.sleep(startsAt);
            const controller = new AbortController();
            if (abortsAt !== null) void host.sleep(abortsAt).then(() => controller.abort());
            const operation = async (): Promise<void> => {
              most = Math.max(most, ++running);
              try {
                if (fails === "throw") throw new Error("at once");
                await host.sleep(takesMs);
                if (fails === "error") throw new Error("later");
                if (fails === "refusal") throw refusal();
              } finally {
                running--;
              }
            };
            const context = { signal: controller.signal, ...(deadlineMs !== null && { deadlineMs }) };
            return ended(service.executeIn(slotOf(key), operation, context));
          });
          await host.drive(Promise.all(calls));
          await host.advance(MINUTE);
          expect(most).toBeLessThanOrEqual(cap);
          expect(running).toBe(0);
          expect(service.status(slotOf("a"))).toMatchObject({
            inFlight: 0,
            operationInFlight: 0,
            waiting: 0,
          });
          expect(host.sleeping).toBe(0);
          service.dispose();
        },
      ),
      { numRuns: 150 },
    );
  });
});

describe("quotas", () => {
  it("are used by every attempt, retries as well", async () => {
    const { service, host, elapsed } = stage({ policies: [policyOf([3, MINUTE])] });
    const operation = script(refusal(), refusal(), "done");
    expect(await host.drive(service.executeIn(placeOf("a"), operation))).toBe("done");
    expect(service.status(placeOf("a"))?.windows).toEqual([{ used: 3, maxRequests: 3, windowMs: MINUTE }]);
    const begun = elapsed();
    await host.drive(service.executeIn(placeOf("a"), async () => "next"));
    expect(elapsed() - begun).toBeGreaterThan(50_000);
  });

  it("are not used by who is held by a cooldown, nor by who stops waiting", async () => {
    const { service, host } = stage({ policies: [policyOf([10, HOUR])], concurrency: 1 });
    void ended(service.executeIn(placeOf("a"), script(refusal(30), "done")));
    await host.advance(0);
    const controller = new AbortController();
    const waits: WaitInfo[] = [];
    const onWait = (wait: WaitInfo): void => void waits.push(wait);
    const held = ended(service.executeIn(placeOf("a"), async () => 1, { signal: controller.signal, onWait }));
    await host.advance(1_000);
    expect(service.status(placeOf("a"))).toMatchObject({ waiting: 1, windows: [{ used: 1 }] });
    controller.abort();
    await held;
    expect(waits).toMatchObject([{ reason: "cooldown" }]);
    await host.advance(MINUTE);
    expect(service.status(placeOf("a"))).toMatchObject({ waiting: 0, windows: [{ used: 2 }] });
  });

  it("of one call may be other ones: fewer in a shorter window, more units at once", async () => {
    const { service } = stage({ policies: [policyOf([10, HOUR])], reject: true });
    for (let i = 0; i < 2; i++) await service.executeIn(placeOf("a"), async () => i);
    const modest = placeOf("a", { limit: 2, windowMs: MINUTE });
    expect(await rejection(service.executeIn(modest, async () => 1))).toMatchObject({
      code: "RATE_LIMIT_QUOTA_EXHAUSTED",
      limit: { maxRequests: 2, windowMs: MINUTE },
    });
    expect(await service.executeIn(placeOf("a", { weight: 8 }), async () => "heavy")).toBe("heavy");
    expect(service.status(placeOf("a"))?.windows[0]?.used).toBe(10);
  });

  it("tell of four fifths, under the names of their policy", async () => {
    const policies = [{ ...policyOf([5, MINUTE]), resourceName: "twilio", operation: "sms" }];
    const { service } = stage({ policies });
    const told: unknown[] = [];
    service.on("warned", (warning) => told.push(warning));
    for (let i = 0; i < 5; i++) await service.executeIn(placeOf("u1"), async () => i);
    expect(told).toEqual([
      { resourceName: "twilio", operation: "sms", key: "u1", maxRequests: 5, windowMs: MINUTE, used: 4 },
    ]);
  });

  it("of another plan are in force at once, for who waits as well, and keep their counts", async () => {
    const { service, host } = stage({ policies: [policyOf([1, HOUR])] });
    await service.executeIn(placeOf("a"), async () => 1);
    const waiting = [1, 2].map((n) => ended(service.executeIn(placeOf("a"), async () => n)));
    await host.advance(1_000);
    service.updateLimits(planOf({ policies: [policyOf([2, HOUR])] }));
    expect(await waiting[0]).toEqual({ value: 1 });
    expect(service.status(placeOf("a"))).toMatchObject({
      waiting: 1,
      windows: [{ used: 2, maxRequests: 2 }],
    });
    service.updateLimits(planOf({ policies: [policyOf([3, HOUR])] }));
    expect(await waiting[1]).toEqual({ value: 2 });
  });

  it("of another plan are needed by lanes that were there before", async () => {
    const { service } = stage({ policies: [policyOf([10, HOUR])], reject: true });
    await service.executeIn(placeOf("a"), async () => 1);
    service.updateLimits(planOf({ policies: [policyOf([10, HOUR]), policyOf([1, HOUR])], reject: true }));
    const more = placeOf("a", {
      needs: [
        { policy: 0, key: "a" },
        { policy: 1, key: "all" },
      ],
    });
    await service.executeIn(more, async () => 1);
    expect(await rejection(service.executeIn(more, async () => 1))).toMatchObject({
      limit: { maxRequests: 1 },
    });
    expect(service.status(more)?.windows).toMatchObject([{ used: 2 }, { used: 1 }]);
  });

  it("leave other settings as they are when those change", async () => {
    const { service } = stage({ policies: [policyOf([1, HOUR])], reject: true });
    await service.executeIn(placeOf("a"), async () => 1);
    service.updateConfig({ maxRetries: 0 });
    expect(await rejection(service.executeIn(placeOf("a"), async () => 1))).toMatchObject({
      code: "RATE_LIMIT_QUOTA_EXHAUSTED",
    });
  });
});

describe("a call that may not go", () => {
  it("is told what it waits for", async () => {
    const { service, host } = stage({ concurrency: 1, policies: [policyOf([1, MINUTE])] });
    const begun = host.now();
    const waits: WaitInfo[] = [];
    const context = { onWait: (wait: WaitInfo) => void waits.push(wait) };
    const work = busy();
    void service.executeIn(placeOf("a"), work.run, context);
    void ended(service.executeIn(placeOf("b"), async () => 1, context));
    await host.advance(0);
    expect(waits).toEqual([{ reason: "concurrency", untilTime: Infinity, attempt: 1 }]);
    work.end();
    await host.advance(0);
    const quota = ended(service.executeIn(placeOf("a"), async () => 1, context));
    expect(waits[1]).toMatchObject({ reason: "quota", attempt: 1 });
    expect(waits[1]?.untilTime).toBeGreaterThanOrEqual(begun + MINUTE);
    await host.drive(quota);
  });

  const place = placeOf("a");
  const rows: Record<string, { plan: Partial<LimitsPlan>; expected: object; counted: string }> = {
    "because of a quota": {
      plan: { policies: [policyOf([1, 10_000])], reject: true },
      expected: { code: "RATE_LIMIT_QUOTA_EXHAUSTED", limit: { maxRequests: 1, windowMs: 10_000 } },
      counted: "quota",
    },
    "because of a slot": {
      plan: { concurrency: 1, reject: true },
      expected: { code: "RATE_LIMIT_CONCURRENCY_EXCEEDED" },
      counted: "concurrency",
    },
    "because the line is full": {
      plan: { concurrency: 1, maxQueue: 0 },
      expected: { code: "RATE_LIMIT_QUEUE_FULL" },
      counted: "queueFull",
    },
  };
  it.each(Object.entries(rows))(
    "%s is rejected, once, and counted",
    async (_, { plan, expected, counted }) => {
      const { service } = stage({ policies: [policyOf([10, MINUTE])], ...plan });
      const work = busy();
      const running = service.executeIn(place, work.run);
      const gaveUp: RateLimitError[] = [];
      service.on("giveUp", ({ error }) => gaveUp.push(error));
      const operation = script("never");
      const context = { resourceName: "crm", operation: "save" };
      const error = await rejection(service.executeIn(place, operation, context));
      expect(error).toBeInstanceOf(RateLimitError);
      expect(error).toMatchObject({ ...expected, ...context, status: 429, attempts: 0 });
      expect(gaveUp).toEqual([error]);
      expect(operation.times).toBe(0);
      expect(service.getMetrics().rejected).toMatchObject({ [counted]: 1 });
      work.end();
      await running;
    },
  );

  it("because there are too many keys is rejected, and counted as a quota", async () => {
    const { service } = stage({ policies: [policyOf([1, MINUTE])], maxKeys: 1 });
    await service.executeIn(placeOf("a"), async () => 1);
    const error = (await rejection(service.executeIn(placeOf("b"), async () => 1))) as RateLimitError;
    expect(error.code).toBe("RATE_LIMIT_QUOTA_EXHAUSTED");
    expect(error.message).toMatch(/^Too many keys are in use\. /);
    expect(error.retryAfterMs).toBeGreaterThan(0);
    expect(error.limit).toBeUndefined();
    expect(service.getMetrics().rejected.quota).toBe(1);
  });

  it("has a window in its messages", async () => {
    const infos: unknown[] = [];
    const messages: RateLimitConfig["messages"] = (_, { limit, window, retryAfterMs }) => {
      infos.push({ limit, window, after: typeof retryAfterMs });
      return `${limit?.maxRequests} pro ${window}`;
    };
    const { service } = stage({ policies: [policyOf([1, 300_000])], reject: true }, { messages });
    await service.executeIn(placeOf("a"), async () => 1);
    const error = (await rejection(service.executeIn(placeOf("a"), async () => 1))) as RateLimitError;
    expect(error.userMessage).toBe("1 pro 5 minutes");
    expect(infos).toEqual([
      { limit: { maxRequests: 1, windowMs: 300_000 }, window: "5 minutes", after: "number" },
    ]);
  });

  it("is rejected at once when the circuit opens while it waits for a slot", async () => {
    const { service, host } = stage({ concurrency: 1 });
    const work = busy();
    const running = service.executeIn(slotOf(), work.run);
    const waiting = ended(service.executeIn(slotOf(), async () => 1));
    await host.advance(10);
    service.isolateCircuit();
    expect((await waiting).error).toMatchObject({ code: "RATE_LIMIT_CIRCUIT_OPEN" });
    work.end();
    expect(await running).toBe("done");
  });

  it("ends with an AbortError when the service is disposed of, and later ones pass through", async () => {
    const { service, host } = stage({ concurrency: 1 });
    const work = busy();
    const running = service.executeIn(slotOf(), work.run);
    const waiting = ended(service.executeIn(slotOf(), async () => 1));
    await host.advance(0);
    service.dispose();
    expect((await waiting).error).toMatchObject({ name: "AbortError" });
    expect(await service.executeIn(slotOf(), async () => "through")).toBe("through");
    expect(service.status(slotOf())).toBeNull();
    work.end();
    expect(await running).toBe("done");
  });

  it("inside of one that has a slot is noticed in the debug log", async () => {
    const { service, host, log } = stage({ concurrency: 1 }, { logLevel: "debug" });
    const controller = new AbortController();
    const outer = ended(
      service.executeIn(slotOf("a"), async () =>
        service.executeIn(slotOf("b"), () => 1, { signal: controller.signal }),
      ),
    );
    await host.advance(0);
    expect(log.lines.filter((line) => line.includes("inside"))).toHaveLength(1);
    controller.abort();
    await outer;
    const work = busy();
    const running = service.executeIn(slotOf("a"), work.run);
    const beside = service.executeIn(slotOf("a"), async () => 1);
    await host.advance(0);
    work.end();
    await Promise.all([running, beside]);
    expect(log.lines.filter((line) => line.includes("inside"))).toHaveLength(1);
  });
});

describe("retries in a lane", () => {
  it.each([
    [0, 0],
    [250, 250],
    [undefined, 100],
  ])("pause for %s first", async (retryDelayMs, expected) => {
    const { service, host } = stage({ concurrency: 1 }, { sharedCooldown: false });
    const pauses: number[] = [];
    service.on("retry", ({ delayMs }) => pauses.push(delayMs));
    const call = service.executeIn(slotOf(), script(refusal(), refusal(), "done"), { retryDelayMs });
    expect(await host.drive(call)).toBe("done");
    expect(pauses).toEqual([expected, expected * 2]);
  });

  it("that meet a full quota are an error where the plan rejects", async () => {
    const { service, host } = stage({ policies: [policyOf([1, HOUR])], reject: true });
    const cause = refusal();
    const error = await host.drive(rejection(service.executeIn(placeOf("a"), script(cause, "done"))));
    expect(error).toMatchObject({ code: "RATE_LIMIT_QUOTA_EXHAUSTED", attempts: 1, originalError: cause });
  });

  it("stand for their own key when they wake: a key whose call sleeps is not idle", async () => {
    const config = { sharedCooldown: false, initialDelayMs: 10_000 };
    const { service, host } = stage({ policies: [policyOf([2, 1_000])], maxKeys: 1 }, config);
    const call = service.executeIn(placeOf("a"), script(refusal(), "done"));
    await host.advance(5_000);
    expect(await rejection(service.executeIn(placeOf("b"), async () => 1))).toMatchObject({
      code: "RATE_LIMIT_QUOTA_EXHAUSTED",
    });
    expect(await host.drive(call)).toBe("done");
    expect(service.status(placeOf("a"))?.windows[0]?.used).toBe(1);
  });

  it("go before those who came later", async () => {
    const { service, host } = stage({ concurrency: 1 }, { sharedCooldown: false });
    const order: string[] = [];
    const work = busy();
    const first = ended(
      service.executeIn(slotOf("a"), ({ attempt }) => {
        order.push(`first ${attempt}`);
        return attempt === 1 ? Promise.reject(refusal()) : "done";
      }),
    );
    await host.advance(50);
    const second = service.executeIn(slotOf("b"), () => {
      order.push("second");
      return work.run();
    });
    const third = service.executeIn(slotOf("c"), async () => order.push("third"));
    await host.advance(100);
    work.end();
    await Promise.all([first, second, third]);
    expect(order).toEqual(["first 1", "second", "first 2", "third"]);
  });
});

describe("without the core", () => {
  it.each<[string, (Fresh: typeof import("../../js/index.ts")) => Setting, boolean]>([
    ["are refused", () => ({}), false],
    ["pass where that was asked for", () => ({ onCoreUnavailable: "pass" }), true],
    ["pass when the service is off", () => ({ enabled: false }), true],
  ])("calls with limits %s", async (_, setting, passes) => {
    vi.stubGlobal("WebAssembly", undefined);
    const fresh = await freshPackage();
    const { service } = stage({ concurrency: 1 }, setting(fresh), fresh.RateLimitService);
    const operation = script("through");
    const call = ended(service.executeIn(slotOf(), operation));
    if (passes) expect(await call).toEqual({ value: "through" });
    else {
      expect((await call).error).toMatchObject({
        code: "RATE_LIMIT_CORE_UNAVAILABLE",
        message: "The core is not there. Limits cannot be checked on this device.",
        attempts: 0,
      });
      expect(operation.times).toBe(0);
    }
    expect(service.status(slotOf())).toBeNull();
    // Nothing else than limits depends on it.
    expect(await service.executeWithRetry(operation)).toBe("through");
  });

  it("an isolated circuit comes first", async () => {
    vi.stubGlobal("WebAssembly", undefined);
    const fresh = await freshPackage();
    const { service } = stage({}, { onCoreUnavailable: "pass" }, fresh.RateLimitService);
    service.isolateCircuit();
    expect(await rejection(service.executeIn(slotOf(), async () => 1))).toMatchObject({
      code: "RATE_LIMIT_CIRCUIT_OPEN",
    });
  });

  it("a service that is off limits nothing", async () => {
    const { service } = stage({ concurrency: 1 }, { enabled: false });
    const work = busy();
    const calls = [1, 2, 3].map(() => service.executeIn(slotOf(), work.run));
    expect(work.running()).toBe(3);
    for (const _ of calls) work.end();
    await Promise.all(calls);
  });
});

describe("a trap", () => {
  async function trappable(plan: Partial<LimitsPlan>, setting: Setting = {}) {
    const sabotage = sabotageCore();
    const tidegate = await freshPackage();
    const set = stage(plan, { logLevel: "silent", ...setting }, tidegate.RateLimitService);
    const trap = (): void => {
      sabotage.trapIn = new Set(["counts"]);
      set.service.getMetrics();
      sabotage.trapIn = new Set();
    };
    return { ...set, sabotage, trap, tidegate };
  }

  it("leaves the slots to the attempts that run, until they end; who waits keeps its place", async () => {
    const { service, host, trap, tidegate } = await trappable({ concurrency: 2 });
    const work = busy();
    const running = [1, 2].map(() => ended(service.executeIn(slotOf("a"), work.run)));
    const order: string[] = [];
    const wait = (name: string, priority = 0): Promise<Settled> =>
      ended(
        service.executeIn(
          slotOf(name),
          () => {
            order.push(name);
            return work.run();
          },
          { priority },
        ),
      );
    const waiting = [wait("second"), wait("third"), wait("first", 1)];
    await host.advance(1_000);
    trap();
    await host.advance(0);
    expect(tidegate.coreState()).toBe("ready");
    const late = wait("fourth");
    await host.advance(1_000);
    expect(order).toEqual([]);
    expect(service.status(slotOf("a"))).toMatchObject({ operationInFlight: 2 });
    for (let i = 0; i < 6; i++) {
      work.end();
      await host.advance(0);
    }
    expect(order).toEqual(["first", "second", "third", "fourth"]);
    for (const one of [...running, ...waiting, late]) expect(await one).toEqual({ value: "done" });
    expect(work.most()).toBe(2);
    expect(service.status(slotOf("a"))).toMatchObject({ operationInFlight: 0, waiting: 0 });
  });

  it("caused by one that goes: who was told to go with it asks again, and goes", async () => {
    const { service, host, trap } = await trappable({ concurrency: 1 });
    const work = busy();
    const running = ended(service.executeIn(slotOf(), work.run));
    const order: string[] = [];
    const first = ended(
      service.executeIn(slotOf(), () => {
        order.push("first");
        trap();
        return "first";
      }),
    );
    const second = ended(service.executeIn(slotOf(), async () => order.push("second")));
    await host.advance(10);
    service.updateLimits(planOf({ concurrency: 3 }));
    await host.advance(10);
    expect(await first).toEqual({ value: "first" });
    expect(await second).toEqual({ value: 2 });
    expect(order).toEqual(["first", "second"]);
    expect(service.status(slotOf())?.inFlight).toBe(1);
    work.end();
    await running;
    expect(service.status(slotOf())?.inFlight).toBe(0);
  });

  it("takes no slots again for attempts that are over, whatever came of them", async () => {
    const { service, host, trap } = await trappable({ concurrency: 3 }, { attemptTimeoutMs: 1_000 });
    const work = busy();
    await service.executeIn(slotOf(), async () => 1);
    await rejection(service.executeIn(slotOf(), script(refusal(undefined, 404))));
    const timeout = ended(service.executeIn(slotOf(), work.run));
    await host.advance(1_000);
    await timeout;
    work.end();
    await host.advance(0);
    trap();
    await host.advance(0);
    expect(service.status(slotOf())?.operationInFlight).toBe(0);
  });

  it("leaves its slot to an operation whose attempt had been given up, and to a retry", async () => {
    const setting = { attemptTimeoutMs: 1_000, retryTransient: "always", retryBudget: null } as const;
    const { service, host, trap } = await trappable({ concurrency: 1 }, setting);
    const work = busy();
    const call = ended(service.executeIn(slotOf(), ({ attempt }) => (attempt === 1 ? work.run() : "again")));
    await host.advance(1_500);
    trap();
    await host.advance(5_000);
    expect(service.status(slotOf())).toMatchObject({ inFlight: 1, waiting: 1 });
    work.end();
    expect(await call).toEqual({ value: "again" });
    expect(service.status(slotOf())).toMatchObject({ inFlight: 0, waiting: 0 });
  });

  it("an attempt that fails after it gives back the slot that was taken again", async () => {
    const { service, host, trap } = await trappable({ concurrency: 1 });
    const late = deferred();
    const call = ended(service.executeIn(slotOf(), () => late.promise));
    await host.advance(10);
    trap();
    await host.advance(10);
    expect(service.status(slotOf())?.inFlight).toBe(1);
    const error = refusal();
    late.reject(error);
    expect((await call).error).toBe(error);
    expect(service.status(slotOf())?.inFlight).toBe(0);
  });

  it("while a call begins: it is refused, or passes where that was asked for", async () => {
    for (const onCoreUnavailable of ["reject", "pass"] as const) {
      const { service, sabotage } = await trappable({ concurrency: 1 }, { onCoreUnavailable });
      sabotage.trapIn = new Set(["begin_in"]);
      const end = await ended(service.executeIn(slotOf(), async () => "through"));
      if (onCoreUnavailable === "pass") expect(end).toEqual({ value: "through" });
      else expect(end.error).toMatchObject({ code: "RATE_LIMIT_CORE_UNAVAILABLE" });
      vi.unstubAllGlobals();
    }
  });

  it("holds who waits until the core is back, also when that takes a while", async () => {
    const sabotage = sabotageCore();
    const tidegate = await freshPackage();
    vi.useFakeTimers();
    const limits = { ...planOf({ concurrency: 1 }), onCoreUnavailable: "reject" as const };
    const service = new tidegate.RateLimitService({ logLevel: "silent" }, {}, limits);
    const work = busy();
    const running = ended(service.executeIn(slotOf(), work.run));
    const waiting = ended(service.executeIn(slotOf(), async () => "waited", { deadlineMs: HOUR }));
    await vi.advanceTimersByTimeAsync(1_000);
    sabotage.trapIn = new Set(["counts"]);
    service.getMetrics();
    sabotage.trapIn = new Set();
    expect(tidegate.coreState()).toBe("trap");
    work.end();
    expect(await running).toEqual({ value: "done" });
    // An alarm of the old instance is pending: a tenth of the deadline.
    await vi.advanceTimersByTimeAsync(7 * MINUTE);
    expect(tidegate.coreState()).toBe("ready");
    expect(await waiting).toEqual({ value: "waited" });
    expect(vi.getTimerCount()).toBe(0);
  });
});

describe("what is not asked for", () => {
  it("a service without limits takes a place for nothing", async () => {
    const service = new RateLimitService({ logLevel: "silent" });
    expect(await service.executeIn(slotOf("a", { concurrency: 1 }), async () => 1)).toBe(1);
    expect(service.status(slotOf("a"))).toBeNull();
  });

  it("plain calls of a limited service are not limited", async () => {
    const { service } = stage({ concurrency: 1, policies: [policyOf([1, HOUR])] });
    const work = busy();
    const calls = [1, 2, 3].map(() => service.executeWithRetry(work.run));
    expect(work.running()).toBe(3);
    for (const _ of calls) work.end();
    await Promise.all(calls);
  });

  it("an operation that is no function is told so", async () => {
    const { service } = stage({ concurrency: 1 });
    expect(await rejection(service.executeIn(slotOf(), 5 as never))).toBeInstanceOf(TypeError);
    expect(service.status(slotOf())?.inFlight).toBe(0);
  });
});
