// The price of a call that succeeds, in Node and in Chromium, beside what others ask: node calm.mjs
//
//   --rounds N     how often everything is measured (5); --quick: 3 rounds, shorter ones, a million calls at length
//   --only a,b     some subjects
//   --in node      or chromium: only there
//   --out DIR      also writes calm.md and calm.json there
//
// Wants `npm run build`, and `npm ci` in this folder. TIDEGATE=dist/index.js of another build measures that one.
import { execFile } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { parseArgs, promisify } from "node:util";
import { findChromium, INSTALL_CHROMIUM, serveFiles } from "../tests/browser/harness.mjs";
import { bundledInto } from "./bundle.mjs";
import { METHOD, render, targetsOf, WORKLOADS } from "./calm/report.mjs";
import { subjects } from "./calm/subjects.mjs";
import { launchForMeasuring } from "./chromium.mjs";
import { describeRun, here, publish } from "./report.mjs";

const { values: options } = parseArgs({
  options: {
    rounds: { type: "string" },
    quick: { type: "boolean", default: false },
    only: { type: "string" },
    in: { type: "string" },
    out: { type: "string" },
  },
});
const rounds = Number(options.rounds ?? (options.quick ? 3 : 5));
const effort = options.quick ? { samples: 5, warmUpMs: 150 } : { samples: 15, warmUpMs: 400 };
const endurance = { parts: 10, callsOfPart: options.quick ? 100_000 : 1_000_000 };
const names = Object.keys(subjects).filter((name) => !options.only || options.only.split(",").includes(name));

const folder = await mkdtemp(path.join(tmpdir(), "tidegate-calm-"));
const places = {};
try {
  const bundle = await bundledInto(folder, path.join(here, "calm", "measure.mjs"));
  for (const [name, open] of Object.entries({ node: inNode, chromium: inChromium })) {
    if (options.in && options.in !== name) continue;
    const place = await open(bundle);
    try {
      places[name] = { title: place.title, ...(await measured(name, place)) };
    } finally {
      await place.close();
    }
  }
} finally {
  await rm(folder, { recursive: true });
}

const packages = names.flatMap((name) => subjects[name].packages);
const chromium = places.chromium && { chromium: places.chromium.title.split(" ")[1] };
const run = await describeRun(packages, chromium);
const does = Object.fromEntries(names.map((name) => [name, subjects[name].does]));
const data = { ...run, method: METHOD, rounds, endurance, subjects: does, places };
data.targets = targetsOf(data);
await publish("calm", render(data), data, options.out);

/** What each subject answered in each of the rounds, by workload, and the long run of ours. */
async function measured(placeName, place) {
  const answers = Object.fromEntries(names.map((name) => [name, {}]));
  for (let round = 0; round < rounds; round++) {
    const first = round % names.length;
    for (const name of [...names.slice(first), ...names.slice(0, first)]) {
      process.stderr.write(`calm in ${placeName}, round ${round + 1} of ${rounds}: ${name}\n`);
      for (const workload of round === 0 ? Object.keys(WORKLOADS) : Object.keys(answers[name])) {
        const time = await place.ask("measure", name, workload, effort);
        if (time !== null) answers[name][workload] = [...(answers[name][workload] ?? []), time];
      }
    }
  }
  const long = {};
  for (const workload of names.includes("tidegate") ? ["async", "context"] : []) {
    process.stderr.write(`calm in ${placeName}, at length: ${workload}\n`);
    long[workload] = await place.ask("endure", "tidegate", workload, endurance);
  }
  return { answers, long };
}

// ---- the two places

function inNode(bundle) {
  const child = path.join(here, "calm", "node.mjs");
  return {
    title: `Node ${process.versions.node}`,
    async ask(task, ...terms) {
      const given = ["--expose-gc", child, bundle, task, JSON.stringify(terms)];
      const { stdout } = await promisify(execFile)(process.execPath, given, { maxBuffer: 2 ** 24 });
      return JSON.parse(stdout);
    },
    close: () => {},
  };
}

async function inChromium(bundle) {
  const chromiumPath = findChromium();
  if (chromiumPath === null) throw new Error(`Chromium is needed: ${INSTALL_CHROMIUM}, or CHROMIUM=its path`);
  const texts = { "/": { type: "text/html", text: "<!doctype html><title>calm</title>" } };
  const server = await serveFiles({ mounts: { "/bundle/": path.dirname(bundle) }, texts });
  const browser = await launchForMeasuring(chromiumPath);
  return {
    title: `Chromium ${browser.version()}`,
    async ask(task, ...terms) {
      const context = await browser.newContext();
      try {
        const page = await context.newPage();
        await page.goto(`${server.origin}/`);
        return await page.evaluate(askInPage, { script: `/bundle/${path.basename(bundle)}`, task, terms });
      } finally {
        await context.close();
      }
    },
    async close() {
      await browser.close();
      await server.close();
    },
  };
}

/** Runs in the page: nothing of this file is there. */
async function askInPage({ script, task, terms }) {
  const memories = [];
  const { Instance } = WebAssembly;
  WebAssembly.Instance = function noted(...given) {
    const instance = new Instance(...given);
    if (instance.exports.memory) memories.push(instance.exports.memory);
    return instance;
  };
  const collected = async () => {
    for (let turn = 0; turn < 3; turn++) {
      await new Promise((resolve) => setTimeout(resolve, 20));
      globalThis.gc();
    }
    const wasm = memories.reduce((sum, memory) => sum + memory.buffer.byteLength, 0);
    return { heap: performance.memory.usedJSHeapSize, wasm };
  };
  const tasks = await import(script);
  const options = { ...terms.pop(), collected };
  return tasks[task](...terms, options);
}
