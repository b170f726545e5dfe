// One library, one task, in a process of its own: node --expose-gc child.mjs <task> <library> <amount> [order]. Answers with JSON.
import { limiters, pools } from "./subjects.mjs";
import { KEYS, WORKLOADS } from "./workloads.mjs";

/** A round of one workload may take so long; how long that is, so many jobs tell. */
const LONGEST_MS = 2_000;
const FEW = 200;
/** And the filling of a queue so long, and so much. */
const QUEUEING_MS = 60_000;
const MOST_HEAP = 3_000_000_000;

/** So long for as many as are to wait to be submitted. */
const WAITING_MS = 20_000;
const WARM_UP_MS = 300;
const WORKERS = 5;
/** How often each operation is done while so many wait, and how often that is repeated. */
const OPERATIONS = 500;
const TURNS = 100;
const TURNS_MS = 5_000;

const [task, library, amount, order] = process.argv.slice(2);

/** The memory of WebAssembly is not part of the heap: whoever makes an instance is noted. */
const memories = [];
const { Instance } = WebAssembly;
WebAssembly.Instance = function noted(...given) {
  const instance = new Instance(...given);
  if (instance.exports.memory) memories.push(instance.exports.memory);
  return instance;
};

const tasks = { throughput, memory, keys, waiting, counting };
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
    const started = performance.now();
    for (let turn = 0; turn < 10 && performance.now() - started < LONGEST_MS / 2; turn++)
      few = Math.min(few, await timed(make, workload, FEW));
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

/**
 * Nanoseconds of what happens while so many wait: one more is submitted, one that waits is called off, the next ones run.
 * Null where the library cannot have so many wait within the time.
 */
async function waiting(name, count, order) {
  const { pool, prioritized, abortable } = await pools[name].load();
  const make = order === "random" ? prioritized : (abortable ?? pool);
  if (!make) return null;
  const random = order === "random" ? priorities(count + OPERATIONS) : null;
  const canAbort = order === "flat" && abortable !== undefined;
  const warm = performance.now();
  while (performance.now() - warm < WARM_UP_MS) await operated(make(WORKERS), 1_000, random, canAbort);
  const times = [];
  const started = performance.now();
  do {
    const time = await operated(make(WORKERS), count, random, canAbort);
    if (time === null) return null;
    times.push(time);
  } while (times.at(-1).isOver && times.length < TURNS && performance.now() - started < TURNS_MS);
  const middle = (what) => times.map((time) => time[what]).sort((a, b) => a - b)[times.length >> 1];
  return { submit: middle("submit"), abort: canAbort ? middle("abort") : null, start: middle("start") };
}

/** Fills a pool behind workers that are held, and then does each of the operations some hundred times. */
async function operated(submit, count, random, canAbort) {
  let open;
  const gate = new Promise((resolve) => {
    open = resolve;
  });
  for (let i = 0; i < WORKERS; i++) submit(() => gate, random ? 9 : undefined);
  let left = OPERATIONS;
  let enoughRan;
  const ran = new Promise((resolve) => {
    enoughRan = resolve;
  });
  const job = async () => {
    if (--left === 0) enoughRan();
  };
  const controllers = canAbort ? Array.from({ length: OPERATIONS }, () => new AbortController()) : [];
  const every = Math.floor(count / OPERATIONS);
  const outcomes = new Array(count).fill(null);
  const filled = performance.now();
  for (let i = 0; i < count; i++) {
    const signal = canAbort && i % every === 0 ? controllers[i / every]?.signal : undefined;
    outcomes[i] = submit(job, random ? random[i] : signal);
    if (signal) outcomes[i].catch(() => {});
    if (i % 1_000 === 999 && performance.now() - filled > WAITING_MS) return null;
  }
  // What a library puts off into microtasks belongs to its way of queueing.
  await null;
  await collected();
  const added = new Array(OPERATIONS);
  const times = {
    submit: await perOperation(() => {
      for (let i = 0; i < OPERATIONS; i++) added[i] = submit(job, random ? random[count + i] : undefined);
    }),
    abort: await perOperation(() => {
      for (const controller of controllers) controller.abort();
    }),
    start: await perOperation(() => {
      open();
      return ran;
    }),
  };
  // The next turn is not to run beside the rest of this one. Where the rest would take long, there is none: it may run in
  // microtasks, which let no timer through.
  const rest = (times.start * count) / 1e6;
  const isOver = rest < LONGEST_MS && (await within(LONGEST_MS, Promise.allSettled([...outcomes, ...added])));
  return { ...times, isOver };
}

/** Whether it comes to an end in that time. */
function within(ms, end) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms, false);
    end.then(() => {
      clearTimeout(timer);
      resolve(true);
    });
  });
}

/** In nanoseconds. */
async function perOperation(operate) {
  const started = performance.now();
  await operate();
  return ((performance.now() - started) / OPERATIONS) * 1e6;
}

/** Nanoseconds of a unit over so many keys. */
async function counting(name, count) {
  const { wait, tryAcquire } = await limiters[name].load();
  const names = Array.from({ length: count }, (_, i) => `agent-${i}`);
  await allOf(names, wait);
  const order = drawn(names, Math.max(100_000, count / 4));
  await allOf(order, wait);
  await collected();
  const started = performance.now();
  await allOf(order, wait);
  const waitNs = ((performance.now() - started) / order.length) * 1e6;
  return { wait: waitNs, try: tryAcquire ? 1e9 / triesOf(tryAcquire, order) : null };
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
