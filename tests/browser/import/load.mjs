// 100,000 rows in Chromium, to a stand-in that answers at once: how long the main thread is busy at a stretch, and what a
// row costs in time and in memory.
import { openStage } from "./stage.mjs";

/** @returns {Promise<{ missed: string[] }>} and the figures of each scene */
export async function measure({ chromiumPath, rows = 100_000, only = "" }) {
  const stage = await openStage(chromiumPath);
  const scenes = [];
  const missed = [];
  try {
    for (const scene of SCENES) {
      if (!scene.name.includes(only)) continue;
      const found = await measured(stage, scene, rows);
      scenes.push(found);
      console.log(JSON.stringify(found));
      if (found.imported !== rows) missed.push(`${scene.name}: ${found.imported} rows were imported`);
      if (found.longestTaskMs >= LONGEST_MS) {
        missed.push(`${scene.name}: a task of ${found.longestTaskMs} ms on the main thread`);
      }
    }
    return { rows, chromium: stage.browser.version(), scenes, missed };
  } finally {
    await stage.close();
  }
}

/** A longer one is felt. */
const LONGEST_MS = 50;

const SCENES = [
  { name: "an array, in batches", source: "array", options: { batchSize: "auto" } },
  { name: "an array, one by one", source: "array", options: { batchSize: 1 } },
  {
    name: "an async iterable, in batches",
    source: "iterable",
    options: { batchSize: "auto", id: "iterable" },
  },
  { name: "an array, in batches, without a journal", source: "array", options: { checkpoint: false } },
];

async function measured(stage, { name, source, options }, rows) {
  const context = await stage.browser.newContext();
  try {
    const page = await context.newPage();
    await page.addInitScript(noteMemories);
    await page.goto(`${stage.site}/bare`);
    const cdp = await context.newCDPSession(page);
    await cdp.send("Performance.enable");
    await page.evaluate(prepare);
    // What is loaded and compiled at the first import is not a cost of rows.
    await page.evaluate(importRows, { rows: 1_000, source, options: { ...options, id: "warm" } });
    await page.evaluate(makeRows, rows);
    const bareMs = await busy(cdp, () =>
      page.evaluate(sendBare, { rows, batch: options.batchSize === 1 ? 1 : 100 }),
    );

    const before = await memory(cdp, page);
    await stage.browser.startTracing(page, { categories: ["disabled-by-default-devtools.timeline"] });
    let report;
    const taskMs = await busy(cdp, async () => {
      report = await page.evaluate(importRows, { rows, source, options });
    });
    const tasks = tasksIn(await stage.browser.stopTracing());
    const after = await memory(cdp, page);
    return {
      name,
      ...report,
      tasks: tasks.length,
      longestTaskMs: round(longest(tasks), 1),
      busyMsPerThousandRows: round((taskMs / rows) * 1_000, 2),
      overheadMicrosPerRow: round(((taskMs - bareMs) / rows) * 1_000, 2),
      heapBytesPerRow: round((after.heap - before.heap) / rows, 1),
      wasmBytesPerRow: round((after.wasm - before.wasm) / rows, 2),
      wasmBytes: after.wasm,
    };
  } finally {
    await context.close();
  }
}

/** For how many milliseconds the main thread was busy meanwhile. */
async function busy(cdp, work) {
  const read = async () => {
    const { metrics } = await cdp.send("Performance.getMetrics");
    return 1_000 * metrics.find(({ name }) => name === "TaskDuration").value;
  };
  const before = await read();
  await work();
  return (await read()) - before;
}

async function memory(cdp, page) {
  for (let turn = 0; turn < 2; turn++) await cdp.send("HeapProfiler.collectGarbage");
  const { usedSize } = await cdp.send("Runtime.getHeapUsage");
  const wasm = await page.evaluate(() =>
    globalThis.memories.reduce((sum, one) => sum + one.buffer.byteLength, 0),
  );
  return { heap: usedSize, wasm };
}

/** Of the page's main thread: the one that was busiest. */
function tasksIn(trace) {
  const threads = new Map();
  for (const task of tasksOf(trace)) {
    const name = `${task.pid} ${task.tid}`;
    if (!threads.has(name)) threads.set(name, []);
    threads.get(name).push(task);
  }
  const total = (tasks) => tasks.reduce((sum, { dur }) => sum + dur, 0);
  return [...threads.values()].reduce((most, tasks) => (total(tasks) > total(most) ? tasks : most), []);
}

/** Line by line, an event on each: a trace may be larger than a string can be. */
function* tasksOf(trace) {
  for (let start = 0, stop = 0; start < trace.length; start = stop + 1) {
    stop = trace.indexOf("\n", start);
    if (stop < 0) stop = trace.length;
    const line = trace.toString("utf8", start, stop);
    if (!line.includes('"name":"RunTask"')) continue;
    const { pid, tid, dur = 0 } = JSON.parse(line.replace(/[,\]}\s]*$/, "}"));
    yield { pid, tid, dur };
  }
}

/** In milliseconds; traces count microseconds. */
function longest(tasks) {
  return tasks.reduce((most, { dur }) => Math.max(most, dur), 0) / 1_000;
}

const round = (value, digits) => Number(value.toFixed(digits));

// ---- in the page

/** The memory of WebAssembly is not part of the heap: whoever makes an instance is noted. */
function noteMemories() {
  globalThis.memories = [];
  const note = (instance) => {
    if (instance.exports.memory) globalThis.memories.push(instance.exports.memory);
    return instance;
  };
  const { Instance, instantiate, instantiateStreaming } = WebAssembly;
  WebAssembly.Instance = function Noted(...given) {
    return note(new Instance(...given));
  };
  const later = (made) => {
    note(made.instance ?? made);
    return made;
  };
  WebAssembly.instantiate = (...given) => instantiate(...given).then(later);
  WebAssembly.instantiateStreaming = (...given) => instantiateStreaming(...given).then(later);
}

async function prepare() {
  globalThis.engine = await import("tidegate/import");
  // The next turn of the event loop: no timer, which browsers hold back, and one channel, because collecting them takes long.
  const { port1, port2 } = new MessageChannel();
  const waiting = [];
  port1.onmessage = () => waiting.shift()();
  globalThis.turn = () =>
    new Promise((resolve) => {
      waiting.push(resolve);
      port2.postMessage(null);
    });
}

function makeRows(count) {
  globalThis.rows = Array.from({ length: count }, (_, i) => ({
    first_name: "Ada",
    last_name: `Lovelace ${i}`,
    email: `ada.${i}@example.com`,
  }));
}

/** As many answers of the stand-in as the import gets at least, without an import. */
async function sendBare({ rows, batch }) {
  for (let sent = 0; sent < rows; sent += batch) await globalThis.turn();
}

async function importRows({ rows: count, source, options }) {
  const { createImport } = globalThis.engine;
  const make = (i) => ({ first_name: "Ada", last_name: `Lovelace ${i}`, email: `ada.${i}@example.com` });
  async function* iterate() {
    for (let i = 0; i < count; i++) yield make(i);
  }
  const given = globalThis.rows ?? Array.from({ length: count }, (_, i) => make(i));
  const send = Object.assign(() => globalThis.turn(), {
    ...{ idempotent: true, maxBatch: 100, table: "people", origin: "https://stand-in.example" },
  });
  const job = createImport({
    rows: source === "array" ? given : iterate(),
    ...{ send, key: (row) => row.email, ...options },
  });
  let events = 0;
  job.on("progress", () => {
    events += 1;
  });
  const report = await job.start();
  // Held to the end, as an application that shows it does.
  globalThis.report = report;
  const { imported, requests, throttled, durationMs, stopped, storage } = report;
  return { imported, requests, throttled, durationMs: Math.round(durationMs), stopped, storage, events };
}
