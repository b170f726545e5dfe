/** What is wrong with a row. */

import type { CsvRecord } from "./records.ts";
import type { CsvHead, CsvOptions, CsvRow, CsvRowError } from "./types.ts";

/** Its form, as it stands in the file; what `validate` says only of a row whose form is good: the other would be noise. */
export function rowErrors<Name extends string>(
  record: CsvRecord,
  row: CsvRow<Name>,
  head: CsvHead,
  options: CsvOptions<Name>,
): CsvRowError[] {
  const ofForm = formErrors(record, head, options.maxCellLength ?? MAX_CELL_LENGTH);
  return ofForm.length > 0 ? ofForm : validationErrors(row, record.line, options);
}

function formErrors(
  { cells, line, malformed }: CsvRecord,
  { columns }: CsvHead,
  maxLength: number,
): CsvRowError[] {
  const errors: CsvRowError[] = [];
  const add = (code: string, message: string, field: string | null = null) =>
    errors.push({ field, message, code });
  if (malformed) add("BAD_QUOTES", `The quotes in the row that begins in line ${line} do not match.`);
  const counted = `Line ${line} has ${cells.length} cells for ${columns.length} columns`;
  if (cells.length < columns.length) add("TOO_FEW_FIELDS", `${counted}.`);
  // Spreadsheets write blank cells to the right of the last column.
  if (cells.slice(columns.length).some((cell) => cell !== ""))
    add("TOO_MANY_FIELDS", `${counted}; is a separator not in quotes?`);
  for (const [index, cell] of cells.entries()) {
    const field = columns[index] ?? null;
    if (cell.length > maxLength)
      add("CELL_TOO_LONG", `It has ${cell.length} characters, and at most ${maxLength} fit.`, field);
    if (UNREADABLE.test(cell)) add("UNREADABLE_TEXT", "It has characters that could not be read.", field);
  }
  return errors;
}

function validationErrors<Name extends string>(
  row: CsvRow<Name>,
  line: number,
  { validate }: CsvOptions<Name>,
): CsvRowError[] {
  try {
    return [...(validate?.(row, line) ?? [])].map(({ field = null, message, code }) => ({
      field,
      message,
      ...(code !== undefined && { code }),
    }));
  } catch (error) {
    return [{ field: null, message: error instanceof Error ? error.message : String(error) }];
  }
}

/** What stands for bytes that mean nothing in the encoding, and what no database takes in a text. */
const UNREADABLE = /[\0\uFFFD]/;

/** Characters; twice the longest letter that anybody pastes into a spreadsheet, whose own limit is 32,767. */
const MAX_CELL_LENGTH = 100_000;
