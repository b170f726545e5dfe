/** How long the server has not answered anybody, in time spent trying: a pause or a closed laptop does not count. */
export class Silence {
  #answers = -1;
  #rows = 0;
  #ms = 0;
  #lastAt = 0;

  /**
   * One more row without an answer.
   *
   * @param {number} answers how many there have been so far; more than last time end the silence before
   * @returns {{ rows: number; ms: number }} how many rows and how long it has been
   */
  lengthen(answers) {
    const now = Date.now();
    const goesOn = answers === this.#answers;
    this.#rows = goesOn ? this.#rows + 1 : 1;
    this.#ms = goesOn ? this.#ms + Math.min(now - this.#lastAt, LONGEST_TRY_MS) : 0;
    this.#answers = answers;
    this.#lastAt = now;
    return { rows: this.#rows, ms: this.#ms };
  }
}

/** Longer than the longest wait between two tries; what is longer was spent on something else. */
const LONGEST_TRY_MS = 120_000;
