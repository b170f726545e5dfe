// Imports that are killed at random moments and resumed until they are done, against a server that loses answers.
import { spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import path from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { seededRandom } from "../../../examples/crm/seeded.mjs";
import { tokenBucket } from "../../../examples/crm/server/limiters.mjs";

const CHILD = fileURLToPath(new URL("import-child.mjs", import.meta.url));

/** Of the answers. */
const LOST = 0.01;
/** Requests a second that are let through, and at once: enough to be refused now and then. */
const LIMIT = { rate: 60, burst: 15 };
/** More lives than that, and something is wrong. */
const MOST_LIVES = 40;

/**
 * One import of `rows` rows. It is killed once at least, while it runs, and further times by the toss of a coin.
 *
 * @param {{ engine: string; kind: "idempotent" | "verified" | "unverified"; rows: number; seed: number; writeMs?: number }} options
 *   engine: the address of a module with `createImport` and `fileStore`; writeMs: how long the server takes to write
 * @returns {Promise<Record<string, any>>} what the last life said of it, and what the server has: `missing` and `doubled`
 *   are places of rows
 */
export async function killedImport({ engine, kind, rows, seed, writeMs = 10 }) {
  const random = seededRandom(seed);
  const folder = await mkdtemp(path.join(tmpdir(), "tidegate-kill-"));
  const server = await startServer(random, writeMs);
  try {
    let kills = 0;
    for (let lives = 1; lives <= MOST_LIVES; lives++) {
      const wantsKill = kills === 0 || random() < 0.4;
      // A batch has three rows or more: most of these moments come before the import is over.
      const patience = wantsKill ? Math.floor((random() * rows) / 4) : Number.POSITIVE_INFINITY;
      const given = { engine, url: server.url, folder, rows, kind };
      const report = await live(given, server, patience, random() * 40);
      if (report === null) kills += 1;
      else if (kills > 0) return { kind, kills, ...report, ...server.found(rows) };
      else return killedImport({ engine, kind, rows, seed: seed + 1_000_003, writeMs });
    }
    throw new Error(`It was not done after ${MOST_LIVES} lives`);
  } finally {
    await server.close();
    await rm(folder, { recursive: true, force: true });
  }
}

/** Resolves with the report, or with null when it was killed: `ms` after request number `patience`, or after its start for 0. */
async function live(given, server, patience, ms) {
  const child = spawn(process.execPath, [CHILD, JSON.stringify(given)], {
    stdio: ["ignore", "pipe", "inherit"],
    timeout: 120_000,
  });
  let said = "";
  child.stdout.setEncoding("utf8").on("data", (text) => {
    said += text;
  });
  const ended = new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (code, signal) => resolve({ code, signal }));
  });
  const gone = new AbortController();
  if (patience !== Number.POSITIVE_INFINITY) {
    void server
      .received(patience, gone.signal)
      .then(() => delay(ms))
      .then(() => child.kill("SIGKILL"));
  }
  const { code, signal } = await ended;
  gone.abort();
  if (signal === "SIGKILL") return null;
  const report = said.trim().split("\n").at(-1);
  if (code !== 0 || !report?.startsWith("{"))
    throw new Error(`The import ended with ${code ?? signal}: ${said}`);
  return JSON.parse(report);
}

/** What a person calls a server: it writes, and the answer may get lost; and it refuses what is too much. */
async function startServer(random, writeMs) {
  /** The ids of the rows of each address. @type {Map<string, string[]>} */
  const people = new Map();
  const limiter = tokenBucket(LIMIT);
  const counts = { requests: 0, refused: 0, lost: 0 };
  let arrived = () => {};

  const server = createServer(async (request, response) => {
    const { searchParams } = new URL(request.url ?? "/", "http://localhost");
    let body = "";
    for await (const text of request.setEncoding("utf8")) body += text;
    counts.requests += 1;
    arrived();
    if (limiter.admit(performance.now(), { write: true }) !== null) {
      counts.refused += 1;
      return response.writeHead(429).end();
    }
    await delay(request.method === "GET" ? random() * 10 : random() * writeMs);
    const answer =
      request.method === "GET" ? (people.get(searchParams.get("email") ?? "") ?? []) : write(body);
    await delay(random() * 10);
    if (random() >= LOST) return response.end(JSON.stringify(answer));
    counts.lost += 1;
    request.socket.destroy();

    /** @param {string} text */
    function write(text) {
      const once = searchParams.has("once");
      /** @type {{ id: string; email: string }[]} */
      const items = JSON.parse(text);
      const added = items.filter(({ id, email }) => !once || !people.get(email)?.includes(id));
      for (const { id, email } of added) people.set(email, [...(people.get(email) ?? []), id]);
      return added.map(({ id }) => id);
    }
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", () => resolve(undefined)));
  const { port } = /** @type {import("node:net").AddressInfo} */ (server.address());

  return {
    url: `http://127.0.0.1:${port}`,

    /** Resolves when so many more have come; never after the signal. */
    received(more, signal) {
      const wanted = counts.requests + more;
      return new Promise((resolve) => {
        arrived = () => {
          if (counts.requests >= wanted && !signal.aborted) resolve(undefined);
        };
        arrived();
      });
    },

    found(rows) {
      const places = Array.from({ length: rows }, (_, i) => i);
      const timesOf = (i) => people.get(`person-${i}@example.com`)?.length ?? 0;
      return {
        ...counts,
        missing: places.filter((i) => timesOf(i) === 0),
        doubled: places.filter((i) => timesOf(i) > 1),
      };
    },

    async close() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

/** What is wrong with the end of an import; empty: nothing. */
export function wrongIn(run, rows) {
  const { kind, imported, duplicate, unknown, total, stopped, listed, missing, doubled, notices } = run;
  const unlisted = kind === "unverified" ? missing.filter((i) => !listed.includes(i)) : missing;
  const isUnknownAllowed = kind === "unverified";
  return [
    unlisted.length > 0 && `lost rows: ${unlisted.join()}`,
    doubled.length > 0 && `doubled rows: ${doubled.join()}`,
    total !== rows && `a total of ${total}`,
    imported + duplicate + unknown !== rows && `counts: ${imported} + ${duplicate} + ${unknown}`,
    unknown > 0 && !isUnknownAllowed && `${unknown} are unknown`,
    listed.length !== unknown && `${listed.length} listed of ${unknown}`,
    stopped !== null && `stopped: ${stopped?.message}`,
    notices.length > 0 && `it said: ${notices.join(" ")}`,
  ].filter((text) => typeof text === "string");
}
