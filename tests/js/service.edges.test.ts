import { afterEach, describe, expect, it, vi } from "vitest";
import type { AttemptInfo } from "../../js/types.ts";
import { type Sabotage, sabotageCore } from "./support/broken-core.ts";
import {
  type Bench,
  bench,
  deferred,
  ended,
  freshPackage,
  Log,
  refusal,
  rejection,
  script,
} from "./support/service.ts";

afterEach(() => {
  vi.unstubAllGlobals();
});

/** A core that can be made to trap, and services of it. */
async function fragile(): Promise<{ sabotage: Sabotage; another: () => Bench }> {
  const sabotage = sabotageCore();
  const { RateLimitService } = await freshPackage();
  return { sabotage, another: () => bench({}, RateLimitService) };
}

const CORE_FAILED = "error: [RateLimit] The core failed; calls pass through";

describe("the signal of an attempt", () => {
  it("that is read after its end follows nobody", async () => {
    const { service } = bench();
    const { signal, abort } = controlled();
    const attempts: AttemptInfo[] = [];
    await service.executeWithRetry(async (attempt) => attempts.push(attempt), { signal });
    const late = attempts[0]?.signal;
    abort();
    expect(late?.aborted).toBe(false);
  });

  it("that aborts in the turn of the call lets no attempt begin", async () => {
    const { service } = bench();
    const { signal, abort } = controlled();
    const operation = script("never");
    const call = rejection(service.executeWithRetry(operation, { signal }));
    abort();
    expect(await call).toBe(signal.reason);
    expect(operation.times).toBe(0);
  });

  function controlled(): { signal: AbortSignal; abort: () => void } {
    const controller = new AbortController();
    return { signal: controller.signal, abort: () => controller.abort() };
  }
});

describe("while all is calm", () => {
  it("calls that end after the same time are counted each under its own name", async () => {
    const { service, host } = bench();
    await service.executeWithRetry(async () => 1);
    const names = ["tags", "contacts"];
    const calls = names.map((resourceName) =>
      service.executeWithRetry(() => host.sleep(10), { resourceName }),
    );
    await host.drive(Promise.all(calls));
    const each = { calls: 1, attempts: 1, successes: 1 };
    expect(service.getMetrics().groups).toMatchObject(
      names.map((resourceName) => ({ resourceName, ...each })),
    );
  });

  it("calls of one moment do not cross into the core", async () => {
    const { sabotage, another } = await fragile();
    const { service } = another();
    await service.executeWithRetry(async () => 1);
    sabotage.trapIn = true;
    for (let call = 0; call < 10; call++) await service.executeWithRetry(async () => call);
    expect(sabotage.traps).toBe(0);
    sabotage.trapIn = new Set();
    expect(service.getMetrics()).toMatchObject({ calls: 11, successes: 11 });
  });

  it("what was not told is lost with a core that another service has lost", async () => {
    const { sabotage, another } = await fragile();
    const [calm, other] = [another(), another()];
    for (let call = 0; call < 3; call++) await calm.service.executeWithRetry(async () => call);
    sabotage.trapIn = new Set(["begin"]);
    await other.service.executeWithRetry(async () => 1);
    sabotage.trapIn = new Set();
    await other.host.advance(0);
    await calm.service.executeWithRetry(async () => 1);
    expect(calm.service.getMetrics()).toMatchObject({ calls: 1, successes: 1 });
    expect(calm.log.lines).toEqual([]);
  });
});

describe("a group without a resource", () => {
  it("is told without the name of one", async () => {
    const { service } = bench();
    await service.executeWithRetry(async () => 1, { operation: "create" });
    const [group = {}] = service.getMetrics().groups;
    expect(group).toMatchObject({ operation: "create", calls: 1 });
    expect(group).not.toHaveProperty("resourceName");
  });
});

describe("a core that is lost", () => {
  it("in the end of an attempt is noted then, and what the attempt brought is passed on", async () => {
    const { sabotage, another } = await fragile();
    const { service, log } = another();
    const told: string[] = [];
    service.on("core", ({ state }) => told.push(state));
    const error = refusal(1);
    sabotage.trapIn = new Set(["end"]);
    expect(await rejection(service.executeWithRetry(script(error)))).toBe(error);
    expect(told[0]).toBe("trap");
    expect(log.lines).toEqual([CORE_FAILED]);
  });

  it("during a pause is followed by one that admits the call", async () => {
    const { sabotage, another } = await fragile();
    const [{ service, host, log }, other] = [another(), another()];
    const call = ended(service.executeWithRetry(script(refusal(5), "done")));
    await host.advance(1_000);
    sabotage.trapIn = new Set(["begin"]);
    await other.service.executeWithRetry(async () => 1);
    sabotage.trapIn = new Set();
    await other.host.advance(0);
    expect(await host.drive(call)).toEqual({ value: "done" });
    expect(log.lines.filter((line) => line === CORE_FAILED)).toEqual([]);
    expect(service.getMetrics()).toMatchObject({ attempts: 1, successes: 1 });
  });
});

describe("a service of a registry", () => {
  it("ends a call that hopes for a core that does not come back", async () => {
    const { sabotage, another } = await fragile();
    const { RateLimiterRegistry } = await import("../../js/registry.ts");
    const { host } = another();
    const registry = new RateLimiterRegistry(
      { crm: { concurrency: 1 } },
      { host, config: { logger: new Log() } },
    );
    const late = deferred();
    const first = ended(registry.withRateLimit("crm", "x", () => late.promise));
    const second = ended(registry.withRateLimit("crm", "x", async () => "never"));
    await host.advance(0);
    vi.stubGlobal("WebAssembly", undefined);
    sabotage.trapIn = true;
    registry.status();
    await host.advance(1_000);
    expect(await host.drive(second)).toMatchObject({ error: { code: "RATE_LIMIT_CORE_UNAVAILABLE" } });
    late.resolve("done");
    expect(await first).toEqual({ value: "done" });
  });

  it.each([
    ["a plain call", {}],
    ["one with a deadline", { deadlineMs: 3_600_000 }],
  ])("that is called by itself has no slot to take again when its core is lost: %s", async (_, context) => {
    const { sabotage, another } = await fragile();
    const { RateLimiterRegistry } = await import("../../js/registry.ts");
    const [log, { host, service: other }] = [new Log(), another()];
    const registry = new RateLimiterRegistry({ crm: { concurrency: 1 } }, { host, config: { logger: log } });
    const service = registry.service("crm");
    const late = deferred();
    const call = service.executeWithRetry(() => late.promise, context);
    await host.advance(0);
    sabotage.trapIn = new Set(["begin"]);
    await other.executeWithRetry(async () => 1);
    sabotage.trapIn = new Set();
    await host.advance(0);
    expect(registry.status().crm).toMatchObject({ inFlight: 0 });
    late.resolve("done");
    expect(await call).toBe("done");
    expect(log.lines).toEqual([]);
  });

  it("warns of a call that waits inside another, and of no other", async () => {
    const log = new Log();
    const { RateLimiterRegistry } = await freshPackage();
    const { host } = bench();
    const config = { logger: log, logLevel: "debug" } as const;
    const registry = new RateLimiterRegistry({ crm: { concurrency: 1 } }, { host, config });
    const sleeper = (): Promise<unknown> => ended(registry.withRateLimit("crm", "x", () => host.sleep(10)));
    await host.drive(Promise.all([sleeper(), sleeper()]));
    expect(log.lines).toEqual([]);
    const inner: Promise<unknown>[] = [];
    await registry.withRateLimit("crm", "x", () => void inner.push(sleeper()));
    expect(log.lines).toEqual([
      expect.stringMatching(/^debug: \[RateLimit\] A call waits for a slot inside another/),
    ]);
    await host.drive(Promise.all(inner));
  });

  it("lets pass without the core what meets no limit, and nothing else", async () => {
    vi.stubGlobal("WebAssembly", undefined);
    const { RateLimiterRegistry } = await freshPackage();
    const crm = { rateLimit: { default: { maxRequests: 5, windowMs: 1_000 } } };
    const registry = new RateLimiterRegistry({ crm, free: {} }, { config: { logger: new Log() } });
    const call = (service: string, overrides = {}): Promise<unknown> =>
      ended(registry.withRateLimit(service, "x", async () => "done", overrides));
    const unavailable = { error: { code: "RATE_LIMIT_CORE_UNAVAILABLE" } };
    expect(await call("free")).toEqual({ value: "done" });
    expect(await call("free", { concurrency: 1 })).toMatchObject(unavailable);
    expect(await call("crm")).toMatchObject(unavailable);
  });

  it("counts a call for whose key there is no room", async () => {
    const { RateLimiterRegistry } = await freshPackage();
    const { host } = bench();
    const crm = { rateLimit: { default: { maxRequests: 5, windowMs: 1_000, per: "agent" } }, maxKeys: 1 };
    const registry = new RateLimiterRegistry({ crm }, { host, config: { logger: new Log() } });
    const call = (agent: string): Promise<unknown> =>
      rejection(registry.withRateLimit("crm", "x", async () => 1, { limitKey: { agent } }));
    const first = registry.withRateLimit("crm", "x", () => host.sleep(10), { limitKey: { agent: "a" } });
    await host.advance(0);
    expect(await call("b")).toMatchObject({ code: "RATE_LIMIT_QUOTA_EXHAUSTED" });
    await host.drive(first);
    expect(registry.service("crm").getMetrics().rejected).toMatchObject({ quota: 1 });
  });

  it("tells how full it is as far as it knows where the core is lost meanwhile", async () => {
    const { sabotage, another } = await fragile();
    const { RateLimiterRegistry } = await import("../../js/registry.ts");
    const { host } = another();
    const crm = { rateLimit: { default: { maxRequests: 5, windowMs: 1_000, per: "agent" } } };
    const registry = new RateLimiterRegistry({ crm }, { host, config: { logger: new Log() } });
    for (const agent of ["a", "b"])
      await registry.withRateLimit("crm", "x", async () => 1, { limitKey: { agent } });
    sabotage.trapIn = new Set(["lane_status"]);
    expect(registry.status().crm).toMatchObject({ inFlight: 0, queued: 0 });
  });
});

describe("the view of the services", () => {
  it("says that nothing of it can be written", async () => {
    const { serviceLimiters } = await freshPackage();
    const [name = ""] = Object.keys(serviceLimiters);
    expect(Object.getOwnPropertyDescriptor(serviceLimiters, name)).toMatchObject({ writable: false });
  });
});
