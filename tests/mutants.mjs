// npm run test:mutants: changes the code in one place after the other, and sees whether a test notices.
//
//   node tests/mutants.mjs                       src/ with cargo-mutants, then js/ with StrykerJS: many hours
//   node tests/mutants.mjs rust                  one language
//   node tests/mutants.mjs js --only js/import/  the files whose path contains this; `,` between several
//   node tests/mutants.mjs rust --shard 0/8      every eighth mutant of each file of src/, every eighth file of js/
//   node tests/mutants.mjs js --again            what survived before, as --out says it, in files that are as they were
//   node tests/mutants.mjs --list                how many there are in each file; none is run
//
// `--out docs/evidence/mutants.json` (or another file) keeps what it says of the files that are not run this time. The
// last line is `N of M mutants caught (P %)`; the exit code is 1 below 90 %. Those that survive for a good reason stand
// with it in tests/mutants/equivalent.json, and count as survivors all the same.
//
// Needs `cargo install cargo-mutants cargo-nextest`; StrykerJS is installed in tests/mutants.
import { parseArgs } from "node:util";
import { StepError, toldOf } from "../js/steps.mjs";
import { percent, readEvidence, survived, table, tally, update, writeEvidence } from "./mutants/evidence.mjs";
import * as js from "./mutants/js.mjs";
import * as rust from "./mutants/rust.mjs";

const LANGUAGES = { rust, js };

/** The part of the mutants that has to be caught. */
const ENOUGH = 0.9;

async function main() {
  const options = readArguments();
  const evidence = await readEvidence(options.out);
  const run = [];
  for (const language of options.languages) {
    const all = await LANGUAGES[language].list();
    const wanted = options.again ? survived(all, evidence) : all;
    const chosen = LANGUAGES[language].shard(
      wanted.filter(inFiles(options.only)),
      options.part,
      options.parts,
    );
    console.log(`\n${language}: ${chosen.length} of ${all.length} mutants\n`);
    if (options.list) {
      console.log(table(tally(chosen)));
      continue;
    }
    const results = chosen.length > 0 ? await LANGUAGES[language].test(chosen) : [];
    update(evidence, {
      ...{ language, all, results, shard: options.shard, again: options.again },
      versions: LANGUAGES[language].versions(),
    });
    await writeEvidence(options.out, evidence);
    run.push(...results);
  }
  return options.list ? 0 : summary(run);
}

function readArguments() {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      only: { type: "string", default: "" },
      shard: { type: "string", default: "0/1" },
      out: { type: "string" },
      again: { type: "boolean", default: false },
      list: { type: "boolean", default: false },
    },
  });
  const unknown = positionals.find((name) => !Object.hasOwn(LANGUAGES, name));
  if (unknown !== undefined) throw new StepError(`rust or js, there is no ${unknown}`);
  const [part, parts] = values.shard.split("/").map(Number);
  if (!(part >= 0 && part < parts)) throw new StepError("--shard takes k/n, with k from 0 to n - 1");
  if (values.again && !values.out) throw new StepError("--again reads the survivors from --out");
  const languages = positionals.length > 0 ? positionals : Object.keys(LANGUAGES);
  return { ...values, languages, part, parts };
}

function inFiles(only) {
  const places = only.split(",");
  return ({ file }) => places.some((place) => file.includes(place));
}

function summary(results) {
  const rows = tally(results);
  console.log(`\n${table(rows)}\n`);
  const { caught, of } = percent(rows);
  for (const { status, file, line, what } of results) {
    if (status === "missed") console.log(`survived: ${file}:${line}: ${what}`);
  }
  const share = of === 0 ? 1 : caught / of;
  console.log(`\n${caught} of ${of} mutants caught (${(share * 100).toFixed(1)} %)`);
  return share >= ENOUGH ? 0 : 1;
}

process.exitCode = await main().catch((error) => {
  console.error(toldOf(error));
  return 1;
});
