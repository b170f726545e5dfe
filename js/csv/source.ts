import { Turns } from "../turns.ts";
import { Decoder } from "./decoder.ts";
import { digestOf } from "./digest.ts";
import { CsvError } from "./errors.ts";
import { withoutApostrophe } from "./formula.ts";
import { dialectOf, headOf, isBlank, separatorLine } from "./header.ts";
import { isStream, type Pieces, piecesOf } from "./input.ts";
import { type CsvRecord, type Dialect, Records } from "./records.ts";
import { rowErrors } from "./rows.ts";
import { refuseOtherFiles, refuseOtherTexts } from "./sniff.ts";
import type { CsvHead, CsvInput, CsvItem, CsvOptions, CsvRow, CsvSource } from "./types.ts";

/**
 * The rows of a CSV file, to iterate over. Nothing is read before that.
 *
 * @throws CsvError BAD_OPTION for an option outside its range
 */
export function readCsv<Name extends string = string>(
  input: CsvInput,
  options: CsvOptions<Name> = {},
): CsvSource<Name> {
  assertOptions(options);
  return new Source(input, options);
}

class Source<Name extends string> implements CsvSource<Name> {
  readonly #input: CsvInput;
  readonly #options: CsvOptions<Name>;
  #head: Promise<CsvHead> | undefined;
  /** Begun by `head`: the next iteration goes on with it. */
  #spare: Reading<Name> | undefined;
  #begun = false;

  constructor(input: CsvInput, options: CsvOptions<Name>) {
    this.#input = input;
    this.#options = options;
  }

  get isRepeatable(): boolean {
    return !isStream(this.#input);
  }

  head(): Promise<CsvHead> {
    if (this.#head === undefined) {
      this.#spare = this.#begin();
      this.#head = this.#spare.head();
    }
    return this.#head;
  }

  async id(): Promise<string | null> {
    const { id } = this.#options;
    if (id !== undefined) return id;
    return isStream(this.#input) ? null : digestOf(this.#input, this.#options);
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<CsvItem<Name>, void, undefined> {
    const reading = this.#spare ?? this.#begin();
    this.#spare = undefined;
    this.#head ??= reading.head();
    try {
      yield* reading.items();
    } finally {
      await reading.close();
    }
  }

  #begin(): Reading<Name> {
    if (this.#begun && isStream(this.#input)) {
      throw new CsvError(
        "STREAM_USED",
        "A stream can be read only once: read it into a Blob to go over it again.",
      );
    }
    this.#begun = true;
    return new Reading(this.#input, this.#options);
  }
}

/** One pass over the input. */
class Reading<Name extends string> {
  readonly #options: CsvOptions<Name>;
  readonly #pieces: Pieces;
  readonly #decoder: Decoder;
  readonly #records: Records;
  #atStart = true;
  #dialect: Dialect = { delimiter: ",", newline: "\n" };
  /** What came with the row of the names. */
  #rest: CsvRecord[] = [];
  #head: Promise<CsvHead> | undefined;

  constructor(input: CsvInput, options: CsvOptions<Name>) {
    this.#options = options;
    this.#pieces = piecesOf(input, options.signal);
    this.#decoder = new Decoder(options.encoding);
    this.#records = new Records(() => this.#text());
  }

  close(): Promise<void> {
    return this.#pieces.close();
  }

  head(): Promise<CsvHead> {
    this.#head ??= this.#readHead();
    return this.#head;
  }

  async *items(): AsyncGenerator<CsvItem<Name>, void, undefined> {
    const { maxRows = MAX_ROWS, signal } = this.#options;
    const toItem = itemMaker(await this.head(), this.#options);
    const turns = new Turns();
    let index = 0;
    for (
      let records: CsvRecord[] | null = this.#rest;
      records;
      records = await this.#records.next(this.#dialect)
    ) {
      for (const record of records) {
        if (turns.due()) await turns.next();
        signal?.throwIfAborted();
        if (isBlank(record.cells)) continue;
        if (index === maxRows) throw tooMany(maxRows, record.line);
        yield toItem(record, index++);
      }
    }
    if (index === 0)
      throw new CsvError("NO_ROWS", "This file has the names of columns but nothing under them.");
  }

  async #text(): Promise<string | null> {
    const piece = await this.#pieces.next();
    if (piece === null) return this.#decoder.end() || null;
    if (this.#atStart) refuseOtherFiles(piece);
    this.#atStart = false;
    return this.#decoder.text(piece);
  }

  async #readHead(): Promise<CsvHead> {
    const sample = await this.#records.sample();
    if (sample.trim() === "") throw new CsvError("EMPTY", "This file is empty.");
    refuseOtherTexts(sample);
    const told = separatorLine(sample);
    if (told) this.#records.skip(told.line);
    const { headerAt, ...dialect } = dialectOf(sample.slice(told?.line.length ?? 0), {
      ...this.#options,
      ...(told && this.#options.delimiter === undefined && { delimiter: told.delimiter }),
    });
    this.#dialect = dialect;
    const { cells, line } = await this.#headerRecord(headerAt);
    const decoder = this.#decoder;
    return {
      ...headOf(cells, this.#options),
      line,
      delimiter: dialect.delimiter,
      get encoding() {
        return decoder.encoding;
      },
    };
  }

  async #headerRecord(at: number): Promise<CsvRecord> {
    let before = 0;
    for (let records = await this.#next(); records; records = await this.#next()) {
      const record = records[at - before];
      if (record) {
        this.#rest = records.slice(at - before + 1);
        return record;
      }
      before += records.length;
    }
    throw new CsvError("NO_HEADER", `Row ${at + 1} should name the columns, and the file ends before it.`);
  }

  #next(): Promise<CsvRecord[] | null> {
    return this.#records.next(this.#dialect);
  }
}

function itemMaker<Name extends string>(head: CsvHead, options: CsvOptions<Name>) {
  const { unprotect = true, shortRows = "error" } = options;
  const width = head.columns.length;
  return (record: CsvRecord, index: number): CsvItem<Name> => {
    const cells = unprotect ? record.cells.map(withoutApostrophe) : record.cells;
    if (shortRows === "fill") while (cells.length < width) cells.push("");
    const row = rowOf<Name>(head, cells);
    const errors = rowErrors({ ...record, cells }, row, head, options);
    return { row, index, line: record.line, cells, ...(errors.length > 0 && { errors }) };
  };
}

function rowOf<Name extends string>({ columns, missing }: CsvHead, cells: readonly string[]): CsvRow<Name> {
  const row: Record<string, string> = {};
  for (const column of missing) row[column] = "";
  for (const [index, column] of columns.entries()) if (column !== null) row[column] = cells[index] ?? "";
  return row as CsvRow<Name>;
}

function tooMany(maxRows: number, line: number): CsvError {
  return new CsvError(
    "TOO_MANY_ROWS",
    `This file has more than ${maxRows.toLocaleString("en")} rows. Please split it.`,
    line,
  );
}

function assertOptions({
  headerRow = "auto",
  delimiter,
  encoding,
  maxRows = 1,
  maxCellLength = 1,
}: CsvOptions): void {
  const refuse = (message: string): never => {
    throw new CsvError("BAD_OPTION", message);
  };
  if (headerRow !== "auto" && !(Number.isInteger(headerRow) && headerRow >= 1))
    refuse(`headerRow: ${headerRow} is no row; expected "auto" or a whole number from 1.`);
  if (delimiter !== undefined && (delimiter === "" || /[\r\n"\uFEFF]/.test(delimiter)))
    refuse(`delimiter: ${JSON.stringify(delimiter)} cannot separate cells.`);
  if (!(maxRows >= 1)) refuse(`maxRows: ${maxRows} is too few; expected 1 or more.`);
  if (!(maxCellLength >= 1)) refuse(`maxCellLength: ${maxCellLength} is too few; expected 1 or more.`);
  new Decoder(encoding);
}

/** What the import engine has room for. */
const MAX_ROWS = 1_000_000;
