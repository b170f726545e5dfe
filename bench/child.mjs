// One library, one task, in a process of its own: node --expose-gc child.mjs <task> <library> <amount> [order]. Answers with JSON.
import { limiters, pools } from "./subjects.mjs";
import { KEYS, WORKLOADS } from "./workloads.mjs";

/** A round of one workload may take so long; how long that is, so many jobs tell. */
const LONGEST_MS = 2_000;
const FEW = 200;
/** And the filling of a queue so long, and so much. */
const QUEUEING_MS = 60_000;
const MOST_HEAP = 3_000_000_000;

const [task, library, amount, order] = process.argv.slice(2);

/** The memory of WebAssembly is not part of the heap: whoever makes an instance is noted. */
const memories = [];
const { Instance } = WebAssembly;
WebAssembly.Instance = function noted(...given) {
  const instance = new Instance(...given);
  if (instance.exports.memory) memories.push(instance.exports.memory);
  return instance;
};

const tasks = { throughput, memory, keys };
process.stdout.write(JSON.stringify(await tasks[task](library, Number(amount), order)));
process.exit();

/** Jobs a second, by workload. */
async function throughput(name, share) {
  const { pool, prioritized } = await pools[name].load();
  const results = {};
  for (const workload of WORKLOADS) {
    const make = workload.order === "random" ? prioritized : pool;
    if (!make) continue;
    // As many as fit into its time: what is much slower than the others would keep us for an hour.
    let few = Number.POSITIVE_INFINITY;
    for (let turn = 0; turn < 10; turn++) few = Math.min(few, await timed(make, workload, FEW));
    const jobs = Math.round(Math.min(workload.count * share, Math.max(FEW, (LONGEST_MS / few) * FEW)));
    await timed(make, workload, Math.ceil(jobs / 2));
    await collected();
    const ms = await timed(make, workload, jobs);
    results[workload.key] = { perSecond: (jobs / ms) * 1_000, jobs };
  }
  return results;
}

/** From the first submit to the last outcome; each batch is waited for before the next one. */
async function timed(make, { concurrency, job, batch, order }, count) {
  const submit = make(concurrency);
  const random = order === "random" ? priorities(count) : null;
  const started = performance.now();
  for (let from = 0; from < count; from += batch) {
    if (batch === 1) await submit(job);
    else await Promise.all(submitted(submit, job, random, from, Math.min(count, from + batch)));
  }
  return performance.now() - started;
}

function submitted(submit, job, random, from, to) {
  const outcomes = new Array(to - from);
  for (let i = from; i < to; i++) outcomes[i - from] = random ? submit(job, random[i]) : submit(job);
  return outcomes;
}

/** Bytes that a job takes while it is queued behind five that never end. */
async function memory(name, count, order) {
  const { pool, prioritized } = await pools[name].load();
  const make = order === "random" ? prioritized : pool;
  if (!make) return null;
  const submit = make(5);
  const never = new Promise(() => {});
  const job = () => never;
  for (let i = 0; i < 1_000; i++) submit(job, 0);
  const random = order === "random" ? priorities(count) : null;
  const outcomes = new Array(count).fill(null);
  await collected();
  const before = bytes();
  const started = performance.now();
  let jobs = 0;
  while (jobs < count && (jobs % 1_000 !== 0 || isWithin(started))) {
    outcomes[jobs] = random ? submit(job, random[jobs]) : submit(job);
    jobs++;
    // What a library puts off into microtasks belongs to its way of queueing.
    if (jobs % 10_000 === 0) await null;
  }
  const submitMs = performance.now() - started;
  await new Promise(setImmediate);
  await collected();
  const after = bytes();
  const grown = (what) => (after[what] - before[what]) / jobs;
  // The outcomes are held to the end, as whoever waits for them holds them.
  return {
    jobs: Math.min(jobs, outcomes.length),
    bytesPerJob: grown("heap") + grown("wasm"),
    heap: grown("heap"),
    wasm: grown("wasm"),
    resident: grown("resident"),
    submitMs,
  };
}

function isWithin(started) {
  return performance.now() - started < QUEUEING_MS && process.memoryUsage().heapUsed < MOST_HEAP;
}

/** Units counted a second over many keys, and what a key takes. */
async function keys(name, count) {
  const { wait, tryAcquire } = await limiters[name].load();
  const names = Array.from({ length: KEYS }, (_, i) => `agent-${i}`);
  await wait("the first one of all");
  await collected();
  const before = bytes();
  await allOf(names, wait);
  await collected();
  const after = bytes();
  const bytesPerKey = (after.heap + after.wasm - before.heap - before.wasm) / KEYS;
  const order = drawn(names, count);
  await allOf(order.slice(0, count / 2), wait);
  const started = performance.now();
  await allOf(order, wait);
  const waits = (count / (performance.now() - started)) * 1_000;
  return { bytesPerKey, waits, tries: tryAcquire ? triesOf(tryAcquire, order) : null };
}

/** A thousand at a time: one of the libraries takes a timer for each. */
async function allOf(names, wait) {
  for (let i = 0; i < names.length; i += 1_000) await Promise.all(names.slice(i, i + 1_000).map(wait));
}

function triesOf(tryAcquire, order) {
  for (const key of order.slice(0, order.length / 2)) tryAcquire(key);
  const started = performance.now();
  let refused = 0;
  for (const key of order) if (!tryAcquire(key)) refused++;
  if (refused > 0) throw new Error(`${refused} units were refused, and all were to be granted`);
  return (order.length / (performance.now() - started)) * 1_000;
}

function drawn(names, count) {
  const random = seeded();
  return Array.from({ length: count }, () => names[Math.floor(random() * names.length)]);
}

/** The same ones for every library. */
function priorities(count) {
  const random = seeded();
  return Uint8Array.from({ length: count }, () => Math.floor(random() * 10));
}

/** Mulberry32 (Ettinger). */
function seeded() {
  let state = 1;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

function bytes() {
  const { heapUsed, rss } = process.memoryUsage();
  const wasm = memories.reduce((sum, memory) => sum + memory.buffer.byteLength, 0);
  return { heap: heapUsed, wasm, resident: rss };
}

async function collected() {
  for (let turn = 0; turn < 3; turn++) {
    await new Promise(setImmediate);
    globalThis.gc();
  }
}
