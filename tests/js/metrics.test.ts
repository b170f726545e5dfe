import { describe, expect, it } from "vitest";
import type { CallContext, CallStats, RateLimitConfig } from "../../js/types.ts";
import { type Bench, bench, ended, refusal, rejection, script } from "./support/service.ts";

const NONE = { count: 0, p50Ms: 0, p95Ms: 0, p99Ms: 0, maxMs: 0 };
const NO_REJECTIONS = {
  ...{ maxRetries: 0, circuitOpen: 0, retryAfterTooLong: 0, deadline: 0, budget: 0 },
  ...{ quota: 0, concurrency: 0, queueFull: 0 },
};

describe("getMetrics()", () => {
  it("has counted nothing at first", () => {
    expect(bench().service.getMetrics()).toEqual({
      ...{ calls: 0, attempts: 0, successes: 0, throttled: 0, retries: 0, failures: 0 },
      rejected: NO_REJECTIONS,
      waits: NONE,
      attemptDurations: NONE,
      groups: [],
    });
  });

  it("counts calls, attempts and what they brought", async () => {
    const { service, host } = bench({ sharedCooldown: false });
    await service.executeWithRetry(async () => 1);
    await host.drive(service.executeWithRetry(script(refusal(), refusal(), "done")));
    await rejection(service.executeWithRetry(script(refusal(undefined, 404))));
    await rejection(service.executeWithRetry(script(new TypeError("Failed to fetch"))));
    expect(service.getMetrics()).toMatchObject({
      calls: 4,
      attempts: 6,
      successes: 2,
      throttled: 2,
      retries: 2,
      failures: 2,
      rejected: NO_REJECTIONS,
    });
  });

  it("counts a call that waits, before it has made an attempt", async () => {
    const { service, host } = bench();
    void ended(service.executeWithRetry(script(refusal(5), "done")));
    await host.advance(0);
    void ended(service.executeWithRetry(async () => 1));
    await host.advance(0);
    expect(service.getMetrics()).toMatchObject({ calls: 2, attempts: 1 });
  });

  it("hands out a snapshot that nothing changes afterwards, in plain data", async () => {
    const { service } = bench();
    await service.executeWithRetry(async () => 1, { resourceName: "contacts" });
    const before = service.getMetrics();
    const copy = structuredClone(before);
    await service.executeWithRetry(async () => 1, { resourceName: "contacts" });
    expect(before).toEqual(copy);
    expect(JSON.parse(JSON.stringify(before))).toEqual(copy);
    expect(service.getMetrics().calls).toBe(2);
  });

  it("stays through updateConfig() and resetCircuit()", async () => {
    const { service } = bench();
    await service.executeWithRetry(async () => 1);
    service.updateConfig({ maxRetries: 0 });
    service.resetCircuit();
    expect(service.getMetrics().calls).toBe(1);
  });
});

describe("rejected", () => {
  interface Row {
    config: Partial<RateLimitConfig>;
    fail: (stage: Bench) => Promise<unknown>;
  }
  /** Those of the limits: tests/js/limits.test.ts. */
  const rows: Record<Exclude<keyof CallStats["rejected"], "quota" | "concurrency" | "queueFull">, Row> = {
    maxRetries: {
      config: { maxRetries: 1 },
      fail: ({ service }) => service.executeWithRetry(script(refusal())),
    },
    circuitOpen: {
      config: {},
      fail: ({ service }) => {
        service.isolateCircuit();
        return service.executeWithRetry(script("never"));
      },
    },
    retryAfterTooLong: {
      config: {},
      fail: ({ service }) => service.executeWithRetry(script(refusal(90))),
    },
    deadline: {
      config: {},
      fail: ({ service }) => service.executeWithRetry(() => new Promise(() => {}), { deadlineMs: 500 }),
    },
    budget: {
      config: { retryBudget: { ratio: 0, minPerSecond: 0 } },
      fail: ({ service }) => service.executeWithRetry(script(refusal())),
    },
  };

  it.each(Object.entries(rows))("counts by reason: %s", async (reason, { config, fail }) => {
    const stage = bench(config);
    await stage.host.drive(rejection(fail(stage)));
    expect(stage.service.getMetrics().rejected).toEqual({ ...NO_REJECTIONS, [reason]: 1 });
  });

  it("counts a call whose deadline passed in a wait", async () => {
    const { service, host } = bench();
    void ended(
      service.executeWithRetry(({ attempt }) =>
        attempt === 1 ? Promise.reject(refusal(1)) : new Promise(() => {}),
      ),
    );
    await host.advance(0);
    const call = rejection(service.executeWithRetry(script("never"), { deadlineMs: 2_000 }));
    await host.advance(3_000);
    await call;
    expect(service.getMetrics().rejected).toEqual({ ...NO_REJECTIONS, deadline: 1 });
  });

  it("counts a call that was rejected out of its backoff", async () => {
    const { service, host } = bench();
    const call = rejection(service.executeWithRetry(script(refusal(5))));
    await host.advance(0);
    service.isolateCircuit();
    await call;
    expect(service.getMetrics().rejected).toEqual({ ...NO_REJECTIONS, circuitOpen: 1 });
  });

  it("does not count an abort", async () => {
    const { service, host } = bench();
    const controller = new AbortController();
    const call = rejection(service.executeWithRetry(script(refusal(5)), { signal: controller.signal }));
    await host.advance(0);
    controller.abort();
    await call;
    expect(service.getMetrics().rejected).toEqual(NO_REJECTIONS);
  });
});

describe("durations", () => {
  it("of attempts are upper bounds within an eighth", async () => {
    const { service, host } = bench();
    for (let ms = 1; ms <= 1_000; ms++) {
      await host.drive(service.executeWithRetry(() => host.sleep(ms)));
    }
    const { attemptDurations } = service.getMetrics();
    expect(attemptDurations).toMatchObject({ count: 1_000, maxMs: 1_000 });
    for (const [percentile, exact] of [
      ["p50Ms", 500],
      ["p95Ms", 950],
      ["p99Ms", 990],
    ] as const) {
      expect(attemptDurations[percentile]).toBeGreaterThanOrEqual(exact);
      expect(attemptDurations[percentile]).toBeLessThanOrEqual(exact * 1.125);
    }
  });

  it("are never above the longest one", async () => {
    const { service, host } = bench();
    await host.drive(service.executeWithRetry(() => host.sleep(1_003)));
    const { p50Ms, p99Ms, maxMs } = service.getMetrics().attemptDurations;
    expect([p50Ms, p99Ms, maxMs]).toEqual([1_003, 1_003, 1_003]);
  });

  it("of waits are those of backoffs and of callers that are held", async () => {
    const { service, host } = bench();
    const refused = service.executeWithRetry(script(refusal(4), "done"));
    await host.advance(1_000);
    const held = service.executeWithRetry(async () => "done");
    await host.drive(Promise.all([refused, held]));
    expect(service.getMetrics().waits).toMatchObject({ count: 2, maxMs: 4_000 });
  });

  it("may be as long as days", async () => {
    const { service, host } = bench();
    await host.drive(service.executeWithRetry(() => host.sleep(3 * 86_400_000)));
    expect(service.getMetrics().attemptDurations.maxMs).toBe(3 * 86_400_000);
  });
});

describe("groups", () => {
  it("are those of each call, whichever one came before", async () => {
    const { service } = bench();
    const call = (context?: CallContext) => service.executeWithRetry(async () => 1, context);
    const create = { resourceName: "contacts", operation: "create" };
    for (const context of [create, {}, create, undefined, { resourceName: "contacts" }, {}, create])
      await call(context);
    const { calls, groups } = service.getMetrics();
    expect(calls).toBe(7);
    expect(groups.map(({ operation, calls }) => [operation, calls])).toEqual([
      ["create", 3],
      [undefined, 1],
    ]);
  });

  it("are counted by resource name and operation, in the order in which they were first seen", async () => {
    const { service, host } = bench({ maxRetries: 0, sharedCooldown: false });
    await service.executeWithRetry(async () => 1, { resourceName: "contacts", operation: "create" });
    await service.executeWithRetry(async () => 1, { resourceName: "contacts", operation: "update" });
    await service.executeWithRetry(async () => 1, { resourceName: "contacts", operation: "create" });
    await service.executeWithRetry(async () => 1, { operation: "create" });
    await host.drive(rejection(service.executeWithRetry(script(refusal()), { resourceName: "deals" })));
    await service.executeWithRetry(async () => 1);
    const { groups, calls } = service.getMetrics();
    expect(calls).toBe(6);
    expect(
      groups.map(({ resourceName, operation, calls, successes, throttled }) => ({
        ...{ resourceName, operation, calls, successes, throttled },
      })),
    ).toEqual([
      { resourceName: "contacts", operation: "create", calls: 2, successes: 2, throttled: 0 },
      { resourceName: "contacts", operation: "update", calls: 1, successes: 1, throttled: 0 },
      { resourceName: undefined, operation: "create", calls: 1, successes: 1, throttled: 0 },
      { resourceName: "deals", operation: undefined, calls: 1, successes: 0, throttled: 1 },
    ]);
    expect(groups[3]?.rejected).toEqual({ ...NO_REJECTIONS, maxRetries: 1 });
  });

  it("do not mistake one pair of names for another", async () => {
    const { service } = bench();
    const pairs = [
      { resourceName: "a", operation: "b c" },
      { resourceName: "a b", operation: "c" },
      { resourceName: "", operation: "a" },
      { resourceName: "a", operation: "" },
      { resourceName: "__proto__", operation: "constructor" },
      { resourceName: "undefined" },
    ];
    for (const pair of pairs) await service.executeWithRetry(async () => 1, pair);
    expect(
      service.getMetrics().groups.map(({ resourceName, operation }) => ({ resourceName, operation })),
    ).toEqual(pairs.map(({ resourceName, operation }) => ({ resourceName, operation })));
  });

  it("are bounded: of ten thousand names the first are kept apart, and nothing goes uncounted", async () => {
    const { service } = bench();
    for (let name = 0; name < 10_000; name++) {
      await service.executeWithRetry(async () => 1, { resourceName: `tenant-${name}`, operation: "create" });
    }
    const { groups, calls } = service.getMetrics();
    expect(calls).toBe(10_000);
    expect(groups).toHaveLength(100);
    expect(groups.slice(0, 99).map(({ resourceName }) => resourceName)).toEqual(
      Array.from({ length: 99 }, (_, name) => `tenant-${name}`),
    );
    expect(groups[99]).toMatchObject({ resourceName: "(others)", calls: 9_901, successes: 9_901 });
    expect(groups.reduce((sum, group) => sum + group.calls, 0)).toBe(10_000);
  });

  it("that came first are still told apart afterwards", async () => {
    const { service } = bench();
    for (let name = 0; name < 200; name++) {
      await service.executeWithRetry(async () => 1, { resourceName: `tenant-${name}` });
    }
    await service.executeWithRetry(async () => 1, { resourceName: "tenant-5" });
    expect(service.getMetrics().groups[5]).toMatchObject({ resourceName: "tenant-5", calls: 2 });
  });
});
