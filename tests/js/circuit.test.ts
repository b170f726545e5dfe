import { describe, expect, it, vi } from "vitest";
import type { RateLimitConfig } from "../../js/types.ts";
import { type Bench, bench, deferred, ended, refusal, rejection, script } from "./support/service.ts";

const OPEN = { code: "RATE_LIMIT_CIRCUIT_OPEN" };

/** A service whose circuit has just opened by one refusal. */
async function opened(config: Partial<RateLimitConfig> = {}): Promise<Bench> {
  const stage = bench({ circuitBreakerThreshold: 1, logLevel: "silent", ...config });
  await rejection(stage.service.executeWithRetry(script(refusal())));
  return stage;
}

describe("the circuit", () => {
  it("is closed at first and has seen nothing", () => {
    expect(bench().service.getCircuitState()).toEqual({
      isOpen: false,
      state: "closed",
      consecutiveFailures: 0,
      lastFailureTime: 0,
      timeSinceLastFailure: 0,
      retryAfterMs: 0,
    });
  });

  it("opens after five refusals by default, and lets nobody through for a minute", async () => {
    const { service, host } = bench({ maxRetries: 9 });
    const operation = script(refusal());
    const error = await host.drive(rejection(service.executeWithRetry(operation)));
    expect(error).toMatchObject({ ...OPEN, attempts: 5, retryAfterMs: 60_000 });
    expect(operation.times).toBe(5);
    await host.advance(59_999);
    const other = script("done");
    expect(await rejection(service.executeWithRetry(other))).toMatchObject({ ...OPEN, retryAfterMs: 1 });
    expect(other.times).toBe(0);
    await host.advance(1);
    expect(await service.executeWithRetry(other)).toBe("done");
  });

  it("tells how long it has been open and how long it will be", async () => {
    const { service, host } = await opened();
    const lastFailureTime = host.now();
    await host.advance(25_000);
    expect(service.getCircuitState()).toEqual({
      isOpen: true,
      state: "open",
      consecutiveFailures: 1,
      lastFailureTime,
      timeSinceLastFailure: 25_000,
      retryAfterMs: 35_000,
    });
  });

  it("is no longer open when the reset time has passed, without anybody calling", async () => {
    const { service, host } = await opened();
    await host.advance(60_000);
    expect(service.getCircuitState()).toMatchObject({ isOpen: false, state: "half-open", retryAfterMs: 0 });
  });

  it("is changed by no reading of it, in any state", async () => {
    const { service, host } = await opened();
    const told = vi.fn();
    service.on("circuit", told);
    const read = (): void => {
      const first = service.getCircuitState();
      for (let time = 0; time < 10; time++) expect(service.getCircuitState()).toEqual(first);
    };
    read();
    await host.advance(60_000);
    read();
    // Had a reading taken the place of the probe, this one would be rejected.
    const probe = deferred();
    const probing = service.executeWithRetry(() => probe.promise);
    read();
    probe.resolve("done");
    expect(await probing).toBe("done");
    read();
    expect(told.mock.calls.flat()).toEqual([
      { from: "open", to: "half-open" },
      { from: "half-open", to: "closed" },
    ]);
  });

  it("gives out a state of its own each time", async () => {
    const { service } = await opened();
    const state = service.getCircuitState();
    Object.assign(state, { isOpen: false, state: "closed" });
    expect(service.getCircuitState()).toMatchObject({ isOpen: true, state: "open" });
  });
});

describe("when the circuit opens", () => {
  it("callers in a backoff are rejected at once", async () => {
    const { service, host } = bench({
      circuitBreakerThreshold: 2,
      initialDelayMs: 5_000,
      sharedCooldown: false,
    });
    const backingOff = rejection(service.executeWithRetry(script(refusal())));
    await host.advance(100);
    await rejection(service.executeWithRetry(script(refusal())));
    expect(await backingOff).toMatchObject({ ...OPEN, attempts: 1, retryAfterMs: 60_000 });
    expect(host.sleeping).toBe(0);
  });

  it("callers that are held are rejected at once", async () => {
    const { service, host } = bench({ circuitBreakerThreshold: 2, initialDelayMs: 5_000 });
    const refused = rejection(service.executeWithRetry(script(refusal())));
    await host.advance(100);
    const operation = script("never");
    const held = [1, 2, 3].map(() => rejection(service.executeWithRetry(operation)));
    await host.advance(4_900);
    for (const call of [refused, ...held])
      expect(await call).toMatchObject({ ...OPEN, retryAfterMs: 60_000 });
    expect(operation.times).toBe(0);
    expect(host.sleeping).toBe(0);
  });

  it("who was rejected from a backoff knows what its attempt brought", async () => {
    const { service, host } = bench({ initialDelayMs: 5_000 });
    const cause = refusal();
    const call = rejection(service.executeWithRetry(script(cause)));
    await host.advance(100);
    service.isolateCircuit();
    expect(await call).toMatchObject({ ...OPEN, attempts: 1, originalError: cause });
  });

  it("attempts in flight are left alone", async () => {
    const { service, host } = bench({ circuitBreakerThreshold: 1 });
    const late = deferred();
    const inFlight = service.executeWithRetry(() => late.promise);
    await rejection(service.executeWithRetry(script(refusal())));
    expect(service.getCircuitState().isOpen).toBe(true);
    late.resolve("done");
    await host.advance(0);
    expect(await inFlight).toBe("done");
    expect(service.getCircuitState().isOpen).toBe(true);
  });
});

describe("half-open", () => {
  it("lets one probe through and rejects the others until it ends", async () => {
    const { service, host } = await opened();
    await host.advance(60_000);
    const probe = deferred();
    const probing = service.executeWithRetry(() => probe.promise);
    const other = script("never");
    expect(await rejection(service.executeWithRetry(other))).toMatchObject({ ...OPEN, attempts: 0 });
    expect(other.times).toBe(0);
    probe.resolve("done");
    await probing;
    expect(service.getCircuitState().state).toBe("closed");
    expect(await service.executeWithRetry(async () => "again")).toBe("again");
  });

  it("a refusal opens it again for the whole time", async () => {
    const { service, host } = await opened({ circuitBreakerThreshold: 1 });
    await host.advance(60_000);
    expect(await rejection(service.executeWithRetry(script(refusal())))).toMatchObject(OPEN);
    expect(service.getCircuitState()).toMatchObject({ state: "open", retryAfterMs: 60_000 });
  });

  it("needs as many successes in a row as there are probes", async () => {
    const { service, host } = await opened({ halfOpenProbes: 3, sharedCooldown: false });
    await host.advance(60_000);
    for (const state of ["half-open", "half-open", "closed"]) {
      await service.executeWithRetry(async () => 1);
      expect(service.getCircuitState().state).toBe(state);
    }
  });

  it.each([
    ["aborted", {}],
    ["lost", {}],
  ])("a probe that is %s decides nothing and gives its place back", async (way) => {
    const { service, host } = await opened();
    await host.advance(60_000);
    const controller = new AbortController();
    const probe = deferred();
    const probing = rejection(service.executeWithRetry(() => probe.promise, { signal: controller.signal }));
    if (way === "aborted") controller.abort();
    else probe.reject(new TypeError("Failed to fetch"));
    await probing;
    expect(service.getCircuitState().state).toBe("half-open");
    expect(await service.executeWithRetry(async () => "done")).toBe("done");
    expect(service.getCircuitState().state).toBe("closed");
  });

  it("a probe that hangs gives its place back after probeTimeoutMs", async () => {
    const { service, host } = await opened({ probeTimeoutMs: 5_000, sharedCooldown: false });
    await host.advance(60_000);
    void ended(service.executeWithRetry(() => new Promise(() => {})));
    expect(service.getCircuitState()).toMatchObject({
      isOpen: false,
      state: "half-open",
      retryAfterMs: 5_000,
    });
    await host.advance(5_000);
    expect(await service.executeWithRetry(async () => "done")).toBe("done");
  });
});

describe("by hand", () => {
  it("resetCircuit() closes it, zeroes the counters and ends a cooldown", async () => {
    const { service, host } = bench({ circuitBreakerThreshold: 2 });
    await rejection(service.executeWithRetry(script(refusal(30)), { maxRetries: 0 }));
    const held = script("done");
    const waiting = service.executeWithRetry(held);
    await host.advance(0);
    expect(held.times).toBe(0);
    service.resetCircuit();
    expect(await waiting).toBe("done");
    expect(service.getCircuitState()).toMatchObject({
      state: "closed",
      consecutiveFailures: 0,
      lastFailureTime: 0,
    });
    await rejection(service.executeWithRetry(script(refusal()), { maxRetries: 0 }));
    expect(service.getCircuitState()).toMatchObject({ state: "closed", consecutiveFailures: 1 });
  });

  it("resetCircuit() closes an open one", async () => {
    const { service } = await opened();
    service.resetCircuit();
    expect(await service.executeWithRetry(async () => "done")).toBe("done");
  });

  it("results that were under way at a reset change nothing", async () => {
    const { service, host } = bench({ circuitBreakerThreshold: 1, maxRetries: 0 });
    const late = deferred();
    const call = rejection(service.executeWithRetry(() => late.promise));
    service.resetCircuit();
    late.reject(refusal());
    await host.drive(call);
    expect(service.getCircuitState()).toMatchObject({ state: "closed", consecutiveFailures: 0 });
  });

  it("isolateCircuit() holds it open until it is reset, whatever succeeds and however long", async () => {
    const { service, host } = bench();
    const late = deferred();
    const inFlight = service.executeWithRetry(() => late.promise);
    service.isolateCircuit();
    late.resolve("done");
    expect(await inFlight).toBe("done");
    await host.advance(1_000 * 86_400_000);
    expect(service.getCircuitState()).toMatchObject({
      isOpen: true,
      state: "isolated",
      retryAfterMs: Number.POSITIVE_INFINITY,
    });
    const operation = script("done");
    const error = (await rejection(service.executeWithRetry(operation))) as { retryAfterMs?: number };
    expect(error).toMatchObject(OPEN);
    expect(error.retryAfterMs).toBeUndefined();
    expect(operation.times).toBe(0);
    service.resetCircuit();
    expect(await service.executeWithRetry(operation)).toBe("done");
  });

  it("tells of each change once", () => {
    const { service } = bench({ logLevel: "silent" });
    const told: unknown[] = [];
    service.on("circuit", (event) => told.push(event));
    service.isolateCircuit();
    service.isolateCircuit();
    service.resetCircuit();
    service.resetCircuit();
    expect(told).toEqual([
      { from: "closed", to: "isolated" },
      { from: "isolated", to: "closed" },
    ]);
  });
});

describe("updateConfig()", () => {
  it("keeps an open circuit as it is and as long as it was to be", async () => {
    const { service, host } = await opened();
    await host.advance(10_000);
    service.updateConfig({ circuitBreakerThreshold: 50, circuitResetMs: 1_000 });
    expect(service.getCircuitState()).toMatchObject({ state: "open", retryAfterMs: 50_000 });
  });

  it("keeps an isolated circuit", () => {
    const { service } = bench();
    service.isolateCircuit();
    service.updateConfig({ maxRetries: 1 });
    expect(service.getCircuitState().state).toBe("isolated");
  });

  it("keeps the count, and holds from the next decision on", async () => {
    const { service, host } = bench({ maxRetries: 0, sharedCooldown: false });
    const refused = (): Promise<unknown> =>
      host.drive(rejection(service.executeWithRetry(script(refusal()))));
    await refused();
    await refused();
    service.updateConfig({ circuitBreakerThreshold: 3 });
    expect(service.getCircuitState()).toMatchObject({ state: "closed", consecutiveFailures: 2 });
    expect(await refused()).toMatchObject(OPEN);
  });

  it("a threshold below the count opens at the next refusal, not before", async () => {
    const { service, host } = bench({ maxRetries: 0, sharedCooldown: false });
    const refused = (): Promise<unknown> =>
      host.drive(rejection(service.executeWithRetry(script(refusal()))));
    await refused();
    await refused();
    await refused();
    service.updateConfig({ circuitBreakerThreshold: 1 });
    expect(service.getCircuitState().isOpen).toBe(false);
    await refused();
    expect(service.getCircuitState().isOpen).toBe(true);
  });

  it("keeps counters and waits", async () => {
    const { service, host } = bench();
    const call = service.executeWithRetry(script(refusal(5), "done"));
    await host.advance(1_000);
    service.updateConfig({ maxRetries: 0, initialDelayMs: 1 });
    await host.advance(3_999);
    expect(service.getMetrics()).toMatchObject({ calls: 1, attempts: 1, throttled: 1 });
    expect(await host.drive(call)).toBe("done");
    expect(service.getMetrics()).toMatchObject({ calls: 1, attempts: 2, throttled: 1, successes: 1 });
  });
});
