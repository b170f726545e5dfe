#!/usr/bin/env node
import { pathToFileURL } from "node:url";
import Papa from "papaparse";
import { numberFlag, parseFlags } from "../flags.mjs";
import { COLUMNS } from "./columns.mjs";
import { generatePeople } from "./people.mjs";

const USAGE = `node csv/generate.mjs --rows N [--seed 1] [--duplicates 0.02] [--corrected] > contacts.csv

  --rows N            data rows, 0 to 1000000
  --seed N            the same seed makes the same file (default 1)
  --duplicates SHARE  of the rows that repeat somebody further up, 0 to 1 (default 0.02)
  --corrected         the same people after somebody went through the file: other titles, backgrounds, phone numbers
`;

/**
 * A contact file as Excel writes it: UTF-8 with a byte order mark, CRLF, quotes where a cell needs them.
 *
 * @param {Parameters<typeof generatePeople>[0]} options
 * @returns {string}
 */
export function generateCSV(options) {
  return toCSV(generatePeople(options).rows);
}

/** @param {import("./columns.mjs").Row[]} rows */
export function toCSV(rows) {
  return `\uFEFF${Papa.unparse({ fields: [...COLUMNS], data: rows.map(cells) }, { newline: "\r\n" })}\r\n`;
}

/** @param {import("./columns.mjs").Row} row */
function cells(row) {
  return COLUMNS.map((column) => row[column] ?? "");
}

/** @param {string[]} args */
function main(args) {
  const flags = parseFlags(args, {
    rows: { type: "string" },
    seed: { type: "string", default: "1" },
    duplicates: { type: "string", default: "0.02" },
    corrected: { type: "boolean", default: false },
    help: { type: "boolean", default: false },
  });
  if (flags.help) {
    process.stdout.write(USAGE);
    return;
  }
  const rows = numberFlag("--rows", flags.rows, { max: 1_000_000, whole: true });
  const seed = numberFlag("--seed", flags.seed, { max: 0xffff_ffff, whole: true });
  const duplicates = numberFlag("--duplicates", flags.duplicates, { max: 1 });
  process.stdout.write(generateCSV({ rows, seed, duplicates, corrected: flags.corrected }));
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  // Whoever reads may stop early, as `head` does.
  process.stdout.on("error", () => process.exit(0));
  try {
    main(process.argv.slice(2));
  } catch (error) {
    process.stderr.write(`${error instanceof Error ? error.message : error}\n`);
    process.exitCode = 2;
  }
}
