// What servers and proxies answer when they refuse or fail: the shapes in which clients were captured, by the names of
// tests/vectors/fixtures, and the statuses around them.
import { readFile } from "node:fs/promises";
import path from "node:path";
import { root } from "../../js/steps.mjs";

const JSON_TYPE = "application/json; charset=utf-8";

const json = (body, headers = {}) => ({
  body: JSON.stringify(body),
  headers: { "content-type": JSON_TYPE, ...headers },
});

const typed = (type, body) => ({ body, headers: { "content-type": type } });

const PAGE = `<!DOCTYPE html>
<html lang="en-US"><head><title>Access denied | crm.example used Cloudflare to restrict access</title></head>
<body><h1>Error 1015</h1><h2>You are being rate limited</h2></body></html>
`;

/** Bodies and their types; status and Retry-After are those of the captures. */
const BODIES = {
  pgrst_pt429: json({
    code: "PT429",
    details: "limit 100/min",
    hint: "slow down",
    message: "Too many requests",
  }),
  pgrst_420: {
    ...json({ message: "Rate limit exceeded, try again after a while" }),
    reason: "Enhance Your Calm",
  },
  kong_json: json({ message: "API rate limit exceeded" }),
  cf_html: typed("text/html; charset=UTF-8", PAGE),
  cf_plain: typed("text/plain; charset=UTF-8", "error code: 1015"),
  cf_json: json({
    title: "Error 1015: You are being rate limited",
    status: 429,
    error_code: 1015,
    retry_after: 30,
  }),
  empty: { body: "", headers: {} },
  json_null: json(null),
  json_string: json("rate limited"),
  json_array: json([]),
  json_false: json(false),
  http_date: json({ message: "slow" }),
  s503_delta: json({
    code: "PGRST001",
    message: "Could not query the database for the schema cache. Retrying.",
  }),
  s503_date: json({
    code: "PGRST001",
    message: "Could not query the database for the schema cache. Retrying.",
  }),
  s520_html: typed("text/html", "<html><body>520: Web server is returning an unknown error</body></html>"),
  s504_pool: json({
    code: "PGRST003",
    details: null,
    hint: null,
    message: "Timed out acquiring connection from connection pool.",
  }),
  gotrue_v2024: json({ code: "over_request_rate_limit", message: "Request rate limit reached" }),
  gotrue_legacy: json({
    code: 429,
    error_code: "over_request_rate_limit",
    msg: "Request rate limit reached",
  }),
  gotrue_email: json({
    code: "over_email_send_rate_limit",
    message: "For security purposes, you can only request this after 42 seconds.",
  }),
  storage_429: json({
    statusCode: "429",
    code: "SlowDown",
    error: "too_many_connections",
    message: "Too many connections issued to the database",
  }),
  storage_400_wrapping: json({
    statusCode: "503",
    code: "LockTimeout",
    error: "acquiring_lock_timeout",
    message: "acquiring lock timeout",
  }),
  storage_body_code_only: json({ code: "SlowDown", message: "Rate limit exceeded, retry in 3 seconds" }),
  functions_429: json({ message: "slow down" }),
  functions_relay_429: json({ message: "slow down" }, { "x-relay-error": "true" }),
  functions_546: json({
    code: "WORKER_LIMIT",
    message: "Function failed due to not having enough compute resources",
  }),
};

/** The delay that stands in the body, in milliseconds. */
const TOLD_IN_BODY = { cf_json: 30_000, gotrue_email: 42_000, storage_body_code_only: 3_000 };

/** Two seconds ahead, as each of the captured answers said it. */
const DATE_AHEAD_MS = 2_000;

/**
 * Every answer in the captures: `{ name, status, reason, headers(now), body, hintMs, isInBody }`.
 *
 * @throws Error for a captured answer of which the body is not known here
 */
export async function capturedAnswers() {
  const file = path.join(root, "tests", "vectors", "fixtures", "supabase-errors.json");
  const { captures } = JSON.parse(await readFile(file, "utf8"));
  const found = new Map();
  for (const { id, sent } of captures) {
    const name = id.split("/").at(-1);
    if (sent.status === null || found.has(name)) continue;
    if (!BODIES[name]) throw new Error(`tests/faults/answers.mjs does not know the body of ${name}`);
    found.set(name, answerOf(name, sent));
  }
  return [...found.values()];
}

function answerOf(name, { status, retryAfter }) {
  const { body, headers, reason = "" } = BODIES[name];
  const isDate = retryAfter === "<HTTP-date>";
  const seconds = retryAfter === null || isDate ? null : Number(retryAfter);
  return {
    name,
    status,
    reason,
    body,
    headers: (now) => [
      ...Object.entries(headers),
      ...(isDate ? [["retry-after", new Date(now + DATE_AHEAD_MS).toUTCString()]] : []),
      ...(seconds === null ? [] : [["retry-after", String(seconds)]]),
    ],
    hintMs: TOLD_IN_BODY[name] ?? (isDate ? DATE_AHEAD_MS : seconds === null ? null : 1_000 * seconds),
    isInBody: name in TOLD_IN_BODY,
  };
}

/** Other statuses, each as JSON, as a page of a proxy, and empty. */
export function plainAnswers() {
  const bodies = {
    json: json({ message: "something is wrong" }),
    html: typed("text/html", "<html><body><h1>Something is wrong</h1></body></html>"),
    empty: { body: "", headers: { "content-length": "0" } },
  };
  return STATUSES.flatMap((status) =>
    Object.entries(bodies).map(([kind, { body, headers }]) => ({
      name: `${status} ${kind}`,
      status,
      reason: "",
      body,
      headers: () => Object.entries(headers),
      hintMs: null,
    })),
  );
}

const STATUSES = [
  ...[400, 401, 402, 403, 404, 405, 406, 408, 409, 410, 413, 415, 418, 420, 421, 422, 425, 429, 431, 451],
  ...[500, 501, 502, 503, 504, 505, 507, 520, 521, 522, 523, 524, 525, 526, 527, 529, 530, 544, 546, 598],
];

/** What may heal by itself, as the documentation says: 408, 500, 502 to 504, Cloudflare's 52x, Supabase's 544 and 546. */
export function isTrouble(status) {
  return [408, 500, 502, 503, 504, 544, 546].includes(status) || (status >= 520 && status <= 529);
}

export function isRefusal(status) {
  return status === 429 || status === 420;
}

/** The answer as it goes over the wire. `length`: what Content-Length says, if it is not the truth; null: no such header. */
export function bytesOf({ status, reason = "", headers = [], body = "" }, length = Buffer.byteLength(body)) {
  const lines = headers
    .filter(([name]) => name !== "content-length")
    .map(([name, value]) => `${name}: ${value}`);
  if (length !== null) lines.push(`content-length: ${length}`);
  const head = [`HTTP/1.1 ${status} ${reason || "Whatever"}`, ...lines, ...ALWAYS].join("\r\n");
  return `${head}\r\n\r\n${Buffer.from(body).toString("latin1")}`;
}

/** Pages may read it, and nothing else is said on this connection. */
const ALWAYS = ["access-control-allow-origin: *", "connection: close"];
