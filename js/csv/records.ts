/** Text to records, slice by slice, with papaparse. */

import Papa from "papaparse";
import { CsvError } from "./errors.ts";
import { PIECE_LENGTH } from "./input.ts";

export interface CsvRecord {
  cells: string[];
  /** The line on which it begins, from 1. */
  line: number;
  /** Its quotes do not match, but it ends. */
  malformed: boolean;
}

export interface Dialect {
  delimiter: string;
  /** What ends a line. CRLF is a "\n" after a "\r" that is taken off, so that a file may have both. */
  newline: "\n" | "\r";
}

/** Gives text until `null`. */
export type TextSource = () => Promise<string | null>;

/**
 * Cuts a text into records as somebody asks for them.
 *
 * Papaparse has no way to go on where a text was cut, so the record that touches the end of a slice, which may be half of
 * one, is read again with the next slice. Its own worker is not used: it cannot be paused, so that a long file would pile up
 * here faster than anybody imports it; it cuts characters of several bytes in two; and where a content policy forbids it, it
 * never says so. A slice takes about two milliseconds.
 */
export class Records {
  readonly #read: TextSource;
  /** Begins with a record. */
  #buffer = "";
  #line = 1;
  #ended = false;

  constructor(read: TextSource) {
    this.#read = read;
  }

  /** The beginning of the text, at least a slice of it where there is so much. Only before `next`. */
  async sample(): Promise<string> {
    await this.#fill(PIECE_LENGTH);
    return this.#buffer;
  }

  /** Leaves out the line that the text begins with. Only before `next`. */
  skip(line: string): void {
    this.#buffer = this.#buffer.slice(line.length);
    this.#line++;
  }

  /**
   * The records of the next slice, blank ones too; `null` at the end.
   *
   * @throws CsvError BAD_QUOTES for a record that never ends
   */
  async next(dialect: Dialect): Promise<CsvRecord[] | null> {
    for (let wanted = PIECE_LENGTH; ; wanted = Math.min(2 * this.#buffer.length, LONGEST_RECORD)) {
      await this.#fill(wanted);
      if (this.#buffer === "") return null;
      const records = this.#split(dialect);
      if (records.length > 0) return detached(records);
      if (this.#buffer.length >= LONGEST_RECORD) throw tooLong(this.#line);
    }
  }

  async #fill(length: number): Promise<void> {
    while (!this.#ended && this.#buffer.length < length) {
      const text = await this.#read();
      if (text === null) this.#ended = true;
      else this.#buffer += text;
    }
  }

  #split({ delimiter, newline }: Dialect): CsvRecord[] {
    // Papaparse takes off the mark of a second file that was appended, and counts without it.
    const text = this.#buffer.startsWith("\uFEFF") ? this.#buffer.slice(1) : this.#buffer;
    const records: CsvRecord[] = [];
    let position = 0;
    let line = this.#line;
    let last = { position, line };
    Papa.parse<string[]>(text, {
      delimiter,
      newline,
      step: ({ data, errors, meta }) => {
        if (this.#ended && errors.some(({ code }) => code === "MissingQuotes")) throw endless(line);
        last = { position, line };
        const raw = text.slice(position, meta.cursor);
        records.push({
          cells: newline === "\n" ? withoutReturn(data, raw) : data,
          line,
          malformed: errors.length > 0,
        });
        line += raw.split(newline).length - 1;
        position = meta.cursor;
      },
    });
    if (!this.#ended) {
      records.pop();
      ({ position, line } = last);
    }
    this.#buffer = text.slice(position);
    this.#line = line;
    return records;
  }
}

/** The "\r" of CRLF at the end of a record. After a quoted cell papaparse has left it out; that cell's own "\r" stays. */
function withoutReturn(cells: string[], raw: string): string[] {
  const last = cells.at(-1) ?? "";
  const ended = last.endsWith("\r") && !raw.endsWith('\r"\r\n') && /\r\n?$/.test(raw);
  return ended ? [...cells.slice(0, -1), last.slice(0, -1)] : cells;
}

/**
 * Cells are views of the slice that they were cut from, and keep all of it in memory. Who keeps one failed row in a hundred
 * would keep the file. A copy has no such ties.
 */
function detached(records: CsvRecord[]): CsvRecord[] {
  return JSON.parse(JSON.stringify(records));
}

function endless(line: number): CsvError {
  return new CsvError(
    "BAD_QUOTES",
    `A quote in the row that begins in line ${line} is never closed, so nothing after it can be read for sure.`,
    line,
  );
}

function tooLong(line: number): CsvError {
  const message = `The row that begins in line ${line} does not end within ${LONGEST_RECORD} characters: is a quote in it never closed?`;
  return new CsvError("BAD_QUOTES", message, line);
}

/** Characters. Nobody's row is longer; a quote that is never closed makes one that is. */
const LONGEST_RECORD = 4_194_304;
