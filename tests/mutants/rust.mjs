// The core: cargo-mutants (https://mutants.rs), by room, each with the tests that concern it.
import { copyFile, mkdir, readFile, rm, writeFile } from "node:fs/promises";
import path from "node:path";
import { ask, root, run, StepError } from "../../js/steps.mjs";
import { byFile } from "./evidence.mjs";

/**
 * Which tests run for a mutant of which files: first the unit tests and the few that find most, then, for what they
 * miss, the others that concern the room. A survivor of these is counted as one of all tests. `tests/layering.rs`, which
 * reads the sources, is in none of them.
 */
const ROOMS = [
  {
    name: "nouns",
    files: /^src\/(time|random|decision|backoff|budget|circuit|cooldown)\.rs$/,
    first: ["edges", "circuit", "service"],
    others: ["properties"],
  },
  {
    name: "limits",
    files: /^src\/(quota|slots|limits|pool|queue\/\w+)\.rs$/,
    first: ["edges", "quota", "slots", "limits"],
    others: ["limits_properties", "properties"],
  },
  {
    name: "service",
    files: /^src\/(service|record\/\w+)\.rs$/,
    first: ["edges", "service"],
    others: ["limits", "properties", "simulation"],
  },
  {
    name: "classify",
    files: /^src\/(outcome|classify\/\w+)\.rs$/,
    first: ["edges", "classify"],
    others: ["advertised", "service"],
  },
  { name: "pacer", files: /^src\/pacer\/\w+\.rs$/, first: ["pacer"], others: ["edges", "bulk"] },
  { name: "bulk", files: /^src\/bulk\/\w+\.rs$/, first: ["edges", "bulk"], others: ["pacer"] },
];

const OUTCOMES = {
  CaughtMutant: "caught",
  MissedMutant: "missed",
  Timeout: "timeout",
  Unviable: "unviable",
};

const folder = path.join(root, "target", "mutants");

/** What a build of the core and its tests reads. */
const SOURCES = ["Cargo.toml", "Cargo.lock", ".cargo", "src", "tests", "benches", "fuzz"];

/** The sources that are changed: one copy for all runs, because one at another place would be built from its beginning. */
const tree = path.join(folder, "tree");

const ENVIRONMENT = {
  CARGO_TARGET_DIR: process.env.CARGO_TARGET_DIR ?? path.join(folder, "build"),
  // Nobody reads the back-traces, and of what fails the smallest case is of no interest.
  CARGO_PROFILE_DEV_DEBUG: "false",
  PROPTEST_MAX_SHRINK_ITERS: "0",
};

/** All mutants outside src/wasm and src/bin: `{ file, line, what, name }`. */
export async function list() {
  if (ask("cargo", "mutants", "--version") === null || ask("cargo", "nextest", "--version") === null) {
    throw new StepError(
      "cargo-mutants is needed: cargo install --locked cargo-mutants, and cargo-nextest likewise",
    );
  }
  const { stdout } = await run("listing the mutants of src/", "cargo", ["mutants", "--list", "--json"]);
  const all = await Promise.all(JSON.parse(stdout).map(describe));
  for (const { name } of all) names.add(name);
  return all;
}

export const versions = () => ({
  "cargo-mutants": ask("cargo", "mutants", "--version")?.split(" ").at(-1),
  "cargo-nextest": ask("cargo", "nextest", "--version")?.split(/\s/)[1],
  rustc: ask("rustc", "--version")?.split(" ")[1],
});

/** Every n-th mutant: neighbours, which are alike, come into different parts. */
export const shard = (mutants, part, parts) => mutants.filter((_, index) => index % parts === part);

/** Runs these mutants and says how each ended: `{ ...mutant, status }`. */
export async function test(mutants) {
  await copySources();
  const results = [];
  for (const room of ROOMS) {
    const chosen = mutants.filter(({ file }) => room.files.test(file));
    if (chosen.length > 0) results.push(...(await testRoom(room, chosen)));
  }
  const left = mutants.filter(({ file }) => !ROOMS.some(({ files }) => files.test(file)));
  if (left.length > 0)
    throw new StepError(`${left[0].file} is in none of the rooms of tests/mutants/rust.mjs`);
  return results;
}

/** What git knows of or would add, as it is now. */
async function copySources() {
  const files = ask("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", ...SOURCES);
  await rm(tree, { recursive: true, force: true });
  for (const file of new Set(files.split("\0").filter(Boolean))) {
    await mkdir(path.dirname(path.join(tree, file)), { recursive: true });
    await copyFile(path.join(root, file), path.join(tree, file)).catch(unlessDeleted);
  }
}

function unlessDeleted(error) {
  if (error.code !== "ENOENT") throw error;
}

async function testRoom({ name, first, others }, mutants) {
  const results = await testWith(first, `${name}-first`, mutants);
  const missed = results.filter(({ status }) => status === "missed");
  if (missed.length === 0) return results;
  const rest = await testWith(others, `${name}-others`, missed);
  return [...results.filter(({ status }) => status !== "missed"), ...rest];
}

async function testWith(tests, name, mutants) {
  const output = path.join(folder, name);
  await rm(output, { recursive: true, force: true });
  await mkdir(output, { recursive: true });
  await leaveOut(mutants, path.join(output, "mutants.out"));
  const chosen = ["--lib", ...tests.flatMap((test) => ["--test", test])];
  const nextest = ["--config-file", path.join(root, "tests", "mutants", "nextest.toml"), ...chosen];
  const files = [...byFile(mutants).keys()].flatMap((file) => ["--file", file]);
  const options = [...files, "--iterate", "--output", output, "--caught", "--colors", "never"];
  await run(
    `${mutants.length} mutants, ${name}`,
    "cargo",
    [...["mutants", "--in-place", "--dir", tree], ...options, "--", ...nextest],
    { env: ENVIRONMENT, mayFail: true },
  );
  return outcomes(path.join(output, "mutants.out", "outcomes.json"), mutants);
}

/** All others count as caught already. By expressions for names cargo-mutants would still run those that delete a field. */
async function leaveOut(mutants, output) {
  const others = new Set(names);
  for (const { name } of mutants) others.delete(name);
  await mkdir(output);
  await writeFile(path.join(output, "previously_caught.txt"), [...others, ""].join("\n"));
}

/** Of all mutants, since `list`. */
const names = new Set();

async function outcomes(file, mutants) {
  const report = await readFile(file, "utf8").then(JSON.parse, () => ({ outcomes: [] }));
  const baseline = report.outcomes.find(({ scenario }) => scenario === "Baseline");
  if (baseline?.summary !== "Success") throw new StepError(`the tests fail without a mutant: see ${file}`);
  const status = new Map(
    report.outcomes.map(({ scenario, summary }) => [scenario.Mutant?.name, OUTCOMES[summary]]),
  );
  return mutants
    .filter(({ name }) => status.has(name))
    .map((mutant) => ({ ...mutant, status: status.get(mutant.name) }));
}

/** Without the place, which moves with each line that is added above; with the line itself, which tells it from others. */
async function describe({ file, name, span }) {
  const line = span.start.line;
  const what = name.replace(/^[^ ]+ /, "");
  return { file, line, what: `${what} in \`${(await linesOf(file))[line - 1].trim()}\``, name };
}

const read = new Map();

function linesOf(file) {
  if (!read.has(file))
    read.set(
      file,
      readFile(path.join(root, file), "utf8").then((text) => text.split("\n")),
    );
  return read.get(file);
}
