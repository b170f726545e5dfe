/** What a refused client gets to read, per kind of gateway. Shapes: Kong, Cloudflare's error 1015, Supabase's guide, Twilio. */

/** @param {number} waitMs @param {number | null} retryAfterSeconds overrides what the limiter found */
export function tooManyRequests(waitMs, retryAfterSeconds) {
  return json(
    429,
    { message: "API rate limit exceeded" },
    { "retry-after": secondsOf(waitMs, retryAfterSeconds) },
  );
}

/**
 * The limiter of Supabase's own guide: status 420, a sentence, no code and no hint when to come back.
 */
export function enhanceYourCalm() {
  const body = { message: "Rate limit exceeded, try again after a while" };
  return json(420, body, {}, "Enhance Your Calm");
}

/**
 * Cloudflare's error 1015: JSON (RFC 9457) to clients that ask for JSON, a plain line to those that ask for text, and
 * a whole page to everybody else, which includes PostgREST clients that write.
 *
 * @param {string} accept the request's Accept header
 * @param {number} waitMs
 * @param {number | null} retryAfterSeconds
 */
export function cloudflare1015(accept, waitMs, retryAfterSeconds) {
  const seconds = secondsOf(waitMs, retryAfterSeconds);
  const headers = { "retry-after": seconds, server: "cloudflare", "cf-ray": RAY };
  if (/application\/(problem\+)?json/.test(accept)) {
    return json(429, problem(Number(seconds)), { ...headers, "content-type": "application/problem+json" });
  }
  const plain = /^text\/plain/.test(accept);
  return new Response(plain ? "error code: 1015" : PAGE, {
    status: 429,
    statusText: "Too Many Requests",
    headers: { ...headers, "content-type": plain ? "text/plain; charset=UTF-8" : "text/html; charset=UTF-8" },
  });
}

/** Twilio's error 20429: a code and a page to read, and no word about when to come back. The request was not processed. */
export function twilio20429() {
  return json(429, {
    code: 20429,
    message: "Too Many Requests",
    more_info: "https://www.twilio.com/docs/errors/20429",
    status: 429,
  });
}

export function serviceUnavailable() {
  return json(503, { message: "Service temporarily unavailable" });
}

/**
 * @param {number} status
 * @param {unknown} body
 * @param {Record<string, string>} [headers]
 * @param {string} [statusText]
 */
export function json(status, body, headers = {}, statusText = "") {
  return new Response(JSON.stringify(body), {
    status,
    statusText,
    headers: { "content-type": "application/json; charset=utf-8", ...headers },
  });
}

/** Retry-After has whole seconds; rounding down would invite a second refusal. @param {number} waitMs @param {number | null} fixed */
function secondsOf(waitMs, fixed) {
  return String(fixed ?? Math.max(1, Math.ceil(waitMs / 1000)));
}

const RAY = "8d0f2c3a4b5c6d7e-FRA";

/** @param {number} retryAfter */
function problem(retryAfter) {
  return {
    type: "https://developers.cloudflare.com/support/troubleshooting/http-status-codes/cloudflare-1xxx-errors/error-1015/",
    title: "Error 1015: You are being rate limited",
    status: 429,
    detail: "The owner of this website has banned you temporarily from accessing it.",
    instance: RAY,
    error_code: 1015,
    error_name: "rate_limited",
    error_category: "rate_limit",
    ray_id: RAY,
    cloudflare_error: true,
    retryable: true,
    retry_after: retryAfter,
    owner_action_required: false,
  };
}

const PAGE = `<!DOCTYPE html>
<html lang="en-US">
<head><title>Access denied | crm.example.com used Cloudflare to restrict access</title></head>
<body>
<h1>Error 1015</h1>
<h2>You are being rate limited</h2>
<p>The owner of this website (crm.example.com) has banned you temporarily from accessing this website.</p>
<p>Cloudflare Ray ID: ${RAY}</p>
</body>
</html>
`;
