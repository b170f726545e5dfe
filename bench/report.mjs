// What the benches share: the machine in words, numbers with their spread, tables, and the two files that each leaves behind.
import { mkdir, readFile, writeFile } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";

export const here = path.dirname(fileURLToPath(import.meta.url));

/** Where and when: what stands at the head of every report and every file. Versions are those that are installed. */
export async function describeRun(packages, more = {}) {
  const names = [...new Set(packages)].sort();
  const versions = await Promise.all(names.map(async (name) => [name, await versionOf(name)]));
  return {
    date: new Date().toISOString().slice(0, 10),
    versions: { ...Object.fromEntries(versions), node: process.versions.node, ...more },
    machine: `${os.cpus().length} × ${os.cpus()[0]?.model.trim()}, ${os.type()} ${os.arch()}`,
    loadAtTheBeginning: Number(os.loadavg()[0].toFixed(2)),
  };
}

export function headLines({ date, versions, machine, loadAtTheBeginning }) {
  const named = Object.entries(versions).map(([name, version]) => `${name} ${version}`);
  return [
    `${date}, ${machine}, load at the beginning ${loadAtTheBeginning}.`,
    `Versions: ${named.join(", ")}.`,
  ];
}

async function versionOf(name) {
  const places = name === "tidegate" ? [".."] : [`node_modules/${name}`, `../node_modules/${name}`];
  for (const place of places) {
    const text = await readFile(path.join(here, place, "package.json"), "utf8").catch(() => null);
    if (text !== null) return JSON.parse(text).version;
  }
  throw new Error(`${name} is not installed: npm ci --prefix bench`);
}

// ---- numbers

/** The middle of the rounds, and the range from the lowest to the highest. */
export function spread(numbers) {
  const sorted = numbers.toSorted((a, b) => a - b);
  return { median: sorted[Math.floor(sorted.length / 2)], low: sorted[0], high: sorted.at(-1) };
}

/** Three digits. */
export function short(number) {
  if (number >= 1_000_000) return `${Number((number / 1_000_000).toPrecision(3))} M`;
  if (number >= 1_000) return `${Number((number / 1_000).toPrecision(3))} k`;
  return String(
    number >= 100 || Number.isInteger(number) ? Math.round(number) : Number(number.toPrecision(3)),
  );
}

/** A spread as a cell of a table; nothing where there is none. */
export function cell(value, write = short) {
  if (!value) return "–";
  const { median, low, high, note } = value;
  const range = low === high ? "" : ` (${write(low)}–${write(high)})`;
  return `${write(median)}${range}${note ? `, ${note}` : ""}`;
}

export function mapValues(record, map) {
  return Object.fromEntries(Object.entries(record).map(([key, value]) => [key, map(value, key)]));
}

// ---- what is to be reached

/** One figure beside what it has to be at most. */
export function target(title, value, atMost, unit = "") {
  return { title, value, atMost, unit, reached: value <= atMost };
}

export function targetLines(targets, write = short) {
  return targets.map(({ title, value, atMost, unit, reached }) => {
    return `- ${reached ? "reached" : "**missed**"}: ${title}: ${write(value)}${unit}, at most ${write(atMost)}${unit}`;
  });
}

// ---- tables and files

export function table(head, rows) {
  const line = (cells) => `| ${cells.join(" | ")} |`;
  return [
    line(head),
    `|---|${head
      .slice(1)
      .map(() => "---:")
      .join("|")}|`,
    ...rows.map(line),
  ].join("\n");
}

/** Prints a report, and leaves it and its data in a folder where one is named. */
export async function publish(name, markdown, data, folder) {
  console.log(markdown);
  if (folder === undefined) return;
  await mkdir(folder, { recursive: true });
  await writeFile(path.join(folder, `${name}.md`), `${markdown}\n`);
  await writeFile(path.join(folder, `${name}.json`), `${JSON.stringify(data, null, 2)}\n`);
}
