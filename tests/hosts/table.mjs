// The table of hosts in README.md, between its two markers.
import { readFile } from "node:fs/promises";
import path from "node:path";
import { root, StepError, writeWhole } from "../../js/steps.mjs";

const README = path.join(root, "README.md");

const BEGIN = "<!-- works-with:begin -->";
const END = "<!-- works-with:end -->";

/** Writes what a run of all hosts found into the README. */
export async function writeTable(evidence) {
  const text = await readFile(README, "utf8");
  const [begin, end] = [text.indexOf(BEGIN), text.indexOf(END)];
  if (begin === -1 || end < begin)
    throw new StepError(`README.md has no place for the table: ${BEGIN} … ${END}`);
  const table = tableOf(evidence).join("\n");
  await writeWhole(README, `${text.slice(0, begin)}${BEGIN}\n\n${table}\n\n${text.slice(end)}`);
}

/** A line for each host; where its ways differ in version, core or result, one for each of those. */
export function tableOf({ date, hosts }) {
  const lines = new Map();
  for (const { host, way, version = "–", core = "–", result, reason } of hosts) {
    const cells = { core, result: reason === undefined ? result : `${result}: ${escaped(reason)}` };
    const key = JSON.stringify([host, cells]);
    const line = lines.get(key) ?? { host, ...cells, versions: new Set(), ways: new Set() };
    line.versions.add(version);
    line.ways.add(way);
    lines.set(key, line);
  }
  return [
    `| host | version | run as | core | on ${date} |`,
    "|---|---|---|---|---|",
    ...[...lines.values()].map(
      ({ host, versions, ways, core, result }) =>
        `| ${host} | ${[...versions].join(", ")} | ${[...ways].join(", ")} | ${core} | ${result} |`,
    ),
  ];
}

const escaped = (text) => text.replaceAll("|", "\\|");
