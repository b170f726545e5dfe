// The packed package in new applications, one for each host: installed from the registry, built where it is built, and run.
//
//   node tests/hosts/run.mjs                     all of them
//   node tests/hosts/run.mjs --only jest,next    the hosts or the applications of these names (hosts.mjs)
//   node tests/hosts/run.mjs --out FILE          writes what was found; a run of all of them also writes the table in README.md
//
// What is not to be had here is said not to be run, and nothing of it is claimed.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { pathToFileURL } from "node:url";
import { parseArgs } from "node:util";
import { setup } from "../../js/setup.mjs";
import { root, StepError, since, toldOf, writeWhole } from "../../js/steps.mjs";
import { Report } from "../report.mjs";
import { HOSTS } from "./hosts.mjs";
import { NotRun, openStage } from "./stage.mjs";
import { writeTable } from "./table.mjs";

/** Runs the hosts that `only` names, or all. Resolves with the report, in which a host that was not run counts as skipped. */
export async function run({ out, only, log = console.log } = {}) {
  const started = Date.now();
  const hosts = chosen(only);
  await setup({ log });
  const report = new Report("hosts");
  const stage = await openStage({ log });
  const found = [];
  try {
    for (const name of new Set(hosts.map(({ app }) => app))) {
      const sharing = hosts.filter(({ app }) => app === name);
      found.push(...(await inApplication(stage, name, sharing, report)));
    }
    const evidence = await evidenceOf(stage, found, Date.now() - started);
    if (out !== undefined) await writeEvidence(out, evidence, { isWhole: hosts.length === HOSTS.length });
  } finally {
    await stage.close();
  }
  log(`hosts: ${report.counts()} (${since(started)})`);
  return report;
}

function chosen(only) {
  if (only === undefined) return HOSTS;
  const names = only.split(",");
  const known = new Set(HOSTS.flatMap(({ name, app }) => [name, app]));
  const unknown = names.find((name) => !known.has(name));
  if (unknown !== undefined)
    throw new StepError(`--only takes ${[...known].join(", ")}; there is no ${unknown}`);
  return HOSTS.filter(({ name, app }) => names.includes(name) || names.includes(app));
}

// ---- running them

/** Makes the application and runs the hosts that share it; what keeps it from being made keeps all of them from being run. */
async function inApplication(stage, name, hosts, report) {
  let app = null;
  const findings = [];
  try {
    const made = stage.makeApplication(name);
    made.catch(() => {});
    for (const host of hosts) {
      findings.push(
        await finding(host, report, async (found) => {
          app = await made;
          await tryHost(stage, app, host, found);
        }),
      );
    }
    return findings;
  } finally {
    await app?.remove();
  }
}

/** Runs a case and resolves with what is known of its host afterwards: what `body` found, and how it ended. */
async function finding({ name, host, way }, report, body) {
  const found = { name, host, way };
  const started = Date.now();
  try {
    await body(found);
    found.result = "passed";
    report.pass(
      `${name}: ${host} ${found.version}, ${found.requests} requests with rows (${since(started)})`,
    );
  } catch (error) {
    found.result = error instanceof NotRun ? "not run" : "failed";
    found.reason = error.message.split("\n", 1)[0];
    if (error instanceof NotRun) report.skip(name, found.reason);
    else report.fail(name, error instanceof StepError ? error.message : error.stack);
  }
  found.seconds = Math.round((Date.now() - started) / 100) / 10;
  return found;
}

async function tryHost(stage, app, host, finding) {
  const { url, seen, found } = stage.server.open(host.name);
  const told = () => within(60_000, found);
  /** How often React ran the effect, in the one application that counts. */
  let mounts = host.mounts;
  const visit = (site, pathname, look) =>
    using(site, () =>
      stage.openPage(`${site.origin}${pathname}?api=${encodeURIComponent(url)}`, async (page) => {
        await told();
        if (look !== undefined) mounts = await look(page);
      }),
    );
  const ask = (site, pathname) => using(site, () => assertAnswers(site, pathname));

  const { packageName } = host;
  if (packageName !== null) finding.version = await app.version(packageName);
  await host.run({ app, url, visit, ask });
  const said = await told();
  finding.version ??= await stage.browserVersion();
  finding.core = said.core;
  finding.attempts = said.call.attempts.length;
  Object.assign(finding, { imported: seen.rows.size, requests: seen.requests, refused: seen.refused });
  assert.equal(mounts, host.mounts, "how often React ran the effect");
  judge(said, seen, host.mounts);
}

/** What the application says, and what the server saw. One that was mounted twice has also sent what it then gave up. */
function judge(said, seen, mounts) {
  const { throttled, ...rows } = said.rows;
  assert.equal(said.core, "ready", `coreState() is "${said.core}"`);
  assert.deepEqual(
    { ...said, rows },
    {
      atFirst: "idle",
      core: "ready",
      call: { value: 5, attempts: [1, 2], circuit: "closed" },
      rows: { total: 30, imported: 30, duplicate: 0, failed: 0, skipped: 0, unknown: 0 },
    },
  );
  assert.equal(seen.rows.size, 30, "rows that the server has");
  assert(seen.largest > 1, "the import went row by row: it had no core");
  assert.equal(seen.refused, 2, "requests with rows that the server refused");
  if (mounts > 1) return;
  assert.equal(seen.again, 0, "rows that the server got twice");
  assert.deepEqual(
    [seen.calls, seen.callsRefused],
    [2, 1],
    "calls, and those of them that the server refused",
  );
  assert.equal(throttled, seen.refused, "refusals that the import reports");
}

async function assertAnswers(site, pathname) {
  const response = await fetch(`${site.origin}${pathname}`, { signal: AbortSignal.timeout(60_000) });
  const text = await response.text();
  if (!response.ok)
    throw new StepError(`it answered ${response.status}\n${text.slice(0, 2_000)}\n${site.output()}`);
}

async function using(site, body) {
  try {
    return await body();
  } finally {
    await site.close();
  }
}

async function within(ms, promise) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new StepError(`the exercise was not over after ${ms / 1000} s`)), ms);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

// ---- what was found

async function evidenceOf(stage, hosts, durationMs) {
  const { version } = JSON.parse(await readFile(path.join(root, "package.json"), "utf8"));
  return {
    date: new Date().toISOString().slice(0, 10),
    versions: { tidegate: version, node: process.versions.node, chromium: await stage.browserVersion() },
    machine: `${os.cpus().length} × ${os.cpus()[0]?.model.trim()}, ${os.type()} ${os.arch()}`,
    method: METHOD,
    seconds: Math.round(durationMs / 1000),
    hosts,
  };
}

const METHOD =
  "The packed tarball is installed into a new application for each host, with the host's packages from the registry. There a " +
  "call is refused once over HTTP (429) and repeated, and 30 rows are imported, of which two requests are refused. `imported`, " +
  "`requests` and `refused` are the server's counts of rows and of requests with rows; `core` is coreState() afterwards. Rows that " +
  "come several at a time show that the import has its core too, which it must. Pages are opened in Chromium.";

async function writeEvidence(out, evidence, { isWhole }) {
  await writeWhole(path.resolve(out), `${JSON.stringify(evidence, null, 2)}\n`);
  if (isWhole) await writeTable(evidence);
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const asked = async () =>
    parseArgs({ options: { only: { type: "string" }, out: { type: "string" } } }).values;
  const failed = await asked()
    .then(run)
    .then(
      (report) => report.failed > 0,
      (error) => {
        console.error(toldOf(error));
        return true;
      },
    );
  // Not left to Node: a host that hung may have left a server behind.
  process.exit(failed ? 1 : 0);
}
