// Runs one subject: the same code in Node and in a page, which both load it as esbuild bundled it.
import { subjects } from "./subjects.mjs";

const answer = Promise.resolve(1);

/** What is called under guard, and what of a subject calls it. */
export const WORKLOADS = {
  async: { calls: "calls", operation: async () => 1 },
  plain: { calls: "calls", operation: () => answer },
  context: { calls: "callsWithContext", operation: async () => 1 },
  fetch: { calls: "requests", operation: undefined },
};

/** A sample is so long: far above the 0.1 ms to which a page's clock may be rounded. */
const SAMPLE_MS = 25;

/** Nanoseconds of a call: the median of the samples. Null where the subject does not do that work. */
export async function measure(name, workload, { samples, warmUpMs }) {
  const call = await callOf(name, workload);
  if (!call) return null;
  const perMs = await warmedUp(call, warmUpMs);
  const count = Math.max(100, Math.round(perMs * SAMPLE_MS));
  const times = [];
  for (let i = 0; i < samples; i++) times.push((await timed(call, count)) / count);
  return times.sort((a, b) => a - b)[samples >> 1] * 1e6;
}

/**
 * Nanoseconds of a call in each of the parts of a long run, and what the run leaves behind in bytes. `collected()` resolves
 * with the bytes in use after a collection.
 */
export async function endure(name, workload, { parts, callsOfPart, collected }) {
  const call = await callOf(name, workload);
  await timed(call, callsOfPart / 10);
  const before = await collected();
  const nanoseconds = [];
  for (let part = 0; part < parts; part++)
    nanoseconds.push(((await timed(call, callsOfPart)) / callsOfPart) * 1e6);
  const after = await collected();
  return { nanoseconds, before, after };
}

/** One call after the other. */
async function timed(call, count) {
  const started = performance.now();
  for (let i = 0; i < count; i++) await call();
  return performance.now() - started;
}

/** Until the engine has compiled what is hot; answers how many calls fit into a millisecond, by the second half. */
async function warmedUp(call, ms) {
  await during(call, ms / 2);
  return during(call, ms / 2);
}

async function during(call, ms) {
  const started = performance.now();
  let count = 0;
  while (performance.now() < started + ms) {
    await timed(call, 100);
    count += 100;
  }
  return count / (performance.now() - started);
}

async function callOf(name, workload) {
  const { calls, operation } = WORKLOADS[workload];
  return (await subjects[name].load())[calls]?.(operation);
}
