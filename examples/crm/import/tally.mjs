/**
 * How far an import is, and how fast.
 *
 * @typedef {"imported" | "duplicate" | "failed" | "skipped" | "unknown"} RowOutcome
 */

/** @type {readonly RowOutcome[]} */
export const OUTCOMES = ["imported", "duplicate", "failed", "skipped", "unknown"];

/** The rate is that of the last ten seconds: long enough to span a burst and a wait, short enough to notice a change. */
const SPAN_MS = 10_000;

export class Tally {
  /** @type {Record<RowOutcome, number>} */
  #counts = { imported: 0, duplicate: 0, failed: 0, skipped: 0, unknown: 0 };
  /** How far it was at a time, oldest first; one sample per 100 ms at most. @type {{ at: number; processed: number }[]} */
  #samples = [];
  /** Times that a row was sent after its first. */
  retries = 0;

  get counts() {
    return { ...this.#counts };
  }

  get processed() {
    return OUTCOMES.reduce((sum, outcome) => sum + this.#counts[outcome], 0);
  }

  /** @param {RowOutcome} outcome */
  count(outcome) {
    this.#counts[outcome] += 1;
  }

  /** Rows per second over the last ten seconds; 0 before there is anything to measure. @param {number} now */
  ratePerSecond(now) {
    const processed = this.processed;
    const newest = this.#samples.at(-1);
    if (newest === undefined || now - newest.at >= 100) this.#samples.push({ at: now, processed });
    while (this.#samples.length > 2 && now - /** @type {{ at: number }} */ (this.#samples[1]).at >= SPAN_MS) {
      this.#samples.shift();
    }
    const oldest = this.#samples[0];
    if (oldest === undefined || now <= oldest.at) return 0;
    return ((processed - oldest.processed) / (now - oldest.at)) * 1000;
  }
}
