// Pool and RateLimiter against the libraries that do the same work, in one run: node limits.mjs
//
//   --rounds N     how often everything is measured (5)
//   --scale X      a part of the jobs, for a quick look (1); --quick: 2 rounds with a tenth of the jobs, a tenth of those that wait
//   --only a,b     some libraries
//   --out DIR      also writes limits.md and limits.json there
//
// Wants `npm run build`, and `npm ci` in this folder. TIDEGATE=file.mjs measures another build.
import { execFile } from "node:child_process";
import path from "node:path";
import { parseArgs, promisify } from "node:util";
import { METHOD, render, targetsOf } from "./limits/report.mjs";
import { describeRun, here, publish } from "./report.mjs";
import { limiters, pools } from "./subjects.mjs";
import { KEY_UNITS, QUEUED, SIZES } from "./workloads.mjs";

const { values: options } = parseArgs({
  options: {
    rounds: { type: "string" },
    scale: { type: "string" },
    quick: { type: "boolean", default: false },
    only: { type: "string" },
    out: { type: "string" },
  },
});
const rounds = Number(options.rounds ?? (options.quick ? 2 : 5));
const scale = Number(options.scale ?? (options.quick ? 0.1 : 1));
const sizes = options.quick ? SIZES.slice(0, 3) : SIZES;

const packages = Object.values({ ...pools, ...limiters }).flatMap((subject) => subject.packages);
const run = await describeRun(packages);
const throughput = await measured("throughput", chosen(pools), [scale]);
const memory = {
  flat: await measured("memory", chosen(pools), [QUEUED * scale, "flat"], 1),
  random: await measured("memory", chosen(pools), [QUEUED * scale, "random"], 1),
};
const keys = await measured("keys", chosen(limiters), [KEY_UNITS * scale]);
const growth = {
  flat: await grown("waiting", chosen(pools), "flat"),
  random: await grown("waiting", chosen(pools), "random"),
  keys: await grown(
    "counting",
    chosen(limiters).filter((name) => limiters[name].isKeyed),
  ),
};
const data = { ...run, method: METHOD, rounds, scale, sizes, throughput, memory, keys, growth };
data.targets = targetsOf(data);
await publish("limits", render(data), data, options.out);

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

/** What each library takes at each size, as far as it gets. */
async function grown(task, names, order) {
  const answers = {};
  for (const name of names) {
    answers[name] = [];
    for (const size of sizes) {
      process.stderr.write(`${task}, ${order ?? "by key"}, ${size}: ${name}\n`);
      const answer = await inChild(task, name, [size, order ?? "flat"]);
      if (answer === null) break;
      answers[name].push(answer);
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
