import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { IDBFactory } from "fake-indexeddb";
import { vi } from "vitest";
import { fileStore } from "../../../js/import/journal/file.ts";
import {
  type JobRecord,
  type Journal,
  type JournalOptions,
  openJournal,
  type RowNote,
  SEGMENT_ROWS,
  type Segment,
} from "../../../js/import/journal.ts";
import { ManualHost } from "../../../js/testing.ts";

export const DAY = 86_400_000;

/** A browser's storage, or a folder: what outlives the pages that use it. */
export interface Ground {
  readonly kind: Journal["kind"];
  readonly host: ManualHost;
  readonly told: string[];
  /** Another page, or the same one after a reload. */
  page(options?: JournalOptions): Promise<Journal>;
}

const folders: string[] = [];
const pages: Journal[] = [];

/** Closes all pages and removes all folders. */
export async function cleared(): Promise<void> {
  for (const page of pages.splice(0)) await page.close();
  for (const folder of folders.splice(0)) await rm(folder, { recursive: true });
}

export function browser(): Ground {
  vi.stubGlobal("indexedDB", new IDBFactory());
  return groundOf("indexeddb", {});
}

export async function folder(): Promise<Ground & { folder: string }> {
  const made = await mkdtemp(path.join(tmpdir(), "journal-"));
  folders.push(made);
  return { ...groundOf("file", { store: fileStore(made) }), folder: made };
}

function groundOf(kind: Journal["kind"], options: JournalOptions): Ground {
  const host = new ManualHost();
  const told: string[] = [];
  const onDegraded = (words: string): void => void told.push(words);
  const page = async (more?: JournalOptions): Promise<Journal> => {
    const opened = await openJournal({ host, onDegraded, ...options, ...more });
    pages.push(opened);
    return opened;
  };
  return { kind, host, told, page };
}

export const COUNTS = { imported: 0, duplicate: 0, failed: 0, skipped: 0, unknown: 0 };

export function jobOf(id: string, more: Partial<JobRecord> = {}): JobRecord {
  const scope = { source: "sha256-1", origin: "https://a.example", table: "contacts" };
  const times = { createdAt: 1, updatedAt: 1 };
  return { version: 1, id, ...scope, ...times, total: 10, counts: COUNTS, state: "open", ...more };
}

/** The first rows of a segment in these states. */
export function segmentOf(job: string, index: number, states: readonly number[]): Segment {
  const bits = new Uint8Array(SEGMENT_ROWS / 4);
  states.forEach((state, row) => {
    bits[row >> 2] = (bits[row >> 2] ?? 0) | (state << (2 * (row & 3)));
  });
  return { job, index, bits };
}

/** The rows of a segment that are duplicates. */
export function duplicatesOf(...rows: number[]): Uint8Array {
  const duplicates = new Uint8Array(SEGMENT_ROWS / 8);
  for (const row of rows) duplicates[row >> 3] = (duplicates[row >> 3] ?? 0) | (1 << (row & 7));
  return duplicates;
}

export function noteOf(job: string, index: number, more: Partial<RowNote> = {}): RowNote {
  return { job, index, key: `key ${index}`, outcome: "failed", attempts: 1, ...more };
}

export async function all<T>(source: AsyncIterable<T>): Promise<T[]> {
  const items: T[] = [];
  for await (const item of source) items.push(item);
  return items;
}
