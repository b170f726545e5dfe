import { answerOf } from "./answers.mjs";
import { Calls } from "./calls.mjs";
import { companyOf, importKeyOf, keyOf, tagsOf, toContact } from "./contact.mjs";
import { Hold } from "./hold.mjs";
import { waitingMessage } from "./messages.mjs";
import { createRelated } from "./related.mjs";
import { createReport, lineOf } from "./report.mjs";
import { Silence } from "./silence.mjs";
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
 * @property {number} [giveUpAfterMs] of trying without any answer; then the rest is skipped; default 15 minutes
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
  #tally = new Tally();
  #calls;
  #hold;
  #related;
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
  #silence = new Silence();
  /** Why rows that are undecided at the end are. */
  #ending = { code: "CANCELLED", message: "" };
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
    const { service, dataProvider, origin, concurrency = 10 } = options;
    this.#calls = new Calls(service);
    this.#hold = new Hold(concurrency, () => service.getCircuitState().isOpen);
    this.#related = createRelated({
      dataProvider,
      origin,
      guarded: (operation, about) => this.#calls.make(operation, about),
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
      throttled: this.#calls.throttled,
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
    return this.#state === "running" && !offline() && this.#hold.allows(this.#inFlight.size);
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
      const { data: created } = await this.#calls.make(() => this.#attempt(item, data), {
        resourceName: "contacts",
        operation: "create",
        idempotent: true,
      });
      this.#hold.ease();
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

  /** @param {Item} item @param {import("./answers.mjs").Answer} answer @param {number} sentAt */
  async #wentWrong(item, answer, sentAt) {
    if (answer.kind === "aborted" || this.#ended) return this.#settleAborted(item);
    switch (answer.kind) {
      case "refused":
        this.#waitAsTold(answer, sentAt);
        return this.#again.push(item);
      case "there":
        this.#hold.ease();
        return this.#settleAlreadyThere(item);
      case "rejected":
        this.#hold.ease();
        return this.#settle(item, "failed", answer);
      case "unanswered":
      case "faulty":
        return this.#sendAgainOrGiveUp(item, { ...answer, kind: answer.kind }, sentAt);
    }
  }

  /** @param {{ code?: string; retryAfterMs?: number }} answer @param {number} sentAt */
  #waitAsTold({ code, retryAfterMs }, sentAt) {
    const circuit = this.#options.service.getCircuitState();
    if (circuit.isOpen) {
      this.#hold.begin("circuit", circuit.retryAfterMs, { sentAt, endsWithCircuit: true });
    } else if (code === "RATE_LIMIT_CIRCUIT_OPEN") {
      // Half-open: somebody else's probe is under way.
      this.#hold.begin("circuit", PROBE_MS, { sentAt });
    } else {
      this.#hold.begin("cooldown", retryAfterMs ?? this.#hold.patienceMs, { sentAt });
    }
  }

  /**
   * @param {Item} item
   * @param {{ kind: "unanswered" | "faulty"; code?: string; message: string }} answer
   * @param {number} sentAt
   */
  #sendAgainOrGiveUp(item, answer, sentAt) {
    const { answers } = this.#calls;
    // While nobody is answered it is the server or the line, and no row is to blame.
    if (answers > item.answersSeen) item.strikes += 1;
    item.answersSeen = answers;
    if (item.strikes >= MAX_STRIKES) {
      const unsent = answer.kind === "faulty" ? "failed" : "skipped";
      return this.#settle(item, item.mayBeWritten ? "unknown" : unsent, answer);
    }
    if (answer.kind === "faulty") return this.#again.push(item);
    const { rows, ms } = this.#silence.lengthen(answers);
    if (ms >= (this.#options.giveUpAfterMs ?? GIVE_UP_AFTER_MS)) {
      this.#giveUp(ms);
      return this.#settleAborted(item);
    }
    this.#again.push(item);
    if (rows >= SILENT_ROWS) this.#hold.begin("offline", this.#hold.patienceMs, { sentAt });
  }

  /** @param {number} now @returns {Waiting | null} why nobody moves, or null */
  #waiting(now) {
    if (this.#state === "paused") return { reason: "paused", message: waitingMessage("paused") };
    if (offline()) return { reason: "offline", message: waitingMessage("offline") };
    const { held } = this.#hold;
    const reason = held?.reason ?? "cooldown";
    const untilTime = held === null ? (this.#calls.heldUntil(now) ?? undefined) : held.untilTime;
    if (held === null && untilTime === undefined) return null;
    const message = waitingMessage(reason, untilTime);
    return untilTime === undefined ? { reason, message } : { reason, untilTime, message };
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
    this.#calls.abort();
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
      throttled: this.#calls.throttled,
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
/** Unanswered rows in a row, after the service's own retries, that mean the server and not the rows. */
const SILENT_ROWS = 3;
/** A row that the server chokes on must not hold up the others for ever. */
const MAX_STRIKES = 10;
/** Longer than a restart or a tunnel, shorter than a working day. */
const GIVE_UP_AFTER_MS = 15 * 60_000;
/** How long a cancelled import waits for answers to what it has sent. */
const GRACE_MS = 3000;
