/** What an import remembers, so that a closed tab, a crash or a reload is only a pause. */

import { plainAlarm, platform } from "../api.ts";
import type { Host } from "../types.ts";
import { claimByBeat, claimByLock, type HeldClaim } from "./journal/claim.ts";
import { indexedDbStore } from "./journal/indexeddb.ts";
import { MemoryStore, withHashes } from "./journal/memory.ts";
import {
  type Beat,
  type Change,
  type ClaimLostError,
  doneWell,
  type Found,
  isBits,
  isHashes,
  isJobRecord,
  isNote,
  type JournalStore,
  type OpenStore,
  packed,
  type Stored,
  type Surroundings,
  suspect,
  unpacked,
} from "./journal/store.ts";

export { ClaimLostError, SEGMENT_ROWS } from "./journal/store.ts";

/** How many rows ended how. */
export interface Counts {
  imported: number;
  duplicate: number;
  failed: number;
  skipped: number;
  unknown: number;
}

/** An import, as it is written down. */
export interface JobRecord {
  version: 1;
  id: string;
  name?: string | undefined;
  /** A hash of the content, or the id that was given for it. */
  source: string;
  /** Where the rows go. */
  origin: string;
  table: string;
  /** Milliseconds since 1970. */
  createdAt: number;
  updatedAt: number;
  /** `null`: nobody knows yet. */
  total: number | null;
  counts: Counts;
  state: "open" | "done" | "cancelled";
  /**
   * `true` only where the journal says it: writes were lost, so that any row that is open was perhaps sent. Written as
   * `false` when that has been settled, that is together with segments in which every such row says that it was sent.
   */
  incomplete?: boolean | undefined;
}

/**
 * 4,096 rows. Two bits each, the first row in the lowest bits of the first byte: 0 open; 1 sent, an answer is due (after a
 * crash: to be verified, or sent again); 2 done well (imported, duplicate); 3 done otherwise (failed, skipped, unknown).
 */
export interface Segment {
  job: string;
  /** Of rows `index * 4096` and following. */
  index: number;
  /** 1,024 bytes. */
  bits: Uint8Array;
  /** Which of the rows that are done well are duplicates: a bit each, 512 bytes. Left out: none of them. */
  duplicates?: Uint8Array | undefined;
  /** Of the keys, two words a row, as far as they are known. Written once; left out afterwards, they stay. */
  hashes?: Uint32Array | undefined;
}

/** What two bits do not say of a row. */
export interface RowNote {
  job: string;
  /** Of the row. */
  index: number;
  key: string;
  outcome: string;
  code?: string | undefined;
  message?: string | undefined;
  attempts: number;
  /** The row itself: the only data of the caller's that is ever written. */
  row?: unknown;
}

export interface JournalChange {
  job?: JobRecord | undefined;
  segments?: readonly Segment[] | undefined;
  notes?: readonly RowNote[] | undefined;
}

export interface JournalWriteOptions {
  /**
   * Resolves only when it would survive a power cut. For what must be known before something is done that cannot be done
   * twice: the intent to send. Default `false`: it survives the end of the page and of the browser.
   */
  strict?: boolean | undefined;
}

export interface ClaimOptions {
  /** Ends the wait. */
  signal?: AbortSignal | undefined;
  /** Waits for the tab that runs it, instead of resolving with `null`. Default `false`. */
  wait?: boolean | undefined;
}

/** The right to run a job. */
export interface Claim {
  /** Aborts with a ClaimLostError when somebody else has taken over, because this page was taken for dead. */
  readonly lost: AbortSignal;
  /** Harmless twice. */
  release(): Promise<void>;
}

/**
 * The order is `claim`, `open`, `segments` and `notes` where there is something to resume, `write`, `finish`, `release`.
 *
 * A storage that fails costs the memory of what happens from then on, and no row: it is said once in `degraded`, and the
 * journal goes on in memory. Where it can, it leaves a mark on the disk, which `open` tells of later (`incomplete`).
 */
export interface Journal {
  /** Where it is kept, now. */
  readonly kind: "indexeddb" | "file" | "memory";
  /** Why it is kept in memory only, for people; `null`: it is not. */
  readonly degraded: string | null;
  /** What was found to be damaged, for people; `null`: nothing. Rows that a damaged segment tells of count as sent. */
  readonly damaged: string | null;
  /** What was there under the same id; `null`: nothing, and this is there from now on. */
  open(job: JobRecord): Promise<JobRecord | null>;
  /**
   * In their order.
   *
   * @throws Error when what is on disk cannot be read any more: to go on would be to guess.
   */
  segments(job: string): AsyncIterable<Segment>;
  /** In the order of the rows. Throws as `segments` does. */
  notes(job: string): AsyncIterable<RowNote>;
  /**
   * Resolves when it is on disk, or in memory if there is no other place. Writes are gathered: while one transaction runs,
   * all that comes waits for the next, which carries it. What is given may change afterwards.
   *
   * @throws ClaimLostError when somebody else runs the job by now; nothing was written.
   */
  write(change: JournalChange, options?: JournalWriteOptions): Promise<void>;
  /** Leaves of it the hashes of the keys of rows that are done well, for 30 days. */
  finish(job: string): Promise<void>;
  /**
   * Hashes of keys that earlier imports have brought there: finished ones, and what is done of others.
   *
   * @param except A job that does not count: the one that asks.
   */
  knownKeys(origin: string, table: string, except?: string): AsyncIterable<Uint32Array>;
  /** The jobs that are not finished, the last one that changed first. */
  list(): Promise<JobRecord[]>;
  /** Removes all that is known of it, also of earlier runs. Rejects when the storage refuses: then it is still there. */
  forget(job: string): Promise<void>;
  /** `null`: another tab runs it. Rejects with the signal's reason. */
  claim(job: string, options?: ClaimOptions): Promise<Claim | null>;
  /** Gives all claims back, and resolves when everything that was to be written is. */
  close(): Promise<void>;
}

export interface JournalOptions {
  /** Default: IndexedDB. In Node: `fileStore(folder)` of `journal/file.ts`. `null`: in memory, which is no failure then. */
  store?: OpenStore | null | undefined;
  /** Called at most once for each of them, with the words of `degraded` or `damaged`. */
  onDegraded?: ((words: string) => void) | undefined;
  /** Stands in for the platform's clock and timers. */
  host?: Partial<Host> | undefined;
}

/**
 * Opens the journal, and removes from it what is older than 30 days. It never rejects: where nothing can be kept, the
 * journal says so, and is one in memory.
 */
export async function openJournal({
  store = indexedDbStore(),
  onDegraded = () => {},
  host,
}: JournalOptions = {}): Promise<Journal> {
  const journal = new StoredJournal(platform(host, plainAlarm), onDegraded);
  if (store) await journal.begin(store);
  return journal;
}

class StoredJournal implements Journal {
  degraded: string | null = null;
  damaged: string | null = null;
  readonly #surroundings: Surroundings;
  readonly #tell: (words: string) => void;
  #disk: JournalStore | null = null;
  /** What could not be put on disk. It goes before what lies there. */
  readonly #memory = new MemoryStore();
  /** The jobs of this page, as they were last seen. */
  readonly #jobs = new Map<string, JobRecord>();
  /** Those of which something may lie on disk. */
  readonly #onDisk = new Set<string>();
  readonly #claims = new Map<string, HeldClaim>();
  /** What has yet to be done, in its order. */
  readonly #steps: Step[] = [];
  #working: Promise<void> | null = null;
  #closed = false;

  constructor(surroundings: Surroundings, tell: (words: string) => void) {
    this.#surroundings = surroundings;
    this.#tell = tell;
  }

  async begin(open: OpenStore): Promise<void> {
    try {
      this.#disk = await open(this.#surroundings, (reason) => this.#degrade(reason));
      await this.#disk.sweep(this.#surroundings.wall() - KNOWN_FOR_MS);
    } catch (error) {
      this.#degrade(error);
    }
  }

  get kind(): Journal["kind"] {
    return this.#store.kind;
  }

  open(job: JobRecord): Promise<JobRecord | null> {
    return this.#inTurn(async (store) => {
      const found = await this.#found(job.id);
      if (!found) await store.create(ownRecord(job));
      const record = found && this.#recordOf(found, job);
      this.#jobs.set(job.id, record ?? job);
      if (store !== this.#memory) this.#onDisk.add(job.id);
      return record;
    });
  }

  async *segments(job: string): AsyncIterable<Segment> {
    for await (const { index, value, hashes } of this.#read("segments", job)) {
      const sound = isBits(value) && (hashes === undefined || isHashes(hashes));
      if (!sound) this.#damage();
      if (!isBits(value)) yield suspect(job, index);
      else yield { job, index, ...unpacked(value), ...(isHashes(hashes) && { hashes }) };
    }
  }

  async *notes(job: string): AsyncIterable<RowNote> {
    for await (const { index, value } of this.#read("notes", job)) {
      if (isNote(value, job, index)) yield value;
      else this.#damage();
    }
  }

  async write(change: JournalChange, { strict = false }: JournalWriteOptions = {}): Promise<void> {
    if (this.#closed) throw closed();
    const last = this.#steps.at(-1);
    const gathered = last instanceof Gathered ? last : new Gathered((step) => this.#save(step));
    if (gathered !== last) this.#steps.push(gathered);
    const written = gathered.add(change, strict);
    if (change.job) this.#jobs.set(change.job.id, ownRecord(change.job));
    void this.#work();
    await written;
  }

  finish(job: string): Promise<void> {
    return this.#inTurn(async (store) => {
      const found = this.#jobs.get(job) ?? (await this.#found(job))?.record;
      if (!isJobRecord(found, job)) await store.forget(job);
      else await store.finish(found, this.#surroundings.wall());
      // Of a disk that takes nothing more, the job can still be taken away: deleting needs no room.
      if (store === this.#memory) await this.#disk?.forget(job).catch(() => {});
      else await this.#memory.forget(job);
      this.#left(job);
    });
  }

  async *knownKeys(origin: string, table: string, except?: string): AsyncIterable<Uint32Array> {
    for (const store of this.#stores()) {
      // What cannot be read is not known: a row is then sent that the server has already, and says so.
      for await (const hashes of this.#guarded(store.known(origin, table), () => {})) {
        if (isHashes(hashes)) yield hashes;
        else this.#damage();
      }
    }
    for (const job of await this.list()) {
      if (job.id === except || job.origin !== origin || job.table !== table) continue;
      for await (const { bits, hashes } of this.segments(job.id)) if (hashes) yield doneWell(bits, hashes);
    }
  }

  async list(): Promise<JobRecord[]> {
    const jobs = new Map<string, JobRecord>();
    for (const store of this.#stores()) {
      for (const found of await this.#tried(() => store.jobs(), [])) {
        const { id } = (found.record ?? {}) as { id?: unknown };
        if (typeof id !== "string" || !isJobRecord(found.record, id)) this.#damage();
        else if (!jobs.has(id)) jobs.set(id, withMark(found.record, found.torn));
      }
    }
    return [...jobs.values()].sort((a, b) => b.updatedAt - a.updatedAt);
  }

  forget(job: string): Promise<void> {
    return this.#inTurn(async () => {
      await this.#memory.forget(job);
      await this.#disk?.forget(job);
      this.#left(job);
    });
  }

  async claim(job: string, options: ClaimOptions = {}): Promise<Claim | null> {
    options.signal?.throwIfAborted();
    if (this.#closed) throw closed();
    const claim = await this.#claimed(job, options);
    if (!claim) return null;
    this.#claims.set(job, claim);
    return {
      lost: claim.lost,
      release: () => {
        if (this.#claims.get(job) === claim) this.#claims.delete(job);
        return claim.release();
      },
    };
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.#work();
    for (const claim of this.#claims.values()) await claim.release();
    this.#claims.clear();
    await this.#disk?.close();
  }

  // ---- one after the other

  /** Does something after all that came before. What a disk refuses is done in memory. */
  #inTurn<T>(act: (store: JournalStore) => Promise<T>): Promise<T> {
    if (this.#closed) return Promise.reject(closed());
    return new Promise((resolve, reject) => {
      this.#steps.push({ run: () => this.#either(act).then(resolve, reject) });
      void this.#work();
    });
  }

  async #either<T>(act: (store: JournalStore) => Promise<T>): Promise<T> {
    const store = this.#store;
    try {
      return await act(store);
    } catch (error) {
      if (store === this.#memory) throw error;
      this.#degrade(error);
      return act(this.#memory);
    }
  }

  #work(): Promise<void> {
    this.#working ??= this.#worked();
    return this.#working;
  }

  async #worked(): Promise<void> {
    // What is written in one go belongs together.
    await null;
    for (let step = this.#steps.shift(); step; step = this.#steps.shift()) await step.run();
    this.#working = null;
  }

  /** Writes what was gathered. What nobody here may write any more is left out, and its writers hear of it. */
  async #save(gathered: Gathered): Promise<void> {
    for (;;) {
      const changes = [...gathered.changes.values()];
      try {
        await this.#saveTo(this.#store, changes, gathered.strict);
        return gathered.done();
      } catch (error) {
        // By its name: the store for files is built apart, and has a class of its own.
        if ((error as Error).name === "ClaimLostError") gathered.lose(error as ClaimLostError);
        else this.#degrade(error);
      }
    }
  }

  async #saveTo(store: JournalStore, changes: readonly Change[], strict: boolean): Promise<void> {
    if (store === this.#memory) return store.write(changes, strict);
    const uncopied: RowNote[] = [];
    const fenced = changes.map((change) => {
      const notes = new Map<number, RowNote>();
      for (const [index, note] of change.notes) {
        notes.set(index, copied(note));
        if (note.row !== undefined && notes.get(index)?.row === undefined) uncopied.push(note);
      }
      return { ...change, notes, fence: this.#claims.get(change.job)?.token };
    });
    await store.write(fenced, strict);
    for (const { job, notes } of changes) {
      this.#onDisk.add(job);
      for (const note of notes.values()) this.#memory.drop(note);
    }
    for (const note of uncopied) this.#memory.keep(note);
  }

  // ---- when the disk fails

  get #store(): JournalStore {
    return this.degraded === null && this.#disk ? this.#disk : this.#memory;
  }

  #stores(): JournalStore[] {
    return this.#disk ? [this.#memory, this.#disk] : [this.#memory];
  }

  #degrade(reason: unknown): void {
    if (this.degraded !== null) return;
    this.degraded = `${wordsFor(reason)} What this import does from now on is remembered only while this page is open.`;
    // At once, and not awaited: a database that is about to close still takes what begins now.
    void this.#tried(async () => this.#disk?.tear([...this.#onDisk]), undefined);
    const at = this.#surroundings.wall();
    for (const [job, { token }] of this.#claims) {
      if (token) void this.#memory.swap(job, () => ({ token, at, until: at }));
    }
    this.#say(this.degraded);
  }

  #damage(): void {
    if (this.damaged !== null) return;
    this.damaged =
      "Some of what was remembered of earlier imports is damaged. Rows of which nothing certain is known are looked at again.";
    this.#say(this.damaged);
  }

  #say(words: string): void {
    try {
      this.#tell(words);
    } catch {
      // A listener that fails must not keep the import from going on.
    }
  }

  async #tried<T>(act: () => Promise<T>, otherwise: T): Promise<T> {
    try {
      return await act();
    } catch (error) {
      this.#degrade(error);
      return otherwise;
    }
  }

  // ---- what was found

  async #found(job: string): Promise<Found | null> {
    const remembered = await this.#memory.find(job);
    if (remembered || !this.#disk) return remembered;
    if (this.degraded === null) return this.#disk.find(job);
    // A disk that takes nothing more can perhaps be read. What is written from now on will be missing there.
    const found = await this.#disk.find(job).catch(() => null);
    if (!found) return null;
    this.#onDisk.add(job);
    void this.#disk.tear([job]).catch(() => {});
    return { ...found, torn: true };
  }

  /** A record that is of no use says at least that there was one. */
  #recordOf({ record, torn }: Found, job: JobRecord): JobRecord {
    if (isJobRecord(record, job.id)) return withMark(record, torn);
    this.#damage();
    return { ...job, incomplete: true };
  }

  async *#read(what: "segments" | "notes", job: string): AsyncIterable<Stored> {
    const kept: Stored[] = [];
    for await (const stored of this.#memory[what](job)) kept.push(stored);
    const disk = this.#onDisk.has(job) || this.degraded === null ? this.#disk : null;
    let next = 0;
    for await (const stored of this.#guarded(disk?.[what](job) ?? NOTHING, unreadable)) {
      for (let own = kept[next]; own && own.index < stored.index; own = kept[++next]) yield own;
      const own = kept[next];
      if (own?.index !== stored.index) yield stored;
      else {
        next++;
        yield { ...stored, ...own, hashes: own.hashes ?? stored.hashes };
      }
    }
    yield* kept.slice(next);
  }

  /** To read half of it and take that for all would be to send rows again: `failed` says what becomes of that. */
  async *#guarded<T>(source: AsyncIterable<T>, failed: (cause: unknown) => void): AsyncIterable<T> {
    try {
      yield* source;
    } catch (cause) {
      this.#degrade(cause);
      failed(cause);
    }
  }

  // ---- claims

  async #claimed(job: string, options: ClaimOptions): Promise<HeldClaim | null> {
    const locks = this.#disk?.kind === "file" ? undefined : locksOfPage();
    if (locks) {
      try {
        return await claimByLock(locks, job, `tidegate-import:${job}`, options);
      } catch (error) {
        if (options.signal?.aborted) throw error;
        // Forbidden in this frame: claims by beats work there all the same.
      }
    }
    const swap = (change: (held: Beat | undefined) => Beat | null | undefined): Promise<Beat | undefined> =>
      this.#either((store) => store.swap(job, change));
    return claimByBeat(job, swap, this.#surroundings, randomToken(), options);
  }

  #left(job: string): void {
    this.#jobs.delete(job);
    this.#onDisk.delete(job);
  }
}

/** How long it is of use to know who was imported: a corrected file comes within days. */
const KNOWN_FOR_MS = 30 * 86_400_000;

interface Step {
  run(): Promise<void>;
}

/** What one transaction will carry. Of two writes of one record, the later one counts. */
class Gathered implements Step {
  readonly changes = new Map<string, Change>();
  strict = false;
  readonly #writers = new Map<string, Writer[]>();
  readonly #save: (gathered: Gathered) => Promise<void>;

  constructor(save: (gathered: Gathered) => Promise<void>) {
    this.#save = save;
  }

  run(): Promise<void> {
    return this.#save(this);
  }

  add({ job, segments = [], notes = [] }: JournalChange, strict: boolean): Promise<void> {
    this.strict ||= strict;
    const jobs = new Set<string>();
    const of = (id: string): Change => {
      jobs.add(id);
      const change = this.changes.get(id) ?? { job: id, segments: new Map(), notes: new Map() };
      this.changes.set(id, change);
      return change;
    };
    if (job) of(job.id).record = ownRecord(job);
    for (const segment of segments) {
      const { segments } = of(segment.job);
      segments.set(segment.index, withHashes(packed(segment), segments.get(segment.index)));
    }
    for (const note of notes) of(note.job).notes.set(note.index, { ...note });
    return new Promise((resolve, reject) => {
      if (jobs.size === 0) resolve();
      const writer = { resolve, reject };
      for (const id of jobs) this.#writers.set(id, [...(this.#writers.get(id) ?? []), writer]);
    });
  }

  /** A job that this page may not write any more. */
  lose(error: ClaimLostError): void {
    this.changes.delete(error.job);
    for (const { reject } of this.#writers.get(error.job) ?? []) reject(error);
    this.#writers.delete(error.job);
  }

  done(): void {
    for (const writers of this.#writers.values()) for (const { resolve } of writers) resolve();
  }
}

interface Writer {
  resolve(): void;
  reject(error: Error): void;
}

function ownRecord(job: JobRecord): JobRecord {
  return { ...job, counts: { ...job.counts } };
}

/** What storages can take of a note: a row with functions in it stays with us. */
function copied(note: RowNote): RowNote {
  if (note.row === undefined) return note;
  try {
    return structuredClone(note);
  } catch {
    const { row: _, ...rest } = note;
    return rest;
  }
}

function withMark({ incomplete: _, ...record }: JobRecord, torn: boolean): JobRecord {
  return torn ? { ...record, incomplete: true } : record;
}

function unreadable(cause: unknown): never {
  throw new Error(`What was remembered of the import cannot be read any more. ${wordsFor(cause)}`, { cause });
}

const NOTHING: AsyncIterable<never> = { async *[Symbol.asyncIterator]() {} };

function wordsFor(reason: unknown): string {
  const { name, message } = (reason ?? {}) as { name?: unknown; message?: unknown };
  return WORDS[String(name)] ?? (typeof message === "string" && message ? message : "The storage fails.");
}

/** By the names of DOMExceptions, whose own messages differ between browsers. */
const WORDS: Readonly<Record<string, string>> = {
  QuotaExceededError: "The browser's storage is full.",
  VersionError: "A newer version of this page keeps its imports here.",
  SecurityError: "The browser does not allow this page to store anything.",
  InvalidStateError: "The browser does not let this page use its database.",
  NotFoundError: "The browser's database is not one of ours.",
  UnknownError: "The browser's database is damaged.",
};

function closed(): Error {
  return new Error("The journal is closed.");
}

/** `randomUUID` is for secure contexts only, and those have locks. */
function randomToken(): string {
  return Array.from(crypto.getRandomValues(new Uint32Array(4)), (word) => word.toString(36)).join("");
}

/** Only in secure contexts. */
function locksOfPage(): LockManager | undefined {
  return (globalThis.navigator as Navigator | undefined)?.locks;
}
