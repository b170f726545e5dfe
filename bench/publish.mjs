// From what the benches left in a folder to the documentation: node publish.mjs <folder>
//
// docs/evidence/bench-<name>.json are the data; docs/charts/*.svg and what stands between the markers of docs/benchmarks.md
// are made from those files. A bench that the folder does not have stays as it was, and what it missed stays in the list.
import { mkdir, readFile, writeFile } from "node:fs/promises";
import path from "node:path";
import { root } from "../js/steps.mjs";
import { render as calm } from "./calm/report.mjs";
import { CHARTS } from "./charts.mjs";
import { render as imports } from "./import/report.mjs";
import { render as limits } from "./limits/report.mjs";
import { render as weight } from "./weight/report.mjs";

const RENDERED = { calm, limits, import: imports, weight };
const PAGE = path.join(root, "docs", "benchmarks.md");
const evidence = (name) => path.join(root, "docs", "evidence", `bench-${name}.json`);
const DRAWN = path.join(root, "docs", "charts");

const [folder] = process.argv.slice(2);
if (!folder)
  throw new Error("usage: node publish.mjs <folder with calm.json, limits.json, import.json, weight.json>");

let page = await readFile(PAGE, "utf8");
const missed = [];
await mkdir(DRAWN, { recursive: true });
for (const [name, render] of Object.entries(RENDERED)) {
  const text = await readFile(path.join(folder, `${name}.json`), "utf8").catch(() => null);
  const data = JSON.parse(text ?? (await readFile(evidence(name), "utf8")));
  for (const target of data.targets) if (!target.reached) missed.push(`- ${name}: ${inWords(target)}`);
  if (text === null) continue;
  await writeFile(evidence(name), text);
  for (const [chart, svg] of CHARTS[name](data)) await writeFile(path.join(DRAWN, `${chart}.svg`), svg);
  page = between(page, name, lowered(render(data)));
  console.log(`${name}: docs/evidence/bench-${name}.json, docs/charts, docs/benchmarks.md`);
}
page = between(
  page,
  "missed",
  missed.length > 0 ? missed.join("\n") : "Everything that was to be reached is.",
);
await writeFile(PAGE, page);

function inWords({ title, value, atMost, unit }) {
  const figure = (number) =>
    `${Number.isInteger(number) ? number.toLocaleString("en") : number.toFixed(2)}${unit}`;
  return value === undefined
    ? title
    : `${title}: ${figure(value)}, and at most ${figure(atMost)} were to be reached`;
}

/** Below the page's own headings; its title is the page's. */
function lowered(markdown) {
  return markdown.replace(/^# .*\n+/, "").replace(/^(#+) /gm, "#$1 ");
}

function between(text, name, content) {
  const marks = new RegExp(`(<!-- ${name} -->)[^]*(<!-- /${name} -->)`);
  if (!marks.test(text)) throw new Error(`docs/benchmarks.md has no place for ${name}`);
  return text.replace(marks, (_, start, end) => `${start}\n\n${content}\n\n${end}`);
}
