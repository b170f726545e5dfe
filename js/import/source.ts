/** What rows come from, whatever it is, as one thing to read. */

import { RateLimitConfigError } from "../api.ts";
import { nextTask, Turns } from "../turns.ts";
import { ImportError } from "./errors.ts";
import type { ImportRows } from "./public.ts";

export interface RowSource<Row> {
  /** The rows, where they are at hand: an array. Only as many as it had at first count, and nobody may change them. */
  readonly rows: readonly Row[] | null;
  /** Its rows are items of `readCsv`. Of a function this is known when it was opened once. */
  readonly isCsv: boolean;
  /**
   * Whether it can be read from the first row on as often as one likes: arrays, functions, files of `readCsv`, and iterables
   * that make a new iterator each time. Not so: generators and other iterators, streams of browsers and of Node.
   *
   * @throws ImportError IMPORT_SOURCE_FAILED when a file of `readCsv` cannot be read.
   */
  isAgain(): Promise<boolean>;
  /** Begins with the first row. @throws ImportError IMPORT_SOURCE_USED for what can be read only once, and was. */
  open(): RowReader<Row>;
  /** The columns of what `readCsv` reads, as the file names them; `null` for all else. @throws ImportError as `isAgain`. */
  headers(): Promise<readonly string[] | null>;
  /** A name for the content, where `readCsv` knows one; `null` for all else. @throws ImportError as `isAgain`. */
  id(): Promise<string | null>;
}

export interface RowReader<Row> {
  /**
   * The next rows: at least one, at most `most`, and no more than are there without waiting once there is one; none at the
   * end. Gives way to the page every few milliseconds. One call at a time.
   *
   * @throws ImportError IMPORT_SOURCE_FAILED when reading failed; what was read before has been given.
   */
  read(most: number): Promise<Row[]>;
  /** Tells the iterator or the stream to stop. Never rejects, harmless twice, and `read` finds the end afterwards. */
  close(): Promise<void>;
}

/**
 * A source of rows. Nothing is read before somebody asks.
 *
 * @throws RateLimitConfigError for what has no rows, such as a string, a file, or a promise.
 */
export function sourceOf<Row>(rows: ImportRows<Row>): RowSource<Row> {
  if (typeof rows !== "function" && !isOpened<Row>(rows)) {
    throw new RateLimitConfigError("rows", rows, "an array, an iterable, a stream or a function");
  }
  return Array.isArray(rows) ? listSource(rows) : openedSource(rows);
}

function listSource<Row>(rows: readonly Row[]): RowSource<Row> {
  const { length } = rows;
  return {
    rows,
    isCsv: false,
    isAgain: async () => true,
    open: () => {
      let position = 0;
      return {
        read: async (most) => {
          const from = position;
          position = Math.min(length, from + most);
          return rows.slice(from, position);
        },
        close: async () => {
          position = length;
        },
      };
    },
    headers: async () => null,
    id: async () => null,
  };
}

function openedSource<Row>(rows: Exclude<ImportRows<Row>, readonly Row[]>): RowSource<Row> {
  let csv = typeof rows === "function" ? null : csvOf(rows);
  const named = (): Promise<string | null> => readable(async () => (await csv?.id()) ?? null);
  return {
    rows: null,
    get isCsv() {
      return csv !== null;
    },
    async isAgain() {
      if (typeof rows === "function") return true;
      return csv ? (csv.isRepeatable ?? (await named()) !== null) : makesIterators(rows);
    },
    open() {
      if (typeof rows !== "function") return new Reader(cursorOf(rows));
      return new Reader(async () => {
        const opened: unknown = await rows();
        if (!isOpened<Row>(opened)) {
          throw new TypeError("the function gave no array, no iterable and no stream.");
        }
        csv = csvOf(opened);
        return cursorOf(opened);
      });
    },
    headers: () => readable(async () => (await csv?.head())?.headers ?? null),
    id: named,
  };
}

type Opened<Row> = Iterable<Row> | AsyncIterable<Row> | ReadableStream<Row>;

function isOpened<Row>(rows: unknown): rows is Opened<Row> {
  return typeof rows === "object" && rows !== null && (isStream(rows) || iteratorOf(rows) !== undefined);
}

/** Not `instanceof`: it may come from a frame. And not by iterating over it, which Safari cannot. */
function isStream<Row>(rows: object): rows is ReadableStream<Row> {
  return "getReader" in rows;
}

function iteratorOf<Row>(rows: object): (() => Cursor<Row>) | undefined {
  const { [Symbol.asyncIterator]: later, [Symbol.iterator]: now } = rows as AsyncIterable<Row> &
    Iterable<Row>;
  const method: unknown = later ?? now;
  return typeof method === "function" ? () => method.call(rows) : undefined;
}

/** Whether each iterator is another one, with all of the rows. */
function makesIterators(rows: object): boolean {
  const iterator = iteratorOf(rows);
  if (isStream(rows) || !iterator || isEmitter(rows)) return false;
  const one = iterator();
  return one !== rows && one !== iterator();
}

/** Streams of Node make new iterators of one and the same content, and so do others of their kind. */
function isEmitter(rows: object): boolean {
  return typeof (rows as { on?: unknown }).on === "function";
}

/** What `readCsv` of `tidegate/csv` gives, as far as it matters here. That entry is not loaded where nobody reads CSV. */
interface CsvLike {
  head(): Promise<{ headers: readonly string[] }>;
  id(): Promise<string | null>;
  /** Whether it is no stream. Where this is missing: what has a name for its content can be read again. */
  readonly isRepeatable?: boolean;
}

function csvOf(rows: object): CsvLike | null {
  const { head, id } = rows as Partial<CsvLike>;
  return typeof head === "function" && typeof id === "function" ? (rows as CsvLike) : null;
}

/** An iterator of either kind, or the reader of a stream. */
interface Cursor<Row> {
  next(): IteratorResult<Row> | PromiseLike<IteratorResult<Row>>;
  return?(): unknown;
}

/** Iterators and streams that somebody has begun to read, for another import too. */
const used = /* @__PURE__ */ new WeakSet<object>();

function cursorOf<Row>(rows: Opened<Row>): Cursor<Row> {
  if (isStream<Row>(rows)) {
    if (rows.locked) throw alreadyUsed();
    use(rows);
    const reader = rows.getReader();
    return { next: () => reader.read() as Promise<IteratorResult<Row>>, return: () => reader.cancel() };
  }
  const cursor = iteratorOf<Row>(rows)?.() as Cursor<Row>;
  use(isEmitter(rows) ? rows : cursor);
  return cursor;
}

function use(what: object): void {
  if (used.has(what)) throw alreadyUsed();
  used.add(what);
}

function alreadyUsed(cause?: unknown): ImportError {
  return new ImportError(
    "IMPORT_SOURCE_USED",
    "These rows can be read only once, and were: give a function that opens them anew.",
    cause === undefined ? {} : { cause },
  );
}

class Reader<Row> implements RowReader<Row> {
  readonly #turns = new Turns();
  readonly #open: (() => Promise<Cursor<Row>>) | null;
  #cursor: Cursor<Row> | null;
  /** Asked for, and not there yet. */
  #next: PromiseLike<IteratorResult<Row>> | null = null;
  #failure: ImportError | null = null;
  #isAtEnd = false;

  constructor(from: Cursor<Row> | (() => Promise<Cursor<Row>>)) {
    this.#open = typeof from === "function" ? from : null;
    this.#cursor = typeof from === "function" ? null : from;
  }

  async read(most: number): Promise<Row[]> {
    const rows: Row[] = [];
    try {
      await this.#readInto(rows, most);
    } catch (error) {
      // An iterator that threw is at its end: there is nothing to close.
      this.#next = null;
      if (!this.#isAtEnd) this.#failure = failureOf(error);
      this.#isAtEnd = true;
    }
    if (rows.length === 0 && this.#failure) throw this.#failure;
    return rows;
  }

  async close(): Promise<void> {
    if (this.#isAtEnd) return;
    this.#isAtEnd = true;
    try {
      const closed = this.#cursor?.return?.();
      // A generator answers only after the `next` that nobody waits for any more.
      if (this.#next) Promise.resolve(closed).catch(() => {});
      else await closed;
    } catch {
      // It was to stop, and it has.
    }
  }

  async #readInto(rows: Row[], most: number): Promise<void> {
    if (!this.#cursor && !this.#isAtEnd) await this.#begin();
    // By then whatever comes without waiting has come.
    let soon: Promise<void> | undefined;
    while (rows.length < most && !this.#isAtEnd) {
      let result = this.#next ?? (this.#cursor as Cursor<Row>).next();
      if (isPromise(result)) {
        this.#next = result;
        if (rows.length > 0) soon ??= nextTask();
        const first = await (soon ? Promise.race([result, soon]) : result);
        if (!first && soon) return;
        this.#next = null;
        result = first as IteratorResult<Row>;
      }
      if (this.#isAtEnd) return;
      const { done, value } = result;
      if (done) this.#isAtEnd = true;
      else rows.push(value);
      if (this.#turns.due()) await this.#turns.next();
    }
  }

  async #begin(): Promise<void> {
    const cursor = await this.#open?.();
    if (this.#isAtEnd) await cursor?.return?.();
    else this.#cursor = cursor ?? null;
  }
}

function isPromise<T extends object>(value: T | PromiseLike<T>): value is PromiseLike<T> {
  return typeof (value as PromiseLike<T>).then === "function";
}

async function readable<T>(read: () => Promise<T>): Promise<T> {
  try {
    return await read();
  } catch (error) {
    throw failureOf(error);
  }
}

/** An error of `readCsv` says to people what is wrong with their file; anything else says it to programmers. */
function failureOf(cause: unknown): ImportError {
  if (cause instanceof ImportError) return cause;
  const { name, code } = (cause ?? {}) as { name?: unknown; code?: unknown };
  if (code === "STREAM_USED") return alreadyUsed(cause);
  const words = wordsOf(cause);
  return new ImportError(
    "IMPORT_SOURCE_FAILED",
    name === "CsvError" ? words : `The rows could not be read: ${words}`,
    { cause },
  );
}

/** What something that was thrown says for itself. */
export function wordsOf(thrown: unknown): string {
  const { message } = (thrown ?? {}) as { message?: unknown };
  if (typeof message === "string" && message !== "") return message;
  return typeof thrown === "object" || typeof thrown === "function" || thrown === undefined
    ? "no reason was given."
    : String(thrown);
}
