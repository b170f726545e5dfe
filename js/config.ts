import { RateLimitConfigError } from "./errors.ts";
import type { Logger, LogLevel, RateLimitConfig } from "./types.ts";

/**
 * The fields that the shell reads itself. The numbers and policies are read, and checked, by the core
 * (`src/wasm/config.rs`).
 */
export interface ShellConfig {
  enabled: boolean;
  log: Logger;
  messages: RateLimitConfig["messages"] | undefined;
  classify: RateLimitConfig["classify"] | undefined;
}

/** What was given so far and what is given now, without the fields that are `undefined`. */
export function merged(before: Partial<RateLimitConfig>, given: unknown): Partial<RateLimitConfig> {
  if (given === undefined) return before;
  if (typeof given !== "object" || given === null || Array.isArray(given)) {
    throw new RateLimitConfigError("config", given, "an object");
  }
  const config: Record<string, unknown> = { ...before };
  for (const key of Reflect.ownKeys(given)) {
    if (typeof key === "symbol" || !KNOWN.has(key)) throw unknownField(key);
    const value = (given as Record<string, unknown>)[key];
    if (value !== undefined) config[key] = value;
  }
  return config as Partial<RateLimitConfig>;
}

/** Checks the shell's own fields. */
export function shellConfig(config: Partial<RateLimitConfig>): ShellConfig {
  const { enabled = true, logLevel = "warn", logger = console, messages, classify } = config;
  if (typeof enabled !== "boolean") throw new RateLimitConfigError("enabled", enabled, "true or false");
  const level = LEVELS.indexOf(logLevel);
  if (level < 0)
    throw new RateLimitConfigError("logLevel", logLevel, LEVELS.map((name) => `"${name}"`).join(", "));
  for (const method of METHODS) {
    if (typeof logger?.[method] !== "function") {
      throw new RateLimitConfigError("logger", logger, "an object with error, warn, info and debug");
    }
  }
  checkFunction("messages", messages);
  checkFunction("classify", classify);
  return { enabled, log: upTo(level, logger), messages, classify };
}

function checkFunction(field: string, value: unknown): void {
  if (value !== undefined && typeof value !== "function")
    throw new RateLimitConfigError(field, value, "a function");
}

function unknownField(key: string | symbol): RateLimitConfigError {
  return new RateLimitConfigError(String(key), "an unknown field", `one of ${[...KNOWN].join(", ")}`);
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

const LEVELS: readonly LogLevel[] = ["silent", "error", "warn", "info", "debug"];
const METHODS = ["error", "warn", "info", "debug"] as const;

const KNOWN = new Set<string>([
  "enabled",
  "maxRetries",
  "initialDelayMs",
  "maxDelayMs",
  "jitter",
  "jitterFactor",
  "respectRetryAfter",
  "maxRetryAfterMs",
  "circuitBreakerThreshold",
  "circuitResetMs",
  "halfOpenProbes",
  "probeTimeoutMs",
  "attemptTimeoutMs",
  "callDeadlineMs",
  "retryTransient",
  "retryBudget",
  "sharedCooldown",
  "logLevel",
  "logger",
  "messages",
  "classify",
] satisfies (keyof RateLimitConfig)[]);
