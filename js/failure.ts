import { Reason } from "./codes.ts";
import { RateLimitError, userMessage, windowInWords } from "./errors.ts";
import type { MessageInfo, RateLimitErrorCode } from "./types.ts";
import type { Answer } from "./waiters.ts";

/** What the error of a call tells beside the reason. */
export interface Circumstances {
  /** Made. */
  attempts: number;
  retries: number;
  now: number;
  resourceName?: string | undefined;
  operation?: string | undefined;
  originalError?: unknown;
}

/** The error that ends a call. `translated` may have other words for people. */
export function failure(
  answer: Answer,
  { attempts, retries, now, resourceName, operation, originalError }: Circumstances,
  translated?: (code: RateLimitErrorCode, info: MessageInfo) => string | undefined,
): RateLimitError {
  const { code, summary } = words(answer.reason, retries);
  const retryAfterMs = Number.isNaN(answer.after) ? undefined : answer.after;
  const limit = answer.windowMs > 0 ? { maxRequests: answer.limit, windowMs: answer.windowMs } : undefined;
  const info: MessageInfo = {
    retryAfterMs,
    retryTime: retryAfterMs === undefined ? undefined : now + retryAfterMs,
    resourceName,
    operation,
    ...(limit && { limit, window: windowInWords(limit.windowMs) }),
  };
  return new RateLimitError({
    ...{ code, summary, retryAfterMs, resourceName, operation, attempts, limit, originalError },
    userMessage: translated?.(code, info) ?? userMessage(code, info),
  });
}

/** A reason of the shell's own: there is nobody to ask. */
export const NO_CORE = -1;

/** The code of a reason, and the words of the log that come before those for people. */
function words(reason: number, retries: number): { code: RateLimitErrorCode; summary: string } {
  switch (reason) {
    case Reason.circuitOpen:
      return { code: "RATE_LIMIT_CIRCUIT_OPEN", summary: "Rate limit circuit breaker is open. " };
    case Reason.circuitOpened:
      return { code: "RATE_LIMIT_CIRCUIT_OPEN", summary: "Rate limit circuit breaker opened. " };
    case Reason.retryAfterTooLong:
      return {
        code: "RATE_LIMIT_RETRY_AFTER_TOO_LONG",
        summary: "The server asks for a longer wait than maxRetryAfterMs allows. ",
      };
    case Reason.deadline:
      return { code: "RATE_LIMIT_DEADLINE_EXCEEDED", summary: "The call cannot be over by its deadline. " };
    case Reason.budget:
      return { code: "RATE_LIMIT_BUDGET_EXHAUSTED", summary: "The retry budget is spent. " };
    case Reason.quota:
      return { code: "RATE_LIMIT_QUOTA_EXHAUSTED", summary: "The quota is used up. " };
    case Reason.keys:
      return { code: "RATE_LIMIT_QUOTA_EXHAUSTED", summary: "Too many keys are in use. " };
    case Reason.slots:
      return { code: "RATE_LIMIT_CONCURRENCY_EXCEEDED", summary: "All slots are taken. " };
    case Reason.queueFull:
      return { code: "RATE_LIMIT_QUEUE_FULL", summary: "The line is full. " };
    case NO_CORE:
      return { code: "RATE_LIMIT_CORE_UNAVAILABLE", summary: "The core is not there. " };
    default:
      return {
        code: "RATE_LIMIT_MAX_RETRIES_EXCEEDED",
        summary: `Rate limit error persisted after ${retries} retries. `,
      };
  }
}
