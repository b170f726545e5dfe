import { readFile } from "node:fs/promises";
import { CsvError } from "tidegate/csv";
import { generateCSV } from "../csv/generate.mjs";
import { itemsOf, readContacts } from "../import/file.mjs";
import { contactImport } from "../import/job.mjs";
import { contactSender, ORIGIN } from "../import/sender.mjs";
import { usualImport } from "../import/usual.mjs";
import { checkContacts } from "./check.mjs";
import { connect } from "./provider.mjs";
import { startStack } from "./stack.mjs";
import { seconds, table } from "./table.mjs";

/**
 * @typedef {import("./options.mjs").DemoOptions} DemoOptions
 * @typedef {import("../import/file.mjs").ContactItem} ContactItem
 * @typedef {import("./check.mjs").Findings} Findings
 *
 * @typedef {object} Source
 * @property {string} name
 * @property {string | Uint8Array<ArrayBuffer>} content
 * @property {ContactItem[]} items
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
    for (const source of files) {
      if (interrupted.aborted) break;
      const how = options.withTidegate ? `with tidegate, ${options.way}` : "the usual importer";
      log(`\n${source.name}: ${source.items.length} rows, ${how}`);
      uploads.push(await upload(source, options, stack, log, interrupted));
    }
    const findings = await checkContacts(
      stack.backend,
      files.flatMap(({ items }) => items.map(({ row }) => row)),
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

/** @param {DemoOptions} options @returns {Promise<Source[]>} */
async function filesOf({ file: path, people, again }) {
  const first = path === undefined ? generateCSV(people) : new Uint8Array(await readFile(path));
  const files = [await sourceOf("first upload", first, path)];
  if (again === "same") files.push(await sourceOf("same file again", first, path));
  if (again === "corrected")
    files.push(await sourceOf("corrected file", generateCSV({ ...people, corrected: true })));
  return files;
}

/** @param {string} name @param {Source["content"]} content @param {string} [path] @returns {Promise<Source>} */
async function sourceOf(name, content, path) {
  try {
    return { name, content, items: await itemsOf(readContacts(content)) };
  } catch (error) {
    throw error instanceof CsvError ? new Error(`${path}: ${error.message}`) : error;
  }
}

/**
 * @param {Source} source
 * @param {DemoOptions} options
 * @param {import("./stack.mjs").Stack} stack
 * @param {(line: string) => void} log
 * @param {AbortSignal} interrupted
 * @returns {Promise<Upload>}
 */
async function upload(source, options, stack, log, interrupted) {
  const connection = connect({ url: stack.url, key: stack.backend.key });
  stack.gateway.resetCounters();
  const counts = options.withTidegate
    ? await withTidegate(source, options, connection, log, interrupted)
    : await withoutTidegate(source, connection, log);
  return { name: source.name, ...counts, gateway: stack.gateway.state() };
}

/**
 * @param {Source} source
 * @param {DemoOptions} options
 * @param {import("../import/sender.mjs").Connection} connection
 * @param {(line: string) => void} log
 * @param {AbortSignal} signal
 */
async function withTidegate(
  { name, content, items },
  { way, concurrency, verbose },
  connection,
  log,
  signal,
) {
  const job = contactImport(readContacts(content), {
    name,
    send: contactSender(way, connection),
    concurrency,
    checkpoint: false,
    signal,
    // The standard output belongs to the demonstration; refusals are what it is about, and its table counts them.
    logger: verbose ? toStderr : silent,
  });
  job.on(
    "progress",
    everySecond((progress) => log(progressLine(progress))),
  );
  const report = await job.start();
  if (report.stopped !== null) log(`  ${report.stopped.message}`);
  const odd = report.rows({ outcome: ["failed", "unknown", "skipped"] });
  for (const { index, message } of odd.slice(0, 5)) log(`  line ${items[index]?.line}: ${message}`);
  const { total, imported, failed, duplicate, skipped, unknown, retries, durationMs } = report;
  return { rows: total, imported, failed, duplicates: duplicate, skipped, unknown, retries, durationMs };
}

const toStderr = { error: console.error, warn: console.error, info: console.error, debug: console.error };
const nothing = () => {};
const silent = { error: nothing, warn: nothing, info: nothing, debug: nothing };

/**
 * @param {Source} source
 * @param {import("../import/sender.mjs").Connection} connection
 * @param {(line: string) => void} log
 */
async function withoutTidegate({ items }, { dataProvider }, log) {
  const line = everySecond(
    (/** @type {{ total: number; imported: number; failed: number }} */ { total, imported, failed }) =>
      log(`  ${imported + failed} of ${total}: ${imported} imported, ${failed} failed`),
  );
  const report = await usualImport({ rows: items.map(({ row }) => row), dataProvider, onProgress: line });
  for (const message of new Set(report.errors)) log(`  error: ${message}`);
  const { total, imported, failed, durationMs } = report;
  return { rows: total, imported, failed, duplicates: 0, skipped: 0, unknown: 0, retries: 0, durationMs };
}

/** @param {import("tidegate/import").ImportProgress} progress */
function progressLine({ total, pending, imported, duplicate, failed, ratePerSecond, etaMs, waiting }) {
  const parts = [`${total - pending} of ${total}`, `${imported} imported`];
  if (duplicate > 0) parts.push(`${duplicate} duplicates`);
  if (failed > 0) parts.push(`${failed} failed`);
  parts.push(`${ratePerSecond.toFixed(1)}/s`);
  if (etaMs !== null && pending > 0)
    parts.push(`${etaMs.map((ms) => Math.ceil(ms / 1000)).join(" to ")} s left`);
  return `  ${parts.join(", ")}${waiting === null || waiting.reason === "pace" ? "" : `. ${waiting.message}`}`;
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
