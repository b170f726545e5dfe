/**
 * The rules by which a gateway refuses, one function each. They read no clock: `now` comes in, in milliseconds.
 *
 * @typedef {object} Arrival
 * @property {boolean} write false for GET and HEAD
 * @property {string} [key] whose request it is, where the mode counts each account, agent or campaign apart
 *
 * @typedef {object} Limiter
 * @property {string} rule the limit in words, for a table
 * @property {(now: number, arrival: Arrival) => number | null} admit null lets the request through; a number refuses
 *   it and says in how many milliseconds the next one can pass
 * @property {(arrival?: Arrival) => void} [leave] an admitted request has been answered
 * @property {(arrival: Arrival) => void} [undo] the last admission did not count: another rule refused the request
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
    undo() {
      log.pop();
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
    undo() {
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

/**
 * Minimum interval: who comes sooner than `intervalMs` after the last admitted request is shut out for `blockMs`,
 * whatever is sent meanwhile.
 *
 * @param {{ intervalMs: number; blockMs: number }} options
 * @returns {Limiter}
 */
export function minimumInterval({ intervalMs, blockMs }) {
  let last = Number.NEGATIVE_INFINITY;
  let blockedUntil = Number.NEGATIVE_INFINITY;
  return {
    rule: `1 request every ${seconds(intervalMs)}, who is faster is blocked for ${seconds(blockMs)}`,
    admit(now) {
      if (now < blockedUntil) return blockedUntil - now;
      if (now < last + intervalMs) {
        blockedUntil = now + blockMs;
        return blockMs;
      }
      last = now;
      return null;
    },
    leastMs: ({ requests }) => Math.max(0, requests - 1) * intervalMs,
  };
}

/**
 * A rule that each key has to itself. Keys are kept as long as the gateway runs.
 *
 * @param {string} whose what the key names, for the table
 * @param {() => Limiter} make an unspent limit
 * @returns {Limiter}
 */
export function perKey(whose, make) {
  /** @type {Map<string, Limiter>} */
  const limiters = new Map();
  const unspent = make();
  return {
    rule: `${unspent.rule} for each ${whose}`,
    admit: (now, arrival) => limiterOf(arrival).admit(now, arrival),
    leave: (arrival) => limiterOf(arrival).leave?.(arrival),
    undo: (arrival) => limiterOf(arrival).undo?.(arrival),
    // However the requests are spread, one of the keys has at least its share of them.
    leastMs: ({ requests, writes }) => unspent.leastMs({ requests: share(requests), writes: share(writes) }),
  };

  /** @param {{ key?: string }} [arrival] */
  function limiterOf({ key = "" } = {}) {
    const limiter = limiters.get(key) ?? make();
    limiters.set(key, limiter);
    return limiter;
  }

  /** @param {number} number */
  function share(number) {
    return Math.ceil(number / Math.max(1, limiters.size));
  }
}

/**
 * Two rules that a request must both keep. What the second one refuses costs nothing with the first.
 *
 * @param {Limiter} first one that can `undo`
 * @param {Limiter} second
 * @returns {Limiter}
 */
export function both(first, second) {
  return {
    rule: `${first.rule}, and ${second.rule}`,
    admit(now, arrival) {
      const firstMs = first.admit(now, arrival);
      if (firstMs !== null) return firstMs;
      const secondMs = second.admit(now, arrival);
      if (secondMs !== null) first.undo?.(arrival);
      return secondMs;
    },
    leave(arrival) {
      first.leave?.(arrival);
      second.leave?.(arrival);
    },
    leastMs: (admitted) => Math.max(first.leastMs(admitted), second.leastMs(admitted)),
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
