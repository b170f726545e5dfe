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
  ...workloads([5, 100, 1_000], JOBS, "flat"),
  ...workloads([5, 100], 1_000, "flat"),
  ...workloads([5, 100, 1_000], JOBS, "random"),
  { ...KINDS[0], concurrency: 5, batch: 1, order: "flat" },
].map((workload) => ({ ...workload, count: JOBS, key: titleOf(workload) }));

export const QUEUED = 1_000_000;

export const KEYS = 100_000;
export const KEY_UNITS = 400_000;

/** How many wait, or how many keys there are, while one more comes, goes or is counted. */
export const SIZES = [1_000, 10_000, 100_000, 1_000_000];

function workloads(concurrencies, batch, order) {
  return concurrencies.flatMap((concurrency) =>
    KINDS.map((kind) => ({ ...kind, concurrency, batch, order })),
  );
}

function titleOf({ concurrency, order, kind, batch }) {
  const submitted = { [JOBS]: "all at once", 1000: "by the thousand", 1: "one by one" }[batch];
  return `${concurrency.toLocaleString("en")} workers, ${kind} jobs, ${submitted}${order === "random" ? ", random priorities" : ""}`;
}
