// The API that the applications talk to: it refuses, it keeps rows, and it is told what an application found. What counts
// in the end is what it saw, not what it was told.
import { listen } from "../browser/harness.mjs";

/** The requests with rows that are refused, counted from 1. */
const REFUSED = new Set([2, 4]);

const HEADERS = { "Access-Control-Allow-Origin": "*", "Access-Control-Expose-Headers": "Retry-After-Ms" };

/**
 * Starts it. `open(name)` begins anew under `<origin>/<name>` and resolves with `{ url, seen, found }`: where it is, what came
 * in so far, and a promise of what the application says that it found.
 */
export async function startServer() {
  const sites = new Map();
  const server = await listen(async (request, response) => {
    const [, name, path] = request.url.split("/");
    const site = sites.get(name);
    const answer =
      site === undefined || request.method !== "POST" ? { status: 404 } : await site[path]?.(request);
    const { status = 200, body = {}, headers = {} } = answer ?? { status: 404 };
    response.writeHead(status, { ...HEADERS, ...headers }).end(JSON.stringify(body));
  });
  const open = (name) => {
    const { site, seen, found } = newSite();
    sites.set(name, site);
    return { url: `${server.origin}/${name}`, seen, found };
  };
  return { open, close: server.close };
}

const THROTTLED = { status: 429, headers: { "Retry-After-Ms": "50" }, body: { message: "slow down" } };

function newSite() {
  const seen = { calls: 0, callsRefused: 0, requests: 0, refused: 0, largest: 0, again: 0, rows: new Set() };
  const known = new Set();
  const { promise: found, resolve } = withResolvers();
  const site = {
    /** The first request to an address is refused, the others are not. */
    call({ url }) {
      seen.calls++;
      if (known.has(url)) return { body: { value: 5 } };
      known.add(url);
      seen.callsRefused++;
      return THROTTLED;
    },
    async rows(request) {
      const rows = await bodyOf(request);
      seen.requests++;
      seen.largest = Math.max(seen.largest, rows.length);
      if (REFUSED.has(seen.requests)) {
        seen.refused++;
        return THROTTLED;
      }
      for (const { id } of rows) {
        if (seen.rows.has(id)) seen.again++;
        seen.rows.add(id);
      }
      return {};
    },
    async found(request) {
      resolve(await bodyOf(request));
      return {};
    },
  };
  return { site, seen, found };
}

async function bodyOf(request) {
  let text = "";
  for await (const chunk of request.setEncoding("utf8")) text += chunk;
  return JSON.parse(text);
}

function withResolvers() {
  let resolve;
  const promise = new Promise((settle) => {
    resolve = settle;
  });
  return { promise, resolve };
}
