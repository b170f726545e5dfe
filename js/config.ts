import { RateLimitConfigError } from "./errors.ts";
import {
  aBoolean,
  aFunction,
  anObject,
  checked,
  count,
  DAY_MS,
  milliseconds,
  number,
  oneOf,
  orNull,
  type Rule,
  type Rules,
  YEAR_MS,
} from "./rules.ts";
import type { Logger, LogLevel, RateLimitConfig, RetryBudget } from "./types.ts";

/** What the shell itself needs to know of a configuration. */
export interface ShellConfig {
  enabled: boolean;
  log: Logger;
  messages: RateLimitConfig["messages"] | undefined;
  classify: RateLimitConfig["classify"] | undefined;
  maxRetries: number;
  /** NaN: none. */
  attemptTimeoutMs: number;
  /** NaN: none. */
  callDeadlineMs: number;
}

/**
 * What was given so far and what is given now, without the fields that are `undefined`, checked.
 *
 * @throws RateLimitConfigError that names the first field that is not legal.
 */
export function merged(before: Partial<RateLimitConfig>, given: unknown): Partial<RateLimitConfig> {
  if (given === undefined) return before;
  const config = { ...before, ...checked<RateLimitConfig>("config", given, RULES) };
  const { initialDelayMs = 100, maxDelayMs = 10_000 } = config;
  if (maxDelayMs < initialDelayMs) {
    throw new RateLimitConfigError("maxDelayMs", maxDelayMs, "at least initialDelayMs");
  }
  return config;
}

/** The fields that the shell acts on. */
export function shellConfig(config: Partial<RateLimitConfig>): ShellConfig {
  const { enabled = true, logLevel = "warn", logger = console, messages, classify } = config;
  const { maxRetries = 3, attemptTimeoutMs, callDeadlineMs } = config;
  return {
    enabled,
    log: upTo(LEVELS.indexOf(logLevel), logger),
    messages,
    classify,
    maxRetries,
    attemptTimeoutMs: attemptTimeoutMs ?? Number.NaN,
    callDeadlineMs: callDeadlineMs ?? Number.NaN,
  };
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

const BUDGET: Rules<RetryBudget> = {
  ratio: number(0, 1),
  minPerSecond: number(0, 1_000),
  windowMs: milliseconds(1, DAY_MS),
};

const budget: Rule = {
  ...anObject,
  expected: "an object with ratio, minPerSecond and windowMs",
  fields: BUDGET,
};

const logger: Rule = {
  expected: "an object with error, warn, info and debug",
  holds: (value) => METHODS.every((method) => typeof (value as Logger | null)?.[method] === "function"),
};

const RULES: Rules<RateLimitConfig> = {
  enabled: aBoolean,
  maxRetries: count(0, 1_000),
  initialDelayMs: milliseconds(0, DAY_MS),
  maxDelayMs: milliseconds(0, YEAR_MS),
  jitter: oneOf("proportional", "full", "equal", "decorrelated", "none"),
  jitterFactor: number(0, 1),
  respectRetryAfter: aBoolean,
  maxRetryAfterMs: milliseconds(0, YEAR_MS),
  circuitBreakerThreshold: count(1, 1_000_000),
  circuitResetMs: milliseconds(0, YEAR_MS),
  halfOpenProbes: count(1, 1_000_000),
  probeTimeoutMs: milliseconds(1, YEAR_MS),
  attemptTimeoutMs: orNull(milliseconds(1, YEAR_MS)),
  callDeadlineMs: orNull(milliseconds(1, YEAR_MS)),
  retryTransient: oneOf("never", "idempotent", "always"),
  retryBudget: orNull(budget),
  sharedCooldown: aBoolean,
  logLevel: oneOf(...LEVELS),
  logger,
  messages: aFunction,
  classify: aFunction,
};
