// What must come of a fault, by its kind and by what the call is: the promises of the documentation, stated and not recorded.

/** What the services of the matrix are given; `retryTransient` changes. Waits are in virtual time. */
export const CONFIG = {
  maxRetries: 3,
  initialDelayMs: 100,
  jitter: "none",
  attemptTimeoutMs: 10_000,
  maxRetryAfterMs: 60_000,
  logLevel: "silent",
};

/**
 * @typedef {object} Expectation
 * @property {string[]} outcomes one of these:
 *   - done: as without a fault
 *   - passed: as without tidegate, with the fault
 *   - timeout: the attempt took too long
 *   - conflict: it was done before, the server says so, and nobody who could tell looks
 *   - settled: somehow
 *   - RATE_LIMIT_…: ended by us, with this code
 * @property {[number, number]} attempts least and most
 * @property {number} hops requests that an attempt may become
 * @property {number} lookups further requests, to find out whether it was done before
 * @property {[number, number]} effects how often it may have been done, least and most
 * @property {[number, number] | null} waitedMs least and most, all together; null: not stated
 */

/**
 * @param {import("./faults.mjs").Fault} fault
 * @param {import("./clients.mjs").Way} way
 * @param {{ struck: number, retryTransient: "never" | "idempotent" }} given `struck`: the first requests, or Infinity
 * @returns {Expectation}
 */
export function expectationOf(fault, way, given) {
  const hops = fault.hops ?? 1;
  const state = (outcome, attempts, more = {}) => ({
    outcomes: [outcome].flat(),
    attempts: typeof attempts === "number" ? [attempts, attempts] : attempts,
    hops,
    lookups: 0,
    effects: effectsOf(fault, way, outcome, attempts),
    waitedMs: null,
    ...more,
  });
  switch (fault.kind) {
    case "refused":
      return afterRefusal(fault, way, given, state);
    case "trouble":
    case "silent":
    case "loop":
    case "stalled":
      return afterTrouble(fault, way, given, state);
    case "stalled body":
      // Where an attempt ends with its headers, the body is the caller's: see `playBodies` in matrix.mjs.
      return afterTrouble(fault, way, given, state);
    case "garbled":
      // A client may make a lost answer or a plain error of it, or not have needed it; what wraps `fetch` does not see it.
      return way.layer === "fetch" ? state(["passed", "done"], 1) : afterGarbling(fault, way, given, state);
    case "moved":
      // What a GET answers in place of a POST is no matter of ours, as long as nobody asks again.
      return state("settled", 1, { effects: [0, 1] });
    case "fine":
      return state("done", 1);
    case "followed":
      // Fetch cannot send a stream again either.
      return way.isOnce ? state("passed", 1) : state("done", 1);
    default:
      return state("passed", 1);
  }
}

const MOST = CONFIG.maxRetries + 1;

function afterRefusal(fault, way, given, state) {
  // A client that reads the body first does not come to say what the status was.
  if (fault.isSlow && way.layer === "call")
    return afterTrouble({ ...fault, kind: "stalled" }, way, given, state);
  const { struck } = given;
  const isSeen = way.seesHeaders || fault.isInBody;
  const hintMs = isSeen ? fault.hintMs : null;
  if (hintMs === undefined) {
    const codes = ["RATE_LIMIT_MAX_RETRIES_EXCEEDED", "RATE_LIMIT_RETRY_AFTER_TOO_LONG", "done"];
    return state(codes, [1, MOST], { effects: [0, 1] });
  }
  if (hintMs > CONFIG.maxRetryAfterMs)
    return state("RATE_LIMIT_RETRY_AFTER_TOO_LONG", 1, { waitedMs: [0, 0] });
  if (way.isOnce) {
    return state("RATE_LIMIT_MAX_RETRIES_EXCEEDED", 1, { waitedMs: fault.isSlow ? null : [0, 0] });
  }
  const retries = Math.min(struck, CONFIG.maxRetries);
  const waitedMs = fault.isSlow ? null : waitFor(hintMs, retries);
  return struck > CONFIG.maxRetries
    ? state("RATE_LIMIT_MAX_RETRIES_EXCEEDED", MOST, { waitedMs })
    : state("done", struck + 1, { waitedMs });
}

/** Never less than the server asked for; what is added to it is a fifth, or five seconds. */
function waitFor(hintMs, retries) {
  let least = 0;
  let most = 0;
  for (let retry = 0; retry < retries; retry++) {
    const backoff = CONFIG.initialDelayMs * 2 ** retry;
    const wait = Math.max(hintMs ?? 0, backoff);
    least += wait;
    most += hintMs === null || hintMs <= backoff ? wait : hintMs + Math.min(0.2 * hintMs, 5_000);
  }
  // Whole milliseconds, rounded up; and a cooldown may end a millisecond after the wait.
  return [least, most + 2 * retries];
}

/** In words, where what happened is not what was expected. `guarded` is what the call brought. */
export function differences({ outcome, attempts, requests, effects }, expected, guarded) {
  return [
    !expected.outcomes.includes(outcome) &&
      `ended as ${outcome}, not ${expected.outcomes.join(" or ")}: ${JSON.stringify(guarded).slice(0, 300)}`,
    !within(expected.attempts, attempts) && `${attempts} attempts, not ${expected.attempts.join(" to ")}`,
    requests > attempts * expected.hops + expected.lookups && `${requests} requests for ${attempts} attempts`,
    !within(expected.effects, effects) && `done ${effects} times, not ${expected.effects.join(" to ")}`,
  ].filter((text) => text !== false);
}

export const within = ([least, most], value) => value >= least && value <= most;

function afterTrouble(fault, way, given, state) {
  const ends = fault.kind.startsWith("stalled")
    ? "timeout"
    : fault.isSlowToFail
      ? ["passed", "timeout"]
      : "passed";
  if (!mayRepeat(fault, way, given)) return state(ends, 1);
  if (given.struck > CONFIG.maxRetries) return state(ends, MOST);
  return state(repeated(fault, way), given.struck + 1, lookupsOf(fault, way));
}

/** A client that cannot read an answer may say so once, or call it lost. */
function afterGarbling(fault, way, given, state) {
  const isRepeated = mayRepeat(fault, way, given);
  const outcomes = ["passed", "done", isRepeated && repeated(fault, way)].filter(Boolean);
  return state(outcomes, [1, isRepeated ? MOST : 1], isRepeated ? lookupsOf(fault, way) : {});
}

/** What the second attempt ends as, when the first got no answer. */
function repeated({ applied }, { conflicts, looks }) {
  return applied && conflicts && !looks ? "conflict" : "done";
}

function lookupsOf({ applied }, { conflicts, looks }) {
  return { lookups: applied && conflicts && looks ? 1 : 0 };
}

/** Whether tidegate sends it again. */
function mayRepeat({ kind, status }, way, { retryTransient }) {
  if (retryTransient === "never" || !way.idempotent || way.isOnce) return false;
  const isAnswered = kind === "trouble";
  return !(way.isLeft && (!isAnswered || status === 503 || status === 520));
}

/** What was done, is done once; and what was never done is not told to be. */
function effectsOf({ applied, kind }, way, outcome, attempts) {
  if (way.effect === "read") return [0, 0];
  const isDone = [outcome].flat().every((each) => each === "done" || each === "conflict");
  if (isDone || applied) return [1, 1];
  const mayBe = [outcome].flat().includes("done") || (kind === "garbled" && attempts !== 1);
  return [0, mayBe ? 1 : 0];
}
