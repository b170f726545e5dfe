// One library, one task, in a process of its own: node --expose-gc child.mjs <task> <library> <amount> [order]. Answers with JSON.
import { limiters, pools } from "./subjects.mjs";
import { KEYS, WORKLOADS } from "./workloads.mjs";

/** A round of one workload may take so long. */
const LONGEST_MS = 3_000;
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

/** Jobs a second, by kind of job, concurrency, and with or without priorities. */
async function throughput(name, share) {
  const { pool, prioritized } = await pools[name].load();
  const results = {};
  for (const { key, concurrency, job, count, order } of WORKLOADS) {
    const make = order === "random" ? prioritized : pool;
    if (!make) continue;
    // As many as fit into its time: what is much slower than the others would keep us for an hour.
    const few = await timed(make, concurrency, job, 200, order);
    const jobs = Math.round(Math.min(count * share, Math.max(200, (LONGEST_MS / few) * 200)));
    await timed(make, concurrency, job, Math.ceil(jobs / 2), order);
    await collected();
    results[key] = { perSecond: (jobs / (await timed(make, concurrency, job, jobs, order))) * 1_000, jobs };
  }
  return results;
}

/** All are submitted at once; what is measured ends with the last of them. */
async function timed(make, concurrency, job, count, order) {
  const submit = make(concurrency);
  const random = order === "random" ? priorities(count) : null;
  const outcomes = new Array(count);
  const started = performance.now();
  if (order === "alone") {
    for (let i = 0; i < count; i++) await submit(job);
  } else {
    for (let i = 0; i < count; i++) outcomes[i] = random ? submit(job, random[i]) : submit(job);
    await Promise.all(outcomes);
  }
  return performance.now() - started;
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
  const { heapUsed, external, rss } = process.memoryUsage();
  const wasm = memories.reduce((sum, memory) => sum + memory.buffer.byteLength, 0);
  return { heap: heapUsed + external, wasm, resident: rss };
}

async function collected() {
  for (let turn = 0; turn < 3; turn++) {
    await new Promise(setImmediate);
    globalThis.gc();
  }
}
