// npm run bench: what is measured by one command each.
//
//   npm run bench                        all of them but the storms, one after the other, in their quick settings; --full: in their long ones
//   npm run bench -- calm                the price of a call that succeeds, in Node and in Chromium: bench/calm.mjs and its arguments
//   npm run bench -- limits              pools and limiters beside other libraries: bench/limits.mjs
//   npm run bench -- import              the pacing of imports in virtual time, beside what people do without it: bench/import.mjs
//   npm run bench -- weight              bytes, and the time to the first answer: bench/weight.mjs
//   npm run bench -- storm               fifty clients and a server that fails: bench/storm.mjs
//   npm run bench -- publish             all of them at full length, into docs: docs/evidence, docs/charts, docs/benchmarks.md
//   npm run bench -- publish --from DIR  the same from what `--out DIR` of the others has left there
//
// Each but the storm takes `--quick` and `--out DIR`, which leaves Markdown and JSON there; bench/storm.mjs has arguments of its own.
import { spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { npm, setup } from "../js/setup.mjs";
import { root, stamped } from "../js/steps.mjs";

const here = path.join(root, "bench");
const NAMES = ["calm", "limits", "import", "weight"];
const COMMANDS = [...NAMES, "storm", "publish"];

const given = process.argv.slice(2);
const name = COMMANDS.includes(given[0]) ? given.shift() : null;
if (name === null && given[0] && !given[0].startsWith("--"))
  fail(`there is no bench ${given[0]}: ${COMMANDS.join(", ")}`);

await setup({ log: console.error });
await install();
if (name === null) await all(given);
else if (name === "publish") await published(given);
else await measure(name, ...given);

async function all(args) {
  const isFull = args.includes("--full");
  const rest = args.filter((argument) => argument !== "--full");
  for (const each of NAMES) await measure(each, ...(isFull ? [] : ["--quick"]), ...rest);
}

async function published([flag, folder]) {
  if (flag === "--from" && folder) return show(process.execPath, path.join(here, "publish.mjs"), folder);
  if (flag) fail("publish takes nothing, or --from DIR");
  const made = await mkdtemp(path.join(tmpdir(), "tidegate-bench-"));
  try {
    await all(["--full", "--out", made]);
    await show(process.execPath, path.join(here, "publish.mjs"), made);
  } finally {
    await rm(made, { recursive: true });
  }
}

function measure(each, ...args) {
  return show(process.execPath, path.join(here, `${each}.mjs`), ...args);
}

/** The libraries that tidegate is measured beside: only where they are not what the lockfile says. */
function install() {
  const [command, ...script] = npm();
  const outputs = ["bench/node_modules/.package-lock.json"];
  return stamped("bench", { inputs: ["bench/package-lock.json"], outputs }, () =>
    show(command, ...script, "ci", "--prefix", here, "--no-audit", "--no-fund", "--loglevel=error"),
  );
}

/** Runs a program that prints for itself. Where it fails, so do we. */
function show(program, ...args) {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { cwd: root, stdio: "inherit" });
    child.once("error", reject);
    child.once("close", (code) => {
      if (code === 0) resolve();
      else process.exit(code ?? 1);
    });
  });
}

function fail(message) {
  console.error(message);
  process.exit(2);
}
