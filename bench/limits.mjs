// Pool and RateLimiter against the libraries that do the same work, in one run: node bench/limits.mjs
//
//   --rounds N     how often everything is measured (5)
//   --scale X      a part of the jobs, for a quick look (1)
//   --only a,b     some libraries
//   --out DIR      also writes limits.md and limits.json there
//
// Wants `npm run build`, and `npm ci` in this folder. TIDEGATE=file.mjs measures another build.
import { execFile } from "node:child_process";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs, promisify } from "node:util";
import { limiters, pools } from "./subjects.mjs";
import { KEY_UNITS, KEYS, QUEUED, WORKLOADS } from "./workloads.mjs";

const METHOD = `
Every library runs in a process of its own, one after the other, in each of the rounds, and the order rotates from round to
round. In a round each workload is warmed up and then measured once; the tables give the median of the rounds and the range
from the lowest to the highest. Jobs do nothing ("resolved": an async function that returns; "setImmediate": one turn of the
event loop); the time is that from the first submit to the last outcome. They are submitted all at once (100,000 then wait
in the queue), by the thousand, or one by one, where each batch is waited for before the next one. Libraries that need more
than two seconds for a workload get fewer jobs: the number stands beside the result. Memory is the growth of the heap and of
WebAssembly's memory, collected before and after, for jobs that are queued behind five that never end, and for keys that
have been used once. Priorities are the ten that Bottleneck has, drawn with the same seed for all. Of those compared,
tidegate, p-queue and p-limit call a job in the asynchronous context of its submitter, and tidegate, p-queue and Bottleneck
have priorities.`.trim();

const here = path.dirname(fileURLToPath(import.meta.url));
const { values: options } = parseArgs({
  options: {
    rounds: { type: "string", default: "5" },
    scale: { type: "string", default: "1" },
    only: { type: "string" },
    out: { type: "string" },
  },
});
const rounds = Number(options.rounds);
const scale = Number(options.scale);

const machine = await describeMachine();
const throughput = await measured("throughput", chosen(pools), [scale]);
const memory = {
  flat: await measured("memory", chosen(pools), [QUEUED * scale, "flat"], 1),
  random: await measured("memory", chosen(pools), [QUEUED * scale, "random"], 1),
};
const keys = await measured("keys", chosen(limiters), [KEY_UNITS * scale]);
const report = render();
console.log(report);
if (options.out !== undefined) await write(options.out);

/** What each library answered in each of the rounds. */
async function measured(task, names, terms, times = rounds) {
  const answers = Object.fromEntries(names.map((name) => [name, []]));
  for (let round = 0; round < times; round++) {
    const first = round % names.length;
    for (const name of [...names.slice(first), ...names.slice(0, first)]) {
      process.stderr.write(`${task}, round ${round + 1} of ${times}: ${name}\n`);
      answers[name].push(await inChild(task, name, terms));
    }
  }
  return answers;
}

async function inChild(task, name, terms) {
  const given = [
    "--expose-gc",
    "--max-old-space-size=6000",
    path.join(here, "child.mjs"),
    task,
    name,
    ...terms,
  ];
  const { stdout } = await promisify(execFile)(process.execPath, given.map(String), { maxBuffer: 2 ** 24 });
  return JSON.parse(stdout);
}

function chosen(subjects) {
  const only = options.only?.split(",");
  return Object.keys(subjects).filter((name) => !only || only.includes(name));
}

// ---- the report

function render() {
  return [
    "# Limits: how fast, and how much memory",
    `${machine.node}, ${machine.cpu}, ${machine.system}; ${rounds} rounds; load at the beginning ${machine.load}.`,
    `Versions: ${machine.versions}.`,
    ...section("Jobs a second, through a pool", WORKLOADS.map(speed)),
    ...section("Bytes of a queued job, at a million", [memoryOf("flat"), memoryOf("random")]),
    ...section(`Units counted a second, over ${KEYS.toLocaleString("en")} keys`, [waits()]),
    triesLine(),
    ...section("Bytes of a key", [memoryOfKey()]),
    "## Method",
    METHOD,
  ].join("\n\n");
}

/** First how we stand to the best of the others, then everybody's numbers. */
function section(title, rows) {
  const names = Object.keys(rows[0].values);
  const head = `| | ${names.join(" | ")} |\n|---|${names.map(() => "---:").join("|")}|`;
  const lines = rows.map(
    (row) => `| ${row.title} | ${names.map((name) => cell(row.values[name])).join(" | ")} |`,
  );
  return [`## ${title}`, rows.flatMap(ratio).join("\n"), [head, ...lines].join("\n")].filter(Boolean);
}

/** Above 1 we are ahead of everybody. */
function ratio({ title, values, lowWins }) {
  const mine = values.tidegate?.median;
  const others = Object.entries(values).filter(([name, value]) => name !== "tidegate" && value);
  if (!mine || others.length === 0) return [];
  const ratios = others.map(([name, { median }]) => ({
    name,
    ratio: lowWins ? median / mine : mine / median,
  }));
  const closest = ratios.reduce((a, b) => (b.ratio < a.ratio ? b : a));
  return [`- ${title}: **${closest.ratio.toFixed(2)}×** ${closest.name}`];
}

function cell(value) {
  if (!value) return "–";
  const { median, low, high, note } = value;
  const range = low === high ? "" : ` (${short(low)}–${short(high)})`;
  return `${short(median)}${range}${note ? `, ${note}` : ""}`;
}

function speed({ key, count }) {
  const values = mapValues(throughput, (answers) => {
    const results = answers.map((answer) => answer[key]).filter(Boolean);
    if (results.length === 0) return null;
    const jobs = Math.min(...results.map((result) => result.jobs));
    const note = jobs < count * scale ? `${short(jobs)} jobs` : "";
    return { ...spread(results.map(({ perSecond }) => perSecond)), note };
  });
  return { title: key, values };
}

function memoryOf(order) {
  const values = mapValues(memory[order], ([result]) => {
    if (!result) return null;
    const { jobs, bytesPerJob, submitMs } = result;
    const seconds = `${(submitMs / 1_000).toFixed(1)} s to queue`;
    const note = jobs < QUEUED * scale ? `${short(jobs)} jobs, ${seconds}` : seconds;
    return { ...spread([bytesPerJob]), note };
  });
  return { title: order === "flat" ? "equal priorities" : "random priorities", values, lowWins: true };
}

function waits() {
  return {
    title: "`await wait(key)`",
    values: mapValues(keys, (answers) => spread(answers.map((it) => it.waits))),
  };
}

function triesLine() {
  const tries = keys.tidegate?.map((answer) => answer.tries);
  return tries ? `\`tryAcquire(key)\`, which the others do not have: ${cell(spread(tries))} a second.` : "";
}

function memoryOfKey() {
  const values = mapValues(keys, (answers) => spread(answers.map((answer) => answer.bytesPerKey)));
  return { title: "used once", values, lowWins: true };
}

function mapValues(record, map) {
  return Object.fromEntries(Object.entries(record).map(([key, value]) => [key, map(value)]));
}

function spread(numbers) {
  const sorted = numbers.toSorted((a, b) => a - b);
  return { median: sorted[Math.floor(sorted.length / 2)], low: sorted[0], high: sorted.at(-1) };
}

/** Three digits. */
function short(number) {
  if (number >= 1_000_000) return `${Number((number / 1_000_000).toPrecision(3))} M`;
  if (number >= 1_000) return `${Number((number / 1_000).toPrecision(3))} k`;
  return String(Math.round(number));
}

async function describeMachine() {
  const packages = Object.values({ ...pools, ...limiters }).flatMap((subject) => subject.packages);
  const versions = await Promise.all([...new Set(packages)].sort().map(versionOf));
  return {
    node: `Node ${process.versions.node}`,
    cpu: `${os.cpus().length} × ${os.cpus()[0]?.model.trim()}`,
    system: `${os.type()} ${os.arch()}`,
    load: os.loadavg()[0].toFixed(2),
    versions: versions.join(", "),
  };
}

async function versionOf(name) {
  const file = name === "tidegate" ? "../package.json" : `node_modules/${name}/package.json`;
  const { version } = JSON.parse(await readFile(path.join(here, file), "utf8"));
  return `${name} ${version}`;
}

async function write(directory) {
  await mkdir(directory, { recursive: true });
  await writeFile(path.join(directory, "limits.md"), `${report}\n`);
  const data = { machine, rounds, scale, throughput, memory, keys };
  await writeFile(path.join(directory, "limits.json"), `${JSON.stringify(data, null, 2)}\n`);
}
