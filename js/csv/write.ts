import Papa from "papaparse";
import { ANY_SIGN, FORMULA } from "./formula.ts";

export interface CsvWriteOptions {
  /** Default ",". A semicolon is what Excel expects where the comma is the decimal sign. */
  delimiter?: string;
  /** A byte order mark in front, without which Excel does not take the file for UTF-8. Default true. */
  bom?: boolean;
  /**
   * What gets an apostrophe in front. "formulas", the default: cells that a spreadsheet would run. "all": also numbers with a
   * sign, which Excel calculates (`+1-555-0100` becomes -654): for files that come back through Excel and `readCsv`.
   * "none": nothing, for files that no spreadsheet will open.
   */
  protect?: "formulas" | "all" | "none";
}

/**
 * Rows as a CSV file, with the names of the columns first and CRLF at the end of each line.
 *
 * Rows are objects, or lists of cells in the order of `columns`. Without `columns` all keys of all objects are, in the order
 * in which they are met. `null` and `undefined` are empty, dates ISO 8601, objects JSON. What `readCsv` makes of it is the
 * same text again, cell by cell, but for rows in which all is blank.
 */
export function toCsv(
  rows: Iterable<object | readonly unknown[]>,
  columns?: readonly string[],
  { delimiter = ",", bom = true, protect = "formulas" }: CsvWriteOptions = {},
): string {
  const list = [...rows];
  if (columns === undefined && list.some((row) => Array.isArray(row)))
    throw new TypeError("Rows that are lists of cells need columns.");
  const fields = columns ?? keysOf(list);
  const data = list.map((row) => cellsOf(row, fields));
  const escapeFormulae = { formulas: FORMULA, all: ANY_SIGN, none: false }[protect];
  const csv = Papa.unparse([[...fields], ...data], { delimiter, newline: "\r\n", escapeFormulae });
  return `${bom ? "\uFEFF" : ""}${csv}\r\n`;
}

function keysOf(rows: readonly object[]): string[] {
  return [...new Set(rows.flatMap((row) => (Array.isArray(row) ? [] : Object.keys(row))))];
}

function cellsOf(row: object | readonly unknown[], fields: readonly string[]): (string | number)[] {
  if (Array.isArray(row)) return fields.map((_, index) => textOf(row[index]));
  return fields.map((field) => textOf(Object.hasOwn(row, field) ? row[field as keyof typeof row] : ""));
}

/** A number stays one, so that -5 is no formula whatever `protect` says. */
function textOf(value: unknown): string | number {
  if (value === null || value === undefined) return "";
  if (typeof value === "string" || typeof value === "number") return value;
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? "" : value.toISOString();
  return typeof value === "object" ? (JSON.stringify(value) ?? "") : String(value);
}
