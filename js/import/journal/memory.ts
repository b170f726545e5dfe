import type { JobRecord, RowNote, Segment } from "../journal.ts";
import { type Beat, type Change, doneWell, type Found, type JournalStore, type Stored } from "./store.ts";

/** A store that ends with the page: the last resort, and what tests compare the others with. It never fails. */
export class MemoryStore implements JournalStore {
  readonly kind = "memory";
  readonly #jobs = new Map<string, Job>();
  readonly #known: { job: string; origin: string; table: string; at: number; hashes: Uint32Array }[] = [];
  readonly #held = new Map<string, Beat>();

  async find(job: string): Promise<Found | null> {
    const record = this.#jobs.get(job)?.record;
    return record ? { record, torn: false } : null;
  }

  async jobs(): Promise<Found[]> {
    return [...this.#jobs.values()].flatMap(({ record }) => (record ? [{ record, torn: false }] : []));
  }

  async create(record: JobRecord): Promise<void> {
    this.#jobs.set(record.id, { record, segments: new Map(), notes: new Map() });
  }

  async *segments(job: string): AsyncIterable<Stored> {
    for (const { index, bits, hashes } of sorted(this.#jobs.get(job)?.segments)) {
      yield { index, value: bits, hashes };
    }
  }

  async *notes(job: string): AsyncIterable<Stored> {
    for (const note of sorted(this.#jobs.get(job)?.notes)) yield { index: note.index, value: note };
  }

  async write(changes: readonly Change[]): Promise<void> {
    for (const { job: id, record, segments, notes } of changes) {
      const job = this.#job(id);
      if (record) job.record = record;
      for (const [index, segment] of segments) {
        job.segments.set(index, withHashes(segment, job.segments.get(index)));
      }
      for (const [index, note] of notes) job.notes.set(index, note);
    }
  }

  /** A single note, of a job that may lie elsewhere. */
  keep(note: RowNote): void {
    this.#job(note.job).notes.set(note.index, note);
  }

  /** Takes such a note away. */
  drop({ job, index }: RowNote): void {
    this.#jobs.get(job)?.notes.delete(index);
  }

  async finish({ id, origin, table }: JobRecord, at: number): Promise<void> {
    for (const { bits, hashes } of this.#jobs.get(id)?.segments.values() ?? []) {
      if (hashes) this.#known.push({ job: id, origin, table, at, hashes: doneWell(bits, hashes) });
    }
    this.#jobs.delete(id);
  }

  async forget(job: string): Promise<void> {
    this.#jobs.delete(job);
    this.#held.delete(job);
    this.#remove((known) => known.job === job);
  }

  async *known(origin: string, table: string): AsyncIterable<Uint32Array> {
    for (const known of [...this.#known]) {
      if (known.origin === origin && known.table === table) yield known.hashes;
    }
  }

  async sweep(before: number): Promise<void> {
    this.#remove((known) => known.at < before);
  }

  async swap(
    job: string,
    change: (held: Beat | undefined) => Beat | null | undefined,
  ): Promise<Beat | undefined> {
    const next = change(this.#held.get(job));
    if (next) this.#held.set(job, next);
    if (next === null) this.#held.delete(job);
    return this.#held.get(job);
  }

  /** What is lost here is lost with everything. */
  async tear(): Promise<void> {}

  close(): void {}

  #job(id: string): Job {
    const job = this.#jobs.get(id) ?? { segments: new Map(), notes: new Map() };
    this.#jobs.set(id, job);
    return job;
  }

  #remove(goes: (known: { job: string; at: number }) => boolean): void {
    this.#known.splice(0, this.#known.length, ...this.#known.filter((known) => !goes(known)));
  }
}

interface Job {
  record?: JobRecord;
  readonly segments: Map<number, Segment>;
  readonly notes: Map<number, RowNote>;
}

/** Hashes are written once; a segment that comes without them keeps those it had. */
export function withHashes(segment: Segment, before: Segment | undefined): Segment {
  return segment.hashes || !before?.hashes ? segment : { ...segment, hashes: before.hashes };
}

function sorted<T extends { index: number }>(map: ReadonlyMap<number, T> | undefined): T[] {
  return [...(map?.values() ?? [])].sort((a, b) => a.index - b.index);
}
