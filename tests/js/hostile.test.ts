import vm from "node:vm";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { ManualHost } from "../../js/testing.ts";
import type { AttemptInfo, CallContext } from "../../js/types.ts";
import { bench, ended, freshPackage, refusal, rejection } from "./support/service.ts";

/** Each test has a core of its own, so that one that broke it does not fail the next. */
let tidegate: Awaited<ReturnType<typeof freshPackage>>;
beforeEach(async () => {
  tidegate = await freshPackage();
});
afterEach(() => {
  vi.unstubAllGlobals();
});

/** Makes the hostile value afresh, so that nothing one test did to it is seen by another. */
type Make = () => unknown;

const boom = (): never => {
  throw new Error("boom");
};

const revoked = (target: object = {}): object => {
  const { proxy, revoke } = Proxy.revocable(target, {});
  revoke();
  return proxy;
};

const every = (over: Partial<ProxyHandler<object>>): ProxyHandler<object> => ({
  get: boom,
  has: boom,
  ownKeys: boom,
  getPrototypeOf: boom,
  getOwnPropertyDescriptor: boom,
  ...over,
});

const endlessCause = (): object => new Proxy({}, { get: () => endlessCause(), has: () => true });

const cycle = (): object => {
  const error = Object.assign(new Error("round"), { status: 500 }) as unknown as Record<string, unknown>;
  error.cause = error;
  error.error = { cause: error, response: error };
  error.context = [error];
  return error;
};

const manyKeys = (count: number): Record<string, number> =>
  Object.fromEntries(Array.from({ length: count }, (_, index) => [`key${index}`, index]));

const KEYS = [
  "status",
  "statusCode",
  "name",
  "message",
  "code",
  "error",
  "cause",
  "originalError",
  "response",
  "context",
  "headers",
  "body",
  "data",
  "details",
  "hint",
  "statusText",
  "rateLimitExceeded",
  "retryAfter",
  "retryAfterMs",
] as const;

/** Values that stand where another was expected. */
const ODD: Record<string, Make> = {
  undefined: () => undefined,
  null: () => null,
  NaN: () => Number.NaN,
  Infinity: () => Number.POSITIVE_INFINITY,
  "negative zero": () => -0,
  bigint: () => 429n,
  symbol: () => Symbol("429"),
  "registered symbol": () => Symbol.for("tidegate.RateLimitError"),
  "empty string": () => "",
  "lone surrogate": () => "\ud800 429",
  "string of NULs": () => "\0".repeat(1000),
  function: () => () => boom(),
  class: () => class Hostile {},
  array: () => [429],
  "sparse array": () => new Array(1_000_000),
  "null prototype": () => Object.create(null),
  frozen: () => Object.freeze({ status: 429 }),
  date: () => new Date(Number.NaN),
  "boxed number": () => Object(429),
  "boxed string": () => Object("429"),
  regexp: () => /429/,
  promise: () => Promise.resolve(429),
  map: () => new Map([["status", 429]]),
  weakmap: () => new WeakMap(),
  "typed array": () => new Uint8Array(10_000),
  "shared buffer": () => new SharedArrayBuffer(8),
  "revoked proxy": () => revoked(),
  "revoked array proxy": () => revoked([]),
  "revoked function proxy": () => revoked(() => {}),
  "proxy that always throws": () => new Proxy({}, every({})),
  "array proxy that always throws": () => new Proxy([], every({})),
  "function proxy that always throws": () => new Proxy(() => {}, every({})),
  "array proxy with a lying length": () =>
    new Proxy([], { get: (_, key) => (key === "length" ? 2 ** 40 : undefined) }),
  "array proxy with a length that throws": () =>
    new Proxy([], { get: (target, key) => (key === "length" ? boom() : Reflect.get(target, key)) }),
  "array of revoked proxies": () => [revoked(), revoked([])],
  "array of array proxies that throw": () => [new Proxy(["retry-after", "1"], every({}))],
  "pairs whose value is a revoked proxy": () => [["retry-after", revoked([])]],
  "record whose value is a revoked proxy": () => ({ "retry-after": revoked([]) }),
  "record whose value is an array proxy that throws": () => ({ "retry-after": new Proxy([], every({})) }),
  "record whose getter throws": () =>
    Object.defineProperty({}, "retry-after", { enumerable: true, get: boom }),
  "headers that lie": () => ({ get: () => revoked([]), entries: boom }),
  "headers that throw": () => ({ get: boom }),
  "headers that answer with themselves": () => {
    const headers = { get: (): unknown => headers };
    return headers;
  },
  "map with odd keys": () =>
    new Map<unknown, unknown>([
      [Symbol("x"), 1],
      [revoked(), 2],
      [{}, 3],
      [null, revoked()],
    ]),
  "map with a patched iterator": () =>
    Object.defineProperty(new Map([["Retry-After", "1"]]), Symbol.iterator, { value: boom }),
  "map with an endless iterator": () =>
    Object.assign(Object.create(Map.prototype), { get: () => undefined }) as object,
  "response by prototype only": () => Object.create(Response.prototype),
  "abort signal by prototype only": () => Object.create(AbortSignal.prototype),
  "object from another realm": () => vm.runInNewContext("({ status: 429, headers: { 'retry-after': '1' } })"),
  "error from another realm": () => vm.runInNewContext("Object.assign(new Error('429'), { status: 429 })"),
  "endless causes": endlessCause,
  cycle,
  "object with 20,000 keys": () => manyKeys(20_000),
};

/** Whole values that an operation may throw or return. */
const WHOLE: Record<string, Make> = {
  ...ODD,
  "sealed error": () => Object.seal(refusal()),
  "frozen error": () => Object.freeze(refusal()),
  "error whose every getter throws": () =>
    Object.defineProperties(new Error("x"), Object.fromEntries(KEYS.map((key) => [key, { get: boom }]))),
  "error with a huge message": () => new Error("429 ".repeat(1_000_000)),
  "aggregate error": () => new AggregateError([refusal(), revoked()], "several"),
  "dom exception": () => new DOMException("aborted", "AbortError"),
  "refusal whose response is a response by prototype only": () =>
    Object.assign(refusal(), { response: Object.create(Response.prototype) }),
  "refusal whose context is a revoked proxy": () => Object.assign(refusal(), { context: revoked() }),
  "error that throws when asked what it is": () => new Proxy(refusal(), { getPrototypeOf: boom }),
  "object with symbols and bigints": () => ({ [Symbol("s")]: 1n, status: 1n, error: Symbol("e") }),
};

/** The value, standing in each place where something is looked for. */
function inPlaces(make: Make): [string, Make][] {
  return KEYS.flatMap((key): [string, Make][] => [
    [`as ${key} of an error`, () => Object.assign(Object.create(null), { [key]: make() })],
    [
      `as ${key} of a refusal`,
      () => Object.assign(Object.create(null), { status: 429, statusText: "", [key]: make() }),
    ],
    [`as ${key} of the error of a refusal`, () => ({ status: 429, data: null, error: { [key]: make() } })],
    [`as ${key} of the cause`, () => ({ cause: { [key]: make() } })],
  ]);
}

const QUIET = {
  maxRetries: 1,
  logLevel: "silent",
  circuitBreakerThreshold: 1_000_000,
  retryBudget: null,
  sharedCooldown: false,
} as const;

/** The ways in which an attempt is made: the first of a plain call, one that may be ended from outside, a retry. */
const WAYS = [
  { name: "", context: {}, before: [] },
  { name: "bounded, ", context: { deadlineMs: 60_000 }, before: [] },
  { name: "retried, ", context: { maxRetries: 1 }, before: [refusal()] },
];

/** Throws and returns the value in calls, and says what is wrong with how those ended. */
async function misdeed(make: Make): Promise<string | null> {
  const { service, host } = bench(QUIET, tidegate.RateLimitService);
  const states: string[] = [];
  service.on("core", ({ state }) => states.push(state));
  for (const { name, context, before } of WAYS) {
    for (const thrown of [true, false]) {
      const value = make();
      const operation = ({ attempt }: AttemptInfo): unknown => {
        if (attempt <= before.length) throw before[attempt - 1];
        if (thrown) throw value;
        return value;
      };
      const end = await host.drive(
        ended(service.executeWithRetry(operation, { maxRetries: before.length, ...context })),
      );
      const deed = `${name}${thrown ? "thrown" : "returned"}`;
      if (states.length > 0) return `${deed}: the core went through ${states.join(", ")}`;
      const got = "error" in end ? end.error : end.value;
      if (Object.is(got, value)) continue;
      if (tidegate.isRateLimitError(got) && Object.is(got.originalError, value)) continue;
      if (!thrown && isChased(value)) continue;
      return `${deed}: ended with ${safely(got)}`;
    }
  }
  service.dispose();
  return null;
}

/** Whether a promise cannot be resolved with it as it is: the language asks it for a `then`, and follows that. */
function isChased(value: unknown): boolean {
  try {
    return value instanceof Promise || typeof (value as { then?: unknown } | null)?.then === "function";
  } catch {
    return true;
  }
}

function safely(value: unknown): string {
  try {
    return String(value instanceof Error ? value.stack : value);
  } catch {
    return "something that cannot be written";
  }
}

describe("a hostile value", () => {
  it.each(Object.entries(WHOLE))("that is thrown or returned: %s", async (_, make) => {
    expect(await misdeed(make)).toBeNull();
  });

  it.each(Object.entries(ODD))(
    "in every place that is looked at: %s",
    async (_, make) => {
      const misdeeds: string[] = [];
      for (const [place, made] of inPlaces(make)) {
        const wrong = await misdeed(made);
        if (!wrong) continue;
        misdeeds.push(`${place}: ${wrong}`);
        tidegate = await freshPackage();
      }
      expect(misdeeds).toEqual([]);
    },
    60_000,
  );

  it.each(["headers", "body", "cause"])(
    "with a million keys as %s is looked at in passing",
    async (place) => {
      const { service, host } = bench(QUIET, tidegate.RateLimitService);
      const error = Object.assign(refusal(), { [place]: manyKeys(1_000_000) });
      const begun = performance.now();
      await host.drive(ended(service.executeWithRetry(() => Promise.reject(error), { maxRetries: 0 })));
      expect(performance.now() - begun).toBeLessThan(2_000);
    },
    60_000,
  );

  it("whose getters call into the service finds it as usable as ever", async () => {
    const { service, host } = bench(QUIET, tidegate.RateLimitService);
    const error = {
      get status(): number {
        void ended(service.executeWithRetry(async () => 1));
        service.getCircuitState();
        service.getMetrics();
        service.updateConfig({ maxRetries: 1 });
        service.resetCircuit();
        return 429;
      },
    };
    const end = await host.drive(ended(service.executeWithRetry(() => Promise.reject(error))));
    expect(end.error).toMatchObject({ code: "RATE_LIMIT_MAX_RETRIES_EXCEEDED", originalError: error });
    expect(tidegate.coreState()).toBe("ready");
  });

  it("whose getter disposes of the service is passed on", async () => {
    const { service, host } = bench(QUIET, tidegate.RateLimitService);
    const error = {
      get status(): number {
        service.dispose();
        return 429;
      },
    };
    const end = await host.drive(ended(service.executeWithRetry(() => Promise.reject(error))));
    expect(end.error).toBe(error);
    expect(tidegate.coreState()).toBe("ready");
  });

  it("is none where Response is not known, as in Jest's jsdom", async () => {
    vi.stubGlobal("Response", undefined);
    const { service, host } = bench(QUIET, tidegate.RateLimitService);
    let times = 0;
    const operation = async (): Promise<string> => {
      if (times++ === 0) throw refusal();
      return "done";
    };
    expect(await host.drive(service.executeWithRetry(operation))).toBe("done");
    expect(tidegate.coreState()).toBe("ready");
  });
});

describe("a context or a host that throws when it is asked", () => {
  const error = new Error("the caller's own");
  const fail = (): never => {
    throw error;
  };
  const CONFIG = { ...QUIET, circuitBreakerThreshold: 1, retryTransient: "always" } as const;
  const unavailable = (): Promise<never> => Promise.reject(refusal(undefined, 503));

  it.each<[string, CallContext, () => number]>([
    ["idempotent", Object.defineProperty({}, "idempotent", { get: fail }), () => 0.5],
    ["which failures are final", { [Symbol.for("tidegate.final")]: fail } as CallContext, () => 0.5],
    ["random", {}, fail],
  ])(
    "%s: the call ends with that error, its permit goes back, and the core runs on",
    async (_, context, random) => {
      let draw = (): number => 0.5;
      const host = Object.assign(new ManualHost(), { random: () => draw() });
      // A probe that was not handed back would keep its place for a year.
      const service = new tidegate.RateLimitService({ ...CONFIG, probeTimeoutMs: 31_536_000_000 }, host);
      await rejection(service.executeWithRetry(() => Promise.reject(refusal()), { maxRetries: 0 }));
      await host.advance(60_000);
      const told: string[] = [];
      service.on("core", ({ state }) => told.push(state));
      service.on("attempt", ({ verdict }) => told.push(verdict));

      draw = random;
      expect(await rejection(service.executeWithRetry(unavailable, context))).toBe(error);
      expect(service.getMetrics()).toMatchObject({ attempts: 2, retries: 0 });
      expect(service.getCircuitState().state).toBe("half-open");
      expect(await service.executeWithRetry(async () => "done")).toBe("done");
      expect(service.getCircuitState().state).toBe("closed");
      expect(told).toEqual(["ignored", "success"]);
      expect(tidegate.coreState()).toBe("ready");
    },
  );

  it("and one that disposes of the service: what the attempt brought is passed on", async () => {
    const { service } = bench(CONFIG, tidegate.RateLimitService);
    const told: string[] = [];
    bench(CONFIG, tidegate.RateLimitService).service.on("core", ({ state }) => told.push(state));
    const brought = refusal(undefined, 503);
    const context = {
      get idempotent(): boolean {
        service.dispose();
        return true;
      },
    };
    expect(await rejection(service.executeWithRetry(() => Promise.reject(brought), context))).toBe(brought);
    expect(told).toEqual([]);
  });
});
