import Papa from "papaparse";

/**
 * @typedef {import("../csv/columns.mjs").Row} Row
 * @typedef {import("./tally.mjs").RowOutcome} RowOutcome
 *
 * @typedef {object} ReportRow
 * @property {number} index place among the rows, from 0
 * @property {Row} row as it was given
 * @property {string} key what it is known by
 * @property {RowOutcome} outcome
 * @property {number | string} [id] the contact's; missing when another upload or a lost answer created it
 * @property {string} [code] the server's or tidegate's
 * @property {string} [message] why, for people
 * @property {number} attempts times it was sent
 *
 * @typedef {object} Totals
 * @property {number} total
 * @property {number} retries attempts after a row's first
 * @property {number} throttled attempts that the server refused for their number, lookups of companies and tags included
 * @property {number} durationMs
 *
 * @typedef {Record<RowOutcome, number> & Totals & {
 *   rows(filter?: { outcome?: RowOutcome }): ReportRow[],
 *   toCSV(options?: { outcomes?: RowOutcome[] }): string,
 * }} ImportReport
 */

/**
 * @param {ReportRow[]} entries
 * @param {number[] | undefined} lines where in the file each row stood
 * @param {Record<RowOutcome, number> & Totals} totals
 * @returns {ImportReport}
 */
export function createReport(entries, lines, totals) {
  return {
    ...totals,

    rows({ outcome } = {}) {
      return outcome === undefined ? [...entries] : entries.filter((entry) => entry.outcome === outcome);
    },

    /**
     * The rows with these outcomes as a file that may be corrected and uploaded again: all their columns as they came
     * in, cell by cell, and why they are in it. Cells are not changed, not even those that a spreadsheet would take
     * for a formula: an apostrophe in front of "+49 …" would be imported with the next upload.
     */
    toCSV({ outcomes = ["failed", "unknown"] } = {}) {
      const chosen = entries.filter(({ outcome }) => outcomes.includes(outcome));
      const columns = [...new Set(chosen.flatMap(({ row }) => Object.keys(row)))].filter(
        (name) => !OURS.includes(name),
      );
      const data = chosen.map(({ row, index, outcome, message }) => [
        ...columns.map((column) => row[column] ?? ""),
        String(lineOf(index, lines)),
        outcome,
        message ?? "",
      ]);
      return `\uFEFF${Papa.unparse({ fields: [...columns, ...OURS], data }, { newline: "\r\n" })}\r\n`;
    },
  };
}

/** Without knowing better: one line per row, under a header. @param {number} index @param {number[] | undefined} lines */
export function lineOf(index, lines) {
  return lines?.[index] ?? index + 2;
}

/** Left out of the row's own columns, for the second upload of a corrected report. */
const OURS = ["import_line", "import_outcome", "import_reason"];
