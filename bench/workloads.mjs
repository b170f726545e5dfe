// What is measured: jobs that do nothing, so that all of the time is the library's.

const resolved = async () => 1;
const immediate = () => new Promise((resolve) => setImmediate(resolve, 1));

const KINDS = [
  { kind: "resolved", job: resolved },
  { kind: "setImmediate", job: immediate },
];

/** How many a run has in all, unless they take too long. */
const JOBS = 100_000;

/** `batch`: how many are submitted at once; `order`: with equal priorities, or with random ones. */
export const WORKLOADS = [
  ...[JOBS, 1_000].flatMap((batch) =>
    [5, 100].flatMap((concurrency) => KINDS.map((kind) => ({ ...kind, concurrency, batch, order: "flat" }))),
  ),
  ...[5, 100].flatMap((concurrency) =>
    KINDS.map((kind) => ({ ...kind, concurrency, batch: JOBS, order: "random" })),
  ),
  { ...KINDS[0], concurrency: 5, batch: 1, order: "flat" },
].map((workload) => ({ ...workload, count: JOBS, key: titleOf(workload) }));

export const QUEUED = 1_000_000;

export const KEYS = 10_000;
export const KEY_UNITS = 400_000;

function titleOf({ concurrency, order, kind, batch }) {
  const submitted = { [JOBS]: "all at once", 1000: "by the thousand", 1: "one by one" }[batch];
  return `${concurrency} workers, ${kind} jobs, ${submitted}${order === "random" ? ", random priorities" : ""}`;
}
