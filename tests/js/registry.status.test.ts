import { afterEach, describe, expect, it, vi } from "vitest";
import { CLOSED } from "../../js/circuit.ts";
import { RateLimitConfigError } from "../../js/errors.ts";
import { RateLimiterRegistry, type RegistryState } from "../../js/registry.ts";
import { ManualHost } from "../../js/testing.ts";
import type { LimitOverrides, ServiceLimits } from "../../js/types.ts";
import { sabotageCore } from "./support/broken-core.ts";
import { deferred, ended, freshPackage, Log, refusal, rejection } from "./support/service.ts";

const SECOND = 1_000;
const MINUTE = 60_000;
const HOUR = 3_600_000;
const DAY = 86_400_000;

const perSecond = (maxRequests: number) => ({ maxRequests, windowMs: SECOND });

interface Bench {
  registry: RateLimiterRegistry;
  host: ManualHost;
  /** Calls `crm`; the call runs until the function that is returned is called. */
  start(operation: string, overrides?: LimitOverrides): () => void;
  /** A call of `crm` that is over at once. */
  done(operation: string, overrides?: LimitOverrides): Promise<unknown>;
}

function bench(crm: ServiceLimits, host = new ManualHost(), Registry = RateLimiterRegistry): Bench {
  const registry = new Registry(
    { crm, erp: { concurrency: 5 } },
    { host, config: { logger: new Log(), jitter: "none" } },
  );
  return {
    registry,
    host,
    start(operation, overrides) {
      const { promise, resolve } = deferred();
      void ended(registry.withRateLimit("crm", operation, () => promise, overrides));
      return () => resolve(1);
    },
    done: (operation, overrides) => ended(registry.withRateLimit("crm", operation, () => 1, overrides)),
  };
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

describe("status", () => {
  it("of services that were never used is all zeros", () => {
    const { registry, host } = bench({ rateLimit: { x: perSecond(3), default: [] } });
    const unused = { inFlight: 0, queued: 0, nextPermitAt: host.now(), keys: [] };
    expect(registry.status()).toEqual({
      crm: {
        ...{ inFlight: 0, queued: 0, circuit: CLOSED },
        operations: {
          x: { ...unused, windows: [{ ...perSecond(3), used: 0, left: 3 }] },
          default: { ...unused, windows: [] },
        },
      },
      erp: { inFlight: 0, queued: 0, circuit: CLOSED, operations: { default: { ...unused, windows: [] } } },
    });
  });

  it("makes no core and no service", async () => {
    const { coreState } = await freshPackage();
    const { RateLimiterRegistry: Registry } = await import("../../js/registry.ts");
    const { registry } = bench({ concurrency: 1 }, undefined, Registry);
    registry.on("warned", () => {});
    registry.status();
    registry.snapshot();
    registry.reset();
    registry.updateServiceLimits("crm", { concurrency: 2 });
    registry.dispose();
    expect(coreState()).toBe("idle");
  });

  it("tells who runs and who waits, of the service and of each operation", async () => {
    const { registry, host, start } = bench({ concurrency: 4, rateLimit: { a: [], b: perSecond(1) } });
    const ends = ["a", "a", "b", "b", "b", "a", "a"].map((operation) => start(operation));
    await host.advance(0);
    expect(registry.status().crm).toMatchObject({
      ...{ inFlight: 4, queued: 3 },
      operations: { a: { inFlight: 3, queued: 1 }, b: { inFlight: 1, queued: 2 } },
    });
    ends[0]?.();
    await host.advance(0);
    expect(registry.status().crm).toMatchObject({ inFlight: 4, queued: 2 });
    for (const end of ends) end();
    await host.advance(10 * SECOND);
    expect(registry.status().crm).toMatchObject({ inFlight: 0, queued: 0 });
  });

  it("tells what of each window is used, and when the next may start", async () => {
    const { registry, host, done } = bench({
      rateLimit: { x: [perSecond(2), { maxRequests: 9, windowMs: MINUTE }] },
    });
    const of = () => registry.status().crm?.operations.x;
    const began = host.now();
    await done("x");
    await host.advance(400);
    await done("x");
    expect(of()).toMatchObject({
      windows: [
        { ...perSecond(2), used: 2, left: 0 },
        { maxRequests: 9, windowMs: MINUTE, used: 2, left: 7 },
      ],
      nextPermitAt: began + SECOND,
    });
    await host.advance(700);
    expect(of()).toMatchObject({ windows: [{ used: 1, left: 1 }, { used: 2 }], nextPermitAt: host.now() });
    await host.advance(HOUR);
    expect(of()).toMatchObject({ windows: [{ used: 0 }, { used: 0, left: 9 }], nextPermitAt: host.now() });
  });

  it("tells of the minimum interval also where nobody has called yet", async () => {
    const { registry, host, done } = bench({ minIntervalMs: 2 * SECOND, rateLimit: { x: [], y: [] } });
    await done("x");
    expect(registry.status().crm?.operations.y?.nextPermitAt).toBe(host.now() + 2 * SECOND);
  });

  it("tells who runs also where there is no room for another key", async () => {
    const { registry, start } = bench({ maxKeys: 1 });
    start("x", { limitKey: "k" });
    expect(registry.status().crm?.operations.default).toMatchObject({ inFlight: 1, keys: [{ inFlight: 1 }] });
  });

  it("does not know when a slot comes free", async () => {
    const { registry, host, start } = bench({ concurrency: 1, leaseMs: null });
    start("x");
    start("x");
    await host.advance(0);
    expect(registry.status().crm?.operations.default?.nextPermitAt).toBeNull();
  });

  it("shows less than nothing left never, where a limit was lowered", async () => {
    const { registry, done } = bench({ rateLimit: { x: perSecond(3) } });
    for (let n = 0; n < 3; n++) await done("x");
    registry.updateServiceLimits("crm", { rateLimit: { x: perSecond(1) } });
    expect(registry.status().crm?.operations.x?.windows).toEqual([{ ...perSecond(1), used: 3, left: 0 }]);
  });

  it("shows the circuit", async () => {
    const { registry, host } = bench({ retry: { circuitBreakerThreshold: 1 } });
    const refused = registry.withRateLimit("crm", "x", () => Promise.reject(refusal()));
    await host.drive(rejection(refused));
    expect(registry.status().crm?.circuit).toMatchObject({
      isOpen: true,
      state: "open",
      consecutiveFailures: 1,
    });
    expect(registry.status().erp?.circuit).toEqual(CLOSED);
  });

  it("shows each key, with the windows that are counted for it", async () => {
    const { registry, host, start, done } = bench({
      rateLimit: {
        call: [
          { maxRequests: 3, windowMs: HOUR, per: "agent" },
          { maxRequests: 5, windowMs: DAY, per: "session" },
        ],
      },
    });
    const one = { agent: "a", session: "1" };
    const two = { agent: "a", session: "2" };
    await done("call", { limitKey: one });
    start("call", { limitKey: two });
    await host.advance(0);
    const { call } = registry.status().crm?.operations ?? {};
    expect(call).toMatchObject({ inFlight: 1, queued: 0, windows: [{ used: 0 }, { used: 0 }] });
    const windowsOf = (session: number) => [
      { maxRequests: 3, windowMs: HOUR, per: "agent", used: 2, left: 1 },
      { maxRequests: 5, windowMs: DAY, per: "session", used: session, left: 5 - session },
    ];
    expect(call?.keys).toEqual([
      { key: two, inFlight: 1, queued: 0, windows: windowsOf(1), nextPermitAt: host.now() },
      { key: one, inFlight: 0, queued: 0, windows: windowsOf(1), nextPermitAt: host.now() },
    ]);
  });

  it("names the windows' keys rightly after updates that bring other ones", async () => {
    const window = (windowMs: number, per: string) => ({ maxRequests: 9, windowMs, per });
    const { registry, done } = bench({ rateLimit: { x: [window(SECOND, "a")] } });
    const limitKey = { a: "1", b: "2", c: "3" };
    await done("x", { limitKey });
    registry.updateServiceLimits("crm", { rateLimit: { x: [window(SECOND, "a"), window(MINUTE, "c")] } });
    await done("x", { limitKey });
    const last = [window(SECOND, "a"), window(HOUR, "b"), window(MINUTE, "c")];
    registry.updateServiceLimits("crm", { rateLimit: { x: last } });
    await done("x", { limitKey: { ...limitKey, a: "other" } });
    await done("x", { limitKey });
    const { keys = [] } = registry.status().crm?.operations.x ?? {};
    const used = keys.map(({ windows }) => windows.map(({ per, windowMs, used }) => [per, windowMs, used]));
    for (const windows of used) {
      expect(windows.map(([per, windowMs]) => `${per} ${windowMs}`).sort()).toEqual([
        "a 1000",
        "b 3600000",
        "c 60000",
      ]);
    }
    const first = Object.fromEntries((used[0] ?? []).map(([per, , count]) => [per, count]));
    expect(first).toEqual({ a: 3, b: 2, c: 3 });
  });

  it("shows the hundred busiest keys: by who waits, then who runs, then what is used", async () => {
    const { registry, host, start, done } = bench({
      concurrencyPerKey: 1,
      rateLimit: { x: { maxRequests: 50, windowMs: HOUR } },
    });
    for (let n = 0; n < 200; n++) await done("x", { limitKey: `idle ${n}` });
    await done("x", { limitKey: "used" });
    await done("x", { limitKey: "used" });
    start("x", { limitKey: "running" });
    start("x", { limitKey: "waiting" });
    start("x", { limitKey: "waiting" });
    await host.advance(0);
    const { keys, queued } = registry.status().crm?.operations.x ?? { keys: [] };
    expect(queued).toBe(1);
    expect(keys).toHaveLength(100);
    expect(keys.slice(0, 3).map(({ key }) => key)).toEqual(["waiting", "running", "used"]);
    expect(keys[0]).toMatchObject({ inFlight: 1, queued: 1 });
  });
});

describe("events", () => {
  it("tell when a window is nearly used up, and of which service", async () => {
    const { registry, done } = bench({ rateLimit: { x: perSecond(5) } });
    const told: unknown[] = [];
    registry.on("warned", (event) => told.push(event));
    for (let n = 0; n < 3; n++) await done("x", { limitKey: "a" });
    expect(told).toEqual([]);
    for (let n = 0; n < 2; n++) await done("x", { limitKey: "a" });
    expect(told).toEqual([
      {
        service: "crm",
        resourceName: "crm",
        operation: "x",
        key: "a",
        used: 4,
        maxRequests: 5,
        windowMs: SECOND,
      },
    ]);
  });

  it("are told of services that are made later, and until nobody listens any more", async () => {
    const { registry } = bench({ concurrency: 1 });
    const told: string[] = [];
    await registry.withRateLimit("crm", "x", () => 1);
    const off = registry.on("attempt", ({ service, verdict }) => told.push(`${service}: ${verdict}`));
    await registry.withRateLimit("crm", "x", () => 1);
    await registry.withRateLimit("erp", "x", () => 1);
    expect(told).toEqual(["crm: success", "erp: success"]);
    off();
    await registry.withRateLimit("erp", "x", () => 1);
    expect(told).toHaveLength(2);
    const later = bench({ concurrency: 1 });
    later.registry.on("attempt", () => told.push("later"))();
    await later.done("x");
    expect(told).toHaveLength(2);
  });
});

describe("a snapshot", () => {
  const dialer: ServiceLimits = {
    rateLimit: {
      call: [
        { maxRequests: 3, windowMs: HOUR, per: "agent" },
        { maxRequests: 5, windowMs: DAY, per: "session" },
      ],
      default: perSecond(2),
    },
    onLimit: "reject",
  };
  const key = (agent: string, session: string): LimitOverrides => ({ limitKey: { agent, session } });

  /** The page is loaded anew: another registry, by the same clock. */
  function reloaded(state: RegistryState, crm: ServiceLimits, host: ManualHost): Bench {
    const next = bench(crm, host);
    next.registry.restore(JSON.parse(JSON.stringify(state)));
    return next;
  }

  const windowsOf = ({ registry }: Bench, operation: string) =>
    (registry.status().crm?.operations[operation]?.keys ?? []).map(({ key: name, windows }) => [
      name,
      ...windows.map(({ used }) => used),
    ]);

  it("of nothing is empty", async () => {
    const { registry, host, done } = bench(dialer);
    expect(registry.snapshot()).toEqual({ version: 1, services: {} });
    await done("x");
    expect(registry.snapshot().services).toEqual({
      crm: [{ operation: "default", quotas: [{ taken: [[SECOND, host.now(), 1]] }] }],
    });
    await host.advance(SECOND);
    expect(registry.snapshot()).toEqual({ version: 1, services: {} });
  });

  it("keeps what hours and days have counted through a reload, and nothing twice", async () => {
    const before = bench(dialer);
    await before.done("call", key("a", "1"));
    await before.done("call", key("a", "2"));
    await before.host.advance(10 * MINUTE);
    await before.done("call", key("b", "1"));
    const after = reloaded(before.registry.snapshot(), dialer, before.host);
    expect(windowsOf(after, "call").sort()).toEqual(windowsOf(before, "call").sort());
    expect(await after.done("call", key("a", "3"))).toEqual({ value: 1 });
    expect(await after.done("call", key("a", "4"))).toMatchObject({
      error: { code: "RATE_LIMIT_QUOTA_EXHAUSTED" },
    });
    // The first two are an hour old by then, and the session still counts them.
    await after.host.advance(51 * MINUTE);
    expect(await after.done("call", key("a", "1"))).toEqual({ value: 1 });
    const day = after.registry.status().crm?.operations.call?.keys.find(({ key: name }) => {
      return typeof name === "object" && name.agent === "a" && name.session === "1";
    });
    expect(day?.windows[1]?.used).toBe(3);
  });

  it("may be taken and restored again and again, and says the same", async () => {
    const before = bench(dialer);
    await before.done("call", key("a", "1"));
    await before.done("x");
    let state = before.registry.snapshot();
    for (let n = 0; n < 5; n++) state = reloaded(state, dialer, before.host).registry.snapshot();
    expect(state).toEqual(before.registry.snapshot());
  });

  it("drops what is too old, and counts a time to come as now", async () => {
    const { registry, host, done } = bench({ rateLimit: { x: { maxRequests: 5, windowMs: HOUR } } });
    const now = host.now();
    const taken: [number, number, number][] = [
      [HOUR, now - HOUR, 1],
      [HOUR, now - HOUR + 1, 1],
      [HOUR, now + DAY, 1],
    ];
    registry.restore({ version: 1, services: { crm: [{ operation: "x", quotas: [{ taken }] }] } });
    expect(registry.status().crm?.operations.x?.windows[0]?.used).toBe(2);
    await host.advance(HOUR);
    expect(registry.status().crm?.operations.x?.windows[0]?.used).toBe(0);
    await done("x");
  });

  it("leaves out what is no longer there", async () => {
    const before = bench({ ...dialer, minIntervalMs: 10 * SECOND });
    await before.done("call", key("a", "1"));
    await before.host.advance(10 * SECOND);
    await before.done("x");
    const other: ServiceLimits = {
      rateLimit: { call: [perSecond(9), { maxRequests: 9, windowMs: DAY, per: "session" }] },
    };
    const after = reloaded(before.registry.snapshot(), other, before.host);
    expect(windowsOf(after, "call")).toEqual([[{ agent: "a", session: "1" }, 0, 1]]);
    const none = new RateLimiterRegistry({ erp: {} }, { host: before.host });
    none.restore(before.registry.snapshot());
    expect(none.snapshot()).toEqual({ version: 1, services: {} });
  });

  it("keeps the minimum interval, but not for longer than it could last", async () => {
    const limits = {
      minIntervalMs: 10 * SECOND,
      rateLimit: { x: { maxRequests: 9, windowMs: HOUR }, y: [] },
    };
    const before = bench(limits);
    await before.done("x");
    await before.host.advance(4 * SECOND);
    const state = before.registry.snapshot();
    const nextOf = ({ registry, host }: Bench) =>
      (registry.status().crm?.operations.y?.nextPermitAt ?? 0) - host.now();
    const after = reloaded(state, limits, before.host);
    expect(nextOf(after)).toBe(6 * SECOND);
    expect(after.registry.status().crm?.operations.x?.windows[0]?.used).toBe(1);
    expect(nextOf(reloaded(state, limits, new ManualHost({ now: before.host.now() - DAY })))).toBe(
      10 * SECOND,
    );
  });

  it("is added to what was counted meanwhile", async () => {
    const before = bench(dialer);
    await before.done("call", key("a", "1"));
    const after = bench(dialer, before.host);
    await after.done("call", key("a", "1"));
    after.registry.restore(before.registry.snapshot());
    expect(windowsOf(after, "call")).toEqual([[{ agent: "a", session: "1" }, 2, 2]]);
  });

  it.each<[string, unknown]>([
    ["state", null],
    ["state", "{}"],
    ["state.version", {}],
    ["state.version", { version: 2, services: {} }],
    ["state.services", { version: 1 }],
    ["state.services.crm", { version: 1, services: { crm: {} } }],
    ["state.services.crm[0].operation", { version: 1, services: { crm: [{ quotas: [] }] } }],
    ["state.services.crm[0].quotas", { version: 1, services: { crm: [{ operation: "x" }] } }],
    [
      "state.services.crm[0].limitKey",
      { version: 1, services: { crm: [{ operation: "x", limitKey: 5, quotas: [] }] } },
    ],
    ...[5, {}, [[1, 2]], [[1, 2, 0]], [[1, Number.NaN, 1]], [["1", 2, 1]], [[1, 2, 1.5]]].map(
      (taken): [string, unknown] => [
        `state.services.crm[0].quotas[0].taken${Array.isArray(taken) ? "[0]" : ""}`,
        { version: 1, services: { crm: [{ operation: "x", quotas: [{ taken }] }] } },
      ],
    ),
  ])("that is none is refused for %s, and changes nothing", async (field, state) => {
    const { registry } = bench({ rateLimit: { x: perSecond(5) } });
    expect(thrownBy(() => registry.restore(state as RegistryState)).field).toBe(field);
    expect(registry.snapshot()).toEqual({ version: 1, services: {} });
  });

  it("has its counts back in a core that is started anew", async () => {
    const sabotage = sabotageCore();
    await freshPackage();
    const { RateLimiterRegistry: Registry } = await import("../../js/registry.ts");
    const first = bench(dialer, undefined, Registry);
    await first.done("call", key("a", "1"));
    await first.done("call", key("a", "1"));
    const saved = first.registry.snapshot();
    sabotage.trapIn = new Set(["begin_in"]);
    const lost = first.done("call", key("a", "2"));
    expect(first.registry.snapshot()).toEqual(saved);
    sabotage.trapIn = new Set();
    expect(await lost).toMatchObject({ error: { code: "RATE_LIMIT_CORE_UNAVAILABLE" } });
    await first.host.advance(SECOND);
    expect(sabotage.traps).toBe(1);
    expect(windowsOf(first, "call")).toEqual([[{ agent: "a", session: "1" }, 2, 2]]);
    expect(first.registry.snapshot()).toEqual(saved);
  });

  it("does not bring back the limits under which somebody runs or waits since before an update", async () => {
    const sabotage = sabotageCore();
    await freshPackage();
    const { RateLimiterRegistry: Registry } = await import("../../js/registry.ts");
    for (const old of ["runs", "waits"]) {
      const x = { maxRequests: 100, windowMs: HOUR };
      const { registry, host, start, done } = bench(
        { concurrency: 1, rateLimit: { x, y: x } },
        undefined,
        Registry,
      );
      const end = start(old === "runs" ? "x" : "y");
      if (old === "waits") start("x")();
      const agents = { maxRequests: 1, windowMs: 2 * HOUR, per: "agent" };
      registry.updateServiceLimits("crm", { rateLimit: { x: [x, agents] } });
      sabotage.trapIn = new Set(["lane_status"]);
      registry.status();
      sabotage.trapIn = new Set();
      await host.advance(SECOND);
      registry.service("crm").getCircuitState();
      end();
      await host.advance(SECOND);
      let went = 0;
      for (let n = 0; n < 3; n++) void done("x").then(() => went++);
      await host.advance(SECOND);
      expect([old, went]).toEqual([old, 1]);
      await host.advance(MINUTE);
    }
  });

  afterEach(() => {
    vi.unstubAllGlobals();
  });
});

describe("reset", () => {
  it("forgets what was counted, of one service or of all, and lets go who waits for it", async () => {
    const { registry, host, done, start } = bench({
      concurrency: 3,
      rateLimit: { x: { maxRequests: 1, windowMs: HOUR } },
    });
    await done("x");
    start("x");
    start("x", { limitKey: "a" });
    await host.advance(0);
    expect(registry.status().crm).toMatchObject({ inFlight: 1, queued: 1 });
    registry.reset("erp");
    await host.advance(0);
    expect(registry.status().crm).toMatchObject({ inFlight: 1, queued: 1 });
    registry.reset("crm");
    await host.advance(0);
    expect(registry.status().crm).toMatchObject({ inFlight: 2, queued: 0 });
    registry.reset();
    expect(registry.snapshot()).toEqual({ version: 1, services: {} });
    expect(registry.status().crm).toMatchObject({ inFlight: 2 });
    expect(thrownBy(() => registry.reset("crn")).field).toBe("service");
  });

  it("leaves the circuit as it is", async () => {
    const { registry } = bench({ concurrency: 1 });
    registry.service("crm").isolateCircuit();
    registry.reset();
    expect(registry.status().crm?.circuit.state).toBe("isolated");
  });
});
