/** What `tidegate/csv` takes and gives. */

/**
 * What can be read. A Node stream is an async iterable, too. A stream can be read once; everything else as often as you like.
 */
export type CsvInput =
  | string
  | Blob
  | ArrayBuffer
  | Uint8Array
  | ReadableStream<Uint8Array | string>
  | AsyncIterable<Uint8Array | string>;

/** The columns that an application knows, each with the other names under which files have it. */
export type CsvColumns<Name extends string = string> = Readonly<Record<Name, readonly string[]>>;

/**
 * Cells by column, always text. A column of `CsvOptions.columns` that the file lacks is "". Columns that are not in the
 * type are there as well, under the name that the file gives them.
 */
export type CsvRow<Name extends string = string> = Record<Name, string>;

/** Why a row should not be used. */
export interface CsvRowError {
  /** The column; `null`: the row as a whole. */
  field: string | null;
  /** For people. */
  message: string;
  /**
   * `TOO_FEW_FIELDS`, `TOO_MANY_FIELDS`, `CELL_TOO_LONG`, `BAD_QUOTES`, `UNREADABLE_TEXT` (bytes that the encoding does not
   * have, or a NUL), or what `validate` gave.
   */
  code?: string;
}

/** One row of a file. Rows in which every cell is blank are none. */
export interface CsvItem<Name extends string = string> {
  row: CsvRow<Name>;
  /** Place among the rows, from 0. */
  index: number;
  /** The line of the file on which it begins, from 1. */
  line: number;
  /** The cells as they stand in the file, in its order: what a report prints under `CsvHead.headers`. */
  cells: readonly string[];
  /** Missing where there are none. */
  errors?: readonly CsvRowError[];
}

/** What the first lines of a file say of it. */
export interface CsvHead {
  /** The columns as the file names them, without spaces around. A name that is there again is `name (2)`, an empty one `column 3`. */
  headers: readonly string[];
  /** The name of each in a row: that of a known column, else as in `headers`; `null` for a column left out by `mapping`. */
  columns: readonly (string | null)[];
  /** Those of `headers` that are no known column. Empty where no `columns` were given. */
  unknown: readonly string[];
  /** Known columns that the file lacks. */
  missing: readonly string[];
  /** Those of `headers` that name a column which stands further left already; they are in `unknown`, too. */
  repeated: readonly string[];
  /** The line of the file that names the columns, from 1. */
  line: number;
  delimiter: string;
  /** As far as has been read: `utf-8` until a byte says otherwise. */
  encoding: string;
}

export interface CsvOptions<Name extends string = string> {
  /**
   * The columns that you know, such as `atomicContacts`. Letter case, accents, spaces and punctuation do not count: `E-Mail
   * (Work)` is `email_work`. Without this every column keeps the name that the file gives it.
   */
  columns?: CsvColumns<Name>;
  /** The user's own choice: from a name in `CsvHead.headers` to a column, or to `null` to leave it out. Goes before `columns`. */
  mapping?: Readonly<Record<string, string | null>>;
  /** Columns without which the file is refused. A list inside the list: one of them will do. */
  required?: readonly (string | readonly string[])[];
  /**
   * Which row names the columns, from 1, blank ones counted, as a spreadsheet numbers them: 3 for two rows of instructions
   * first. "auto", the default, is the row among the first 25 in which most known columns are named, two at least unless it is
   * the first; and the first row that is not blank where there is no such row, or no `columns` were given.
   */
  headerRow?: number | "auto";
  /** One character or more. By default found out among comma, semicolon, tab and bar; a first line `sep=;` tells. */
  delimiter?: string;
  /**
   * A label of `TextDecoder`. By default UTF-16 with a byte order mark, UTF-8, or Windows-1252 where the bytes are no UTF-8.
   * Of no effect on text.
   */
  encoding?: string;
  /**
   * Tells what is wrong with a row, by column; nothing, or an empty list, when it is good. An error that it throws becomes one
   * of the row.
   */
  validate?(
    row: CsvRow<Name>,
    line: number,
  ): readonly { field?: string | null; message: string; code?: string }[] | undefined | null;
  /** A row with fewer cells than columns: "error", the default, says so; "fill" takes the rest as blank, as some programs write it. */
  shortRows?: "error" | "fill";
  /** Takes off the apostrophe that `toCsv` puts before what a spreadsheet would run. Default true. */
  unprotect?: boolean;
  /** One row more is a `CsvError`. Default 1,000,000. */
  maxRows?: number;
  /** Characters; a longer cell is an error of its row. Default 100,000. */
  maxCellLength?: number;
  /** What `id()` resolves with, for those who know better than the content: a stream's only one. */
  id?: string;
  /** SHA-256 for `id()`; by default that of `crypto.subtle`, which pages without https lack. */
  digest?(bytes: ArrayBuffer): ArrayBuffer | PromiseLike<ArrayBuffer>;
  /** Ends reading with the signal's reason, also a reading that waits for the stream. */
  signal?: AbortSignal;
}

/**
 * The rows of a file. Nothing is read until somebody asks, and no further than somebody asks: about a megabyte is in memory
 * whatever the length. Reading gives way to the page every few milliseconds.
 *
 * A file that cannot be used ends the iteration with a `CsvError`; so does a second iteration of a stream.
 */
export interface CsvSource<Name extends string = string> extends AsyncIterable<CsvItem<Name>> {
  /** Whether it can be iterated over again: all but streams. */
  readonly isRepeatable: boolean;
  /** Reads as far as the names of the columns; later calls give the same. Rejects with a `CsvError` for what is no CSV. */
  head(): Promise<CsvHead>;
  /**
   * 32 hexadecimal digits made from all of the content and from the options that move rows (`headerRow`, `delimiter`,
   * `encoding`), the same for the same file on every visit. Reads the file once. `null` where that cannot be told: for a
   * stream, and without `crypto.subtle` or `digest`.
   */
  id(): Promise<string | null>;
}
