// Reads a site politely: one page after the other with a pause, each once, with five workers: node examples/scraper.mjs
import { Pool, presets, RateLimiterRegistry } from "tidegate";
import { startStandIn } from "./crm/server/stand-in.mjs";

// Who comes within 50 ms after the last visit is shut out for 10 s.
const site = await startStandIn({ mode: "min-interval", limits: { windowMs: 50, blockMs: 10_000 } });

// A second between two pages, in earnest; this example has less time.
const registry = new RateLimiterRegistry({ scraper: { ...presets.webScraper, minIntervalMs: 250 } });
const workers = new Pool({ workers: 5, queue: 100 });
const read = [];

/** Queues a page, unless it has been. */
function visit(page) {
  workers
    .submit(() => readPage(page), { dedupeKey: `${site.url}/pages/${page}` })
    .catch((error) => console.log(`page ${page}: ${error.message}`));
}

async function readPage(page) {
  const limitKey = new URL(site.url).host;
  const get = ({ signal }) => fetch(`${site.url}/pages/${page}?lasts=400`, { signal });
  const response = await registry.withRateLimit("scraper", "page", get, { limitKey });
  if (!response.ok) throw new Error(`status ${response.status}`);
  read.push(page);
  // Every page links to the first one, to itself and to two more.
  for (const link of [1, page, 2 * page, 2 * page + 1]) if (link <= 11) visit(link);
}

const started = performance.now();
visit(1);
// Pages that were found while others were read are waited for in the next round.
while (workers.activeWorkers + workers.queueDepth > 0) await workers.wait();
const seconds = ((performance.now() - started) / 1_000).toFixed(1);
const { requests, refused } = await site.counts();
console.log(`${read.length} pages in ${seconds} s; ${requests} requests, refused: ${refused[429] ?? 0}`);
await site.close();
