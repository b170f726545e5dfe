import { readFileSync } from "node:fs";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { AttemptInfo } from "../../js/types.ts";
import { sabotageCore } from "./support/broken-core.ts";
import {
  bench,
  deferred,
  ended,
  freshPackage,
  refusal,
  rejection,
  type Settled,
  script,
} from "./support/service.ts";

afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

const QUIET = { logLevel: "silent", jitter: "none" } as const;

/** WebAssembly whose compiler says no. */
function compilerThat(refuses: (bytes: BufferSource) => Error | null): void {
  const real = WebAssembly;
  function Module(bytes: BufferSource): WebAssembly.Module {
    const error = refuses(bytes);
    if (error) throw error;
    return new real.Module(bytes);
  }
  Module.prototype = real.Module.prototype;
  const compile = async (bytes: BufferSource): Promise<WebAssembly.Module> => {
    const error = refuses(bytes);
    if (error instanceof WebAssembly.CompileError) throw error;
    return real.compile(bytes);
  };
  vi.stubGlobal(
    "WebAssembly",
    Object.create(real, { Module: { value: Module }, compile: { value: compile } }),
  );
}

describe("without the core", () => {
  const ways = {
    "no-wasm": () => vi.stubGlobal("WebAssembly", undefined),
    csp: () => compilerThat(() => new WebAssembly.CompileError("blocked by CSP")),
  };

  it.each(Object.entries(ways))(
    "%s: calls pass through, once each, and one event says so",
    async (state, arrange) => {
      arrange();
      const tidegate = await freshPackage();
      const { service } = bench({}, tidegate.RateLimitService);
      const told: unknown[] = [];
      service.on("core", (event) => told.push(event));
      const value = { any: "thing" };
      expect(await service.executeWithRetry(() => value)).toBe(value);
      const error = refusal(1);
      const operation = script(error);
      expect(await rejection(service.executeWithRetry(operation))).toBe(error);
      expect(operation.times).toBe(1);
      expect(tidegate.coreState()).toBe(state);
      expect(told).toEqual([{ state }]);
      expect(service.getCircuitState()).toMatchObject({ isOpen: false, state: "closed" });
      expect(service.getMetrics()).toMatchObject({ calls: 0, attempts: 0, groups: [] });
    },
  );

  it("csp: also where a module may be compiled and is refused when it is instantiated, as in WebKit", async () => {
    const Instance = class {
      constructor() {
        throw new WebAssembly.CompileError("Refused to create a WebAssembly object");
      }
    };
    vi.stubGlobal("WebAssembly", Object.create(WebAssembly, { Instance: { value: Instance } }));
    const tidegate = await freshPackage();
    const { service } = bench({}, tidegate.RateLimitService);
    expect(await service.executeWithRetry(() => 5)).toBe(5);
    expect(tidegate.coreState()).toBe("csp");

    vi.resetModules();
    const external = await import("../../js/external.ts");
    const wasm = readFileSync(new URL("../../pkg/core_bg.wasm", import.meta.url));
    expect(await external.init({ wasm })).toBe("csp");
  });

  it.each(Object.entries(ways))("%s: the operation gets its key and its signal", async (_, arrange) => {
    arrange();
    const tidegate = await freshPackage();
    const { service } = bench({}, tidegate.RateLimitService);
    const controller = new AbortController();
    const seen = await service.executeWithRetry(
      ({ attempt, retries, idempotencyKey, signal }) => ({ attempt, retries, idempotencyKey, signal }),
      { signal: controller.signal, idempotencyKey: "mine" },
    );
    expect(seen).toMatchObject({ attempt: 1, retries: 0, idempotencyKey: "mine" });
    expect(seen.signal.aborted).toBe(false);
  });

  it.each(Object.entries(ways))("%s: an isolated circuit holds even then", async (_, arrange) => {
    arrange();
    const tidegate = await freshPackage();
    const { service } = bench(QUIET, tidegate.RateLimitService);
    service.isolateCircuit();
    expect(service.getCircuitState()).toMatchObject({
      isOpen: true,
      state: "isolated",
      retryAfterMs: Infinity,
    });
    const operation = script("never");
    expect(await rejection(service.executeWithRetry(operation))).toMatchObject({
      code: "RATE_LIMIT_CIRCUIT_OPEN",
      attempts: 0,
    });
    expect(operation.times).toBe(0);
    service.resetCircuit();
    expect(await service.executeWithRetry(operation)).toBe("never");
  });

  it.each(Object.entries(ways))("%s: an illegal configuration is one all the same", async (_, arrange) => {
    arrange();
    const { RateLimitService, RateLimitConfigError } = await freshPackage();
    expect(() => new RateLimitService({ maxRetries: -1 })).toThrow(RateLimitConfigError);
  });

  it("limit: calls pass through until it was compiled elsewhere, then they are guarded", async () => {
    compilerThat((bytes) => (bytes.byteLength > 4_096 ? new RangeError("larger than 4KB") : null));
    const tidegate = await freshPackage();
    const { service, host } = bench(QUIET, tidegate.RateLimitService);
    const told: unknown[] = [];
    service.on("core", ({ state }) => told.push(state));
    expect(tidegate.coreState()).toBe("limit");
    const operation = script(refusal(), "done");
    await rejection(service.executeWithRetry(operation));
    expect(operation.times).toBe(1);
    await vi.waitUntil(() => tidegate.coreState() === "ready");
    expect(told).toEqual(["limit", "ready"]);
    const guarded = script(refusal(), "done");
    expect(await host.drive(service.executeWithRetry(guarded))).toBe("done");
    expect(guarded.times).toBe(2);
  });

  it("limit: what was configured before is checked, and never fails a call later", async () => {
    compilerThat((bytes) => (bytes.byteLength > 4_096 ? new RangeError("larger than 4KB") : null));
    const tidegate = await freshPackage();
    let service: InstanceType<typeof tidegate.RateLimitService> | undefined;
    try {
      service = new tidegate.RateLimitService({ ...QUIET, maxRetries: -1 });
    } catch (error) {
      expect(error).toBeInstanceOf(tidegate.RateLimitConfigError);
      return;
    }
    await vi.waitUntil(() => tidegate.coreState() === "ready");
    expect(await service.executeWithRetry(async () => "done")).toBe("done");
    expect(() => service?.getCircuitState()).not.toThrow();
  });
});

/** Every function that the core exports, but those that start it. */
const EXPORTS = WebAssembly.Module.exports(new WebAssembly.Module(readFileSync("pkg/core_bg.wasm")))
  .filter(({ kind, name }) => kind === "function" && !["start", "__wbindgen_start"].includes(name))
  .map(({ name }) => name);

describe("a trap", () => {
  /** What the runner must not see: a rejection that nobody handles, an exception out of a listener. */
  let loose: unknown[] = [];
  const note = (error: unknown): void => void loose.push(error);
  beforeEach(() => {
    loose = [];
    process.on("unhandledRejection", note).on("uncaughtException", note);
  });
  afterEach(() => {
    process.off("unhandledRejection", note).off("uncaughtException", note);
  });

  it.each(EXPORTS)("in %s harms no call that sleeps, is held, is in flight or begins", async (name) => {
    const sabotage = sabotageCore();
    const tidegate = await freshPackage();
    const { service, host } = bench(
      { ...QUIET, circuitBreakerThreshold: 1_000, probeTimeoutMs: 5_000 },
      tidegate.RateLimitService,
    );
    const late = { value: deferred(), refusal: deferred(), failure: deferred() };
    const controller = new AbortController();
    const asleep = ended(service.executeWithRetry(script(refusal(3), "done")));
    const inFlight = {
      value: ended(service.executeWithRetry(() => late.value.promise, { deadlineMs: 90_000 })),
      refusal: ended(
        service.executeWithRetry(({ attempt }) => (attempt === 1 ? late.refusal.promise : "done")),
      ),
      failure: ended(service.executeWithRetry(() => late.failure.promise)),
    };
    await host.advance(10);
    const begin = (context = {}): Promise<Settled<string>> =>
      ended(service.executeWithRetry(async () => "done", context));
    const held = [begin(), begin(), begin({ deadlineMs: 80_000 })];
    const tooLate = begin({ deadlineMs: 3_500 });
    const aborted = begin({ signal: controller.signal });
    await host.advance(1_000);

    sabotage.trapIn = new Set([name]);
    controller.abort();
    const begun = begin();
    late.value.resolve("done");
    const error = { refusal: refusal(1), failure: refusal(undefined, 500) };
    late.refusal.reject(error.refusal);
    late.failure.reject(error.failure);
    await host.advance(10);
    service.getCircuitState();
    service.getMetrics();
    await host.advance(10_000);
    sabotage.trapIn = new Set();
    await host.advance(70_000);

    const done = { value: "done" };
    expect(await settled(asleep)).toEqual(done);
    expect(await settled(inFlight.value)).toEqual(done);
    expect(await settled(begun)).toEqual(done);
    for (const one of held) expect(await settled(one)).toEqual(done);
    const refused = await settled(inFlight.refusal);
    expect([error.refusal, "done"]).toContain(refused.error ?? refused.value);
    expect((await settled(inFlight.failure)).error).toBe(error.failure);
    expect((await settled(aborted)).error).toBe(controller.signal.reason);
    const last = await settled(tooLate);
    if (last.error) expect(last.error).toMatchObject({ code: "RATE_LIMIT_DEADLINE_EXCEEDED" });
    await new Promise(setImmediate);
    expect(loose).toEqual([]);
  });

  it("passes this call and the following through, tells, and starts the core anew", async () => {
    const sabotage = sabotageCore();
    const tidegate = await freshPackage();
    const { service, host, log } = bench({}, tidegate.RateLimitService);
    const told: string[] = [];
    service.on("core", ({ state }) => told.push(state));
    sabotage.trapIn = new Set(["begin"]);
    const refused = refusal();
    const during = script(refused);
    expect(await rejection(service.executeWithRetry(during))).toBe(refused);
    expect(during.times).toBe(1);
    sabotage.trapIn = new Set();
    await host.advance(0);
    expect(told).toEqual(["trap", "ready"]);
    expect(tidegate.coreState()).toBe("ready");
    expect(log.lines).toEqual(["error: [RateLimit] The core failed; calls pass through"]);
    const after = script(refusal(), "done");
    expect(await host.drive(service.executeWithRetry(after))).toBe("done");
    expect(after.times).toBe(2);
  });

  it("keeps the length of a backoff, and a cooldown for those who come later", async () => {
    const sabotage = sabotageCore();
    const tidegate = await freshPackage();
    const { service, host } = bench(QUIET, tidegate.RateLimitService);
    const begun = host.now();
    const times: number[] = [];
    const timed = (): void => void times.push(host.now() - begun);
    const refused = script(refusal(5), "done");
    const asleep = (attempt: AttemptInfo): Promise<unknown> => {
      timed();
      return refused(attempt);
    };
    const calls: Promise<Settled>[] = [ended(service.executeWithRetry(asleep))];
    await host.advance(0);
    calls.push(ended(service.executeWithRetry(async () => timed())));
    await host.advance(1_000);
    sabotage.trapIn = new Set(["begin"]);
    await service.executeWithRetry(async () => 1);
    sabotage.trapIn = new Set();
    await host.advance(0);
    expect(tidegate.coreState()).toBe("ready");
    calls.push(ended(service.executeWithRetry(async () => timed())));
    await host.advance(3_900);
    expect(times).toEqual([0]);
    await host.advance(60_000);
    expect(times.length).toBe(4);
    expect(Math.min(...times.slice(1))).toBeGreaterThanOrEqual(5_000);
    for (const call of calls) expect((await settled(call)).error).toBeUndefined();
  });

  it("leaves the circuit isolated", async () => {
    const sabotage = sabotageCore();
    const tidegate = await freshPackage();
    const { service, host } = bench(QUIET, tidegate.RateLimitService);
    service.isolateCircuit();
    sabotage.trapIn = new Set(["begin"]);
    expect(await rejection(service.executeWithRetry(script("never")))).toMatchObject({
      code: "RATE_LIMIT_CIRCUIT_OPEN",
    });
    sabotage.trapIn = new Set();
    await host.advance(0);
    expect(tidegate.coreState()).toBe("ready");
    expect(service.getCircuitState().state).toBe("isolated");
  });

  it("a deadline in flight is one of the call, also when the core is gone", async () => {
    const sabotage = sabotageCore();
    const tidegate = await freshPackage();
    const { service, host } = bench(QUIET, tidegate.RateLimitService);
    const call = rejection(service.executeWithRetry(() => new Promise(() => {}), { deadlineMs: 1_000 }));
    await host.advance(10);
    sabotage.trapIn = new Set(["begin"]);
    await service.executeWithRetry(async () => 1);
    await host.advance(2_000);
    expect(await call).toMatchObject({ code: "RATE_LIMIT_DEADLINE_EXCEEDED", attempts: 1 });
  });

  it("for the third time within a minute leaves the core off, whatever is done", async () => {
    const sabotage = sabotageCore();
    const tidegate = await freshPackage();
    const { service, host } = bench(QUIET, tidegate.RateLimitService);
    const trap = async (): Promise<void> => {
      sabotage.trapIn = new Set(["begin"]);
      await service.executeWithRetry(async () => 1);
      sabotage.trapIn = new Set();
      await host.advance(20_000);
    };
    await trap();
    await trap();
    expect(tidegate.coreState()).toBe("ready");
    await trap();
    expect(tidegate.coreState()).toBe("trap");
    expect(await tidegate.init()).toBe("trap");
    await host.advance(600_000);
    expect(tidegate.coreState()).toBe("trap");
    expect(await service.executeWithRetry(async () => "done")).toBe("done");
  });

  it("for the third time in more than a minute starts the core anew", async () => {
    const sabotage = sabotageCore();
    const tidegate = await freshPackage();
    const { service, host } = bench(QUIET, tidegate.RateLimitService);
    for (let turn = 0; turn < 5; turn++) {
      sabotage.trapIn = new Set(["begin"]);
      await service.executeWithRetry(async () => 1);
      sabotage.trapIn = new Set();
      await host.advance(31_000);
      expect(tidegate.coreState()).toBe("ready");
    }
  });

  it("with alarms of the core pending loses no wait", async () => {
    const sabotage = sabotageCore();
    const tidegate = await freshPackage();
    vi.useFakeTimers();
    const service = new tidegate.RateLimitService(QUIET);
    const asleep = ended(service.executeWithRetry(script(refusal(3), "done")));
    const bounded = ended(service.executeWithRetry(() => new Promise(() => {}), { deadlineMs: 2_000 }));
    await vi.advanceTimersByTimeAsync(1_000);
    const held = ended(service.executeWithRetry(async () => "done"));
    sabotage.trapIn = new Set(["begin"]);
    expect(await service.executeWithRetry(async () => "through")).toBe("through");
    sabotage.trapIn = new Set();
    expect(tidegate.coreState()).toBe("trap");
    await vi.advanceTimersByTimeAsync(60_000);
    expect(tidegate.coreState()).toBe("ready");
    expect(await settled(asleep)).toEqual({ value: "done" });
    expect(await settled(held)).toEqual({ value: "done" });
    expect((await settled(bounded)).error).toBeDefined();
    expect(vi.getTimerCount()).toBe(0);
    expect(loose).toEqual([]);
  });
});

/** How it ended; fails when it has not. */
async function settled<T>(promise: Promise<Settled<T>>): Promise<Settled<T>> {
  const pending = Symbol("pending");
  let end: Settled<T> | typeof pending = pending;
  void promise.then((got) => {
    end = got;
  });
  for (let turn = 0; turn < 10; turn++) await Promise.resolve();
  if (end === pending) throw new Error("The call has not ended.");
  return end;
}
