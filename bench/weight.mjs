// What tidegate weighs in a bundle, where the bytes are, and how soon the first call is answered: node weight.mjs
//
//   --runs N       cold starts in Chromium (25); --quick: 7
//   --no-rooms     without compiling the core once more, with names, to tell which room of it takes how much
//   --out DIR      also writes weight.md and weight.json there
//
// Wants `npm run build`, and `npm ci` in this folder. TIDEGATE=dist/index.js of another build measures its bundles.
import { readFile } from "node:fs/promises";
import path from "node:path";
import { parseArgs } from "node:util";
import { brotliCompressSync, gzipSync } from "node:zlib";
import { measure as builtSizes } from "../js/build.mjs";
import { root, run as runProgram } from "../js/steps.mjs";
import { bundled, bundledFromSource } from "./bundle.mjs";
import { describeRun, publish } from "./report.mjs";
import { coldStarts } from "./weight/cold.mjs";
import { METHOD, render, targetsOf } from "./weight/report.mjs";
import { roomsOf, sectionsOf } from "./weight/wasm.mjs";

const OURS = {
  "tidegate: RateLimitService alone": 'export { RateLimitService } from "tidegate"',
  "tidegate: all of the default entry": 'export * from "tidegate"',
  "tidegate and tidegate/import": 'export * from "tidegate"; export * as imports from "tidegate/import"',
  "tidegate: service and createImport":
    'export { RateLimitService } from "tidegate"; export { createImport } from "tidegate/import"',
  "tidegate/import": 'export * from "tidegate/import"',
  "tidegate/supabase": 'export * from "tidegate/supabase"',
  "tidegate/react-admin": 'export * from "tidegate/react-admin"',
  "tidegate/csv": 'export * from "tidegate/csv"',
  "tidegate/external": 'export * from "tidegate/external"',
  "tidegate/testing": 'export * from "tidegate/testing"',
  "tidegate/dispose": 'export * from "tidegate/dispose"',
};

const PEERS = {
  "Effect: HttpClient with retryTransient, withRateLimiter and withCircuitBreaker": {
    packages: ["effect"],
    code: `
      export { runPromise, provide } from "effect/Effect";
      export { exponential } from "effect/Schedule";
      export { get, make, retryTransient, withCircuitBreaker, withRateLimiter } from "effect/http/HttpClient";
      export { layer } from "effect/http/FetchHttpClient";
      export * as CircuitBreaker from "effect/persistence/CircuitBreaker";
      export * as RateLimiter from "effect/persistence/RateLimiter";`,
  },
  "Effect: retry alone": {
    packages: ["effect"],
    code: 'export { retry, runPromise, tryPromise } from "effect/Effect"; export { exponential } from "effect/Schedule"',
  },
  cockatiel: { packages: ["cockatiel"], code: 'export * from "cockatiel"' },
  "cockatiel: retry and breaker": {
    packages: ["cockatiel"],
    code: 'export { retry, circuitBreaker, wrap, handleWhen, ExponentialBackoff, ConsecutiveBreaker } from "cockatiel"',
  },
  opossum: { packages: ["opossum"], code: 'export { default } from "opossum"' },
  "p-retry": { packages: ["p-retry"], code: 'export { default } from "p-retry"' },
  "p-queue": { packages: ["p-queue"], code: 'export { default } from "p-queue"' },
  "p-limit": { packages: ["p-limit"], code: 'export { default } from "p-limit"' },
  "p-throttle": { packages: ["p-throttle"], code: 'export { default } from "p-throttle"' },
  Bottleneck: { packages: ["bottleneck"], code: 'export { default } from "bottleneck"' },
  "rate-limiter-flexible: memory": {
    packages: ["rate-limiter-flexible"],
    code: 'export { RateLimiterMemory } from "rate-limiter-flexible"',
  },
  ky: { packages: ["ky"], code: 'export { default } from "ky"' },
  "AWS SDK: retry": { packages: ["@smithy/util-retry"], code: 'export * from "@smithy/util-retry"' },
  "cockatiel and p-queue and ky": {
    packages: ["cockatiel", "p-queue", "ky"],
    code: 'export * from "cockatiel"; export { default as PQueue } from "p-queue"; export { default as ky } from "ky"',
  },
};

const MODULES = { core: "calls", import: "imports" };

const { values: options } = parseArgs({
  options: {
    runs: { type: "string" },
    quick: { type: "boolean", default: false },
    "no-rooms": { type: "boolean", default: false },
    out: { type: "string" },
  },
});
const runs = Number(options.runs ?? (options.quick ? 7 : 25));

const modules = {};
for (const name of Object.keys(MODULES)) modules[name] = await moduleOf(name);
const ours = {};
for (const [name, code] of Object.entries(OURS)) ours[name] = await sizesOf(code);
const peers = {};
for (const [name, { code }] of Object.entries(PEERS)) peers[name] = await sizesOf(code);
const files = { tidegate: await filesOf("index"), "tidegate/import": await filesOf("import") };
process.stderr.write(`weight: ${runs} cold starts\n`);
const { chromium, starts } = await coldStarts(runs);

const packages = Object.values(PEERS).flatMap((peer) => peer.packages);
const run = await describeRun(["tidegate", "esbuild", ...packages], { chromium });
const data = { ...run, method: METHOD, runs, modules, ours, peers, files, starts, gates: await gates() };
data.targets = targetsOf(data);
await publish("weight", render(data), data, options.out);

async function moduleOf(name) {
  const wasm = await readFile(path.join(root, "pkg", `${name}_bg.wasm`));
  const rooms = options["no-rooms"] ? null : roomsOf(await readFile(await compiledWithNames(MODULES[name])));
  return { ...compressed(wasm), sections: sectionsOf(wasm), rooms };
}

/** As the build compiles it, in a folder of its own, because the build's is overwritten by each of its modules. */
async function compiledWithNames(feature) {
  const folder = path.join(root, "target", "weight");
  const target = "wasm32-unknown-unknown";
  const cdylib = ["rustc", "--lib", "--crate-type", "cdylib", "--no-default-features", "--features", feature];
  await runProgram(
    `compiling the module of ${feature} with names`,
    "cargo",
    [...cdylib, "--release", "--locked", "--target", target, "--target-dir", folder],
    { env: { CARGO_ENCODED_RUSTFLAGS: "-Clink-arg=-zstack-size=65536" }, log: console.error },
  );
  return path.join(folder, target, "release", "tidegate.wasm");
}

async function sizesOf(code) {
  return compressed((await bundled(code, { external: ["papaparse"] })).bytes);
}

/** Bytes of the minified bundle by source file, the largest first. */
async function filesOf(entry) {
  const { bytes, inputs } = await bundledFromSource(entry);
  const sizes = Object.entries(inputs).map(([file, { bytesInOutput }]) => [file, bytesInOutput]);
  const sum = sizes.reduce((all, [, size]) => all + size, 0);
  sizes.push(["between them", bytes.length - sum]);
  return Object.fromEntries(sizes.filter(([, size]) => size > 0).sort(([, a], [, b]) => b - a));
}

/** What the tests hold the line with: it has to say the same. */
async function gates() {
  const rows = await builtSizes();
  const size = (name) => rows.find((row) => row.name === name);
  return {
    coreRaw: size("core.wasm").raw,
    indexGzip: size("index.js").gzip,
    importGzip: size("import.js").gzip - size("index.js").gzip,
  };
}

function compressed(bytes) {
  return {
    raw: bytes.length,
    gzip: gzipSync(bytes, { level: 9 }).length,
    brotli: brotliCompressSync(bytes).length,
  };
}
