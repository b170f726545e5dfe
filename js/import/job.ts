/** An import as its owner holds it: begins, is paused, tells how it goes, ends. */

import { Emitter, type Platform, platform, type RateLimitService, Waits } from "../api.ts";
import { Turns } from "../turns.ts";
import { type SteadyAlarm, steadyAlarm } from "./alarm.ts";
import { Engine, type Pulse, skipped } from "./engine.ts";
import { ImportError } from "./errors.ts";
import { rowId } from "./ids.ts";
import type { OpenStore } from "./journal/store.ts";
import { type Claim, type JobRecord, type Journal, openJournal } from "./journal.ts";
import { Keeper, knownKeys, type Left, leftOf } from "./keeper.ts";
import type { KeySet } from "./key-set.ts";
import { Ledger } from "./ledger.ts";
import { Life, watchCircuit } from "./life.ts";
import type { Checked } from "./options.ts";
import { recalled, remember } from "./pace.ts";
import { SETTLING_MS } from "./plain-desk.ts";
import type {
  ImportEvents,
  ImportJob,
  ImportOptions,
  ImportPlan,
  ImportProgress,
  ImportReport,
  ImportStop,
  WaitReason,
} from "./public.ts";
import { progressOf, reportOf } from "./report.ts";
import { keyOf, Scan } from "./scan.ts";
import { type RowSource, sourceOf } from "./source.ts";
import { type Cooldown, stopWords, waitingOf } from "./words.ts";

/** What is known once the rows were looked through. */
interface Prepared<Row> {
  scan: Scan<Row>;
  /** All rows; `null`: nobody knows before they were read. */
  total: number | null;
  record: JobRecord;
  journal: Journal;
  known: KeySet;
}

/** What a job has from whoever made it. */
export interface JobOrigins<Row> {
  /** Another import with the same options, of other rows, perhaps none. */
  again(rows: ImportOptions<Row>["rows"]): ImportJob<Row>;
  /** What has no rows is no mistake. */
  mayBeEmpty: boolean;
  /** For imports without a service: it only judges failures. */
  judge(): RateLimitService;
}

export class Job<Row> implements ImportJob<Row> {
  readonly #options: Checked<Row>;
  readonly #source: RowSource<Row>;
  readonly #origins: JobOrigins<Row>;
  readonly #emitter: Emitter<ImportEvents<Row>>;
  readonly #platform: Platform;
  readonly #waits: Waits;
  /** Made at the first wait: a job that never starts leaves nothing on the page. */
  #alarm: SteadyAlarm | null = null;
  #ledger: Ledger<Row>;
  /** Ends what can be waited for before rows are sent. */
  readonly #cancelling = new AbortController();

  #id: string;
  #preparing: Promise<Prepared<Row>> | null = null;
  #planning: Promise<ImportPlan> | null = null;
  #running: Promise<ImportReport<Row>> | null = null;
  #engine: Engine<Row> | null = null;
  #keeper: Keeper | null = null;
  #total: number | null = null;
  /** The columns of a CSV file. */
  #headers: readonly string[] | null = null;
  #report: ImportReport<Row> | null = null;
  #isPaused = false;
  #isElsewhere = false;
  #storage: string | null = null;
  #toldAt = Number.NEGATIVE_INFINITY;
  #telling = false;

  constructor(options: Checked<Row>, origins: JobOrigins<Row>) {
    this.#options = options;
    this.#origins = origins;
    this.#source = sourceOf(options.rows);
    this.#id = options.id ?? "";
    const log = options.logger ?? console;
    this.#emitter = new Emitter((error) => log.error("A listener of an import threw", error));
    this.#platform = platform(options.host, (ms, signal) => {
      this.#alarm ??= steadyAlarm();
      return this.#alarm(ms, signal);
    });
    this.#waits = new Waits(this.#platform);
    this.#ledger = this.#newLedger();
    const { signal } = options;
    if (signal?.aborted) this.cancel();
    else signal?.addEventListener("abort", this.#cancelled);
  }

  get id(): string {
    return this.#id;
  }

  get progress(): ImportProgress {
    const engine = this.#engine;
    const { total, counts } = this.#ledger;
    return progressOf({
      counts,
      total: this.#total ?? total,
      isTotalKnown: this.#total !== null || engine?.isRead === true,
      desk: engine && { ...this.#pulse(engine), stats: engine },
      waiting: this.#waiting(this.#platform.now()),
      ended: this.#report && (this.#report.stopped?.reason === "cancelled" ? "cancelled" : "done"),
    });
  }

  /** Before all rows were read, the desk knows less than we about how many are left. */
  #pulse(engine: Engine<Row>): Pulse {
    const pulse = engine.pulse();
    const { rowsPerSecond, etaMs } = pulse.progress;
    if (etaMs || engine.isRead || this.#total === null || rowsPerSecond <= 0 || this.#isPaused) return pulse;
    const { open, inFlight, toVerify } = pulse.counts;
    const ms = (1_000 * (this.#total - this.#ledger.total + open + inFlight + toVerify)) / rowsPerSecond;
    return { ...pulse, progress: { rowsPerSecond, etaMs: [0.8 * ms, 1.4 * ms] } };
  }

  on<E extends keyof ImportEvents<Row>>(
    event: E,
    listener: (event: ImportEvents<Row>[E]) => void,
  ): () => void {
    return this.#emitter.on(event, listener);
  }

  plan(): Promise<ImportPlan> {
    this.#planning ??= this.#plan();
    return this.#planning;
  }

  async #plan(): Promise<ImportPlan> {
    const { scan, total, journal, record, known } = await this.#prepared();
    if (total === null) {
      throw new ImportError(
        "IMPORT_SOURCE_USED",
        "These rows can be read only once: they are looked at as they are sent.",
      );
    }
    // At its end the journal is closed, and knows nothing of it any more.
    const found = this.#report ? undefined : await earlier(journal, record);
    const left = found && (await leftOf(journal, record, found));
    const { fresh, duplicates, invalid } = scan.plan;
    let alreadyImported = 0;
    const turns = new Turns();
    for (let index = 0; index < total; index++) {
      if (turns.due()) await turns.next();
      if (!scan.isFresh(index)) continue;
      const [high, low] = scan.hashOf(index);
      if (left?.done.has(high, low) || known.has(high, low)) alreadyImported++;
    }
    return { total, fresh: fresh - alreadyImported, duplicatesInFile: duplicates, invalid, alreadyImported };
  }

  start(): Promise<ImportReport<Row>> {
    this.#running ??= this.#run();
    return this.#running;
  }

  pause(): void {
    this.#isPaused = true;
    this.#engine?.pause();
    this.#changed();
  }

  resume(): void {
    this.#isPaused = false;
    this.#engine?.resume();
    this.#changed();
  }

  cancel(): void {
    this.#cancelling.abort(new DOMException("The import was cancelled.", "AbortError"));
    this.#engine?.stop("cancelled");
  }

  retryFailed(): ImportJob<Row> {
    if (!this.#report)
      throw new ImportError("IMPORT_NOT_DONE", "The import still runs: what fails is known at its end.");
    const failed = this.#report.rows({ outcome: "failed" });
    const source = this.#source;
    if (source.rows || failed.every(({ row }) => row !== undefined)) {
      return this.#again(failed.map(({ row }) => row as Row));
    }
    const wanted = new Set(failed.map(({ index }) => index));
    return this.#again(() => only(source, wanted));
  }

  /** Its report has the columns of the same file. */
  #again(rows: ImportOptions<Row>["rows"]): ImportJob<Row> {
    const job = this.#origins.again(rows);
    if (#headers in job) job.#headers = this.#headers;
    return job;
  }

  // ---- before rows are sent

  #prepared(): Promise<Prepared<Row>> {
    this.#preparing ??= this.#prepare();
    return this.#preparing;
  }

  async #prepare(): Promise<Prepared<Row>> {
    const { key, validate, duplicates, maxRows, send, name = "", host, checkpoint } = this.#options;
    const source = this.#source;
    const scan = new Scan<Row>({ key, validate, duplicates, maxRows });
    const isAgain = await source.isAgain();
    if (isAgain) await scan.all(source, { signal: this.#cancelling.signal });
    else if (duplicates !== "first") {
      throw new ImportError(
        "IMPORT_SOURCE_USED",
        `duplicates: "${duplicates}" needs rows that can be read twice: give a function that opens them.`,
      );
    }
    this.#total = isAgain ? scan.total : null;
    const { origin = "", table = "" } = send;
    const content = isAgain ? scan.contentId : (this.#options.id ?? "");
    const named = this.#options.id ?? (await source.id()) ?? content;
    this.#id =
      this.#options.id ??
      rowId({ origin, table }, `import ${named === "" ? this.#platform.random() : named}`);
    this.#ledger = this.#newLedger();
    this.#headers = (await source.headers()) ?? this.#headers;
    const now = this.#platform.wall();
    const record: JobRecord = {
      version: 1,
      id: this.#id,
      ...{ name, source: content, origin, table },
      ...{ createdAt: now, updatedAt: now, total: this.#total },
      counts: { ...this.#ledger.counts },
      state: "open",
    };
    // What nobody can find again is not worth a place on disk; and Node has none that it would know of by itself.
    const isLasting =
      checkpoint !== false && named !== "" && (checkpoint !== true || "indexedDB" in globalThis);
    const journal = await openJournal({
      host,
      onDegraded: (words) => this.#notice(words, "storage"),
      ...(isLasting
        ? typeof checkpoint === "function" && { store: checkpoint as OpenStore }
        : { store: null }),
    });
    const known = await knownKeys(journal, record);
    return { scan, total: this.#total, record, journal, known };
  }

  #newLedger(): Ledger<Row> {
    return new Ledger({ job: this.#id, keepsRows: !this.#source.rows, spill: this.#options.spill });
  }

  async #run(): Promise<ImportReport<Row>> {
    const started = this.#platform.now();
    let prepared: Prepared<Row> | null = null;
    let claim: Claim | null = null;
    let stopped: ImportStop | null;
    try {
      prepared = await this.#preparedUnlessCancelled();
      if (prepared?.total === 0 && !this.#origins.mayBeEmpty) {
        throw new ImportError("IMPORT_EMPTY", "There are no rows to import.");
      }
      claim = prepared && (await this.#claimed(prepared.journal));
      stopped = await (prepared && claim ? this.#import(prepared, claim.lost) : this.#neverBegun());
    } finally {
      this.#options.signal?.removeEventListener("abort", this.#cancelled);
      this.#alarm?.close();
      await claim?.release();
      await prepared?.journal.close();
    }
    const { throttled = 0, retries = 0, requests = 0 } = this.#engine ?? {};
    this.#report = reportOf({
      ledger: this.#ledger,
      rows: this.#source.rows,
      keyOf: (row) => keyOf(row, this.#options.key),
      headers: this.#headers,
      stats: { throttled, retries, requests },
      durationMs: this.#platform.now() - started,
      ...{ stopped, storage: this.#storage },
    });
    this.#emitter.emit("progress", this.progress);
    this.#emitter.emit("done", this.#report);
    return this.#report;
  }

  /** `null`: it was cancelled meanwhile. */
  async #preparedUnlessCancelled(): Promise<Prepared<Row> | null> {
    try {
      return await this.#prepared();
    } catch (error) {
      if (this.#cancelling.signal.aborted) return null;
      throw error;
    }
  }

  /** `null`: it was cancelled before it began. */
  async #claimed(journal: Journal): Promise<Claim | null> {
    const { signal } = this.#cancelling;
    try {
      const claim = await journal.claim(this.#id, { signal });
      if (claim) return claim;
      this.#isElsewhere = true;
      this.#changed();
      return await journal.claim(this.#id, { signal, wait: true });
    } catch (error) {
      if (signal.aborted) return null;
      throw error;
    } finally {
      this.#isElsewhere = false;
    }
  }

  async #neverBegun(): Promise<ImportStop> {
    this.#total ??= this.#source.rows?.length ?? 0;
    await skipped(this.#ledger, this.#total);
    return { reason: "cancelled", message: stopWords("cancelled", { lastSent: 0 }) };
  }

  async #import(prepared: Prepared<Row>, claimLost: AbortSignal): Promise<ImportStop | null> {
    const { scan, total, record, journal } = prepared;
    const found = await journal.open(record);
    const left = found && (await leftOf(journal, record, found));
    const engine = this.#engineFor(prepared, left);
    this.#engine = engine;
    this.#keeper = new Keeper(
      journal,
      { ...record, createdAt: found?.createdAt ?? record.createdAt },
      {
        ask: (question) => engine.ask(question),
        ledger: this.#ledger,
        total,
        hashes: (segment) => scan.hashes(segment),
        isComplete: () => !left?.isIncomplete || engine.isRead,
        lost: (error) => engine.lost(error),
      },
      this.#platform,
    );
    if (this.#isPaused) engine.pause();
    if (this.#cancelling.signal.aborted) this.cancel();
    if (found) this.#letSettle(engine, found);
    const claimIsLost = (): void => engine.lost(claimLost.reason);
    claimLost.addEventListener("abort", claimIsLost);
    const stopWatching = this.#watch(engine);
    try {
      await engine.run();
      this.#total = this.#ledger.total;
      this.#learn();
      if (engine.stopped?.reason !== "taken-over") {
        await this.#keeper.finish(engine.stopped ? "cancelled" : "done");
      }
    } finally {
      claimLost.removeEventListener("abort", claimIsLost);
      stopWatching();
      engine.free();
    }
    return engine.stopped;
  }

  /** What was on its way when an earlier run ended may still be written: to look for it now would be too early. */
  #letSettle(engine: Engine<Row>, { updatedAt }: JobRecord): void {
    const { idempotent, send, verify = send.verify } = this.#options;
    const ms = Math.min(SETTLING_MS, updatedAt + SETTLING_MS - this.#platform.wall());
    if (!idempotent && verify && ms > 0) engine.hold("settling", this.#platform.now() + ms);
  }

  #engineFor({ scan, total, known }: Prepared<Row>, left: Left | null): Engine<Row> {
    const { send, verify = send.verify, key, timeoutMs, service, batch, concurrency, rate } = this.#options;
    const { origin = "", table = "" } = send;
    const { idempotent, stopWhen } = this.#options;
    return new Engine<Row>({
      config: {
        idempotent,
        verifies: verify !== undefined,
        batch,
        maxInFlight: concurrency ?? 100,
        maxRate: rate ?? null,
        stopWhen,
        known: recalled(service, origin, this.#platform.wall()),
      },
      ...{ scan, total, left, send, key, origin, table, timeoutMs },
      verify: verify?.bind(send),
      source: this.#source,
      ledger: this.#ledger,
      known: { keys: known, skip: this.#options.known === "skip" },
      // One of another copy of the package may not judge for us.
      service: service?.judgement ? service : this.#origins.judge(),
      platform: this.#platform,
      waits: this.#waits,
      keeper: () => this.#keeper as Keeper,
      on: {
        row: (row) => this.#emitter.emit("row", row),
        changed: () => this.#changed(),
        inFlight: (some) => this.#life?.inFlight(some),
        notice: (words) => this.#notice(words),
      },
    });
  }

  // ---- what goes on around it

  #life: Life | null = null;

  #watch(engine: Engine<Row>): () => void {
    const { service, keepAwake, guardUnload } = this.#options;
    const life = new Life(
      {
        offline: () => engine.hold("offline", null),
        online: () => engine.release("offline"),
        woke: () => engine.nudge(),
        leaving: () => {
          this.#keeper?.hurry();
          this.#learn();
        },
      },
      { keepAwake, guardUnload },
    );
    this.#life = life;
    life.start();
    const circuit = service && {
      hold: (until: number | null) => engine.hold("circuit", until),
      release: () => engine.release("circuit"),
    };
    const unwatch = service && circuit ? watchCircuit(service, circuit, this.#platform) : () => {};
    return () => {
      unwatch();
      life.stop();
    };
  }

  #learn(): void {
    const known = this.#engine?.ask((desk) => desk.learned());
    const { service, send } = this.#options;
    if (known) remember(service, send.origin ?? "", known, this.#platform.wall());
  }

  #notice(message: string, about?: "storage"): void {
    if (about) this.#storage = message;
    (this.#options.logger ?? console).warn(`Import: ${message}`);
    this.#emitter.emit("notice", { message });
  }

  readonly #cancelled = (): void => this.cancel();

  // ---- how it goes

  /** At most ten times a second; the last change is always told. */
  #changed(): void {
    if (this.#telling || !this.#emitter.has("progress")) return;
    const now = this.#platform.now();
    const due = this.#toldAt + PROGRESS_EVERY_MS;
    if (now >= due) {
      this.#tell();
      return;
    }
    this.#telling = true;
    this.#waits.add(due, () => {
      this.#telling = false;
      if (!this.#report) this.#tell();
    });
  }

  #tell(): void {
    this.#toldAt = this.#platform.now();
    this.#emitter.emit("progress", this.progress);
  }

  #waiting(now: number): ImportProgress["waiting"] {
    const reason = this.#waitReason(now);
    if (!reason) return null;
    const step = this.#engine?.step;
    const isUntilKnown = step?.do === "wait" && step.until !== null && !TIMELESS.has(reason);
    const wall = this.#platform.wall();
    // The host's clock need not be the one on the wall.
    const untilTime = isUntilKnown ? Math.round(wall + (step.until as number) - now) : null;
    return waitingOf(reason, untilTime, wall, this.#cooldown());
  }

  #cooldown(): Cooldown {
    const engine = this.#engine;
    if (!engine) return "limit";
    const { open, toVerify } = engine.pulse().counts;
    if (engine.holding === "settling" || (open === 0 && toVerify > 0)) return "settling";
    return engine.isFailing ? "failing" : "limit";
  }

  #waitReason(now: number): WaitReason | null {
    const engine = this.#engine;
    if (this.#report) return null;
    if (this.#isElsewhere) return "other-tab";
    // Before it has begun nothing goes on either.
    if (this.#isPaused || !this.#running) return "paused";
    if (!engine) return null;
    if (engine.storageSince !== null && now - engine.storageSince > WORTH_TELLING_MS) return "storage";
    const { step } = engine;
    if (step?.do !== "wait") return null;
    switch (step.reason) {
      case "held":
        return engine.holding === "settling" ? "cooldown" : engine.holding;
      case "paused":
        return "paused";
      case "in-flight":
        return null;
      case "cooldown":
        return "cooldown";
      default:
        return "pace";
    }
  }
}

/** The rows of a source that are wanted, read anew. */
async function* only<Row>(source: RowSource<Row>, wanted: ReadonlySet<number>): AsyncIterable<Row> {
  const reader = source.open();
  try {
    let index = 0;
    for (let rows = await reader.read(1_000); rows.length > 0; rows = await reader.read(1_000)) {
      for (const row of rows) if (wanted.has(index++)) yield row;
    }
  } finally {
    await reader.close();
  }
}

async function earlier(journal: Journal, { id }: JobRecord): Promise<JobRecord | undefined> {
  return (await journal.list()).find((job) => job.id === id);
}

/** Waits of which nobody knows the end. */
const TIMELESS: ReadonlySet<WaitReason> = new Set(["paused", "storage", "other-tab"]);

/** Ten times a second is as smooth as anybody sees. */
const PROGRESS_EVERY_MS = 100;

/** A shorter wait is a part of running. */
const WORTH_TELLING_MS = 1_000;
