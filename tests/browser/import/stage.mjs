// What an import needs to be tried: the package in a page, Postgres behind a gateway, a browser.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { constants } from "node:http2";
import path from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { pathToFileURL } from "node:url";
import { build } from "esbuild";
import { root } from "../../../js/steps.mjs";
import { installPacked } from "../../packaging/pack.mjs";
import { launch, listen, pageWithImportMap, serveFiles } from "../harness.mjs";
import { listenSecurely } from "./tls.mjs";

const here = (name) => path.join(root, "tests", "browser", "import", name);
const server = (name) => import(pathToFileURL(path.join(root, "examples", "crm", "server", name)));
const { startBackend } = await server("backend.mjs");
const { createGateway, forwardTo } = await server("gateway.mjs");
const { seededRandom } = await import(pathToFileURL(path.join(root, "examples", "crm", "seeded.mjs")));

/** The time that an answer takes over a network, in milliseconds, as in the simulation. */
export const LATENCY_MS = [50, 150];

/**
 * Resolves with
 * - `gateway(settings)`: a gateway with an unspent limit: `{ url, key, counts(), serviceMs(), lost(), close() }`
 * - `open()`: a page in a context of its own, `{ context, page }`
 * - `site`: where that page is; `peopleOf(run)`: what Postgres has of a run
 * - `app`, `backend`, `browser`, `chromiumPath`: what they are made of
 */
export async function openStage(chromiumPath) {
  const closing = [];
  const close = async () => {
    for (const end of closing.reverse()) await end();
  };
  const owned = (thing, end = () => thing.close()) => {
    closing.push(end);
    return thing;
  };
  try {
    const app = await installPacked();
    owned(app, () => app.remove());
    const backend = owned(await startBackend());
    const site = owned(await serveFiles(await siteOf(path.join(app.folder, "node_modules", "tidegate"))));
    const browser = owned(await launch(chromiumPath));
    return {
      app,
      backend,
      browser,
      chromiumPath,
      site: site.origin,
      close,
      gateway: (settings) => openGateway(backend, settings),
      peopleOf: (run) => peopleOf(backend, run),
      open: () => openPage(browser, site.origin),
    };
  } catch (error) {
    await close();
    throw error;
  }
}

/** A page with the package under its own names, and `globalThis.lab`. */
async function siteOf(folder) {
  const packageJson = JSON.parse(await readFile(path.join(folder, "package.json"), "utf8"));
  const bundle = await build({
    entryPoints: [here("lab.mjs")],
    bundle: true,
    format: "esm",
    external: ["tidegate", "tidegate/*"],
    define: { "process.env.NODE_ENV": '"production"' },
    write: false,
    logLevel: "error",
  });
  const page = `${pageWithImportMap(packageJson, MOUNT)}<link rel=icon href=data:,>`;
  return {
    mounts: { [MOUNT]: folder },
    texts: {
      "/": { type: "text/html; charset=utf-8", text: `${page}<script type="module" src="/lab.js"></script>` },
      "/bare": { type: "text/html; charset=utf-8", text: page },
      "/lab.js": { type: "text/javascript", text: bundle.outputFiles[0].text },
    },
  };
}

const MOUNT = "/tidegate/";

async function openPage(browser, origin) {
  const context = await browser.newContext({ ignoreHTTPSErrors: true });
  const page = await context.newPage();
  await ready(page, origin);
  return { context, page };
}

/** Goes to the page, or waits for one that is on its way, until its `lab` is there. */
export async function ready(page, origin) {
  if (origin) await page.goto(origin);
  else
    await until(() =>
      page.evaluate(() => location.protocol === "http:" && document.readyState === "complete"),
    );
  // What keeps it from coming is thrown here.
  await page.evaluate(() => import("/lab.js").then(() => {}));
}

/**
 * @param given the gateway's settings, and `latencyMs`: from and to; `http2`: speaks that; `lost`: the share of answers that
 *   end after their headers. A connection over HTTP/1.1 that ends before them is of no use to a test of rows without ids:
 *   Chromium then sends a POST again by itself.
 */
async function openGateway(backend, given = {}) {
  const { latencyMs = LATENCY_MS, lost = 0, seed = 1, http2 = false, ...settings } = given;
  const forward = forwardTo(backend.url);
  const random = seededRandom(seed);
  const served = { requests: 0, ms: 0, lost: 0 };
  const upstream = async (request) => {
    const started = performance.now();
    const [from, to] = latencyMs;
    const ms = from + random() * (to - from);
    const isLost = random() < lost;
    // Half of it on the way there, so that a client that is gone meanwhile has written all the same.
    await delay(ms / 2);
    const response = await forward(request);
    await delay(ms / 2);
    served.requests += 1;
    served.ms += performance.now() - started;
    if (isLost) {
      served.lost += 1;
      response.headers.set(LOST, "1");
    }
    return response;
  };
  const gateway = createGateway({ upstream, ...settings });
  const { origin, close } = await (http2 ? listenSecurely : listen)(async (incoming, outgoing) => {
    const answer = await gateway.handle(await requestOf(incoming));
    if (answer === null) (incoming.stream ?? incoming.socket).destroy();
    else await respond(answer, outgoing);
  });
  return {
    url: origin,
    key: backend.key,
    close,
    counts: () => gateway.state().counts,
    /** What a request that was let through took on average. */
    serviceMs: () => served.ms / Math.max(1, served.requests),
    lost: () => served.lost,
  };
}

/** Marks an answer that is to end after its headers. */
const LOST = "x-lost";

async function requestOf(incoming) {
  const { method, url } = incoming;
  // Those of HTTP/2 itself are none that a Request takes.
  const headers = Object.entries(incoming.headers).filter(([name]) => !name.startsWith(":"));
  const chunks = await incoming.toArray();
  const body = method === "GET" || method === "HEAD" ? null : Buffer.concat(chunks);
  return new Request(new URL(url, "http://localhost"), { method, headers, body });
}

async function respond(answer, outgoing) {
  const body = Buffer.from(await answer.arrayBuffer());
  if (answer.statusText !== "" && outgoing.req.httpVersionMajor === 1) {
    outgoing.statusMessage = answer.statusText;
  }
  outgoing.writeHead(answer.status, Object.fromEntries(answer.headers));
  if (!answer.headers.has(LOST)) return outgoing.end(body);
  outgoing.flushHeaders();
  // So that they are on their way before the end.
  await delay(2);
  if (outgoing.stream) outgoing.stream.close(constants.NGHTTP2_INTERNAL_ERROR);
  else outgoing.destroy();
}

/** Rows of a run in Postgres, and how many different people they are. */
async function peopleOf(backend, run) {
  const [found] = await backend.sql(
    `select count(*)::int as rows, count(distinct email_jsonb->0->>'email')::int as people
     from contacts where email_jsonb->0->>'email' like $1`,
    [`%@${run}.example`],
  );
  return found;
}

/** Asks until it is true. */
export async function until(isTrue, patienceMs = 60_000, everyMs = 50) {
  const end = performance.now() + patienceMs;
  for (;;) {
    const value = await isTrue();
    if (value) return value;
    if (performance.now() > end)
      throw new Error(`It did not happen within ${patienceMs / 1000} s: ${isTrue}`);
    await delay(everyMs);
  }
}

// ---- talking to `lab`, in a page of Playwright's or in a tab of our own

export function begin(page, { gateway, ...order }) {
  const { url, key } = gateway;
  return page.evaluate((given) => globalThis.lab.begin(given), { url, key, ...order });
}

export function ended(page) {
  return page.evaluate(() => globalThis.lab.ended());
}

/** Fails unless Postgres has every one of them, once. */
export async function peopleAre(stage, run, count) {
  assert.deepEqual(await stage.peopleOf(run), { rows: count, people: count }, `Postgres' count of ${run}`);
}
