export type CsvErrorCode =
  | "EMPTY"
  | "BINARY"
  | "NOT_CSV"
  | "NO_HEADER"
  | "MISSING_COLUMNS"
  | "NO_ROWS"
  | "TOO_MANY_ROWS"
  | "BAD_QUOTES"
  | "BAD_OPTION"
  | "STREAM_USED";

/** A file that cannot be used. The message says what to do, to somebody who works with a spreadsheet. */
export class CsvError extends Error {
  override readonly name = "CsvError";
  readonly code: CsvErrorCode;
  /** The line of the file, from 1, where there is one to point to. */
  readonly line: number | undefined;

  constructor(code: CsvErrorCode, message: string, line?: number) {
    super(message);
    this.code = code;
    this.line = line;
  }
}
