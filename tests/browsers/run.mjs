// One suite in Chromium, Firefox and WebKitGTK: in a page and in workers of every kind, under content policies with and
// without WebAssembly.
//
//   node tests/browsers/run.mjs                    all of it (about 20 minutes)
//   node tests/browsers/run.mjs --only firefox     some browsers: chromium, firefox, webkit
//
//   --where worker     some realms: page, worker, shared, service
//   --case TEXT        cases with that in their names
//   --out FILE         writes what was found as JSON
//
// A browser that is not installed is skipped, and a failure in CI. The last line is `N passed, N failed`.
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { readFile } from "node:fs/promises";
import path from "node:path";
import { pathToFileURL } from "node:url";
import { parseArgs } from "node:util";
import { npm, setup } from "../../js/setup.mjs";
import { root, run as runProgram, StepError, since, toldOf, writeWhole } from "../../js/steps.mjs";
import { Report } from "../report.mjs";
import { chromium } from "./drivers/chromium.mjs";
import { firefox } from "./drivers/firefox.mjs";
import { webkit } from "./drivers/webkit.mjs";
import { openStage, POLICIES, until } from "./stage.mjs";

const BROWSERS = [chromium, firefox, webkit];

const REALMS = ["page", "worker", "shared", "service"];

/**
 * Runs the suite and resolves with its Report.
 *
 * @param options `only`: browsers, `where`: realms, both as lists with commas; `only` and `where` left out are all of them.
 *   `match`: a part of the names of cases. `out`: the file for the evidence.
 */
export async function run({ out, only, where, match = "", log = console.log } = {}) {
  const browsers = chosen(BROWSERS, only, "--only", ({ name }) => name);
  const realms = chosen(REALMS, where, "--where", (name) => name);
  await installOwn(log);
  const report = new Report("browsers");
  const started = Date.now();
  const stage = await openStage();
  const rows = [];
  try {
    for (const browser of browsers) {
      const program = browser.find();
      if (program === null) absent(report, browser);
      else rows.push(...(await inBrowser({ stage, browser, program, realms, match, report, log })));
    }
  } finally {
    await stage.close();
  }
  log(`\n${tableOf(rows)}`);
  if (out) await writeEvidence(out, { durationMs: Date.now() - started, rows });
  return report;
}

function chosen(all, given, option, nameOf) {
  if (given === undefined) return all;
  const names = given.split(",");
  const unknown = names.find((name) => !all.some((one) => nameOf(one) === name));
  if (unknown !== undefined)
    throw new StepError(`${option} takes ${all.map(nameOf).join(", ")}; there is no ${unknown}`);
  return all.filter((one) => names.includes(nameOf(one)));
}

/** Said loudly, and a failure where the tests are the gate. */
function absent(report, { title, install }) {
  const reason = `it was not found. Install it: ${install}`;
  if (process.env.CI) report.fail(`${title} is there`, reason);
  else report.skip(`everything in ${title}`, reason);
}

/** What drives Firefox is installed on demand: nothing else in the repository needs it. */
async function installOwn(log) {
  const here = path.join(root, "tests", "browsers");
  const read = (file) => readFile(path.join(here, file), "utf8").then(JSON.parse, () => null);
  const { dependencies } = await read("package.json");
  const there = await read("node_modules/puppeteer-core/package.json");
  if (there?.version === dependencies["puppeteer-core"]) return;
  const [command, ...args] = npm();
  const quiet = ["--no-audit", "--no-fund", "--loglevel=error", "--prefer-offline"];
  await runProgram("installing puppeteer-core", command, [...args, "ci", ...quiet], { cwd: here, log });
}

// ---- one browser, one kind of realm, one policy

/** Resolves with the rows of the table. A browser that does not start, or ends, is one failure, and the next one has its turn. */
async function inBrowser({ browser, program, realms, report, log, ...given }) {
  const rows = [];
  let opened = null;
  try {
    opened = await browser.open(program);
    log(`\n== ${browser.title} ${opened.version}`);
    for (const policy of POLICIES) {
      for (const where of realms)
        rows.push(await settingOf({ ...given, browser, opened, policy, where, report, log }));
    }
  } catch (error) {
    report.fail(`${browser.title} runs`, error?.stack ?? error);
  } finally {
    await opened?.close();
  }
  return rows;
}

/** Runs the cases and the journeys of a setting, and resolves with its row of the table. */
async function settingOf({ stage, browser, opened, policy, where, match, report, log }) {
  const setting = { where, core: policy.core, api: stage.api };
  const place = { opened, site: stage.sites[policy.name], setting, policy: policy.name };
  const title = `${browser.title}, ${where}, ${policy.name}`;
  const row = {
    ...{ browser: browser.name, version: opened.version, where, policy: policy.name, core: policy.core },
    ...{ passed: 0, failed: 0, durationMs: 0, remarks: {}, failures: [] },
  };
  const note = async (name, body) => {
    try {
      const remark = await body();
      row.passed += 1;
      report.count({ passed: 1 });
      if (remark !== null && remark !== undefined) row.remarks[name] = remark;
    } catch (error) {
      row.failed += 1;
      row.failures.push(name);
      report.fail(`${title}: ${name}`, error instanceof StepError ? error.message : (error?.stack ?? error));
    }
  };
  const started = Date.now();
  const isWanted = (name) => name.includes(match);
  await runCases(place, isWanted, note);
  for (const { name, isFor, go } of JOURNEYS)
    if (isFor(place.setting) && isWanted(name)) await note(name, () => go(place));
  row.durationMs = Date.now() - started;
  log(`   ${title}: ${row.passed} passed, ${row.failed} failed (${since(started)})`);
  return row;
}

async function runCases(place, isWanted, note) {
  let realm = null;
  let names = [];
  await note("the realm opens", async () => {
    realm = await openRealm(place);
    names = await realm.ask({ ask: "names" });
  });
  for (const name of names.filter(isWanted)) await note(name, () => realm.ask({ ask: "run", name }));
  await realm?.close();
}

/** A tab with a realm of the kind. Resolves with `{ ask, end, again, close }`. */
async function openRealm({ opened, site, setting }, name = "first") {
  const tab = await openPage((address) => opened.openTab(address), site);
  await tab.evaluate((given) => globalThis.host.open(given), { where: setting.where, name });
  return {
    async ask(message) {
      const { value, error } = await tab.evaluate((given) => globalThis.host.ask(given), {
        setting,
        ...message,
      });
      if (error !== undefined) throw new StepError(error);
      return value;
    },
    end: () => tab.evaluate(() => globalThis.host.end()),
    close: () => tab.close(),
  };
}

async function openPage(open, site) {
  const tab = await open(`${site}/`);
  await until(() => tab.evaluate(() => typeof globalThis.host === "object"));
  return tab;
}

// ---- journeys: what a realm cannot do to itself

const JOURNEYS = [
  { name: "an import goes on in another realm after its own has ended", isFor: () => true, go: goesOn },
  {
    name: "a hidden page imports",
    isFor: ({ where, core }) => where === "page" && core === "ready",
    go: importsHidden,
  },
];

/**
 * The realm ends in the middle: the tab is closed, the worker terminated, the service worker replaced by an update. Another one
 * is given the same rows.
 */
async function goesOn(place) {
  const { where, api } = place.setting;
  const run = randomUUID();
  // With pauses on the way: until a service worker is replaced, the one before goes on.
  const table = `${api}/table/${run}?limit=50&pauseMs=1000&unique=`;
  const summary = async () => (await fetch(table)).json();

  const first = await openRealm(place);
  assert.equal(await first.ask({ ask: "begin", table, run }), null, "a job of that name was there before");
  await until(async () => (await first.ask({ ask: "progress" })).ended >= 60);
  if (where === "worker") await first.end();
  await first.close();

  const second = await openRealm(place, "second");
  const before = (await summary()).requests;
  const found = await second.ask({ ask: "begin", table, run });
  const began = Date.now();
  assert.equal(found?.total, 300, `what is remembered: ${JSON.stringify(found)}`);
  assert(found.done > 0 && found.done < 300, `${found.done} rows are remembered`);
  const waits = new Set();
  await until(async () => {
    const { ended, waiting } = await second.ask({ ask: "progress" });
    if (waiting) waits.add(waiting.reason);
    return ended === 300;
  }, 120_000);
  const { counts, storage, left } = await second.ask({ ask: "ended", run });
  const tookMs = Date.now() - began;
  await second.close();

  const { imported, duplicate, ...others } = counts;
  assert.deepEqual(
    { done: imported + duplicate, ...others, storage, left },
    { done: 300, failed: 0, skipped: 0, unknown: 0, total: 300, stopped: null, storage: null, left: 0 },
  );
  const { rows, people, requests } = await summary();
  assert.deepEqual({ rows, people }, { rows: 300, people: 300 }, "in the table");
  assert(requests - before < 300, `${requests - before} requests for ${300 - found.done} rows`);
  const waited = waits.has("other-tab") ? ", after the first had ended" : "";
  return `at ${found.done} of 300, in ${(tookMs / 1_000).toFixed(1)} s${waited}`;
}

/** Whether timers of hidden pages are held back is the browser's affair; the import must not be. */
async function importsHidden({ opened, site, setting, policy }) {
  const run = randomUUID();
  const table = `${setting.api}/table/${run}?limit=60&pauseMs=1000`;
  const to = `${setting.api}/told/${run}`;
  const tab = await openPage((address) => opened.openHidable(address), site);
  try {
    await tab.evaluate(
      (given) => {
        globalThis.host.importHidden(given);
      },
      { table, run, to },
    );
    await tab.hide();
    const found = await until(async () => (await fetch(to)).json(), 120_000);
    const { counts, durationMs, ticks, isHidden } = found;
    assert.equal(isHidden, true, "the page was not hidden");
    assert.equal(counts.imported, 300, JSON.stringify(counts));
    // 150 requests, two pauses of a second. With one request at each tick of a page that is held back it would take minutes;
    // a policy that allows no worker from a Blob leaves only those.
    if (policy === "none") assert(durationMs < 20_000, `it took ${durationMs} ms`);
    return `${(durationMs / 1_000).toFixed(1)} s, in which a timer of 50 ms fired ${ticks} times`;
  } finally {
    await tab.close();
  }
}

// ---- what was found

function tableOf(rows) {
  const line = (cells) =>
    cells.map((cell, i) => String(cell)[i < 4 ? "padEnd" : "padStart"](WIDTHS[i])).join(" ");
  return [
    line(["browser", "version", "where", "policy", "passed", "failed", "seconds"]),
    ...rows.map(({ browser, version, where, policy, passed, failed, durationMs }) =>
      line([browser, version, where, policy, passed, failed, (durationMs / 1_000).toFixed(1)]),
    ),
  ].join("\n");
}

const WIDTHS = [9, 16, 8, 38, 7, 7, 8];

async function writeEvidence(file, found) {
  const browsers = BROWSERS.flatMap(({ name, title }) => {
    const row = found.rows.find(({ browser }) => browser === name);
    return row ? [[title, row.version]] : [];
  });
  const read = async (name) => JSON.parse(await readFile(path.join(root, name), "utf8"));
  const { version } = await read("package.json");
  const own = await read("node_modules/playwright-core/package.json");
  const puppeteer = await read("tests/browsers/node_modules/puppeteer-core/package.json");
  const data = {
    date: new Date().toISOString().slice(0, 10),
    versions: {
      ...{ tidegate: version, node: process.versions.node, ...Object.fromEntries(browsers) },
      ...{ "playwright-core": own.version, "puppeteer-core": puppeteer.version },
    },
    method:
      "Every browser loads the packed package from a server and runs tests/browsers/cases.js in each kind of realm under each content policy; the API is on another origin. `core` is the state in which the core has to be there.",
    ...found,
  };
  await writeWhole(path.resolve(file), `${JSON.stringify(data, null, 2)}\n`);
}

// ---- as a command

async function main() {
  const text = { type: "string" };
  const { values } = parseArgs({ options: { only: text, where: text, case: text, out: text } });
  // Those who drive the browsers listen for it, to end them: nobody else would end us, and the next browser had its turn.
  process.once("SIGTERM", () => process.exit(143));
  await setup();
  const { case: match, ...options } = values;
  const report = await run({ ...options, match });
  console.log(`\n${report.counts()}`);
  return report.failed;
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const failed = await main().catch((error) => {
    console.error(toldOf(error));
    return 1;
  });
  // Not left to Node: a case that hung may have left a server or a browser behind.
  process.exit(failed > 0 ? 1 : 0);
}
