/** Which row names the columns, what separates them, and what they are called. */

import Papa from "papaparse";
import { CsvError } from "./errors.ts";
import { withoutApostrophe } from "./formula.ts";
import type { Dialect } from "./records.ts";
import type { CsvHead, CsvOptions } from "./types.ts";

type HeaderOptions = Pick<
  CsvOptions,
  "columns" | "mapping" | "required" | "headerRow" | "delimiter" | "unprotect"
>;

/** The first line with which Excel tells what separates the cells, and the separator. */
export function separatorLine(sample: string): { line: string; delimiter: string } | null {
  const [line, delimiter] = /^sep=([^\r\n"])(?:\r\n|\n|\r)/i.exec(sample) ?? [];
  return line && delimiter ? { line, delimiter } : null;
}

/**
 * Reads the first rows with each delimiter that may be meant, and takes the one with which a row names most columns. Where
 * none is named, or known, papaparse's guess counts, which looks for rows of even length.
 *
 * @returns also the place of the row with the names, from 0, blank rows counted
 * @throws CsvError NO_HEADER
 */
export function dialectOf(sample: string, options: HeaderOptions): Dialect & { headerAt: number } {
  const guess = Papa.parse<string[]>(sample, {
    ...{ delimitersToGuess: DELIMITERS, preview: SEARCHED_ROWS },
    // Else a blank row, if only that after the last line break, counts as one of a single cell: two columns are then none.
    skipEmptyLines: "greedy",
  }).meta;
  const newline = guess.linebreak === "\r" ? "\r" : "\n";
  const rowsWith = (delimiter: string) =>
    Papa.parse<string[]>(sample, { delimiter, newline, preview: SEARCHED_ROWS }).data;
  const delimiters = options.delimiter === undefined ? DELIMITERS : [options.delimiter];
  const best = delimiters
    .flatMap((delimiter) => rated(rowsWith(delimiter), options).map((rating) => ({ delimiter, ...rating })))
    .reduce((best, next) => (next.named > best.named ? next : best), { delimiter: "", at: 0, named: 0 });
  if (best.named > 0) return { delimiter: best.delimiter, newline, headerAt: best.at };
  const delimiter = options.delimiter ?? guess.delimiter;
  const rows = rowsWith(delimiter);
  const headerAt = firstOf(rows, options);
  const single = options.delimiter === undefined && (rows[headerAt]?.length ?? 0) < 2;
  return { delimiter: single ? "," : delimiter, newline, headerAt };
}

/**
 * How many columns are named in each row that may hold the names. One name in a row further down may as well be somebody's
 * job title, unless nothing else stands in that row.
 */
function rated(rows: readonly string[][], options: HeaderOptions): { at: number; named: number }[] {
  const { headerRow = "auto" } = options;
  const names = new Names(options);
  if (headerRow !== "auto") return [{ at: headerRow - 1, named: names.known(rows[headerRow - 1] ?? []) }];
  const first = rows.findIndex((row) => !isBlank(row));
  return rows.map((row, at) => {
    const named = names.known(row);
    const alone = row.filter((cell) => cell.trim() !== "").length === 1;
    return { at, named: named > 1 || at === first || alone ? named : 0 };
  });
}

function firstOf(rows: readonly string[][], { headerRow = "auto" }: HeaderOptions): number {
  const at = headerRow === "auto" ? rows.findIndex((row) => !isBlank(row)) : headerRow - 1;
  if (at < 0) throw noHeader([]);
  return at;
}

/**
 * @param cells of the row with the names
 * @throws CsvError NO_HEADER where no known column is named, MISSING_COLUMNS where a required one is not
 */
export function headOf(
  cells: readonly string[],
  options: HeaderOptions,
): Pick<CsvHead, "headers" | "columns" | "unknown" | "missing" | "repeated"> {
  const titles = cells.map((cell) => (options.unprotect === false ? cell : withoutApostrophe(cell)).trim());
  if (isBlank(titles)) throw noHeader(titles);
  const headers = distinct(titles, new Set());
  const names = new Names(options);
  const found = names.find(headers, titles);
  const given = new Set(found.filter((column) => typeof column === "string"));
  const known = Object.keys(options.columns ?? {});
  if (known.length > 0 && given.size === 0) throw noHeader(titles, known);
  const own = distinct(headers, given);
  const columns = found.map((column, index) => (column === undefined ? (own[index] ?? "") : column));
  assertRequired(options, columns, headers);
  const unknown = headers.filter((_, index) => found[index] === undefined);
  const firstAt = new Map(titles.map((title, at) => [title, at] as const).reverse());
  const isRepeated = (title: string, at: number) =>
    names.columnOf(title) !== undefined || firstAt.get(title) !== at;
  return {
    headers,
    columns,
    unknown: known.length === 0 ? [] : unknown,
    missing: known.filter((column) => !given.has(column)),
    repeated: headers.filter((_, at) => {
      const title = titles[at] ?? "";
      return found[at] === undefined && title !== "" && isRepeated(title, at);
    }),
  };
}

/** What the columns of a file may be called. */
class Names {
  readonly #chosen: Readonly<Record<string, string | null>>;
  readonly #names = new Map<string, string>();
  readonly #aliases = new Map<string, string>();

  constructor({ columns = {}, mapping = {} }: HeaderOptions) {
    this.#chosen = mapping;
    for (const [column, aliases] of Object.entries(columns)) {
      this.#names.set(folded(column), column);
      for (const alias of aliases)
        if (!this.#aliases.has(folded(alias))) this.#aliases.set(folded(alias), column);
    }
  }

  /** The column of that name or alias. */
  columnOf(title: string): string | undefined {
    return this.#names.get(folded(title)) ?? this.#aliases.get(folded(title));
  }

  /** How many columns a row names. */
  known(cells: readonly string[]): number {
    const titles = cells.map((cell) => cell.trim());
    return new Set(this.find(distinct(titles, new Set()), titles).filter((column) => column !== undefined))
      .size;
  }

  /** The column of each header, `undefined` where it is none: the user's choice first, then its name, then its aliases; each once. */
  find(headers: readonly string[], titles: readonly string[]): (string | null | undefined)[] {
    const found: (string | null | undefined)[] = headers.map(() => undefined);
    const taken = new Set<string>();
    const look = (of: (index: number) => string | null | undefined) => {
      for (const index of headers.keys()) {
        const column = found[index] === undefined ? of(index) : undefined;
        if (column === undefined || (column !== null && taken.has(column))) continue;
        found[index] = column;
        if (column !== null) taken.add(column);
      }
    };
    look((index) => own(this.#chosen, headers[index] ?? ""));
    look((index) => this.#names.get(folded(titles[index] ?? "")));
    look((index) => this.#aliases.get(folded(titles[index] ?? "")));
    return found;
  }
}

function own(choices: Readonly<Record<string, string | null>>, header: string): string | null | undefined {
  return Object.hasOwn(choices, header) ? choices[header] : undefined;
}

/** Letters and digits alone, without accents and letter case. */
function folded(name: string): string {
  // Upper case first: it makes one of "ß" and "SS".
  const plain = name
    .normalize("NFKD")
    .replace(/\p{Mark}+/gu, "")
    .toUpperCase()
    .toLowerCase();
  return plain.replace(/[^\p{Letter}\p{Number}]+/gu, "");
}

/** Names that differ from each other and from those that are taken. `__proto__` cannot be the key of a row. */
function distinct(names: readonly string[], taken: ReadonlySet<string>): string[] {
  const used = new Set(taken);
  const whole = new Set(names);
  const counts = new Map<string, number>();
  return names.map((name, index) => {
    const base = name === "" || name === "__proto__" ? `column ${index + 1}` : name;
    let free = base;
    let count = counts.get(base) ?? 2;
    for (; used.has(free) || (free !== name && whole.has(free)); count++) free = `${base} (${count})`;
    counts.set(base, count);
    used.add(free);
    return free;
  });
}

function assertRequired(
  { required = [], columns: known = {} }: HeaderOptions,
  columns: readonly (string | null)[],
  headers: readonly string[],
): void {
  const lacking = required
    .map((group) => [group].flat())
    .filter((group) => !group.some((name) => columns.includes(name)));
  if (lacking.length === 0) return;
  const described = (name: string) => {
    const [alias] = (known as Readonly<Record<string, readonly string[]>>)[name] ?? [];
    return alias === undefined ? `"${name}"` : `"${name}" (or "${alias}")`;
  };
  const wanted = lacking.map((group) => group.map(described).join(" or ")).join("; ");
  throw new CsvError(
    "MISSING_COLUMNS",
    `The file lacks ${lacking.length === 1 ? "the column" : "the columns"} ${wanted}. It has ${excerpt(headers)}.`,
  );
}

function noHeader(titles: readonly string[], known: readonly string[] = []): CsvError {
  const examples = known.length === 0 ? "" : ` (such as ${known.slice(0, 3).join(", ")})`;
  const says = isBlank(titles) ? "It is blank" : `It says: ${excerpt(titles)}`;
  return new CsvError("NO_HEADER", `The first row must name the columns${examples}. ${says}.`);
}

function excerpt(names: readonly string[]): string {
  const text = names.filter((name) => name !== "").join(", ");
  return text.length > 120 ? `${text.slice(0, 120)}…` : text;
}

export function isBlank(cells: readonly string[]): boolean {
  return cells.every((cell) => cell.trim() === "");
}

const DELIMITERS = [",", ";", "\t", "|"];

/** Instructions above the names are a few rows; papaparse's guess looks at ten. */
const SEARCHED_ROWS = 25;
