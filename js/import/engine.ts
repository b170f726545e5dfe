/** The loop of an import: asks the desk what to do, does it, and tells what became of it. */

import { abortReason, type Platform, type RateLimitService, type Waits } from "../api.ts";
import { Turns } from "../turns.ts";
import { coreDesk } from "./core-desk.ts";
import {
  type Desk,
  type DeskConfig,
  type DeskCounts,
  DeskLostError,
  type DeskPace,
  type Step,
  type StopReason,
} from "./desk.ts";
import { answersOf, type Ending, endingOf, type Problem, type RowAnswer } from "./endings.ts";
import { rowId, uuidV5 } from "./ids.ts";
import { SEGMENT_ROWS } from "./journal.ts";
import {
  bitsOf,
  DONE_OTHERWISE,
  DONE_WELL,
  firstOf,
  type Keeper,
  type Left,
  OPEN,
  SENT,
  setBits,
} from "./keeper.ts";
import type { KeySet } from "./key-set.ts";
import type { Ledger } from "./ledger.ts";
import { plainDesk } from "./plain-desk.ts";
import type { ImportOutcome, ImportRow, ImportStop, RowProblem } from "./public.ts";
import { keyOf, type Look, type Scan } from "./scan.ts";
import { type RowReader, type RowSource, wordsOf } from "./source.ts";
import type { ImportItem, ItemAnswer, Sender } from "./types.ts";
import { stopWords } from "./words.ts";

/** What the engine works with. */
export interface EngineParts<Row> {
  config: DeskConfig;
  source: RowSource<Row>;
  scan: Scan<Row>;
  ledger: Ledger<Row>;
  send: Sender<Row>;
  verify: Sender<Row>["verify"];
  key: ((row: Row) => unknown) | undefined;
  origin: string;
  table: string;
  timeoutMs: number;
  /** All rows, where that is known before they are read. */
  total: number | null;
  /** What is done about rows whose key an earlier import brought there. */
  known: { keys: KeySet; skip: boolean };
  /** What an earlier run of this import left. */
  left: Left | null;
  /** Whose judgement of failures counts. */
  service: RateLimitService;
  platform: Platform;
  waits: Waits;
  /** Where it writes down what happens; set before `run`. */
  keeper: () => Keeper;
  on: EngineEvents<Row>;
}

export interface EngineEvents<Row> {
  row(row: ImportRow<Row>): void;
  /** Something is another way than it was. */
  changed(): void;
  /** Whether there are rows on their way. */
  inFlight(some: boolean): void;
  notice(message: string): void;
}

export interface Pulse {
  counts: DeskCounts;
  pace: DeskPace;
  progress: { rowsPerSecond: number; etaMs: [number, number] | null };
}

/** What is on its way. */
interface Flight {
  /** As the present desk calls it. */
  batch: number;
  rows: Uint32Array;
  isLookup: boolean;
  /** What had the headers of its answer. */
  said?: unknown;
}

/** What became of the rows of a batch, and how often they were judged; and whether that ends the import. */
interface Landing {
  rows: (readonly [outcome: ImportOutcome | null, attempts: number])[];
  stopped: StopReason | null;
}

/** A row that has no outcome yet: of a source that has it no longer, or one that was sent. */
interface Held<Row> {
  row: Row;
  key: string;
}

export class Engine<Row> {
  readonly #parts: EngineParts<Row>;
  #desk: Desk;
  /** What it waits for at present. */
  step: Step | null = null;
  /** Why it ended early. */
  stopped: ImportStop | null = null;
  throttled = 0;
  retries = 0;
  requests = 0;
  /** When it began to wait for the storage alone; `null`: it does not. */
  storageSince: number | null = null;

  readonly #flights = new Set<Flight>();
  readonly #held = new Map<number, Held<Row>>();
  /** Rows without an outcome whose answer was lost. */
  readonly #doubtful = new Set<number>();
  /** Rows that an earlier import brought there, and that are looked up. */
  readonly #lookedUpAsKnown = new Set<number>();
  #reader: RowReader<Row> | null = null;
  #reading: Promise<void> | null = null;
  #isRead = false;
  /** Rows that the desk knows of. */
  #admitted = 0;
  /** Those whose outcome was taken over after it had stopped. */
  #settled = 0;
  #isPaused = false;
  /** Why nothing may be sent, by whom: until when, or `null` until further notice. */
  readonly #holds = new Map<HoldReason, number | null>();
  #lastProblem: Problem | null = null;
  /** Rows that the server has judged, and those of them that failed. */
  #answeredRows = 0;
  #failedRows = 0;
  /** The last answer said that the server is in trouble, or there was none. */
  isFailing = false;
  #last: Pulse | null = null;
  #isFreed = false;
  #wake: (() => void) | null = null;
  #isAwake = false;
  readonly #turns = new Turns();

  constructor(parts: EngineParts<Row>) {
    this.#parts = parts;
    this.#desk = coreDesk(parts.config, parts.platform.random()) ?? this.#withoutCore();
  }

  get admitted(): number {
    return this.#admitted;
  }

  /** Whether the desk knows all rows. */
  get isRead(): boolean {
    return this.#isRead;
  }

  /** Sends everything. Resolves when every row has its outcome; never rejects. */
  async run(): Promise<void> {
    for (;;) {
      this.#feed();
      // Where everything is answered at once, nobody else would have a turn.
      if (this.#turns.due()) await this.#turns.next();
      if (this.stopped) await this.#settleAll();
      const step = this.ask((desk) => desk.next(this.#now()));
      this.step = step;
      if (step.do === "done") break;
      // At once: if the core were lost in between, nobody would know that these rows are on their way.
      if (step.do === "send") void this.#send(step.batch, step.rows);
      else if (step.do === "verify") void this.#lookUp(step.batch, step.row);
      this.#parts.on.changed();
      if ("until" in step) await this.#until(step.until);
    }
    // A source that hangs is not waited for: it has stopped, or was read to its end.
    await this.#reader?.close();
    await this.#skipRest();
  }

  pause(): void {
    this.#isPaused = true;
    this.#tell((desk) => desk.pause());
  }

  resume(): void {
    this.#isPaused = false;
    this.#tell((desk) => desk.resume());
  }

  get isPaused(): boolean {
    return this.#isPaused;
  }

  /** Ends it early: what is on its way settles, the rest is skipped. The first reason counts. */
  stop(reason: ImportStop["reason"], problem: Problem | null = null, cause?: unknown): void {
    if (this.stopped || this.#isFreed) return;
    this.#hasStopped(reason, problem, cause);
    this.#tell((desk) => desk.stop(DESK_REASONS[reason]));
  }

  #hasStopped(reason: ImportStop["reason"], problem: Problem | null, cause?: unknown): void {
    const { ledger } = this.#parts;
    const { message, code, status } = problem ?? {};
    const facts = {
      lastSent: ledger.lastSent(),
      answered: this.#answeredRows,
      failed: this.#failedRows,
      message,
      status,
    };
    this.stopped = {
      ...{ reason, message: stopWords(reason, facts) },
      ...(code && { code }),
      ...(status !== undefined && { status }),
      ...(cause !== undefined && { cause }),
    };
    void this.#reader?.close();
  }

  /** Nothing is sent until `untilTime` of the platform's clock; `null`: until `release` of the same reason. */
  hold(reason: HoldReason, untilTime: number | null): void {
    this.#holds.set(reason, untilTime);
    this.#applyHolds();
  }

  release(reason: HoldReason): void {
    if (this.#holds.delete(reason)) this.#applyHolds();
  }

  /** Which of the holds it is that lasts longest. */
  get holding(): HoldReason | null {
    let longest: HoldReason | null = null;
    let last = Number.NEGATIVE_INFINITY;
    for (const [reason, until] of this.#holds) {
      const time = until ?? Number.POSITIVE_INFINITY;
      if (time > Math.max(last, this.#now())) [longest, last] = [reason, time];
    }
    return longest;
  }

  get inFlight(): number {
    let rows = 0;
    for (const flight of this.#flights) rows += flight.rows.length;
    return rows;
  }

  /** Asks again at once: time may have passed that no timer told of. */
  nudge(): void {
    this.#isAwake = true;
    this.#wake?.();
  }

  /** The row, where it is still at hand. */
  rowOf(index: number): Row | undefined {
    const { rows } = this.#parts.source;
    return rows ? rows[index] : this.#held.get(index)?.row;
  }

  /** How it goes, by what the desk says. */
  pulse(): Pulse {
    const now = this.#now();
    this.#last ??= this.ask((desk) => ({
      counts: desk.counts(),
      pace: desk.pace(),
      progress: desk.progress(now),
    }));
    const last = this.#last;
    if (!this.#isFreed) this.#last = null;
    return last;
  }

  /** Gives back what it holds; what it said last stays. */
  free(): void {
    this.#last = this.pulse();
    this.#isFreed = true;
    this.#desk.free();
  }

  // ---- the desk

  /** Asks the desk; when the core was lost, the plain one takes over what it had, and is asked. */
  ask<A>(question: (desk: Desk) => A): A {
    try {
      return question(this.#desk);
    } catch (error) {
      if (!(error instanceof DeskLostError)) throw error;
      this.#takeOver();
      return question(this.#desk);
    }
  }

  #tell(change: (desk: Desk) => void): void {
    if (this.#isFreed) return;
    this.ask(change);
    this.nudge();
  }

  #withoutCore(): Desk {
    this.#parts.on.notice(
      "WebAssembly is not available here: rows are sent one at a time, without learning the pace.",
    );
    return plainDesk(this.#parts.config);
  }

  #takeOver(): void {
    const { config, ledger } = this.#parts;
    const desk = plainDesk(config);
    this.#parts.on.notice("The core failed: the import goes on one row at a time.");
    this.#desk = desk;
    desk.add(this.#admitted);
    for (let row = 0; row < this.#admitted; row++) {
      const outcome = ledger.outcome(row);
      if (outcome) desk.decide(row, outcome);
    }
    for (const flight of this.#flights) flight.batch = desk.adopt(flight.rows);
    for (const row of [...this.#doubtful, ...this.#lookedUpAsKnown]) desk.doubt(row);
    if (this.#isRead) desk.close();
    if (this.#isPaused) desk.pause();
    if (this.stopped) desk.stop(DESK_REASONS[this.stopped.reason]);
    this.#applyHolds();
  }

  #applyHolds(): void {
    const untils = [...this.#holds.values()];
    this.#tell((desk) => {
      if (untils.length === 0) desk.release();
      else desk.hold(untils.includes(null) ? null : Math.max(...(untils as number[])));
    });
  }

  // ---- rows come

  /** Reads on, unless somebody does already, or nobody wants more. */
  #feed(): void {
    if (this.#reading || this.#isRead || this.stopped) return;
    const wanted = this.#parts.source.rows ? SEGMENT_ROWS : this.ask((desk) => desk.wants());
    if (wanted > 0) this.#reading = this.#read(wanted).finally(() => this.#fed());
  }

  #fed(): void {
    this.#reading = null;
    this.nudge();
  }

  async #read(wanted: number): Promise<void> {
    try {
      this.#reader ??= this.#parts.source.open();
      // The journal writes whole segments: of one that it remembers, no row may be missing.
      const segment = Math.floor(this.#admitted / SEGMENT_ROWS);
      const whole = this.#parts.left?.segments.has(segment) === true;
      const most = firstOf(segment + 1) - this.#admitted;
      const rows: Row[] = [];
      let isAtEnd = false;
      do {
        const more = await this.#reader.read(whole ? most - rows.length : Math.min(wanted, most));
        isAtEnd = more.length === 0;
        rows.push(...more);
      } while (whole && !isAtEnd && rows.length < most);
      await this.#lookAndAdmit(rows);
      if (this.stopped || !isAtEnd) return;
      const { total } = this.#parts;
      if (total !== null && this.#admitted < total) {
        throw new Error(
          `there were ${total} rows when they were looked through, and now there are ${this.#admitted}`,
        );
      }
      this.#isRead = true;
      this.ask((desk) => desk.close());
    } catch (error) {
      // Its own words say again that the rows could not be read.
      const { cause = error } = error as { cause?: unknown };
      this.stop("source", { message: wordsOf(cause) }, error);
    }
  }

  /** Admits also those before a row that cannot be looked at. */
  async #lookAndAdmit(rows: readonly Row[]): Promise<void> {
    const looks: Look[] = [];
    try {
      for (const row of rows) {
        looks.push(this.#parts.scan.look(row, this.#admitted + looks.length));
        if (this.#turns.due()) await this.#turns.next();
        if (this.stopped) return;
      }
    } finally {
      if (!this.stopped) this.#admit(rows, looks);
    }
  }

  /** Tells the desk of rows, and of what is known of them. Listeners hear of it when all of that is done. */
  #admit(rows: readonly Row[], looks: readonly Look[]): void {
    const { ledger, source, on } = this.#parts;
    const first = this.#admitted;
    ledger.add(looks.length);
    this.ask((desk) => desk.add(looks.length));
    this.#admitted += looks.length;
    const decided: ImportRow<Row>[] = [];
    looks.forEach((look, i) => {
      const [index, row] = [first + i, rows[i] as Row];
      this.#held.set(index, { row, key: look.key });
      if (look.verdict === "fresh") return;
      const known = { index, row, key: look.key, outcome: outcomeOf(look), attempts: 0, ...problemIn(look) };
      this.#decide(known);
      decided.push(known);
    });
    this.#restore(first, rows.slice(0, looks.length));
    // Of an array they are at hand, and their keys are told again when they are sent.
    if (source.rows) for (let i = 0; i < looks.length; i++) this.#held.delete(first + i);
    for (const row of decided) on.row(row);
  }

  /** What is known without the server. The ledger comes first: a desk that takes over asks there. */
  #decide(row: ImportRow<Row>): void {
    this.#parts.ledger.note(row);
    this.ask((desk) => desk.decide(row.index, row.outcome));
    this.#forget(row.index);
  }

  /** Takes up what earlier runs and other imports left of these rows. */
  #restore(first: number, rows: readonly Row[]): void {
    const { left, known, ledger } = this.#parts;
    if (!left && known.keys.size === 0) return;
    const segment = Math.floor(first / SEGMENT_ROWS);
    const bits = new Uint8Array(SEGMENT_ROWS / 4);
    rows.forEach((row, i) => {
      const index = first + i;
      if (ledger.outcome(index) !== null) return;
      const value = this.#remembered(index, row);
      if (value !== OPEN) setBits(bits, index - firstOf(segment), value);
    });
    this.ask((desk) => desk.restore(segment, bits));
    for (let i = 0; i < rows.length; i++) this.#sync(first + i);
    this.#parts.keeper().changed();
  }

  /** Two bits for a row, or its outcome where more is known of it. */
  #remembered(index: number, row: Row): number {
    const { left, known, scan, config, verify } = this.#parts;
    const [high, low] = scan.hashOf(index);
    const at = index % SEGMENT_ROWS;
    const segment = left?.segments.get(Math.floor(index / SEGMENT_ROWS));
    const isIt = segment?.hashes?.[2 * at] === high && segment?.hashes?.[2 * at + 1] === low;
    const bits = segment && isIt ? bitsOf(segment.bits, at) : OPEN;
    if (bits === DONE_WELL) {
      const isDuplicate = (((segment?.duplicates?.[at >> 3] ?? 0) >> (at & 7)) & 1) === 1;
      return this.#recall(index, row, isDuplicate ? "duplicate" : "imported", 1);
    }
    const note = bits === DONE_OTHERWISE ? left?.notes.get(index) : undefined;
    if (note && left?.isSame) {
      this.ask((desk) => desk.decide(index, note.outcome as ImportOutcome));
      this.#parts.ledger.remember({ ...note, row });
      this.#forget(index);
      return OPEN;
    }
    // One that failed and has another content now has a new chance.
    if (note?.outcome === "failed") return OPEN;
    if (bits !== OPEN || left?.isIncomplete || left?.sent.has(high, low)) {
      this.#doubtful.add(index);
      return SENT;
    }
    if (!left?.done.has(high, low) && !known.keys.has(high, low)) return OPEN;
    if (known.skip || (!config.idempotent && !verify)) {
      return this.#recall(index, row, "duplicate", 0, KNOWN_WORDS);
    }
    if (config.idempotent) return OPEN;
    this.#lookedUpAsKnown.add(index);
    return SENT;
  }

  #recall(index: number, row: Row, outcome: ImportOutcome, attempts: number, message?: string): typeof OPEN {
    this.#decide({ index, row, key: this.#keyOf(index, row), outcome, attempts, message });
    return OPEN;
  }

  /** "" where `key` cannot say it any more. */
  #keyOf(index: number, row: Row): string {
    try {
      return this.#held.get(index)?.key ?? keyOf(row, this.#parts.key);
    } catch {
      return "";
    }
  }

  // ---- batches go

  async #send(batch: number, rows: Uint32Array): Promise<void> {
    const flight = this.#depart(batch, rows, false);
    let started = this.#now();
    try {
      const items = Array.from(rows, (index) => this.#itemOf(index));
      const idempotencyKey = uuidV5(BATCHES, items.map(({ id }) => id).join());
      if (!(await this.#mayGo(flight))) return;
      started = this.#now();
      const heard = (said: unknown): void => {
        flight.said = said;
      };
      const answer = await this.#bounded((signal) =>
        this.#parts.send({ items, signal, idempotencyKey, heard }),
      );
      this.#answered(flight, answersOf(answer, rows.length), this.#now() - started);
    } catch (error) {
      await this.#failed(flight, error, this.#now() - started);
    }
  }

  async #lookUp(batch: number, row: number): Promise<void> {
    const flight = this.#depart(batch, Uint32Array.of(row), true);
    const started = this.#now();
    try {
      const item = this.#itemOf(row);
      const answer = await this.#bounded((signal) => this.#parts.verify?.(item.row, item, signal));
      const latencyMs = this.#now() - started;
      if (answer) return this.#answered(flight, answersOf([this.#asKnown(row, answer)], 1), latencyMs);
      const landing = this.#land(flight, (desk) => {
        desk.answered(this.#now(), flight.batch, latencyMs);
        desk.missing(this.#now(), row);
      });
      this.#doubtful.delete(row);
      this.#lookedUpAsKnown.delete(row);
      this.#landed(flight, landing, NO_ANSWERS, null);
    } catch (error) {
      await this.#failed(flight, error, this.#now() - started);
    }
  }

  /** Of a row that another import brought there, this one has sent nothing. */
  #asKnown(row: number, answer: ItemAnswer): ItemAnswer {
    const isThere = answer.outcome === "ignored" || answer.outcome === "imported";
    return isThere && this.#lookedUpAsKnown.has(row) ? { outcome: "duplicate", id: answer.id } : answer;
  }

  #depart(batch: number, rows: Uint32Array, isLookup: boolean): Flight {
    const flight: Flight = { batch, rows, isLookup };
    this.#flights.add(flight);
    this.requests++;
    this.#parts.on.inFlight(true);
    this.#parts.keeper().changed();
    return flight;
  }

  #itemOf(index: number): ImportItem<Row> {
    const { origin, table, key: keyFrom } = this.#parts;
    const row = this.rowOf(index) as Row;
    // Not one that it no longer has: two rows without a key would be one.
    const key = this.#held.get(index)?.key ?? keyOf(row, keyFrom);
    this.#held.set(index, { row, key });
    return {
      row,
      index,
      key,
      id: rowId({ origin, table }, key),
      attempt: this.ask((desk) => desk.attempt(index)),
    };
  }

  /** Where sending twice is not sending once, the intent is written down before. */
  async #mayGo(flight: Flight): Promise<boolean> {
    if (!this.#parts.config.idempotent) {
      this.storageSince ??= this.#now();
      try {
        await this.#parts.keeper().intent();
      } catch (error) {
        this.lost(error);
      } finally {
        this.storageSince = null;
      }
    }
    if (!this.stopped) return true;
    this.#end(flight, { how: "lost", wasSent: false }, null);
    return false;
  }

  /** Somebody else runs the job by now, or the journal says that it is closed. */
  lost(error: unknown): void {
    // By its name: the store for files is built apart, and has a class of its own.
    if ((error as Error | null)?.name === "ClaimLostError") {
      this.stop("taken-over", null, error);
    }
  }

  /** Whoever dawdles is not waited for any longer. */
  async #bounded<T>(act: (signal: AbortSignal) => T | PromiseLike<T>): Promise<T> {
    const { timeoutMs, waits } = this.#parts;
    const controller = new AbortController();
    const { signal } = controller;
    let wait: ReturnType<Waits["add"]> | undefined;
    try {
      const late = new Promise<never>((_, reject) => {
        wait = waits.add(this.#now() + timeoutMs, () => {
          controller.abort(
            new DOMException(`No answer within ${Math.round(timeoutMs / 1000)} s`, "TimeoutError"),
          );
          reject(abortReason(signal));
        });
      });
      return await Promise.race([act(signal), late]);
    } finally {
      waits.remove(wait);
    }
  }

  // ---- batches end

  #answered(flight: Flight, answers: readonly RowAnswer[], latencyMs: number): void {
    this.isFailing = false;
    this.#hear(flight);
    const landing = this.#land(flight, (desk) => {
      desk.answered(this.#now(), flight.batch, latencyMs);
      flight.rows.forEach((row, i) => {
        desk.settle(this.#now(), row, answers[i]?.outcome ?? "unknown");
      });
    });
    this.#landed(flight, landing, answers, null);
  }

  async #failed(flight: Flight, error: unknown, durationMs: number): Promise<void> {
    const { service, config, ledger } = this.#parts;
    const { idempotent } = config;
    const situation = { service, idempotent, hasImported: ledger.counts.imported > 0, durationMs };
    const { ending, problem } = await endingOf(error, situation);
    flight.said ??= error;
    if (ending.how === "stops") {
      this.#end(flight, { how: "lost", wasSent: false }, problem, () => this.stop("refused", problem, error));
    } else {
      this.#end(flight, ending, problem);
    }
  }

  /** `before`: what is told of the import as a whole. It comes first, so that the rows do not go again. */
  #end(flight: Flight, ending: Ending, problem: Problem | null, before?: () => void): void {
    const { isLookup } = flight;
    this.isFailing = ending.how === "failed" || ending.how === "lost";
    if (ending.how === "throttled") this.throttled++;
    else if (ending.how !== "refused" || flight.rows.length > 1) this.retries++;
    const wasSent =
      !isLookup &&
      ((ending.how === "lost" && ending.wasSent) || (ending.how === "failed" && ending.maybeApplied));
    if (wasSent) for (const row of flight.rows) this.#doubtful.add(row);
    before?.();
    this.#hear(flight);
    const landing = this.#land(flight, (desk) => {
      const now = this.#now();
      const { batch } = flight;
      if (ending.how === "throttled") desk.throttled(now, batch, ending.hintMs);
      else if (ending.how === "lost") desk.lost(now, batch, ending.wasSent);
      else if (ending.how === "failed") desk.failed(now, batch, ending.maybeApplied);
      else if (ending.how === "too large") desk.tooLarge(now, batch);
      else desk.refused(now, batch);
    });
    this.#landed(flight, landing, NO_ANSWERS, problem);
  }

  /**
   * Tells the desk how a batch ended, and asks what that makes of its rows: in one go, because a core that is lost in
   * between would take the outcomes with it.
   */
  #land(flight: Flight, tell: (desk: Desk) => void): Landing {
    return this.ask((desk) => {
      tell(desk);
      const rows = Array.from(flight.rows, (row) => [desk.outcome(row), desk.attempt(row)] as const);
      return { rows, stopped: desk.stopped() };
    });
  }

  /** What the answer said of the limit counts for the ending that is told next. */
  #hear({ said }: Flight): void {
    if (said !== undefined) this.ask((desk) => desk.heard(said, this.#parts.platform.wall()));
  }

  #landed(
    flight: Flight,
    { rows, stopped }: Landing,
    answers: readonly RowAnswer[],
    problem: Problem | null,
  ): void {
    this.#flights.delete(flight);
    if (problem) this.#lastProblem = problem;
    const ended = rows.map(([outcome, attempts], i) => {
      const answer = answers[i] ?? (problem && { problem });
      return outcome && this.#note(flight.rows[i] as number, outcome, attempts, answer);
    });
    if (this.#flights.size === 0) this.#parts.on.inFlight(false);
    if (stopped && !this.stopped) this.#hasStopped(stopped, this.#lastProblem);
    this.#parts.keeper().changed();
    this.nudge();
    // The last, because who listens may do anything.
    for (const row of ended) if (row) this.#parts.on.row(row);
  }

  /** Takes over what the desk has decided of a row without an answer of the server. */
  #sync(index: number): void {
    if (this.#parts.ledger.outcome(index) !== null) return;
    const outcome = this.ask((desk) => desk.outcome(index));
    if (outcome === null) return;
    // It was to be looked up for what another import had sent.
    const isUnsent = outcome === "unknown" && this.#lookedUpAsKnown.has(index);
    const attempts = this.ask((desk) => desk.attempt(index));
    const row = this.#note(index, isUnsent ? "skipped" : outcome, attempts, null);
    if (row) this.#parts.on.row(row);
  }

  /** Enters an outcome into the ledger; `null`: it has one. */
  #note(
    index: number,
    outcome: ImportOutcome,
    asked: number,
    answer: Partial<RowAnswer> | null,
  ): ImportRow<Row> | null {
    const { ledger } = this.#parts;
    if (ledger.outcome(index) !== null) return null;
    const row = this.rowOf(index) as Row;
    const attempts = outcome === "skipped" ? 0 : asked;
    const { message, code } = (isGood(outcome) ? null : answer?.problem) ?? {};
    const key = this.#keyOf(index, row);
    const noted = { index, row, key, outcome, attempts, id: answer?.id, message, code };
    if (attempts > 0) this.#answeredRows++;
    if (attempts > 0 && outcome === "failed") {
      this.#failedRows++;
      if (message) this.#lastProblem = { message, code };
    }
    ledger.note(noted);
    this.#forget(index);
    return noted;
  }

  #forget(index: number): void {
    this.#held.delete(index);
    this.#doubtful.delete(index);
    this.#lookedUpAsKnown.delete(index);
  }

  /** After it has stopped: the desk has decided whatever is not on its way. */
  async #settleAll(): Promise<void> {
    while (this.#settled < this.#admitted) {
      this.#sync(this.#settled++);
      if (this.#turns.due()) await this.#turns.next();
    }
  }

  /** Rows of a source that is known whole, and was not read to its end. */
  async #skipRest(): Promise<void> {
    const { total, ledger } = this.#parts;
    if (total !== null && this.stopped) await skipped(ledger, total);
  }

  // ---- waiting

  #until(time: number | null): Promise<void> {
    if (this.#isAwake) {
      this.#isAwake = false;
      // Others have their turn, even where everything is answered at once.
      return Promise.resolve();
    }
    return new Promise((resolve) => {
      // Rounding may make it the present, of which the desk would say the same again and again.
      const until = time !== null && time <= this.#now() ? this.#now() + 1 : time;
      const wait = until === null ? undefined : this.#parts.waits.add(until, () => this.#wake?.());
      this.#wake = () => {
        this.#wake = null;
        this.#isAwake = false;
        this.#parts.waits.remove(wait);
        resolve();
      };
    });
  }

  #now(): number {
    return this.#parts.platform.now();
  }
}

/** Appends rows that were never looked at, until there are so many. */
export async function skipped(
  ledger: Pick<Ledger<never>, "total" | "add" | "note">,
  total: number,
): Promise<void> {
  const turns = new Turns();
  const first = ledger.total;
  ledger.add(total - first);
  for (let index = first; index < total; index++) {
    ledger.note({ index, key: "", outcome: "skipped", attempts: 0 });
    if (turns.due()) await turns.next();
  }
}

/** `settling`: what was on its way when an earlier run ended may still be written. */
export type HoldReason = "offline" | "circuit" | "settling";

function outcomeOf(look: Look): ImportOutcome {
  if (look.verdict === "invalid") return "skipped";
  return look.verdict === "failed" ? "failed" : "duplicate";
}

function problemIn(look: Look): RowProblem | object {
  if (look.verdict === "duplicate")
    return { message: `The same as row ${look.of + 1}.`, code: "DUPLICATE_IN_FILE" };
  return "message" in look ? { message: look.message, code: look.code } : {};
}

function isGood(outcome: ImportOutcome): boolean {
  return outcome === "imported" || outcome === "duplicate";
}

const DESK_REASONS: Readonly<Record<ImportStop["reason"], StopReason>> = {
  cancelled: "cancelled",
  refused: "refused",
  "failed-ratio": "failed-ratio",
  trouble: "trouble",
  source: "cancelled",
  "taken-over": "cancelled",
};

const NO_ANSWERS: readonly RowAnswer[] = [];

const KNOWN_WORDS = "An earlier import brought it there.";

/** The namespace of idempotency keys: a version 4 UUID, drawn once. */
const BATCHES = "6a0f3c5e-8f0b-4c59-9a0e-3d1f6c2b7e94";
