// npm run bench: what is measured by one command each.
//
//   npm run bench                        pools and limiters beside other libraries: bench/limits.mjs and its arguments
//   npm run bench -- import              the pacing of imports in virtual time, beside what people do without it
//   npm run bench -- import --quick      two seeds instead of five; also --seed N, --seeds N, --only TEXT
import { spawn } from "node:child_process";
import path from "node:path";
import { npm, setup } from "../js/setup.mjs";
import { root } from "../js/steps.mjs";

const here = path.join(root, "bench");

const BENCHES = {
  async limits(args) {
    await setup();
    await show(...npm(), "ci", "--prefix", here, "--no-audit", "--no-fund");
    await show(process.execPath, path.join(here, "limits.mjs"), ...args);
  },

  import: (args) => show("cargo", "bench", "--locked", "--bench", "pacing", "--", ...args),
};

const given = process.argv.slice(2);
const name = Object.hasOwn(BENCHES, given[0] ?? "") ? given.shift() : "limits";
await BENCHES[name](given);

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
