// A soak: millions of calls and rows with every kind of outcome, and whether anything grows with them.
//
//   node tests/soak.mjs [--calls 10000000] [--rows 1000000] [--samples 40] [--seed 1] [--out FILE]
//
// Ends with 1 when something does. TIDEGATE=FOLDER soaks the build that lies there instead of dist/.
import { spawn } from "node:child_process";
import { readFile, writeFile } from "node:fs/promises";
import os from "node:os";
import { fileURLToPath, pathToFileURL } from "node:url";
import { parseArgs } from "node:util";
import { StepError, toldOf } from "../js/steps.mjs";
import { Gauge, judged, METRICS } from "./soak/gauge.mjs";
import { seeded } from "./soak/random.mjs";

const METHOD = `
Rounds of calls of random kinds (see tests/soak/calls.mjs) with random outcomes, on the platform's own clock and timers, some thousand
under way at a time, and of imports (tests/soak/rows.mjs) in virtual time, with a journal in memory or in files. After each round all
that was begun has ended; then the heap is collected and measured, with WebAssembly's memory, the timers of the process, the
listeners on signals that live as long as the run, and the promises and signals that are still reachable. The first half of the samples is
warm-up. What counts is the slope of the other half (Theil-Sen: the median of the slopes between all pairs of samples), times its
length: that much was gained. A metric is flat when the gain is within its tolerance.`
  .trim()
  .replaceAll("\n", " ");

/** Soaks, prints what was measured, and resolves with whether everything stayed flat. */
export async function run({
  calls = 10_000_000,
  rows = 1_000_000,
  samples = 40,
  seed = 1,
  out,
  log = console.log,
} = {}) {
  const gauge = new Gauge();
  const { Calls } = await import("./soak/calls.mjs");
  const { Rows } = await import("./soak/rows.mjs");
  // The rows draw for themselves: what they do is the same each time, whatever the calls did meanwhile.
  const work = { calls: new Calls(seeded(seed), gauge.signals), rows: new Rows(seeded(seed + 1)) };
  const began = Date.now();
  const taken = [];
  for (let round = 1; round <= samples; round++) {
    await work.calls.upTo(Math.round((calls * round) / samples));
    await work.rows.upTo(Math.round((rows * round) / samples));
    const sample = { calls: work.calls.done, rows: work.rows.done, ...(await gauge.sample()) };
    taken.push(sample);
    log(`${minutes(began)}  ${line(sample)}`);
  }
  const ended = { calls: work.calls.tally, rows: work.rows.tally };
  await work.calls.end();
  await work.rows.end();
  const verdicts = judged(taken);
  for (const { name, gain, tolerance, flat } of verdicts) {
    log(`${flat ? "flat" : "GROWS"}  ${name}: ${gain} gained, ${tolerance} allowed`);
  }
  const isFlat = verdicts.every(({ flat }) => flat);
  if (out !== undefined) {
    const data = { ...(await describe()), method: METHOD, seed, durationMs: Date.now() - began };
    await writeFile(out, `${JSON.stringify({ ...data, ended, verdicts, samples: taken }, null, 1)}\n`);
  }
  const what = `${work.calls.done} calls, ${work.rows.done} rows, ${minutes(began)}`;
  log(isFlat ? `soak: everything is flat (${what})` : `soak: something grows (${what})`);
  return isFlat;
}

function line(sample) {
  return ["calls", "rows", ...Object.keys(METRICS)].map((key) => `${key} ${sample[key]}`).join(", ");
}

function minutes(since) {
  const seconds = Math.round((Date.now() - since) / 1_000);
  return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
}

async function describe() {
  const { version } = JSON.parse(await readFile(new URL("../package.json", import.meta.url), "utf8"));
  return {
    date: new Date().toISOString().slice(0, 10),
    versions: { tidegate: version, node: process.versions.node },
    machine: `${os.cpus().length} × ${os.cpus()[0]?.model.trim()}, ${os.type()} ${os.arch()}`,
  };
}

/** The same program, in a process whose heap can be collected when we want it to be. */
function withCollector() {
  const given = ["--expose-gc", fileURLToPath(import.meta.url), ...process.argv.slice(2)];
  const child = spawn(process.execPath, given, { stdio: "inherit" });
  child.once("close", (code) => {
    process.exitCode = code ?? 1;
  });
}

function readArguments() {
  const text = { type: "string" };
  const { values } = parseArgs({
    options: { calls: text, rows: text, samples: text, seed: text, out: text },
  });
  const { out, ...amounts } = values;
  const numbers = Object.entries(amounts).map(([key, value]) => [key, Number(value)]);
  const wrong = numbers.find(([, number]) => !(Number.isInteger(number) && number > 0));
  if (wrong) throw new StepError(`--${wrong[0]} takes a whole number above 0, not ${amounts[wrong[0]]}`);
  return { ...Object.fromEntries(numbers), out };
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  try {
    const options = readArguments();
    if (globalThis.gc === undefined) withCollector();
    else process.exitCode = (await run(options)) ? 0 : 1;
  } catch (error) {
    console.error(toldOf(error));
    process.exitCode = 1;
  }
}
