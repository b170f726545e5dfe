/** What is known of each row before anything is sent. */

import { abortReason, onAbort } from "../api.ts";
import type { CsvItem } from "../csv/types.ts";
import { Turns } from "../turns.ts";
import { ImportError } from "./errors.ts";
import { rowKey } from "./ids.ts";
import { murmurOf } from "./journal/hash.ts";
import { SEGMENT_ROWS } from "./journal/store.ts";
import { KeySet, keyHash } from "./key-set.ts";
import type { ImportOptions, RowProblem, RowVerdict } from "./public.ts";
import { type RowSource, wordsOf } from "./source.ts";

/** What becomes of a row. `key` is "" where it has none. */
export type Look =
  /** To be sent. */
  | { verdict: "fresh"; key: string }
  /** Row `of` has the same key, and is the one that counts. */
  | { verdict: "duplicate"; key: string; of: number }
  /** Left out by `validate`, or for its key (`DUPLICATE_IN_FILE`). */
  | { verdict: "invalid"; key: string; code?: string | undefined; message: string }
  /** No row that could be sent: `NOT_AN_OBJECT`, `BAD_KEY`, or `BAD_VALIDATE`, which is about the function. */
  | { verdict: "failed"; key: string; code: string; message: string };

export type ScanOptions<Row> = Pick<ImportOptions<Row>, "key" | "validate" | "duplicates" | "maxRows">;

/**
 * Looks through rows: which are good, and which are the same as another. It keeps 9 bytes of each (a verdict, and 64 bits of
 * the hash of its key), 4 more around duplicates and with `duplicates: "report"`, and while it looks a `KeySet`; never a row,
 * nor what was said about one.
 */
export class Scan<Row> {
  /** Of the rows looked at so far. `invalid` are also those that failed. */
  readonly plan = { fresh: 0, duplicates: 0, invalid: 0 };
  /** The rows looked at so far. */
  total = 0;
  /** A hash of the rows as JSON, in their order; "" before `all`. */
  contentId = "";

  readonly #key: ScanOptions<Row>["key"];
  readonly #validate: NonNullable<ScanOptions<Row>["validate"]>;
  readonly #duplicates: ScanOptions<Row>["duplicates"];
  readonly #maxRows: number;
  /** The earlier rows, where they are at hand. */
  #rows: readonly Row[] | null = null;
  #isWhole = false;
  #keys: KeySet | null = new KeySet();

  /** One of the verdicts below for each row, by segment. */
  readonly #verdicts: Uint8Array[] = [];
  /** High and low word of the hash of each key; 0 and 0 where there is none. */
  readonly #hashes: Uint32Array[] = [];
  /** Of a duplicate one more than its first row, of the first one more than its last (or, to report, its second). */
  readonly #twins: Uint32Array[] = [];
  /** Of the items of a CSV file, for a report: their lines. */
  readonly #lines: Uint32Array[] = [];

  constructor({ key, validate, duplicates, maxRows = 1_000_000 }: ScanOptions<Row>) {
    this.#key = key;
    this.#validate = validate ?? errorsOf;
    this.#duplicates = duplicates;
    this.#maxRows = maxRows;
  }

  /**
   * Looks through all rows of what can be read again, once. Gives way to the page every few milliseconds, and tells
   * `onProgress` then how many rows it has seen. After an error a new scan is needed.
   *
   * @param options.identify `false` spares the work for `contentId`, where nobody needs that.
   * @throws ImportError IMPORT_TOO_MANY_ROWS, IMPORT_SOURCE_FAILED; the signal's reason.
   */
  async all(
    source: RowSource<Row>,
    {
      signal,
      onProgress,
      identify = true,
    }: {
      signal?: AbortSignal | null | undefined;
      onProgress?: ((rows: number) => void) | undefined;
      identify?: boolean | undefined;
    } = {},
  ): Promise<void> {
    if (signal?.aborted) throw abortReason(signal);
    this.#rows = source.rows;
    if (source.rows) this.#assertRoom(source.rows.length - 1);
    this.#keys = new KeySet(source.rows?.length);
    const content = identify ? new Content() : null;
    const turns = new Turns();
    const reader = source.open();
    const { unlessAborted, forget } = abortable(signal);
    try {
      for (;;) {
        const rows = await unlessAborted(reader.read(ROWS_AT_ONCE));
        if (rows.length === 0) break;
        for (const row of rows) {
          if (turns.due()) {
            onProgress?.(this.total);
            await unlessAborted(turns.next());
          }
          const { key } = this.#add(row, this.#duplicates);
          content?.add(this.#textOf(row, key));
        }
      }
      if (this.#duplicates === "last")
        await this.#preferLast(() => turns.due() && unlessAborted(turns.next()));
    } finally {
      forget();
      await reader.close();
    }

    this.contentId = content?.id() ?? "";
    this.#isWhole = true;
    this.#keys = null;
    onProgress?.(this.total);
  }

  /**
   * What is known of a row. After `all` the verdict stands, whatever `validate` would say now; else a row is looked at when
   * it is asked for first, which is in the order of the source, and the first of a key counts.
   *
   * @throws ImportError IMPORT_SOURCE_FAILED for a row that is not the one that `all` has seen there: then nothing that is
   *   known would hold. IMPORT_TOO_MANY_ROWS.
   */
  look(row: Row, index: number): Look {
    if (index >= this.total) {
      if (this.#isWhole) throw changed(index);
      return this.#add(row, "first");
    }
    const seen = this.#examine(row, index);
    const [high, low] = keyHash(seen.key);
    const [highBefore, lowBefore] = this.hashOf(index);
    if (high !== highBefore || low !== lowBefore) throw changed(index);
    return this.#recall(seen, index);
  }

  /** Whether a row that was looked at is to be sent. */
  isFresh(index: number): boolean {
    return this.#verdictOf(index) === FRESH;
  }

  /** High and low word of the hash of a row's key; 0 and 0 where it has none, or was not looked at. */
  hashOf(index: number): [high: number, low: number] {
    const hashes = this.#hashes[segmentOf(index)];
    const at = 2 * placeOf(index);
    return [hashes?.[at] ?? 0, hashes?.[at + 1] ?? 0];
  }

  /** The same for the rows of a segment, as far as they were looked at: two words each. A view, not to be changed. */
  hashes(segment: number): Uint32Array {
    const rows = Math.min(SEGMENT_ROWS, this.total - segment * SEGMENT_ROWS);
    return this.#hashes[segment]?.subarray(0, 2 * rows) ?? new Uint32Array(0);
  }

  /** Looks at the next row. */
  #add(row: Row, duplicates: ScanOptions<Row>["duplicates"]): Look {
    const index = this.total;
    this.#assertRoom(index);
    const seen = this.#examine(row, index);
    const [high, low] = keyHash(seen.key);
    this.total++;
    const hashes = madeAt(this.#hashes, segmentOf(index), pairPage);
    hashes[2 * placeOf(index)] = high;
    hashes[2 * placeOf(index) + 1] = low;
    this.#decide(index, VERDICTS[seen.verdict]);
    if (seen.verdict !== "fresh") return seen;
    if (duplicates === "report" && isCsvItem(row)) set(this.#lines, index, row.line);
    const first = this.#firstOf(index, seen.key, high, low);
    if (first >= 0) this.#pair(first, index, duplicates);
    return first < 0 ? seen : this.#recall(seen, index);
  }

  /** What can be told of a row without the others. */
  #examine(row: Row, index: number): Exclude<Look, { verdict: "duplicate" }> {
    if (typeof row !== "object" || row === null) {
      const what = row === null ? "null" : typeof row;
      return failed("", "NOT_AN_OBJECT", `This row is no object, but ${what}.`);
    }
    let key = "";
    let bad: (Look & { verdict: "failed" }) | null = null;
    try {
      key = keyOf(row, this.#key);
    } catch (error) {
      bad = failed("", "BAD_KEY", `The key of this row cannot be told: ${wordsOf(error)}`);
    }
    try {
      // First: it knows better what is wrong with a row than the function that stumbles over it.
      const found = problemIn(this.#validate(row, index));
      if (found) return { verdict: "invalid", key, ...found };
    } catch (error) {
      return failed(key, "BAD_VALIDATE", `This row cannot be checked: ${wordsOf(error)}`);
    }
    return bad ?? { verdict: "fresh", key };
  }

  /** The first good row with this key; -1: this is it. */
  #firstOf(index: number, key: string, high: number, low: number): number {
    for (let next = low; ; next++) {
      const first = this.#keys?.add(high, next, index) ?? -1;
      if (first < 0 || !this.#rows || keyOf(this.#rows[first] as Row, this.#key) === key) return first;
      // Another key of the same hash: this one lives next door.
    }
  }

  #pair(first: number, index: number, duplicates: ScanOptions<Row>["duplicates"]): void {
    set(this.#twins, index, first + 1);
    if (duplicates !== "report") {
      this.#decide(index, DUPLICATE);
      if (duplicates === "last") set(this.#twins, first, index + 1);
      return;
    }
    this.#decide(index, REPORTED);
    if (this.#verdictOf(first) === REPORTED) return;
    this.#decide(first, REPORTED);
    set(this.#twins, first, index + 1);
  }

  /** From "first" to "last": the counts stay. */
  async #preferLast(giveWay: () => Promise<void> | false): Promise<void> {
    for (let index = 0; index < this.total; index++) {
      if (placeOf(index) === 0) await giveWay();
      const twin = this.#twinOf(index);
      if (twin < 0) continue;
      // The first knows the last by now, and comes before all others.
      const last = twin > index ? twin : this.#twinOf(twin);
      set(this.#twins, index, last + 1);
      this.#decide(index, last === index ? FRESH : DUPLICATE);
    }
  }

  /** What was decided, about a row that was examined once more. */
  #recall(seen: Exclude<Look, { verdict: "duplicate" }>, index: number): Look {
    const { key } = seen;
    const verdict = this.#verdictOf(index);
    if (verdict === FRESH) return { verdict: "fresh", key };
    if (verdict === DUPLICATE) return { verdict: "duplicate", key, of: this.#twinOf(index) };
    if (verdict === REPORTED) {
      const message = `${this.#nameOf(this.#twinOf(index))} has the same key.`;
      return { verdict: "invalid", key, code: "DUPLICATE_IN_FILE", message };
    }
    if (VERDICTS[seen.verdict] === verdict) return seen;
    // Whoever looked at it changes his mind.
    const message = "Something was wrong with this row when it was looked at first.";
    return verdict === INVALID ? { verdict: "invalid", key, message } : failed(key, "BAD_VALIDATE", message);
  }

  /** As people count. */
  #nameOf(index: number): string {
    const line = this.#lines[segmentOf(index)]?.[placeOf(index)];
    return line ? `Line ${line}` : `Row ${index + 1}`;
  }

  #verdictOf(index: number): number {
    return this.#verdicts[segmentOf(index)]?.[placeOf(index)] ?? 0;
  }

  /** -1: it has none. */
  #twinOf(index: number): number {
    return (this.#twins[segmentOf(index)]?.[placeOf(index)] ?? 0) - 1;
  }

  #decide(index: number, verdict: number): void {
    const verdicts = madeAt(this.#verdicts, segmentOf(index), bytePage);
    const before = verdicts[placeOf(index)] ?? 0;
    verdicts[placeOf(index)] = verdict;
    const [from, to] = [COUNTED[before], COUNTED[verdict]];
    if (from) this.plan[from]--;
    if (to) this.plan[to]++;
  }

  #assertRoom(index: number): void {
    if (index < this.#maxRows) return;
    const most = this.#maxRows.toLocaleString("en");
    throw new ImportError("IMPORT_TOO_MANY_ROWS", `There are more than ${most} rows. Please split them.`);
  }

  /** For `contentId`. A key of ours is a hash of all of the row. */
  #textOf(row: Row, key: string): string {
    if (!this.#key && key !== "") return key;
    try {
      return JSON.stringify(isCsvItem(row) ? row.row : row) ?? typeof row;
    } catch {
      return `${this.total}:${key}`;
    }
  }
}

/**
 * The key of a row, see `rowKey`. Of an item of `readCsv` it is a hash of the row in it where `key` says nothing: another
 * line is not another row.
 *
 * @throws as `rowKey`.
 */
export function keyOf<Row>(row: Row, key: ImportOptions<Row>["key"]): string {
  return isCsvItem(row) ? rowKey(row.row, key && (() => key(row))) : rowKey(row, key);
}

/** A literal check: `tidegate/csv` is not loaded where nobody reads CSV, and rows may be kept and come back in an array. */
function isCsvItem<Row>(row: Row): row is Row & CsvItem {
  if (typeof row !== "object" || row === null) return false;
  const { row: inner, line, cells } = row as Partial<CsvItem>;
  return typeof line === "number" && Array.isArray(cells) && typeof inner === "object" && inner !== null;
}

function errorsOf(row: unknown): readonly RowProblem[] | undefined {
  return isCsvItem(row) ? row.errors : undefined;
}

/** What `validate` said, in words; `null`: the row is good. */
function problemIn(said: RowVerdict): { message: string; code?: string | undefined } | null {
  if (said === undefined || said === null || said === true || said === "") return null;
  if (said === false) return { message: "This row is not valid." };
  const problems = (Array.isArray(said) ? said : [said]) as (string | RowProblem)[];
  if (problems.length === 0) return null;
  const sentences = problems.map(textOf);
  return { message: inOne(sentences), code: problems.map(codeOf).find(Boolean) };
}

function textOf(problem: string | RowProblem): string {
  if (typeof problem === "string") return problem;
  const { field, message } = problem ?? {};
  if (typeof message !== "string") {
    throw new TypeError("validate: expected nothing, a message, or a list of { field, message }.");
  }
  return field ? `${field}: ${message}` : message;
}

function codeOf(problem: string | RowProblem): string | undefined {
  return typeof problem === "string" ? undefined : problem.code;
}

/** With something between what ends without a full stop and what follows. */
function inOne(sentences: readonly string[]): string {
  return sentences.reduce((text, next) => `${text}${/[.!?…]$/.test(text) ? "" : ";"} ${next}`);
}

function failed(key: string, code: string, message: string): Look & { verdict: "failed" } {
  return { verdict: "failed", key, code, message };
}

function changed(index: number): ImportError {
  return new ImportError(
    "IMPORT_SOURCE_FAILED",
    `Row ${index + 1} is not what it was when the rows were looked through: they have to be the same, in the same order, each time that they are read.`,
  );
}

/** The rows as one text, which is hashed in pieces: never all of it is in memory. */
class Content {
  #text = "";
  readonly #hashes: string[] = [];

  add(text: string): void {
    // JSON has no line break in it.
    this.#text += `${text}\n`;
    if (this.#text.length >= PIECE_LENGTH) this.#fold();
  }

  id(): string {
    this.#fold();
    return hexOf(this.#hashes.join());
  }

  #fold(): void {
    this.#hashes.push(hexOf(this.#text));
    this.#text = "";
  }
}

function hexOf(text: string): string {
  return Array.from(murmurOf(text), (word) => word.toString(16).padStart(8, "0")).join("");
}

/** Half a millisecond of hashing. */
const PIECE_LENGTH = 2 ** 17;

/** Few enough that they are in memory. */
const ROWS_AT_ONCE = 512;

interface Abortable {
  unlessAborted<T>(promise: Promise<T>): Promise<T>;
  forget(): void;
}

function abortable(signal: AbortSignal | null | undefined): Abortable {
  if (!signal) return { unlessAborted: (promise) => promise, forget: () => {} };
  let forget = (): void => {};
  const aborted = new Promise<never>((_, reject) => {
    forget = onAbort(signal, () => reject(abortReason(signal)));
  });
  aborted.catch(() => {});
  return { unlessAborted: (promise) => Promise.race([aborted, promise]), forget };
}

// ---- a value for each row, in pages of a segment: nothing is copied when they become more

function segmentOf(index: number): number {
  return Math.floor(index / SEGMENT_ROWS);
}

function placeOf(index: number): number {
  return index % SEGMENT_ROWS;
}

function madeAt<T>(pages: T[], segment: number, make: () => T): T {
  pages[segment] ??= make();
  return pages[segment];
}

const bytePage = () => new Uint8Array(SEGMENT_ROWS);
const wordPage = () => new Uint32Array(SEGMENT_ROWS);
const pairPage = () => new Uint32Array(2 * SEGMENT_ROWS);

function set(pages: Uint32Array[], index: number, value: number): void {
  madeAt(pages, segmentOf(index), wordPage)[placeOf(index)] = value;
}

// ---- verdicts, as they are kept; 0: not looked at

const FRESH = 1;
const DUPLICATE = 2;
const INVALID = 3;
const FAILED = 4;
/** One of several with a key that are all left out. */
const REPORTED = 5;

const VERDICTS = { fresh: FRESH, duplicate: DUPLICATE, invalid: INVALID, failed: FAILED } as const;

/** What each counts as. */
const COUNTED = [null, "fresh", "duplicates", "invalid", "invalid", "invalid"] as const;
