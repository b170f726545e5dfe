// npm run test:fuzz: the targets of fuzz/, in turns, for so many minutes each.
//
//   npm run test:fuzz -- --minutes 60                 all of them; 10 minutes each where nothing is said
//   npm run test:fuzz -- --only service,bulk          some of them
//   npm run test:fuzz -- --jobs 2                     two at a time; one where nothing is said
//   npm run test:fuzz -- --out docs/evidence/fuzz.json   adds what was run to what that file tells
//   npm run test:fuzz -- --keep 32                    fuzzes nothing: keeps so many inputs of the corpus, for `cargo test`
//
// Corpora stay in fuzz/corpus, so that the next run goes on where this one ended. What makes a target fail is made
// smaller and kept in fuzz/regressions, which `cargo test` replays. The exit code is 1 when anything was found.
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { parseArgs } from "node:util";
import { ask, filesIn, root, run as runProgram, StepError, since, toldOf, writeWhole } from "../js/steps.mjs";

/** By name: what is done, and the longest input in bytes. */
export const TARGETS = {
  headers: { what: "every parser of headers, and two other readers of Retry-After", longest: 1024 },
  classify: {
    what: "outcomes from graphs of foreign values, with getters that throw or change",
    longest: 4096,
  },
  config: { what: "arbitrary numbers in every configuration, then calls, requests and rows", longest: 2048 },
  service: {
    what: "sequences of everything that a service is asked and told, beside a model",
    longest: 4096,
  },
  pacer: { what: "sequences of asking, sending and answers, clocks that jump", longest: 4096 },
  bulk: { what: "imports under every kind of answer, stop and restart, beside a model", longest: 4096 },
};

/** Fuzzes, and resolves with which targets `ran`, what was `found` and the `evidence`. */
export async function run({
  minutes = 10,
  only = Object.keys(TARGETS),
  jobs = 1,
  out,
  log = console.log,
} = {}) {
  const names = checked(only);
  await tools(log);
  await runProgram("building the targets", "cargo", [...FUZZ, "build", ...FLAGS], { log });
  const evidence = await begun(out);
  const found = [];
  const waiting = names.map((name) => ({ name, seconds: minutes * 60 }));
  const writeDown = async () => {
    if (out !== undefined) await writeWhole(path.resolve(out), `${JSON.stringify(evidence, null, 2)}\n`);
  };
  const work = async () => {
    for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
      const { name, seconds } = next;
      const turn = Math.min(seconds, TURN_S);
      const result = await oneTurn(name, Math.ceil(turn), log);
      add(evidence, name, result);
      if (result.finding !== undefined) found.push(result.finding);
      else if (seconds > turn) waiting.push({ name, seconds: seconds - turn });
      await writeDown();
    }
  };
  await Promise.all(Array.from({ length: jobs }, work));
  await writeDown();
  return { ran: names, found, evidence };
}

// ---- what is needed

const FUZZ = ["+nightly", "fuzz"];

/** The core is free of unsafe code (`forbid` in src/lib.rs): an address sanitizer would only cost half the speed. */
const FLAGS = ["--sanitizer", "none"];

const CARGO_FUZZ = "0.13.2";

/** Seconds that one target runs before the next has its turn. */
const TURN_S = 300;

async function tools(log) {
  if (ask("cargo", "+nightly", "--version") === null) {
    await runProgram(
      "installing a nightly compiler",
      "rustup",
      ["toolchain", "install", "nightly", "--profile", "minimal"],
      { log },
    );
  }
  if (ask("cargo", ...FUZZ, "--version") === null) {
    await runProgram("installing cargo-fuzz", "cargo", ["install", "--locked", `cargo-fuzz@${CARGO_FUZZ}`], {
      log,
    });
  }
}

function checked(only) {
  const unknown = only.find((name) => !(name in TARGETS));
  if (unknown !== undefined)
    throw new StepError(`--only takes ${Object.keys(TARGETS).join(", ")}; there is no ${unknown}`);
  return only;
}

// ---- one turn

async function oneTurn(name, seconds, log) {
  const [corpus, artifacts, kept] = ["corpus", "artifacts", "regressions"].map((folder) =>
    path.join(root, "fuzz", folder, name),
  );
  await mkdir(corpus, { recursive: true });
  await mkdir(artifacts, { recursive: true });
  const known = new Set(await readdir(artifacts));
  const dictionary = path.join(root, "fuzz", "dictionaries", `${name}.dict`);
  const started = Date.now();
  const { status, output } = await runProgram(
    `fuzzing ${name} for ${seconds} s`,
    binary(name),
    [
      corpus,
      ...(existsSync(kept) ? [kept] : []),
      `-artifact_prefix=${artifacts}${path.sep}`,
      `-max_total_time=${seconds}`,
      `-max_len=${TARGETS[name].longest}`,
      "-rss_limit_mb=1024",
      "-timeout=10",
      "-print_final_stats=1",
      ...(existsSync(dictionary) ? [`-dict=${dictionary}`] : []),
    ],
    { mayFail: true, log: () => {}, timeoutMs: (seconds + 120) * 1000 },
  );
  const result = read(output, status, Math.round((Date.now() - started) / 1000));
  log(
    `${name}: ${result.executions} executions in ${result.seconds} s, ${result.edges} edges, ${result.features} features, ${result.corpus} inputs`,
  );
  if (status === 0) return result;
  const artifact = (await readdir(artifacts)).find((file) => !known.has(file));
  log(`${name} failed (${status}):\n${story(output)}`);
  return {
    ...result,
    finding: artifact === undefined ? String(status) : await keep(name, artifact, kept, log),
  };
}

function binary(name) {
  const host = /host: (.+)/.exec(ask("rustc", "+nightly", "-vV") ?? "")?.[1];
  const target = process.env.CARGO_TARGET_DIR ?? path.join(root, "fuzz", "target");
  return path.join(target, String(host), "release", name);
}

/** libFuzzer's last words. A target that found something ends before its statistics: then its last line of progress counts. */
function read(output, status, passed) {
  const last = (pattern) => Number([...output.matchAll(pattern)].at(-1)?.[1] ?? 0);
  const done = /^Done (\d+) runs in (\d+) second/m.exec(output);
  if (status === 0 && done === null) throw new StepError(`no statistics:\n${tail(output)}`);
  return {
    executions: done ? Number(done[1]) : last(/^#(\d+)\s/gm),
    seconds: done ? Number(done[2]) : passed,
    edges: last(/ cov: (\d+)/g),
    features: last(/ ft: (\d+)/g),
    corpus: last(/ corp: (\d+)/g),
  };
}

/** Makes what failed smaller, and keeps it under a name by its content. */
async function keep(name, artifact, kept, log) {
  const found = path.join(root, "fuzz", "artifacts", name, artifact);
  const smaller = path.join(root, "fuzz", "artifacts", name, `${artifact}.min`);
  await runProgram(
    `making ${artifact} smaller`,
    binary(name),
    [
      "-minimize_crash=1",
      "-max_total_time=60",
      "-rss_limit_mb=1024",
      `-exact_artifact_path=${smaller}`,
      found,
    ],
    { mayFail: true, log, timeoutMs: 180_000 },
  );
  const smallest = existsSync(smaller) ? smaller : found;
  await mkdir(kept, { recursive: true });
  const file = path.join(kept, digestOfInput(await readFile(smallest)));
  await rename(smallest, file);
  const relative = path.relative(root, file);
  log(`kept as ${relative}: \`cargo test --test fuzz\` replays it`);
  return relative;
}

const digestOfInput = (input) => createHash("sha256").update(input).digest("hex").slice(0, 12);

/** The words of the panic and where it came from; of another end the last lines. */
const story = (output) => {
  const lines = output.trimEnd().split("\n");
  const panic = lines.findIndex((line) => line.includes("panicked at"));
  return lines
    .slice(panic < 0 ? -30 : panic)
    .slice(0, 30)
    .join("\n");
};

const tail = (output) => output.trimEnd().split("\n").slice(-30).join("\n");

// ---- what `cargo test` runs

/** Replaces the inputs that are kept for what they reach: of the corpus those that together reach most features. */
export async function keepMost({ most, only = Object.keys(TARGETS), log = console.log }) {
  await runProgram("building the targets", "cargo", [...FUZZ, "build", ...FLAGS], { log });
  for (const name of checked(only)) {
    const kept = path.join(root, "fuzz", "regressions", name);
    await mkdir(kept, { recursive: true });
    for (const file of await readdir(kept)) if (file.startsWith("cover-")) await rm(path.join(kept, file));
    const { inputs, reached, reachable } = await reaching(name, most, log);
    for (const input of inputs) await writeFile(path.join(kept, `cover-${digestOfInput(input)}`), input);
    log(`${name}: ${inputs.length} inputs reach ${reached} of ${reachable} features`);
  }
}

/** At most so many inputs of the corpus, each of which adds most to those before. */
async function reaching(name, most, log) {
  const folder = await mkdtemp(path.join(os.tmpdir(), "tidegate-fuzz-"));
  try {
    const [control, merged] = [path.join(folder, "control"), path.join(folder, "merged")];
    await mkdir(merged);
    await runProgram(
      `what the inputs of ${name} reach`,
      binary(name),
      ["-merge=1", `-merge_control_file=${control}`, merged, path.join(root, "fuzz", "corpus", name)],
      { log, timeoutMs: 600_000 },
    );
    const all = featuresIn(await readFile(control, "utf8"));
    const { chosen, reached } = greedy(all, most);
    const inputs = await Promise.all(chosen.map((file) => readFile(file)));
    return { inputs, reached: reached.size, reachable: new Set([...all.values()].flat()).size };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** libFuzzer's notes on a merge: how many files, how many of them were there before, their names, then `FT index feature …`. */
function featuresIn(control) {
  const lines = control.split("\n");
  const files = lines.slice(2, 2 + Number(lines[0]));
  const features = lines
    .filter((line) => line.startsWith("FT "))
    .map((line) => line.trim().split(" ").slice(1));
  return new Map(features.map(([index, ...reached]) => [files[index], reached]));
}

function greedy(all, most) {
  const [reached, chosen] = [new Set(), []];
  const gain = (file) => all.get(file).filter((feature) => !reached.has(feature)).length;
  while (chosen.length < most) {
    const gains = [...all.keys()].map((file) => [gain(file), file]);
    const [best, file] = gains.reduce((one, other) => (other[0] > one[0] ? other : one), [0]);
    if (best === 0) break;
    for (const feature of all.get(file)) reached.add(feature);
    chosen.push(file);
  }
  return { chosen, reached };
}

// ---- what is written down

/** What `out` tells of earlier runs, and a place for this one: the last where the sources are the same. */
async function begun(out) {
  const sources = await digestOf(["src", "fuzz/src", "fuzz/targets", "fuzz/Cargo.lock"]);
  const before = out && existsSync(out) ? JSON.parse(await readFile(out, "utf8")) : undefined;
  const runs = before?.runs ?? [];
  if (runs.at(-1)?.sources !== sources) runs.push({ date: today(), sources, targets: {}, findings: [] });
  return {
    date: today(),
    versions: {
      rustc: ask("rustc", "+nightly", "--version"),
      "cargo-fuzz": ask("cargo", ...FUZZ, "--version")?.replace("cargo-fuzz ", ""),
      "libfuzzer-sys": locked("libfuzzer-sys", await readFile(path.join(root, "fuzz", "Cargo.lock"), "utf8")),
    },
    machine: `${os.cpus().length} × ${os.cpus()[0]?.model.trim()}, ${os.platform()} ${os.arch()}`,
    method:
      "npm run test:fuzz: libFuzzer guided by coverage, debug assertions and overflow checks on, no sanitizer, since the core has no unsafe code. " +
      "Targets take turns; a turn begins with the corpus of the one before. A run is all that was done with the same sources (a digest of them). " +
      "Seconds are of the wall clock, beside other work on the same cores; edges, features and inputs are those at the end of the last turn.",
    totals: before?.totals ?? {},
    runs,
  };
}

function add(evidence, name, { executions, seconds, edges, features, corpus, finding }) {
  const { targets, findings } = evidence.runs.at(-1);
  const sum = (before) => ({
    executions: (before?.executions ?? 0) + executions,
    seconds: (before?.seconds ?? 0) + seconds,
  });
  targets[name] = { ...sum(targets[name]), edges, features, corpus };
  evidence.totals[name] = { what: TARGETS[name].what, ...sum(evidence.totals[name]) };
  if (finding !== undefined) findings.push({ target: name, kept: finding });
}

async function digestOf(places) {
  const hash = createHash("sha256");
  for (const place of places) {
    for (const file of await filesIn(place))
      hash.update(`\0${file}\0`).update(await readFile(path.join(root, file)));
  }
  return hash.digest("hex").slice(0, 16);
}

const locked = (name, lock) => new RegExp(`name = "${name}"\nversion = "(.+)"`).exec(lock)?.[1];

const today = () => new Date().toISOString().slice(0, 10);

// ---- the command

async function main() {
  const { values } = parseArgs({
    options: {
      minutes: { type: "string", default: "10" },
      only: { type: "string" },
      jobs: { type: "string", default: "1" },
      out: { type: "string" },
      keep: { type: "string" },
    },
  });
  const only = values.only?.split(",");
  if (values.keep !== undefined) {
    await keepMost({ most: Number(values.keep), only });
    return 0;
  }
  const minutes = Number(values.minutes);
  if (!(minutes > 0)) throw new StepError(`--minutes takes a number above 0, not ${values.minutes}`);
  const jobs = Number(values.jobs);
  if (!(Number.isInteger(jobs) && jobs > 0))
    throw new StepError(`--jobs takes a whole number above 0, not ${values.jobs}`);
  const started = Date.now();
  const { ran, found } = await run({ minutes, only, jobs, out: values.out });
  console.log(`${ran.length} targets, ${found.length} findings (${since(started)})`);
  return found.length;
}

if (process.argv[1] === import.meta.filename) {
  try {
    process.exitCode = (await main()) > 0 ? 1 : 0;
  } catch (error) {
    console.error(toldOf(error));
    process.exitCode = 1;
  }
}
