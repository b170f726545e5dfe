/** Rows of an import into a table, through supabase-js: each once, however often it is sent. */

import { abortReason, aFunction, checked, count, RateLimitConfigError, type Rules } from "../api.ts";
import type {
  BatchAnswer,
  ImportBatch,
  ImportItem,
  ItemAnswer,
  Sender,
  SendFailure,
} from "../import/types.ts";

/** A client of supabase-js, or what its `schema(name)` answers. */
export interface SupabaseTables {
  // biome-ignore lint/suspicious/noExplicitAny: the real type depends on the database, and is checked where it is made
  from(table: any): any;
}

export interface SupabaseSenderOptions<Row> {
  /** The column that gets the id of the row. It is a `uuid` or `text` with a unique constraint, or the primary key. */
  idColumn: string;
  /**
   * The record of a row, as the table wants it; it may take its time, to look up a company for example. What it throws is
   * judged as what the server answers: an error without a status fails this row. Default: the row as it is.
   */
  map?: ((row: Row, item: ImportItem<Row>) => object | PromiseLike<object>) | undefined;
  /**
   * The most rows in one request. Default 100; 1 to 1000, because a project answers with 1000 rows at most, and what is not
   * answered would be taken for rows that were there before. Where a trigger does something slow for each row, less: Atomic
   * CRM's asks another server for a picture of each contact without an `avatar`, within the 8 s of a statement. 10 to 25
   * are right there.
   */
  maxBatch?: number | undefined;
  /** What ids are made for, beside the table. Default: the origin of the project. */
  origin?: string | undefined;
}

/**
 * A sender that inserts rows, and leaves those alone whose id is there already: `upsert` on `idColumn` with
 * `ignoreDuplicates`, one request for a batch, all of it or nothing. It is idempotent. A row that the server left alone is
 * `ignored`. Whatever else stands in `idColumn` of a record gives way to the id.
 *
 * A field that a record does not have gets the default of its column, whatever the other records of the batch have.
 *
 * It throws a SupabaseSendError for what is no success; the reason of the batch's signal when that aborts; and what `map`
 * throws. A row may be refused for another unique constraint than the one of `idColumn`: that fails it (`23505`).
 *
 * The role needs to be allowed to read `idColumn`: else Postgres refuses the insertion too, because it asks for it back.
 *
 * @throws RateLimitConfigError when `client`, `table` or an option is none.
 */
export function supabaseSender<Row = Record<string, unknown>>(
  client: SupabaseTables,
  table: string,
  options: SupabaseSenderOptions<Row>,
): Sender<Row> {
  if (typeof client?.from !== "function") {
    throw new RateLimitConfigError("client", client, "a client of supabase-js");
  }
  if (!isName(table)) throw new RateLimitConfigError("table", table, "a name");
  const {
    idColumn = "",
    map = (row: Row) => row as object,
    maxBatch = 100,
    origin = originOf(client),
  } = checked<SupabaseSenderOptions<Row>>("options", options, OPTIONS);

  const record = async (item: ImportItem<Row>): Promise<object> => {
    const mapped = await map(item.row, item);
    if (typeof mapped !== "object" || mapped === null || Array.isArray(mapped)) {
      throw new TypeError("map: expected an object, the record of a row.");
    }
    return { ...mapped, [idColumn]: item.id };
  };

  const send = async (batch: ImportBatch<Row>): Promise<BatchAnswer> => {
    const { items, signal } = batch;
    const records = await unsent(Promise.all(items.map(record)));
    if (signal.aborted) throw abortReason(signal);
    let headers: Headers | undefined;
    const heard = (response: Response): void => {
      headers = response.headers;
      batch.heard?.(headers);
    };
    const answer = await upsertOf(records).select(idColumn).abortSignal(direct(signal, heard));
    const inserted = idsIn(answer, { records, idColumn, signal, headers });
    const own = items.filter(({ id }) => inserted.has(id)).length;
    inserts ||= own > 0 || answer.status === 201;
    const isAnswer = own >= inserted.size && (inserts || (await isInsertedHere(records, signal)));
    if (!isAnswer) throw new SupabaseSendError(REDIRECTED, undefined);
    return items.map(({ id }) => ({ outcome: inserted.has(id) ? "imported" : "ignored", id }));
  };

  const upsertOf = (records: object[]): Upsert =>
    (client.from(table) as Upserting).upsert(records, {
      onConflict: idColumn,
      ignoreDuplicates: true,
      defaultToNull: false,
    });

  /**
   * A redirection (http where it should be https) makes a GET of a POST, whose answer is a success too: rows that others have
   * brought there, or none, as if ours had been there before. Until the server is known to insert, one of those is sent
   * again, and nothing asked for in return: then only a GET answers rows.
   */
  let inserts = false;
  const isInsertedHere = async ([first]: object[], signal: AbortSignal): Promise<boolean> => {
    const { status, data } = await upsertOf(first ? [first] : []).abortSignal(signal);
    inserts = isSuccess(status) && !Array.isArray(data);
    // What failed says nothing: the next batch is asked about.
    return inserts || !isSuccess(status);
  };

  const verify = async (
    _row: Row,
    { id }: ImportItem<Row>,
    signal: AbortSignal,
  ): Promise<ItemAnswer | undefined> => {
    const read = (client.from(table) as Selecting).select(idColumn).eq(idColumn, id).limit(1);
    let headers: Headers | undefined;
    const asked = read.abortSignal(
      direct(signal, (response) => {
        headers = response.headers;
      }),
    );
    // Since 2.102 postgrest-js repeats reads by itself.
    const answer = await (asked.retry?.(false) ?? asked);
    const found = idsIn(answer, { records: [], idColumn, signal, headers });
    return found.has(id) ? { outcome: "ignored", id } : undefined;
  };

  return Object.assign(send, { idempotent: true, maxBatch, table, verify, ...(origin && { origin }) });
}

/** What the server answered to a batch that is not imported. */
export class SupabaseSendError extends Error implements SendFailure {
  /** Of HTTP; 0: no answer, or none that can be understood. */
  readonly status: number;
  /** Postgres' (`23505`), PostgREST's (`PGRST205`), or one of ours (`RATE_LIMIT_…`) from a `resilientFetch` in the client. */
  readonly code: string | undefined;
  readonly details: unknown;
  readonly hint: unknown;
  /** What came with the answer, where a `resilientFetch` in the client saw it. */
  readonly headers: Headers | undefined;
  readonly retryAfterMs: number | undefined;
  readonly tooLarge: boolean | undefined;
  readonly stops: boolean | undefined;
  readonly sent: boolean | undefined;

  constructor(
    failure: SendFailure & { details?: unknown; hint?: unknown; headers?: Headers | undefined },
    cause: unknown,
  ) {
    super(failure.message, { cause });
    this.status = failure.status ?? 0;
    this.code = failure.code;
    this.details = failure.details;
    this.hint = failure.hint;
    this.headers = failure.headers;
    this.retryAfterMs = failure.retryAfterMs;
    this.tooLarge = failure.tooLarge;
    this.stops = failure.stops;
    this.sent = failure.sent;
  }

  /** A literal, because minifiers rename classes. */
  override get name(): string {
    return "SupabaseSendError";
  }
}

/**
 * On the signals of requests whose refusals are the import's own business: who is told of the answer, because supabase-js
 * keeps its headers to itself. A symbol of the global registry, because two copies of the package may meet.
 */
const DIRECT: unique symbol = Symbol.for("tidegate.direct");

interface DirectSignal extends AbortSignal {
  [DIRECT]?: (response: Response) => void;
}

/** The signal, marked. postgrest-js hands it to `fetch` as it is, unless the client has a timeout of its own. */
function direct(signal: AbortSignal, heard: (response: Response) => void): AbortSignal {
  return Object.assign(signal, { [DIRECT]: heard } satisfies Partial<DirectSignal>);
}

/** Whether a request with this signal is one of an import, which waits refusals out by itself. */
export function isDirect(signal: AbortSignal | undefined): boolean {
  return (signal as DirectSignal | undefined)?.[DIRECT] !== undefined;
}

/** Tells the import that made the request with this signal. */
export function tellDirect(signal: AbortSignal | undefined, response: Response): void {
  (signal as DirectSignal | undefined)?.[DIRECT]?.(response);
}

// ---- answers

/** What postgrest-js resolves with, whatever happened. */
interface Answer {
  status?: unknown;
  statusText?: unknown;
  error?: unknown;
  data?: unknown;
}

interface Upserting {
  upsert(records: object[], options: object): Upsert;
}

interface Upsert extends Abortable {
  select(columns: string): Abortable;
}

interface Selecting {
  select(columns: string): { eq(column: string, value: string): { limit(rows: number): Abortable } };
}

interface Abortable {
  abortSignal(signal: AbortSignal): PromiseLike<Answer> & { retry?(enabled: boolean): PromiseLike<Answer> };
}

interface Asked {
  records: object[];
  idColumn: string;
  signal: AbortSignal;
  headers: Headers | undefined;
}

/** The ids in the answer. @throws SupabaseSendError, or the signal's reason. */
function idsIn(answer: Answer, asked: Asked): Set<string> {
  const { status, data } = answer ?? {};
  // Not `error`: a 429 with the body `null` has none.
  if (!isSuccess(status) || !Array.isArray(data)) {
    if (asked.signal.aborted) throw abortReason(asked.signal);
    throw errorOf(answer, asked);
  }
  return new Set(
    data.map((row: Record<string, unknown> | null) => String(row?.[asked.idColumn]).toLowerCase()),
  );
}

function isSuccess(status: unknown): boolean {
  return typeof status === "number" && status >= 200 && status < 300;
}

function errorOf(answer: Answer, { records, idColumn, headers }: Asked): SupabaseSendError {
  const { message, code, details, hint } = placeOf(answer?.error);
  const said = textIn(message);
  const status = statusOf(answer);
  const facts = {
    status,
    code: textIn(code),
    details: details ?? undefined,
    hint: hint ?? undefined,
    headers,
  };
  // Of a row that is alone, less cannot be sent: what took it too long is the server's trouble, and not in the row.
  const maySplit = records.length > 1;
  const failed = (more: SendFailure): SupabaseSendError =>
    new SupabaseSendError({ ...facts, ...more }, answer?.error ?? undefined);

  if (status === 0) {
    const unwritable = unwritableIn(records);
    if (unwritable)
      return new SupabaseSendError({ message: unwritable, status: 400, sent: false }, undefined);
    // Nobody of us aborted it: it is the timeout that the client was made with.
    if (said?.startsWith("AbortError"))
      return failed({ message: "TimeoutError: No answer in time", ...(maySplit && { tooLarge: true }) });
    return failed({ message: said ?? "The server did not say which rows it has." });
  }
  return failed({
    message: wordsFor(facts.code, idColumn) ?? wordsOf(said) ?? `The server answered ${status}.`,
    ...(OURS.test(facts.code ?? "") && { retryAfterMs: delayIn(facts.hint), sent: false }),
    ...((status === TOO_LARGE || (maySplit && (TOO_LONG.has(status) || facts.code === "57014"))) &&
      facts.code !== NO_CONNECTION && { tooLarge: true }),
    ...(HOPELESS.has(facts.code ?? "") && { stops: true }),
  });
}

/**
 * The status as the server sent it: postgrest-js makes a success of a 404 without a body, which an insertion that asks for
 * its rows never has. Any other success without rows is no answer: it may have been done.
 */
function statusOf({ status }: Answer = {}): number {
  if (status === 204) return 404;
  return typeof status === "number" && !isSuccess(status) ? status : 0;
}

/** An error is what the server's JSON was: any value. */
function placeOf(error: unknown): Record<string, unknown> {
  if (typeof error === "string") return { message: error };
  return typeof error === "object" && error !== null ? (error as Record<string, unknown>) : {};
}

function textIn(value: unknown): string | undefined {
  return typeof value === "string" && value !== "" ? value : undefined;
}

/** Words for people: a page of a proxy is none. */
function wordsOf(text: string | undefined): string | undefined {
  return text?.trimStart().startsWith("<") ? undefined : text?.slice(0, LONGEST_MESSAGE);
}

function wordsFor(code: string | undefined, idColumn: string): string | undefined {
  return code === NO_CONSTRAINT
    ? `The column "${idColumn}" needs a unique constraint, so that a row is not imported twice.`
    : undefined;
}

/** The answer of resilientFetch says so in words, because supabase-js drops its headers. */
function delayIn(hint: unknown): number | undefined {
  const seconds = /(\d+) seconds/.exec(String(hint))?.[1];
  return seconds === undefined ? undefined : Number(seconds) * 1000;
}

/** Why the records cannot be written as JSON: postgrest-js tells that as if the connection had been lost. */
function unwritableIn(records: object[]): string | undefined {
  try {
    JSON.stringify(records, (_, value) => (typeof value === "bigint" ? String(value) : value));
    return undefined;
  } catch (error) {
    return `The row cannot be written as JSON: ${error instanceof Error ? error.message : String(error)}`;
  }
}

/** What fails here fails before the request: said so, unless it is no object that could say it. */
async function unsent<T>(promise: Promise<T>): Promise<T> {
  try {
    return await promise;
  } catch (error) {
    if (typeof error === "object" && error !== null && Object.isExtensible(error)) {
      Object.assign(error, { sent: false });
    }
    throw error;
  }
}

/** Of a client (`supabaseUrl`), or of what its `schema` answers (`url`). */
function originOf(client: object): string | undefined {
  const { supabaseUrl, url } = client as { supabaseUrl?: unknown; url?: unknown };
  try {
    return new URL(String(supabaseUrl ?? url)).origin;
  } catch {
    return undefined;
  }
}

function isName(value: unknown): boolean {
  return typeof value === "string" && value !== "";
}

const OPTIONS: Rules<SupabaseSenderOptions<never>> = {
  idColumn: { expected: "the name of a column", holds: isName, needed: true },
  map: aFunction,
  maxBatch: count(1, 1_000),
  origin: { expected: "an origin", holds: isName },
};

const OURS = /^RATE_LIMIT_/;

/** The body. */
const TOO_LARGE = 413;

/** A request, or what stands behind a gateway, that took too long (Supabase's own 544 is the database). */
const TOO_LONG = new Set([408, 504, 524, 544]);

/** No connection to the database became free in time: a 504 that is about everybody's requests, not about this one. */
const NO_CONNECTION = "PGRST003";

/** There is no unique constraint for `on_conflict`. */
const NO_CONSTRAINT = "42P10";

/** No constraint; no such table, for Postgres and for PostgREST; no such schema. */
const HOPELESS = new Set([NO_CONSTRAINT, "42P01", "PGRST205", "PGRST106"]);

/** A message is shown in a table of rows. */
const LONGEST_MESSAGE = 500;

const REDIRECTED: SendFailure = {
  message:
    "The server answered as if it had not been asked to insert anything. The request may have been redirected: check the address of the project (https).",
  stops: true,
};
