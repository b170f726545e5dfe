// A storm: fifty clients for half an hour of virtual time, and a server that loses half of its capacity for five minutes in
// the middle. tidegate beside what people use instead, in one run: node bench/storm.mjs
//
//   --seeds N          how often each is run, with other arrivals and other luck (5)
//   --only a,b         strategies whose names contain one of these
//   --scenes a:x,b:y   servers (gateway, hint, application, window, queue), each with what the clients want as a share of its
//                      capacity (the others with 0.8, hint with 1.2, queue with both)
//   --out FILE         also writes the figures there, as JSON; what stands there of other scenes and strategies stays
//
// Wants `npm run build`, and `npm ci` in this folder. TIDEGATE=FOLDER measures the build that lies there instead of dist/.
import { readFile, writeFile } from "node:fs/promises";
import path from "node:path";
import { pathToFileURL } from "node:url";
import { parseArgs } from "node:util";
import { describeRun, headLines, here, mapValues, spread, table } from "./report.mjs";
import { CLIENTS, storm } from "./storm/run.mjs";
import { CAPACITY, SERVERS } from "./storm/servers.mjs";
import { strategies } from "./storm/strategies.mjs";

const METHOD = `
${CLIENTS} clients make calls for 30 minutes, in a Poisson process that waits for nobody; the server can do ${CAPACITY} a second, and half
of that from 12:30 to 17:30. A request travels 40 to 120 ms and counts as lost after 5 s, for every strategy alike. An answer
after more than 10 s is no goodput. Each client has a retry, a breaker, a service of its own: nobody tells anybody anything. The
libraries run as they are published, with their defaults (cockatiel's breaker as in its documentation: five in a row, 10 s); their
timers, Date and Math.random are virtual and seeded. "Goodput" is by the second, over all, while the capacity is halved, and in the
five minutes after; "recovery" is the time from the capacity's return to the first minute with 95 % of the goodput of the five
minutes before the storm; "worst second" the most requests that reached the server in one; "wasted" is work for somebody who had
gone. Medians of the seeds, and the range where it is wider than a twentieth.`
  .trim()
  .replaceAll("\n", " ");

/** The figures of a run, as columns. */
const COLUMNS = [
  ["goodput/s", "goodput", 1],
  ["halved", "goodputHalved", 1],
  ["after", "goodputAfter", 1],
  ["recovery s", "recoverySeconds", 0],
  ["worst second", "worstSecond", 0],
  ["requests", "requests", 0],
  ["refused", "refused", 0],
  ["lost", "timeouts", 0],
  ["wasted", "wasted", 0],
  ["given up", "givenUp", 0],
  ["late", "late", 0],
  ["p50 ms", "p50Ms", 0],
  ["p99 ms", "p99Ms", 0],
];

const SCENES = "gateway:0.8,hint:1.2,application:0.8,window:0.8,queue:0.8,queue:1.2";

const NEVER = Number.POSITIVE_INFINITY;

const { values: options } = parseArgs({
  options: {
    seeds: { type: "string", default: "5" },
    only: { type: "string", default: "" },
    scenes: { type: "string", default: SCENES },
    out: { type: "string" },
  },
});

const folder = pathToFileURL(`${path.resolve(process.env.TIDEGATE ?? path.join(here, "..", "dist"))}/`);
const tidegate = await import(new URL("index.js", folder).href);
const { loadTest } = await import(new URL("testing.js", folder).href);
const only = options.only.split(",");
const chosen = Object.entries(strategies(tidegate)).filter(([name]) =>
  only.some((text) => name.includes(text)),
);
const scenes = options.scenes.split(",").map((scene) => {
  const [server, load] = scene.split(":");
  return { server, load: Number(load) };
});
const seeds = Array.from({ length: Number(options.seeds) }, (_, i) => i + 1);

const run = await describeRun(["sinon", "tidegate", ...chosen.flatMap(([, { packages }]) => packages)]);
console.log(["# Storms", ...headLines(run), METHOD].join("\n\n"));
const results = [];
for (const scene of scenes) results.push(await shown(scene));
if (options.out !== undefined) await write(options.out);
console.log(`\nstorm: ${results.length} scenes, ${seeds.length} seeds, done`);

/** Runs a scene with every strategy and every seed, prints its table, and resolves with all figures. */
async function shown({ server, load }) {
  const title = `${SERVERS[server].title}; the clients want ${CAPACITY * load} a second of ${CAPACITY}`;
  const runs = {};
  for (const [name, strategy] of chosen) {
    if (strategy.isFor?.({ server, load }) === false) continue;
    process.stderr.write(`${title}: ${name}\n`);
    runs[name] = [];
    for (const seed of seeds) runs[name].push(await storm({ strategy, server, load, seed, loadTest }));
  }
  const figures = mapValues(runs, summed);
  const rows = Object.entries(figures).map(([name, of]) => [
    name,
    ...COLUMNS.map(([, key, digits]) => inCell(of[key], digits)),
  ]);
  console.log(`\n## ${title}\n\n${table(["", ...COLUMNS.map(([head]) => head)], rows)}`);
  return { server, load, title, figures };
}

/** The same seeds give the same figures, so those of an earlier run may stand beside those of this one. */
async function write(file) {
  const { scenes: before = [], versions } = await readFile(file, "utf8").then(JSON.parse, () => ({}));
  const isSame = (one, other) => one.server === other.server && one.load === other.load;
  const others = before.filter((scene) => !results.some((result) => isSame(result, scene)));
  const mixed = results.map((result) => {
    const figures = before.find((scene) => isSame(scene, result))?.figures;
    return { ...result, figures: { ...figures, ...result.figures } };
  });
  const head = { ...run, versions: { ...versions, ...run.versions }, method: METHOD };
  const data = {
    ...head,
    seeds: seeds.length,
    clients: CLIENTS,
    capacity: CAPACITY,
    scenes: [...others, ...mixed],
  };
  await writeFile(file, `${JSON.stringify(data, null, 1)}\n`);
}

/** Each figure as median and range of the seeds; `null`: it never recovered, which takes longer than all else. */
function summed(runs) {
  const over = (key) =>
    mapValues(spread(runs.map((run) => run[key] ?? NEVER)), (n) => (n === NEVER ? null : n));
  const figures = Object.fromEntries(COLUMNS.map(([, key]) => [key, over(key)]));
  const failures = {};
  for (const run of runs) {
    for (const [name, count] of Object.entries(run.failures)) failures[name] = (failures[name] ?? 0) + count;
  }
  return { ...figures, failuresOfAllSeeds: failures };
}

function inCell({ median, low, high }, digits) {
  const text = (number) => (number === null ? "never" : number.toFixed(digits));
  const isWide = (high ?? NEVER) - low > 0.05 * Math.abs(median) && text(low) !== text(high);
  return isWide ? `${text(median)} (${text(low)}–${text(high)})` : text(median);
}
