import { RateLimitConfigError } from "./errors.ts";
import type { Logger, LogLevel, RateLimitConfig } from "./types.ts";

/** What the shell itself needs to know of a configuration. */
export interface ShellConfig {
  enabled: boolean;
  log: Logger;
  messages: RateLimitConfig["messages"] | undefined;
  classify: RateLimitConfig["classify"] | undefined;
}

/**
 * What was given so far and what is given now, without the fields that are `undefined`, checked.
 *
 * Checked here and not only in the core, so that a mistake is found on every device: also where there is no core.
 *
 * @throws RateLimitConfigError that names the first field that is not legal.
 */
export function merged(before: Partial<RateLimitConfig>, given: unknown): Partial<RateLimitConfig> {
  if (given === undefined) return before;
  if (!isRecord(given)) throw new RateLimitConfigError("config", given, "an object");
  const config: Record<string, unknown> = { ...before };
  for (const [field, value] of fieldsOf(given, "", RULES)) {
    if (value !== undefined) config[field] = value;
  }
  const { initialDelayMs = 100, maxDelayMs = 10_000 } = config as Partial<RateLimitConfig>;
  if (maxDelayMs < initialDelayMs) {
    throw new RateLimitConfigError("maxDelayMs", maxDelayMs, "at least initialDelayMs");
  }
  return config as Partial<RateLimitConfig>;
}

/** The fields that the shell acts on. */
export function shellConfig(config: Partial<RateLimitConfig>): ShellConfig {
  const { enabled = true, logLevel = "warn", logger = console, messages, classify } = config;
  return { enabled, log: upTo(LEVELS.indexOf(logLevel), logger), messages, classify };
}

/** What is legal for a field, in words and as a test. */
interface Rule {
  expected: string;
  holds(value: unknown): boolean;
}

function fieldsOf(given: object, prefix: string, rules: Record<string, Rule>): [string, unknown][] {
  return Reflect.ownKeys(given).map((key) => {
    const value: unknown = Reflect.get(given, key);
    const field = prefix + String(key);
    const rule = typeof key === "string" && Object.hasOwn(rules, key) ? rules[key] : undefined;
    if (!rule)
      throw new RateLimitConfigError(field, value, `no such field: one of ${Object.keys(rules).join(", ")}`);
    if (value !== undefined && !rule.holds(value))
      throw new RateLimitConfigError(field, value, rule.expected);
    return [field, value];
  });
}

function count(from: number, to: number): Rule {
  return {
    expected: `an integer from ${from} to ${to}`,
    holds: (value) => Number.isInteger(value) && isWithin(value, from, to),
  };
}

function number(from: number, to: number): Rule {
  return { expected: `a number from ${from} to ${to}`, holds: (value) => isWithin(value, from, to) };
}

function milliseconds(from: number, to: number): Rule {
  return { expected: `milliseconds from ${from} to ${to}`, holds: (value) => isWithin(value, from, to) };
}

function orNull({ expected, holds }: Rule): Rule {
  return { expected: `null, or ${expected}`, holds: (value) => value === null || holds(value) };
}

function oneOf(...words: string[]): Rule {
  return {
    expected: `one of ${words.map((word) => `"${word}"`).join(", ")}`,
    holds: (value) => words.includes(value as string),
  };
}

function typed(type: "boolean" | "function", expected: string): Rule {
  return { expected, holds: (value) => typeof value === type };
}

function isWithin(value: unknown, from: number, to: number): boolean {
  return typeof value === "number" && value >= from && value <= to;
}

function isRecord(value: unknown): value is object {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** A logger that says nothing above its level, looks the methods up when it speaks, and never throws. */
function upTo(level: number, logger: Logger): Logger {
  const method =
    (name: (typeof METHODS)[number]) =>
    (message: string, ...details: unknown[]): void => {
      if (LEVELS.indexOf(name) > level) return;
      try {
        logger[name](`[RateLimit] ${message}`, ...details);
      } catch {
        // A logger that fails must not fail the call.
      }
    };
  return { error: method("error"), warn: method("warn"), info: method("info"), debug: method("debug") };
}

const METHODS = ["error", "warn", "info", "debug"] as const;
const LEVELS: readonly LogLevel[] = ["silent", ...METHODS];

const DAY_MS = 86_400_000;
const YEAR_MS = 31_536_000_000;

const BUDGET: Record<string, Rule> = {
  ratio: number(0, 1),
  minPerSecond: number(0, 1_000),
  windowMs: milliseconds(1, DAY_MS),
};

const budget: Rule = {
  expected: "an object with ratio, minPerSecond and windowMs",
  holds: (value) => isRecord(value) && fieldsOf(value, "retryBudget.", BUDGET).length >= 0,
};

const logger: Rule = {
  expected: "an object with error, warn, info and debug",
  holds: (value) => METHODS.every((method) => typeof (value as Logger | null)?.[method] === "function"),
};

const RULES: Record<keyof RateLimitConfig, Rule> = {
  enabled: typed("boolean", "true or false"),
  maxRetries: count(0, 1_000),
  initialDelayMs: milliseconds(0, DAY_MS),
  maxDelayMs: milliseconds(0, YEAR_MS),
  jitter: oneOf("proportional", "full", "equal", "decorrelated", "none"),
  jitterFactor: number(0, 1),
  respectRetryAfter: typed("boolean", "true or false"),
  maxRetryAfterMs: milliseconds(0, YEAR_MS),
  circuitBreakerThreshold: count(1, 1_000_000),
  circuitResetMs: milliseconds(0, YEAR_MS),
  halfOpenProbes: count(1, 1_000_000),
  probeTimeoutMs: milliseconds(1, YEAR_MS),
  attemptTimeoutMs: orNull(milliseconds(1, YEAR_MS)),
  callDeadlineMs: orNull(milliseconds(1, YEAR_MS)),
  retryTransient: oneOf("never", "idempotent", "always"),
  retryBudget: orNull(budget),
  sharedCooldown: typed("boolean", "true or false"),
  logLevel: oneOf(...LEVELS),
  logger,
  messages: typed("function", "a function"),
  classify: typed("function", "a function"),
};
