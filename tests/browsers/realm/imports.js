// Imports into the table of api.mjs, for cases and for journeys that end in another realm than they began in.
import { createImport, findImports } from "/tidegate/dist/import.js";

export const ROWS = 300;

export const people = (run, count = ROWS) =>
  Array.from({ length: count }, (_, i) => ({ name: `Jürgen Groß ${i}`, email: `j.${i}@${run}.example` }));

/** The address of a table of its own; see api.mjs. */
export function tableOf({ api }, run, { limit = 100, pauseMs = 1_000, ...flags } = {}) {
  return `${api}/table/${run}?${new URLSearchParams({ limit, pauseMs, ...flags })}`;
}

export async function summaryOf(table) {
  return (await fetch(table)).json();
}

/** Sends to a table as an application without a client would; `map` says what of a row. */
export function senderTo(table, { maxBatch, map = (row) => row } = {}) {
  const send = async ({ items, signal, heard }) => {
    const response = await fetch(table, {
      method: "POST",
      signal,
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(items.map(({ id, row }) => ({ id, ...map(row) }))),
    });
    heard?.(response);
    const { status, headers } = response;
    if (!response.ok) throw Object.assign(new Error(`HTTP ${status}`), { status, headers });
    return (await response.json()).map((outcome) => ({ outcome }));
  };
  const idempotent = new URL(table).searchParams.has("unique");
  return Object.assign(send, { idempotent, maxBatch, table: "people", origin: new URL(table).origin });
}

export function jobFor(table, run, { rows = people(run), maxBatch, ...options } = {}) {
  return createImport({
    ...{ rows, name: run, key: (row) => row.email, guardUnload: false },
    send: senderTo(table, { maxBatch }),
    ...options,
  });
}

/** The figures of a report. */
export function countsOf({ imported, duplicate, failed, skipped, unknown, total, stopped }) {
  return { imported, duplicate, failed, skipped, unknown, total, stopped: stopped?.reason ?? null };
}

export const allImported = (total = ROWS) => ({
  ...{ imported: total, duplicate: 0, failed: 0, skipped: 0, unknown: 0 },
  ...{ total, stopped: null },
});

// ---- one that the driver watches, and ends with its realm

let job = null;
let ending = null;

export const journey = {
  async begin({ table, run }) {
    const found = (await findImports()).find(({ name }) => name === run) ?? null;
    job = jobFor(table, run, { maxBatch: 2, batchSize: 2 });
    ending = job.start();
    ending.catch(() => {});
    return found;
  },

  progress: () => ({ ended: job.progress.imported + job.progress.duplicate, waiting: job.progress.waiting }),

  async ended({ run }) {
    const { requests, storage, ...report } = await ending;
    const left = (await findImports()).filter(({ name }) => name === run).length;
    return { counts: countsOf(report), requests, storage, left };
  },
};
