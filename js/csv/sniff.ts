/** What people choose by mistake, known by how it begins. */

import { CsvError } from "./errors.ts";
import type { Piece } from "./input.ts";

/** @throws CsvError BINARY for a first piece with the mark of another format */
export function refuseOtherFiles(first: Piece): void {
  if (typeof first === "string") return;
  const start = String.fromCharCode(...first.subarray(0, 8));
  for (const [magic, what, advice] of MAGIC)
    if (start.startsWith(magic)) throw refusal("BINARY", what, advice);
}

/** @throws CsvError BINARY, NOT_CSV for the beginning of a text that is no table */
export function refuseOtherTexts(sample: string): void {
  if (isMostlyBinary(sample))
    throw refusal("BINARY", "binary data", `${SAVE_AS} If it is text in UTF-16, give its encoding.`);
  const start = sample.trimStart().slice(0, 100).toLowerCase();
  if (/^<(!doctype|html|\?xml)/.test(start)) throw refusal("NOT_CSV", "a web page or XML", SAVE_AS);
  if (/^\{\s*["}]|^\[\s*[{["\]]/.test(start)) throw refusal("NOT_CSV", "JSON", "");
}

/** A NUL somewhere in a text happens, and spoils only its row; nobody's names of columns have one. */
function isMostlyBinary(sample: string): boolean {
  const [firstLine = ""] = sample.split(/[\r\n]/, 1);
  return firstLine.includes("\0") || sample.split("\0").length - 1 > sample.length / 10;
}

function refusal(code: "BINARY" | "NOT_CSV", what: string, advice: string): CsvError {
  return new CsvError(code, `This is not a CSV file but ${what}. ${advice}`.trim());
}

const SAVE_AS = 'In the spreadsheet, choose "Save as" and "CSV UTF-8".';
const EXCEL = 'Open it in Excel and save it as CSV: "Save as", "CSV UTF-8".';

/** First bytes, what they are the mark of, what to do. A text that begins so is not worth reading either. */
const MAGIC: readonly (readonly [magic: string, what: string, advice: string])[] = [
  ["PK\x03\x04", "an Excel file (or another ZIP archive)", EXCEL],
  ["\xd0\xcf\x11\xe0", "an old Excel file", EXCEL],
  ["%PDF", "a PDF document", ""],
  ["\x89PNG", "a picture", ""],
  ["\xff\xd8\xff", "a picture", ""],
  ["GIF8", "a picture", ""],
  ["\x1f\x8b", "a gzip archive", "Unpack it first."],
];
