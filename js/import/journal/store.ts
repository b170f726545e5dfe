/** Where a journal keeps its records, and which records it takes for its own. */

import type { JobRecord, Journal, RowNote, Segment } from "../journal.ts";

/**
 * One place for records. What it gives back was perhaps written by somebody else, or is damaged: `unknown` until it is
 * checked. Each method is one transaction; the journal calls those that write one after the other.
 */
export interface JournalStore {
  readonly kind: Journal["kind"];
  find(job: string): Promise<Found | null>;
  /** All jobs that are not finished. */
  jobs(): Promise<Found[]>;
  /** Puts a job there, whole, and removes whatever else lay under its id. */
  create(record: JobRecord): Promise<void>;
  /** By index, upwards. */
  segments(job: string): AsyncIterable<Stored>;
  /** By index, upwards. */
  notes(job: string): AsyncIterable<Stored>;
  /**
   * All of it or nothing. `strict`: resolves when it would survive a power cut too, not only the end of the process.
   *
   * @throws ClaimLostError when the claim that a change is made under is no longer the one that is written down.
   */
  write(changes: readonly Change[], strict: boolean): Promise<void>;
  /** Leaves of the job the hashes of the keys that are done well, and the time. */
  finish(record: JobRecord, at: number): Promise<void>;
  forget(job: string): Promise<void>;
  /** Hashes that finished jobs left. */
  known(origin: string, table: string): AsyncIterable<unknown>;
  /** Removes what jobs left that finished before this time. */
  sweep(before: number): Promise<void>;
  /**
   * Reads who holds a job and changes it, with nobody in between: to another beat, to nobody (`null`), or not at all
   * (`undefined`). Resolves with what is written there afterwards.
   */
  swap(job: string, change: (held: Beat | undefined) => Beat | null | undefined): Promise<Beat | undefined>;
  /**
   * Writes after this were lost: `find` says so from now on. It takes no room, so that it can be done in a storage that is
   * full.
   */
  tear(jobs: readonly string[]): Promise<void>;
  /** After what has begun. */
  close(): void | Promise<void>;
}

/** Opens a store. `onLost` is called when it goes away by itself: a `tear` that begins within that call still succeeds. */
export type OpenStore = (
  surroundings: Surroundings,
  onLost: (reason: unknown) => void,
) => Promise<JournalStore>;

/** Of the host, what a journal needs. */
export interface Surroundings {
  /** The wall clock: milliseconds since 1970. */
  wall(): number;
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
}

export interface Found {
  record: unknown;
  /** Writes were lost; see `tear`. */
  torn: boolean;
}

export interface Stored {
  index: number;
  value: unknown;
  /** Of a segment, once they were written. */
  hashes?: unknown;
}

/** What is to be written of one job. */
export interface Change {
  readonly job: string;
  record?: JobRecord;
  /** As `packed` made them. */
  readonly segments: Map<number, Segment>;
  readonly notes: Map<number, RowNote>;
  /** The token of the claim under which it is written, where claims are beats. */
  fence?: string | undefined;
}

/** Who holds a job, written down again and again while he lives. */
export interface Beat {
  token: string;
  /** When it was written, by the wall clock. */
  at: number;
  /** By when the next one is due. 0: nobody is there any more. */
  until: number;
}

/** The job is held by somebody else by now. Nothing was written. */
export class ClaimLostError extends Error {
  override readonly name = "ClaimLostError";
  readonly job: string;

  constructor(job: string) {
    super("Another tab has taken over this import. It goes on there; here it has ended.");
    this.job = job;
  }
}

/** Rows of a segment: what one record of 1 kB tells two bits about. */
export const SEGMENT_ROWS = 4_096;

const SEGMENT_BYTES = SEGMENT_ROWS / 4;

const DUPLICATES_BYTES = SEGMENT_ROWS / 8;

/** Two bits of a row that is done well: the only ones whose keys are known afterwards. */
const DONE_WELL = 2;

/** A segment of which nothing is known: each of its rows was perhaps sent. */
export function suspect(job: string, index: number): Segment {
  return { job, index, bits: new Uint8Array(SEGMENT_BYTES).fill(0b01_01_01_01) };
}

/**
 * A copy of the segment as stores keep it: which rows are duplicates follows the bits in one and the same record, where
 * there are any. The length tells: records of 1,024 bytes are those without.
 */
export function packed({ job, index, bits, duplicates, hashes }: Segment): Segment {
  const behind = duplicates?.some((byte) => byte !== 0) ? duplicates : [];
  const both = new Uint8Array(bits.length + behind.length);
  both.set(bits);
  both.set(behind, bits.length);
  // Of the hashes too: a view would be cloned with all that lies around it, and change under our hands.
  return { job, index, bits: both, ...(hashes && { hashes: hashes.slice() }) };
}

/** What `packed` put together. */
export function unpacked(value: Uint8Array): Pick<Segment, "bits" | "duplicates"> {
  const bits = value.slice(0, SEGMENT_BYTES);
  return value.length === SEGMENT_BYTES ? { bits } : { bits, duplicates: value.slice(SEGMENT_BYTES) };
}

/** The hashes of the rows that are done well. */
export function doneWell(bits: Uint8Array, hashes: Uint32Array): Uint32Array {
  const kept = new Uint32Array(hashes.length);
  let length = 0;
  for (let row = 0; row < hashes.length / 2; row++) {
    if (((at(bits, row >> 2) >> (2 * (row & 3))) & 3) !== DONE_WELL) continue;
    kept[length++] = at(hashes, 2 * row);
    kept[length++] = at(hashes, 2 * row + 1);
  }
  return kept.slice(0, length);
}

function at(list: ArrayLike<number>, index: number): number {
  return list[index] as number;
}

export function isJobRecord(value: unknown, id: string): value is JobRecord {
  const job = fieldsOf(value);
  return (
    job.version === 1 &&
    job.id === id &&
    (job.name === undefined || typeof job.name === "string") &&
    [job.source, job.origin, job.table].every((text) => typeof text === "string") &&
    [job.createdAt, job.updatedAt].every(Number.isFinite) &&
    (job.total === null || isCount(job.total)) &&
    COUNTS.every((name) => isCount(fieldsOf(job.counts)[name])) &&
    STATES.includes(job.state as string)
  );
}

/** A segment's record, with or without duplicates behind the bits. */
export function isBits(value: unknown): value is Uint8Array<ArrayBuffer> {
  return (
    value instanceof Uint8Array && [SEGMENT_BYTES, SEGMENT_BYTES + DUPLICATES_BYTES].includes(value.length)
  );
}

export function isHashes(value: unknown): value is Uint32Array<ArrayBuffer> {
  return value instanceof Uint32Array && value.length <= 2 * SEGMENT_ROWS && value.length % 2 === 0;
}

export function isNote(value: unknown, job: string, index: number): value is RowNote {
  const note = fieldsOf(value);
  return (
    note.job === job &&
    note.index === index &&
    [note.key, note.outcome].every((text) => typeof text === "string") &&
    [note.code, note.message].every((text) => text === undefined || typeof text === "string") &&
    isCount(note.attempts)
  );
}

export function isBeat(value: unknown): value is Beat {
  const beat = fieldsOf(value);
  return typeof beat.token === "string" && [beat.at, beat.until].every(Number.isFinite);
}

const COUNTS = ["imported", "duplicate", "failed", "skipped", "unknown"];

const STATES = ["open", "done", "cancelled"];

function isCount(value: unknown): boolean {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

function fieldsOf(value: unknown): Record<string, unknown> {
  return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : {};
}
