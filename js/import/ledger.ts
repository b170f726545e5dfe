/** What became of each row, as far as reports and the journal need it. */

import { SEGMENT_ROWS } from "./journal/store.ts";
import type { RowNote, Segment } from "./journal.ts";
import type { ImportCounts, ImportOutcome, ImportRow } from "./public.ts";

export interface LedgerOptions {
  /** The import, as the journal calls it. */
  job: string;
  /** The rows are not at hand afterwards: the data of those that somebody may want to correct is kept. */
  keepsRows: boolean;
  /** Notes for the journal carry the row. */
  spill: boolean;
}

/** What is remembered of a row. The key is, where `keepsRows`. */
export type Entry<Row> = Omit<ImportRow<Row>, "key"> & { key?: string | undefined };

/**
 * The outcome of each row and how often it was sent, in two bytes a row; words for those of which something is to be said;
 * server ids and data of the first ones. The desk decides, and the ledger is told of it at once: it outlives a desk that is
 * lost, and is what a report is made of.
 *
 * It also knows what two bits a row do not say. What one transaction writes, `segment`, `notes` and a copy of `counts`, is
 * of one moment, and tells the outcome of each row again:
 *
 * | bits | | outcome |
 * |---|---|---|
 * | 0 | | none, or skipped: it was never sent, so whoever resumes looks at it anew |
 * | 1 | | none, and perhaps sent |
 * | 2 | its bit in `duplicates` | duplicate, else imported |
 * | 3 | its note | failed or unknown, and why |
 */
export class Ledger<Row> {
  /** Of the rows that have an outcome. Changes as they do. */
  readonly counts: ImportCounts = { imported: 0, duplicate: 0, failed: 0, skipped: 0, unknown: 0 };
  readonly #options: LedgerOptions;
  #total = 0;
  /** 0: none; else its place in `OUTCOMES`, from 1. */
  #outcomes = new Uint8Array(SEGMENT_ROWS);
  /** 255: so often, or more. */
  #attempts = new Uint8Array(SEGMENT_ROWS);
  readonly #words = new Map<number, Words>();
  readonly #ids = new Map<number, string | number>();
  readonly #rows = new Map<number, Row>();
  #unwritten = new Map<number, RowNote>();
  #lastWords: Words = {};

  constructor(options: LedgerOptions) {
    this.#options = options;
  }

  /** Rows that were added. */
  get total(): number {
    return this.#total;
  }

  /** Appends rows. */
  add(count: number): void {
    this.#total += count;
    if (this.#total <= this.#outcomes.length) return;
    const length = Math.max(this.#total, 2 * this.#outcomes.length);
    this.#outcomes = grown(this.#outcomes, length);
    this.#attempts = grown(this.#attempts, length);
  }

  /** `null`: it has none yet. */
  outcome(index: number): ImportOutcome | null {
    return OUTCOMES[(this.#outcomes[index] ?? 0) - 1] ?? null;
  }

  /**
   * Writes down the outcome of a row that was added. A later one takes the place of an earlier one, with all that was said
   * of that.
   *
   * @throws RangeError for a row that was not added: it would be in the counts and not in the total.
   */
  note(row: ImportRow<Row>): void {
    this.#enter(row);
    const { index, key, outcome, code, message, attempts } = row;
    if (outcome !== "failed" && outcome !== "unknown") return;
    const { job, spill } = this.#options;
    const data = spill && row.row !== undefined ? { row: row.row } : {};
    this.#unwritten.set(index, { job, index, key, outcome, code, message, attempts, ...data });
  }

  // ---- the journal

  /** What it is to keep of a segment whose bits the desk gives. */
  segment(index: number, bits: Uint8Array): Segment {
    const { job } = this.#options;
    const own = bits.slice();
    for (const row of this.#of(index, "skipped")) {
      own[row >> 2] = at(own, row >> 2) & ~(3 << (2 * (row & 3)));
    }
    let duplicates: Uint8Array | undefined;
    for (const row of this.#of(index, "duplicate")) {
      duplicates ??= new Uint8Array(SEGMENT_ROWS / 8);
      duplicates[row >> 3] = at(duplicates, row >> 3) | (1 << (row & 7));
    }
    return { job, index, bits: own, ...(duplicates && { duplicates }) };
  }

  /** What was noted of rows that failed or are unknown, and was not given here before. */
  notes(): RowNote[] {
    const notes = [...this.#unwritten.values()];
    this.#unwritten = new Map();
    return notes;
  }

  /** Takes up a note of the journal, which has it already. One that says nothing that we know is no note. */
  remember(note: RowNote): void {
    const { outcome } = note;
    if (isOutcome(outcome)) this.#enter({ ...note, outcome, row: note.row as Row });
  }

  // ---- reports

  /** The rows that ended so, upwards. */
  *find(outcomes: readonly ImportOutcome[] = OUTCOMES): Iterable<number> {
    const wanted = OUTCOMES.map((outcome) => outcomes.includes(outcome));
    for (let index = 0; index < this.#total; index++) {
      if (wanted[at(this.#outcomes, index) - 1]) yield index;
    }
  }

  /** `null`: it has no outcome yet. */
  entry(index: number): Entry<Row> | null {
    const outcome = this.outcome(index);
    if (outcome === null) return null;
    const entry: Entry<Row> = { index, outcome, attempts: at(this.#attempts, index) };
    const row = this.#rows.get(index);
    const id = this.#ids.get(index);
    if (row !== undefined) entry.row = row;
    if (id !== undefined) entry.id = id;
    return Object.assign(entry, this.#words.get(index));
  }

  /** How many rows there are up to the last one that was sent and has an outcome; 0: there is none. */
  lastSent(): number {
    let last = this.#total;
    while (last > 0 && this.#attempts[last - 1] === 0) last--;
    return last;
  }

  #enter({ index, row, key, outcome, id, code, message, attempts }: ImportRow<Row>): void {
    if (!(index >= 0 && index < this.#total)) {
      throw new RangeError(`There is no row ${index}: ${this.#total} were added.`);
    }
    const before = this.outcome(index);
    if (before) this.counts[before]--;
    this.counts[outcome]++;
    this.#outcomes[index] = OUTCOMES.indexOf(outcome) + 1;
    this.#attempts[index] = Math.min(attempts, 255);
    for (const map of [this.#words, this.#ids, this.#rows, this.#unwritten]) map.delete(index);
    const { keepsRows } = this.#options;
    const isGood = outcome === "imported" || outcome === "duplicate";
    const isSaid = code !== undefined || message !== undefined;
    if (isSaid && (!isGood || this.#words.size < MOST_KEPT)) {
      this.#words.set(index, this.#said({ key: keepsRows ? key : undefined, code, message }));
    }
    if (id !== undefined && this.#ids.size < MOST_KEPT) this.#ids.set(index, id);
    // Of rows that were cancelled nothing is said, and half a file of them is nothing to correct.
    const isToCorrect = keepsRows && !isGood && (isSaid || outcome !== "skipped");
    if (isToCorrect && row !== undefined && this.#rows.size < MOST_KEPT) this.#rows.set(index, row);
  }

  /** One object for rows of which the same is said one after the other, as of a table that has no such column. */
  #said({ key, code, message }: Words): Words {
    const last = this.#lastWords;
    if (key !== last.key || code !== last.code || message !== last.message) {
      this.#lastWords = {
        ...(key !== undefined && { key }),
        ...(code !== undefined && { code }),
        ...(message !== undefined && { message }),
      };
    }
    return this.#lastWords;
  }

  /** The rows of a segment that ended so, counted from its first. */
  *#of(segment: number, outcome: ImportOutcome): Iterable<number> {
    const wanted = OUTCOMES.indexOf(outcome) + 1;
    const bytes = this.#outcomes.subarray(segment * SEGMENT_ROWS, (segment + 1) * SEGMENT_ROWS);
    for (let row = bytes.indexOf(wanted); row >= 0; row = bytes.indexOf(wanted, row + 1)) yield row;
  }
}

type Words = Pick<Entry<unknown>, "key" | "code" | "message">;

/** Their places are the bytes of a ledger. */
const OUTCOMES: readonly ImportOutcome[] = ["imported", "duplicate", "failed", "skipped", "unknown"];

/** Ids, rows to correct, and words about rows that are well: some megabytes, and more than anybody looks at. */
const MOST_KEPT = 10_000;

function isOutcome(word: string): word is ImportOutcome {
  return OUTCOMES.includes(word as ImportOutcome);
}

function grown(bytes: Uint8Array, length: number): Uint8Array<ArrayBuffer> {
  const longer = new Uint8Array(length);
  longer.set(bytes);
  return longer;
}

function at(bytes: Uint8Array, index: number): number {
  return bytes[index] as number;
}
