/**
 * `tidegate/import`: many rows into a server whose limit nobody has told. It learns the pace, goes on where it was
 * interrupted, and ends with exactly one outcome for each row.
 */

import { Job } from "./import/job.ts";
import type { OpenStore } from "./import/journal/store.ts";
import { openJournal } from "./import/journal.ts";
import { checkedOptions } from "./import/options.ts";
import type { CheckpointStore, FoundImport, ImportJob, ImportOptions } from "./import/public.ts";
// Of the default entry, because that brings the core along.
import { RateLimitService } from "./index.ts";

/**
 * An import. Nothing happens before its `plan` or `start`. The rows and the options must not change meanwhile.
 *
 * @throws RateLimitConfigError for options that are missing, out of their range, or none.
 */
export function createImport<Row>(options: ImportOptions<Row>): ImportJob<Row> {
  return jobOf(options, false);
}

function jobOf<Row>(options: ImportOptions<Row>, mayBeEmpty: boolean): ImportJob<Row> {
  const { id: _, ...rest } = options;
  return new Job(checkedOptions(options), {
    again: (rows) => jobOf({ ...rest, rows }, true),
    mayBeEmpty,
    judge: () => {
      judge ??= new RateLimitService({ logLevel: "silent" });
      return judge;
    },
  });
}

let judge: RateLimitService | null = null;

/** Where to look: the store that was given to `createImport` as `checkpoint`. Default: IndexedDB. */
export interface FindOptions {
  checkpoint?: CheckpointStore | undefined;
}

/** Imports that were interrupted, the latest first. Whoever gives one of them its rows again goes on with it. */
export async function findImports({ checkpoint }: FindOptions = {}): Promise<FoundImport[]> {
  const journal = await openJournal({ store: checkpoint as OpenStore | undefined });
  try {
    return (await journal.list()).map(({ id, name = "", counts, total, updatedAt }) => {
      // What was skipped is looked at again.
      const done = counts.imported + counts.duplicate + counts.failed + counts.unknown;
      return { id, name, done, total, at: updatedAt };
    });
  } finally {
    await journal.close();
  }
}

/** Removes all that is remembered of an import. Rejects when the storage refuses: then it is still there. */
export async function forgetImport(id: string, { checkpoint }: FindOptions = {}): Promise<void> {
  const journal = await openJournal({ store: checkpoint as OpenStore | undefined });
  try {
    await journal.forget(id);
  } finally {
    await journal.close();
  }
}

export { ImportError, type ImportErrorCode } from "./import/errors.ts";
export { normalisedEmail, rowId, rowKey } from "./import/ids.ts";
export type * from "./import/public.ts";
export type {
  BatchAnswer,
  ImportBatch,
  ImportItem,
  ItemAnswer,
  Sender,
  SendFailure,
} from "./import/types.ts";
