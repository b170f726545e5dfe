// npm run test:matrix: the package everywhere and under every fault; each part takes minutes, so npm test has only samples of them.
//
//   npm run test:matrix                      all parts, one after the other
//   npm run test:matrix -- hosts browsers    some parts (the names are below)
//   npm run test:matrix -- --out FOLDER      writes what was found there as data; docs/evidence has the last results
//
// The last line is `N parts passed, N failed`; the exit code is 1 when one failed.
import { spawn } from "node:child_process";
import path from "node:path";
import { parseArgs } from "node:util";
import { root, StepError, since, toldOf } from "../js/steps.mjs";

/** What each part runs; `evidence` is the file, or the folder, that it can write. */
const PARTS = {
  hosts: { program: "hosts/run.mjs", args: [], evidence: "hosts.json" },
  browsers: { program: "browsers/run.mjs", args: [], evidence: "browsers.json" },
  faults: { program: "faults/run.mjs", args: ["faults"], evidence: "." },
  life: { program: "faults/run.mjs", args: ["life"], evidence: "." },
  reproducible: { program: "packaging/reproducible.mjs", args: [], evidence: "reproducible.json" },
};

async function main() {
  const { values, positionals } = parseArgs({ options: { out: { type: "string" } }, allowPositionals: true });
  const names = positionals.length > 0 ? positionals : Object.keys(PARTS);
  const unknown = names.find((name) => !Object.hasOwn(PARTS, name));
  if (unknown !== undefined)
    throw new StepError(`the parts are ${Object.keys(PARTS).join(", ")}; there is no ${unknown}`);
  const failed = [];
  for (const name of names) {
    const started = Date.now();
    console.log(`\n==== ${name}`);
    const status = await runPart(PARTS[name], values.out);
    console.log(
      `==== ${name} ${status === 0 ? "passed" : `failed (exit code ${status})`} (${since(started)})`,
    );
    if (status !== 0) failed.push(name);
  }
  for (const name of failed) console.log(`failed: ${name}`);
  console.log(`\n${names.length - failed.length} parts passed, ${failed.length} failed`);
  return failed.length === 0 ? 0 : 1;
}

/** Resolves with the exit code; a part that could not be begun counts as failed. */
function runPart({ program, args, evidence }, out) {
  const written = out !== undefined && evidence ? ["--out", path.resolve(out, evidence)] : [];
  return new Promise((resolve) => {
    const child = spawn(process.execPath, [path.join(root, "tests", program), ...args, ...written], {
      cwd: root,
      stdio: "inherit",
    });
    child.once("error", () => resolve(1));
    child.once("close", (code) => resolve(code ?? 1));
  });
}

try {
  process.exitCode = await main();
} catch (error) {
  console.error(toldOf(error));
  process.exitCode = 1;
}
