/** How a refusal of ours is told to clients of Supabase, and what is done with answers. */

import type { RateLimitError } from "../api.ts";

/**
 * The answer that a server would have given: JSON in the shape of PostgREST's errors, which all of Supabase's clients
 * read. `message` is for people, `code` is ours, so that a service further out knows that this is judged already.
 */
export function refusalResponse(
  error: RateLimitError,
  status: 429 | 503,
  details: string = error.message,
): Response {
  const { code, userMessage, retryAfterMs } = error;
  // Infinity while isolated, and 0 when there was no hint: neither is a time to come back at.
  const seconds = retryAfterMs && Number.isFinite(retryAfterMs) ? Math.ceil(retryAfterMs / 1000) : null;
  const hint = seconds === null ? null : `Retry after ${seconds} seconds.`;
  return new Response(JSON.stringify({ code, message: userMessage, details, hint }), {
    status,
    statusText: status === 429 ? "Too Many Requests" : "Service Unavailable",
    headers: {
      "content-type": "application/json; charset=utf-8",
      "x-tidegate-code": code,
      ...(seconds !== null && { "retry-after": String(seconds) }),
    },
  });
}

/** The connection of an answer that nobody will read is given back. */
export function discard(answer: unknown): void {
  const { body } = (answer ?? {}) as Partial<Response>;
  // A listener may be reading it, or it was lost: neither is our concern.
  if (typeof body?.cancel === "function") body.cancel().catch(() => {});
}

/** Also one of a polyfill or of another realm. */
export function isResponse(value: unknown): value is Response {
  const { status, headers } = (value ?? {}) as Partial<Response>;
  return typeof status === "number" && typeof headers?.get === "function";
}
