// Imports that are killed at random moments and resumed: 100 processes of Node against a stand-in, and 100 tabs of Chromium
// against Postgres. One answer in a hundred is lost.
import { mkdtemp, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { pathToFileURL } from "node:url";
import { root } from "../../../js/steps.mjs";
import { killedImport, wrongIn } from "../../js/support/import-kill.mjs";
import { begin, ended, openStage, ready } from "./stage.mjs";
import { openTab, removeProfile } from "./tab.mjs";

const { seededRandom } = await import(pathToFileURL(path.join(root, "examples", "crm", "seeded.mjs")));

/** @returns {Promise<{ missed: string[] }>} and the runs, of processes and of tabs */
export async function measure({ chromiumPath, runs = 100, only = "" }) {
  const stage = await openStage(chromiumPath);
  const missed = [];
  const found = {};
  try {
    for (const [name, play] of Object.entries({ processes: ofProcess, tabs: ofTab })) {
      if (!name.includes(only)) continue;
      const all = [];
      for (let number = 0; number < runs; number++) {
        const run = await play(stage, number);
        const wrong = run.wrong.map((text) => `${name}, run ${number} (${run.kind}): ${text}`);
        for (const text of wrong) console.log(text);
        missed.push(...wrong);
        all.push(run);
        if ((number + 1) % 10 === 0) console.log(`${name}: ${number + 1} of ${runs}, ${missed.length} wrong`);
      }
      found[name] = summaryOf(all);
      console.log(JSON.stringify(found[name]));
    }
    return { chromium: stage.browser.version(), ...found, missed };
  } finally {
    await stage.close();
  }
}

function summaryOf(runs) {
  const sum = (field) => runs.reduce((total, run) => total + (run[field] ?? 0), 0);
  const counted = (field) => runs.reduce((total, run) => total + run[field].length, 0);
  const kinds = [...new Set(runs.map(({ kind }) => kind))].map((kind) => {
    const of = runs.filter((run) => run.kind === kind);
    const unknown = of.reduce((total, run) => total + run.unknown, 0);
    return { kind, runs: of.length, kills: of.reduce((total, run) => total + run.kills, 0), unknown };
  });
  return {
    ...{ runs: runs.length, kills: sum("kills"), rows: sum("total"), requests: sum("requests") },
    ...{
      answersLost: sum("lost"),
      refused: sum("refused"),
      imported: sum("imported"),
      duplicate: sum("duplicate"),
    },
    ...{ unknown: sum("unknown"), rowsLost: counted("lostRows"), rowsDoubled: counted("doubled"), kinds },
  };
}

// ---- processes

const ROWS = 200;

async function ofProcess(stage, number) {
  const kind = ["idempotent", "verified", "idempotent", "verified", "unverified"][number % 5];
  const engine = await engineOf(stage);
  const run = await killedImport({ engine, kind, rows: ROWS, seed: 7_000 + number });
  const lostRows = kind === "unverified" ? run.missing.filter((i) => !run.listed.includes(i)) : run.missing;
  return { ...run, lostRows, wrong: wrongIn(run, ROWS) };
}

/** A module of the installed package with what the child needs. */
async function engineOf({ app }) {
  const file = path.join(app.folder, "engine.mjs");
  await writeFile(
    file,
    'export * from "tidegate/import"; export { fileStore } from "tidegate/import/node";\n',
  );
  return pathToFileURL(file).href;
}

// ---- tabs

const MOST_LIVES = 40;

/** How a tab comes to its end. The browser is killed with all its processes, and started again over the same profile. */
const ENDS = ["closed", "crashed", "closed", "crashed", "browser"];

const WAYS = [
  { kind: "supabase-js", through: "supabase-js", options: { batchSize: 5 } },
  { kind: "ra-supabase", through: "ra-supabase", options: {} },
];

async function ofTab(stage, number) {
  const { kind, through, options } = WAYS[number % WAYS.length];
  const run = `kill-${number}`;
  // Two hundred requests would take five seconds, and twenty of them less than one.
  const count = options.batchSize ? 200 : 100;
  const gateway = await stage.gateway({
    ...{ mode: "bucket", limits: { rate: 100, burst: 20 }, latencyMs: [10, 50] },
    ...{ lost: 0.01, seed: number + 1 },
  });
  const order = { through, gateway, rows: { run, count }, options };
  const end = ENDS[Math.floor(number / WAYS.length) % ENDS.length];
  const home = await openHome(stage, end === "browser");
  const random = seededRandom(number + 1);
  const longestMs = 1_500;
  try {
    let kills = 0;
    for (let lives = 1; lives <= MOST_LIVES; lives++) {
      const page = await home.page();
      await begin(page, order);
      const report = ended(page).catch((error) => error);
      const wantsKill = kills === 0 || random() < 0.4;
      const first = wantsKill ? await Promise.race([report, delay(random() * longestMs)]) : await report;
      if (first === undefined) {
        await home.kill(page, end);
        kills += 1;
        await report;
      } else if (kills > 0) {
        if (first instanceof Error) throw first;
        return {
          ...(await judged(stage, { run, count, report: first })),
          kind: `${kind}, ${end}`,
          kills,
          ...sumOf(gateway),
        };
      } else {
        // It was over before its end came: once more, with other people.
        await stage.backend.sql("delete from contacts where email_jsonb->0->>'email' like $1", [
          `%@${run}.example`,
        ]);
        await page.close();
      }
    }
    throw new Error(`It was not done after ${MOST_LIVES} lives`);
  } finally {
    await home.close();
    await gateway.close();
  }
}

function sumOf(gateway) {
  const { requests, refused } = gateway.counts();
  return {
    requests,
    refused: Object.values(refused).reduce((sum, each) => sum + each, 0),
    lost: gateway.lost(),
  };
}

async function judged(stage, { run, count, report }) {
  const found = await stage.backend.sql(
    `select email_jsonb->0->>'email' as email, count(*)::int as times from contacts
     where email_jsonb->0->>'email' like $1 group by 1`,
    [`%@${run}.example`],
  );
  const times = new Map(found.map((one) => [one.email, one.times]));
  const places = Array.from({ length: count }, (_, i) => i);
  const timesOf = (i) => times.get(`ada.${i}@${run}.example`) ?? 0;
  const lostRows = places.filter((i) => timesOf(i) === 0);
  const doubled = places.filter((i) => timesOf(i) > 1);
  const { imported, duplicate, failed, skipped, unknown, total, stopped, wrongSums } = report;
  const wrong = [
    lostRows.length > 0 && `lost rows: ${lostRows.join()}`,
    doubled.length > 0 && `doubled rows: ${doubled.join()}`,
    imported + duplicate !== count && `counts: ${JSON.stringify(report)}`,
    (stopped !== null || wrongSums > 0) && `report: ${JSON.stringify(report)}`,
  ].filter((text) => text !== false);
  return { imported, duplicate, failed, skipped, unknown, total, lostRows, doubled, wrong };
}

/** Where a tab's journal is kept across its ends: a context, or a profile on disk for a browser that is killed itself. */
async function openHome(stage, isProfile) {
  if (!isProfile) {
    const context = await stage.browser.newContext();
    return {
      page: () => openPage(stage, context),
      kill: (page, end) =>
        end === "crashed" ? crash(context, page) : page.close({ runBeforeUnload: false }),
      close: () => context.close(),
    };
  }
  const profile = await mkdtemp(path.join(tmpdir(), "tidegate-profile-"));
  let tab = null;
  return {
    async page() {
      tab = await openTab(stage.chromiumPath, stage.site, { profile });
      await ready(tab);
      return tab;
    },
    kill: () => tab.kill(),
    async close() {
      await tab?.close();
      await removeProfile(profile);
    },
  };
}

async function openPage(stage, context) {
  const page = await context.newPage();
  await ready(page, stage.site);
  return page;
}

async function crash(context, page) {
  const crashed = new Promise((resolve) => page.once("crash", resolve));
  const cdp = await context.newCDPSession(page);
  // The answer never comes.
  cdp.send("Page.crash").catch(() => {});
  await crashed;
  await page.close();
}
