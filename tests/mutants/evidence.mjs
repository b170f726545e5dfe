// What a run found, as data: docs/evidence/mutants.json, and the table on the screen.
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import path from "node:path";
import { ask, root, writeWhole } from "../../js/steps.mjs";

const METHOD =
  "One change at a time, by the default rules of cargo-mutants and StrykerJS, and the tests that concern the file. Caught: a " +
  "test fails, or hangs (timeout). Unviable: it does not compile, or StrykerJS cannot switch it on in time, because it runs " +
  "while the file is loaded; not counted. `of`: how many there are; `run`: how many of them were run, an even sample of which " +
  "`shards` says the part (of js/ without the mutants that hold others, which are caught most easily). What survives is " +
  "counted as such, with a reason too.";

const reasons = JSON.parse(readFileSync(path.join(root, "tests", "mutants", "equivalent.json"), "utf8"));

/** What was found before; nothing where there is no such file. */
export async function readEvidence(file) {
  const before = file && (await readFile(path.resolve(file), "utf8").catch(() => null));
  return before
    ? JSON.parse(before)
    : { date: "", versions: {}, method: METHOD, total: { rust: {}, js: {} }, files: {} };
}

/**
 * Puts the results in, and leaves alone what it says of other files. In a file that is as it was, survivors that were run
 * `again` take their places, and another part of the same number of parts is added; else the file begins anew.
 */
export function update(evidence, { language, all, results, versions, shard, again }) {
  evidence.date = new Date().toISOString().slice(0, 10);
  evidence.versions = { ...evidence.versions, ...versions, node: process.versions.node };
  evidence.method = METHOD;
  const counts = new Map([...byFile(all)].map(([file, found]) => [file, found.length]));
  for (const [file, found] of byFile(results)) {
    const before = fresh(evidence.files[file]) ? evidence.files[file] : undefined;
    const head = { language, file, commit: ask("git", "rev-parse", "--short", "HEAD"), hash: hashOf(file) };
    const row = { ...head, of: counts.get(file), shards: [shard], ...countsOf(found) };
    evidence.files[file] = again ? replaced(before, row, found) : added(before, row);
  }
  for (const [file, row] of Object.entries(evidence.files)) {
    row.survivors = row.survivors.map(({ line, what }) => explained({ file, line, what }));
  }
  evidence.total[language] = totalOf(evidence, language, counts);
}

export async function writeEvidence(file, evidence) {
  if (file) await writeWhole(path.resolve(file), `${JSON.stringify(evidence, null, 2)}\n`);
}

/** Of these mutants, those that survived in files that are as they were. */
export function survived(mutants, evidence) {
  return mutants.filter(({ file, line, what }) => {
    const before = evidence.files[file];
    return fresh(before) && before.survivors.some((one) => one.line === line && one.what === what);
  });
}

/** A row for each file: how many were run, and how they ended. */
export function tally(results) {
  return [...byFile(results)].map(([file, found]) => {
    const row = { file, run: found.length, caught: 0, missed: 0, timeout: 0, unviable: 0 };
    for (const { status } of found) if (status !== undefined) row[status] += 1;
    return row;
  });
}

/** How many of how many count as caught. */
export function percent(rows) {
  const sum = (name) => rows.reduce((total, row) => total + row[name], 0);
  return { caught: sum("caught") + sum("timeout"), of: sum("run") - sum("unviable") };
}

export function table(rows) {
  const line = (file, ...cells) => file.padEnd(32) + cells.map((cell) => String(cell).padStart(9)).join("");
  return [
    line("file", ...COUNTED),
    ...rows.map((row) => line(row.file, ...COUNTED.map((name) => row[name]))),
  ].join("\n");
}

// ---- parts

function countsOf(found) {
  const [{ run, caught, missed, timeout, unviable }] = tally(found);
  const survivors = found.filter(({ status }) => status === "missed").map(explained);
  return { run, caught, missed, timeout, unviable, survivors };
}

/** Survivors that were run again are what they are now, and the others stay. */
function replaced(before, row, found) {
  const again = new Set(found.map(keyOf));
  const kept = before.survivors.filter((one) => !again.has(keyOf({ ...one, file: row.file })));
  // Not those that were run: a line may hold another that is called the same, and was caught before.
  const gone = before.survivors.length - kept.length;
  return {
    ...before,
    commit: row.commit,
    caught: before.caught + Math.max(0, gone - row.missed - row.timeout - row.unviable),
    missed: kept.length + row.missed,
    timeout: before.timeout + row.timeout,
    unviable: before.unviable + row.unviable,
    survivors: inOrder([...kept, ...row.survivors]),
  };
}

function added(before, row) {
  const [shard] = row.shards;
  const parts = shard.split("/")[1];
  const fits = before?.shards.every((one) => one !== shard && one.split("/")[1] === parts);
  if (!fits) return row;
  const sums = COUNTED.map((name) => [name, before[name] + row[name]]);
  return {
    ...row,
    ...Object.fromEntries(sums),
    shards: [...before.shards, shard],
    survivors: inOrder([...before.survivors, ...row.survivors]),
  };
}

const COUNTED = ["run", "caught", "missed", "timeout", "unviable"];

const inOrder = (survivors) => survivors.toSorted((a, b) => a.line - b.line);

function explained({ file, line, what }) {
  const reason = reasons.find((one) => one.file === file && one.what === what)?.reason;
  return reason === undefined ? { line, what } : { line, what, reason };
}

/** Of the language as a whole: `of` and `files` count what was not run too. */
function totalOf(evidence, language, counts) {
  const rows = Object.values(evidence.files).filter((row) => row.language === language);
  const { caught, of } = percent(rows);
  const survivors = rows.flatMap((row) => row.survivors);
  return {
    files: counts.size,
    of: [...counts.values()].reduce((sum, count) => sum + count, 0),
    filesRun: rows.length,
    ...Object.fromEntries(COUNTED.map((name) => [name, rows.reduce((total, row) => total + row[name], 0)])),
    caughtPercent: of === 0 ? null : Math.round((caught / of) * 1_000) / 10,
    explained: survivors.filter(({ reason }) => reason !== undefined).length,
  };
}

/** By file, in their order. */
export function byFile(results) {
  const files = new Map();
  for (const one of results) {
    if (!files.has(one.file)) files.set(one.file, []);
    files.get(one.file).push(one);
  }
  return files;
}

const keyOf = ({ file, line, what }) => `${file}:${line}: ${what}`;

/** Whether the file is still the one of that row. */
function fresh(row) {
  return row?.file !== undefined && row.hash === hashOf(row.file);
}

function hashOf(file) {
  return createHash("sha256")
    .update(readFileSync(path.join(root, file)))
    .digest("hex")
    .slice(0, 12);
}
