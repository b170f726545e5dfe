/**
 * How many rows may be on their way now: none while the server wants to be left alone, then one, and one more for each
 * that gets through.
 *
 * @typedef {"cooldown" | "circuit" | "offline"} HoldReason
 *
 * @typedef {object} Held
 * @property {HoldReason} reason
 * @property {number} since epoch milliseconds
 * @property {number | undefined} untilTime epoch milliseconds; undefined: until the circuit closes
 * @property {boolean} endsWithCircuit somebody may close the circuit by hand before that
 */

/** Longest wait without a hint. */
const MAX_PATIENCE_MS = 30_000;

export class Hold {
  #circuitIsOpen;
  #most;
  #abreast;
  /** Holds in a row without a success between them. */
  #rounds = 0;
  /** @type {Held | null} */
  #held = null;

  /** @param {number} concurrency @param {() => boolean} circuitIsOpen */
  constructor(concurrency, circuitIsOpen) {
    this.#most = concurrency;
    this.#abreast = concurrency;
    this.#circuitIsOpen = circuitIsOpen;
  }

  /** Whether one more may go beside those in flight. @param {number} inFlight */
  allows(inFlight) {
    if (this.#held !== null && this.#isOver(this.#held)) this.#held = null;
    return this.#held === null && inFlight < this.#abreast;
  }

  /** Why nobody may go, or null. */
  get held() {
    return this.#held;
  }

  /** How long to wait without a hint: half a second, twice as long after each hold in a row. */
  get patienceMs() {
    return Math.min(MAX_PATIENCE_MS, 500 * 2 ** this.#rounds);
  }

  /** A row got its answer. */
  ease() {
    this.#rounds = 0;
    this.#abreast = Math.min(this.#most, this.#abreast + 1);
  }

  /**
   * Rows that were on their way when a hold began may prolong it, but do not count as another round: ten answers to
   * one burst are one event.
   *
   * @param {HoldReason} reason
   * @param {number} ms Infinity: until the circuit closes
   * @param {{ sentAt: number; endsWithCircuit?: boolean }} row when the row was sent that tells of it
   */
  begin(reason, ms, { sentAt, endsWithCircuit = false }) {
    const now = Date.now();
    const untilTime = Number.isFinite(ms) ? Math.max(now + ms, this.#held?.untilTime ?? 0) : undefined;
    if (this.#held === null || sentAt > this.#held.since) this.#rounds += 1;
    this.#held = { reason, since: this.#held?.since ?? now, untilTime, endsWithCircuit };
    this.#abreast = 1;
  }

  /** @param {Held} held */
  #isOver({ untilTime, endsWithCircuit }) {
    if (untilTime !== undefined && Date.now() >= untilTime) return true;
    return endsWithCircuit && !this.#circuitIsOpen();
  }
}
