import { type IDBPDatabase, type IDBPTransaction, openDB } from "idb";
import type { JobRecord } from "../journal.ts";
import {
  type Beat,
  type Change,
  ClaimLostError,
  doneWell,
  type Found,
  isBeat,
  isBits,
  isHashes,
  type JournalStore,
  type OpenStore,
  type Stored,
} from "./store.ts";

export interface IndexedDbOptions {
  /** The name of the database. Default `"tidegate-import"`. */
  name?: string | undefined;
  /** What leads from one version of the database to the next; as many as there are versions. */
  steps?: readonly UpgradeStep[] | undefined;
}

/** From the version of its index to the next one. */
export type UpgradeStep = (
  database: IDBPDatabase,
  transaction: IDBPTransaction<unknown, string[], "versionchange">,
) => void;

/**
 * A store in the browser's IndexedDB.
 *
 * Opening fails where there is none or the user forbids it, where a newer version of the database lies there, and where it
 * does not answer within ten seconds: another tab with an older version does not let go of it.
 */
export function indexedDbStore({
  name = "tidegate-import",
  steps = STEPS,
}: IndexedDbOptions = {}): OpenStore {
  return async ({ sleep }, onLost) => {
    if (!globalThis.indexedDB) throw new Error("There is no IndexedDB here.");
    let late = "The browser's database does not answer.";
    const opening = openDB(name, steps.length, {
      upgrade(database, from, _to, transaction) {
        for (const step of steps.slice(from)) step(database, transaction);
      },
      blocked() {
        late =
          "Another tab with an older version of this page keeps the database. Close it, and load this one again.";
      },
      // Whoever does not let go here keeps the other tab from opening at all.
      blocking() {
        onLost(new Error("Another tab has changed or deleted the browser's database."));
        opening.then((database) => database.close());
      },
      terminated: () => onLost(new Error("The browser has closed the database.")),
    });
    return new IndexedDbStore(await inTime(opening, sleep, () => late));
  };
}

/**
 * Resolves with the database, or rejects when it takes too long. One that opens later is closed again, so that it stands
 * in nobody's way.
 */
async function inTime(
  opening: Promise<IDBPDatabase>,
  sleep: (ms: number, signal: AbortSignal) => Promise<void>,
  late: () => string,
): Promise<IDBPDatabase> {
  const opened = new AbortController();
  const tooLate = sleep(OPEN_MS, opened.signal).then(() => null);
  const database = await Promise.race([opening, tooLate]).finally(() => opened.abort());
  if (database) return database;
  opening.then(
    (database) => database.close(),
    () => {},
  );
  throw new Error(late());
}

/** More than an upgrade takes on a slow phone, less than somebody looks at a dialog that does nothing. */
const OPEN_MS = 10_000;

/** The records of a job, by its id. */
const JOBS = "jobs";
/** By id: that no write to the job was lost. To say the opposite, a record is deleted, which also a full disk allows. */
const WHOLE = "whole";
/** By id and index: the bits, and which rows are duplicates, as `packed` puts them together. */
const SEGMENTS = "segments";
/** By id and index. Apart from the bits, which are written again and again and are a 32nd as long. */
const HASHES = "hashes";
/** By id and index. */
const NOTES = "notes";
/** What finished jobs left: `{ job, origin, table, at, hashes }`. */
const KNOWN = "known";
/** By the id of a job: who holds it. */
const CLAIMS = "claims";

const OF_A_JOB = [SEGMENTS, HASHES, NOTES];

const STEPS: readonly UpgradeStep[] = [
  (database) => {
    for (const name of [JOBS, WHOLE, ...OF_A_JOB, CLAIMS]) database.createObjectStore(name);
    const known = database.createObjectStore(KNOWN, { autoIncrement: true });
    known.createIndex("place", ["origin", "table"]);
    known.createIndex("at", "at");
    known.createIndex("job", "job");
  },
];

class IndexedDbStore implements JournalStore {
  readonly kind = "indexeddb";
  readonly #database: IDBPDatabase;

  constructor(database: IDBPDatabase) {
    this.#database = database;
  }

  async find(job: string): Promise<Found | null> {
    const { store, done } = this.#begin([JOBS, WHOLE], "readonly");
    const [record, whole] = await Promise.all([store(JOBS).get(job), store(WHOLE).getKey(job), done]);
    return record === undefined ? null : { record, torn: whole === undefined };
  }

  async jobs(): Promise<Found[]> {
    const { store, done } = this.#begin([JOBS, WHOLE], "readonly");
    const [records, ids, whole] = await Promise.all([
      store(JOBS).getAll(),
      store(JOBS).getAllKeys(),
      store(WHOLE).getAllKeys(),
      done,
    ]);
    const intact = new Set(whole);
    return ids.map((id, i) => ({ record: records[i], torn: !intact.has(id) }));
  }

  create(record: JobRecord): Promise<void> {
    return this.#write([JOBS, WHOLE, ...OF_A_JOB], false, (writes) => {
      for (const name of OF_A_JOB) writes.remove(name, ofJob(record.id));
      writes.put(JOBS, record, record.id);
      writes.put(WHOLE, true, record.id);
    });
  }

  async *segments(job: string): AsyncIterable<Stored> {
    const hashes = this.#pages(HASHES, job, SEGMENTS_AT_ONCE);
    let beside = (await hashes.next()).value;
    for await (const segment of this.#pages(SEGMENTS, job, SEGMENTS_AT_ONCE)) {
      while (beside && beside.index < segment.index) beside = (await hashes.next()).value;
      yield beside?.index === segment.index ? { ...segment, hashes: beside.value } : segment;
    }
  }

  notes(job: string): AsyncIterable<Stored> {
    return this.#pages(NOTES, job, NOTES_AT_ONCE);
  }

  write(changes: readonly Change[], strict: boolean): Promise<void> {
    return this.#write([JOBS, WHOLE, ...OF_A_JOB, CLAIMS], strict, async (writes) => {
      for (const { job, fence } of changes) {
        if (fence === undefined) continue;
        const held: unknown = await writes.store(CLAIMS).get(job);
        if (!isBeat(held) || held.token !== fence) throw new ClaimLostError(job);
      }
      for (const { job, record, segments, notes } of changes) {
        if (record) writes.put(JOBS, record, job);
        if (record?.incomplete === false) writes.put(WHOLE, true, job);
        for (const [index, { bits, hashes }] of segments) {
          writes.put(SEGMENTS, bits, [job, index]);
          if (hashes) writes.put(HASHES, hashes, [job, index]);
        }
        for (const [index, note] of notes) writes.put(NOTES, note, [job, index]);
      }
    });
  }

  finish({ id, origin, table }: JobRecord, at: number): Promise<void> {
    return this.#write([JOBS, WHOLE, ...OF_A_JOB, KNOWN], false, async (writes) => {
      for (const key of await writes.store(HASHES).getAllKeys(ofJob(id))) {
        const bits: unknown = await writes.store(SEGMENTS).get(key);
        const hashes: unknown = await writes.store(HASHES).get(key);
        if (!isBits(bits) || !isHashes(hashes)) continue;
        writes.put(KNOWN, { job: id, origin, table, at, hashes: doneWell(bits, hashes) });
      }
      removeJob(writes, id);
    });
  }

  forget(job: string): Promise<void> {
    return this.#write([JOBS, WHOLE, ...OF_A_JOB, KNOWN, CLAIMS], false, async (writes) => {
      const known = await writes.store(KNOWN).index("job").getAllKeys(job);
      for (const key of known) writes.remove(KNOWN, key);
      removeJob(writes, job);
      writes.remove(CLAIMS, job);
    });
  }

  async *known(origin: string, table: string): AsyncIterable<unknown> {
    const keys = await this.#database.getAllKeysFromIndex(KNOWN, "place", [origin, table]);
    for (const key of keys) {
      const found: { hashes?: unknown } | undefined = await this.#database.get(KNOWN, key);
      if (found) yield found.hashes;
    }
  }

  sweep(before: number): Promise<void> {
    return this.#write([KNOWN], false, async (writes) => {
      const old = await writes.store(KNOWN).index("at").getAllKeys(IDBKeyRange.upperBound(before, true));
      for (const key of old) writes.remove(KNOWN, key);
    });
  }

  async swap(
    job: string,
    change: (held: Beat | undefined) => Beat | null | undefined,
  ): Promise<Beat | undefined> {
    let after: Beat | undefined;
    await this.#write([CLAIMS], false, async (writes) => {
      const found: unknown = await writes.store(CLAIMS).get(job);
      const held = isBeat(found) ? found : undefined;
      const next = change(held);
      after = next === undefined ? held : (next ?? undefined);
      if (next) writes.put(CLAIMS, next, job);
      if (next === null) writes.remove(CLAIMS, job);
    });
    return after;
  }

  tear(jobs: readonly string[]): Promise<void> {
    return this.#write([WHOLE], false, (writes) => {
      for (const job of jobs) writes.remove(WHOLE, job);
    });
  }

  close(): void {
    this.#database.close();
  }

  /**
   * The records of a job, a page at a time: a cursor would end as soon as its reader waits for anything else. The name of
   * each index is in its key, so that damage to the value does not hide it.
   */
  async *#pages(name: string, job: string, size: number): AsyncGenerator<Stored, undefined> {
    for (let from = 0, full = true; full; ) {
      const { store, done } = this.#begin([name], "readonly");
      const [keys, values] = await Promise.all([
        store(name).getAllKeys(ofJob(job, from), size),
        store(name).getAll(ofJob(job, from), size),
        done,
      ]);
      for (const [i, key] of keys.entries()) {
        const index = (key as [string, number])[1];
        from = index + 1;
        yield { index, value: values[i] };
      }
      full = keys.length === size;
    }
    return undefined;
  }

  /** Resolves when the transaction has completed. When anything in it fails, nothing of it was done. */
  async #write(
    names: string[],
    strict: boolean,
    act: (writes: Writes) => void | Promise<void>,
  ): Promise<void> {
    const { store, done, abort } = this.#begin(names, "readwrite", strict);
    try {
      const writes = new Writes(store);
      await act(writes);
      await Promise.all(writes.requests);
    } catch (error) {
      abort();
      throw error;
    }
    await done;
  }

  #begin(names: string[], mode: "readonly" | "readwrite", strict = false): Begun {
    const durability = strict ? "strict" : "relaxed";
    const transaction = this.#database.transaction(names, mode, { durability });
    const { done } = transaction;
    // It also rejects when a request did, and that is what is told then.
    done.catch(() => {});
    return {
      store: (name) => transaction.objectStore(name) as unknown as WritableStore,
      done,
      abort() {
        try {
          transaction.abort();
        } catch {
          // It has ended by itself.
        }
      },
    };
  }
}

/** The requests of a transaction. */
class Writes {
  readonly store: StoreOf;
  readonly requests: Promise<unknown>[] = [];

  constructor(store: StoreOf) {
    this.store = store;
  }

  put(name: string, value: unknown, key?: IDBValidKey): void {
    this.#add(this.store(name).put(value, key));
  }

  remove(name: string, key: IDBValidKey | IDBKeyRange): void {
    this.#add(this.store(name).delete(key));
  }

  /** When a later one throws, nobody gets to wait for this one, which then rejects too. */
  #add(request: Promise<unknown>): void {
    request.catch(() => {});
    this.requests.push(request);
  }
}

function removeJob(writes: Writes, job: string): void {
  for (const name of [JOBS, WHOLE]) writes.remove(name, job);
  for (const name of OF_A_JOB) writes.remove(name, ofJob(job));
}

type WritableStore = ReturnType<IDBPTransaction<unknown, string[], "versionchange">["objectStore"]>;

type StoreOf = (name: string) => WritableStore;

interface Begun {
  store: StoreOf;
  done: Promise<void>;
  abort(): void;
}

/** About half a megabyte, most of it hashes. */
const SEGMENTS_AT_ONCE = 16;

/** Notes may carry rows. */
const NOTES_AT_ONCE = 256;

function ofJob(job: string, from = 0): IDBKeyRange {
  return IDBKeyRange.bound([job, from], [job, Number.POSITIVE_INFINITY]);
}
