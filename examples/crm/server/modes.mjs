import { blockAfter, concurrencyCap, fixedWindow, slidingLog, tokenBucket, writesOnly } from "./limiters.mjs";
import { cloudflare1015, enhanceYourCalm, tooManyRequests } from "./refusals.mjs";

/**
 * The kinds of gateway: which rule each applies and how it says no.
 *
 * @typedef {keyof typeof MODES} Mode
 *
 * @typedef {object} Limits each has a default that depends on the mode; a mode ignores what it has no use for
 * @property {number} [rate] requests a second; bucket, and where no `limit` is given fixed and sliding
 * @property {number} [burst] requests at once; bucket; default `rate`
 * @property {number} [limit] requests per window, or at once; 1 or more
 * @property {number} [windowMs]
 * @property {number} [blockMs] how long Cloudflare blocks; default `windowMs`
 * @property {number} [retryAfterSeconds] what Retry-After says, whatever is true; cloudflare: default 30, as the real one
 *
 * @typedef {object} Policy
 * @property {import("./limiters.mjs").Limiter} limiter
 * @property {(waitMs: number, request: Request) => Response} refuse
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
