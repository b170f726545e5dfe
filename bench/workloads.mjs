// What is measured: jobs that do nothing, so that all of the time is the library's.

const resolved = async () => 1;
const immediate = () => new Promise((resolve) => setImmediate(resolve, 1));

/** `count`: how many are submitted at once, unless they take too long; `alone`: each waits for the one before it. */
export const WORKLOADS = [
  ...[5, 100].flatMap((concurrency) =>
    ["flat", "random"].flatMap((order) => [
      { concurrency, order, kind: "resolved", job: resolved, count: 100_000 },
      { concurrency, order, kind: "setImmediate", job: immediate, count: 50_000 },
    ]),
  ),
  { concurrency: 5, order: "alone", kind: "resolved", job: resolved, count: 100_000 },
].map((workload) => ({ ...workload, key: titleOf(workload) }));

/** Enough for a million jobs of any of them but Bottleneck's. */
export const QUEUED = 1_000_000;

export const KEYS = 10_000;
export const KEY_UNITS = 400_000;

function titleOf({ concurrency, order, kind }) {
  const how = { flat: "", random: ", random priorities", alone: ", one after the other" }[order];
  return `${concurrency} at a time, ${kind} jobs${how}`;
}
