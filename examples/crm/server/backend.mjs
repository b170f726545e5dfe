import { mkdir, readdir } from "node:fs/promises";
import { Worker } from "node:worker_threads";

/** Lets a browser or a script in, as the publishable key of a Supabase project does. It guards nothing here. */
export const PUBLISHABLE_KEY = "sb_publishable_tidegate_demo";

/**
 * @typedef {object} Backend
 * @property {string} url where it answers /rest/v1 and /auth/v1, on loopback; nothing limits requests here
 * @property {string} key the publishable key
 * @property {(text: string, params?: unknown[]) => Promise<Record<string, unknown>[]>} sql asks Postgres itself, past
 *   HTTP and past the gateway; rejects with Postgres' message
 * @property {(table: "contacts" | "companies" | "tags" | "sales") => Promise<number>} count rows in a table, by SQL
 * @property {() => Promise<void>} close resolves when Postgres has written everything and the port is free
 */

/**
 * A real Postgres (PGlite) behind Supabase's own PostgREST-compatible server (`@supabase/lite`), in a worker thread.
 *
 * Starts in about 2 s on two cores, nearly all of it initdb. Starting from a saved data directory takes 0.7 s; the
 * second did not seem worth a cache that can be stale.
 *
 * @param {{ dataDir?: string; verbose?: boolean }} [options] dataDir: keep the data there instead of in memory; one
 *   process at a time, PGlite has no lock. verbose: let the server print what it refuses.
 * @returns {Promise<Backend>} rejects when the data directory cannot be used
 */
export async function startBackend({ dataDir, verbose = false } = {}) {
  if (dataDir !== undefined) await prepareDataDir(dataDir);
  const worker = new Worker(new URL("./postgres-worker.mjs", import.meta.url), {
    workerData: { dataDir, publishableKey: PUBLISHABLE_KEY },
    // The server embeds without telemetry, only its CLI sends any; this holds if that ever changes.
    env: { ...process.env, LITE_TELEMETRY: "0", DO_NOT_TRACK: "1" },
    stdout: !verbose,
    stderr: !verbose,
  });
  if (!verbose) {
    // Unread output would keep the thread from ending.
    worker.stdout.resume();
    worker.stderr.resume();
  }
  const exited = new Promise((resolve) => worker.once("exit", resolve));
  const questions = openQuestions(worker);
  const url = await ready(worker);

  return {
    url,
    key: PUBLISHABLE_KEY,
    sql: questions.ask,
    async count(table) {
      const [row] = await questions.ask(`select count(*)::int as rows from ${table}`);
      return Number(row?.rows);
    },
    async close() {
      worker.postMessage({ type: "stop" });
      await exited;
    },
  };
}

/** Postgres would spread its files among whatever is there. @param {string} dataDir */
async function prepareDataDir(dataDir) {
  try {
    await mkdir(dataDir, { recursive: true });
  } catch (error) {
    throw new Error(
      `${dataDir} cannot be a data directory: ${error instanceof Error ? error.message : error}`,
    );
  }
  const files = await readdir(dataDir);
  if (files.length > 0 && !files.includes("PG_VERSION")) {
    throw new Error(`${dataDir} is neither empty nor a Postgres data directory; choose another`);
  }
}

/** @param {Worker} worker @returns {Promise<string>} */
function ready(worker) {
  return new Promise((resolve, reject) => {
    worker.once("error", reject);
    worker.once("exit", (code) => reject(new Error(`Postgres ended while starting (exit code ${code})`)));
    worker.on("message", (message) => {
      if (message.type === "ready") resolve(message.url);
    });
  });
}

/** @param {Worker} worker */
function openQuestions(worker) {
  /** @type {Map<number, { resolve(rows: Record<string, unknown>[]): void; reject(error: Error): void }>} */
  const open = new Map();
  let last = 0;

  worker.on("message", ({ type, id, rows, error }) => {
    if (type !== "rows") return;
    const question = open.get(id);
    open.delete(id);
    if (error === undefined) question?.resolve(rows);
    else question?.reject(new Error(error));
  });
  worker.once("exit", () => {
    for (const { reject } of open.values()) reject(new Error("Postgres has been stopped"));
    open.clear();
  });

  return {
    /** @type {Backend["sql"]} */
    ask(text, params = []) {
      last += 1;
      const id = last;
      return new Promise((resolve, reject) => {
        open.set(id, { resolve, reject });
        worker.postMessage({ type: "sql", id, text, params });
      });
    },
  };
}
