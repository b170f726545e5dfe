import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { RateLimitConfigError } from "../../js/errors.ts";
import { RateLimiterRegistry, type RegistryOptions, type RegistryState } from "../../js/registry.ts";
import { ManualHost } from "../../js/testing.ts";
import type { LimitOverrides, ServiceLimits } from "../../js/types.ts";
import {
  deferred,
  ended,
  freshPackage,
  Log,
  refusal,
  rejection,
  type Settled,
  script,
} from "./support/service.ts";

const SECOND = 1_000;

interface Bench {
  registry: RateLimiterRegistry;
  host: ManualHost;
  log: Log;
  /** Milliseconds since the beginning. */
  now(): number;
}

function bench(services: Record<string, ServiceLimits>, options: RegistryOptions = {}): Bench {
  const host = new ManualHost();
  const log = new Log();
  const began = host.now();
  const config = { jitter: "none", logger: log, ...options.config } as const;
  const registry = new RateLimiterRegistry(services, { host, ...options, config });
  return { registry, host, log, now: () => host.now() - began };
}

/** Calls that run until they are told to end, and when each began. */
class Runs {
  readonly starts: number[] = [];
  readonly ends: Settled[] = [];
  running = 0;
  most = 0;
  readonly #bench: Bench;
  readonly #open: (() => void)[] = [];

  constructor(bench: Bench) {
    this.#bench = bench;
  }

  /** Calls so often; each attempt takes so long, or until `finish`. */
  call(times: number, operation: string, overrides?: LimitOverrides, tookMs?: number): void {
    for (let n = 0; n < times; n++) {
      const call = this.#bench.registry.withRateLimit("crm", operation, () => this.#run(tookMs), overrides);
      void ended(call).then((end) => this.ends.push(end));
    }
  }

  finish(times = this.#open.length): void {
    for (const end of this.#open.splice(0, times)) end();
  }

  get codes(): unknown[] {
    return this.ends.map(({ error }) => (error as { code?: string } | undefined)?.code);
  }

  async #run(tookMs: number | undefined): Promise<void> {
    this.starts.push(this.#bench.now());
    this.running++;
    this.most = Math.max(this.most, this.running);
    const { promise, resolve } = deferred<void>();
    if (tookMs === undefined) this.#open.push(() => resolve());
    else void this.#bench.host.sleep(tookMs).then(() => resolve());
    await promise;
    this.running--;
  }
}

function withRuns(services: ServiceLimits, options?: RegistryOptions): Bench & { runs: Runs } {
  const made = bench({ crm: services }, options);
  return Object.assign(made, { runs: new Runs(made) });
}

function mostIn(windowMs: number, starts: readonly number[]): number {
  return Math.max(
    ...starts.map((at) => starts.filter((start) => start >= at && start < at + windowMs).length),
  );
}

function thrownBy(act: () => unknown): RateLimitConfigError {
  try {
    act();
  } catch (error) {
    expect(error).toBeInstanceOf(RateLimitConfigError);
    return error as RateLimitConfigError;
  }
  throw new Error("nothing was thrown");
}

const perSecond = (maxRequests: number) => ({ maxRequests, windowMs: SECOND });

describe("a call", () => {
  it("brings what its function brings: the same value, the same error", async () => {
    const { registry } = bench({ crm: { concurrency: 1, rateLimit: { default: perSecond(10) } } });
    const value = { any: "thing" };
    expect(await registry.withRateLimit("crm", "x", () => value)).toBe(value);
    const error = new Error("no");
    expect(await rejection(registry.withRateLimit("crm", "x", script(error)))).toBe(error);
  });

  it("tells its function of the attempt, and repeats it as the service's retry says", async () => {
    const { registry, host } = bench({
      crm: { retry: { maxRetries: 2 } },
      other: { retry: { maxRetries: 0 } },
    });
    const attempts: number[] = [];
    const fn = (attempt: { attempt: number; signal: AbortSignal }): never => {
      expect(attempt.signal).toBeInstanceOf(AbortSignal);
      attempts.push(attempt.attempt);
      throw refusal();
    };
    const error = await host.drive(rejection(registry.withRateLimit("crm", "x", fn)));
    expect(error).toMatchObject({
      code: "RATE_LIMIT_MAX_RETRIES_EXCEEDED",
      resourceName: "crm",
      operation: "x",
    });
    expect(attempts).toEqual([1, 2, 3]);
    await host.drive(rejection(registry.withRateLimit("other", "x", fn)));
    expect(attempts).toEqual([1, 2, 3, 1]);
  });

  it("spends quota for each attempt", async () => {
    const { registry, host, now } = bench({
      crm: { rateLimit: { x: { maxRequests: 2, windowMs: 60 * SECOND } } },
    });
    const starts: number[] = [];
    const fn = (): never => {
      starts.push(now());
      throw refusal();
    };
    await host.drive(rejection(registry.withRateLimit("crm", "x", fn, { retries: 2 })));
    expect(starts.map((at) => Math.floor(at / SECOND))).toEqual([0, 0, 60]);
  });

  it("ends its attempts after attemptTimeoutMs", async () => {
    const { registry, host, now } = bench({ crm: { attemptTimeoutMs: 250 } });
    const error = await host.drive(
      rejection(registry.withRateLimit("crm", "x", () => new Promise(() => {}))),
    );
    expect(error).toMatchObject({ name: "TimeoutError" });
    expect(now()).toBe(250);
  });

  it("is counted under its service and operation, also where those of default hold", async () => {
    const { registry } = bench({ crm: { concurrency: 1 }, default: {} });
    await registry.withRateLimit("crm", "a", () => 1);
    for (const service of ["erp", "default", "hr", "erp"])
      await registry.withRateLimit(service, "b", () => 1);
    expect(registry.service("crm").getMetrics().groups).toMatchObject([
      { resourceName: "crm", operation: "a" },
    ]);
    expect(registry.service("erp").getMetrics().groups).toMatchObject([
      { resourceName: "erp", operation: "b", calls: 2 },
      { resourceName: "default", operation: "b", calls: 1 },
      { resourceName: "hr", operation: "b", calls: 1 },
    ]);
  });

  it("of something that is no function is a TypeError", async () => {
    const { registry } = bench({ crm: { concurrency: 1 } });
    expect(await rejection(registry.withRateLimit("crm", "x", "fn" as never))).toEqual(
      new TypeError("withRateLimit: fn must be a function."),
    );
    expect(await registry.withRateLimit("crm", "x", () => "the slot is free", { retries: 0 })).toBe(
      "the slot is free",
    );
  });

  it("without overrides may say so with null", async () => {
    const { registry } = bench({ crm: {} });
    expect(await registry.withRateLimit("crm", "x", () => 1, null)).toBe(1);
  });
});

describe("limits", () => {
  it("ten callers, three calls each: never too many at once, never too many in a window, all done", async () => {
    const { host, runs } = withRuns({ concurrency: 4, rateLimit: { x: perSecond(5) } });
    for (let caller = 0; caller < 10; caller++) runs.call(3, "x", undefined, 300);
    await host.advance(30 * SECOND);
    expect(runs.starts).toHaveLength(30);
    expect(runs.codes).toEqual(Array.from({ length: 30 }, () => undefined));
    expect(runs.most).toBe(4);
    expect(mostIn(SECOND, runs.starts)).toBe(5);
    // Five a second, and a unit comes back a 64th of the window late at most.
    expect(runs.starts.at(-1)).toBeLessThanOrEqual(5 * SECOND + 300 + 5 * 16);
  });

  it("several windows hold at once", async () => {
    const windows = [perSecond(2), { maxRequests: 5, windowMs: 10 * SECOND }];
    const { host, runs } = withRuns({ rateLimit: { x: windows } });
    runs.call(11, "x", undefined, 0);
    await host.advance(60 * SECOND);
    expect(runs.starts).toHaveLength(11);
    expect(mostIn(SECOND, runs.starts)).toBe(2);
    expect(mostIn(10 * SECOND, runs.starts)).toBe(5);
  });

  it("five requests 1 s apart take 4 s, the first at once", async () => {
    const { host, runs } = withRuns({ minIntervalMs: SECOND });
    runs.call(3, "a", undefined, 0);
    runs.call(2, "b", undefined, 0);
    await host.advance(10 * SECOND);
    expect(runs.starts).toEqual([0, 1_000, 2_000, 3_000, 4_000]);
  });

  it("starts are spread evenly where that is asked for", async () => {
    const { host, runs } = withRuns({ smooth: true, rateLimit: { x: perSecond(4) } });
    runs.call(5, "x", undefined, 0);
    await host.advance(2 * SECOND);
    expect(runs.starts).toEqual([0, 250, 500, 750, 1_000]);
  });

  it("of one operation are not those of another; the service's concurrency is of all", async () => {
    const { host, runs } = withRuns({ concurrency: 3, rateLimit: { a: perSecond(1), b: perSecond(5) } });
    runs.call(2, "a");
    runs.call(3, "b");
    await host.advance(0);
    expect(runs.running).toBe(3);
    expect(runs.most).toBe(3);
  });

  it("of one operation at a time, and of one key", async () => {
    const { host, runs } = withRuns({ concurrencyPerKey: 2, concurrencyPerOperation: { call: 5 } });
    for (const limitKey of ["a", "b", "c"]) runs.call(3, "call", { limitKey });
    runs.call(4, "other");
    await host.advance(0);
    expect(runs.running).toBe(5 + 2);
    runs.finish();
    await host.advance(0);
    expect(runs.running).toBe(4 + 2);
  });

  it("that reject refuse what is too much, and fail nothing else", async () => {
    const { host, runs } = withRuns({ concurrency: 3, onLimit: "reject" });
    runs.call(10, "x");
    await host.advance(0);
    expect(runs.codes).toEqual(Array.from({ length: 7 }, () => "RATE_LIMIT_CONCURRENCY_EXCEEDED"));
    runs.finish();
    await host.advance(0);
    runs.call(3, "x");
    await host.advance(0);
    expect(runs.running).toBe(3);
    runs.finish();
    await host.advance(0);
    expect(runs.codes.filter((code) => code === undefined)).toHaveLength(6);
  });

  it("that reject tell which window is full, and until when", async () => {
    const hour = { maxRequests: 2, windowMs: 3_600_000 };
    const { registry, host } = bench({ crm: { rateLimit: { x: [perSecond(5), hour] }, onLimit: "reject" } });
    for (let n = 0; n < 2; n++) await registry.withRateLimit("crm", "x", () => n);
    await host.advance(600_000);
    const error = await rejection(registry.withRateLimit("crm", "x", () => "never"));
    expect(error).toMatchObject({ code: "RATE_LIMIT_QUOTA_EXHAUSTED", limit: hour, retryAfterMs: 3_000_000 });
  });

  it("let so many wait, and refuse the next", async () => {
    const { host, runs } = withRuns({ concurrency: 1, maxQueue: 2 });
    runs.call(5, "x");
    await host.advance(0);
    expect(runs.codes).toEqual(["RATE_LIMIT_QUEUE_FULL", "RATE_LIMIT_QUEUE_FULL"]);
    runs.finish();
    await host.advance(0);
    expect(runs.running).toBe(1);
  });

  it("take a slot back that was held for too long", async () => {
    const { host, runs } = withRuns({ concurrency: 1, leaseMs: 600 * SECOND });
    runs.call(2, "x");
    await host.advance(600 * SECOND);
    expect(runs.starts).toEqual([0, 600 * SECOND]);
  });

  it("know so many keys, and refuse another while none is idle", async () => {
    const { registry, host } = bench({ crm: { rateLimit: { x: perSecond(1) }, maxKeys: 2 } });
    const call = (limitKey: string) =>
      ended(registry.withRateLimit("crm", "x", () => limitKey, { limitKey }));
    expect(await call("a")).toEqual({ value: "a" });
    expect(await call("b")).toEqual({ value: "b" });
    expect((await call("c")).error).toMatchObject({ code: "RATE_LIMIT_QUOTA_EXHAUSTED" });
    await host.advance(SECOND);
    expect(await call("c")).toEqual({ value: "c" });
  });
});

describe("keys", () => {
  const dialer: ServiceLimits = {
    rateLimit: {
      call: [
        { maxRequests: 3, windowMs: 3_600_000, per: "agent" },
        { maxRequests: 2, windowMs: 86_400_000, per: "session" },
      ],
    },
    onLimit: "reject",
  };
  const callsOf = (registry: RateLimiterRegistry) => async (agent: string, session: string) =>
    (await ended(registry.withRateLimit("crm", "call", () => "said", { limitKey: { agent, session } })))
      .value;

  it("are taken together or not at all", async () => {
    const { registry } = bench({ crm: dialer });
    const call = callsOf(registry);
    expect([await call("a", "1"), await call("a", "1")]).toEqual(["said", "said"]);
    // The session is full; what it refuses costs the agent nothing.
    for (let n = 0; n < 5; n++) expect(await call("a", "1")).toBeUndefined();
    expect(await call("a", "2")).toBe("said");
    // The agent is full; what he is refused costs the session nothing.
    for (let n = 0; n < 5; n++) expect(await call("a", "2")).toBeUndefined();
    expect(await call("b", "2")).toBe("said");
    expect(await call("b", "2")).toBeUndefined();
  });

  it("each have windows of their own, whatever they are called", async () => {
    const { registry } = bench({ crm: { rateLimit: { x: perSecond(1) }, onLimit: "reject" } });
    const keys = [
      undefined,
      "a",
      "__proto__",
      "constructor",
      "toString",
      "1",
      "{}",
      { user: "a" },
      { tenant: "a" },
    ];
    for (const limitKey of keys) {
      const overrides = { limitKey } as LimitOverrides;
      expect(await ended(registry.withRateLimit("crm", "x", () => 1, overrides))).toEqual({ value: 1 });
      expect((await ended(registry.withRateLimit("crm", "x", () => 1, overrides))).error).toBeDefined();
    }
  });

  it("that leave one out are an error that names it", async () => {
    const { registry } = bench({ crm: dialer });
    const call = registry.withRateLimit("crm", "call", () => "said", { limitKey: { agent: "a" } });
    expect(await rejection(call)).toMatchObject({
      name: "RateLimitConfigError",
      field: "overrides.limitKey.session",
    });
  });
});

describe("overrides", () => {
  it("of the concurrency: it starts only while fewer of its operation run, and is counted with all", async () => {
    const { host, runs } = withRuns({ concurrency: 5, rateLimit: { x: [], y: [] } });
    runs.call(1, "y");
    runs.call(2, "x");
    runs.call(3, "x", { concurrency: 3 });
    await host.advance(0);
    expect(runs.running).toBe(4);
    runs.finish();
    await host.advance(0);
    expect(runs.starts).toHaveLength(6);
  });

  it("of the window: the same counters with another limit", async () => {
    const { registry } = bench({ crm: { rateLimit: { x: perSecond(10) }, onLimit: "reject" } });
    const call = async (overrides?: LimitOverrides) =>
      (await ended(registry.withRateLimit("crm", "x", () => "went", overrides))).value;
    expect(await call()).toBe("went");
    expect(await call({ maxRequests: 2 })).toBe("went");
    expect(await call({ maxRequests: 2 })).toBeUndefined();
    expect(await call()).toBe("went");
    expect(await call({ maxRequests: 4, windowMs: 500 })).toBe("went");
    expect(await call({ maxRequests: 4, windowMs: 500 })).toBeUndefined();
    for (let n = 0; n < 6; n++) expect(await call()).toBe("went");
    expect(await call()).toBeUndefined();
    // More than is configured, too.
    expect(await call({ maxRequests: 11 })).toBe("went");
  });

  it("of the window wait for their own limit", async () => {
    const { host, runs } = withRuns({ rateLimit: { x: perSecond(10) } });
    runs.call(4, "x", { maxRequests: 1, windowMs: 200 }, 0);
    await host.advance(SECOND);
    expect(runs.starts[0]).toBe(0);
    expect(mostIn(200, runs.starts)).toBe(1);
    expect(runs.starts).toHaveLength(4);
  });

  it("of the window are for the operation's own quota, also where there is a minimum interval", async () => {
    const { registry } = bench({
      crm: { minIntervalMs: 1, rateLimit: { x: perSecond(10) }, onLimit: "reject" },
    });
    expect(await registry.withRateLimit("crm", "x", () => 1)).toBe(1);
    const error = await rejection(registry.withRateLimit("crm", "x", () => 1, { maxRequests: 1 }));
    expect(error).toMatchObject({ limit: { maxRequests: 1, windowMs: SECOND } });
  });

  it("of the weight use more than one unit", async () => {
    const { registry } = bench({ crm: { rateLimit: { x: perSecond(10) }, onLimit: "reject" } });
    await registry.withRateLimit("crm", "x", () => 1, { weight: 8 });
    expect((await ended(registry.withRateLimit("crm", "x", () => 1, { weight: 3 }))).error).toBeDefined();
    expect(await registry.withRateLimit("crm", "x", () => 1, { weight: 2 })).toBe(1);
  });

  it("of the priority let who waits go first", async () => {
    const { registry, host } = bench({ crm: { concurrency: 1 } });
    const order: string[] = [];
    const first = deferred();
    void registry.withRateLimit("crm", "x", () => first.promise);
    void registry.withRateLimit("crm", "x", () => order.push("normal"));
    void registry.withRateLimit("crm", "x", () => order.push("high"), { priority: 5 });
    first.resolve(1);
    await host.advance(0);
    expect(order).toEqual(["high", "normal"]);
  });

  it("of the retries and of their first delay", async () => {
    const { registry, host, now } = bench({
      crm: { retry: { maxRetries: 3, initialDelayMs: 100, sharedCooldown: false } },
    });
    const starts: number[] = [];
    const fn = (): never => {
      starts.push(now());
      throw refusal();
    };
    const call = registry.withRateLimit("crm", "x", fn, { retries: 2, retryDelay: 10 });
    await host.drive(rejection(call));
    expect(starts).toEqual([0, 10, 30]);
    const later = now();
    await host.drive(rejection(registry.withRateLimit("crm", "x", fn, { retries: 1 })));
    expect(starts.slice(3).map((at) => at - later)).toEqual([0, 100]);
  });

  it("of the signal end a wait at once", async () => {
    const { host, runs } = withRuns({ concurrency: 1 });
    const controller = new AbortController();
    runs.call(1, "x");
    runs.call(1, "x", { signal: controller.signal });
    runs.call(1, "x");
    await host.advance(0);
    controller.abort();
    await host.advance(0);
    expect(runs.ends.map(({ error }) => error)).toEqual([controller.signal.reason]);
    runs.finish();
    await host.advance(0);
    expect(runs.starts).toHaveLength(2);
  });

  it.each<[string, unknown]>([
    ["overrides", 5],
    ["overrides", "high"],
    ["overrides", []],
    ["overrides.retrys", { retrys: 1 }],
    ["overrides.maxRequests", { maxRequests: Number.NaN }],
    ["overrides.maxRequests", { maxRequests: "5" }],
    ["overrides.concurrency", { concurrency: -1 }],
    ["overrides.windowMs", { windowMs: Number.POSITIVE_INFINITY }],
    ["overrides.windowMs", { windowMs: SECOND + 1 }],
    ["overrides.weight", { weight: 11 }],
    ["overrides.signal", { signal: {} }],
    ["overrides.limitKey", { limitKey: 5 }],
  ])("that are not legal reject with %s: %o, and nothing has begun", async (field, overrides) => {
    const { registry, host } = bench({ crm: { concurrency: 1, rateLimit: { x: perSecond(10) } } });
    const operation = script("never");
    const call = registry.withRateLimit("crm", "x", operation, overrides as LimitOverrides);
    expect(await rejection(call)).toMatchObject({ name: "RateLimitConfigError", field });
    expect(operation.times).toBe(0);
    expect(registry.status().crm).toMatchObject({ inFlight: 0, queued: 0 });
    expect(host.sleeping).toBe(0);
  });

  it("of a window are an error where there is none", async () => {
    const { registry } = bench({ crm: { concurrency: 1 } });
    for (const overrides of [{ maxRequests: 1 }, { windowMs: 1 }]) {
      const field = `overrides.${Object.keys(overrides)[0]}`;
      expect(await rejection(registry.withRateLimit("crm", "x", () => 1, overrides))).toMatchObject({
        field,
      });
    }
  });
});

describe("names", () => {
  it("that are not there are an error that tells which are", async () => {
    const { registry } = bench({ crm: { rateLimit: { voice: [], sms: [] } }, erp: {} });
    const fn = script("never");
    const service = await rejection(registry.withRateLimit("crn", "voice", fn));
    expect(service).toMatchObject({ name: "RateLimitConfigError", field: "service", value: "crn" });
    expect((service as Error).message).toContain("crm, erp");
    const operation = await rejection(registry.withRateLimit("crm", "fax", fn));
    expect(operation).toMatchObject({ name: "RateLimitConfigError", field: "operation", value: "fax" });
    expect((operation as Error).message).toContain("voice, sms");
    expect(fn.times).toBe(0);
  });

  it("that are not there fall to default, and count there", async () => {
    const { registry } = bench({
      default: { rateLimit: { default: perSecond(3) }, onLimit: "reject" },
      crm: {},
    });
    const call = async (service: string, operation: string) =>
      (await ended(registry.withRateLimit(service, operation, () => "went"))).value;
    expect(await call("a", "x")).toBe("went");
    expect(await call("b", "y")).toBe("went");
    expect(await call("default", "default")).toBe("went");
    expect(await call("c", "z")).toBeUndefined();
    expect(await call("crm", "z")).toBe("went");
    expect(registry.service("a")).toBe(registry.service("default"));
    expect(registry.limits("a")).toBe(registry.limits("default"));
    expect(registry.services()).toEqual(["default", "crm"]);
  });

  it.each(["__proto__", "constructor", "toString", "valueOf", ""])(
    "%o is a name as any other",
    async (name) => {
      const limits = { rateLimit: Object.fromEntries([[name, perSecond(1)]]), onLimit: "reject" } as const;
      const { registry } = bench(Object.fromEntries([[name, limits]]));
      expect(registry.services()).toEqual([name]);
      expect(await registry.withRateLimit(name, name, () => 1)).toBe(1);
      expect((await ended(registry.withRateLimit(name, name, () => 1))).error).toBeDefined();
      expect(Object.keys(registry.status())).toEqual([name]);
      expect(Object.entries(registry.status())[0]?.[1].inFlight).toBe(0);
      registry.updateServiceLimits(name, { rateLimit: Object.fromEntries([[name, perSecond(2)]]) });
      expect(await registry.withRateLimit(name, name, () => 1)).toBe(1);
      const { registry: other } = bench({ crm: { rateLimit: { x: [] } } });
      expect(await rejection(other.withRateLimit(name, "x", () => 1))).toMatchObject({ field: "service" });
      expect(await rejection(other.withRateLimit("crm", name, () => 1))).toMatchObject({
        field: "operation",
      });
    },
  );

  it.each([undefined, null, 5, Symbol("x"), {}, []])("%o is none", async (name) => {
    const { registry } = bench({ default: {} });
    expect(await rejection(registry.withRateLimit(name as never, "x", () => 1))).toMatchObject({
      field: "service",
    });
    expect(await rejection(registry.withRateLimit("x", name as never, () => 1))).toMatchObject({
      field: "operation",
    });
  });

  it("made up without end are not kept", async () => {
    const { registry } = bench({ crm: { concurrency: 5 } });
    for (let n = 0; n < 1_200; n++) await registry.withRateLimit("crm", `operation ${n}`, () => n);
    expect(Object.keys(registry.status().crm?.operations ?? {})).toEqual(["default"]);
    expect(registry.service("crm").getMetrics().calls).toBe(1_200);
  });
});

describe("an update", () => {
  it("of the concurrency lets who waits go at once", async () => {
    const { registry, host, runs } = withRuns({ concurrency: 1 });
    runs.call(5, "x");
    await host.advance(0);
    expect(runs.running).toBe(1);
    registry.updateServiceLimits("crm", { concurrency: 3 });
    await host.advance(0);
    expect(runs.running).toBe(3);
    registry.updateServiceLimits("crm", { concurrency: null });
    await host.advance(0);
    expect(runs.running).toBe(5);
  });

  it("of a window plans who waits anew: sooner and later", async () => {
    const { registry, host, runs } = withRuns({
      rateLimit: { x: { maxRequests: 1, windowMs: 60 * SECOND } },
    });
    runs.call(6, "x", undefined, 0);
    await host.advance(SECOND);
    registry.updateServiceLimits("crm", { rateLimit: { x: { maxRequests: 3, windowMs: 60 * SECOND } } });
    await host.advance(0);
    expect(runs.starts).toEqual([0, 1_000, 1_000]);
    registry.updateServiceLimits("crm", { rateLimit: { x: { maxRequests: 3, windowMs: 120 * SECOND } } });
    await host.advance(118 * SECOND);
    expect(runs.starts).toHaveLength(3);
    await host.advance(5 * SECOND);
    expect(runs.starts).toHaveLength(6);
  });

  it("that lowers a limit disturbs nothing that runs, and counts it", async () => {
    const { registry, host, runs } = withRuns({ concurrency: 5 });
    runs.call(6, "x");
    await host.advance(0);
    registry.updateServiceLimits("crm", { concurrency: 2 });
    await host.advance(0);
    expect(runs.running).toBe(5);
    runs.finish(3);
    await host.advance(0);
    expect(runs.running).toBe(2);
    runs.finish(1);
    await host.advance(0);
    expect(runs.running).toBe(2);
    expect(runs.codes).toEqual([undefined, undefined, undefined, undefined]);
  });

  it("that adds windows holds those who wait already, although it lets them go in another respect", async () => {
    const { registry, host, runs } = withRuns({ concurrency: 1 });
    runs.call(10, "x", undefined, 10);
    await host.advance(5);
    registry.updateServiceLimits("crm", {
      concurrency: 100,
      rateLimit: { default: perSecond(2) },
      minIntervalMs: 50,
    });
    await host.advance(20 * SECOND);
    const later = runs.starts.slice(1);
    expect(later).toHaveLength(9);
    expect(mostIn(SECOND, later)).toBe(2);
    expect(mostIn(50, later)).toBe(1);
  });

  it("that adds a key to the windows holds who wait under one already", async () => {
    const { registry, host, runs } = withRuns({ concurrency: 1, rateLimit: { x: [] } });
    runs.call(1, "x");
    runs.call(3, "x", { limitKey: "a" });
    runs.call(3, "x", { limitKey: { user: "u", tenant: "t" } });
    await host.advance(0);
    const perUser = { ...perSecond(1), per: "user" };
    registry.updateServiceLimits("crm", { concurrency: null, rateLimit: { x: perUser } });
    await host.advance(0);
    expect(runs.starts).toEqual([0, 0, 0]);
    await host.advance(SECOND + 16);
    expect(runs.starts).toHaveLength(5);
  });

  it("with null takes the windows away, and lets go who waits for them", async () => {
    const { registry, host, runs } = withRuns({ rateLimit: { x: perSecond(1), y: perSecond(1) } });
    runs.call(3, "x");
    runs.call(3, "y");
    await host.advance(0);
    expect(runs.running).toBe(2);
    registry.updateServiceLimits("crm", { rateLimit: { x: null } });
    await host.advance(0);
    expect(runs.running).toBe(4);
    expect(registry.limits("crm").rateLimit).toEqual({ x: [], y: perSecond(1) });
  });

  it("adds operations, and those that were there go on counting", async () => {
    const { registry } = bench({ crm: { rateLimit: { x: perSecond(1) }, onLimit: "reject" } });
    const call = async (operation: string) =>
      (await ended(registry.withRateLimit("crm", operation, () => "went"))).value;
    expect(await call("x")).toBe("went");
    expect(await call("y")).toBeUndefined();
    registry.updateServiceLimits("crm", { rateLimit: { a: perSecond(5), y: perSecond(1) } });
    expect(await call("x")).toBeUndefined();
    expect([await call("y"), await call("y")]).toEqual(["went", undefined]);
  });

  it("that gives an operation windows of its own ends its counting under default", async () => {
    const { registry } = bench({
      crm: { rateLimit: { default: perSecond(1) }, concurrencyPerOperation: { x: 5 }, onLimit: "reject" },
    });
    const call = async (operation: string) =>
      (await ended(registry.withRateLimit("crm", operation, () => "went"))).value;
    expect([await call("x"), await call("y")]).toEqual(["went", undefined]);
    registry.updateServiceLimits("crm", { rateLimit: { x: perSecond(2) } });
    expect([await call("x"), await call("x"), await call("x")]).toEqual(["went", "went", undefined]);
  });

  it("of onLimit holds for those who wait, too; who runs goes on", async () => {
    const { registry, host, runs } = withRuns({ concurrency: 1 });
    runs.call(2, "x");
    await host.advance(0);
    registry.updateServiceLimits("crm", { onLimit: "reject" });
    await host.advance(0);
    expect(runs.codes).toEqual(["RATE_LIMIT_CONCURRENCY_EXCEEDED"]);
    runs.finish();
    await host.advance(0);
    expect(runs.codes).toEqual(["RATE_LIMIT_CONCURRENCY_EXCEEDED", undefined]);
  });

  it("of the retry holds from the next decision on", async () => {
    const { registry, host } = bench({ crm: { retry: { maxRetries: 1 } } });
    const fn = script(refusal());
    await host.drive(rejection(registry.withRateLimit("crm", "x", fn)));
    registry.updateServiceLimits("crm", { retry: { initialDelayMs: 5 }, attemptTimeoutMs: 40 });
    await host.drive(rejection(registry.withRateLimit("crm", "x", fn)));
    expect(fn.times).toBe(4);
    const error = await host.drive(
      rejection(registry.withRateLimit("crm", "x", () => new Promise(() => {}))),
    );
    expect(error).toMatchObject({ name: "TimeoutError" });
  });

  it("of a field that is undefined leaves that as it was", async () => {
    const { registry } = bench({ crm: { concurrency: 2, retry: { maxRetries: 1 } } });
    const before = registry.limits("crm");
    const nothing = { concurrency: undefined, rateLimit: undefined, retry: { maxRetries: undefined } };
    registry.updateServiceLimits("crm", nothing as never);
    expect(registry.limits("crm")).toEqual(before);
  });

  it("before the first use holds as well, also for the place of an operation", async () => {
    const { registry } = bench({ crm: { rateLimit: { x: perSecond(5) }, onLimit: "reject" } });
    await registry.withRateLimit("crm", "x", () => 1);
    registry.updateServiceLimits("crm", { rateLimit: { x: { ...perSecond(1), per: "user" } } });
    const overrides = { limitKey: { user: "u" } };
    expect(await registry.withRateLimit("crm", "x", () => 1, overrides)).toBe(1);
    expect((await ended(registry.withRateLimit("crm", "x", () => 1, overrides))).error).toBeDefined();
  });

  it.each<[string, unknown]>([
    ["crm.concurrency", { concurrency: 0 }],
    ["crm.concurrency", { rateLimit: { x: perSecond(9) }, concurrency: "3" }],
    ["crm.rateLimit.y.maxRequests", { concurrency: 9, rateLimit: { x: perSecond(9), y: { windowMs: 5 } } }],
    ["crm.retry.maxRetries", { concurrency: 9, retry: { maxRetries: -1 } }],
    ["crm.retry.maxDelayMs", { concurrency: 9, retry: { maxDelayMs: 1 } }],
    ["crm.concurency", { maxQueue: 9, concurency: 5 }],
    ["crm", null],
    ["crm", 5],
  ])("that is refused for %s changes nothing: %o", async (field, limits) => {
    const { registry, host, runs } = withRuns({ concurrency: 1, rateLimit: { x: perSecond(1) } });
    runs.call(3, "x");
    await host.advance(0);
    const before = registry.limits("crm");
    expect(thrownBy(() => registry.updateServiceLimits("crm", limits as never)).field).toBe(field);
    expect(registry.limits("crm")).toBe(before);
    runs.finish();
    await host.advance(0);
    expect(runs.starts).toHaveLength(1);
  });

  it("of a service that is not there is an error, also where there is a default", () => {
    const { registry } = bench({ default: {}, crm: {} });
    expect(thrownBy(() => registry.updateServiceLimits("crn", {}))).toMatchObject({
      field: "service",
      value: "crn",
    });
  });
});

describe("a registry", () => {
  it.each<[string, unknown]>([
    ["services", null],
    ["services", undefined],
    ["services", []],
    ["services", "crm"],
    ["crm", { crm: null }],
    ["crm.rateLimit.x.maxRequests", { crm: { rateLimit: { x: { maxRequests: 0, windowMs: 1 } } } }],
  ])("is not made when %s is wrong: %o", (field, services) => {
    expect(thrownBy(() => new RateLimiterRegistry(services as never)).field).toBe(field);
  });

  it.each<[string, unknown]>([
    ["options", null],
    ["options.hosts", { hosts: {} }],
    ["options.host", { host: 5 }],
    ["options.host", { host: { sleep: "never" } }],
    ["options.enabled", { enabled: "false" }],
    ["options.config", { config: 5 }],
    ["options.config.maxRetries", { config: { maxRetries: -1 } }],
  ])("is not made with wrong options: %s", (field, options) => {
    expect(thrownBy(() => new RateLimiterRegistry({}, options as never)).field).toBe(field);
  });

  it("gives its config to every service, and what a service says goes first", async () => {
    const { registry, host } = bench(
      { crm: {}, erp: { retry: { maxRetries: 0 } } },
      { config: { maxRetries: 1 } },
    );
    for (const [service, times] of [
      ["crm", 2],
      ["erp", 1],
    ] as const) {
      const fn = script(refusal());
      await host.drive(rejection(registry.withRateLimit(service, "x", fn)));
      expect(fn.times).toBe(times);
    }
  });

  it("passes everything through when it is not enabled, and still tells mistakes", async () => {
    const { host, registry, runs } = withRuns(
      { concurrency: 1, rateLimit: { x: perSecond(1) }, minIntervalMs: 60 * SECOND, onLimit: "reject" },
      { enabled: false },
    );
    runs.call(20, "x");
    await host.advance(0);
    expect(runs.running).toBe(20);
    expect(registry.status().crm).toMatchObject({ inFlight: 0, queued: 0 });
    expect(await rejection(registry.withRateLimit("crn", "x", () => 1))).toBeInstanceOf(RateLimitConfigError);
  });

  it("ends every wait when it is disposed of, and later calls pass through", async () => {
    const { registry, host, runs } = withRuns({ concurrency: 1 });
    runs.call(3, "x");
    await host.advance(0);
    registry.dispose();
    await host.advance(0);
    expect(runs.ends.map(({ error }) => (error as Error).name)).toEqual(["AbortError", "AbortError"]);
    runs.call(3, "x");
    await host.advance(0);
    expect(runs.running).toBe(4);
    expect(host.sleeping).toBe(0);
    expect(() => registry.dispose()).not.toThrow();
  });

  it("that is disposed of before a service is used lets its calls pass, too", async () => {
    const { registry, host, runs } = withRuns({ concurrency: 1 });
    registry.dispose();
    runs.call(2, "x");
    await host.advance(0);
    expect(runs.running).toBe(2);
  });

  it("has a service for each name, with a circuit of its own", async () => {
    const { registry } = bench({ crm: { concurrency: 1 }, erp: {} });
    registry.service("crm").isolateCircuit();
    const call = (service: string) => ended(registry.withRateLimit(service, "x", () => "went"));
    expect((await call("crm")).error).toMatchObject({ code: "RATE_LIMIT_CIRCUIT_OPEN" });
    expect((await call("erp")).value).toBe("went");
    expect(thrownBy(() => registry.service("crn")).field).toBe("service");
    expect(thrownBy(() => registry.limits("crn")).field).toBe("service");
  });
});

describe("whatever is called, ended, updated and waited for", () => {
  interface Started {
    at: number;
    operation: string;
    key: string;
    weight: number;
    end: () => void;
  }

  const windows = fc.uniqueArray(
    fc.record({ maxRequests: fc.integer({ min: 2, max: 8 }), windowMs: fc.integer({ min: 1, max: 3_000 }) }),
    { maxLength: 2, selector: ({ windowMs }) => windowMs },
  );
  const cap = fc.option(fc.integer({ min: 1, max: 5 }));
  const limits = fc.record({
    ...{ concurrency: cap, concurrencyPerKey: cap, minIntervalMs: fc.constantFrom(0, 0, 40) },
    rateLimit: fc.record({ a: windows, b: windows }),
  });
  const operation = fc.constantFrom("a", "b");
  const step = fc.oneof(
    {
      weight: 6,
      arbitrary: fc.record({
        operation,
        key: fc.constantFrom("", "k", "l"),
        weight: fc.constantFrom(1, 1, 2),
      }),
    },
    { weight: 4, arbitrary: fc.record({ advance: fc.constantFrom(0, 1, 30, 200, 1_500) }) },
    { weight: 4, arbitrary: fc.record({ finish: fc.integer({ min: 0, max: 9 }) }) },
    { weight: 1, arbitrary: fc.record({ update: limits }) },
  ); // prettier-ignore

  it("no start breaks a limit of its time, the status is right, and everybody goes in the end", async () => {
    await fc.assert(
      fc.asyncProperty(limits, fc.array(step, { maxLength: 60 }), async (first, steps) => {
        const { registry, host, now } = bench({ crm: { ...first, leaseMs: null } });
        const all: Started[] = [];
        const running = new Set<Started>();
        let present = first;
        let called = 0;
        let settled = 0;
        const failures: unknown[] = [];

        const check = (started: Started): void => {
          const same = [...running].filter((other) => other.operation === started.operation);
          const keyed = same.filter((other) => other.key === started.key);
          expect(running.size).toBeLessThanOrEqual(present.concurrency ?? Number.POSITIVE_INFINITY);
          expect(keyed.length).toBeLessThanOrEqual(present.concurrencyPerKey ?? Number.POSITIVE_INFINITY);
          const before = all.filter(({ key }) => key === started.key);
          for (const { maxRequests, windowMs } of present.rateLimit[started.operation as "a" | "b"]) {
            const counted = before.filter(
              (other) => other.operation === started.operation && other.at > now() - windowMs,
            );
            expect(counted.reduce((used, { weight }) => used + weight, 0)).toBeLessThanOrEqual(maxRequests);
          }
          const previous = before.at(-2);
          if (previous) expect(started.at - previous.at).toBeGreaterThanOrEqual(present.minIntervalMs);
        };
        const call = ({ operation, key, weight }: Pick<Started, "operation" | "key" | "weight">): void => {
          called++;
          const made = registry.withRateLimit(
            "crm",
            operation,
            () => {
              const { promise, resolve } = deferred<void>();
              const started = { at: now(), operation, key, weight, end: () => resolve() };
              all.push(started);
              running.add(started);
              check(started);
              return promise.finally(() => running.delete(started));
            },
            { weight, ...(key && { limitKey: key }) },
          );
          void made.then(
            () => settled++,
            (error: unknown) => failures.push(error),
          );
        };

        for (const what of steps) {
          if ("advance" in what) await host.advance(what.advance);
          else if ("finish" in what) [...running][what.finish]?.end();
          else if ("update" in what) {
            // A limit does not know what came before it. What is counted stays, which others test.
            present = what.update;
            all.length = 0;
            registry.updateServiceLimits("crm", present);
          } else call(what);
          await host.advance(0);
          expect(failures).toEqual([]);
          const status = registry.status().crm;
          expect(status?.inFlight).toBe(running.size);
          expect((status?.queued ?? 0) + running.size + settled).toBe(called);
        }
        for (let turn = 0; turn < 200 && settled < called; turn++) {
          for (const { end } of running) end();
          await host.advance(SECOND);
        }
        expect(failures).toEqual([]);
        expect(settled).toBe(called);
      }),
      { numRuns: 150 },
    );
  });
});

describe("without the core", () => {
  afterEach(() => {
    vi.unstubAllGlobals();
  });

  async function registryWithoutCore(limits: ServiceLimits, enabled = true) {
    vi.stubGlobal("WebAssembly", undefined);
    await freshPackage();
    const { RateLimiterRegistry: Registry } = await import("../../js/registry.ts");
    return new Registry({ crm: limits }, { enabled, config: { logLevel: "silent" } });
  }

  it("limits cannot be checked, and calls are refused", async () => {
    const registry = await registryWithoutCore({ concurrency: 1 });
    const fn = script("never");
    expect(await rejection(registry.withRateLimit("crm", "x", fn))).toMatchObject({
      code: "RATE_LIMIT_CORE_UNAVAILABLE",
    });
    expect(fn.times).toBe(0);
    expect(registry.status().crm).toMatchObject({
      ...{ inFlight: 0, queued: 0 },
      operations: { default: { nextPermitAt: null } },
    });
  });

  it("an operation without limits needs nobody to count, and its calls pass", async () => {
    const registry = await registryWithoutCore({ rateLimit: { auth: perSecond(1), default: [] } });
    expect(await registry.withRateLimit("crm", "select", () => "went")).toBe("went");
    for (const [operation, overrides] of [
      ["auth", {}],
      ["select", { concurrency: 1 }],
    ] as const) {
      const call = registry.withRateLimit("crm", operation, () => "never", overrides);
      expect(await rejection(call)).toMatchObject({ code: "RATE_LIMIT_CORE_UNAVAILABLE" });
    }
  });

  it.each<ServiceLimits>([
    { concurrency: 1 },
    { concurrencyPerKey: 1 },
    { concurrencyPerOperation: { x: 1 } },
    { minIntervalMs: 1 },
    { rateLimit: { x: perSecond(1) } },
  ])("%o is a limit", async (limits) => {
    const registry = await registryWithoutCore(limits);
    expect(await rejection(registry.withRateLimit("crm", "x", () => "never"))).toMatchObject({
      code: "RATE_LIMIT_CORE_UNAVAILABLE",
    });
  });

  it("what an update says about that holds at once", async () => {
    const registry = await registryWithoutCore({ concurrency: 1 });
    const call = () => registry.withRateLimit("crm", "x", () => "went");
    await rejection(call());
    registry.updateServiceLimits("crm", { onCoreUnavailable: "pass" });
    expect(await call()).toBe("went");
    registry.updateServiceLimits("crm", { concurrency: 2 });
    expect(await call()).toBe("went");
    registry.updateServiceLimits("crm", { onCoreUnavailable: "reject" });
    expect(await rejection(call())).toMatchObject({ code: "RATE_LIMIT_CORE_UNAVAILABLE" });
  });

  it("a state that is restored is kept for better days, until it is reset", async () => {
    const registry = await registryWithoutCore({ rateLimit: { x: perSecond(1) } });
    expect(registry.snapshot()).toEqual({ version: 1, services: {} });
    const state: RegistryState = {
      version: 1,
      services: { crm: [{ operation: "x", quotas: [{ taken: [[SECOND, 5, 1]] }] }] },
    };
    registry.restore(state);
    expect(registry.snapshot()).toEqual(state);
    registry.reset();
    expect(registry.snapshot()).toEqual({ version: 1, services: {} });
  });

  it("calls pass where that is what the service wants, or where nothing is enabled", async () => {
    const passing = await registryWithoutCore({ concurrency: 1, onCoreUnavailable: "pass" });
    expect(await passing.withRateLimit("crm", "x", () => "went")).toBe("went");
    const disabled = await registryWithoutCore({ concurrency: 1 }, false);
    expect(await disabled.withRateLimit("crm", "x", () => "went")).toBe("went");
  });
});

describe("the shared registry", () => {
  const KEY = Symbol.for("tidegate/1");
  const holder = globalThis as { [KEY]?: { service?: unknown; registry?: unknown } };
  const SERVICES = ["supabase", "twilio", "quickbase", "database", "powerDialer", "telephony", "webScraper"];

  beforeEach(() => {
    delete holder[KEY];
  });
  afterEach(() => {
    delete holder[KEY];
  });

  /** A copy of the package, as a page finds it. */
  async function copy() {
    const { coreState } = await freshPackage();
    const shared = await import("../../js/shared.ts");
    const { RateLimiterRegistry: Registry } = await import("../../js/registry.ts");
    return {
      ...{ coreState, Registry, withRateLimit: shared.withRateLimit },
      rateLimiter: shared.makeSharedRegistry(),
      serviceLimiters: shared.makeServiceLimiters(),
    };
  }

  it("is not made by importing it, and no core by looking at it", async () => {
    const { rateLimiter, serviceLimiters, coreState, Registry } = await copy();
    expect(holder[KEY]).toBeUndefined();
    expect(rateLimiter).toBeInstanceOf(Registry);
    expect(holder[KEY]).toBeUndefined();
    expect(Object.keys(rateLimiter.status())).toEqual(SERVICES);
    expect(Object.keys(serviceLimiters)).toEqual(SERVICES);
    serviceLimiters.twilio.status();
    expect(coreState()).toBe("idle");
    expect(holder[KEY]?.registry).toBeInstanceOf(Registry);
    expect(holder[KEY]?.service).toBeUndefined();
  });

  it("is one for two copies of the package", async () => {
    const first = await copy();
    const second = await copy();
    first.rateLimiter.updateServiceLimits("twilio", { concurrency: 3 });
    expect(second.rateLimiter.limits("twilio").concurrency).toBe(3);
    expect(second.serviceLimiters.twilio.limits.concurrency).toBe(3);
    expect(await second.withRateLimit("twilio", "voice", () => "said")).toBe("said");
    expect(first.serviceLimiters.twilio.status().operations.voice?.windows[0]?.used).toBe(1);
  });

  it("works without a receiver, as destructured", async () => {
    const { rateLimiter } = await copy();
    const { withRateLimit, services } = rateLimiter;
    expect(await withRateLimit("database", "select", () => 1)).toBe(1);
    expect(services()).toEqual(SERVICES);
    expect(rateLimiter.withRateLimit).toBe(withRateLimit);
  });

  it("refuses what it does not know", async () => {
    const { withRateLimit } = await copy();
    expect(await rejection(withRateLimit("twillio", "voice", () => 1))).toMatchObject({ field: "service" });
    expect(await rejection(withRateLimit("quickbase", "uploads", () => 1))).toMatchObject({
      field: "operation",
    });
  });

  describe("its view", () => {
    it("has its services, and nothing else", async () => {
      const { serviceLimiters } = await copy();
      expect("twilio" in serviceLimiters).toBe(true);
      expect("fax" in serviceLimiters).toBe(false);
      for (const name of ["fax", "then", "toString", "constructor", "__proto__"]) {
        expect(serviceLimiters[name]).toBeUndefined();
      }
      expect(Reflect.get(serviceLimiters, Symbol.iterator)).toBeUndefined();
      expect(Object.entries(serviceLimiters).map(([name]) => name)).toEqual(SERVICES);
      expect({ ...serviceLimiters }.twilio).toBe(serviceLimiters.twilio);
      expect(Object.getPrototypeOf(serviceLimiters)).toBeNull();
    });

    it("calls, and tells limits and status as they are now", async () => {
      const { serviceLimiters, rateLimiter } = await copy();
      const { twilio } = serviceLimiters;
      expect(await twilio.withRateLimit("sms", () => "sent", { limitKey: "a" })).toBe("sent");
      expect(twilio.status().operations.sms?.keys).toMatchObject([
        { key: "a", windows: [{ used: 1, left: 0 }] },
      ]);
      rateLimiter.updateServiceLimits("twilio", { concurrency: 4 });
      expect(twilio.limits.concurrency).toBe(4);
      expect(twilio.limits).toBe(rateLimiter.limits("twilio"));
    });

    it("cannot be changed", async () => {
      const { serviceLimiters } = await copy();
      const view = serviceLimiters as Record<string, unknown>;
      const attempts: (() => unknown)[] = [
        () => (view.twilio = 5),
        () => (view.fax = 5),
        () => delete view.twilio,
        () => Object.defineProperty(view, "twilio", { value: 5 }),
        () => Object.setPrototypeOf(view, {}),
        () => Object.freeze(view),
        () => ((view.twilio as Record<string, unknown>).limits = 5),
        () => ((serviceLimiters.twilio.limits as { concurrency: number }).concurrency = 1),
      ]; // prettier-ignore
      for (const attempt of attempts) expect(attempt).toThrow(TypeError);
      expect(serviceLimiters.twilio.limits.concurrency).toBe(10);
      expect(Object.keys(serviceLimiters)).toEqual(SERVICES);
    });
  });
});
