import {
  blockAfter,
  both,
  concurrencyCap,
  fixedWindow,
  minimumInterval,
  perKey,
  slidingLog,
  tokenBucket,
  writesOnly,
} from "./limiters.mjs";
import { cloudflare1015, enhanceYourCalm, tooManyRequests, twilio20429 } from "./refusals.mjs";

/**
 * The kinds of gateway: which rule each applies and how it says no.
 *
 * @typedef {keyof typeof MODES} Mode
 *
 * @typedef {object} Limits each has a default that depends on the mode; a mode ignores what it has no use for
 * @property {number} [rate] requests a second; bucket, and where no `limit` is given fixed, sliding and twilio
 * @property {number} [burst] requests at once; bucket; default `rate`
 * @property {number} [limit] requests per window, or at once; 1 or more
 * @property {number} [windowMs] min-interval: the time between two requests
 * @property {number} [blockMs] how long cloudflare (default `windowMs`) and min-interval (default ten times that) block
 * @property {number} [total] per-agent, per-campaign: what `limit` is for each of them, for all together
 * @property {number} [totalWindowMs] per-agent: the window of `total`
 * @property {number} [retryAfterSeconds] what Retry-After says, whatever is true; cloudflare: default 30, as the real one
 *
 * @typedef {object} Policy
 * @property {import("./limiters.mjs").Limiter} limiter
 * @property {(waitMs: number, request: Request) => Response} refuse
 * @property {(request: Request) => string} [keyOf] whose request it is, where the limiter counts them apart
 */

/** @satisfies {Record<string, (limits: Limits) => Policy>} */
export const MODES = {
  bucket: ({ rate = 20, burst = Math.max(1, Math.floor(rate)), retryAfterSeconds }) => ({
    limiter: tokenBucket({ rate, burst }),
    refuse: (waitMs) => tooManyRequests(waitMs, retryAfterSeconds ?? null),
  }),

  fixed: ({ retryAfterSeconds, ...limits }) => ({
    limiter: fixedWindow(perWindow(limits)),
    refuse: (waitMs) => tooManyRequests(waitMs, retryAfterSeconds ?? null),
  }),

  sliding: ({ retryAfterSeconds, ...limits }) => ({
    limiter: slidingLog(perWindow(limits)),
    refuse: (waitMs) => tooManyRequests(waitMs, retryAfterSeconds ?? null),
  }),

  concurrency: ({ limit = 5, retryAfterSeconds }) => ({
    limiter: concurrencyCap({ limit }),
    refuse: (waitMs) => tooManyRequests(waitMs, retryAfterSeconds ?? null),
  }),

  cloudflare: ({ limit = 100, windowMs = 10_000, blockMs = windowMs, retryAfterSeconds = 30 }) => ({
    limiter: blockAfter({ limit, windowMs, blockMs }),
    refuse: (waitMs, request) =>
      cloudflare1015(request.headers.get("accept") ?? "", waitMs, retryAfterSeconds),
  }),

  "supabase-420": ({ limit = 100, windowMs = 300_000 }) => ({
    limiter: writesOnly(slidingLog({ limit, windowMs })),
    refuse: () => enhanceYourCalm(),
  }),

  /**
   * So many a second for each account and resource: `/2010-04-01/Accounts/AC1/Messages.json` and `…/Calls.json` apart.
   * Stricter than Twilio, which queues some of what exceeds the rate and refuses too many requests at once.
   */
  twilio: ({ rate = 1, ...limits }) => ({
    limiter: perKey("account and resource", () => slidingLog(perWindow({ rate, ...limits }))),
    keyOf: (request) => new URL(request.url).pathname,
    refuse: () => twilio20429(),
  }),

  /** So many for each agent, whom the header X-Agent names, and for all of them together: 100 an hour and 800 a day. */
  "per-agent": ({
    limit = 100,
    windowMs = 3_600_000,
    total = 800,
    totalWindowMs = 86_400_000,
    retryAfterSeconds,
  }) => ({
    limiter: both(
      slidingLog({ limit: total, windowMs: totalWindowMs }),
      perKey("agent", () => slidingLog({ limit, windowMs })),
    ),
    keyOf: (request) => request.headers.get("x-agent") ?? "",
    refuse: (waitMs) => tooManyRequests(waitMs, retryAfterSeconds ?? null),
  }),

  /** So many at once for each campaign, which the header X-Campaign names, and for all of them together. */
  "per-campaign": ({ limit = 100, total = 10_000, retryAfterSeconds }) => ({
    limiter: both(
      concurrencyCap({ limit: total }),
      perKey("campaign", () => concurrencyCap({ limit })),
    ),
    keyOf: (request) => request.headers.get("x-campaign") ?? "",
    refuse: (waitMs) => tooManyRequests(waitMs, retryAfterSeconds ?? null),
  }),

  /** A site that shuts out who reads its pages too fast. */
  "min-interval": ({ windowMs = 1000, blockMs = 10 * windowMs, retryAfterSeconds }) => ({
    limiter: minimumInterval({ intervalMs: windowMs, blockMs }),
    refuse: (waitMs) => tooManyRequests(waitMs, retryAfterSeconds ?? null),
  }),
};

export const MODE_NAMES = /** @type {Mode[]} */ (Object.keys(MODES));

/**
 * @param {Mode} mode
 * @param {Limits} limits
 * @returns {Policy} with an unspent limit
 * @throws {RangeError} naming what is out of range
 */
export function policyOf(mode, limits) {
  const make = MODES[mode];
  if (make === undefined)
    throw new RangeError(`mode must be one of ${MODE_NAMES.join(", ")}, not ${String(mode)}`);
  for (const [name, least] of /** @type {const} */ ([
    ["rate", Number.MIN_VALUE],
    ["burst", 1],
    ["limit", 1],
    ["windowMs", 1],
    ["blockMs", 1],
    ["total", 1],
    ["totalWindowMs", 1],
    ["retryAfterSeconds", 0],
  ])) {
    const value = limits[name];
    if (value !== undefined && !(Number.isFinite(value) && value >= least)) {
      throw new RangeError(`${name} must be a number of at least ${least}, not ${value}`);
    }
  }
  return make(limits);
}

/** @param {Limits} limits */
function perWindow({
  rate = 20,
  windowMs = 1000,
  limit = Math.max(1, Math.floor((rate * windowMs) / 1000)),
}) {
  return { limit, windowMs };
}
