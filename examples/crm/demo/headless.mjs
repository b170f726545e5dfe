import { readFile } from "node:fs/promises";
import { generateCSV } from "../csv/generate.mjs";
import { startImport } from "../import/importer.mjs";
import { CsvError, parseContacts } from "../import/parse.mjs";
import { usualImport } from "../import/usual.mjs";
import { checkContacts } from "./check.mjs";
import { createDataProvider } from "./provider.mjs";
import { createImportService } from "./service.mjs";
import { startStack } from "./stack.mjs";
import { seconds, table } from "./table.mjs";

/**
 * @typedef {import("./options.mjs").DemoOptions} DemoOptions
 * @typedef {import("../import/parse.mjs").ContactFile} ContactFile
 * @typedef {import("./check.mjs").Findings} Findings
 *
 * @typedef {object} Upload one file after it was uploaded
 * @property {string} name
 * @property {number} rows
 * @property {number} imported
 * @property {number} failed
 * @property {number} duplicates
 * @property {number} skipped
 * @property {number} unknown
 * @property {number} retries
 * @property {number} durationMs
 * @property {ReturnType<ReturnType<typeof import("../server/gateway.mjs").createGateway>["state"]>} gateway
 */

/** What the rows' keys belong to; fixed, so that a data directory knows its people again. */
const ORIGIN = "tidegate-crm";

/**
 * Uploads one or two files through the real data provider, prints what happened, and asks Postgres whether everybody
 * is there once.
 *
 * @param {DemoOptions} options
 * @param {(line: string) => void} log
 * @param {AbortSignal} interrupted
 * @returns {Promise<number>} the exit code: 0 when everybody is there exactly once
 */
export async function runHeadless(options, log, interrupted) {
  const files = await filesOf(options);
  const stack = await startStack(options);
  try {
    log(`Postgres and the gateway are up: ${stack.gateway.state().rule}.`);
    /** @type {Upload[]} */
    const uploads = [];
    for (const { name, file } of files) {
      if (interrupted.aborted) break;
      log(
        `\n${name}: ${file.rows.length} rows, ${options.withTidegate ? "with tidegate" : "the usual importer"}`,
      );
      uploads.push(await upload(name, file, options, stack, log, interrupted));
    }
    const findings = await checkContacts(
      stack.backend,
      files.flatMap(({ file }) => file.rows),
      ORIGIN,
    );
    const exact = isExact(findings);
    log(`\n${describe(uploads, findings)}`);
    if (options.json)
      process.stdout.write(`${JSON.stringify({ exact, uploads, postgres: findings }, null, 2)}\n`);
    return interrupted.aborted ? 130 : exact ? 0 : 1;
  } finally {
    await stack.close();
  }
}

/** @param {DemoOptions} options @returns {Promise<{ name: string; file: ContactFile }[]>} */
async function filesOf({ file: path, people, again }) {
  const first = path === undefined ? generateCSV(people) : await readFile(path);
  const files = [{ name: "first upload", file: parseFile(first, path) }];
  if (again === "same") files.push({ name: "same file again", file: parseFile(first, path) });
  if (again === "corrected") {
    files.push({ name: "corrected file", file: parseFile(generateCSV({ ...people, corrected: true })) });
  }
  return files;
}

/** @param {string | Uint8Array} content @param {string} [path] */
function parseFile(content, path) {
  try {
    return parseContacts(content);
  } catch (error) {
    throw error instanceof CsvError ? new Error(`${path}: ${error.message}`) : error;
  }
}

/**
 * @param {string} name
 * @param {ContactFile} file
 * @param {DemoOptions} options
 * @param {import("./stack.mjs").Stack} stack
 * @param {(line: string) => void} log
 * @param {AbortSignal} interrupted
 * @returns {Promise<Upload>}
 */
async function upload(name, file, options, stack, log, interrupted) {
  const dataProvider = createDataProvider({ url: stack.url, key: stack.backend.key });
  stack.gateway.resetCounters();
  const counts = options.withTidegate
    ? await withTidegate(file, options, dataProvider, log, interrupted)
    : await withoutTidegate(file, dataProvider, log);
  return { name, ...counts, gateway: stack.gateway.state() };
}

/**
 * @param {ContactFile} file
 * @param {DemoOptions} options
 * @param {import("ra-core").DataProvider} dataProvider
 * @param {(line: string) => void} log
 * @param {AbortSignal} signal
 */
async function withTidegate(file, { concurrency, verbose }, dataProvider, log, signal) {
  const service = createImportService({ verbose });
  const job = startImport({
    rows: file.rows,
    lines: file.lines,
    dataProvider,
    service,
    origin: ORIGIN,
    concurrency,
    signal,
    onProgress: everySecond((progress) => log(progressLine(progress))),
  });
  const report = await job.done;
  service.dispose();
  for (const { index, message } of [
    ...report.rows({ outcome: "failed" }),
    ...report.rows({ outcome: "unknown" }),
  ].slice(0, 5)) {
    log(`  line ${file.lines[index]}: ${message}`);
  }
  const { total, imported, failed, duplicate, skipped, unknown, retries, durationMs } = report;
  return { rows: total, imported, failed, duplicates: duplicate, skipped, unknown, retries, durationMs };
}

/**
 * @param {ContactFile} file
 * @param {import("ra-core").DataProvider} dataProvider
 * @param {(line: string) => void} log
 */
async function withoutTidegate(file, dataProvider, log) {
  const line = everySecond(
    (/** @type {{ total: number; imported: number; failed: number }} */ { total, imported, failed }) =>
      log(`  ${imported + failed} of ${total}: ${imported} imported, ${failed} failed`),
  );
  const report = await usualImport({ rows: file.rows, dataProvider, onProgress: line });
  for (const message of new Set(report.errors)) log(`  error: ${message}`);
  const { total, imported, failed, durationMs } = report;
  return { rows: total, imported, failed, duplicates: 0, skipped: 0, unknown: 0, retries: 0, durationMs };
}

/** @param {import("../import/importer.mjs").ImportProgress} progress */
function progressLine({ processed, total, imported, duplicate, failed, ratePerSecond, etaMs, waiting }) {
  const parts = [`${processed} of ${total}`, `${imported} imported`];
  if (duplicate > 0) parts.push(`${duplicate} duplicates`);
  if (failed > 0) parts.push(`${failed} failed`);
  parts.push(`${ratePerSecond.toFixed(1)}/s`);
  if (etaMs !== null && etaMs > 0) parts.push(`${Math.ceil(etaMs / 1000)} s left`);
  return `  ${parts.join(", ")}${waiting === null ? "" : `. ${waiting.message}`}`;
}

/** @template T @param {(value: T) => void} show @returns {(value: T) => void} */
function everySecond(show) {
  let shownAt = Date.now();
  return (value) => {
    if (Date.now() - shownAt < 1000) return;
    shownAt = Date.now();
    show(value);
  };
}

/** @param {Findings} findings */
function isExact({ missing, doubled, doubledCompanies, doubledTags }) {
  return missing.length + doubled.length + doubledCompanies + doubledTags === 0;
}

/** @param {Upload[]} uploads @param {Findings} findings */
function describe(uploads, findings) {
  /** @type {[string, (upload: Upload) => string | number][]} */
  const lines = [
    ["rows", ({ rows }) => rows],
    ["imported", ({ imported }) => imported],
    ["failed", ({ failed }) => failed],
    ["duplicates", ({ duplicates }) => duplicates],
    ["skipped", ({ skipped }) => skipped],
    ["unknown", ({ unknown }) => unknown],
    ["requests", ({ gateway }) => gateway.counts.requests],
    ...refusalLines(uploads),
    ...faultLines(uploads),
    ["retries", ({ retries }) => retries],
    ["most requests in one second", ({ gateway }) => gateway.counts.worstSecond],
    ["seconds", ({ durationMs }) => seconds(durationMs)],
    ["seconds that the limit alone costs", ({ gateway }) => seconds(gateway.leastMs)],
  ];
  return [
    table(
      uploads.map(({ name }) => name),
      lines.map(([label, cell]) => [label, ...uploads.map(cell)]),
    ),
    "",
    ...limitsInForce(uploads),
    ...verdict(findings),
  ].join("\n");
}

/** @param {Upload[]} uploads @returns {[string, (upload: Upload) => number][]} */
function refusalLines(uploads) {
  const statuses = new Set(uploads.flatMap(({ gateway }) => Object.keys(gateway.counts.refused)));
  if (statuses.size === 0) statuses.add("429");
  return [...statuses].map((status) => [
    `${status}s met`,
    ({ gateway }) => gateway.counts.refused[status] ?? 0,
  ]);
}

/** @param {Upload[]} uploads @returns {[string, (upload: Upload) => number][]} */
function faultLines(uploads) {
  const kinds = new Set(uploads.flatMap(({ gateway }) => Object.keys(gateway.counts.faults)));
  return [...kinds].map((kind) => [
    `faults: ${FAULT_WORDS[kind] ?? kind}`,
    ({ gateway }) => gateway.counts.faults[kind] ?? 0,
  ]);
}

/** @type {Record<string, string>} */
const FAULT_WORDS = {
  unavailable: "503",
  dropBefore: "dropped before Postgres",
  dropAfter: "dropped after Postgres had written",
  slow: "slow answers",
};

/** @param {Upload[]} uploads */
function limitsInForce([first]) {
  if (first === undefined) return [];
  const { mode, rule, limits, exposeHeaders } = first.gateway;
  const lines = [
    `limit in force: ${mode}: ${rule}; Retry-After ${exposeHeaders ? "shown to" : "hidden from"} pages`,
  ];
  if (mode === "cloudflare")
    lines.push(`its Retry-After says ${limits.retryAfterSeconds ?? 30} s; the real one says 30 s`);
  if (mode === "supabase-420")
    lines.push("Supabase documents 100 requests in any 300 s: --limit 100 --window 300");
  return lines;
}

/** @param {Findings} findings */
function verdict({ contacts, expected, present, missing, doubled, doubledCompanies, doubledTags }) {
  const lines = [
    `Postgres: ${contacts} contacts; of ${expected} different people ${present} are there, ${missing.length} missing, ${doubled.length} doubled`,
  ];
  for (const key of missing.slice(0, 3)) lines.push(`  missing: ${key}`);
  for (const { key, times } of doubled.slice(0, 3)) lines.push(`  ${times} times: ${key}`);
  lines.push(`doubled companies: ${doubledCompanies}; doubled tags: ${doubledTags}`);
  return lines;
}
