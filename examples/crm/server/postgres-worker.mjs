/**
 * The worker thread in which Postgres lives: PGlite, and over it Supabase's own PostgREST-compatible server.
 *
 * A thread of its own for two reasons. A wasm database blocks its thread while it works, which would falsify every
 * duration that the importer measures; and the server prints each refused insert to the console, where a 409 is
 * an ordinary answer here.
 */
import { readFile } from "node:fs/promises";
import { parentPort, workerData } from "node:worker_threads";
import { serve } from "@hono/node-server";
import { App } from "@supabase/lite";
import { createPgliteConnection } from "@supabase/lite/pglite";

const port = /** @type {import("node:worker_threads").MessagePort} */ (parentPort);
const { dataDir, publishableKey } = /** @type {{ dataDir?: string; publishableKey: string }} */ (workerData);

const connection = await createPgliteConnection(dataDir === undefined ? {} : { url: dataDir });
const database = connection.driver;
await database.exec(await readFile(new URL("./schema.sql", import.meta.url), "utf8"));

const app = new App({
  connection,
  auth: {
    enabled: true,
    publishable_key: publishableKey,
    jwt_secret: "a-secret-of-the-demo-that-guards-nothing",
  },
});

const server = serve(
  { fetch: (request) => app.fetch(request), port: 0, hostname: "127.0.0.1" },
  ({ port: at }) => {
    port.postMessage({ type: "ready", url: `http://127.0.0.1:${at}` });
  },
);

port.on("message", (message) => {
  if (message.type === "sql") void answer(message);
  else void stop();
});

/** @param {{ id: number; text: string; params: unknown[] }} question */
async function answer({ id, text, params }) {
  try {
    const { rows } = await database.query(text, params);
    port.postMessage({ type: "rows", id, rows });
  } catch (error) {
    port.postMessage({ type: "rows", id, error: error instanceof Error ? error.message : String(error) });
  }
}

async function stop() {
  // Closing waits for idle keep-alive connections too, and the gateway in front holds some.
  if ("closeAllConnections" in server) server.closeAllConnections();
  server.close();
  // A persistent data directory is only whole after this.
  await connection.close();
  port.close();
}
