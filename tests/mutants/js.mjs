// The shell: StrykerJS (https://stryker-mutator.io), by room, each with the tests that concern it.
import { readFileSync } from "node:fs";
import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import path from "node:path";
import { npm, setup } from "../../js/setup.mjs";
import { filesIn, root, run, StepError, stamped } from "../../js/steps.mjs";
import { byFile } from "./evidence.mjs";

/**
 * As in rust.mjs: first the tests of the room, then, for what they miss, the `others` that come by there. A survivor of
 * these is counted as a survivor of all.
 */
const ROOMS = [
  {
    name: "parts",
    files: /^js\/import\/(endings|headers|ids|key-set|ledger|life|pace|report|scan|source|words)\.ts$/,
    tests: ["ids", "import.{endings,headers,keys,ledger,life,pace,report,scan,source,words}"],
  },
  {
    name: "import",
    files: /^js\/import(\/|\.|-)/,
    tests: [
      "import",
      "import.{alarm,desk,details,endings,headers,host,keys,ledger,life,pace,plain,report,scan,source,words}",
      ...["journal*", "ids"],
    ],
    others: ["import.{chaos,edges,resume}"],
  },
  {
    name: "data",
    files: /^js\/(supabase|react-admin)(\/|\.)/,
    tests: ["supabase*", "react-admin*", "related", "senders*"],
  },
  { name: "csv", files: /^js\/csv(\/|\.)/, tests: ["csv*"] },
  {
    name: "limits",
    files: /^js\/(limiter|slots|pool|breaker|store)\.ts$/,
    tests: ["breaker", "limiter*", "limits*", "pool*", "slots*", "using"],
  },
  {
    name: "words",
    files: /^js\/(config|env|errors|failure|judge|plan|presets|rules|text)\.ts$/,
    tests: [
      "call",
      "config",
      "env",
      "errors",
      "failure",
      "judge",
      "plan",
      "presets",
      "retry",
      "rules",
      "text",
    ],
  },
  { name: "testing", files: /^js\/testing(\/|\.)/, tests: ["testing*", "turns"] },
  {
    name: "loop",
    files:
      /^js\/(attempt|call|calm|circuit|core|events|gate|host|lanes|limits|link|metrics|registry|service|shared|waiters)\.ts$/,
    tests: [
      ...["call", "calm", "circuit", "cooldown", "core", "events", "failopen", "gate"],
      ...["host{,.edges}", "lanes", "metrics", "registry*", "retry", "service*", "shared", "timers", "turns"],
    ],
    others: ["breaker", "clock", "limiter*", "limits*", "pool*", "slots*", "supabase*", "using"],
  },
  {
    name: "calls",
    files: /^js\//,
    tests: [
      ...["calm", "circuit", "clock", "cooldown", "core", "events", "failopen", "gate", "host*"],
      ...["lanes", "metrics", "registry*", "retry", "service*", "shared", "testing*", "timers", "turns"],
    ],
  },
];

/** More columns than a line has. */
const WIDE = 1_000;

const here = path.join(root, "tests", "mutants");
const folder = path.join(root, "target", "mutants", "js");

const STATUS = {
  Killed: "caught",
  Survived: "missed",
  NoCoverage: "missed",
  Timeout: "timeout",
  CompileError: "unviable",
  RuntimeError: "unviable",
  Ignored: "unviable",
};

/** All mutants of js/, but for the build: `{ file, line, what, place }`. */
export async function list() {
  await install();
  const { Instrumenter } = await import("@stryker-mutator/instrumenter");
  const { messages } = await import("./ignore.mjs");
  const names = (await filesIn("js")).filter((file) => file.endsWith(".ts"));
  const files = await Promise.all(
    names.map(async (name) => ({ name, mutate: true, content: await source(name) })),
  );
  const quiet = { isDebugEnabled: () => false, debug() {}, info() {} };
  const options = { plugins: null, ignorers: [messages], excludedMutations: [], noHeader: true };
  const { mutants } = await new Instrumenter(quiet).instrument(files, options);
  const wanted = mutants.filter(({ status }) => status !== "Ignored");
  const all = await Promise.all(wanted.map((mutant) => describe(mutant.fileName, mutant, 1)));
  for (const { file } of all) counts.set(file, (counts.get(file) ?? 0) + 1);
  return all;
}

export function versions() {
  const of = (name, ...folders) =>
    JSON.parse(readFileSync(path.join(...folders, "node_modules", name, "package.json"), "utf8")).version;
  return { "@stryker-mutator/core": of("@stryker-mutator/core", here), vitest: of("vitest", root) };
}

/**
 * Every n-th of the innermost places: StrykerJS is told of places, and what lies within one would run as well. Those
 * around others, an emptied block, a condition that always holds, are the ones that are caught most easily.
 */
export function shard(mutants, part, parts) {
  if (parts === 1) return mutants;
  const files = byFile(mutants);
  const innermost = mutants.filter((one) => !files.get(one.file).some((other) => isWithin(other, one)));
  const places = [...new Set(innermost.map(placeOf))].filter((_, index) => index % parts === part);
  const chosen = new Set(places);
  return innermost.filter((one) => chosen.has(placeOf(one)));
}

const placeOf = ({ file, place }) => `${file}:${place}`;

const isWithin = (inner, outer) =>
  inner.from >= outer.from && inner.to <= outer.to && inner.place !== outer.place;

/** Runs these mutants, and says how each ended: `{ ...mutant, status }`. */
export async function test(mutants) {
  const results = [];
  const left = new Set(mutants);
  for (const room of ROOMS) {
    const chosen = [...left].filter(({ file }) => room.files.test(file));
    for (const one of chosen) left.delete(one);
    if (chosen.length > 0) results.push(...(await testRoom(room, chosen)));
  }
  return results;
}

async function testRoom({ name, tests, others = [] }, mutants) {
  const results = await testWith(tests, name, mutants);
  const missed = results.filter(({ status }) => status === "missed");
  if (missed.length === 0 || others.length === 0) return results;
  const rest = await testWith(others, `${name}-others`, missed);
  return [...results.filter(({ status }) => status !== "missed"), ...rest];
}

async function testWith(tests, name, mutants) {
  const output = path.join(folder, name);
  await rm(output, { recursive: true, force: true });
  await mkdir(output, { recursive: true });
  const config = path.join(output, "stryker.config.json");
  await writeFile(config, JSON.stringify(configFor(name, tests, mutants), null, 2));
  const stryker = path.join(here, "node_modules", "@stryker-mutator", "core", "bin", "stryker.js");
  const title = `${mutants.length} mutants, js-${name}`;
  const { output: told } = await run(title, process.execPath, [stryker, "run", config], { mayFail: true });
  const report = await readFile(path.join(output, "report.json"), "utf8").then(JSON.parse, () => null);
  if (report === null) throw new StepError(`StrykerJS did not come to its end:\n${told.slice(-4_000)}`);
  return matched(mutants, report.files);
}

function configFor(name, tests, mutants) {
  const whole = wholeFiles(mutants);
  const places = mutants.filter(({ file }) => !whole.includes(file)).map(placeOf);
  return {
    testRunner: "vitest",
    plugins: ["@stryker-mutator/vitest-runner", path.join(here, "ignore.mjs")],
    ignorers: ["messages"],
    vitest: { configFile: "tests/mutants/vitest.config.ts", related: false },
    testFiles: tests.map((test) => `tests/js/${test}.test.{ts,tsx}`),
    coverageAnalysis: "perTest",
    ignoreStatic: true,
    concurrency: 2,
    // Generous, because a busy machine is no mutant that hangs. Of a test that hangs its own limit is the shorter.
    timeoutMS: 30_000,
    timeoutFactor: 2,
    dryRunTimeoutMinutes: 60,
    mutate: [...whole, ...new Set(places)],
    // A name that no file has: StrykerJS would rewrite ours by the interface that TypeScript 7 no longer has.
    tsconfigFile: "none.json",
    ignorePatterns: ["target", "dist", "docs", "bench", "benches", "examples/crm/build", "tests/browser"],
    tempDirName: path.join("target", "mutants", "js", name, "sandbox"),
    reporters: ["json", "progress-append-only"],
    jsonReporter: { fileName: path.relative(root, path.join(folder, name, "report.json")) },
    allowConsoleColors: false,
  };
}

/** How many mutants each file has, since `list`. */
const counts = new Map();

function wholeFiles(mutants) {
  return [...byFile(mutants)]
    .filter(([file, found]) => found.length === counts.get(file))
    .map(([file]) => file);
}

/** What became of those that were asked for; the report has their neighbours too. */
async function matched(mutants, files) {
  const status = new Map();
  for (const [file, { mutants: found }] of Object.entries(files)) {
    for (const mutant of found) {
      const { line, what } = await describe(file, mutant, 0);
      // What runs while a file is loaded is not switched on in time by the runner for Vitest: nothing is known of it.
      const isLeftOut = mutant.static === true && mutant.status === "Survived";
      status.set(`${file}:${line}:${what}`, isLeftOut ? "unviable" : STATUS[mutant.status]);
    }
  }
  return mutants.flatMap((mutant) => {
    const ended = status.get(`${mutant.file}:${mutant.line}:${mutant.what}`);
    return ended === undefined ? [] : [{ ...mutant, status: ended }];
  });
}

/** What was changed into what. `offset` is 1 where the first line and column are 0, as the instrumenter counts, and not the report. */
async function describe(file, { location, mutatorName, replacement }, offset) {
  const lines = (await source(file)).split("\n");
  const [start, end] = [location.start, location.end].map(({ line, column }) => ({
    line: line + offset,
    column: column + offset - 1,
  }));
  const text = lines.slice(start.line - 1, end.line);
  text[text.length - 1] = text.at(-1).slice(0, end.column);
  text[0] = text[0].slice(start.column);
  return {
    file,
    line: start.line,
    what: `${mutatorName}: \`${brief(text.join("\n"))}\` becomes \`${brief(replacement)}\` (column ${start.column + 1})`,
    place: `${start.line}:${start.column}-${end.line}:${end.column}`,
    from: start.line * WIDE + start.column,
    to: end.line * WIDE + end.column,
  };
}

const brief = (code) => {
  const line = code.replaceAll(/\s+/g, " ");
  return line.length > 90 ? `${line.slice(0, 60)} … ${line.slice(-25)}` : line;
};

const read = new Map();

function source(file) {
  if (!read.has(file)) read.set(file, readFile(path.join(root, file), "utf8"));
  return read.get(file);
}

async function install() {
  await setup();
  const [command, ...args] = npm();
  const quiet = ["--no-audit", "--no-fund", "--loglevel=error", "--prefer-offline"];
  const inputs = ["tests/mutants/package-lock.json"];
  const outputs = ["tests/mutants/node_modules/.package-lock.json"];
  await stamped("mutants", { inputs, outputs }, () =>
    run("installing StrykerJS", command, [...args, "ci", ...quiet], { cwd: here }),
  );
}
