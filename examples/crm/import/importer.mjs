import { answerOf } from "./answers.mjs";
import { companyOf, importKeyOf, keyOf, tagsOf, toContact } from "./contact.mjs";
import { waitingMessage } from "./messages.mjs";
import { createRelated } from "./related.mjs";
import { createReport, lineOf } from "./report.mjs";
import { Tally } from "./tally.mjs";

/**
 * @typedef {import("../csv/columns.mjs").Row} Row
 * @typedef {import("./tally.mjs").RowOutcome} RowOutcome
 * @typedef {import("./report.mjs").ImportReport} ImportReport
 * @typedef {import("./messages.mjs").WaitingReason} WaitingReason
 *
 * @typedef {object} ImportOptions
 * @property {Row[]} rows as `parseContacts` reads them
 * @property {number[]} [lines] where in the file each row stands, for the report; default one line each, under a header
 * @property {Pick<import("ra-core").DataProvider, "getList" | "create">} dataProvider
 * @property {Pick<import("tidegate").RateLimitService, "executeWithRetry" | "getCircuitState">} service
 * @property {string} origin what the rows' keys belong to, such as the name of the CRM; another origin imports anew
 * @property {AbortSignal} [signal] cancels as `cancel()` does
 * @property {number} [concurrency] rows in flight at once, 1 or more; default 10
 * @property {number} [giveUpAfterMs] without any answer from the server; then the rest is skipped; default 15 minutes
 * @property {(progress: ImportProgress) => void} [onProgress] ten times a second while something may change
 *
 * @typedef {object} Waiting
 * @property {WaitingReason} reason
 * @property {number} [untilTime] epoch milliseconds
 * @property {string} message for people
 *
 * @typedef {Record<RowOutcome, number> & {
 *   state: "running" | "waiting" | "paused" | "done" | "cancelled",
 *   total: number,
 *   processed: number,
 *   retries: number,
 *   throttled: number,
 *   ratePerSecond: number,
 *   etaMs: number | null,
 *   waiting: Waiting | null,
 * }} ImportProgress
 *
 * @typedef {object} ImportJob
 * @property {() => void} pause sends nothing more; rows in flight come to their end
 * @property {() => void} resume
 * @property {() => void} cancel what was never sent is skipped; what is in flight gets a few seconds to come to its end
 * @property {ImportProgress} progress
 * @property {Promise<ImportReport>} done never rejects
 */

/**
 * Imports rows as contacts, each exactly once, for as long as the server takes.
 *
 * A refusal is no failure: the row goes back to the front of the line, and everybody waits until the server may be
 * asked again. A lost answer is none either: the row is sent again with the same `import_key`, and a server that has
 * it already says so. Every row ends in exactly one outcome.
 *
 * @param {ImportOptions} options
 * @returns {ImportJob}
 * @throws {TypeError} when options are missing
 */
export function startImport(options) {
  const run = new ImportRun(options);
  run.start();
  return {
    pause: () => run.pause(),
    resume: () => run.resume(),
    cancel: () => run.cancel(),
    get progress() {
      return run.progress();
    },
    done: run.done,
  };
}

/**
 * @typedef {object} Call
 * @property {number | null} waitsUntil while the service holds it
 * @property {AbortController} stop one each: Node warns when many calls listen to one signal
 */

/**
 * @typedef {object} Hold
 * @property {"cooldown" | "circuit" | "offline"} reason
 * @property {number} since
 * @property {number | undefined} untilTime
 * @property {boolean} endsWithCircuit somebody may close the circuit by hand before that
 */

/**
 * A row on its way.
 *
 * @typedef {object} Item
 * @property {number} index
 * @property {Row} row
 * @property {string} key
 * @property {number} attempts
 * @property {boolean} mayBeWritten an attempt got no answer
 * @property {number} strikes times it got none, or a broken one, while others were answered
 * @property {number} answersSeen how many answers there had been when it got its last strike
 * @property {Promise<import("ra-core").CreateResult>} [attempt] the request under way, or the last one
 * @property {RowOutcome | null} outcome
 * @property {number | string} [id]
 * @property {string} [code]
 * @property {string} [message]
 */

class ImportRun {
  #options;
  #concurrency;
  #tally = new Tally();
  #startedAt = Date.now();
  /** @type {"running" | "paused" | "cancelled" | "done"} */
  #state = "running";
  /** @type {Item[]} */
  #items;
  /** Rows that came back, and go first. @type {Item[]} */
  #again = [];
  /** Rows never sent: the items from here on that have no outcome. */
  #next = 0;
  /** @type {Set<Item>} */
  #inFlight = new Set();
  /** Calls of theirs that the service has not ended yet. @type {Set<Call>} */
  #calls = new Set();
  /** Nobody is sent before it is over. @type {Hold | null} */
  #hold = null;
  /** Rows that may be in flight now: one after a hold, and one more for each success: two, four, eight. */
  #abreast;
  /** Holds in a row without a success between them. */
  #rounds = 0;
  #unansweredInARow = 0;
  #answers = 0;
  /** Why rows that are undecided at the end are. */
  #ending = { code: "CANCELLED", message: "" };
  #answeredAt = Date.now();
  #related;
  /** @type {ReturnType<typeof setInterval> | undefined} */
  #ticking;
  /** @type {(report: ImportReport) => void} */
  #finish = () => {};
  /** @type {Promise<ImportReport>} */
  done = new Promise((resolve) => {
    this.#finish = resolve;
  });

  /** @param {ImportOptions} options */
  constructor(options) {
    checkOptions(options);
    this.#options = options;
    this.#concurrency = options.concurrency ?? 10;
    this.#abreast = this.#concurrency;
    this.#related = createRelated({
      dataProvider: options.dataProvider,
      guarded: (call, about) => this.#guarded(call, about),
    });
    this.#items = options.rows.map((row, index) => ({
      index,
      row,
      key: keyOf(row),
      attempts: 0,
      mayBeWritten: false,
      strikes: 0,
      answersSeen: -1,
      outcome: null,
    }));
  }

  start() {
    this.#decideBeforeSending();
    this.#tally.ratePerSecond(Date.now());
    const { signal } = this.#options;
    signal?.addEventListener("abort", () => this.cancel(), { once: true });
    this.#ticking = setInterval(() => this.#tick(), TICK_MS);
    // A caller gets its handle before the first row is on its way.
    queueMicrotask(() => (signal?.aborted ? this.cancel() : this.#pump()));
  }

  pause() {
    if (this.#state !== "running") return;
    this.#state = "paused";
    this.#tell();
  }

  resume() {
    if (this.#state !== "paused") return;
    this.#state = "running";
    // Nobody was asked meanwhile, so nobody failed to answer.
    this.#answeredAt = Date.now();
    this.#pump();
    this.#tell();
  }

  cancel() {
    if (this.#ended) return;
    this.#state = "cancelled";
    this.#endNow("CANCELLED", "The import was cancelled before the server took this row.");
  }

  /** @returns {ImportProgress} */
  progress() {
    const now = Date.now();
    const waiting = this.#ended ? null : this.#waiting(now);
    const ratePerSecond = this.#tally.ratePerSecond(now);
    const processed = this.#tally.processed;
    const left = this.#items.length - processed;
    return {
      ...this.#tally.counts,
      state: this.#state === "running" && waiting !== null ? "waiting" : this.#state,
      total: this.#items.length,
      processed,
      retries: this.#tally.retries,
      throttled: this.#tally.throttled,
      ratePerSecond,
      etaMs: left === 0 ? 0 : ratePerSecond > 0 ? Math.round((left / ratePerSecond) * 1000) : null,
      waiting,
    };
  }

  get #ended() {
    return this.#state === "cancelled" || this.#state === "done";
  }

  /** What can be said without asking the server: rows that are no contacts, and rows that repeat one further up. */
  #decideBeforeSending() {
    /** @type {Map<string, Item>} */
    const first = new Map();
    for (const item of this.#items) {
      const original = first.get(item.key);
      try {
        toContact(item.row, new Date(this.#startedAt));
        if (original === undefined) first.set(item.key, item);
        else
          this.#settle(item, "duplicate", {
            code: "DUPLICATE_IN_FILE",
            message: `The same person as in line ${this.#lineOf(original)}.`,
          });
      } catch (error) {
        // A row that cannot be imported does not stand in for a later one that can.
        const answer = answerOf(error);
        this.#settle(item, "failed", {
          code: "INVALID_ROW",
          message: "message" in answer ? answer.message : undefined,
        });
      }
    }
  }

  #tick() {
    this.#pump();
    if (this.#state === "running") this.#tell();
  }

  /** Sends whoever may be sent, and notices the end. */
  #pump() {
    while (this.#mayGo()) {
      const item = this.#takeNext();
      if (item === undefined) break;
      void this.#send(item);
    }
    if (this.#tally.processed === this.#items.length) this.#close();
  }

  #mayGo() {
    if (this.#state !== "running" || offline() || this.#inFlight.size >= this.#abreast) return false;
    if (this.#hold !== null && this.#isOver(this.#hold)) this.#hold = null;
    return this.#hold === null;
  }

  /** @returns {Item | undefined} */
  #takeNext() {
    const back = this.#again.shift();
    if (back !== undefined) return back;
    while (this.#next < this.#items.length) {
      const item = this.#items[this.#next];
      this.#next += 1;
      if (item?.outcome === null) return item;
    }
    return undefined;
  }

  /** @param {Item} item one round: until it is settled or goes back to the line */
  async #send(item) {
    this.#inFlight.add(item);
    const sentAt = Date.now();
    try {
      const data = await this.#recordOf(item);
      const { data: created } = await this.#guarded(() => this.#attempt(item, data), {
        resourceName: "contacts",
        operation: "create",
        idempotent: true,
      });
      this.#wentWell();
      this.#settle(item, "imported", { id: created.id });
    } catch (error) {
      await this.#wentWrong(item, answerOf(error), sentAt);
    } finally {
      this.#inFlight.delete(item);
      this.#pump();
    }
  }

  /** The contact with its company and tags, one lookup after the other: rows in flight are requests in flight. @param {Item} item */
  async #recordOf({ row, key }) {
    const contact = toContact(row, new Date(this.#startedAt));
    const company = companyOf(row);
    if (company !== null) contact.company_id = await this.#related.company(company);
    for (const tag of tagsOf(row)) contact.tags.push(await this.#related.tag(tag));
    return { ...contact, import_key: importKeyOf(this.#options.origin, "contacts", key) };
  }

  /**
   * A call through the service; what each attempt met is counted here, where it is still the server's own answer.
   *
   * @template T
   * @param {() => Promise<T>} call
   * @param {{ resourceName: string; operation: string; idempotent: boolean }} about
   * @returns {Promise<T>}
   */
  async #guarded(call, about) {
    if (this.#ended) throw new DOMException("The import has ended", "AbortError");
    /** @type {Call} */
    const open = { waitsUntil: null, stop: new AbortController() };
    this.#calls.add(open);
    try {
      return await this.#options.service.executeWithRetry(
        () => {
          open.waitsUntil = null;
          return this.#counted(call);
        },
        {
          ...about,
          signal: open.stop.signal,
          onWait: ({ untilTime }) => {
            open.waitsUntil = untilTime;
          },
        },
      );
    } finally {
      this.#calls.delete(open);
    }
  }

  /** @template T @param {() => Promise<T>} call @returns {Promise<T>} */
  async #counted(call) {
    try {
      const result = await call();
      this.#answered();
      return result;
    } catch (error) {
      const { kind } = answerOf(error);
      if (kind === "refused") this.#tally.throttled += 1;
      if (kind !== "unanswered" && kind !== "aborted") this.#answered();
      throw error;
    }
  }

  /** @param {Item} item @param {object} data */
  async #attempt(item, data) {
    item.attempts += 1;
    if (item.attempts > 1) this.#tally.retries += 1;
    const attempt = Promise.resolve(this.#options.dataProvider.create("contacts", { data }));
    item.attempt = attempt;
    try {
      return await attempt;
    } catch (error) {
      if (answerOf(error).kind === "unanswered") item.mayBeWritten = true;
      throw error;
    }
  }

  #answered() {
    this.#answers += 1;
    this.#answeredAt = Date.now();
    this.#unansweredInARow = 0;
  }

  #wentWell() {
    this.#rounds = 0;
    this.#abreast = Math.min(this.#concurrency, this.#abreast + 1);
  }

  /** @param {Item} item @param {import("./answers.mjs").Answer} answer @param {number} sentAt */
  async #wentWrong(item, answer, sentAt) {
    if (answer.kind === "aborted" || this.#ended) return this.#settleAborted(item);
    switch (answer.kind) {
      case "refused":
        this.#waitAsTold(answer, sentAt);
        return this.#again.unshift(item);
      case "there":
        this.#wentWell();
        return this.#settleAlreadyThere(item);
      case "rejected":
        this.#wentWell();
        return this.#settle(item, "failed", answer);
      case "unanswered":
      case "faulty":
        return this.#sendAgainOrGiveUp(item, { ...answer, kind: answer.kind }, sentAt);
    }
  }

  /** @param {{ code?: string; retryAfterMs?: number }} answer @param {number} sentAt */
  #waitAsTold({ code, retryAfterMs }, sentAt) {
    const circuit = this.#options.service.getCircuitState();
    if (circuit.isOpen) return this.#holdFor("circuit", circuit.retryAfterMs, sentAt, true);
    // Half-open: somebody else's probe is under way.
    if (code === "RATE_LIMIT_CIRCUIT_OPEN") return this.#holdFor("circuit", PROBE_MS, sentAt);
    this.#holdFor("cooldown", retryAfterMs ?? this.#patienceMs(), sentAt);
  }

  /**
   * @param {Item} item
   * @param {{ kind: "unanswered" | "faulty"; code?: string; message: string }} answer
   * @param {number} sentAt
   */
  #sendAgainOrGiveUp(item, answer, sentAt) {
    // While nobody is answered it is the server or the line, and no row is to blame.
    if (this.#answers > item.answersSeen) item.strikes += 1;
    item.answersSeen = this.#answers;
    if (item.strikes >= MAX_STRIKES) {
      return this.#settle(
        item,
        answer.kind === "faulty" && !item.mayBeWritten ? "failed" : "unknown",
        answer,
      );
    }
    if (answer.kind === "faulty") return this.#again.unshift(item);
    const silentMs = Date.now() - this.#answeredAt;
    if (silentMs >= (this.#options.giveUpAfterMs ?? GIVE_UP_AFTER_MS)) {
      this.#giveUp(silentMs);
      return this.#settleAborted(item);
    }
    this.#again.unshift(item);
    this.#unansweredInARow += 1;
    if (this.#unansweredInARow >= SILENCE) this.#holdFor("offline", this.#patienceMs(), sentAt);
  }

  #patienceMs() {
    return Math.min(MAX_PATIENCE_MS, 500 * 2 ** this.#rounds);
  }

  /**
   * Rows that were on their way when a hold began may prolong it, but do not count as another round: ten answers to
   * one burst are one event.
   *
   * @param {"cooldown" | "circuit" | "offline"} reason
   * @param {number} ms Infinity: until the circuit closes
   * @param {number} sentAt
   */
  #holdFor(reason, ms, sentAt, endsWithCircuit = false) {
    const now = Date.now();
    const untilTime = Number.isFinite(ms) ? Math.max(now + ms, this.#hold?.untilTime ?? 0) : undefined;
    if (this.#hold === null || sentAt > this.#hold.since) this.#rounds += 1;
    this.#hold = { reason, since: this.#hold?.since ?? now, untilTime, endsWithCircuit };
    this.#abreast = 1;
  }

  /** @param {Hold} hold */
  #isOver({ untilTime, endsWithCircuit }) {
    if (untilTime !== undefined && Date.now() >= untilTime) return true;
    return endsWithCircuit && !this.#options.service.getCircuitState().isOpen;
  }

  /** @param {number} now @returns {Waiting | null} why nobody moves, or null */
  #waiting(now) {
    if (this.#state === "paused") return { reason: "paused", message: waitingMessage("paused") };
    if (offline()) return { reason: "offline", message: waitingMessage("offline") };
    const cause = this.#hold ?? this.#heldByService(now);
    if (cause === null) return null;
    const { reason, untilTime } = cause;
    return {
      reason,
      ...(untilTime === undefined ? {} : { untilTime }),
      message: waitingMessage(reason, untilTime),
    };
  }

  /** When every open call waits: until the first goes on. @param {number} now @returns {{ reason: "cooldown"; untilTime: number } | null} */
  #heldByService(now) {
    const waits = [...this.#calls].map(({ waitsUntil }) => waitsUntil ?? 0);
    if (waits.length === 0 || waits.some((until) => until <= now)) return null;
    return { reason: "cooldown", untilTime: Math.min(...waits) };
  }

  /** @param {number} silentMs */
  #giveUp(silentMs) {
    this.#state = "done";
    const minutes = Math.max(1, Math.round(silentMs / 60_000));
    this.#endNow("NO_ANSWER", `The server could not be reached for ${minutes} min.`);
  }

  /** @param {string} code @param {string} message for the rows that the server never took */
  #endNow(code, message) {
    this.#ending = { code, message };
    for (const { stop } of this.#calls) stop.abort();
    for (const item of this.#items) {
      if (item.outcome === null && !this.#inFlight.has(item)) this.#settleUndecided(item);
    }
    this.#again = [];
    this.#next = this.#items.length;
    this.#pump();
  }

  /** Its call has been aborted, but what it sent last may still be answered, and tells more than a guess. @param {Item} item */
  async #settleAborted(item) {
    if (item.attempt !== undefined) {
      const last = await within(GRACE_MS, item.attempt.then(createdId, answerOf));
      if (last === undefined) item.mayBeWritten = true;
      else if ("id" in last) return this.#settle(item, "imported", last);
      else if (last.kind === "there") return this.#settleAlreadyThere(item);
      else if (last.kind === "rejected") return this.#settle(item, "failed", last);
    }
    this.#settleUndecided(item);
  }

  /** @param {Item} item */
  #settleUndecided(item) {
    if (item.mayBeWritten) this.#settle(item, "unknown", { ...this.#ending, message: LOST });
    else this.#settle(item, "skipped", this.#ending);
  }

  /** @param {Item} item */
  #settleAlreadyThere(item) {
    if (item.mayBeWritten) this.#settle(item, "imported", {});
    else
      this.#settle(item, "duplicate", {
        code: "ALREADY_THERE",
        message: "The CRM already has this person from an earlier import.",
      });
  }

  /** @param {Item} item @param {RowOutcome} outcome @param {{ id?: number | string; code?: string; message?: string }} facts */
  #settle(item, outcome, { id, code, message }) {
    Object.assign(item, { outcome, id, code, message, attempt: undefined });
    this.#tally.count(outcome);
  }

  #close() {
    if (this.#ticking === undefined) return;
    clearInterval(this.#ticking);
    this.#ticking = undefined;
    if (this.#state !== "cancelled") this.#state = "done";
    this.#tell();
    this.#finish(this.#report());
  }

  #report() {
    const entries = this.#items.map(({ index, row, key, outcome, id, code, message, attempts }) => ({
      index,
      row,
      key,
      outcome: /** @type {RowOutcome} */ (outcome),
      ...(id === undefined ? {} : { id }),
      ...(code === undefined ? {} : { code }),
      ...(message === undefined ? {} : { message }),
      attempts,
    }));
    return createReport(entries, this.#options.lines, {
      ...this.#tally.counts,
      total: this.#items.length,
      retries: this.#tally.retries,
      throttled: this.#tally.throttled,
      durationMs: Date.now() - this.#startedAt,
    });
  }

  #tell() {
    try {
      this.#options.onProgress?.(this.progress());
    } catch (error) {
      // Whoever watches does not stop the import.
      console.error("onProgress threw", error);
    }
  }

  /** @param {Item} item */
  #lineOf(item) {
    return lineOf(item.index, this.#options.lines);
  }
}

/** @param {ImportOptions} options */
function checkOptions({ rows, dataProvider, service, origin, concurrency = 10 }) {
  if (!Array.isArray(rows)) throw new TypeError("rows must be an array");
  if (typeof dataProvider?.create !== "function") throw new TypeError("dataProvider must be a data provider");
  if (typeof service?.executeWithRetry !== "function")
    throw new TypeError("service must be a RateLimitService");
  if (typeof origin !== "string" || origin === "")
    throw new TypeError("origin must be a string that names what the keys belong to");
  if (!Number.isInteger(concurrency) || concurrency < 1)
    throw new TypeError("concurrency must be a whole number of at least 1");
}

/** The browser says so; elsewhere nobody knows. */
function offline() {
  return globalThis.navigator?.onLine === false;
}

/** @param {import("ra-core").CreateResult} result @returns {{ id: number | string }} */
function createdId({ data }) {
  return { id: data.id };
}

/** @template T @param {number} ms @param {Promise<T>} promise @returns {Promise<T | undefined>} undefined when it took longer */
async function within(ms, promise) {
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  const late = new Promise((resolve) => {
    timer = setTimeout(resolve, ms, undefined);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

const LOST =
  "It was sent, but the answer was lost. Upload the file again to be sure: nobody will be there twice.";

const TICK_MS = 100;
/** How long to leave a half-open circuit to whoever is probing it. */
const PROBE_MS = 250;
/** Longest wait without a hint. */
const MAX_PATIENCE_MS = 30_000;
/** Unanswered rows in a row, after the service's own retries, that mean the server and not the rows. */
const SILENCE = 3;
/** A row that the server chokes on must not hold up the others for ever. */
const MAX_STRIKES = 5;
/** Longer than a restart or a tunnel, shorter than a working day. */
const GIVE_UP_AFTER_MS = 15 * 60_000;
/** How long a cancelled import waits for answers to what it has sent. */
const GRACE_MS = 3000;
