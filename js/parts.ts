/** What RateLimiter and Slots have in common: how a line is bounded, what happens without the core, where is logged. */

import { merged, shellConfig } from "./config.ts";
import type { AcquireOptions } from "./gate.ts";
import type { OnCoreUnavailable } from "./lanes.ts";
import {
  anObject,
  checked,
  count,
  milliseconds,
  needed,
  oneOf,
  orNull,
  type Rule,
  type Rules,
  YEAR_MS,
} from "./rules.ts";
import type { Host, LimitInfo, Logger, LogLevel } from "./types.ts";

/** Who waits, and for how many names there is room. */
export interface LineLimits {
  /** What happens to whoever may not go now: a place in line, or a rejection. Default `"wait"`. */
  onLimit?: "wait" | "reject" | undefined;
  /** How many may stand in line, under all names; one more is `RATE_LIMIT_QUEUE_FULL`. Default 10_000; 0 to 10_000_000. */
  maxQueue?: number | undefined;
  /** Names that are counted at a time; one more is refused while none is idle. Default 10_000; 1 to 1_000_000. */
  maxKeys?: number | undefined;
}

export interface PartOptions {
  /** What happens where limits cannot be checked. Default `"reject"`: `RATE_LIMIT_CORE_UNAVAILABLE`. */
  onCoreUnavailable?: OnCoreUnavailable | undefined;
  /** How much is logged. Default `"warn"`. */
  logLevel?: LogLevel | undefined;
  /** Where it is logged. Default `console`. */
  logger?: Logger | undefined;
  /** Stands in for the platform's clock and timers. */
  host?: Partial<Host> | undefined;
}

export const LINE: Rules<LineLimits> = {
  onLimit: oneOf("wait", "reject"),
  maxQueue: count(0, 10_000_000),
  maxKeys: count(1, 1_000_000),
};

/** What is checked where it is used: the log where it is made, a field of `retry` with the others. */
export const anything: Rule = { expected: "anything", holds: () => true };

/** What a host leaves out is the platform's. Its methods may be inherited. */
export const aHost: Rule = {
  expected: "an object with functions: now, random, sleep",
  holds: (value) =>
    anObject.holds(value) && HOST.every((name) => isLeftOutOrFunction((value as Partial<Host>)[name])),
};

const HOST = ["now", "random", "sleep"] as const;

export const PART: Rules<PartOptions> = {
  onCoreUnavailable: oneOf("reject", "pass"),
  logLevel: anything,
  logger: anything,
  host: aHost,
};

/** Units that a window may hold. */
export const MOST_UNITS = 1_000_000_000;

export const WINDOW: Rules<LimitInfo> = {
  maxRequests: needed(count(1, MOST_UNITS)),
  windowMs: needed(milliseconds(1, YEAR_MS)),
};

/** A window or a list of windows, with these fields. */
export function windowsOf(fields: Readonly<Record<string, Rule>>): Rule {
  const expected = "an object with maxRequests and windowMs";
  return {
    expected: `${expected}, or a list of such`,
    holds: (value) => Array.isArray(value) || anObject.holds(value),
    fields,
    each: { ...anObject, expected, fields },
  };
}

export const ACQUIRE: Rules<AcquireOptions> = {
  signal: orNull({
    expected: "an AbortSignal",
    holds: isSignal,
  }),
  priority: aNumber(),
  deadlineMs: aNumber(),
};

/** The options of one call, checked; nothing to check is the usual case. */
export function optionsOf<T extends object>(given: T | undefined, rules: Rules<T>): Partial<T> {
  return given === undefined ? {} : checked("options", given, rules);
}

export function lineOf({ onLimit, maxQueue = 10_000, maxKeys = 10_000 }: LineLimits): {
  reject: boolean;
  maxQueue: number;
  maxKeys: number;
} {
  return { reject: onLimit === "reject", maxQueue, maxKeys };
}

/** @throws RateLimitConfigError when it is no logger, or no level. */
export function logOf({ logger, logLevel }: Pick<PartOptions, "logger" | "logLevel">): Logger {
  return shellConfig(merged({}, { logger, logLevel })).log;
}

function isLeftOutOrFunction(value: unknown): boolean {
  return value === undefined || typeof value === "function";
}

function isSignal(value: unknown): boolean {
  const { aborted, addEventListener } = (value ?? {}) as Partial<AbortSignal>;
  return typeof aborted === "boolean" && typeof addEventListener === "function";
}

function aNumber(): Rule {
  return { expected: "a number", holds: (value) => typeof value === "number" && !Number.isNaN(value) };
}
