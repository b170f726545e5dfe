// The report on the calm path, made from what calm.mjs found.
import { cell, headLines, spread, table, target, targetLines } from "../report.mjs";

export const METHOD = `
Each subject runs each workload in a process, or a page of a fresh browser context, of its own; in each round every subject once,
one after the other, beginning with another one each time. Node and Chromium load the same bundle. What is called does nothing,
and each call is awaited before the next one begins. A workload is warmed up, then measured in samples of about 25 ms; a round
counts with the median of its samples, the tables with the median of the rounds and the range from the lowest to the highest. A
ratio is that of two medians of the same round; of these again the median. What a subject does differs: see the list. "fetch" is a
\`fetch\` that answers 200 with a small body at once; making that \`Response\` is in every figure of the row, so the ratios there say
less about the guards. ky can be measured in no other way: it is a client around fetch, and takes no function. It makes a
\`Request\` and copies the response for each call, which the others do not. "With a context" is
\`{ resourceName, operation }\`, made for each call, by which tidegate counts; the others have nothing like it and stand in that row
with the call without one. The long run makes its calls in one process or page and reads the clock after each tenth of them, and
the memory before and after, collected.`.trim();

/** What is called under guard, and its title. */
export const WORKLOADS = {
  async: "an async function that returns",
  plain: "a function that returns a promise",
  context: "the first one, with a context",
  fetch: "fetch",
};

/** The figures: of cockatiel's cost, of that with a context, of what one would write by hand. */
const OF_COCKATIEL = 0.65;
const OF_COCKATIEL_WITH_CONTEXT = 0.75;
const OF_HAND_WRITTEN = 3;
/** Of a run's last calls to its first ones; and bytes that may be left: the noise of a collection. */
const GROWTH_OF_TIME = 1.2;
const GROWTH_OF_MEMORY = 500_000;

export function render(data) {
  const list = Object.entries(data.subjects).map(([name, does]) => `- ${name}: ${does}`);
  return [
    "# The calm path: what a call that succeeds costs",
    headLines(data).join("\n"),
    ...Object.values(data.places).flatMap((place) => section(data, place)),
    "## What they do",
    list.join("\n"),
    "## Method",
    data.method,
  ].join("\n\n");
}

/** What is to be reached, in both places, and whether it was. */
export function targetsOf({ places, endurance }) {
  return Object.values(places).flatMap((place) => [
    ...costTargets(place),
    ...lengthTargets(place, endurance),
  ]);
}

function section({ subjects, targets, endurance }, place) {
  const names = Object.keys(subjects);
  const others = names.filter((name) => name !== "tidegate");
  const of = targets.filter(({ title }) => title.startsWith(`${place.title}:`));
  const rows = (of, cellOf) =>
    Object.entries(WORKLOADS).map(([workload, title]) => [
      title,
      ...of.map((name) => cellOf(place, name, workload)),
    ]);
  return [
    `## ${place.title}`,
    targetLines(of, ratio).join("\n"),
    "tidegate's cost as a multiple of theirs, and in brackets the range of the rounds:",
    table(["", ...others], rows(others, ratioCell)),
    "Nanoseconds of a call:",
    table(["", ...names], rows(names, timeCell)),
    ...atLength(place, endurance),
  ];
}

/** In nanoseconds, by round. Where the others have no contexts they stand with what they have. */
function figures({ answers }, name, workload) {
  const key = workload === "context" && name !== "tidegate" ? "async" : workload;
  return answers[name]?.[key];
}

function timeCell(place, name, workload) {
  return cell(spreadOf(figures(place, name, workload)), nanoseconds);
}

function ratioCell(place, name, workload) {
  return cell(spreadOf(ratiosTo(place, name, workload)), ratio);
}

function ratiosTo(place, name, workload) {
  const ours = figures(place, "tidegate", workload);
  const theirs = figures(place, name, workload);
  return ours && theirs ? ours.map((time, round) => time / theirs[round]) : null;
}

function spreadOf(numbers) {
  return numbers ? spread(numbers) : null;
}

function costTargets(place) {
  const wanted = [
    ["cockatiel", "async", OF_COCKATIEL],
    ["cockatiel", "plain", OF_COCKATIEL],
    ["cockatiel", "context", OF_COCKATIEL_WITH_CONTEXT],
    ["hand-written", "async", OF_HAND_WRITTEN],
    ["hand-written", "plain", OF_HAND_WRITTEN],
    ["hand-written", "context", OF_HAND_WRITTEN],
  ];
  return wanted.flatMap(([name, workload, atMost]) => {
    const ratios = ratiosTo(place, name, workload);
    if (!ratios) return [];
    return [target(`${place.title}: ${WORKLOADS[workload]}, of ${name}`, spread(ratios).median, atMost)];
  });
}

function lengthTargets(place, endurance) {
  return Object.entries(place.long).flatMap(([workload, run]) => {
    const title = `${place.title}: ${callsAtLength(endurance)}, ${WORKLOADS[workload]}`;
    return [
      target(`${title}, the last three tenths of the first three`, slowdown(run), GROWTH_OF_TIME),
      target(`${title}, bytes left behind`, grownBytes(run), GROWTH_OF_MEMORY),
    ];
  });
}

function atLength({ long }, endurance) {
  if (Object.keys(long).length === 0) return [];
  const tenths = Array.from({ length: endurance.parts }, (_, i) => `${i + 1}`);
  const rows = Object.entries(long).map(([workload, { nanoseconds: times, before, after }]) => [
    WORKLOADS[workload],
    ...times.map(nanoseconds),
    `${bytes(before.heap)} → ${bytes(after.heap)}`,
    `${bytes(before.wasm)} → ${bytes(after.wasm)}`,
  ]);
  const head = ["", ...tenths, "heap", "WebAssembly"];
  return [`${callsAtLength(endurance)}, nanoseconds of a call in each tenth of them:`, table(head, rows)];
}

function callsAtLength({ parts, callsOfPart }) {
  return `${(parts * callsOfPart).toLocaleString("en")} calls`;
}

function slowdown({ nanoseconds: times }) {
  return spread(times.slice(-3)).median / spread(times.slice(0, 3)).median;
}

function grownBytes({ before, after }) {
  return after.heap + after.wasm - before.heap - before.wasm;
}

function ratio(number) {
  return Math.abs(number) >= 1_000 ? Math.round(number).toLocaleString("en") : number.toFixed(2);
}

function nanoseconds(number) {
  return number >= 10_000 ? `${(number / 1_000).toFixed(1)} k` : String(Math.round(number));
}

function bytes(number) {
  return `${(number / 1_000_000).toFixed(2)} MB`;
}
