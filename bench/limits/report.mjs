// The report on pools and limiters, made from what limits.mjs found.
import { cell, headLines, mapValues, short, spread, table, target, targetLines } from "../report.mjs";
import { KEYS, QUEUED, WORKLOADS } from "../workloads.mjs";

export const METHOD = `
Every library runs in a process of its own, one after the other, in each of the rounds, and the order rotates from round to
round. In a round each workload is warmed up and then measured once; the tables give the median of the rounds and the range
from the lowest to the highest. Jobs do nothing ("resolved": an async function that returns; "setImmediate": one turn of the
event loop); the time is that from the first submit to the last outcome. They are submitted all at once (100,000 then wait
in the queue), by the thousand, or one by one, where each batch is waited for before the next one. Libraries that need more
than two seconds for a workload get fewer jobs: the number stands beside the result. Memory is the growth of the heap and of
WebAssembly's memory, collected before and after, for jobs that are queued behind five that never end, and for keys that
have been used once. Priorities are the ten that Bottleneck has, drawn with the same seed for all. Of those compared,
tidegate, p-queue and p-limit call a job in the asynchronous context of its submitter, and tidegate, p-queue and Bottleneck
have priorities. How an operation grows is measured behind five jobs
that are held: so many are queued, then 500 more are submitted, 500 called off that stand anywhere among them, and the next 500 run; the
middle of up to a hundred turns, as many as fit into five seconds. The same for so many keys, of which any are counted. A dash is more than 20 s for
queueing them, or work that the library does not do. The exponent is the slope of the straight line through the logarithms of both, by least squares: 1 is time in
proportion to the number, 0.5 to its square root; log n alone is 0.10 over this range, and what no longer fits into the processor's caches adds to it.`.trim();

/** Above what caches and collections add to a logarithm, far below a square root. */
const EXPONENT = 0.3;

/** What is timed while the numbers grow: the keys of the answers, and their titles. */
const OPERATIONS = {
  flat: { submit: "submit", start: "start the next", abort: "call one off" },
  random: { submit: "submit, random priorities", start: "start the next, random priorities" },
  keys: { wait: "`await wait(key)`", try: "`tryAcquire(key)`" },
};

export function render(data) {
  const { rounds, targets, method } = data;
  return [
    "# Limits: how fast, and how much memory",
    [...headLines(data), `${rounds} rounds.`].join("\n"),
    targetLines(targets, (number) => number.toFixed(2)).join("\n"),
    ...section(
      "Jobs a second, through a pool",
      WORKLOADS.map((workload) => speed(data, workload)),
    ),
    ...section("Bytes of a queued job, at a million", [memoryOf(data, "flat"), memoryOf(data, "random")]),
    ...section(`Units counted a second, over ${KEYS.toLocaleString("en")} keys`, [waits(data)]),
    triesLine(data),
    ...section("Bytes of a key", [memoryOfKey(data)]),
    ...growthSection(data),
    "## Method",
    method,
  ].join("\n\n");
}

export function targetsOf(data) {
  return [...speedTargets(data), ...growthTargets(data)];
}

/** Ahead of everybody who does the same work: the best of theirs as a part of ours. */
function speedTargets(data) {
  const memory = ["flat", "random"].map((order) => memoryOf(data, order));
  const speeds = WORKLOADS.map((workload) => speed(data, workload));
  return [...speeds, waits(data), ...memory, memoryOfKey(data)].flatMap((row) =>
    closestOf(row).map(({ name, ratio }) =>
      target(
        `${row.of ?? "jobs a second"}, ${row.title}: how well ${name} does beside tidegate`,
        1 / ratio,
        1,
      ),
    ),
  );
}

// ---- growth

/** Each operation of each library, in nanoseconds by size. */
export function growthRows({ growth, sizes }) {
  return Object.entries(OPERATIONS).flatMap(([group, operations]) =>
    Object.entries(operations).flatMap(([key, title]) =>
      Object.entries(growth[group]).map(([name, answers]) => {
        const times = sizes.map((_, i) => answers[i]?.[key] ?? null);
        return { title, name, times, exponent: exponentOf(times, sizes) };
      }),
    ),
  );
}

function growthTargets(data) {
  return growthRows(data)
    .filter(({ name, exponent }) => name === "tidegate" && exponent !== null)
    .map(({ title, exponent }) => target(`${title}: exponent of its growth`, exponent, EXPONENT));
}

function growthSection(data) {
  const rows = growthRows(data)
    .filter(({ times }) => times.some((time) => time !== null))
    .map(({ title, name, times, exponent }) => [
      `${title}: ${name}`,
      ...times.map((time) => (time === null ? "–" : short(time))),
      exponent === null ? "–" : exponent.toFixed(2),
    ]);
  const head = ["", ...data.sizes.map((size) => size.toLocaleString("en")), "exponent"];
  return [
    "## Nanoseconds of an operation, while so many wait or so many keys are counted",
    table(head, rows),
  ];
}

/** The slope through the logarithms. Null with fewer than three sizes: two points lie on any line. */
function exponentOf(times, sizes) {
  const points = times.flatMap((time, i) => (time === null ? [] : [[Math.log(sizes[i]), Math.log(time)]]));
  if (points.length < 3) return null;
  const mean = (at) => points.reduce((sum, point) => sum + point[at], 0) / points.length;
  const [x, y] = [mean(0), mean(1)];
  const across = points.reduce((sum, point) => sum + (point[0] - x) * (point[1] - y), 0);
  return across / points.reduce((sum, point) => sum + (point[0] - x) ** 2, 0);
}

// ---- speed and memory

/** First how we stand to the best of the others, then everybody's numbers. */
function section(title, rows) {
  const names = Object.keys(rows[0].values);
  const lines = rows.map((row) => [row.title, ...names.map((name) => cell(row.values[name]))]);
  const ratios = rows.flatMap((row) =>
    closestOf(row).map(({ name, ratio }) => `- ${row.title}: **${ratio.toFixed(2)}×** ${name}`),
  );
  return [`## ${title}`, ratios.join("\n"), table(["", ...names], lines)].filter(Boolean);
}

/** Who comes nearest to us, in a list of one. Above 1 we are ahead of everybody. */
function closestOf({ values, lowWins }) {
  const mine = values.tidegate?.median;
  const others = Object.entries(values).filter(([name, value]) => name !== "tidegate" && value);
  if (!mine || others.length === 0) return [];
  const ratios = others.map(([name, { median }]) => ({
    name,
    ratio: lowWins ? median / mine : mine / median,
  }));
  return [ratios.reduce((a, b) => (b.ratio < a.ratio ? b : a))];
}

/** Jobs a second of each library. */
export function speed({ throughput, scale }, { key, count }) {
  const values = mapValues(throughput, (answers) => {
    const results = answers.map((answer) => answer[key]).filter(Boolean);
    if (results.length === 0) return null;
    const jobs = Math.min(...results.map((result) => result.jobs));
    const note = jobs < count * scale ? `${short(jobs)} jobs` : "";
    return { ...spread(results.map(({ perSecond }) => perSecond)), note };
  });
  return { title: key, values };
}

function memoryOf({ memory, scale }, order) {
  const values = mapValues(memory[order], ([result]) => {
    if (!result) return null;
    const { jobs, bytesPerJob, submitMs } = result;
    const seconds = `${(submitMs / 1_000).toFixed(1)} s to queue`;
    const note = jobs < QUEUED * scale ? `${short(jobs)} jobs, ${seconds}` : seconds;
    return { ...spread([bytesPerJob]), note };
  });
  return {
    title: order === "flat" ? "equal priorities" : "random priorities",
    of: "bytes of a queued job",
    values,
    lowWins: true,
  };
}

function waits({ keys }) {
  return {
    title: "`await wait(key)`",
    of: "units a second",
    values: mapValues(keys, (answers) => spread(answers.map((it) => it.waits))),
  };
}

function triesLine({ keys }) {
  const tries = keys.tidegate?.map((answer) => answer.tries);
  return tries ? `\`tryAcquire(key)\`, which the others do not have: ${cell(spread(tries))} a second.` : "";
}

function memoryOfKey({ keys }) {
  const values = mapValues(keys, (answers) => spread(answers.map((answer) => answer.bytesPerKey)));
  return { title: "used once", of: "bytes of a key", values, lowWins: true };
}
