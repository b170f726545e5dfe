// What every host does, whatever it is: a call that is refused once, and an import that is refused twice, against a real
// server. Copied into each application; its CommonJS form is made from it.

// biome-ignore assist/source/organizeImports: the core has to come along with whichever entry is loaded first
import { createImport } from "tidegate/import";
import { coreState, RateLimitService } from "tidegate";

/** The state of the core before anybody needed it: importing the package runs nothing. */
const atFirst = coreState();

/**
 * Does it all against the server at `api` (see server.mjs), tells the server what was found, and resolves with it.
 * `signal` ends it early, as a component does that leaves the page.
 */
export async function exercise(api, { signal } = {}) {
  const [call, rows] = await Promise.all([refusedOnce(api, signal), importRows(api, signal)]);
  signal?.throwIfAborted();
  const found = { atFirst, core: coreState(), call, rows };
  await post(`${api}/found`, found);
  return found;
}

async function refusedOnce(api, signal) {
  const service = new RateLimitService({ logLevel: "silent" });
  const attempts = [];
  const name = `${api}/call/${Math.random()}`;
  const { value } = await service.executeWithRetry(
    ({ attempt }) => {
      attempts.push(attempt);
      return post(name, {}, signal);
    },
    { signal },
  );
  return { value, attempts, circuit: service.getCircuitState().state };
}

async function importRows(api, signal) {
  const send = Object.assign(
    async (batch) => {
      const rows = batch.items.map(({ id, row }) => ({ id, ...row }));
      await post(`${api}/rows`, rows, batch.signal);
    },
    { idempotent: true, maxBatch: 5, table: "people", origin: api },
  );
  const rows = Array.from({ length: 30 }, (_, i) => ({ email: `person${i}@example.com` }));
  const report = await createImport({ rows, send, batchSize: 5, signal }).start();
  const { total, imported, duplicate, failed, skipped, unknown, throttled } = report;
  return { total, imported, duplicate, failed, skipped, unknown, throttled };
}

/** Text, so that no browser asks beforehand. What is refused rejects as an HTTP client's error would. */
async function post(address, body, signal) {
  const send = typeof fetch === "function" ? byFetch : byXmlHttpRequest;
  const { status, headers, text } = await send(address, JSON.stringify(body), signal);
  if (status < 400) return JSON.parse(text);
  throw Object.assign(new Error(`${address} answered ${status}`), { status, headers });
}

async function byFetch(address, body, signal) {
  const response = await fetch(address, { method: "POST", body, signal });
  return { status: response.status, headers: response.headers, text: await response.text() };
}

/** Jest's jsdom has no `fetch`. */
function byXmlHttpRequest(address, body, signal) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", address);
    request.onload = () =>
      resolve({
        status: request.status,
        headers: { "retry-after-ms": request.getResponseHeader("retry-after-ms") },
        text: request.responseText,
      });
    request.onerror = () => reject(new TypeError(`${address} cannot be reached`));
    signal?.addEventListener("abort", () => {
      request.abort();
      reject(signal.reason);
    });
    request.send(body);
  });
}
