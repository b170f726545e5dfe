import Papa from "papaparse";
import { COLUMNS } from "../csv/columns.mjs";

/**
 * @typedef {import("../csv/columns.mjs").Row} Row
 *
 * @typedef {"EMPTY" | "TOO_LARGE" | "BINARY" | "NOT_CSV" | "BAD_QUOTES" | "NO_HEADER" | "MISSING_COLUMNS" | "NO_ROWS"} CsvErrorCode
 *
 * @typedef {object} ContactFile
 * @property {Row[]} rows cells as they stand in the file; blank lines are left out
 * @property {number[]} lines the line of the file on which each row begins; the header is line 1
 * @property {string[]} columns the file's columns, known ones under their canonical names
 * @property {string[]} headers the columns as the file itself names them, trimmed; "" where it does not
 * @property {string[]} missing known columns that it lacks; their cells count as empty
 * @property {string[]} ignored columns that no contact has
 * @property {{ line: number; message: string }[]} warnings rows that look broken but can be read
 * @property {"utf-8" | "utf-16" | "windows-1252"} encoding what the bytes turned out to be
 */

/** A file that cannot be a contact list. The message says what to do, to somebody who works with Excel. */
export class CsvError extends Error {
  /** @param {CsvErrorCode} code @param {string} message */
  constructor(code, message) {
    super(message);
    this.name = "CsvError";
    this.code = code;
  }
}

/** More than this is hardly a contact list, and a browser tab would hold it several times over. */
export const MAX_BYTES = 100_000_000;

/**
 * Reads a contact file: UTF-8, UTF-16 with a byte order mark, or Windows-1252 as older Excels write; separated by
 * comma, semicolon, tab or bar; columns in any order, with "First name" as good as first_name.
 *
 * @param {string | ArrayBuffer | Uint8Array} input
 * @returns {ContactFile}
 * @throws {CsvError}
 */
export function parseContacts(input) {
  const { text, encoding } = decode(input);
  refuseOtherFormats(text);
  const [header, ...records] = split(text);
  if (header === undefined) throw new CsvError("EMPTY", "This file is empty.");
  const columns = nameColumns(header.cells);
  if (records.length === 0)
    throw new CsvError("NO_ROWS", "This file has column names but no contacts under them.");
  return {
    rows: records.map(({ cells }) => toRow(columns, cells)),
    lines: records.map(({ line }) => line),
    columns,
    headers: header.cells.map((cell) => cell.trim()),
    missing: COLUMNS.filter((column) => !columns.includes(column)),
    ignored: columns.filter((column) => !isKnown(column)),
    warnings: records.flatMap(({ line, cells }) => warningsFor(line, cells.length, columns.length)),
    encoding,
  };
}

/** @param {string | ArrayBuffer | Uint8Array} input @returns {{ text: string; encoding: ContactFile["encoding"] }} */
function decode(input) {
  if (typeof input === "string") return { text: input.replace(/^\uFEFF/, ""), encoding: "utf-8" };
  const bytes = input instanceof Uint8Array ? input : new Uint8Array(input);
  if (bytes.length > MAX_BYTES) {
    throw new CsvError("TOO_LARGE", `This file has more than ${MAX_BYTES / 1_000_000} MB. Please split it.`);
  }
  const start = String.fromCharCode(...bytes.subarray(0, 8));
  if (start.startsWith("\xff\xfe"))
    return { text: new TextDecoder("utf-16le").decode(bytes), encoding: "utf-16" };
  if (start.startsWith("\xfe\xff"))
    return { text: new TextDecoder("utf-16be").decode(bytes), encoding: "utf-16" };
  for (const [magic, what] of MAGIC) if (start.startsWith(magic)) throw notACsv("BINARY", what);
  if (bytes.includes(0)) throw notACsv("BINARY", "binary data");
  try {
    return { text: new TextDecoder("utf-8", { fatal: true }).decode(bytes), encoding: "utf-8" };
  } catch {
    return { text: windows1252(bytes), encoding: "windows-1252" };
  }
}

/** Node 20 takes Windows-1252 for Latin-1, which has control characters where the euro and the curly quotes are. @param {Uint8Array} bytes */
function windows1252(bytes) {
  const text = new TextDecoder("windows-1252").decode(bytes);
  return text.replace(/[\x80-\x9f]/g, (control) => WINDOWS_1252[control.charCodeAt(0) - 0x80] ?? control);
}

/** @param {string} text */
function refuseOtherFormats(text) {
  if (text.trim() === "") throw new CsvError("EMPTY", "This file is empty.");
  if (text.includes("\0")) throw notACsv("BINARY", "binary data");
  const start = text.trimStart().slice(0, 100).toLowerCase();
  if (/^<(!doctype|html|\?xml)/.test(start)) throw notACsv("NOT_CSV", "a web page or XML");
  if (/^\{|^\[\s*[{[]/.test(start)) throw notACsv("NOT_CSV", "JSON");
}

/** @param {CsvErrorCode} code @param {string} what */
function notACsv(code, what) {
  return new CsvError(
    code,
    `This is not a CSV file but ${what}. In Excel, choose "Save as" and "CSV UTF-8".`,
  );
}

/** @param {string} text @returns {{ line: number; cells: string[] }[]} the header first, blank lines left out */
function split(text) {
  /** @type {{ line: number; cells: string[] }[]} */
  const records = [];
  let line = 1;
  let position = 0;
  Papa.parse(text, {
    delimitersToGuess: [",", ";", "\t", "|"],
    step: ({ data, errors, meta }) => {
      const cells = /** @type {string[]} */ (data);
      if (errors.some(({ type }) => type === "Quotes")) throw badQuotes(line);
      if (cells.some((cell) => cell.trim() !== "")) records.push({ line, cells });
      line += lineBreaks(text.slice(position, meta.cursor));
      position = meta.cursor;
    },
  });
  return records;
}

/** @param {string} text CRLF, LF or a lone CR each end one line */
function lineBreaks(text) {
  return text.match(/\r\n|\n|\r/g)?.length ?? 0;
}

/** @param {number} line */
function badQuotes(line) {
  return new CsvError(
    "BAD_QUOTES",
    `The quotes in line ${line} do not match, so nothing after it can be read for sure.`,
  );
}

/** @param {string[]} cells of the header */
function nameColumns(cells) {
  const columns = cells.map((cell, index) => {
    const name = cell
      .trim()
      .toLowerCase()
      .replace(/[\s-]+/g, "_")
      .replace(/^e_mail/, "email");
    return isKnown(name) ? name : cell.trim() || `column_${index + 1}`;
  });
  const known = columns.filter(isKnown);
  if (known.length === 0) {
    throw new CsvError(
      "NO_HEADER",
      `The first line must name the columns (such as first_name, last_name, email_work). It says: ${excerpt(cells.join(", "))}`,
    );
  }
  if (!known.some((name) => IDENTIFYING.includes(name))) {
    throw new CsvError(
      "MISSING_COLUMNS",
      `Nobody can be told apart: the file needs one of ${IDENTIFYING.join(", ")}.`,
    );
  }
  return columns.map((name, index) => (columns.indexOf(name) === index ? name : `${name} (${index + 1})`));
}

/** @param {string[]} columns @param {string[]} cells @returns {Row} */
function toRow(columns, cells) {
  return Object.fromEntries(columns.map((column, index) => [column, cells[index] ?? ""]));
}

/** @param {number} line @param {number} cells @param {number} columns */
function warningsFor(line, cells, columns) {
  if (cells <= columns) return [];
  return [
    { line, message: `Line ${line} has ${cells} cells for ${columns} columns; is a comma not quoted?` },
  ];
}

/** @param {string} name */
function isKnown(name) {
  return /** @type {readonly string[]} */ (COLUMNS).includes(name);
}

/** @param {string} text */
function excerpt(text) {
  return text.length > 60 ? `${text.slice(0, 60)}…` : text;
}

const IDENTIFYING = ["first_name", "last_name", "email_work", "email_home", "email_other"];

/** Bytes 0x80 to 0x9f; five of them mean nothing. */
const WINDOWS_1252 = "€\x81‚ƒ„…†‡ˆ‰Š‹Œ\x8dŽ\x8f\x90‘’“”•–—˜™š›œ\x9džŸ";

/** First bytes of what people choose by mistake. @type {[string, string][]} */
const MAGIC = [
  ["PK\x03\x04", "an Excel workbook or a ZIP archive"],
  ["\xd0\xcf\x11\xe0", "an old Excel workbook"],
  ["%PDF", "a PDF document"],
  ["\x89PNG", "a picture"],
  ["\xff\xd8\xff", "a picture"],
  ["GIF8", "a picture"],
  ["\x1f\x8b", "a gzip archive"],
];
