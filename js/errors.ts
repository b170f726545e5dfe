import type { LimitInfo, MessageInfo, RateLimitErrorCode } from "./types.ts";

/** Found on every RateLimitError, also on those of another realm or of another copy of the package. */
const BRAND = Symbol.for("tidegate.RateLimitError");

export interface RateLimitErrorDetails {
  code: RateLimitErrorCode;
  /** What comes before the user message in `message`. */
  summary: string;
  userMessage: string;
  attempts: number;
  retryAfterMs?: number | undefined;
  resourceName?: string | undefined;
  operation?: string | undefined;
  limit?: LimitInfo | undefined;
  originalError?: unknown;
}

/** A call that we ended. `message` is for the log, `userMessage` for the person in front of the screen. */
export class RateLimitError extends Error {
  readonly code: RateLimitErrorCode;
  readonly userMessage: string;
  /** Always 429: who looks at the status of an error finds a refusal, never a reason to log the user out. */
  readonly status: 429;
  /** Attempts made; 0 when the call was rejected before its first. */
  readonly attempts: number;
  /** After how many milliseconds another try may be worth it. */
  readonly retryAfterMs?: number;
  readonly resourceName?: string;
  readonly operation?: string;
  /** Of `RATE_LIMIT_QUOTA_EXHAUSTED`: which window is full. Absent where it was a minimum interval, or there was no room for the key. */
  readonly limit?: LimitInfo;
  /** What the last attempt threw, or the refusal that it returned. */
  readonly originalError: unknown;

  constructor(details: RateLimitErrorDetails) {
    super(details.summary + details.userMessage, { cause: details.originalError });
    this.code = details.code;
    this.userMessage = details.userMessage;
    this.status = 429;
    this.attempts = details.attempts;
    if (details.retryAfterMs !== undefined) this.retryAfterMs = details.retryAfterMs;
    if (details.resourceName !== undefined) this.resourceName = details.resourceName;
    if (details.operation !== undefined) this.operation = details.operation;
    if (details.limit !== undefined) this.limit = details.limit;
    this.originalError = details.originalError;
  }

  /** A literal, because minifiers rename classes. */
  override get name(): string {
    return "RateLimitError";
  }

  get [BRAND](): true {
    return true;
  }
}

/**
 * A call that we ended, as react-admin shows it: `message` is the `userMessage`, which is what its notifications say, the
 * `status` logs nobody out, and `body` is where code that knows HttpErrors looks.
 */
export class HttpRateLimitError extends RateLimitError {
  /** For code that asks what happened. It has no `errors`: react-admin would take those for errors of form fields. */
  readonly body: { readonly code: RateLimitErrorCode; readonly retryAfterMs?: number };

  constructor(error: RateLimitError) {
    const { code, userMessage, attempts, retryAfterMs, resourceName, operation, limit, originalError } =
      error;
    super({
      ...{ code, summary: "", userMessage, attempts, retryAfterMs, resourceName, operation, limit },
      originalError,
    });
    this.body = { code, ...(retryAfterMs !== undefined && { retryAfterMs }) };
  }
}

/** Whether it is one of our errors: also across realms and duplicated packages. Never throws. */
export function isRateLimitError(error: unknown): error is RateLimitError {
  if (typeof error !== "object" || error === null) return false;
  try {
    if ((error as { [BRAND]?: unknown })[BRAND] === true) return true;
    const { name, code } = error as { name?: unknown; code?: unknown };
    return name === "RateLimitError" && isOurCode(code);
  } catch {
    return false;
  }
}

/** Whether it is one of the codes of RateLimitError. */
export function isOurCode(code: unknown): code is RateLimitErrorCode {
  return typeof code === "string" && Object.hasOwn(texts, code);
}

/** A configuration, or an option of a call, that is not legal. */
export class RateLimitConfigError extends Error {
  /** Its name, such as `maxRetries` or `retryBudget.ratio`. */
  readonly field: string;
  /** What was given. */
  readonly value: unknown;
  /** What would have been legal. */
  readonly expected: string;

  constructor(field: string, value: unknown, expected: string) {
    super(`${field}: expected ${expected}, got ${describe(value)}.`);
    this.field = field;
    this.value = value;
    this.expected = expected;
  }

  override get name(): string {
    return "RateLimitConfigError";
  }
}

/** The English words for people. */
export function userMessage(code: RateLimitErrorCode, info: MessageInfo): string {
  const { limit, window } = info;
  const time = timeInWords(info);
  const values = { n: limit?.maxRequests, window, time: time ?? "later" };
  let text = texts[code];
  if (!limit) text = text.replace(" of {n} per {window}", "");
  if (time === undefined) text = text.replace("at {time}", "{time}");
  return text.replace(/\{(n|window|time)\}/g, (_, name: keyof typeof values) => String(values[name]));
}

/** A length of time as it stands after "per": "minute", "5 minutes", "250 ms". */
export function windowInWords(ms: number): string {
  const [unit, length] = UNITS.find(([, length]) => ms % length === 0) ?? ["ms", 1];
  const count = ms / length;
  return count === 1 && length > 1 ? unit : `${count} ${unit}${length > 1 ? "s" : ""}`;
}

const UNITS: [name: string, ms: number][] = [
  ["day", 86_400_000],
  ["hour", 3_600_000],
  ["minute", 60_000],
  ["second", 1_000],
];

const texts: Record<RateLimitErrorCode, string> = {
  RATE_LIMIT_MAX_RETRIES_EXCEEDED: "The system is temporarily overloaded. Please try again in a few moments.",
  RATE_LIMIT_CIRCUIT_OPEN: "Too many requests. Please wait 1-2 minutes before trying again.",
  RATE_LIMIT_RETRY_AFTER_TOO_LONG: "The service asks to wait until {time}.",
  RATE_LIMIT_DEADLINE_EXCEEDED: "This is taking longer than expected. Please try again.",
  RATE_LIMIT_BUDGET_EXHAUSTED: "Many requests are failing at the moment. Please try again in a minute.",
  RATE_LIMIT_QUOTA_EXHAUSTED: "The limit of {n} per {window} is reached. Next one at {time}.",
  RATE_LIMIT_CONCURRENCY_EXCEEDED: "Too many operations at once. Please try again in a moment.",
  RATE_LIMIT_QUEUE_FULL: "Too many operations are waiting. Please try again later.",
  RATE_LIMIT_POOL_CLOSED: "This operation was stopped.",
  RATE_LIMIT_CORE_UNAVAILABLE: "Limits cannot be checked on this device.",
};

/** The time of day in the user's manner, with the date when it is half a day off or more; `undefined`: nobody knows. */
function timeInWords({ retryTime, retryAfterMs = 0 }: MessageInfo): string | undefined {
  const date = new Date(retryTime ?? Number.NaN);
  if (Number.isNaN(date.getTime())) return undefined;
  const time = date.toLocaleTimeString(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit" });
  return retryAfterMs < HALF_A_DAY_MS ? time : `${date.toLocaleDateString()}, ${time}`;
}

const HALF_A_DAY_MS = 12 * 3_600_000;

/** A value in an error message: short, and safe with anything. */
function describe(value: unknown): string {
  if (typeof value === "string") return JSON.stringify(value.slice(0, 80));
  if (typeof value === "bigint") return `${value}n`;
  if (typeof value === "function") return "a function";
  if (Array.isArray(value)) return "an array";
  if (typeof value === "object" && value !== null) return "an object";
  return String(value);
}
