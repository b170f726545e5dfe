/** What an import writes down, and takes up again. */

import type { Platform } from "../api.ts";
import type { Desk } from "./desk.ts";
import { type JobRecord, type Journal, type RowNote, SEGMENT_ROWS, type Segment } from "./journal.ts";
import { KeySet } from "./key-set.ts";
import type { Ledger } from "./ledger.ts";

/** What the keeper writes about. */
export interface Kept {
  ask<A>(question: (desk: Desk) => A): A;
  ledger: Pick<Ledger<never>, "counts" | "segment" | "notes">;
  /** All rows; `null`: nobody knows. */
  total: number | null;
  /** Of the rows of a segment that are known so far, two words each. */
  hashes(segment: number): Uint32Array;
  /** Whether all rows that may have been sent are known to the desk: until then a journal that lost writes says so. */
  isComplete(): boolean;
  /** The journal says that somebody else runs the job by now. */
  lost(error: unknown): void;
}

/** What an earlier run left of a job. */
export interface Left {
  /** `false`: the content has changed since, so that only what is done well counts. */
  isSame: boolean;
  /** Writes were lost: any row that is open was perhaps sent. */
  isIncomplete: boolean;
  segments: Map<number, Segment>;
  notes: Map<number, RowNote>;
  /** The keys of what was done well. */
  done: KeySet;
  /** The keys of what was perhaps sent: the rows may stand at another place by now. */
  sent: KeySet;
}

/**
 * Writes what has changed, one transaction at a time: while one runs, everything else waits for the next. Two writes are at
 * least 5 ms apart, unless somebody waits for one.
 */
export class Keeper {
  readonly #journal: Journal;
  readonly #kept: Kept;
  readonly #platform: Pick<Platform, "sleep" | "wall">;
  #record: JobRecord;
  /** How many rows of a segment have their hashes written. */
  readonly #hashed = new Map<number, number>();
  #writing: Promise<void> | null = null;
  #isDirty = false;

  constructor(journal: Journal, record: JobRecord, kept: Kept, platform: Pick<Platform, "sleep" | "wall">) {
    this.#journal = journal;
    this.#record = record;
    this.#kept = kept;
    this.#platform = platform;
  }

  /** Something has changed that is worth writing; nobody waits for it. */
  changed(): void {
    this.#isDirty = true;
    this.#writing ??= this.#written();
  }

  /** Resolves when everything so far would survive a power cut. @throws ClaimLostError */
  intent(): Promise<void> {
    return this.#write(true);
  }

  /** At once, as far as the page lets us: it may be its last moment. */
  hurry(): void {
    if (this.#isDirty) void this.#write(false).catch((error) => this.#kept.lost(error));
  }

  /** The end of the job. */
  async finish(state: "done" | "cancelled"): Promise<void> {
    await this.#writing;
    this.#record = { ...this.#record, state };
    try {
      await this.#write(false);
      await this.#journal.finish(this.#record.id);
    } catch (error) {
      // Every row has its outcome. Whoever holds the job now finds that out too.
      this.#kept.lost(error);
    }
  }

  async #written(): Promise<void> {
    // What happens at once is written at once.
    await null;
    try {
      while (this.#isDirty) {
        await this.#write(false);
        await this.#platform.sleep(WRITE_EVERY_MS);
      }
    } catch (error) {
      this.#kept.lost(error);
    } finally {
      this.#writing = null;
    }
  }

  #write(strict: boolean): Promise<void> {
    this.#isDirty = false;
    const { ledger } = this.#kept;
    const changed = this.#kept.ask((desk) =>
      desk.changed().map((index) => [index, desk.bits(index)] as const),
    );
    const segments = changed.map(([index, bits]) => {
      const hashes = this.#newHashes(index);
      return { ...ledger.segment(index, bits), ...(hashes && { hashes }) };
    });
    const notes = ledger.notes();
    this.#record = {
      ...this.#record,
      updatedAt: this.#platform.wall(),
      total: this.#kept.total,
      counts: { ...ledger.counts },
      incomplete: !this.#kept.isComplete(),
    };
    return this.#journal.write({ job: this.#record, segments, notes }, { strict });
  }

  #newHashes(segment: number): Uint32Array | undefined {
    const hashes = this.#kept.hashes(segment);
    if (hashes.length === (this.#hashed.get(segment) ?? 0)) return undefined;
    this.#hashed.set(segment, hashes.length);
    return hashes;
  }
}

/** What the journal has of a job. `found` is what `open` brought. */
export async function leftOf(journal: Journal, job: JobRecord, found: JobRecord): Promise<Left> {
  const left: Left = {
    isSame: found.source === job.source,
    isIncomplete: found.incomplete === true,
    segments: new Map(),
    notes: new Map(),
    done: new KeySet(),
    sent: new KeySet(),
  };
  try {
    for await (const note of journal.notes(job.id)) left.notes.set(note.index, note);
    for await (const segment of journal.segments(job.id)) {
      left.segments.set(segment.index, segment);
      addKeys(left, segment);
    }
  } catch {
    // The journal has told why. Whatever was not read was perhaps sent.
    left.isIncomplete = true;
  }
  return left;
}

/** Keys that earlier imports have brought there. */
export async function knownKeys(journal: Journal, job: JobRecord): Promise<KeySet> {
  const known = new KeySet();
  for await (const hashes of journal.knownKeys(job.origin, job.table, job.id)) {
    for (let i = 0; i + 1 < hashes.length; i += 2) known.add(hashes[i] as number, hashes[i + 1] as number, 0);
  }
  return known;
}

function addKeys(left: Left, { index, bits, hashes }: Segment): void {
  // Nobody can tell whose bits they are.
  if (!hashes) left.isIncomplete = true;
  for (let row = 0; hashes && 2 * row + 1 < hashes.length; row++) {
    const value = bitsOf(bits, row);
    if (value === OPEN) continue;
    const note = value === DONE_OTHERWISE ? left.notes.get(firstOf(index) + row) : undefined;
    if (note?.outcome === "failed") continue;
    const keys = value === DONE_WELL ? left.done : left.sent;
    keys.add(hashes[2 * row] as number, hashes[2 * row + 1] as number, 0);
  }
}

/** Of a row, by its place in the segment. */
export function bitsOf(bits: Uint8Array, row: number): number {
  return ((bits[row >> 2] as number) >> (2 * (row & 3))) & 3;
}

export function setBits(bits: Uint8Array, row: number, value: number): void {
  const at = row >> 2;
  const shift = 2 * (row & 3);
  bits[at] = ((bits[at] as number) & ~(3 << shift)) | (value << shift);
}

/** What two bits say; see `Segment`. */
export const OPEN = 0;
export const SENT = 1;
export const DONE_WELL = 2;
export const DONE_OTHERWISE = 3;

/** The first row of a segment. */
export const firstOf = (segment: number): number => segment * SEGMENT_ROWS;

const WRITE_EVERY_MS = 5;
