// The other origin: answers that a case asks for one after the other, and a table behind a limit.
import { setTimeout as delay } from "node:timers/promises";
import { listen, PREFLIGHT } from "../browser/harness.mjs";

/**
 * Resolves with `{ origin, close }`. The cases run in realms that only have `fetch`, so all is told in addresses:
 *
 * - `/script?id=…&answers=[…]`: one after the other, the last one for ever: `{ status, headers, body, cors, delayMs, reset }`
 * - `/received?id=…`: how many requests a script has had, preflights apart
 * - `/table/…?limit=…&pauseMs=…`: POST takes rows, and after so many requests none for a while, however slow the machine is; with
 *   `opaque` the refusals have no CORS headers; with `unique` a row that is there already is not written again. GET tells what is there
 * - `/told/…`: what was posted there last
 */
export function serveCases() {
  const counts = new Map();
  const tables = new Map();
  const told = new Map();

  const routes = {
    async script(_, response, { searchParams }) {
      const id = searchParams.get("id");
      const answers = JSON.parse(searchParams.get("answers"));
      const index = counts.get(id) ?? 0;
      counts.set(id, index + 1);
      await give(response, answers[Math.min(index, answers.length - 1)]);
    },

    received(_, response, { searchParams }) {
      return json(response, counts.get(searchParams.get("id")) ?? 0);
    },

    async table(request, response, { pathname, searchParams }) {
      const table = tables.get(pathname) ?? new Table(Object.fromEntries(searchParams));
      tables.set(pathname, table);
      if (request.method === "GET") return json(response, table.summary());
      const rows = JSON.parse(await textOf(request));
      const waitMs = table.refusal();
      if (waitMs === 0) return json(response, table.write(rows));
      const hint = {
        "Retry-After": Math.ceil(waitMs / 1_000),
        "Access-Control-Expose-Headers": "Retry-After",
      };
      return give(response, { status: 429, headers: hint, cors: !table.opaque });
    },

    async told(request, response, { pathname }) {
      if (request.method === "POST") told.set(pathname, await textOf(request));
      return give(response, { body: told.get(pathname) ?? "null" });
    },
  };

  return listen((request, response) => {
    const url = new URL(request.url, "http://localhost");
    if (request.method === "OPTIONS") return response.writeHead(204, PREFLIGHT).end();
    const route = routes[url.pathname.split("/")[1]];
    return route ? route(request, response, url) : response.writeHead(404).end();
  });
}

async function give(
  response,
  { status = 200, headers = {}, body = "", cors = true, delayMs = 0, reset = false },
) {
  await delay(delayMs);
  if (reset) return response.destroy();
  response.writeHead(status, { ...(cors && { "Access-Control-Allow-Origin": "*" }), ...headers }).end(body);
}

function json(response, value) {
  return give(response, { headers: { "Content-Type": "application/json" }, body: JSON.stringify(value) });
}

async function textOf(request) {
  return Buffer.concat(await request.toArray()).toString();
}

/** So many requests, then none for a while, as often as it takes; and every row that came. */
class Table {
  #limit;
  #pauseMs;
  #isUnique;
  /** Since the last pause. */
  #passed = 0;
  #closedUntil = 0;
  #requests = 0;
  #refused = 0;
  /** How often each is there, and its last content. */
  #rows = new Map();

  constructor({ limit, pauseMs, opaque, unique }) {
    this.#limit = Number(limit);
    this.#pauseMs = Number(pauseMs);
    this.#isUnique = unique !== undefined;
    this.opaque = opaque !== undefined;
  }

  /** How long a refused request has to wait; 0: it is none. */
  refusal() {
    const now = Date.now();
    this.#requests += 1;
    if (now < this.#closedUntil) {
      this.#refused += 1;
      return this.#closedUntil - now;
    }
    this.#passed += 1;
    if (this.#passed % this.#limit === 0) this.#closedUntil = now + this.#pauseMs;
    return 0;
  }

  write(rows) {
    return rows.map(({ id, ...row }) => {
      const times = this.#rows.get(id)?.times ?? 0;
      if (times > 0 && this.#isUnique) return "ignored";
      this.#rows.set(id, { times: times + 1, row });
      return "imported";
    });
  }

  summary() {
    const rows = [...this.#rows.values()];
    return {
      rows: rows.reduce((sum, { times }) => sum + times, 0),
      people: rows.length,
      requests: this.#requests,
      refused: this.#refused,
      sample: rows.slice(0, 3).map(({ row }) => row),
    };
  }
}
