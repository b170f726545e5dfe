import { describe, expect, it } from "vitest";
import { RateLimitConfigError } from "../../js/errors.ts";
import { OVERRIDES, partsOf, placeOf, ServicePlan, wished } from "../../js/plan.ts";
import { checked } from "../../js/rules.ts";
import type { LimitOverrides, ServiceLimits } from "../../js/types.ts";

const YEAR = 31_536_000_000;
const BAD_NUMBERS = [Number.NaN, Number.POSITIVE_INFINITY, -1, "5", null, true, 5n, [5], {}];

const plan = (limits: unknown): ServicePlan => ServicePlan.of("crm", limits, {});

function thrownBy(act: () => unknown): RateLimitConfigError {
  try {
    act();
  } catch (error) {
    expect(error).toBeInstanceOf(RateLimitConfigError);
    return error as RateLimitConfigError;
  }
  throw new Error("nothing was thrown");
}

const aWindow = { maxRequests: 10, windowMs: 1_000 };

describe("the limits of a service", () => {
  /** Field, legal values, illegal values. */
  const fields: Record<string, [legal: unknown[], illegal: unknown[]]> = {
    concurrency: [
      [null, 1, 1_000_000],
      [0, 1.5, 1_000_001, ...BAD_NUMBERS.filter((value) => value !== null)],
    ],
    concurrencyPerKey: [
      [null, 1, 1_000_000],
      [0, 1.5, 1_000_001, ...BAD_NUMBERS.filter((value) => value !== null)],
    ],
    "concurrencyPerOperation.call": [
      [1, 1_000_000],
      [0, 1.5, ...BAD_NUMBERS],
    ],
    concurrencyPerOperation: [
      [{}, { a: 1, b: 2 }],
      [null, 5, [], "call"],
    ],
    leaseMs: [
      [null, 1, 0.5 + 1, YEAR],
      [0, YEAR + 1, ...BAD_NUMBERS.filter((value) => value !== null)],
    ],
    rateLimit: [
      [{}, { a: aWindow }, { a: [] }, { a: [aWindow, { ...aWindow, windowMs: 5 }] }],
      [null, 5, [], "10/s"],
    ],
    "rateLimit.voice": [[[]], [null, 5, "10/s", true]],
    "rateLimit.voice.maxRequests": [
      [1, 1_000_000_000],
      [0, 1.5, 1_000_000_001, ...BAD_NUMBERS],
    ],
    "rateLimit.voice.windowMs": [
      [1, YEAR],
      [0, 0.5, YEAR + 1, ...BAD_NUMBERS],
    ],
    "rateLimit.voice.per": [["agent"], ["", null, 5]],
    "rateLimit.voice.burst": [[], [3]],
    minIntervalMs: [
      [0, 1, YEAR],
      [YEAR + 1, ...BAD_NUMBERS],
    ],
    smooth: [
      [true, false],
      [null, 1, "yes"],
    ],
    attemptTimeoutMs: [
      [null, 1, YEAR],
      [0, YEAR + 1, ...BAD_NUMBERS.filter((value) => value !== null)],
    ],
    retry: [
      [{}, { maxRetries: 0 }],
      [null, 3, []],
    ],
    "retry.maxRetries": [[0, 1_000], BAD_NUMBERS],
    "retry.maxRetrys": [[], [3]],
    onLimit: [
      ["wait", "reject"],
      ["Wait", null, true],
    ],
    maxQueue: [
      [0, 10_000_000],
      [1.5, 10_000_001, ...BAD_NUMBERS],
    ],
    maxKeys: [
      [1, 1_000_000],
      [0, 1.5, 1_000_001, ...BAD_NUMBERS],
    ],
    onCoreUnavailable: [
      ["reject", "pass"],
      ["ignore", null],
    ],
    concurency: [[], [5]],
  };

  /** `{ rateLimit: { voice: { …aWindow, maxRequests: value } } }` for `rateLimit.voice.maxRequests`. */
  function withField(path: string, value: unknown): object {
    const [first = "", second, third] = path.split(".");
    if (third !== undefined) return { [first]: { [second ?? ""]: { ...aWindow, [third]: value } } };
    return { [first]: second === undefined ? value : { [second]: value } };
  }
  const rowsOf = (which: 0 | 1): [string, unknown][] =>
    Object.entries(fields).flatMap(([field, values]) =>
      values[which].map((value): [string, unknown] => [field, value]),
    );

  it.each(rowsOf(0))("take %s: %o", (field, value) => {
    expect(() => plan(withField(field, value))).not.toThrow();
    expect(() => plan({}).updated(withField(field, value))).not.toThrow();
  });

  it.each(rowsOf(1))("refuse %s: %o, and say where, what was given and what is expected", (field, value) => {
    const error = thrownBy(() => plan(withField(field, value)));
    expect(error).toMatchObject({ field: `crm.${field}`, value });
    expect(error.expected).not.toBe("");
  });

  it.each([null, undefined, 5, "crm", [], true])("are no %s", (limits) => {
    expect(thrownBy(() => plan(limits)).field).toBe("crm");
  });

  it("name the window in a list", () => {
    const windows = [aWindow, { ...aWindow, windowMs: -5 }];
    expect(thrownBy(() => plan({ rateLimit: { voice: windows } })).field).toBe(
      "crm.rateLimit.voice[1].windowMs",
    );
  });

  it.each(["maxRequests", "windowMs"])("need %s of a window", (field) => {
    const { [field as "windowMs"]: _, ...rest } = aWindow;
    const error = thrownBy(() => plan({ rateLimit: { voice: rest } }));
    expect(error).toMatchObject({ field: `crm.rateLimit.voice.${field}`, value: undefined });
  });

  it("have one window of each length and key", () => {
    const twice = [aWindow, { ...aWindow, maxRequests: 5 }];
    const error = thrownBy(() => plan({ rateLimit: { voice: twice } }));
    expect(error).toMatchObject({ field: "crm.rateLimit.voice[1].windowMs", value: 1_000 });
    const perKey = [aWindow, { ...aWindow, per: "agent" }, { ...aWindow, per: "session" }];
    expect(() => plan({ rateLimit: { voice: perKey } })).not.toThrow();
  });

  it("refuse a retry whose parts do not fit, also to what the registry gives", () => {
    const build = (retry: object) => () => ServicePlan.of("crm", { retry }, { maxDelayMs: 20_000 });
    expect(build({ initialDelayMs: 15_000 })).not.toThrow();
    expect(thrownBy(build({ initialDelayMs: 15_000, maxDelayMs: 10_000 })).field).toBe(
      "crm.retry.maxDelayMs",
    );
  });

  it("come with every default, frozen to the last", () => {
    const retry = { retryBudget: { ratio: 0.5 } };
    const { limits } = plan({
      rateLimit: { voice: [aWindow] },
      concurrencyPerOperation: { voice: 1 },
      retry,
    });
    expect(limits).toEqual({
      concurrency: null,
      concurrencyPerKey: null,
      concurrencyPerOperation: { voice: 1 },
      leaseMs: 600_000,
      minIntervalMs: 0,
      smooth: false,
      rateLimit: { voice: [aWindow] },
      retry,
      onLimit: "wait",
      maxQueue: 10_000,
      maxKeys: 10_000,
      onCoreUnavailable: "reject",
    });
    const voice = limits.rateLimit?.voice as (typeof aWindow)[];
    const parts = [limits, limits.rateLimit, voice, voice[0], limits.concurrencyPerOperation, limits.retry];
    for (const part of [...parts, limits.retry.retryBudget]) expect(Object.isFrozen(part)).toBe(true);
    expect(Object.isFrozen(retry)).toBe(false);
  });

  it("are not what becomes of the objects that were given", () => {
    const given = {
      rateLimit: { voice: { ...aWindow } },
      retry: { retryBudget: { ratio: 0.5 }, maxRetries: 1 },
      concurrencyPerOperation: { voice: 1 },
    };
    const made = plan(given);
    given.rateLimit.voice.maxRequests = 99;
    given.retry.retryBudget.ratio = 0.9;
    given.retry.maxRetries = 9;
    given.concurrencyPerOperation.voice = 9;
    const { limits, config } = made.updated({});
    expect(limits.rateLimit).toEqual({ voice: aWindow });
    expect(limits.retry).toEqual({ retryBudget: { ratio: 0.5 }, maxRetries: 1 });
    expect(config).toMatchObject({ retryBudget: { ratio: 0.5 }, maxRetries: 1 });
    expect(limits.concurrencyPerOperation).toEqual({ voice: 1 });
  });

  it("leave a logger alone", () => {
    const logger = { error() {}, warn() {}, info() {}, debug() {} };
    const { config } = plan({ retry: { logger } });
    expect(config.logger).toBe(logger);
    expect(Object.isFrozen(logger)).toBe(false);
  });

  it("give attemptTimeoutMs before that of retry and of the registry", () => {
    const timeoutOf = (limits: ServiceLimits) =>
      ServicePlan.of("crm", limits, { attemptTimeoutMs: 3 }).config;
    expect(timeoutOf({}).attemptTimeoutMs).toBe(3);
    expect(timeoutOf({ retry: { attemptTimeoutMs: 2 } }).attemptTimeoutMs).toBe(2);
    expect(timeoutOf({ retry: { attemptTimeoutMs: 2 }, attemptTimeoutMs: 1 }).attemptTimeoutMs).toBe(1);
    expect(timeoutOf({ retry: { attemptTimeoutMs: 2 }, attemptTimeoutMs: null }).attemptTimeoutMs).toBe(null);
  });
});

describe("operations", () => {
  it("that are named have their own windows, the others those of default", () => {
    const made = plan({ rateLimit: { voice: aWindow, default: { ...aWindow, maxRequests: 7 } } });
    expect(made.operation("voice").windows).toEqual([aWindow]);
    expect(made.operation("anything")).toBe(made.operation("default"));
    expect(made.operation("anything").windows[0]?.maxRequests).toBe(7);
  });

  it("that are not there are an error that names those that are", () => {
    const error = thrownBy(() => plan({ rateLimit: { voice: aWindow, sms: aWindow } }).operation("fax"));
    expect(error).toMatchObject({ field: "operation", value: "fax" });
    expect(error.expected).toContain("voice, sms");
  });

  it("are all one where no rateLimit is given", () => {
    const made = plan({ concurrency: 1 });
    expect(made.operation("a")).toBe(made.operation("b"));
  });

  it.each(["__proto__", "constructor", "toString", "hasOwnProperty", ""])("may be called %o", (name) => {
    const rateLimit = Object.fromEntries([[name, aWindow]]);
    const made = plan({ rateLimit, concurrencyPerOperation: Object.fromEntries([[name, 3]]) });
    expect(made.operation(name).windows).toEqual([aWindow]);
    expect(made.core.concurrencyPerOperation).toEqual([3]);
    expect(Object.keys(made.limits.rateLimit ?? {})).toEqual([name]);
    expect(thrownBy(() => plan({ rateLimit: { voice: aWindow } }).operation(name)).field).toBe("operation");
    const updated = made.updated({ rateLimit: Object.fromEntries([[name, { ...aWindow, maxRequests: 2 }]]) });
    expect(updated.operation(name)).toMatchObject({ number: 0, windows: [{ maxRequests: 2 }] });
  });

  it.each([undefined, null, 5, Symbol("x"), {}])("are no %o, even where there is a default", (name) => {
    expect(thrownBy(() => plan({}).operation(name as never)).field).toBe("operation");
  });

  it("that are only named for their concurrency have the windows of default, or none", () => {
    const per = { concurrencyPerOperation: { call: 2 } };
    const shared = plan({ ...per, rateLimit: { default: aWindow } });
    expect(shared.operation("call").quotas).toBe(shared.operation("default").quotas);
    expect(shared.operation("call").number).not.toBe(shared.operation("default").number);
    expect(shared.core.concurrencyPerOperation).toEqual([null, 2]);
    expect(plan({ ...per, rateLimit: { other: aWindow } }).operation("call").windows).toEqual([]);
    expect(plan(per).operation("call").windows).toEqual([]);
  });
});

describe("the plan for the core", () => {
  it("has a policy for each operation and key that is counted, and one for the interval of all", () => {
    const per = { ...aWindow, per: "agent" };
    const { core } = plan({
      rateLimit: { voice: [per, { ...aWindow, windowMs: 5 }, { ...per, windowMs: 9 }], sms: aWindow },
      minIntervalMs: 20,
      smooth: true,
    });
    expect(core.policies).toEqual([
      { windows: [], intervalMs: 20, smooth: false, resourceName: "crm" },
      {
        ...{
          windows: [
            { limit: 10, lengthMs: 1_000 },
            { limit: 10, lengthMs: 9 },
          ],
          intervalMs: 0,
          smooth: true,
        },
        ...{ resourceName: "crm", operation: "voice" },
      },
      {
        ...{ windows: [{ limit: 10, lengthMs: 5 }], intervalMs: 0, smooth: true },
        ...{ resourceName: "crm", operation: "voice" },
      },
      {
        ...{ windows: [{ limit: 10, lengthMs: 1_000 }], intervalMs: 0, smooth: true },
        ...{ resourceName: "crm", operation: "sms" },
      },
    ]);
  });

  it("has the quotas of an operation in the order of their numbers, in whatever order an update names them", () => {
    const [all, agent, team] = [aWindow, { ...aWindow, per: "agent" }, { ...aWindow, per: "team" }];
    const before = plan({ rateLimit: { call: [all, agent, team] } });
    const after = before.updated({ rateLimit: { call: [all, team, agent] } });
    const pers = after.operation("call").quotas.map(({ policy, per }) => [policy, per]);
    expect(pers).toEqual([
      [0, undefined],
      [1, "agent"],
      [2, "team"],
    ]);
  });

  it("keeps every number through updates, and empties what is gone", () => {
    const before = plan({ rateLimit: { a: aWindow, b: aWindow } });
    const after = before.updated({
      rateLimit: { a: null, c: aWindow, b: { ...aWindow, per: "key" } },
      concurrencyPerOperation: { b: 4 },
      minIntervalMs: 5,
    });
    expect(after.operation("a")).toMatchObject({ number: 0, windows: [] });
    expect(after.operation("b").number).toBe(1);
    expect(after.operation("c").number).toBe(2);
    expect(after.core.concurrencyPerOperation).toEqual([null, 4, null]);
    expect(after.core.policies.map(({ windows }) => windows.length)).toEqual([0, 0, 0, 1, 1]);
    const again = after.updated({ rateLimit: { b: aWindow }, minIntervalMs: 0 });
    expect(again.core.policies.map(({ windows }) => windows.length)).toEqual([0, 1, 0, 0, 1]);
    expect(again.core.policies[2]?.intervalMs).toBe(0);
    expect(before.core.policies).toHaveLength(2);
  });

  it("merges what is given with what is there", () => {
    const before = plan({
      ...{ concurrency: 3, rateLimit: { a: aWindow }, retry: { maxRetries: 1, jitter: "none" } },
      ...{ concurrencyPerOperation: { a: 1, b: 2 }, onLimit: "reject" },
    });
    const { limits, config, core } = before.updated({
      ...{ concurrency: null, rateLimit: { b: aWindow }, retry: { maxRetries: 2 }, maxQueue: undefined },
      concurrencyPerOperation: { a: null },
    });
    expect(limits).toMatchObject({ concurrency: null, onLimit: "reject", maxQueue: 10_000 });
    expect(limits.rateLimit).toEqual({ a: aWindow, b: aWindow });
    expect(limits.concurrencyPerOperation).toEqual({ b: 2 });
    expect(config).toEqual({ maxRetries: 2, jitter: "none" });
    expect(core.reject).toBe(true);
    expect(before.limits.concurrency).toBe(3);
  });
});

describe("a place", () => {
  const dialer = plan({
    rateLimit: {
      call: [
        { maxRequests: 100, windowMs: 3_600_000, per: "agent" },
        { maxRequests: 800, windowMs: 86_400_000, per: "session" },
      ],
      default: aWindow,
    },
    minIntervalMs: 2_000,
  });
  const call = dialer.operation("call");
  const keysOf = (limitKey: LimitOverrides["limitKey"]) =>
    placeOf(call, limitKey).needs.map(({ key }) => key);

  it("needs a quota for each key, and for the interval that of all together", () => {
    expect(keysOf(undefined)).toEqual(["", "", ""]);
    expect(keysOf("x")).toEqual(["x", "x", "x"]);
    expect(keysOf({ session: "s", agent: "a" })).toEqual(["a", "s", '{"agent":"a","session":"s"}']);
  });

  it("begins with the quota that overrides are for", () => {
    const [first] = placeOf(call, undefined).needs;
    expect(dialer.core.policies[first?.policy ?? -1]?.windows).toEqual([{ limit: 100, lengthMs: 3_600_000 }]);
  });

  it("shares the quota of an agent between his sessions, and no lane", () => {
    const one = placeOf(call, { agent: "a", session: "1" });
    const two = placeOf(call, { agent: "a", session: "2" });
    expect(one.name).not.toBe(two.name);
    expect(one.needs[0]).toEqual(two.needs[0]);
    expect(one.needs[1]).not.toEqual(two.needs[1]);
  });

  it("shares the interval between operations, and nothing else", () => {
    const [ofCall, ofOthers] = [call, dialer.operation("else")].map(
      (operation) => placeOf(operation, "x").needs,
    );
    expect(ofCall?.at(-1)).toEqual(ofOthers?.at(-1));
    expect(ofCall?.[0]).not.toEqual(ofOthers?.[0]);
  });

  it("needs every key that is counted by itself", () => {
    const error = thrownBy(() => placeOf(call, { agent: "a" }));
    expect(error).toMatchObject({ field: "overrides.limitKey.session", value: undefined });
    expect(
      thrownBy(() => placeOf(plan({ rateLimit: { x: { ...aWindow, per: "toString" } } }).operation("x"), {})),
    ).toMatchObject({
      field: "overrides.limitKey.toString",
    });
  });

  it("has a name of its own for every key, and the name says which", () => {
    const keys = [
      undefined,
      "a",
      "b",
      "{}",
      '{"agent":"a","session":"s"}',
      " ",
      "a\nb",
      "__proto__",
      "0",
      { agent: "a", session: "s" },
      { agent: "a", session: "s", campaign: "c" },
      { agent: "as", session: "" },
      JSON.parse('{"agent":"a","session":"s","__proto__":"p"}'),
    ]; // prettier-ignore
    const places = keys.map((key) => placeOf(call, key));
    expect(new Set(places.map(({ name }) => name)).size).toBe(keys.length);
    places.forEach(({ name }, index) => {
      expect(partsOf(name)).toEqual({ operation: call.number, limitKey: keys[index] });
    });
  });

  it("is told from its name beyond the tenth operation too", () => {
    const names = Array.from({ length: 12 }, (_, index) => `operation ${index}`);
    const many = plan({ rateLimit: Object.fromEntries(names.map((name) => [name, aWindow])) });
    names.forEach((name, number) => {
      expect(partsOf(placeOf(many.operation(name), "a").name)).toEqual({ operation: number, limitKey: "a" });
    });
  });

  it("does not depend on the order of the keys, and an empty key is none", () => {
    const sorted = placeOf(call, { agent: "a", session: "s" });
    expect(placeOf(call, { session: "s", agent: "a" })).toEqual(sorted);
    const others = dialer.operation("else");
    expect(placeOf(others, "")).toEqual(placeOf(others, undefined));
    expect(placeOf(others, {})).toEqual(placeOf(others, undefined));
  });

  it("has another name when an update gives its operation another first quota", () => {
    const before = plan({ rateLimit: { x: aWindow } });
    const same = before.updated({
      rateLimit: {
        x: [
          { ...aWindow, maxRequests: 2 },
          { ...aWindow, per: "key" },
        ],
      },
    });
    const other = before.updated({ rateLimit: { x: { ...aWindow, per: "key" } } });
    const nameIn = (made: ServicePlan) => placeOf(made.operation("x"), undefined).name;
    expect(nameIn(same)).toBe(nameIn(before));
    expect(nameIn(other)).not.toBe(nameIn(before));
  });
});

describe("what a call wishes for", () => {
  const operation = plan({
    rateLimit: {
      x: [
        { maxRequests: 10, windowMs: 60_000 },
        { maxRequests: 50, windowMs: 600_000 },
        { maxRequests: 20, windowMs: 86_400_000, per: "day" },
      ],
    },
  }).operation("x");

  it.each([
    [{}, { weight: 1, concurrency: 0, limit: 0, windowMs: 0 }],
    [{ weight: 10 }, { weight: 10, concurrency: 0, limit: 0, windowMs: 0 }],
    [{ concurrency: 3 }, { weight: 1, concurrency: 3, limit: 0, windowMs: 0 }],
    [{ maxRequests: 5 }, { weight: 1, concurrency: 0, limit: 5, windowMs: 60_000 }],
    [{ windowMs: 600_000 }, { weight: 1, concurrency: 0, limit: 10, windowMs: 600_000 }],
    [
      { maxRequests: 15, windowMs: 1_000, weight: 15 },
      { weight: 15, concurrency: 0, limit: 15, windowMs: 1_000 },
    ],
  ])("%o", (overrides, expected) => {
    expect(wished(operation, overrides)).toEqual(expected);
  });

  it.each([
    ["windowMs", { windowMs: 600_001 }, 600_001, "at most 600000"],
    ["windowMs", { windowMs: 86_400_000, maxRequests: 5 }, 86_400_000, "at most 600000"],
    ["weight", { weight: 11 }, 11, "at most 10"],
    ["weight", { weight: 6, maxRequests: 5 }, 6, "at most 5"],
    ["weight", { weight: 21, maxRequests: 30 }, 21, "at most 20"],
  ])("not %s of %o", (field, overrides, value, expected) => {
    const error = thrownBy(() => wished(operation, overrides));
    expect(error).toMatchObject({ field: `overrides.${field}`, value });
    expect(error.expected).toContain(expected);
  });

  it.each([{ maxRequests: 5 }, { windowMs: 5 }, { maxRequests: 5, windowMs: 5 }])(
    "no %o of an operation without windows",
    (overrides) => {
      const error = thrownBy(() => wished(plan({ concurrency: 1 }).operation("x"), overrides));
      expect(error).toMatchObject({ field: `overrides.${Object.keys(overrides)[0]}`, value: 5 });
      expect(error.expected).toContain("with windows");
    },
  );
});

describe("overrides", () => {
  const signal = new AbortController().signal;
  const fields: Record<keyof LimitOverrides, [legal: unknown[], illegal: unknown[]]> = {
    retries: [
      [0, 1_000],
      [1.5, 1_001, ...BAD_NUMBERS],
    ],
    retryDelay: [
      [0, 0.5, 86_400_000],
      [86_400_001, ...BAD_NUMBERS],
    ],
    concurrency: [
      [1, 1_000_000],
      [0, 1.5, 1_000_001, ...BAD_NUMBERS],
    ],
    maxRequests: [
      [1, 1_000_000_000],
      [0, 1.5, 1_000_000_001, ...BAD_NUMBERS],
    ],
    windowMs: [
      [1, YEAR],
      [0, YEAR + 1, ...BAD_NUMBERS],
    ],
    priority: [
      [0, -5, 2.5, Number.POSITIVE_INFINITY],
      [Number.NaN, "high", null],
    ],
    signal: [
      [signal, null],
      [{}, "abort", 5],
    ],
    limitKey: [
      ["", "x", {}, { user: "u" }],
      [null, 5, [], { user: 5 }, { user: null }, Symbol("x")],
    ],
    weight: [
      [1, 1_000_000_000],
      [0, 1.5, ...BAD_NUMBERS],
    ],
  };
  const rowsOf = (which: 0 | 1): [string, unknown][] =>
    Object.entries(fields).flatMap(([field, values]) =>
      values[which].map((value): [string, unknown] => [field, value]),
    );
  const check = (given: object) => checked("overrides", given, OVERRIDES, "overrides.");

  it.each(rowsOf(0))("take %s: %o", (field, value) => {
    expect(check({ [field]: value })).toEqual({ [field]: value });
  });

  it.each(rowsOf(1))("refuse %s: %o", (field, value) => {
    expect(thrownBy(() => check({ [field]: value })).field).toMatch(
      new RegExp(`^overrides\\.${field}(\\.user)?$`),
    );
  });

  it("refuse what they do not know", () => {
    expect(thrownBy(() => check({ retrys: 5 }))).toMatchObject({ field: "overrides.retrys", value: 5 });
    expect(thrownBy(() => check({ limitKey: { [Symbol("x")]: "x" } })).field).toBe("overrides.limitKey");
  });
});
