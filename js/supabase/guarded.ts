/** A request through a service. */

import { type AttemptInfo, type CallContext, finalFailures, type RateLimitService } from "../api.ts";
import { discard, isResponse } from "./refusal.ts";
import type { OutgoingRequest } from "./request.ts";

/** What is said about a request, beside what it says itself. */
export interface Guard {
  service: RateLimitService;
  resourceName: string;
  /** Whether whoever makes the request repeats such a failure by itself: then we leave it to them. */
  isRepeatedByClient?: ((failure: unknown) => boolean) | undefined;
}

/**
 * Makes attempts until one is answered or there is no sense in going on. What cannot be sent again is sent once; a write
 * that got no answer is sent again only if it is idempotent: it may have been done.
 *
 * @throws what `attempt` throws, a RateLimitError, or the signal's reason.
 */
export async function guarded<T>(
  request: OutgoingRequest,
  guard: Guard,
  attempt: (info: AttemptInfo) => Promise<T>,
): Promise<T> {
  let last: T | undefined;
  const operation = async (info: AttemptInfo): Promise<T> => {
    discard(last);
    last = await attempt(info);
    return last;
  };
  try {
    return await guard.service.executeWithRetry(operation, new RequestContext(request, guard));
  } catch (error) {
    discard(last);
    throw error;
  }
}

/** What the service is told of a request. A class, because an object with a getter of its own costs as much as parsing the URL. */
class RequestContext implements CallContext {
  readonly resourceName: string;
  readonly operation: string;
  readonly signal: AbortSignal | undefined;
  readonly maxRetries: number | undefined;
  readonly #request: OutgoingRequest;

  constructor(request: OutgoingRequest, { resourceName, isRepeatedByClient }: Guard) {
    this.resourceName = resourceName;
    this.operation = request.method;
    this.signal = request.signal;
    this.maxRetries = request.isRepeatable ? undefined : 0;
    this.#request = request;
    const isFinal = (failure: unknown): boolean =>
      isRepeatedByClient?.(failure) || (!isResponse(failure) && !statusOf(failure) && !request.isIdempotent);
    Object.assign(this, finalFailures(isFinal));
  }

  /** Asked only after an attempt has failed: to know may mean to read the body. */
  get idempotent(): boolean {
    return this.#request.isIdempotent;
  }
}

/** The status of the answer that a client made an error of; 0: there was no answer. */
function statusOf(failure: unknown): number {
  const { status } = (failure ?? {}) as { status?: unknown };
  return typeof status === "number" ? status : 0;
}

/** What ends an attempt at a request. */
export function signalFor({ signal }: OutgoingRequest, info: AttemptInfo): AbortSignal {
  return either(signal, info.signal);
}

/**
 * The same, for who needs none where nothing ends the attempt: a signal of its own costs more than all the rest, and is made
 * only where time may end it too.
 */
export function neededSignalFor(
  request: OutgoingRequest,
  info: AttemptInfo & { isTimed?: boolean },
): AbortSignal | undefined {
  return info.isTimed === false ? request.signal : signalFor(request, info);
}

/**
 * Aborts with either. The caller's is needed also after the answer has begun, while its body is read, when the attempt
 * is over. Browsers before 2024 cannot combine signals: there a timeout ends our waiting and leaves the request alone.
 */
function either(callers: AbortSignal | undefined, attempts: AbortSignal): AbortSignal {
  if (callers === undefined) return attempts;
  return typeof AbortSignal.any === "function" ? AbortSignal.any([callers, attempts]) : callers;
}
