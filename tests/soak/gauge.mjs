// What is measured, and what of it may grow.
import { getEventListeners } from "node:events";
import v8 from "node:v8";

/** How much may be gained over all samples that count. Memory: so little for a call that no leak hides in it. */
export const METRICS = {
  heapBytes: { tolerance: ({ calls, rows }) => Math.max(262_144, 0.1 * calls + 0.5 * rows) },
  // One page: who takes a little more at the same time than ever before gets one.
  wasmBytes: { tolerance: () => 65_536 },
  wasmObjects: { tolerance: () => 128 },
  timers: { tolerance: () => 0 },
  listeners: { tolerance: () => 0 },
  promises: { tolerance: () => 20 },
  signals: { tolerance: () => 5 },
};

export class Gauge {
  /** They live as long as the run, and calls wait with them. */
  signals = Array.from({ length: 8 }, () => new AbortController().signal);
  #instances = [];

  /** Notes who makes an instance of WebAssembly: its memory is no part of the heap. */
  constructor() {
    const instances = this.#instances;
    const { Instance } = WebAssembly;
    WebAssembly.Instance = function noted(...given) {
      const instance = new Instance(...given);
      instances.push(instance);
      return instance;
    };
  }

  async sample() {
    await quiet();
    return {
      heapBytes: process.memoryUsage().heapUsed,
      wasmBytes: this.#sum(({ exports }) => exports.memory?.buffer.byteLength ?? 0),
      wasmObjects: this.#sum(({ exports }) => tablesOf(exports)),
      timers: process.getActiveResourcesInfo().filter((resource) => resource === "Timeout").length,
      listeners: this.signals.reduce((sum, signal) => sum + getEventListeners(signal, "abort").length, 0),
      promises: v8.queryObjects(Promise),
      signals: v8.queryObjects(AbortSignal),
    };
  }

  #sum(of) {
    return this.#instances.reduce((sum, instance) => sum + of(instance), 0);
  }
}

/** The places for objects of JavaScript; functions have a table of a fixed length. */
function tablesOf(exports) {
  return Object.values(exports).reduce(
    (sum, it) => sum + (it instanceof WebAssembly.Table ? it.length : 0),
    0,
  );
}

/** What ended is collected, and those that are told of it (finalizers) have been. */
async function quiet() {
  for (let turn = 0; turn < 8; turn++) {
    globalThis.gc();
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/**
 * Each metric with what it gained after the warm-up, and whether that is flat. The warm-up is half of the run: the memory of
 * WebAssembly never shrinks, so it follows the most that ever waited at once, a record that is broken ever more seldom (after
 * 1, 2, 4, 8 … parts of the run). What leaks goes on as it began.
 */
export function judged(samples) {
  const counted = samples.slice(Math.floor(samples.length / 2));
  const [first, last] = [counted[0], counted.at(-1)];
  const work = { calls: last.calls - first.calls, rows: last.rows - first.rows };
  return Object.entries(METRICS).map(([name, { tolerance }]) => {
    const gain = Math.round(slope(counted.map((sample) => sample[name])) * (counted.length - 1));
    const allowed = Math.round(tolerance(work));
    return { name, gain, tolerance: allowed, first: first[name], last: last[name], flat: gain <= allowed };
  });
}

/** Theil-Sen: the median of the slopes between all pairs. A sample that stands out moves it little. */
function slope(values) {
  const slopes = [];
  for (let from = 0; from < values.length; from++) {
    for (let to = from + 1; to < values.length; to++) {
      slopes.push((values[to] - values[from]) / (to - from));
    }
  }
  slopes.sort((a, b) => a - b);
  return slopes[Math.floor(slopes.length / 2)] ?? 0;
}
