// The report on weight, made from what weight.mjs found.
import { cell, headLines, spread, table, target, targetLines } from "../report.mjs";

export const METHOD = `
Bundles are made by esbuild, minified, as ES modules for browsers, ours and the others' in the same way, each from the one import that is
named; then compressed by gzip and brotli at their highest levels. What a peer leaves to its host counts with neither (papaparse). Bytes by file are those of
the default entry and of \`tidegate/import\`, bundled from their sources in js/, before compression. Bytes by room are code of the
module only: compiled with names and optimised as the build does; what the compiler inlined counts where it went, which for the exported
functions is "wasm". A cold start is a page in a fresh context of Chromium, with nothing cached, isolated so that its clock is exact to 5 µs: from
\`import()\` of the bundle to the answer of the first \`executeWithRetry\` of a function that returns. The server is on the same machine and does not compress, so
"download" is what a page pays besides its network, as the import of an empty module shows, which is taken in turns with ours. "Compile" and "instantiate" are the constructors of WebAssembly; "decode" is the time before them in the
first call, in which the text in the bundle becomes bytes; "the call" is what is left of it.`.trim();

/** The figures, in bytes and milliseconds. */
const CORE_RAW = 70_000;
const INDEX_GZIP = 45_000;
const IMPORT_GZIP = 12_000;
const FIRST_CALL_MS = 10;

/** Of a cold start, as bench/weight/cold.mjs tells them, with their titles. */
export const STEPS = {
  total: "all of it",
  download: "download",
  parse: "parse and compile the bundle",
  evaluate: "evaluate it",
  decode: "decode the core",
  compile: "compile the core",
  instantiate: "instantiate it",
  call: "the call",
  second: "for comparison: the second call",
  empty: "for comparison: importing an empty module, in another page",
};

function importBeside(ours) {
  return ours["tidegate and tidegate/import"].gzip - ours["tidegate: all of the default entry"].gzip;
}

/** What is to be reached, and whether it was. */
export function targetsOf({ modules, ours, starts }) {
  return [
    target("core.wasm, raw", modules.core.raw, CORE_RAW, " bytes"),
    target("the default entry, gzip", ours["tidegate: all of the default entry"].gzip, INDEX_GZIP, " bytes"),
    target("tidegate/import beside it, gzip", importBeside(ours), IMPORT_GZIP, " bytes"),
    target(
      "from import to the first answer, median",
      spread(starts.map(({ total }) => total)).median,
      FIRST_CALL_MS,
      " ms",
    ),
  ];
}

export function render(data) {
  const { targets, ours, peers, modules, files, starts, method } = data;
  return [
    "# Weight: bytes, and the time to the first answer",
    headLines(data).join("\n"),
    targetLines(targets, number).join("\n"),
    "## Bytes of a bundle",
    table(["", "raw", "gzip", "brotli"], [...Object.entries(ours), ...Object.entries(peers)].map(sizeRow)),
    "## Bytes of the modules",
    table(
      ["", "raw", "gzip", "brotli"],
      Object.entries(modules).map(([name, sizes]) => sizeRow([`${name}.wasm`, sizes])),
    ),
    ...Object.entries(modules).flatMap(([name, { sections, rooms }]) => [
      `${name}.wasm by section: ${list(sections)}.`,
      rooms ? `${name}.wasm's code by room: ${list(rooms)}.` : "",
    ]),
    "## Bytes by file, minified, before compression",
    ...Object.entries(files).map(([name, sizes]) => `${name}: ${list(sizes)}.`),
    "## From import to the first answer, in milliseconds",
    table(
      ["", "median (range)"],
      Object.entries(STEPS).map((step) => stepRow(starts, step)),
    ),
    "## Method",
    method,
  ]
    .filter(Boolean)
    .join("\n\n");
}

function stepRow(starts, [key, title]) {
  return [title, cell(spread(starts.map((start) => start[key])), (ms) => ms.toFixed(2))];
}

function sizeRow([name, { raw, gzip, brotli }]) {
  return [name, ...[raw, gzip, brotli].map(number)];
}

function list(sizes) {
  return Object.entries(sizes)
    .map(([name, size]) => `${name} ${number(size)}`)
    .join(", ");
}

function number(value) {
  return Number.isInteger(value) ? value.toLocaleString("en") : value.toFixed(2);
}
