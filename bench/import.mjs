// How near an import comes to limits that it is not told of, beside what people do: node import.mjs
//
//   --quick        two seeds instead of five; also --seed N, --seeds N, --only TEXT
//   --out DIR      also writes import.md and import.json there
//
// The simulation is benches/pacing.rs; the imports past real gateways into a real Postgres are those of docs/evidence/import-matrix.json.
import { spawn } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { ask, root } from "../js/steps.mjs";
import { METHOD, render } from "./import/report.mjs";
import { describeRun, publish } from "./report.mjs";

const given = process.argv.slice(2);
const at = given.indexOf("--out");
const [, out] = at < 0 ? [] : given.splice(at, 2);

const run = await describeRun(["tidegate"], { rustc: ask("rustc", "--version")?.split(" ")[1] });
const simulated = await simulate(given);
const data = { ...run, method: METHOD, ...simulated, real: await realImports() };
data.targets = data.lines.map(({ section, name, missed, pacer, target }) => {
  const found = `${pacer.ratio.toFixed(3)}, ${(100 * pacer.refusedPerRow).toFixed(2)} %`;
  return { title: `${section}: ${name}: ${found}, to be reached ${target}`, reached: !missed };
});
await publish("import", render(data), data, out);

/** Runs the simulation, whose own tables go to stderr: what is printed in the end is made from its data. */
async function simulate(args) {
  const folder = await mkdtemp(path.join(tmpdir(), "tidegate-pacing-"));
  try {
    const file = path.join(folder, "pacing.json");
    await show("cargo", "bench", "--locked", "--bench", "pacing", "--", ...args, "--json", file);
    return JSON.parse(await readFile(file, "utf8"));
  } finally {
    await rm(folder, { recursive: true });
  }
}

function show(program, ...args) {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { cwd: root, stdio: ["ignore", 2, 2] });
    child.once("error", reject);
    child.once("close", (code) =>
      code === 0 ? resolve() : reject(new Error(`${program} ended with ${code}`)),
    );
  });
}

async function realImports() {
  const file = path.join(root, "docs", "evidence", "import-matrix.json");
  const { date, versions, machine, chromium, rows, lines } = JSON.parse(await readFile(file, "utf8"));
  const kept = lines.map(
    ({ mode, through, pace, makespan, refusedPerRow, imported, inPostgres, simulated }) => {
      return {
        mode,
        through,
        pace,
        makespan,
        refusedPerRow,
        imported,
        inPostgres: inPostgres.people,
        simulated,
      };
    },
  );
  return { date, versions: { ...versions, chromium }, machine, rows, lines: kept };
}
