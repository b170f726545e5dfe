/** The types of `tidegate/import`. Durations are milliseconds and end in `Ms`; times are milliseconds since 1970 and end in `Time`. */

import type { Host, Logger, RateLimitService } from "../api.ts";
import type { ImportItem, ItemAnswer, Sender } from "./types.ts";

/** What became of a row: exactly one of these. */
export type ImportOutcome =
  /** The server has it through this job. */
  | "imported"
  /** A row with this key is earlier in the source, or the server had it already. */
  | "duplicate"
  /** Refused for its content. */
  | "failed"
  /** Never sent: cancelled, stopped early, left out by `validate`. */
  | "skipped"
  /** Sent, the answer was lost, and nobody can tell. */
  | "unknown";

/** How many rows ended how. */
export type ImportCounts = Record<ImportOutcome, number>;

/** What rows come from. What can be read once only (a generator, a stream) needs an `id`, and has no `plan()`. */
export type ImportRows<Row> = Iterable<Row> | AsyncIterable<Row> | ReadableStream<Row> | OpenRows<Row>;

/** Called each time that the rows are to be read from the first one on. */
export type OpenRows<Row> = () =>
  | Iterable<Row>
  | AsyncIterable<Row>
  | ReadableStream<Row>
  | PromiseLike<Iterable<Row> | AsyncIterable<Row> | ReadableStream<Row>>;

/** What is wrong with a row; `message` is for people. */
export interface RowProblem {
  /** `null` or left out: the row as a whole. */
  field?: string | null | undefined;
  message: string;
  code?: string | undefined;
}

/** Nothing, `true` or an empty list: the row is good. A string is a message. */
export type RowVerdict = string | readonly RowProblem[] | boolean | null | undefined;

export interface ImportOptions<Row> {
  /** An array, an iterable, an async iterable (`readCsv` of `tidegate/csv`), a `ReadableStream`, or a function that opens one of them anew. */
  rows: ImportRows<Row>;
  /** What sends a batch: `supabaseSender`, `dataProviderSender`, or a function of yours. */
  send: Sender<Row>;
  /**
   * Names the source, so that an import that was interrupted goes on with it. By default a hash of its content; what can be
   * read only once needs one to be resumed.
   */
  id?: string | undefined;
  /** For people, in `findImports`: the name of the file. */
  name?: string | undefined;
  /** What makes a row the same person as another, such as `(row) => normalisedEmail(row.email)`. Default: all of the row. */
  key?: ((row: Row) => unknown) | undefined;
  /** Whether sending a row twice is the same as sending it once. Default: what `send.idempotent` says, else `false`. */
  idempotent?: boolean | undefined;
  /** Looks for a row whose answer was lost. Default: that of `send`. */
  verify?:
    | ((row: Row, item: ImportItem<Row>, signal: AbortSignal) => Promise<ItemAnswer | undefined>)
    | undefined;
  /** Rows in which it finds something are skipped, with its words. By default the `errors` that `readCsv` found. */
  validate?: ((row: Row, index: number) => RowVerdict) | undefined;
  /**
   * Of rows with one key: `"first"` sends the first, `"last"` the last; the others are duplicates. `"report"` skips all of
   * them, for somebody to decide. Default `"first"`. What can be read only once has no last, and nothing to report.
   */
  duplicates?: "first" | "last" | "report" | undefined;
  /**
   * What becomes of rows whose key a finished import of this browser brought there before, in the last 30 days: `"check"` asks
   * the server (sends again what is idempotent, looks up the rest, and skips what cannot be looked up); `"skip"` takes them for
   * duplicates without asking. Default `"check"`.
   */
  known?: "check" | "skip" | undefined;
  /** Rows in a request: so many, or as many as the server answers well. Default: `"auto"`, up to what `send.maxBatch` says; 1 where it says nothing. 1 to 10_000. */
  batchSize?: number | "auto" | undefined;
  /** Requests in flight that are never exceeded. Default: learned, at most 100. 1 to 1_000. */
  concurrency?: number | undefined;
  /**
   * Requests a second that are never exceeded; in a hidden tab, whose timers come late, on average over half a minute. Default: learned.
   * Above 0, up to 100_000.
   */
  rate?: number | undefined;
  /** How long an answer may take before it counts as lost. Default 60_000; 100 to 3_600_000. */
  timeoutMs?: number | undefined;
  /** The service that other calls to this server go through: its open circuit pauses the import, and what the import learns is kept for it. */
  service?: RateLimitService | undefined;
  /** Where the state is kept: `true` in IndexedDB where there is one, `false` in memory only, or a store such as `fileStore(folder)` of `tidegate/import/node`. Default `true`. */
  checkpoint?: boolean | CheckpointStore | undefined;
  /** Also keeps the data of rows that failed in the checkpoint. Default `false`: no data of rows is ever written. */
  spill?: boolean | undefined;
  /** Cancels the import. */
  signal?: AbortSignal | null | undefined;
  /** Gives up when so many of the rows that were answered have failed; `null`: never. Default `{ failedRatio: 0.5, after: 200 }`. */
  stopWhen?: { failedRatio: number; after: number } | null | undefined;
  /** More rows are an error. Default 1_000_000. */
  maxRows?: number | undefined;
  /** Keeps the screen on while rows are sent, where the browser can. Default `false`. */
  keepAwake?: boolean | undefined;
  /** Asks before the page is left while rows are on their way. Default `true`. */
  guardUnload?: boolean | undefined;
  /** Where what is noteworthy is said. Default `console`. */
  logger?: Logger | undefined;
  /** What replaces the platform's clock, timers and randomness. */
  host?: Partial<Host> | undefined;
}

/** A place for the state of imports: made by `fileStore(folder)` of `tidegate/import/node`, and handed in as it is. */
export type CheckpointStore = (surroundings: never, onLost: never) => Promise<unknown>;

export interface ImportPlan {
  total: number;
  /** To be sent. */
  fresh: number;
  duplicatesInFile: number;
  /** Left out by `validate`, or no rows at all. */
  invalid: number;
  /** Done by an earlier run of this import, or by another one of this browser. */
  alreadyImported: number;
}

/** Why nothing is sent at present. */
export type WaitReason = "pace" | "cooldown" | "circuit" | "offline" | "paused" | "storage" | "other-tab";

export interface ImportWaiting {
  reason: WaitReason;
  /** When it ends, where that is known. */
  untilTime?: number | undefined;
  /** For people. */
  message: string;
}

export interface ImportProgress extends ImportCounts {
  /** Rows that are known. */
  total: number;
  /** Whether those are all. */
  isTotalKnown: boolean;
  /** Without an outcome yet. All counts add up to `total`. */
  pending: number;
  /** Of those, on their way. */
  inFlight: number;
  /** Rows that ended in a second, of late. */
  ratePerSecond: number;
  /** How long the rest takes, from and to; `null`: nobody can tell. */
  etaMs: [number, number] | null;
  state: "running" | "waiting" | "paused" | "done" | "cancelled";
  waiting: ImportWaiting | null;
  /** Requests that were refused because of a limit, so far. */
  throttled: number;
  /** Requests that were sent again for another reason, so far. */
  retries: number;
  /** Requests sent, so far. */
  requests: number;
  /** The pace, in requests a second. */
  requestsPerSecond: number;
  /** Rows in a request, at present. */
  batchSize: number;
}

/** One row of a report. */
export interface ImportRow<Row> {
  /** Its place in the source; the first is 0. */
  index: number;
  /** Missing where it came from a stream and is not kept. */
  row?: Row | undefined;
  key: string;
  outcome: ImportOutcome;
  /** The server's, where it is known. */
  id?: string | number | undefined;
  code?: string | undefined;
  /** For people: the server's own words. */
  message?: string | undefined;
  /** How often it was sent; 0: never. Refusals because of a limit do not count. */
  attempts: number;
}

/** Why it ended before its rows did. */
export interface ImportStop {
  reason: "cancelled" | "refused" | "failed-ratio" | "trouble" | "source" | "taken-over";
  /** For people. */
  message: string;
  status?: number | undefined;
  code?: string | undefined;
  /** What was thrown. */
  cause?: unknown;
}

export interface ImportReport<Row = unknown> extends ImportCounts {
  total: number;
  retries: number;
  throttled: number;
  requests: number;
  durationMs: number;
  /** `null`: every row was tried. */
  stopped: ImportStop | null;
  /** What was wrong with the storage, for people; `null`: nothing. */
  storage: string | null;
  /** In the order of the source. */
  rows(filter?: { outcome?: ImportOutcome | readonly ImportOutcome[] | undefined }): ImportRow<Row>[];
  /**
   * A file for a spreadsheet: the columns of the source, then `import_outcome` and `import_message`. It can be corrected and
   * imported again. By default what failed and what is unknown.
   */
  toCSV(options?: {
    outcomes?: readonly ImportOutcome[] | undefined;
    delimiter?: string | undefined;
  }): string;
}

export interface ImportEvents<Row> {
  /** At most ten a second, and one at the end. */
  progress: ImportProgress;
  /** A row has its outcome. */
  row: ImportRow<Row>;
  /** Something that does not end the import and should be known, for people: a storage that fails, a page that may compile no WebAssembly. */
  notice: { message: string };
  done: ImportReport<Row>;
}

/** One import. Nothing is read or sent before `plan` or `start`. */
export interface ImportJob<Row = unknown> {
  /** As given; otherwise it is known, and no longer empty, once `plan` or `start` has read the rows. */
  readonly id: string;
  readonly progress: ImportProgress;
  /**
   * Reads the rows, and tells what would become of them. Sends nothing.
   *
   * @throws ImportError for a source that cannot be used.
   */
  plan(): Promise<ImportPlan>;
  /**
   * Imports, or goes on where an earlier run was interrupted. Later calls give the same promise.
   *
   * @throws ImportError for a source that cannot be used, before anything is sent. Afterwards it always resolves: what
   *   ended it early is in `stopped`.
   */
  start(): Promise<ImportReport<Row>>;
  /** What is on its way settles; nothing new is sent. */
  pause(): void;
  resume(): void;
  /** What is on its way settles; the rest is skipped. */
  cancel(): void;
  /** Calls `listener` at each event until the function that is returned is called. */
  on<E extends keyof ImportEvents<Row>>(
    event: E,
    listener: (event: ImportEvents<Row>[E]) => void,
  ): () => void;
  /** Another import, of the rows that failed. @throws ImportError while this one runs. */
  retryFailed(): ImportJob<Row>;
}

/** An import that was interrupted. */
export interface FoundImport {
  id: string;
  name: string;
  /** Rows that have an outcome. */
  done: number;
  /** `null`: nobody knows. */
  total: number | null;
  /** When it last changed. */
  at: number;
}
