import { answerOf } from "./answers.mjs";

/**
 * Calls through the rate limit service that have not ended yet, and what their attempts met: here it is still the
 * server's own answer, which the service then turns into waits.
 *
 * @typedef {object} Call
 * @property {number | null} waitsUntil while the service holds it
 * @property {AbortController} stop one each: Node warns when many calls listen to one signal
 *
 * @typedef {{ resourceName: string; operation: string; idempotent: boolean }} About
 */
export class Calls {
  #service;
  /** @type {Set<Call>} */
  #open = new Set();
  #ended = false;
  /** Attempts that the server refused for their number. */
  throttled = 0;
  /** Attempts that got any answer. */
  answers = 0;

  /** @param {Pick<import("tidegate").RateLimitService, "executeWithRetry">} service */
  constructor(service) {
    this.#service = service;
  }

  /**
   * @template T
   * @param {() => Promise<T>} operation
   * @param {About} about
   * @returns {Promise<T>} rejects with an AbortError after `abort()`
   */
  async make(operation, about) {
    if (this.#ended) throw new DOMException("The import has ended", "AbortError");
    /** @type {Call} */
    const call = { waitsUntil: null, stop: new AbortController() };
    this.#open.add(call);
    try {
      return await this.#service.executeWithRetry(
        () => {
          call.waitsUntil = null;
          return this.#counted(operation);
        },
        {
          ...about,
          signal: call.stop.signal,
          onWait: ({ untilTime }) => {
            call.waitsUntil = untilTime;
          },
        },
      );
    } finally {
      this.#open.delete(call);
    }
  }

  /** Ends those under way and refuses new ones. */
  abort() {
    this.#ended = true;
    for (const { stop } of this.#open) stop.abort();
  }

  /** When the service holds every one of them: until the first goes on; else null. @param {number} now */
  heldUntil(now) {
    const waits = [...this.#open].map(({ waitsUntil }) => waitsUntil ?? 0);
    return waits.length === 0 || waits.some((until) => until <= now) ? null : Math.min(...waits);
  }

  /** @template T @param {() => Promise<T>} operation @returns {Promise<T>} */
  async #counted(operation) {
    try {
      const result = await operation();
      this.answers += 1;
      return result;
    } catch (error) {
      const { kind } = answerOf(error);
      if (kind === "refused") this.throttled += 1;
      if (kind !== "unanswered" && kind !== "aborted") this.answers += 1;
      throw error;
    }
  }
}
