/** What an import tells: how far it is, and at the end what became of each row. */

import { RateLimitConfigError } from "../api.ts";
import type { DeskCounts, DeskPace, DeskStats } from "./desk.ts";
import type { Entry, Ledger } from "./ledger.ts";
import type {
  ImportCounts,
  ImportOutcome,
  ImportProgress,
  ImportReport,
  ImportStop,
  ImportWaiting,
} from "./public.ts";

export interface ProgressFacts {
  /** Of the ledger. */
  counts: ImportCounts;
  total: number;
  isTotalKnown: boolean;
  /** Of the desk; `null`: nothing was sent yet. */
  desk: {
    counts: Pick<DeskCounts, "inFlight">;
    stats: DeskStats;
    pace: DeskPace;
    progress: { rowsPerSecond: number; etaMs: [number, number] | null };
  } | null;
  waiting: ImportWaiting | null;
  /** `null`: it has not. */
  ended: "done" | "cancelled" | null;
}

/** The counts are of one moment of one ledger, so that with `pending` they add up to `total`. */
export function progressOf({
  counts,
  total,
  isTotalKnown,
  desk,
  waiting,
  ended,
}: ProgressFacts): ImportProgress {
  const pending = total - Object.values(counts).reduce((sum, count) => sum + count, 0);
  const { requests, throttled, retries } = desk?.stats ?? { requests: 0, throttled: 0, retries: 0 };
  const running = waiting === null ? "running" : waiting.reason === "paused" ? "paused" : "waiting";
  return {
    ...counts,
    total,
    isTotalKnown,
    pending,
    inFlight: Math.min(desk?.counts.inFlight ?? 0, pending),
    ratePerSecond: desk?.progress.rowsPerSecond ?? 0,
    etaMs: ended ? [0, 0] : (desk?.progress.etaMs ?? null),
    state: ended ?? running,
    waiting: ended ? null : waiting,
    ...{ throttled, retries, requests },
    requestsPerSecond: desk?.pace.requestsPerSecond ?? 0,
    batchSize: desk?.pace.batchSize ?? 0,
  };
}

export interface ReportFacts<Row> {
  ledger: Ledger<Row>;
  /** Where they are at hand; otherwise the ledger has kept those that matter. */
  rows: readonly Row[] | null;
  /** The key of a row; it may throw. */
  keyOf(row: Row, index: number): string;
  /** Of a CSV file, whose rows are `CsvItem`s; else `null`. */
  headers: readonly string[] | null;
  stats: DeskStats;
  durationMs: number;
  stopped: ImportStop | null;
  storage: string | null;
}

/** A report of what the ledger says by now. Rows are looked at when somebody asks for them. */
export function reportOf<Row>(facts: ReportFacts<Row>): ImportReport<Row> {
  const { ledger, stats, durationMs, stopped, storage } = facts;
  return {
    ...ledger.counts,
    total: ledger.total,
    retries: stats.retries,
    throttled: stats.throttled,
    requests: stats.requests,
    durationMs,
    stopped,
    storage,
    rows: ({ outcome } = {}) => {
      const entries = entriesOf(facts, typeof outcome === "string" ? [outcome] : outcome);
      return entries.map((entry) => ({ ...entry, key: entry.key ?? keyIn(facts, entry) }));
    },
    toCSV: ({ outcomes = TO_CORRECT, delimiter = "," } = {}) => {
      if (delimiter === "" || /[\r\n"\uFEFF]/.test(delimiter)) {
        throw new RateLimitConfigError("delimiter", delimiter, 'what separates cells, such as "," or ";"');
      }
      return written(tableOf(facts, entriesOf(facts, outcomes)), delimiter);
    },
  };
}

const TO_CORRECT: readonly ImportOutcome[] = ["failed", "unknown"];

/** What the ledger knows of rows, with their data and with words for all of which somebody asks why. */
function entriesOf<Row>(
  { ledger, rows, stopped }: ReportFacts<Row>,
  outcomes?: readonly ImportOutcome[],
): Entry<Row>[] {
  return Array.from(ledger.find(outcomes), (index) => {
    const entry = ledger.entry(index) as Entry<Row>;
    if (rows && index < rows.length) entry.row = rows[index];
    const words = entry.message ?? usualWords(entry.outcome, stopped);
    if (words !== undefined) entry.message = words;
    return entry;
  });
}

/** None where the row is gone, and where it has none. */
function keyIn<Row>({ keyOf }: ReportFacts<Row>, { row, index }: Entry<Row>): string {
  try {
    return row === undefined ? "" : keyOf(row, index);
  } catch {
    return "";
  }
}

/** Where nobody has said anything of a row that is not there. */
function usualWords(outcome: ImportOutcome, stopped: ImportStop | null): string | undefined {
  switch (outcome) {
    case "failed":
      return "The server did not accept it.";
    case "unknown":
      return "It was sent, the answer was lost, and nobody can tell whether the server has it.";
    case "skipped":
      return stopped ? `It was not sent. ${stopped.message}` : "It was not sent.";
    default:
      return undefined;
  }
}

// ---- a file for a spreadsheet

/** The columns of the source, and those of ours, which an earlier report may have left in it. */
function tableOf<Row>({ rows, headers }: ReportFacts<Row>, chosen: readonly Entry<Row>[]): unknown[][] {
  const [columns, cellsOf] = headers ? ofFile(headers, chosen) : ofObjects(rows ?? [], chosen);
  const kept = [...columns.keys()].filter((at) => !OURS.includes(columns[at] ?? ""));
  const lines = chosen.map(({ index, row, outcome, message = "" }) => {
    const cells = cellsOf(row);
    // Without its data only its place says which row it is.
    const words = row === undefined ? `Row ${index + 1}: ${message}` : message;
    return [...kept.map((at) => cells[at]), outcome, words];
  });
  return [[...kept.map((at) => columns[at]), ...OURS], ...lines];
}

type Columns = [names: readonly string[], cellsOf: (row: unknown) => readonly unknown[]];

/** The cells as they stand there. Those beyond the last column get one of their own, so that nothing is lost. */
function ofFile(headers: readonly string[], chosen: readonly Entry<unknown>[]): Columns {
  const cellsOf = (row: unknown): readonly string[] => (row as { cells?: string[] } | undefined)?.cells ?? [];
  let width = headers.length;
  for (const { row } of chosen) {
    const filled = cellsOf(row).map((cell, at) => (cell === "" ? 0 : at + 1));
    width = Math.max(width, ...filled.slice(width));
  }
  const names = Array.from({ length: width }, (_, at) => headers[at] ?? `column ${at + 1}`);
  return [names, cellsOf];
}

/** The fields of the first rows, and of those that are written, in the order in which they are met. */
function ofObjects(rows: readonly unknown[], chosen: readonly Entry<unknown>[]): Columns {
  const names = new Set<string>();
  for (const row of [...rows.slice(0, LOOKED_AT), ...chosen.map(({ row }) => row)]) {
    for (const name of namesOf(row)) names.add(name);
  }
  const columns = [...names];
  return [columns, (row) => (isObject(row) ? columns.map((name) => fieldOf(row, name)) : [])];
}

/** Rows that show which columns there are: in a million of them nobody would find more. */
const LOOKED_AT = 10_000;

const OURS: readonly string[] = ["import_outcome", "import_message"];

function isObject(value: unknown): value is object {
  return typeof value === "object" && value !== null;
}

/** Of somebody else's object: a getter that throws is an empty cell. */
function fieldOf(row: object, name: string): unknown {
  try {
    return Object.hasOwn(row, name) ? row[name as keyof typeof row] : undefined;
  } catch {
    return undefined;
  }
}

function namesOf(row: unknown): string[] {
  try {
    return isObject(row) ? Object.keys(row) : [];
  } catch {
    return [];
  }
}

/** With a byte order mark, without which Excel does not take the file for UTF-8. */
function written(table: readonly (readonly unknown[])[], delimiter: string): string {
  const lines = table.map((cells) => cells.map((cell) => cellOf(cell, delimiter)).join(delimiter));
  return `\uFEFF${lines.join("\r\n")}\r\n`;
}

function cellOf(value: unknown, delimiter: string): string {
  const text = textOf(value);
  if (typeof value !== "number" && FORMULA.test(text)) return quoted(`'${text}`);
  return text.includes(delimiter) || /["\r\n\uFEFF]|^ | $/.test(text) ? quoted(text) : text;
}

function quoted(text: string): string {
  return `"${text.replaceAll('"', '""')}"`;
}

function textOf(value: unknown): string {
  if (value === null || value === undefined) return "";
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? "" : value.toISOString();
  if (typeof value !== "object") return String(value);
  try {
    return JSON.stringify(value) ?? "";
  } catch {
    return String(value);
  }
}

/**
 * What a spreadsheet would run, and gets an apostrophe in front, but for numbers and telephone numbers. The pattern of
 * `csv/formula.ts`, where it is explained: `tidegate/csv` is built apart, and needs what this module must do without.
 */
const FORMULA = /^(?![-+][-\d ().,/%\u00a0\u202f]*$|[-+]\d+(?:[.,]\d+)?e[-+]?\d+$)'*[=+\-@\t\r\n＝＋－＠]/i;
