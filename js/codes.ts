/** The numbers in which the core answers: `src/wasm/codes.rs` has the same list. */

/** Why a call waits or is rejected. */
export const Reason = {
  none: 0,
  backoff: 1,
  cooldown: 2,
  circuitOpen: 3,
  circuitOpened: 4,
  maxRetries: 5,
  retryAfterTooLong: 6,
  deadline: 7,
  budget: 8,
  quota: 9,
  slots: 10,
  queueFull: 11,
  /** No key is idle. */
  keys: 12,
  /** Others came first. */
  queue: 13,
} as const;

/** Our judgement of one attempt. */
export const Judgement = {
  success: 0,
  throttled: 1,
  throttledCall: 2,
  transient: 3,
  /** Transient, and nobody answered. */
  silent: 4,
  permanent: 5,
  ignored: 6,
} as const;

/** What follows from an attempt that did not succeed. */
export const Next = { passThrough: 0, retry: 1, reject: 2 } as const;

/** A change of state, to be fetched after an answer with `Flag.news`. */
export const Transition = { none: 0, circuit: 1, cooldownBegan: 2, cooldownEnded: 3, warned: 4 } as const;

export const Flag = {
  /** There are transitions to fetch. */
  news: 1,
  /** Somebody waits: `poll` may have something to say. */
  waiters: 2,
  /** Attempts may begin with the same permit without asking: see `calm.ts`. */
  calm: 4,
} as const;

/** The states of the circuit by their number. */
export const phases = ["closed", "open", "half-open", "isolated"] as const;

/** The reasons in the order in which the core counts rejections. */
export const rejectionOrder = [
  "maxRetries",
  "circuitOpen",
  "retryAfterTooLong",
  "deadline",
  "budget",
  "quota",
  "concurrency",
  "queueFull",
] as const;

/** The number that stands for "none" where a number is expected. */
export const NONE = 4_294_967_295;
