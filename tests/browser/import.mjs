// Imports in a real Chromium: the built package in a page, Postgres behind a gateway that means it, IndexedDB, Web Locks.
//
//   node tests/browser/import.mjs                   the short version, as in npm test: about a minute
//   node tests/browser/import.mjs --long            everything below, one after the other
//   node tests/browser/import.mjs --long matrix     2,000 rows through each client, past each kind of gateway (20 minutes)
//   node tests/browser/import.mjs --long life       offline for a minute, asleep for eight hours, hidden for minutes (10 minutes)
//   node tests/browser/import.mjs --long load       100,000 rows: main thread, memory, overhead (2 minutes)
//   node tests/browser/import.mjs --long kills      200 imports that are killed and resumed: 100 processes, 100 tabs (20 minutes)
//
//   --rows N, --runs N     fewer rows (matrix, load), fewer runs (kills)
//   --only TEXT            what has that in its name: lines of the matrix, scenes of life and load, processes or tabs
//   --out FOLDER           where the long versions write what they found (docs/evidence)
//
// After `node js/build.mjs` and, in examples/crm, `npm ci`. The matrix and life want OpenSSL, and the matrix cargo.
import assert from "node:assert/strict";
import path from "node:path";
import { pathToFileURL } from "node:url";
import { parseArgs } from "node:util";
import { root } from "../../js/steps.mjs";
import { Report } from "../report.mjs";
import { findChromium } from "./harness.mjs";
import { writeEvidence } from "./import/evidence.mjs";
import { begin, ended, openStage, peopleAre, ready, until } from "./import/stage.mjs";
import { openTab } from "./import/tab.mjs";

export async function run({ report, chromiumPath }) {
  const stage = await openStage(chromiumPath);
  try {
    for (const { through, title, options, gateway } of WAYS) {
      await report.case(`300 rows through ${title}`, () => importsAll(stage, { through, options, gateway }));
    }
    await report.case("a page that is reloaded goes on where it was", () => goesOnAfterReload(stage));
    await report.case("two tabs never run one job, and the other takes over", () => runsInOneTab(stage));
    await report.case("a hidden tab imports at full speed", () => importsWhileHidden(stage));
    await report.case("offline it waits, online it goes on", () => waitsWhileOffline(stage));
  } finally {
    await stage.close();
  }
}

const BUCKET = { mode: "bucket", limits: { rate: 40, burst: 20 } };
const BLOCKING = { mode: "cloudflare", limits: { limit: 60, windowMs: 2_000, blockMs: 2_000 } };

/** One answer in a hundred is lost. */
const LOSING = { latencyMs: [20, 60], lost: 0.01 };

const WAYS = [
  {
    title: "supabase-js in batches of ten, past a bucket",
    through: "supabase-js",
    options: { batchSize: 10 },
    gateway: { mode: "bucket", limits: { rate: 10, burst: 5 }, ...LOSING },
  },
  {
    title: "supabase-js one by one, past a server that blocks",
    through: "supabase-js",
    options: { batchSize: 1 },
    gateway: { ...BLOCKING, ...LOSING },
  },
  {
    title: "ra-supabase, past a bucket",
    through: "ra-supabase",
    options: {},
    gateway: { ...BUCKET, ...LOSING },
  },
  {
    title: "ra-supabase, past a server that blocks",
    through: "ra-supabase",
    options: {},
    gateway: { ...BLOCKING, ...LOSING },
  },
];

// ---- the cases

async function importsAll(stage, { through, options, gateway: settings }) {
  const run = runName();
  const gateway = await stage.gateway(settings);
  const { page, context } = await stage.open();
  try {
    await begin(page, { through, gateway, rows: { run, count: 300 }, options });
    const report = await ended(page);
    assertImported(report, 300);
    await peopleAre(stage, run, 300);
    return `${seconds(report.durationMs)}, ${report.requests} requests, ${report.throttled} refused, ${gateway.lost()} answers lost`;
  } finally {
    await context.close();
    await gateway.close();
  }
}

async function goesOnAfterReload(stage) {
  const run = runName();
  const gateway = await stage.gateway({ ...BUCKET, ...LOSING });
  const { page, context } = await stage.open();
  const order = { through: "supabase-js", gateway, rows: { run, count: 300 }, options: { batchSize: 2 } };
  try {
    await begin(page, order);
    await imported(page, 100);
    const stores = await page.evaluate(async () => (await indexedDB.databases()).map(({ name }) => name));
    assert.equal(stores.length, 1, `databases: ${stores.join()}`);
    const held = await page.evaluate(async () => (await navigator.locks.query()).held.length);
    assert.equal(held, 1, "locks that are held");

    await page.reload();
    await ready(page, stage.site);
    const [found, ...others] = await page.evaluate(() => globalThis.lab.findImports());
    assert.deepEqual([found.name, found.total, others.length], [run, 300, 0]);
    assert(found.done >= 80 && found.done < 300, `${found.done} rows are remembered`);

    const before = gateway.counts().writes;
    await begin(page, order);
    const report = await ended(page);
    const { imported: own, duplicate, total } = report;
    // What was on its way as the page went is sent again, and the server has it already.
    assert.deepEqual(
      { total, done: own + duplicate, sums: report.wrongSums },
      { total: 300, done: 300, sums: 0 },
    );
    assert.deepEqual(await page.evaluate(() => globalThis.lab.findImports()), []);
    await peopleAre(stage, run, 300);
    const sent = gateway.counts().writes - before;
    assert(sent <= (300 - found.done) / 2 + 10, `${sent} requests for ${300 - found.done} rows`);
    return `resumed at ${found.done}, ${duplicate} met again`;
  } finally {
    await context.close();
    await gateway.close();
  }
}

async function runsInOneTab(stage) {
  const run = runName();
  const gateway = await stage.gateway({ ...BUCKET, ...LOSING });
  const { page: first, context } = await stage.open();
  const order = { through: "supabase-js", gateway, rows: { run, count: 300 }, options: { batchSize: 2 } };
  try {
    await begin(first, order);
    await imported(first, 60);
    const second = await context.newPage();
    await ready(second, stage.site);
    await begin(second, order);
    await until(
      async () => (await second.evaluate(() => globalThis.lab.progress()))?.waiting?.reason === "other-tab",
    );
    const { message } = await second.evaluate(() => globalThis.lab.progress().waiting);
    const { inFlight } = await second.evaluate(() => globalThis.lab.progress());
    assert.equal(inFlight, 0, "both tabs send");
    await imported(first, 150);
    await first.close({ runBeforeUnload: false });

    const report = await ended(second);
    assert.equal(report.imported + report.duplicate, 300, JSON.stringify(report));
    await peopleAre(stage, run, 300);
    return `"${message}"`;
  } finally {
    await context.close();
    await gateway.close();
  }
}

async function importsWhileHidden(stage) {
  const run = runName();
  const gateway = await stage.gateway({ ...BUCKET, ...LOSING });
  const tab = await openTab(stage.chromiumPath, stage.site);
  try {
    await ready(tab);
    await tab.hide();
    await until(() => tab.evaluate(() => document.visibilityState === "hidden"));
    await tab.evaluate(countTicks);
    await begin(tab, {
      through: "supabase-js",
      gateway,
      rows: { run, count: 300 },
      options: { batchSize: 2 },
    });
    const report = await ended(tab);
    assertImported(report, 300);
    await peopleAre(stage, run, 300);
    const ticks = await tab.evaluate(() => globalThis.ticks);
    // Chromium holds plain timers of this tab to one a second: else the case shows nothing.
    assert(ticks < 2 * (report.durationMs / 1000) + 3, `${ticks} ticks: the tab was not hidden`);
    // 150 requests at 40 a second, 20 at once.
    assert(report.durationMs < 1.6 * 3_750, `it took ${seconds(report.durationMs)}`);
    return `${seconds(report.durationMs)}, in which a timer of 50 ms fired ${ticks} times`;
  } finally {
    await tab.close();
    await gateway.close();
  }
}

/** In the page: how often a plain timer fires. */
function countTicks() {
  globalThis.ticks = 0;
  const tick = () => {
    globalThis.ticks += 1;
    setTimeout(tick, 50);
  };
  setTimeout(tick, 50);
}

async function waitsWhileOffline(stage) {
  const run = runName();
  const gateway = await stage.gateway({ ...BUCKET, ...LOSING });
  const { page, context } = await stage.open();
  try {
    await begin(page, {
      through: "supabase-js",
      gateway,
      rows: { run, count: 300 },
      options: { batchSize: 2 },
    });
    await imported(page, 60);
    await context.setOffline(true);
    // What the page had handed over before still goes: this is no cable that is pulled.
    await until(() => page.evaluate(isOffline));
    const before = gateway.counts().requests;
    await page.waitForTimeout(4_000);
    assert.equal(gateway.counts().requests - before, 0, "it went on sending");
    await context.setOffline(false);
    const online = performance.now();
    const done = (await page.evaluate(() => globalThis.lab.progress())).pending;
    await until(async () => (await page.evaluate(() => globalThis.lab.progress().pending)) < done, 10_000);
    const resumedMs = performance.now() - online;
    const report = await ended(page);
    assertImported(report, 300);
    await peopleAre(stage, run, 300);
    assert(resumedMs < 2_000, `it took ${seconds(resumedMs)} to go on`);
    return `went on ${resumedMs.toFixed(0)} ms after it was online`;
  } finally {
    await context.close();
    await gateway.close();
  }
}

/** In the page: it says so, and has nothing on its way. */
function isOffline() {
  const { waiting, inFlight } = globalThis.lab.progress();
  return waiting?.reason === "offline" && inFlight === 0;
}

// ---- what the cases share

let runs = 0;

/** A mail domain that nobody else's rows have. */
function runName() {
  runs += 1;
  return `short-${runs}`;
}

function imported(page, least) {
  return until(async () => (await page.evaluate(() => globalThis.lab.progress())).imported >= least);
}

/** Nothing was there before, so every row is this job's, also one whose answer was lost. */
function assertImported(report, total) {
  const { imported, duplicate, failed, skipped, unknown, stopped, wrongSums, listed } = report;
  assert.deepEqual(
    { imported, duplicate, failed, skipped, unknown, stopped, wrongSums, listed },
    {
      imported: total,
      duplicate: 0,
      failed: 0,
      skipped: 0,
      unknown: 0,
      stopped: null,
      wrongSums: 0,
      listed: total,
    },
    JSON.stringify(report),
  );
}

const seconds = (ms) => `${(ms / 1000).toFixed(1)} s`;

// ---- as a command

const LONG = ["matrix", "life", "load", "kills"];

async function long(parts, { out, ...options }) {
  const unknown = parts.find((part) => !LONG.includes(part));
  if (unknown) throw new Error(`--long takes ${LONG.join(", ")}; there is no ${unknown}`);
  let misses = 0;
  for (const part of parts.length > 0 ? parts : LONG) {
    const { measure } = await import(`./import/${part}.mjs`);
    const { missed, ...found } = await measure({ chromiumPath: findChromium(), ...options });
    await writeEvidence(out, `import-${part}`, { ...found, missed });
    for (const miss of missed) console.log(`missed: ${miss}`);
    misses += missed.length;
  }
  return misses;
}

async function main() {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      long: { type: "boolean", default: false },
      rows: { type: "string" },
      runs: { type: "string" },
      only: { type: "string" },
      out: { type: "string", default: path.join(root, "docs", "evidence") },
    },
  });
  if (values.long) {
    const { rows, runs: times, only, out } = values;
    const number = (text) => (text === undefined ? undefined : Number(text));
    return long(positionals, { rows: number(rows), runs: number(times), only, out });
  }
  const report = new Report("imports in Chromium");
  await run({ report, chromiumPath: findChromium() });
  console.log(report.counts());
  return report.failed;
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  process.exitCode = (await main()) > 0 ? 1 : 0;
}
