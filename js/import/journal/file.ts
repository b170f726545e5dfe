/** A journal in files, for Node. Nothing else imports this module, so that no browser's bundle meets it. */

import { createHash, randomUUID } from "node:crypto";
import {
  type FileHandle,
  mkdir,
  open,
  readdir,
  readFile,
  rename,
  rm,
  stat,
  writeFile,
} from "node:fs/promises";
import { hostname } from "node:os";
import path from "node:path";
import { deserialize, serialize } from "node:v8";
import { crc32 } from "node:zlib";
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
  type Surroundings,
} from "./store.ts";

/**
 * A store in a folder, which is made if need be and is to be on a local disk. Each job has a file that grows by what
 * changes and is written anew when most of it is stale. Processes that share the folder see each other's jobs.
 *
 * Opening fails where the folder cannot be made or read.
 */
export function fileStore(folder: string): OpenStore {
  return async (surroundings) => {
    await mkdir(folder, { recursive: true });
    await readdir(folder);
    return new FileStore(folder, surroundings);
  };
}

class FileStore implements JournalStore {
  readonly kind = "file";
  readonly #folder: string;
  readonly #surroundings: Surroundings;
  readonly #logs = new Map<string, Log>();

  constructor(folder: string, surroundings: Surroundings) {
    this.#folder = folder;
    this.#surroundings = surroundings;
  }

  async find(job: string): Promise<Found | null> {
    const log = await this.#read(job);
    return log.found();
  }

  async jobs(): Promise<Found[]> {
    const found: Found[] = [];
    for (const name of await this.#names(".journal")) {
      const log = new Log(path.join(this.#folder, name));
      await log.read();
      const job = await log.found();
      if (job) found.push(job);
      await log.close();
    }
    return found;
  }

  async create(record: JobRecord): Promise<void> {
    await this.#logs.get(record.id)?.close();
    const log = new Log(this.#path(record.id, "journal"));
    this.#logs.set(record.id, log);
    await log.renew([[JOB, record]]);
  }

  async *segments(job: string): AsyncIterable<Stored> {
    const log = await this.#log(job);
    for (const index of log.indexes("s")) {
      const value = await log.value(`s${index}`);
      yield { index, value, hashes: await log.value(`h${index}`) };
    }
  }

  async *notes(job: string): AsyncIterable<Stored> {
    const log = await this.#log(job);
    for (const index of log.indexes("n")) yield { index, value: await log.value(`n${index}`) };
  }

  async write(changes: readonly Change[], strict: boolean): Promise<void> {
    for (const { job, fence } of changes) {
      if (fence !== undefined && (await this.#holder(job))?.token !== fence) throw new ClaimLostError(job);
    }
    for (const { job, record, segments, notes } of changes) {
      const log = await this.#log(job);
      const lines: Line[] = [];
      if (record) lines.push([JOB, record]);
      for (const [index, { bits, hashes }] of segments) {
        lines.push([`s${index}`, bits]);
        if (hashes) lines.push([`h${index}`, hashes]);
      }
      for (const [index, note] of notes) lines.push([`n${index}`, note]);
      await log.append(lines, strict);
      if (record?.incomplete === false) await log.mark(false);
    }
  }

  async finish({ id, origin, table }: JobRecord, at: number): Promise<void> {
    const hashes: Uint32Array[] = [];
    for await (const segment of this.segments(id)) {
      if (isBits(segment.value) && isHashes(segment.hashes)) {
        hashes.push(doneWell(segment.value, segment.hashes));
      }
    }
    const known: Known = { origin, table, hashes };
    const name = `${nameOf(id)}.${Math.max(0, Math.floor(at))}.${randomUUID()}.keys`;
    await replaced(path.join(this.#folder, name), lineOf("known", known));
    await this.#remove(id);
  }

  async forget(job: string): Promise<void> {
    await this.#remove(job);
    for (const name of await this.#names(".keys")) {
      if (name.startsWith(`${nameOf(job)}.`)) await rm(path.join(this.#folder, name), { force: true });
    }
    await rm(this.#path(job, "claim"), { force: true });
  }

  async *known(origin: string, table: string): AsyncIterable<unknown> {
    for (const name of await this.#names(".keys")) {
      const text = await readFile(path.join(this.#folder, name)).catch(nothingThere);
      const known = text && (decoded(text.subarray(0, -1)) as Partial<Known> | undefined);
      if (text && !Array.isArray(known?.hashes)) yield undefined;
      else if (known?.origin === origin && known.table === table) yield* known.hashes ?? [];
    }
  }

  async sweep(before: number): Promise<void> {
    for (const name of await this.#names(".keys")) {
      if (Number(name.split(".")[1]) < before) await rm(path.join(this.#folder, name), { force: true });
    }
  }

  swap(job: string, change: (held: Beat | undefined) => Beat | null | undefined): Promise<Beat | undefined> {
    return this.#alone(job, async () => {
      const held = await this.#holder(job);
      const next = change(held);
      if (next === undefined) return held;
      const file = this.#path(job, "claim");
      if (next) await replaced(file, JSON.stringify({ ...next, ...PROCESS }));
      else await rm(file, { force: true });
      return next ?? undefined;
    });
  }

  async tear(jobs: readonly string[]): Promise<void> {
    for (const job of jobs) await this.#logs.get(job)?.mark(true);
  }

  async close(): Promise<void> {
    for (const log of this.#logs.values()) await log.close();
    this.#logs.clear();
  }

  /** What lies there now: perhaps another process wrote to it. */
  async #read(job: string): Promise<Log> {
    await this.#logs.get(job)?.close();
    const log = new Log(this.#path(job, "journal"));
    await log.read();
    if (log.isThere) this.#logs.set(job, log);
    else this.#logs.delete(job);
    return log;
  }

  async #log(job: string): Promise<Log> {
    return this.#logs.get(job) ?? (await this.#read(job));
  }

  async #remove(job: string): Promise<void> {
    await this.#logs.get(job)?.close();
    this.#logs.delete(job);
    await rm(this.#path(job, "journal"), { force: true });
  }

  /** Who wrote the last beat. A process of this machine that has ended will not write another. */
  async #holder(job: string): Promise<Beat | undefined> {
    const text = await readFile(this.#path(job, "claim"), "utf8").catch(nothingThere);
    const beat: unknown = text ? parsed(text) : undefined;
    if (!isBeat(beat)) return undefined;
    const { token, at, until, pid, host } = beat as Beat & Partial<typeof PROCESS>;
    const ended = host === PROCESS.host && typeof pid === "number" && !isAlive(pid);
    return { token, at, until: ended ? 0 : until };
  }

  /**
   * Files have no transactions: a file that only one can make stands for one. Who makes it keeps it for a moment, so one
   * that has not changed for a second was left by a process that was killed.
   */
  async #alone<T>(job: string, act: () => Promise<T>): Promise<T> {
    const file = this.#path(job, "lock");
    for (let looks = 0, seen = ""; !(await made(file)); looks++) {
      const now = String((await stat(file).catch(nothingThere))?.mtimeMs);
      if (now !== seen) looks = 0;
      seen = now;
      if (looks >= LOCK_LOOKS) await rm(file, { force: true });
      else await this.#surroundings.sleep(LOCK_LOOK_MS);
    }
    try {
      return await act();
    } finally {
      await rm(file, { force: true });
    }
  }

  async #names(ending: string): Promise<string[]> {
    return (await readdir(this.#folder)).filter((name) => name.endsWith(ending)).sort();
  }

  #path(job: string, kind: "journal" | "claim" | "lock"): string {
    return path.join(this.#folder, `${nameOf(job)}.${kind}`);
  }
}

/**
 * One job's file: a first line that says what it is, then lines of `checksum key value`, the later one of a key counting,
 * and after each batch a line that says so. What follows the last of those was cut off by a crash and never happened.
 */
class Log {
  readonly #file: string;
  readonly #places = new Map<string, Place>();
  #handle: FileHandle | null = null;
  /** Behind the last whole batch. What a crash left there has no last line, and is written over. */
  #end = 0;
  /** Bytes that count. */
  #live = 0;
  /** Writes to it were lost, or some of its lines are damaged. */
  torn = false;
  isThere = false;
  /** Somebody else's file under our name. Nothing of it is of use. */
  #foreign = false;

  constructor(file: string) {
    this.#file = file;
  }

  async read(): Promise<void> {
    const bytes = await readFile(this.#file).catch(nothingThere);
    if (!bytes) return;
    const header = bytes.subarray(0, WHOLE.length).toString("latin1");
    this.#foreign = header !== WHOLE && header !== TORN;
    this.torn = header !== WHOLE;
    this.#end = WHOLE.length;
    if (!this.#foreign) this.#scan(bytes);
    // A file in which not even the first batch was finished is one that was never begun.
    this.isThere = this.#places.size > 0 || this.torn;
  }

  #scan(bytes: Buffer): void {
    let batch: [string, Place][] = [];
    let damaged = false;
    for (let start = this.#end, stop = 0; ; start = stop + 1) {
      stop = bytes.indexOf(NEWLINE, start);
      if (stop < 0) return;
      const key = keyOf(bytes.subarray(start, stop));
      if (key === null) damaged = true;
      if (key !== null && key !== BATCH_END) batch.push([key, { start, length: stop + 1 - start }]);
      if (key !== BATCH_END) continue;
      for (const [key, place] of batch) this.#place(key, place);
      if (damaged) this.torn = true;
      batch = [];
      damaged = false;
      this.#end = stop + 1;
    }
  }

  /** Leftovers without a job are none, unless they are damaged: then there was perhaps one. */
  async found(): Promise<Found | null> {
    if (!this.#places.has(JOB) && !this.torn) return null;
    return { record: await this.value(JOB), torn: this.torn };
  }

  indexes(kind: "s" | "n"): number[] {
    const keys = [...this.#places.keys()].filter((key) => key.startsWith(kind));
    return keys.map((key) => Number(key.slice(1))).sort((a, b) => a - b);
  }

  async value(key: string): Promise<unknown> {
    if (!this.#places.has(key)) return undefined;
    const text = await this.#text(key);
    return text && decoded(text.subarray(0, -1));
  }

  async append(lines: readonly Line[], strict: boolean): Promise<void> {
    if (!this.isThere || this.#foreign) return this.renew(lines);
    const handle = await this.#opened();
    const { text, places } = batchOf(lines, this.#end);
    await writeWhole(handle, text, this.#end);
    if (strict) await handle.datasync();
    this.#end += text.length;
    for (const [key, place] of places) this.#place(key, place);
    if (this.#end > RENEW_BYTES && this.#end > RENEW_RATIO * this.#live) await this.#shrink();
  }

  /** The file anew, with these lines and no others. */
  async renew(lines: readonly Line[]): Promise<void> {
    const header = this.torn && this.isThere ? TORN : WHOLE;
    const { text, places } = batchOf(lines, header.length);
    await this.#become(Buffer.concat([Buffer.from(header), text]), places);
    this.torn = header === TORN;
  }

  /** Changes in its place the one word of the first line that says whether all is there: that needs no room. */
  async mark(torn: boolean): Promise<void> {
    const handle = await this.#opened();
    await handle.write(torn ? TORN : WHOLE, 0, "latin1");
    await handle.datasync();
    this.torn = torn;
  }

  async close(): Promise<void> {
    const handle = this.#handle;
    this.#handle = null;
    await handle?.close();
  }

  /** The lines that count, copied as they are. */
  async #shrink(): Promise<void> {
    const parts: Buffer[] = [Buffer.from(this.torn ? TORN : WHOLE)];
    const places: [string, Place][] = [];
    let start = WHOLE.length;
    for (const key of this.#places.keys()) {
      const line = (await this.#text(key)) as Buffer;
      places.push([key, { start, length: line.length }]);
      parts.push(line);
      start += line.length;
    }
    parts.push(lineOf(BATCH_END, null));
    await this.#become(Buffer.concat(parts), places);
  }

  async #become(bytes: Buffer, places: readonly [string, Place][]): Promise<void> {
    await replaced(this.#file, bytes);
    await this.close();
    this.#places.clear();
    this.#live = 0;
    for (const [key, place] of places) this.#place(key, place);
    this.#end = bytes.length;
    this.isThere = true;
    this.#foreign = false;
  }

  #place(key: string, place: Place): void {
    this.#live += place.length - (this.#places.get(key)?.length ?? 0);
    this.#places.set(key, place);
  }

  async #text(key: string): Promise<Buffer | undefined> {
    const handle = await this.#opened();
    // Looked up now: opening may have taken until after the file was written anew.
    const place = this.#places.get(key);
    if (!place) return undefined;
    const text = Buffer.alloc(place.length);
    const { bytesRead } = await handle.read(text, 0, place.length, place.start);
    if (bytesRead < place.length) throw new Error("The journal's file is shorter than it was.");
    return text;
  }

  async #opened(): Promise<FileHandle> {
    this.#handle ??= await open(this.#file, "r+");
    return this.#handle;
  }
}

interface Place {
  start: number;
  length: number;
}

type Line = readonly [key: string, value: unknown];

interface Known {
  origin: string;
  table: string;
  hashes: Uint32Array[];
}

const JOB = "job";
const BATCH_END = "end";
const NEWLINE = 10;

/** The first line. Both of one length. */
const WHOLE = "tidegate-journal 1 whole\n";
const TORN = "tidegate-journal 1 torn.\n";

/** Below, a file is not worth writing anew. */
const RENEW_BYTES = 2 ** 20;

/** At four times what counts, each byte is copied less than once for every two that are written. */
const RENEW_RATIO = 4;

const LOCK_LOOK_MS = 10;
const LOCK_LOOKS = 100;

const PROCESS = { pid: process.pid, host: hostname() };

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    // It is somebody else's, and lives.
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}

/** An id may be anything, a file name may not. */
function nameOf(job: string): string {
  return createHash("sha256").update(job).digest("hex").slice(0, 32);
}

function batchOf(lines: readonly Line[], from: number): { text: Buffer; places: [string, Place][] } {
  const places: [string, Place][] = [];
  const texts: Buffer[] = [];
  let start = from;
  for (const [key, value] of lines) {
    const text = lineOf(key, value);
    texts.push(text);
    places.push([key, { start, length: text.length }]);
    start += text.length;
  }
  return { text: Buffer.concat([...texts, lineOf(BATCH_END, null)]), places };
}

/** Not as JSON: rows keep their dates, and bits their type. */
function lineOf(key: string, value: unknown): Buffer {
  const text = `${key} ${serialize(value).toString("base64")}`;
  return Buffer.from(`${checksum(text)} ${text}\n`, "latin1");
}

/** The key of a line without its newline; `null` when it is damaged. */
function keyOf(line: Buffer): string | null {
  const text = line.subarray(CHECKSUM_LENGTH + 1);
  if (line.subarray(0, CHECKSUM_LENGTH).toString("latin1") !== checksum(text)) return null;
  return text.subarray(0, text.indexOf(" ")).toString("latin1");
}

/** The value of a line without its newline; `undefined` when it is damaged. */
function decoded(line: Buffer): unknown {
  if (keyOf(line) === null) return undefined;
  const text = line.toString("latin1");
  return deserialize(Buffer.from(text.slice(text.lastIndexOf(" ") + 1), "base64"));
}

const CHECKSUM_LENGTH = 8;

function checksum(text: string | Buffer): string {
  return crc32(text).toString(16).padStart(CHECKSUM_LENGTH, "0");
}

async function writeWhole(handle: FileHandle, bytes: Buffer, from: number): Promise<void> {
  for (let done = 0; done < bytes.length; ) {
    const { bytesWritten } = await handle.write(bytes, done, bytes.length - done, from + done);
    done += bytesWritten;
  }
}

/** The file has the old content or the new one, whatever happens. */
async function replaced(file: string, content: Buffer | string): Promise<void> {
  const beside = `${file}.${randomUUID()}.new`;
  try {
    await writeFile(beside, content, { flush: true });
    await rename(beside, file);
  } catch (error) {
    await rm(beside, { force: true }).catch(() => {});
    throw error;
  }
}

async function made(file: string): Promise<boolean> {
  try {
    await (await open(file, "wx")).close();
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") return false;
    throw error;
  }
}

function nothingThere(error: NodeJS.ErrnoException): undefined {
  if (error.code !== "ENOENT") throw error;
  return undefined;
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
