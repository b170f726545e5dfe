/** A request through a service. */

import { type AttemptInfo, type CallContext, finalFailures, type RateLimitService } from "../api.ts";
import { discard, isResponse } from "./refusal.ts";
import type { OutgoingRequest } from "./request.ts";

/** What is said about a request, beside what it says itself. */
export interface Guard {
  service: RateLimitService;
  resourceName: string;
  /** Whether whoever makes the request repeats such a failure by itself: then we leave it to them. */
  isRepeatedByClient?: (failure: unknown) => boolean;
}

/**
 * Makes attempts until one is answered or there is no sense in going on. What cannot be sent again is sent once; a write
 * that got no answer is sent again only if it is idempotent: it may have been done.
 *
 * @throws what `attempt` throws, a RateLimitError, or the signal's reason.
 */
export async function guarded<T>(
  request: OutgoingRequest,
  { service, resourceName, isRepeatedByClient }: Guard,
  attempt: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  let last: T | undefined;
  const operation = async (info: AttemptInfo): Promise<T> => {
    discard(last);
    last = await attempt(either(request.signal, info.signal));
    return last;
  };
  try {
    return await service.executeWithRetry(operation, contextOf(request, resourceName, isRepeatedByClient));
  } catch (error) {
    discard(last);
    throw error;
  }
}

function contextOf(
  request: OutgoingRequest,
  resourceName: string,
  isRepeatedByClient: Guard["isRepeatedByClient"],
): CallContext {
  const isFinal = (failure: unknown): boolean =>
    isRepeatedByClient?.(failure) || (!isResponse(failure) && !statusOf(failure) && !request.isIdempotent);
  return {
    resourceName,
    operation: request.method,
    signal: request.signal,
    // Asked only after an attempt has failed: to know may mean to read the body.
    get idempotent() {
      return request.isIdempotent;
    },
    maxRetries: request.isRepeatable ? undefined : 0,
    ...finalFailures(isFinal),
  };
}

/** The status of the answer that a client made an error of; 0: there was no answer. */
function statusOf(failure: unknown): number {
  const { status } = (failure ?? {}) as { status?: unknown };
  return typeof status === "number" ? status : 0;
}

/**
 * Aborts with either. The caller's is needed also after the answer has begun, while its body is read, when the attempt
 * is over. Browsers before 2024 cannot combine signals: there a timeout ends our waiting and leaves the request alone.
 */
function either(callers: AbortSignal | undefined, attempts: AbortSignal): AbortSignal {
  if (callers === undefined) return attempts;
  return typeof AbortSignal.any === "function" ? AbortSignal.any([callers, attempts]) : callers;
}
