/** The refresh of a session, which must not fail for want of patience. */

import {
  abortReason,
  isRateLimitError,
  type platform,
  RateLimitError,
  type RateLimitService,
  userMessage,
} from "../api.ts";
import { refusalResponse } from "./refusal.ts";
import type { Fetch, OutgoingRequest } from "./request.ts";

/** Whether a request to /auth/v1 refreshes a session. Other ways to get a token share its path. */
export function isRefresh({ url }: OutgoingRequest): boolean {
  return url?.pathname.endsWith("/token") === true && url.searchParams.get("grant_type") === "refresh_token";
}

/** A service that sends at once, holds nobody and retries nothing: it reads how long a refusal asks to wait. */
export function refresherOf(service: RateLimitService): RateLimitService {
  return service.sibling("auth/refresh", {
    enabled: true,
    maxRetries: 0,
    initialDelayMs: 0,
    maxDelayMs: 0,
    jitter: "none",
    respectRetryAfter: true,
    maxRetryAfterMs: 31_536_000_000,
    circuitBreakerThreshold: 1_000_000,
    circuitResetMs: 0,
    attemptTimeoutMs: null,
    callDeadlineMs: null,
    retryTransient: "never",
    retryBudget: null,
    sharedCooldown: false,
    logLevel: "silent",
  });
}

export interface Patience {
  /** Of `refresherOf`. */
  refresher: RateLimitService;
  /** How long refusals are waited out, all together. */
  waitMs: number;
  host: ReturnType<typeof platform>;
}

/**
 * Sends a refresh until it is not refused, for `waitMs` at most, and then answers 503 in the server's stead.
 *
 * auth-js takes a 429 for the end of the session and removes it; a 503 it tries again by itself, within half a minute of
 * its first attempt. That is why the whole of `waitMs` is waited even when the server asks for longer: an early 503
 * would only make it ask again and again.
 *
 * @throws what fetch throws, and the signal's reason when it aborts during a wait.
 */
export async function refreshed(
  request: OutgoingRequest,
  fetch: Fetch,
  { refresher, waitMs, host }: Patience,
): Promise<Response> {
  const end = host.now() + waitMs;
  let left = request.isRepeatable ? waitMs : 0;
  for (let pause = FIRST_PAUSE_MS; ; pause *= 2) {
    const answer = await asked(refresher, () => request.send(fetch));
    if (!isRateLimitError(answer)) return answer;
    if (left <= 0) return refusalResponse(answer, 503, DETAILS);
    const wait = answer.retryAfterMs || pause;
    await slept(host, Math.min(wait, left), request.signal);
    // Whom the server told to come later does not come sooner; one that was told nothing may try a last time.
    if (answer.retryAfterMs && wait > left) return refusalResponse(answer, 503, DETAILS);
    left = wait < left ? end - host.now() : 0;
  }
}

async function slept(host: Patience["host"], ms: number, signal: AbortSignal | undefined): Promise<void> {
  const until = host.now() + ms;
  await host.sleep(ms, signal);
  if (signal?.aborted) throw abortReason(signal);
  host.reached(until);
}

/** The answer, or the refusal that it is. */
async function asked(
  refresher: RateLimitService,
  send: () => Promise<Response>,
): Promise<Response | RateLimitError> {
  try {
    const response = await refresher.executeWithRetry(send, { resourceName: "auth", operation: "refresh" });
    // Without the core a refusal passes through.
    return response.status === 429 || response.status === 420 ? unread(response) : response;
  } catch (error) {
    if (isRateLimitError(error)) return error;
    throw error;
  }
}

function unread(response: Response): RateLimitError {
  const code = "RATE_LIMIT_MAX_RETRIES_EXCEEDED";
  return new RateLimitError({
    code,
    summary: "",
    userMessage: userMessage(code, {}),
    attempts: 1,
    originalError: response,
  });
}

const FIRST_PAUSE_MS = 1_000;

const DETAILS = "The refresh of the session was refused. The session is kept.";
