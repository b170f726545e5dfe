import { seededRandom } from "../seeded.mjs";

/**
 * How often a gateway misbehaves. Shares of all admitted requests, 0..1; their sum may not exceed 1.
 *
 * @typedef {object} FaultShares
 * @property {number} [unavailable] answered 503, never reaches Postgres
 * @property {number} [dropBefore] the connection ends before the request reaches Postgres
 * @property {number} [dropAfter] the connection ends after Postgres has written: the answer is lost
 * @property {number} [slow] forwarded only after `slowMs`
 * @property {number} [slowMs] default 400
 * @property {number} [seed] default 1: the same seed strikes the same requests
 *
 * @typedef {"none" | "unavailable" | "dropBefore" | "dropAfter" | "slow"} Fault
 */

/** @type {Exclude<Fault, "none">[]} */
export const FAULTS = ["unavailable", "dropBefore", "dropAfter", "slow"];

/**
 * @param {FaultShares} shares
 * @returns {() => Fault} what happens to the next request
 */
export function faultsOf(shares) {
  const random = seededRandom(shares.seed ?? 1);
  return () => {
    let left = random();
    for (const fault of FAULTS) {
      left -= shares[fault] ?? 0;
      if (left < 0) return fault;
    }
    return "none";
  };
}

/** @param {FaultShares} shares @throws {RangeError} naming the share */
export function checkFaults(shares) {
  let sum = 0;
  for (const fault of FAULTS) {
    const share = shares[fault] ?? 0;
    if (!(share >= 0 && share <= 1))
      throw new RangeError(`faults.${fault} must be between 0 and 1, not ${share}`);
    sum += share;
  }
  if (sum > 1) throw new RangeError(`the shares of faults add up to ${sum}; at most 1 is possible`);
}
