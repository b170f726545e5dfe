// npm test: sets everything up, then runs the suites one after the other.
//
//   npm test                      all of them
//   npm test -- --only rust,js    some of them (the groups are below)
//   npm test -- --update          accept changes of the public declarations and of the other recorded lists
//
// The last line is `N passed, N failed`, with `, N skipped` when any were; the exit code is 1 when anything failed.
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { parseArgs } from "node:util";
import { measure, sizeGates, sizeTable } from "../js/build.mjs";
import { setup } from "../js/setup.mjs";
import { installed, root, run, StepError, since, toldOf } from "../js/steps.mjs";
import { findChromium, INSTALL_CHROMIUM } from "./browser/harness.mjs";
import { Report } from "./report.mjs";

const SUITES = [
  { group: "rust", title: "Rust: formatting", run: command("cargo", "fmt", "--check") },
  { group: "rust", title: "Rust: lints, all targets", run: clippy("--all-targets", "--features", "bindgen") },
  {
    group: "rust",
    title: "Rust: lints, WebAssembly",
    run: clippy("--lib", "--target", "wasm32-unknown-unknown"),
  },
  { group: "rust", title: "Rust: tests", run: cargoTest },
  {
    group: "js",
    title: "TypeScript: formatting and lints",
    run: node("@biomejs/biome", "bin/biome", "check"),
  },
  {
    group: "js",
    title: "TypeScript: types",
    run: node("typescript", "bin/tsc", "--project", "tsconfig.json"),
  },
  {
    group: "js",
    title: "TypeScript: types of the example",
    run: node("typescript", "bin/tsc", "--project", "examples/crm/tsconfig.json", "--noEmit"),
  },
  {
    group: "js",
    title: "TypeScript: types of the example's server and importer",
    run: node("typescript", "bin/tsc", "--project", "examples/crm/tsconfig.node.json", "--noEmit"),
  },
  { group: "js", title: "TypeScript: tests in Node", run: vitest },
  { group: "package", title: "Package: what is published", run: own("./packaging/run.mjs") },
  { group: "package", title: "Package: sizes", run: packageSizes },
  { group: "browser", title: "Browser: the package in Chromium", run: inChromium("./browser/package.mjs") },
  {
    group: "browser",
    title: "Browser: imports, their journal and their tabs",
    run: inChromium("./browser/import.mjs"),
  },
  { group: "browser", title: "Browser: an import through the CRM", run: inChromium("./browser/crm.mjs") },
  { group: "demo", title: "Demo: 60 rows without a browser", run: demo },
  {
    group: "faults",
    title: "Faults: a sample of the matrix, with real clients",
    run: async (report) => (await import("./faults/run.mjs")).quick({ report }),
  },
];

const GROUPS = [...new Set(SUITES.map(({ group }) => group))];

/** The suites that need what examples/crm has installed. */
const WITH_EXAMPLE = new Set(["js", "browser", "demo", "faults"]);

async function main() {
  const options = readArguments();
  const suites = SUITES.filter(({ group }) => options.groups.includes(group));
  const reports = [await suite("Set-up", prepare(suites))];
  if (reports[0].failed === 0) {
    for (const { title, run: body } of suites) reports.push(await suite(title, body, options));
  }
  return summary(reports);
}

function readArguments() {
  const { values } = parseArgs({
    options: { only: { type: "string" }, update: { type: "boolean", default: false } },
  });
  const groups = values.only?.split(",") ?? GROUPS;
  const unknown = groups.find((group) => !GROUPS.includes(group));
  if (unknown !== undefined) throw new StepError(`--only takes ${GROUPS.join(", ")}; there is no ${unknown}`);
  return { groups, update: values.update };
}

/** Runs one suite under its headline. What it throws is one more failure. */
async function suite(title, body, options) {
  const report = new Report(title);
  const started = Date.now();
  console.log(`\n== ${title}`);
  try {
    await body(report, options);
    if (report.passed + report.failed + report.skipped === 0) report.fail("the suite has a case");
  } catch (error) {
    report.fail("the suite ran to its end", error instanceof StepError ? error.message : error?.stack);
  }
  report.durationMs = Date.now() - started;
  console.log(`   ${report.counts()} (${since(started)})`);
  return report;
}

function summary(reports) {
  const total = new Report("all");
  for (const report of reports) total.count(report);
  const line = (title, ...cells) => title.padEnd(42) + cells.map((cell) => String(cell).padStart(9)).join("");
  console.log(`\n${line("suite", "passed", "failed", "skipped", "seconds")}`);
  for (const { title, passed, failed, skipped, durationMs } of reports) {
    console.log(line(title, passed, failed, skipped, (durationMs / 1000).toFixed(1)));
  }
  for (const { title, failures } of reports) {
    for (const name of failures) console.log(`failed: ${title}: ${name}`);
  }
  console.log(`\n${total.counts()}`);
  return total.failed === 0 ? 0 : 1;
}

// ---- the suites

function prepare(suites) {
  return async (report) => {
    const example = suites.some(({ group }) => WITH_EXAMPLE.has(group));
    await setup({ example, lints: true });
    report.pass("everything is installed and built");
  };
}

/** A program that is one case: it passes when it ends with 0. */
function command(program, ...args) {
  return async (report) => {
    const { status, output } = await attempt(args[0], program, args);
    report.check([program, ...args].join(" "), status === 0, output);
  };
}

function clippy(...targets) {
  return command("cargo", "clippy", "--locked", ...targets, "--", "--deny", "warnings");
}

/** A tool from node_modules, as one case. */
function node(name, script, ...args) {
  return async (report) => {
    const { status, output } = await attempt(name, process.execPath, [installed(name, script), ...args]);
    report.check([name, ...args].join(" "), status === 0, output);
  };
}

async function cargoTest(report) {
  const { status, output } = await attempt("cargo test", "cargo", ["test", "--locked", "--no-fail-fast"]);
  const results = /^test result: .*? (\d+) passed; (\d+) failed; (\d+) ignored/gm;
  for (const [, passed, failed, ignored] of output.matchAll(results)) {
    report.count({ passed: Number(passed), failed: Number(failed), skipped: Number(ignored) });
  }
  for (const [, name] of output.matchAll(/^test (.+) \.\.\. FAILED$/gm)) report.failures.push(name);
  if (status !== 0)
    console.log(output.replaceAll(/^(test .+ \.\.\. ok| +(Compiling|Downloading|Downloaded) .+)\n/gm, ""));
  if (status !== 0 && report.failed === 0) report.fail("cargo test");
}

async function vitest(report) {
  const folder = await mkdtemp(path.join(tmpdir(), "tidegate-vitest-"));
  const file = path.join(folder, "results.json");
  const args = ["run", "--reporter=default", "--reporter=json", `--outputFile.json=${file}`];
  try {
    const script = installed("vitest", "vitest.mjs");
    const { status, output } = await attempt("vitest", process.execPath, [script, ...args]);
    if (status !== 0) console.log(output);
    countVitest(report, JSON.parse(await readFile(file, "utf8")));
    if (status !== 0 && report.failed === 0) report.fail(`vitest ended with ${status}`);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** A file that could not be loaded has no tests in it: it is a failure of its own. */
function countVitest(report, { numPassedTests, numFailedTests, numPendingTests, numTodoTests, testResults }) {
  report.count({ passed: numPassedTests, failed: numFailedTests, skipped: numPendingTests + numTodoTests });
  for (const { name, status, assertionResults } of testResults) {
    const failed = assertionResults.filter((result) => result.status === "failed");
    report.failures.push(...failed.map(({ fullName }) => `${path.basename(name)}: ${fullName}`));
    if (status === "failed" && failed.length === 0) report.fail(`${path.relative(root, name)} can be loaded`);
  }
}

/** A suite of ours: a module that exports `run({ report, chromiumPath, update })`. */
function own(file) {
  return async (report, options) => (await import(file)).run({ report, ...options });
}

async function packageSizes(report) {
  const rows = await measure();
  console.log(sizeTable(rows).replaceAll(/^/gm, "   "));
  for (const { name, ok, detail } of sizeGates(rows)) report.check(name, ok, detail);
}

/** Without a browser there is nothing to test: said loudly, and a failure where the tests are the gate. */
function inChromium(file) {
  return async (report, options) => {
    const chromiumPath = findChromium();
    if (chromiumPath !== null) return own(file)(report, { ...options, chromiumPath });
    const reason = `no Chromium was found. Install one: ${INSTALL_CHROMIUM}`;
    if (process.env.CI) report.fail("Chromium is there", reason);
    else report.skip("everything in this suite", reason);
  };
}

async function demo(report) {
  const args = [path.join("examples", "crm", "demo.mjs"), "--headless", "--rows", "60"];
  const { status, output } = await attempt("the demo", process.execPath, args);
  if (status === 0) console.log(output.trimEnd().replaceAll(/^/gm, "   "));
  report.check("60 rows arrive, once each", status === 0, output);
}

// ---- helpers

/** Runs a program whose exit status is a finding. Its output is read by programs and by people in log files: no colours. */
function attempt(title, program, args) {
  const env = { CARGO_TERM_COLOR: "never", NO_COLOR: "1", FORCE_COLOR: undefined };
  return run(title, program, args, { env, mayFail: true, timeoutMs: 900_000 });
}

const exitCode = await main().catch((error) => {
  console.error(toldOf(error));
  return 1;
});
// Not left to Node: a case that hung may have left a server or a browser behind.
process.exit(exitCode);
