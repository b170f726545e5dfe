import { RateLimitConfigError } from "./errors.ts";
import type { LimitsPlan } from "./lanes.ts";
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

/** What the core itself needs to know: a configuration, limits, and when a circuit opens that is used alone. */
export interface CoreConfig extends Partial<RateLimitConfig> {
  limits?: LimitsPlan;
  circuit?: CircuitPlan;
}

/** A circuit that is used alone; `null`: not that one. Without a ratio it opens after failures in a row. */
export interface CircuitPlan {
  readonly ratio: number | null;
  readonly minimumCalls: number;
  readonly lastCalls: number | null;
  readonly windowMs: number | null;
}

/**
 * What was given so far and what is given now, without the fields that are `undefined`, checked.
 *
 * @throws RateLimitConfigError that names the first field that is not legal.
 */
export function merged(before: Partial<RateLimitConfig>, given: unknown): Partial<RateLimitConfig> {
  if (given === undefined) return before;
  const config = { ...before, ...checked<RateLimitConfig>("config", given, RULES) };
  const { initialDelayMs, maxDelayMs } = { ...DEFAULTS, ...config };
  if (maxDelayMs < initialDelayMs) {
    throw new RateLimitConfigError("maxDelayMs", maxDelayMs, "at least initialDelayMs");
  }
  return config;
}

/** The fields that the shell acts on. */
export function shellConfig(config: Partial<RateLimitConfig>): ShellConfig {
  const { enabled = true, logLevel = "warn", logger = console, messages, classify } = config;
  const { maxRetries = DEFAULTS.maxRetries, attemptTimeoutMs, callDeadlineMs } = config;
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

/**
 * The configuration in numbers, in the order in which `src/wasm/config.rs` reads them. NaN is none, and so is a list of 0.
 * No Float64Array: that has a buffer beside the heap, and this is read once.
 */
export function numbersOf(config: CoreConfig): number[] {
  const { limits = NO_LIMITS, circuit, ...given } = { ...DEFAULTS, ...config };
  const budget = given.retryBudget && { ...BUDGET_DEFAULTS, ...given.retryBudget };
  // biome-ignore format: how a call is retried, the circuit, what is shared; then the limits
  return [
    given.maxRetries, given.initialDelayMs, given.maxDelayMs, JITTERS.indexOf(given.jitter), given.jitterFactor,
    Number(given.respectRetryAfter), given.maxRetryAfterMs,
    given.circuitBreakerThreshold, given.circuitResetMs, given.halfOpenProbes, given.probeTimeoutMs,
    RETRIED.indexOf(given.retryTransient), ...(budget ? [budget.ratio, budget.minPerSecond, budget.windowMs] : [NONE, NONE, NONE]),
    Number(given.sharedCooldown), ...tripOf(circuit),
    limits.concurrency ?? NONE, limits.concurrencyPerKey ?? NONE, limits.leaseMs ?? NONE,
    ...listed(limits.concurrencyPerOperation, (cap) => [cap ?? NONE]),
    limits.maxQueue, Number(limits.reject), limits.maxKeys,
    ...listed(limits.policies, ({ intervalMs, smooth, windows }) => [
      intervalMs, Number(smooth), ...listed(windows, ({ limit, lengthMs }) => [limit, lengthMs]),
    ]),
  ];
}

/** When the circuit opens: the kind, the ratio, the fewest calls, and over how much. */
function tripOf(circuit: CircuitPlan | undefined): number[] {
  if (!circuit) return [Trip.events, NONE, NONE, NONE];
  const { ratio, minimumCalls, lastCalls, windowMs } = circuit;
  if (ratio === null) return [Trip.inARow, NONE, NONE, NONE];
  return [
    lastCalls === null ? Trip.window : Trip.lastCalls,
    ratio,
    minimumCalls,
    lastCalls ?? windowMs ?? NONE,
  ];
}

/** How many there are, and then the numbers of each. */
function listed<T>(items: readonly T[], numbers: (item: T) => number[]): number[] {
  return [items.length, ...items.flatMap(numbers)];
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

/** What holds where nothing was configured; the core has no defaults. */
const DEFAULTS = {
  maxRetries: 3,
  initialDelayMs: 100,
  maxDelayMs: 10_000,
  jitter: "proportional",
  jitterFactor: 0.2,
  respectRetryAfter: true,
  maxRetryAfterMs: 60_000,
  circuitBreakerThreshold: 5,
  circuitResetMs: 60_000,
  halfOpenProbes: 1,
  probeTimeoutMs: 30_000,
  retryTransient: "never",
  retryBudget: {},
  sharedCooldown: true,
} satisfies CoreConfig;

const BUDGET_DEFAULTS: RetryBudget = { ratio: 0.2, minPerSecond: 5, windowMs: 10_000 };

const NO_LIMITS: LimitsPlan = {
  policies: [],
  concurrency: null,
  concurrencyPerKey: null,
  concurrencyPerOperation: [],
  leaseMs: null,
  maxQueue: Number.POSITIVE_INFINITY,
  reject: false,
  maxKeys: 10_000,
};

/** In the order of their numbers in the core. */
const JITTERS: readonly RateLimitConfig["jitter"][] = [
  "proportional",
  "full",
  "equal",
  "decorrelated",
  "none",
];
const RETRIED: readonly RateLimitConfig["retryTransient"][] = ["never", "idempotent", "always"];
const Trip = { events: 0, inARow: 1, lastCalls: 2, window: 3 };
const NONE = Number.NaN;

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
  jitter: oneOf(...JITTERS),
  jitterFactor: number(0, 1),
  respectRetryAfter: aBoolean,
  maxRetryAfterMs: milliseconds(0, YEAR_MS),
  circuitBreakerThreshold: count(1, 1_000_000),
  circuitResetMs: milliseconds(0, YEAR_MS),
  halfOpenProbes: count(1, 1_000_000),
  probeTimeoutMs: milliseconds(1, YEAR_MS),
  attemptTimeoutMs: orNull(milliseconds(1, YEAR_MS)),
  callDeadlineMs: orNull(milliseconds(1, YEAR_MS)),
  retryTransient: oneOf(...RETRIED),
  retryBudget: orNull(budget),
  sharedCooldown: aBoolean,
  logLevel: oneOf(...LEVELS),
  logger,
  messages: aFunction,
  classify: aFunction,
};
