/**
 * The rules by which a gateway refuses, one function each. They read no clock: `now` comes in, in milliseconds.
 *
 * @typedef {object} Arrival
 * @property {boolean} write false for GET and HEAD
 *
 * @typedef {object} Limiter
 * @property {string} rule the limit in words, for a table
 * @property {(now: number, arrival: Arrival) => number | null} admit null lets the request through; a number refuses
 *   it and says in how many milliseconds the next one can pass
 * @property {() => void} [leave] an admitted request has been answered
 * @property {(admitted: { requests: number; writes: number }) => number} leastMs what the rule alone makes so many
 *   admitted requests take, for a client that knows the rule; from an unspent limit
 */

/**
 * Token bucket: `burst` at once, then `rate` a second. Refused requests cost nothing.
 *
 * @param {{ rate: number; burst: number }} options
 * @returns {Limiter}
 */
export function tokenBucket({ rate, burst }) {
  let tokens = burst;
  let filledAt = Number.NEGATIVE_INFINITY;
  return {
    rule: `${requests(rate)}/s, burst ${burst}`,
    admit(now) {
      tokens = Math.min(burst, tokens + Math.max(0, now - filledAt) * (rate / 1000));
      filledAt = now;
      if (tokens < 1) return ((1 - tokens) / rate) * 1000;
      tokens -= 1;
      return null;
    },
    leastMs: ({ requests }) => (Math.max(0, requests - burst) / rate) * 1000,
  };
}

/**
 * Fixed window: `limit` in each window, counted anew when it ends. The first request opens the first window.
 *
 * @param {{ limit: number; windowMs: number }} options
 * @returns {Limiter}
 */
export function fixedWindow({ limit, windowMs }) {
  let opened = Number.NEGATIVE_INFINITY;
  let count = 0;
  return {
    rule: `${requests(limit)} per fixed window of ${seconds(windowMs)}`,
    admit(now) {
      if (now >= opened + windowMs) {
        opened = now;
        count = 0;
      }
      if (count >= limit) return opened + windowMs - now;
      count += 1;
      return null;
    },
    leastMs: ({ requests }) => wholeWindows(requests, limit) * windowMs,
  };
}

/**
 * Sliding log: at most `limit` admitted requests in any span of `windowMs`.
 *
 * @param {{ limit: number; windowMs: number }} options
 * @returns {Limiter}
 */
export function slidingLog({ limit, windowMs }) {
  /** Times of the admitted requests within the window, oldest first. @type {number[]} */
  let log = [];
  return {
    rule: `${requests(limit)} in any ${seconds(windowMs)}`,
    admit(now) {
      log = log.filter((at) => at > now - windowMs);
      const oldest = log[0];
      if (log.length >= limit && oldest !== undefined) return oldest + windowMs - now;
      log.push(now);
      return null;
    },
    leastMs: ({ requests }) => wholeWindows(requests, limit) * windowMs,
  };
}

/**
 * Concurrency cap: at most `limit` requests at once. It cannot know when one of them ends and says one second.
 *
 * @param {{ limit: number }} options
 * @returns {Limiter}
 */
export function concurrencyCap({ limit }) {
  let inside = 0;
  return {
    rule: `${requests(limit)} at once`,
    admit() {
      if (inside >= limit) return 1000;
      inside += 1;
      return null;
    },
    leave() {
      inside -= 1;
    },
    leastMs: () => 0,
  };
}

/**
 * Cloudflare's rate limiting rule: more than `limit` requests in a period block the visitor for `blockMs`, whatever
 * is sent meanwhile. A period begins with the first request after the one before it.
 *
 * @param {{ limit: number; windowMs: number; blockMs: number }} options
 * @returns {Limiter}
 */
export function blockAfter({ limit, windowMs, blockMs }) {
  let opened = Number.NEGATIVE_INFINITY;
  let blockedUntil = Number.NEGATIVE_INFINITY;
  let count = 0;
  return {
    rule: `${requests(limit)} per ${seconds(windowMs)}, then blocked for ${seconds(blockMs)}`,
    admit(now) {
      if (now < blockedUntil) return blockedUntil - now;
      if (now >= opened + windowMs) {
        opened = now;
        count = 0;
      }
      if (count >= limit) {
        blockedUntil = now + blockMs;
        opened = Number.NEGATIVE_INFINITY;
        return blockMs;
      }
      count += 1;
      return null;
    },
    leastMs: ({ requests }) => wholeWindows(requests, limit) * windowMs,
  };
}

/**
 * Applies a rule to modifying requests only, as a limiter inside Postgres must: a read cannot write into its log.
 *
 * @param {Limiter} limiter
 * @returns {Limiter}
 */
export function writesOnly(limiter) {
  return {
    ...limiter,
    rule: `${limiter.rule}, only requests that write`,
    admit: (now, arrival) => (arrival.write ? limiter.admit(now, arrival) : null),
    leastMs: ({ writes }) => limiter.leastMs({ requests: writes, writes }),
  };
}

/** Whole windows that must pass before the last of `requests` may go. @param {number} requests @param {number} limit */
function wholeWindows(requests, limit) {
  return Math.max(0, Math.ceil(requests / limit) - 1);
}

/** @param {number} number */
function requests(number) {
  return `${number} ${number === 1 ? "request" : "requests"}`;
}

/** @param {number} ms */
function seconds(ms) {
  return `${ms / 1000} s`;
}
