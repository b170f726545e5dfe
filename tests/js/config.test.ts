import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { numbersOf, shellConfig } from "../../js/config.ts";
import { type RateLimitConfig, RateLimitConfigError, RateLimitService } from "../../js/index.ts";
import type { Logger } from "../../js/types.ts";
import { bench, Log, refusal, rejection, script } from "./support/service.ts";

/** Other values than the defaults, where 7 is none. */
const CHANGED: Record<string, unknown> = {
  jitter: "none",
  retryTransient: "always",
  retryBudget: { ratio: 1 },
};

const YEAR = 31_536_000_000;
const DAY = 86_400_000;

/** Field, legal values, illegal values. */
const FIELDS: Record<string, [legal: unknown[], illegal: unknown[]]> = {
  enabled: [
    [true, false],
    [null, 0, 1, "true"],
  ],
  maxRetries: [
    [0, 1, 1_000],
    [-1, 1_001, 1.5, Number.NaN, Number.POSITIVE_INFINITY, "3", null, 3n, [3]],
  ],
  initialDelayMs: [
    [0, 0.5, 10_000],
    [-1, Number.NaN, "100", null, DAY + 1],
  ],
  maxDelayMs: [
    [100, YEAR],
    [99, YEAR + 1, Number.NaN, null],
  ],
  jitter: [
    ["proportional", "full", "equal", "decorrelated", "none"],
    ["Full", "", null, true, 0],
  ],
  jitterFactor: [
    [0, 0.5, 1],
    [-0.1, 1.1, Number.NaN, null, "0.2"],
  ],
  respectRetryAfter: [
    [true, false],
    [null, 1, "yes"],
  ],
  maxRetryAfterMs: [
    [0, YEAR],
    [-1, YEAR + 1, null, Number.NaN],
  ],
  circuitBreakerThreshold: [
    [1, 1_000_000],
    [0, 1_000_001, 1.5, null],
  ],
  circuitResetMs: [
    [0, YEAR],
    [-1, YEAR + 1, null],
  ],
  halfOpenProbes: [
    [1, 1_000_000],
    [0, 1_000_001, 2.5, null],
  ],
  probeTimeoutMs: [
    [1, YEAR],
    [0, YEAR + 1, null],
  ],
  attemptTimeoutMs: [
    [null, 1, YEAR],
    [0, -1, YEAR + 1, "1000", Number.NaN],
  ],
  callDeadlineMs: [
    [null, 1, YEAR],
    [0, -1, YEAR + 1, "1000", Number.NaN],
  ],
  retryTransient: [
    ["never", "idempotent", "always"],
    ["sometimes", true, null],
  ],
  retryBudget: [
    [
      null,
      {},
      { ratio: 0 },
      { ratio: 1, minPerSecond: 1_000, windowMs: DAY },
      { minPerSecond: 0, windowMs: 1 },
    ],
    [5, "none", true, []],
  ],
  sharedCooldown: [
    [true, false],
    [null, 0],
  ],
  logLevel: [
    ["silent", "error", "warn", "info", "debug"],
    ["verbose", "", null, 3],
  ],
  logger: [[console], [null, {}, { error() {}, warn() {}, info() {} }, "console"]],
  messages: [[() => "x"], [null, "x", {}]],
  classify: [[() => undefined], [null, "x", {}]],
};

const rowsOf = (which: 0 | 1): [string, unknown][] =>
  Object.entries(FIELDS).flatMap(([field, values]) =>
    values[which].map((value): [string, unknown] => [field, value]),
  );

function thrownBy(act: () => unknown): RateLimitConfigError {
  try {
    act();
  } catch (error) {
    expect(error).toBeInstanceOf(RateLimitConfigError);
    return error as RateLimitConfigError;
  }
  throw new Error("nothing was thrown");
}

describe("the configuration", () => {
  it("has the defaults of the golden case, which are those of the core's own tests", () => {
    const file = readFileSync(new URL("../vectors/defaults.json", import.meta.url), "utf8");
    const { config } = (JSON.parse(file) as { cases: { config: Partial<RateLimitConfig> }[] }).cases[0] ?? {};
    expect(numbersOf(config ?? {})).toEqual(numbersOf({}));
    for (const field of Object.keys(config ?? {})) {
      const different = config?.[field as keyof RateLimitConfig] === true ? false : (CHANGED[field] ?? 7);
      expect(numbersOf({ [field]: different }), field).not.toEqual(numbersOf({}));
    }
  });

  it.each(rowsOf(0))("takes %s: %s", (field, value) => {
    expect(() => new RateLimitService({ [field]: value })).not.toThrow();
    expect(() => bench().service.updateConfig({ [field]: value })).not.toThrow();
  });

  it.each(rowsOf(1))(
    "refuses %s: %s, and says which field, what was given and what is expected",
    (field, value) => {
      const error = thrownBy(() => new RateLimitService({ [field]: value }));
      expect(error).toMatchObject({ name: "RateLimitConfigError", field, value });
      expect(error.expected).not.toBe("");
      expect(error.message).toContain(`${field}: expected ${error.expected}`);
      const { service } = bench();
      expect(thrownBy(() => service.updateConfig({ [field]: value }))).toMatchObject({ field });
    },
  );

  it.each([
    ["retryBudget.ratio", { ratio: 1.1 }, 1.1],
    ["retryBudget.ratio", { ratio: "0.2" }, "0.2"],
    ["retryBudget.minPerSecond", { minPerSecond: 1_001 }, 1_001],
    ["retryBudget.windowMs", { windowMs: 0 }, 0],
    ["retryBudget.windowMs", { windowMs: DAY + 1 }, DAY + 1],
    ["retryBudget.perMinute", { perMinute: 7 }, 7],
  ])("refuses %s", (field, retryBudget, value) => {
    expect(thrownBy(() => new RateLimitService({ retryBudget: retryBudget as never }))).toMatchObject({
      field,
      value,
    });
  });

  it("refuses a field that it does not know, by name and with what was given", () => {
    const error = thrownBy(() => new RateLimitService({ maxRetrys: 5 } as never));
    expect(error).toMatchObject({ field: "maxRetrys", value: 5 });
    expect(error.expected).toContain("maxRetries");
  });

  it("refuses a symbol as a field", () => {
    const error = thrownBy(() => new RateLimitService({ [Symbol("x")]: 5 } as never));
    expect(error).toMatchObject({ field: "Symbol(x)", value: 5 });
  });

  it("refuses initialDelayMs above maxDelayMs", () => {
    expect(thrownBy(() => new RateLimitService({ initialDelayMs: 500, maxDelayMs: 400 })).field).toBe(
      "maxDelayMs",
    );
    expect(() => new RateLimitService({ initialDelayMs: 500, maxDelayMs: 500 })).not.toThrow();
  });

  it.each([null, 5, "x", [], true])("that is %s is none", (config) => {
    expect(thrownBy(() => new RateLimitService(config as never)).field).toBe("config");
  });

  it("takes fields that are undefined as left out", () => {
    const fields = Object.fromEntries(Object.keys(FIELDS).map((field) => [field, undefined]));
    expect(() => new RateLimitService(fields)).not.toThrow();
  });

  it("that is refused in an update changes nothing, not even its legal part", async () => {
    const { service, host } = bench({ maxRetries: 1 });
    expect(() => service.updateConfig({ maxRetries: 0, jitterFactor: 7 })).toThrow(RateLimitConfigError);
    expect(() => service.updateConfig({ maxRetries: 0, logLevel: "loud" as never })).toThrow(
      RateLimitConfigError,
    );
    expect(() => service.updateConfig({ maxRetries: 0, attemptTimeoutMs: 1, callDeadlineMs: -1 })).toThrow(
      RateLimitConfigError,
    );
    const operation = script(refusal());
    await host.drive(rejection(service.executeWithRetry(operation)));
    expect(operation.times).toBe(2);
  });

  it("is not changed by what becomes of the object that was given", async () => {
    const config = { maxRetries: 1, jitter: "none" as const, retryBudget: { ratio: 0 } };
    const { service, host } = bench(config);
    config.maxRetries = 3;
    service.updateConfig({ initialDelayMs: 50 });
    const operation = script(refusal());
    await host.drive(rejection(service.executeWithRetry(operation)));
    expect(operation.times).toBe(2);
  });

  it("is not changed by what becomes of an object within it", async () => {
    const retryBudget = { ratio: 0, minPerSecond: 0 };
    const { service } = bench({ retryBudget });
    retryBudget.minPerSecond = 1_000;
    service.updateConfig({ maxRetries: 2 });
    expect(await rejection(service.executeWithRetry(script(refusal())))).toMatchObject({
      code: "RATE_LIMIT_BUDGET_EXHAUSTED",
    });
  });
});

describe("the log", () => {
  const METHODS = ["error", "warn", "info", "debug"] as const;

  it.each([
    ["silent", []],
    ["error", ["error"]],
    ["warn", ["error", "warn"]],
    ["info", ["error", "warn", "info"]],
    ["debug", ["error", "warn", "info", "debug"]],
    [undefined, ["error", "warn"]],
  ] as const)("at level %s gets these, each by its own method: %j", (logLevel, expected) => {
    const logger = new Log();
    const { log } = shellConfig(logLevel === undefined ? { logger } : { logger, logLevel });
    for (const method of METHODS) log[method](`from ${method}`, 1, 2);
    expect(logger.lines).toEqual(expected.map((method) => `${method}: [RateLimit] from ${method}`));
    expect(logger.details).toEqual(expected.map(() => [1, 2]));
  });

  it("that fails, or lacks a method, does not fail the call", () => {
    const logger = {
      error: () => {
        throw new Error("the log is full");
      },
    } as unknown as Logger;
    const { log } = shellConfig({ logger, logLevel: "debug" });
    for (const method of METHODS) expect(() => log[method]("said")).not.toThrow();
  });
});
