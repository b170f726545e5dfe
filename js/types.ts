/**
 * The public types, written by hand. Durations are milliseconds and end in `Ms`; points in time are milliseconds since
 * 1970 by the host's clock and end in `Time`.
 */

import type { RateLimitError } from "./errors.ts";

/** What the service does about refusals. Every field is optional where it is given; unknown fields are an error. */
export interface RateLimitConfig {
  /** `false` passes every call through, untouched and uncounted. Default `true`. */
  enabled: boolean;
  /** Retries after the first attempt: 3 means up to 4 attempts. Default 3; 0 to 1000. */
  maxRetries: number;
  /** Pause before the first retry; it doubles from retry to retry. Default 100; 0 to 86_400_000. */
  initialDelayMs: number;
  /** Cap of the exponential part of the pause. Default 10_000; `initialDelayMs` to 31_536_000_000. */
  maxDelayMs: number;
  /**
   * How pauses are spread. With `d = min(initialDelayMs * 2^n, maxDelayMs)` before retry n (0, 1, …) and r from 0 to 1:
   * `"proportional"` d + d·jitterFactor·r, `"full"` d·r, `"equal"` d/2 + d/2·r, `"decorrelated"`
   * min(maxDelayMs, initialDelayMs + (3·previous − initialDelayMs)·r), `"none"` d. Default `"proportional"`.
   */
  jitter: "proportional" | "full" | "equal" | "decorrelated" | "none";
  /** For `"proportional"` only. Default 0.2; 0 to 1. */
  jitterFactor: number;
  /** A delay that the server asks for replaces a shorter pause. Default `true`. */
  respectRetryAfter: boolean;
  /** A longer hint ends the call at once with `RATE_LIMIT_RETRY_AFTER_TOO_LONG`. Default 60_000; 0 to 31_536_000_000. */
  maxRetryAfterMs: number;
  /** Consecutive refusals, over all calls of the service, that open the circuit. Default 5; 1 to 1_000_000. */
  circuitBreakerThreshold: number;
  /** How long the circuit stays open; a longer hint prolongs it up to `maxRetryAfterMs`. Default 60_000; 0 to 31_536_000_000. */
  circuitResetMs: number;
  /** Attempts let through at a time while half-open; as many successes in a row close it. Default 1; 1 to 1_000_000. */
  halfOpenProbes: number;
  /** A probe that has not ended by then gives its place back. Default 30_000; 1 to 31_536_000_000. */
  probeTimeoutMs: number;
  /** How long one attempt may take; `null`: as long as it likes. Default `null`; 1 to 31_536_000_000. */
  attemptTimeoutMs: number | null;
  /** How long the whole call may take, waits included; a wait that cannot fit ends it at once. Default `null`; 1 to 31_536_000_000. */
  callDeadlineMs: number | null;
  /** Whether 408, 500, 502, 503, 504, 52x and lost connections are retried, and for which calls. Default `"never"`. */
  retryTransient: "never" | "idempotent" | "always";
  /** At most `minPerSecond * windowMs / 1000 + ratio * calls` retries in any `windowMs`; `null`: no budget. */
  retryBudget: Partial<RetryBudget> | null;
  /** A refusal holds the service's other callers too, and lets them go one, two, four … Default `true`. */
  sharedCooldown: boolean;
  /** How much is logged. Default `"warn"`. */
  logLevel: LogLevel;
  /** Where it is logged. Default `console`. */
  logger: Logger;
  /** Words for people, by error code: a translation of `userMessage`. `undefined` keeps the English one. */
  messages: (code: RateLimitErrorCode, info: MessageInfo) => string | undefined;
  /** Asked about every attempt before the built-in rules; `undefined` leaves it to them. */
  classify: (outcome: Outcome) => Verdict | undefined;
}

export interface RetryBudget {
  /** Retries for each call. Default 0.2; 0 to 1. */
  ratio: number;
  /** Retries a second that are always allowed. Default 5; 0 to 1000. */
  minPerSecond: number;
  /** Default 10_000; 1 to 86_400_000. */
  windowMs: number;
}

export type LogLevel = "silent" | "error" | "warn" | "info" | "debug";

export interface Logger {
  error(message: string, ...details: unknown[]): void;
  warn(message: string, ...details: unknown[]): void;
  info(message: string, ...details: unknown[]): void;
  debug(message: string, ...details: unknown[]): void;
}

/** What stands between us and the platform. A test gives its own; what it leaves out is the platform's. */
export interface Host {
  /** Milliseconds since 1970, or since whenever the test began. */
  now(): number;
  /** A number from 0 to 1. */
  random(): number;
  /** Resolves after `ms`, or as soon as the signal aborts; it never rejects. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
}

/** What the caller says about one call. */
export interface CallContext {
  /** Counted and reported under this name. */
  resourceName?: string | undefined;
  /** Counted and reported under this name. */
  operation?: string | undefined;
  /** Ends the call at once, also from a wait, with the signal's reason. */
  signal?: AbortSignal | null | undefined;
  /** Doing it twice is the same as doing it once: transient failures may be retried. Default `false`. */
  idempotent?: boolean | undefined;
  /** The same for all attempts of the call. Default: a random UUID, made when it is first read. */
  idempotencyKey?: string | undefined;
  /**
   * Whose limits it counts against: one key for all of them, or by the `per` of the windows, as `{ user: "u1", tenant: "t7" }`.
   * Means something only where there are limits: in a registry.
   */
  limitKey?: string | Readonly<Record<string, string>> | undefined;
  /** How long the call may take, waits included; instead of `callDeadlineMs`. */
  deadlineMs?: number | undefined;
  /** Instead of the configuration's. */
  maxRetries?: number | undefined;
  /** Higher goes first; 0 is normal. Ten seconds of waiting count as one step. */
  priority?: number | undefined;
  /** Called when the call begins to wait. */
  onWait?: ((wait: WaitInfo) => void) | undefined;
}

/**
 * What a call waits for: its own pause before a retry, the service's after a refusal, room in a window or the minimum
 * interval, a slot, or those who came before it.
 */
export type WaitReason = "backoff" | "cooldown" | "quota" | "concurrency" | "queue";

export interface WaitInfo {
  reason: WaitReason;
  /** When the wait ends, or where that depends on others: when the next look is due. `Infinity`: not by time alone. */
  untilTime: number;
  /** The attempt that is waited for; the first is 1. */
  attempt: number;
}

/** What an operation is told about its attempt. */
export interface AttemptInfo {
  /** 1 for the first. */
  readonly attempt: number;
  /** Attempts before this one. */
  readonly retries: number;
  /** Aborts with the call, with its deadline, or when the attempt takes too long. Made when first read. */
  readonly signal: AbortSignal;
  /** The same for all attempts of the call. Made when first read. */
  readonly idempotencyKey: string;
}

/** The circuit as the next call would meet it. Reading it changes nothing. */
export interface CircuitState {
  /** True while open or isolated. */
  isOpen: boolean;
  state: "closed" | "open" | "half-open" | "isolated";
  consecutiveFailures: number;
  /** 0: never. */
  lastFailureTime: number;
  /** Milliseconds; 0: never. */
  timeSinceLastFailure: number;
  /** 0 when calls may go, `Infinity` while isolated. */
  retryAfterMs: number;
}

/** The facts about one attempt, for `classify`. */
export interface Outcome {
  /** What was thrown. */
  error?: unknown;
  /** What was returned. */
  value?: unknown;
  status?: number;
  code?: string;
  message?: string;
  retryAfterMs?: number;
  durationMs: number;
}

/** A judgement on one attempt. */
export type Verdict =
  | "success"
  | "transient"
  | "permanent"
  | "ignored"
  | { throttled: true; retryAfterMs?: number | undefined; scope?: "service" | "call" | undefined };

export type RateLimitErrorCode =
  | "RATE_LIMIT_MAX_RETRIES_EXCEEDED"
  | "RATE_LIMIT_CIRCUIT_OPEN"
  | "RATE_LIMIT_RETRY_AFTER_TOO_LONG"
  | "RATE_LIMIT_DEADLINE_EXCEEDED"
  | "RATE_LIMIT_BUDGET_EXHAUSTED"
  | "RATE_LIMIT_QUOTA_EXHAUSTED"
  | "RATE_LIMIT_CONCURRENCY_EXCEEDED"
  | "RATE_LIMIT_QUEUE_FULL"
  | "RATE_LIMIT_POOL_CLOSED"
  | "RATE_LIMIT_CORE_UNAVAILABLE";

/** What a translated message may want to mention. */
export interface MessageInfo {
  retryAfterMs?: number | undefined;
  /** When another try may be worth it. */
  retryTime?: number | undefined;
  resourceName?: string | undefined;
  operation?: string | undefined;
  /** Of `RATE_LIMIT_QUOTA_EXHAUSTED`: which window is full. */
  limit?: LimitInfo | undefined;
  /** Its length in English words that go after "per": `"minute"`, `"5 minutes"`. */
  window?: string | undefined;
}

/** Which window refused. */
export interface LimitInfo {
  maxRequests: number;
  windowMs: number;
}

export type CoreState = "idle" | "ready" | "no-wasm" | "csp" | "limit" | "trap";

export interface ServiceEvents {
  /** An attempt ended. */
  attempt: {
    attempt: number;
    durationMs: number;
    verdict: "success" | "throttled" | "transient" | "permanent" | "ignored";
    resourceName?: string | undefined;
    operation?: string | undefined;
  };
  /** An attempt will be repeated. */
  retry: {
    /** The attempt that failed. */
    attempt: number;
    delayMs: number;
    untilTime: number;
    /** What it brought: the thrown error, or the value that was a refusal. */
    cause: unknown;
    resourceName?: string | undefined;
    operation?: string | undefined;
  };
  /** A call ended with one of our errors. */
  giveUp: { error: RateLimitError };
  /** The circuit entered another state. */
  circuit: { from: CircuitState["state"]; to: CircuitState["state"] };
  /** Callers are held, or are no longer. */
  cooldown: { state: "began"; untilTime: number } | { state: "ended" };
  /** Four fifths of a window are used: soon calls will wait, or be rejected. Told once until less is used again. */
  warned: QuotaWarning;
  /** The core came up or failed. Called at once with the present state when that is not "ready". */
  core: { state: CoreState };
}

/** So much of a window is used. */
export interface QuotaWarning extends LimitInfo {
  resourceName?: string | undefined;
  operation?: string | undefined;
  /** Whose window it is. */
  key: string;
  used: number;
}

export interface DurationStats {
  count: number;
  p50Ms: number;
  p95Ms: number;
  p99Ms: number;
  maxMs: number;
}

export interface CallStats {
  /** Calls begun. */
  calls: number;
  /** Attempts ended, retries included. */
  attempts: number;
  successes: number;
  /** Attempts that the server refused because of its limits. */
  throttled: number;
  /** Attempts after the first of their call. */
  retries: number;
  /** Attempts that failed in another way. */
  failures: number;
  /** Calls that ended with one of our errors. */
  rejected: {
    maxRetries: number;
    circuitOpen: number;
    retryAfterTooLong: number;
    deadline: number;
    budget: number;
    /** A window was full, or there was no room for another key. */
    quota: number;
    concurrency: number;
    queueFull: number;
  };
  /** Each wait by itself. Percentiles are upper bounds, within 12.5 %. */
  waits: DurationStats;
  attemptDurations: DurationStats;
}

export interface MetricsSnapshot extends CallStats {
  /** By `resourceName` and `operation`, in the order they were first seen; beyond 99 pairs the rest is counted together. */
  groups: (CallStats & { resourceName?: string | undefined; operation?: string | undefined })[];
}

/** So many units in any stretch of that length. */
export interface WindowLimit {
  /** 1 to 1_000_000_000. */
  maxRequests: number;
  /** 1 to 31_536_000_000. */
  windowMs: number;
  /** Which of the keys in a `limitKey` with several is counted. Default: all of them together. */
  per?: string | undefined;
}

/** What a service of a registry may be asked for, and what is done when it is too much. */
export interface ServiceLimits {
  /** Attempts at a time, all operations together; `null`: as many as come. Default `null`; 1 to 1_000_000. */
  concurrency?: number | null | undefined;
  /** Attempts at a time of one operation under one key. Default `null`; 1 to 1_000_000. */
  concurrencyPerKey?: number | null | undefined;
  /** Attempts at a time, by operation. */
  concurrencyPerOperation?: Readonly<Record<string, number>> | undefined;
  /** An attempt that has not ended by then gives its slot back; `null`: it keeps it. Default 600_000; 1 to 31_536_000_000. */
  leaseMs?: number | null | undefined;
  /** By operation, one window or several that all count; `default` is for the operations that are not named. */
  rateLimit?: Readonly<Record<string, WindowLimit | readonly WindowLimit[]>> | undefined;
  /** Between the starts of two attempts of one key. Default 0; 0 to 31_536_000_000. */
  minIntervalMs?: number | undefined;
  /** Starts are spread evenly over the window, instead of as early as it allows. Default `false`. */
  smooth?: boolean | undefined;
  /** How long one attempt may take; instead of that in `retry`. */
  attemptTimeoutMs?: number | null | undefined;
  /** What is done about refusals. */
  retry?: Partial<RateLimitConfig> | undefined;
  /** Whether a call that may not go now waits or is an error at once. Default `"wait"`. */
  onLimit?: "wait" | "reject" | undefined;
  /** Calls that may wait; one more is `RATE_LIMIT_QUEUE_FULL`. Default 10_000; 0 to 10_000_000. */
  maxQueue?: number | undefined;
  /** Keys that are counted at a time; one more is refused while none is idle. Default 10_000; 1 to 1_000_000. */
  maxKeys?: number | undefined;
  /** What happens where limits cannot be checked. Default `"reject"`. */
  onCoreUnavailable?: "reject" | "pass" | undefined;
}

/** Other limits for one call of a registry; it is counted with all others. */
export interface LimitOverrides {
  /** Retries after the first attempt; 0 to 1000. */
  retries?: number | undefined;
  /** Pause before the first retry, in milliseconds; 0 to 86_400_000. */
  retryDelay?: number | undefined;
  /** It starts only while fewer of its operation run. 1 to 1_000_000. */
  concurrency?: number | undefined;
  /** Units that may be used in a window when it starts; 1 to 1_000_000_000. */
  maxRequests?: number | undefined;
  /** The length of that window; 1 to the longest configured one. Default: that one. */
  windowMs?: number | undefined;
  /** Higher goes first; 0 is normal. */
  priority?: number | undefined;
  /** Ends the call at once, also from a wait. */
  signal?: AbortSignal | null | undefined;
  limitKey?: string | Readonly<Record<string, string>> | undefined;
  /** Units that it uses of each window. Default 1; 1 to 1_000_000_000. */
  weight?: number | undefined;
}
