// What comes of faults: every client past every fault of the network and of servers, and what happens to a page meanwhile.
//
//   node tests/faults/run.mjs                   both, about half an hour
//   node tests/faults/run.mjs faults            clients and imports in Node and in Chromium
//   node tests/faults/run.mjs life              clocks, hidden and frozen pages, the back/forward cache, in Chromium
//     --only <part of a name>   --out <folder for faults.json and life.json>
//
// Needs what `node js/setup.mjs --example` sets up. The last line is `N passed, N failed`; the exit code is 1 when any failed.
import path from "node:path";
import { pathToFileURL } from "node:url";
import { parseArgs } from "node:util";
import { root, since } from "../../js/steps.mjs";
import { findChromium, INSTALL_CHROMIUM } from "../browser/harness.mjs";
import { writeEvidence } from "../browser/import/evidence.mjs";
import { measureBrowser } from "./browser.mjs";
import { importCases, playImport, playRestarts } from "./imports.mjs";
import { measureLife } from "./life.mjs";
import { casesOf, playBodies, playCase } from "./matrix.mjs";
import { openStage } from "./stage.mjs";

const PARTS = { faults, life };

/**
 * @param given `parts`: of "faults" and "life"; `only`: cases whose name has this in it; `out`: a folder for the results, none:
 *   they are not written; `log`
 * @returns {Promise<{ passed: number, failed: number }>}
 */
export async function run({ parts = Object.keys(PARTS), only = "", out, log = console.log } = {}) {
  const unknown = parts.find((part) => !(part in PARTS));
  if (unknown) throw new Error(`there are ${Object.keys(PARTS).join(" and ")}; there is no ${unknown}`);
  const counts = { passed: 0, failed: 0 };
  for (const part of parts) {
    log(`== ${part}`);
    const { passed, failed, ...found } = await PARTS[part]({ only, log });
    counts.passed += passed;
    counts.failed += failed;
    if (out) await writeEvidence(out, part, found);
  }
  return counts;
}

/** Two ways to create a record and one to import some, past each fault that strikes once: some twenty seconds, for `npm test`. */
export async function quick({ report }) {
  const stage = await openStage();
  try {
    const calls = (await casesOf()).filter(({ way, struck }) => struck === 1 && QUICK_WAYS.has(way.name));
    const imports = (await importCases({ groups: ["connection", "body", "redirection"] })).filter(
      ({ way, struck }) => struck === 1 && QUICK_WAYS.has(way.name),
    );
    const found = [
      ...(await inTurn("calls", calls, (one) => playCase(stage, one), console.log)),
      ...(await inTurn("imports", imports, (one) => playImport(stage, one), console.log)),
    ];
    for (const group of new Set(found.map(({ group }) => group))) {
      const cases = found.filter((one) => one.group === group);
      const wrong = cases.flatMap(({ name, wrong }) => wrong.map((text) => `${name}: ${text}`));
      report.check(`${cases.length} cases of ${group}`, wrong.length === 0, wrong.join("\n"));
    }
  } finally {
    await stage.close();
  }
}

const QUICK_WAYS = new Set([
  "supabase-js, upsert by key",
  "ra-supabase, create",
  "dataProviderSender, found by e-mail",
]);

async function faults({ only, log }) {
  const stage = await openStage();
  try {
    const found = [
      ...(await inTurn("calls in Node", await casesOf({ only }), (one) => playCase(stage, one), log)),
      ...(await inTurn("imports in Node", await importCases({ only }), (one) => playImport(stage, one), log)),
      ...(only === "" ? [...(await playBodies(stage)), ...(await playRestarts(stage))] : []),
    ];
    const { chromium, found: seen } = await inChromium({ stage, only, log });
    found.push(...seen);
    const missed = found.filter(({ wrong }) => wrong.length > 0);
    return {
      method:
        "Each client, past each fault, into Postgres (PGlite) through the example's gateway. In Node waits are in virtual time and the network is real; " +
        "in Chromium both are real. `unknown` is what nobody can say; `wrong` what is not as the documentation promises.",
      chromium,
      passed: found.length - missed.length,
      failed: missed.length,
      cases: found.length,
      groups: grouped(found),
      restarts: found.filter(({ name }) => name.endsWith("the server is down for 5 s")),
      missed: missed.map(({ name, wrong }) => ({ name, wrong })),
    };
  } finally {
    await stage.close();
  }
}

async function inChromium({ stage, only, log }) {
  const chromiumPath = findChromium();
  if (!chromiumPath) {
    log(`   SKIP  no Chromium: ${INSTALL_CHROMIUM}`);
    return { chromium: null, found: [] };
  }
  const started = Date.now();
  const seen = await measureBrowser({ stage, chromiumPath, only, log });
  log(`   in Chromium: ${seen.found.length} cases (${since(started)})`);
  return seen;
}

/** Some at a time: they wait for the network more than for the processor. */
const PARALLEL = 6;

/** What is not over by then hangs. Resolvers of names may take half a minute to say that there is none. */
const PATIENCE_MS = 240_000;

async function inTurn(title, cases, play, log) {
  const started = Date.now();
  const found = [];
  let next = 0;
  const work = async () => {
    while (next < cases.length) {
      const one = cases[next++];
      const result = await playedOrHung(one, play);
      for (const text of result.wrong) log(`   FAIL  ${one.name}: ${text}`);
      found.push(result);
      if (found.length % 1_000 === 0)
        log(`   … ${title}: ${found.length} of ${cases.length}, ${since(started)}`);
    }
  };
  await Promise.all(Array.from({ length: PARALLEL }, work));
  log(`   ${title}: ${found.length} cases (${since(started)})`);
  return found;
}

async function playedOrHung(one, play) {
  let timer;
  const hung = new Promise((resolve) => {
    timer = setTimeout(() => resolve("it was not over"), PATIENCE_MS);
  });
  const result = await Promise.race([play(one).catch((error) => String(error.stack ?? error)), hung]);
  clearTimeout(timer);
  if (typeof result !== "string") return result;
  const { name, fault, way } = one;
  return { name, kind: fault.kind, group: fault.group, way: way.name, wrong: [result] };
}

/** For each way and kind of fault: how many cases, what they ended as, and the figures from least to most. */
function grouped(found) {
  const groups = new Map();
  for (const one of found) {
    const { way, kind, name } = one;
    if (!way) continue;
    const where = name.startsWith("Chromium")
      ? "Chromium"
      : name.startsWith("import")
        ? "import, Node"
        : "Node";
    const key = `${where} | ${way} | ${kind}`;
    const group = groups.get(key) ?? {
      where,
      way,
      fault: kind,
      cases: 0,
      wrong: 0,
      outcomes: {},
      ranges: {},
    };
    groups.set(key, group);
    group.cases += 1;
    group.wrong += one.wrong.length > 0 ? 1 : 0;
    if (one.outcome) group.outcomes[one.outcome] = (group.outcomes[one.outcome] ?? 0) + 1;
    for (const outcome of ["imported", "duplicate", "failed", "skipped", "unknown"]) {
      if (one[outcome]) group.outcomes[outcome] = (group.outcomes[outcome] ?? 0) + one[outcome];
    }
    for (const figure of ["attempts", "requests", "effects", "rows", "waitedMs", "ms"]) {
      const value = one[figure];
      if (value === undefined) continue;
      const [least, most] = group.ranges[figure] ?? [value, value];
      group.ranges[figure] = [Math.min(least, value), Math.max(most, value)];
    }
  }
  return [...groups.values()].map(({ ranges, ...group }) => ({ ...group, ...ranges }));
}

async function life({ only, log }) {
  const chromiumPath = findChromium();
  if (!chromiumPath) throw new Error(`there is no Chromium: ${INSTALL_CHROMIUM}`);
  const { chromium, scenes, missed } = await measureLife({ chromiumPath, only, log });
  const failed = scenes.filter(({ name }) => missed.some((text) => text.startsWith(`${name}: `))).length;
  return {
    method:
      "Real Chromium over the DevTools protocol, in real time; clocks are set by overriding Date.now in the page.",
    chromium,
    passed: scenes.length - failed,
    failed,
    scenes,
    missed,
  };
}

async function main() {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { only: { type: "string", default: "" }, out: { type: "string" } },
  });
  const parts = positionals.length > 0 ? positionals : undefined;
  const out = values.out && path.resolve(root, values.out);
  const { passed, failed } = await run({ parts, only: values.only, out });
  console.log(`\n${passed} passed, ${failed} failed`);
  return failed;
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  // Not left to Node: of connections that were given up in the middle some are still held.
  process.exit((await main()) > 0 ? 1 : 0);
}
