/** What an import and a sender say to each other. */

/** One row on its way to the server. */
export interface ImportItem<Row> {
  row: Row;
  /** Its place in the source; the first is 0. */
  index: number;
  /** By which duplicates are found; see `rowKey`. */
  key: string;
  /** A UUID v5 of origin, table and key: the same for the same person in every file. See `rowId`. */
  id: string;
  /** How often it was sent, this time included: 1 for the first. */
  attempt: number;
}

/** What is sent in one request. */
export interface ImportBatch<Row> {
  items: readonly ImportItem<Row>[];
  /** Aborts when nobody waits for the answer any longer. */
  signal: AbortSignal;
  /** The same for each repetition of these very items. */
  idempotencyKey: string;
  /**
   * Tells what the server answered with, if the sender comes by it: its headers say how much it lets through (`RateLimit`,
   * `Retry-After`), also when all is well. An error that has `headers` says it by itself. The body is left alone.
   */
  heard?(answer: Response | Headers): void;
}

/** What became of a row. `id` is the server's, where it said one. */
export type ItemAnswer =
  | { outcome: "imported"; id?: string | number | undefined }
  | { outcome: "duplicate"; id?: string | number | undefined }
  /** Refused for its content. `message` is shown to people, `code` is the server's. */
  | { outcome: "failed"; code?: string | undefined; message: string }
  /** The server has it already: `imported` if this job sent it before, else `duplicate`. */
  | { outcome: "ignored"; id?: string | number | undefined };

/** One answer for each item, in their order; or one for all of them. Nothing: all are imported. */
// biome-ignore lint/suspicious/noConfusingVoidType: the answer of an async function without a `return`
export type BatchAnswer = readonly ItemAnswer[] | ItemAnswer | void;

/**
 * Sends a batch. It answers with what became of the rows, or throws (rejects) when the batch was refused, failed or lost:
 * what it throws is judged as any attempt is, see `SendFailure`.
 */
export interface Sender<Row> {
  (batch: ImportBatch<Row>): BatchAnswer | PromiseLike<BatchAnswer>;
  /** Sending an item twice is the same as sending it once. Default `false`: a row whose answer was lost is never sent again. */
  idempotent?: boolean | undefined;
  /** The most items that it takes at once. Default: any number. */
  maxBatch?: number | undefined;
  /** What the ids of the rows are made for: the table. */
  table?: string | undefined;
  /** And where that is: the origin of the server. */
  origin?: string | undefined;
  /**
   * Looks for a row whose answer was lost. Resolves with what became of it, or with `undefined` when it is certain that the
   * server does not have it; rejects when that cannot be told.
   */
  verify?(row: Row, item: ImportItem<Row>, signal: AbortSignal): Promise<ItemAnswer | undefined>;
}

/**
 * What an import reads of an error that a sender throws. Any error will do; these are the fields that are understood, beside
 * those that every call is judged by.
 *
 * | it has | it says |
 * |---|---|
 * | status 429 or 420, a vendor's code | refused because of a limit: the whole import is held |
 * | status 408, 5xx | the server failed: sent again, if that is idempotent |
 * | status 0, no status and words of a lost connection | the answer was lost |
 * | status 401 or 403, or `stops` | no row would fare better: the import ends with this error |
 * | status 413, or `tooLarge` | nothing of it was written, or it does not matter: less at once may do |
 * | any other status 4xx, or none | refused for the content of a row: the batch is halved until that row is alone |
 */
export interface SendFailure {
  /** For people: the server's own words. */
  message: string;
  /** Of HTTP; 0: no answer. */
  status?: number | undefined;
  /** The server's, such as `23505`. One of ours (`RATE_LIMIT_…`): a service further in refused, and nothing was sent. */
  code?: string | undefined;
  /** After how many milliseconds another try may be worth it. */
  retryAfterMs?: number | undefined;
  /** The batch was too much for the server, as by 413 or Postgres' 57014: fewer items may pass. */
  tooLarge?: boolean | undefined;
  /** It is about no row in particular, as a table that is not there: whatever is sent would end so. */
  stops?: boolean | undefined;
  /** `false`: it failed before anything was sent, so that sending doubles nothing, whatever the status says. */
  sent?: boolean | undefined;
}
