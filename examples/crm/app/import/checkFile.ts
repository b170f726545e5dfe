import { keyOf, RowError, toContact } from "../../import/contact.mjs";
import { CsvError, parseContacts } from "../../import/parse.mjs";
import { bytes } from "../words.ts";

/** What was understood of a file, before anything of it is sent. */
export interface CheckedFile {
  name: string;
  /** Bytes. */
  size: number;
  rows: Record<string, string>[];
  /** The line of the file on which each row begins. */
  lines: number[];
  /** Columns that contacts have. */
  columns: string[];
  /** What the file itself calls each of its columns. */
  headers: Record<string, string>;
  /** Columns that no contact has. */
  ignored: string[];
  /** Columns that the file lacks. */
  missing: string[];
  /** Rows about somebody who stands further up. */
  duplicates: number;
  /** Rows of which no contact can be made; they will be reported as failed. */
  unreadable: Remark[];
  /** Rows that can be read but look broken. */
  doubtful: Remark[];
}

/** A sentence about one line of the file; it names the line. */
export interface Remark {
  line: number;
  text: string;
}

/** A file that cannot be imported at all; the message says what to do about it. */
export class UnusableFile extends Error {}

/** @throws UnusableFile */
export async function checkFile(file: File): Promise<CheckedFile> {
  if (file.size > maxBytes) throw new UnusableFile(tooLarge(file));
  const { rows, lines, columns, headers, ignored, missing, warnings } = parse(await file.arrayBuffer());
  return {
    name: file.name,
    size: file.size,
    rows,
    lines,
    columns: columns.filter((column) => !ignored.includes(column)),
    headers: Object.fromEntries(columns.map((column, index) => [column, headers[index] ?? ""])),
    ignored,
    missing,
    duplicates: rows.length - new Set(rows.map(keyOf)).size,
    unreadable: unreadableRows(rows, lines),
    doubtful: warnings.map(({ line, message }) => ({ line, text: message })),
  };
}

function parse(content: ArrayBuffer) {
  try {
    return parseContacts(content);
  } catch (error) {
    if (error instanceof CsvError) throw new UnusableFile(error.message);
    throw error;
  }
}

function unreadableRows(rows: CheckedFile["rows"], lines: number[]): Remark[] {
  const now = new Date();
  return rows.flatMap((row, index) => {
    try {
      toContact(row, now);
      return [];
    } catch (error) {
      if (!(error instanceof RowError)) throw error;
      const line = lines[index] ?? index + 2;
      return [{ line, text: `Line ${line}: ${error.message}` }];
    }
  });
}

function tooLarge(file: File): string {
  return `It has ${bytes(file.size)}, and at most ${bytes(maxBytes)} fit, which is about 100,000 people. Split it, or check that it is the right file.`;
}

/** Checked before anything is read, so that a huge file cannot make the tab run out of memory. */
const maxBytes = 25_000_000;
