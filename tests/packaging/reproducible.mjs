// Whoever builds the package anywhere gets the same bytes: it is built twice from nothing, in two folders, and packed.
//
//   node tests/packaging/reproducible.mjs [--out file.json]    takes some minutes: both install and compile everything
//
// What is compared is the working tree, with what is not committed yet. The compilers are those of this machine.
import { createHash } from "node:crypto";
import { cp, mkdir, mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { parseArgs } from "node:util";
import { gunzipSync } from "node:zlib";
import { npm } from "../../js/setup.mjs";
import { ask, root, run as runProgram, StepError, since, toldOf, writeWhole } from "../../js/steps.mjs";

/** Resolves with the evidence. Throws a StepError that names what differs. */
export async function run({ out, log = console.log } = {}) {
  const folder = await mkdtemp(path.join(tmpdir(), "tidegate-twice-"));
  try {
    const [one, other] = [
      await packedIn(path.join(folder, "one"), log),
      await packedIn(path.join(folder, "another one", "and deeper"), log),
    ];
    const differences = compare(one, other);
    if (differences.length > 0)
      throw new StepError(`Built twice, the package differs:\n${differences.join("\n")}`);
    const evidence = {
      date: new Date().toISOString().slice(0, 10),
      versions: { rustc: ask("rustc", "--version"), node: process.version, npm: ask("npm", "--version") },
      method:
        "The working tree copied into two folders of different names and depths; in each of them npm ci, the build of src/ and js/, npm pack. The tarballs are equal to the byte.",
      tarball: { name: one.name, bytes: one.bytes.length, sha256: sha256(one.bytes) },
      files: entriesOf(one.bytes).size,
    };
    if (out !== undefined) await writeWhole(path.resolve(out), `${JSON.stringify(evidence, null, 2)}\n`);
    return evidence;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

// ---- one build

/** Builds and packs a copy of the working tree in a new folder, and resolves with the name and the bytes of the tarball. */
async function packedIn(folder, log) {
  await copyTree(folder);
  const title = `building in ${path.basename(folder)}`;
  await runProgram(title, process.execPath, ["js/setup.mjs"], { cwd: folder, log });
  const [command, ...args] = npm();
  const { stdout } = await runProgram(
    "npm pack",
    command,
    [...args, "pack", "--json", "--ignore-scripts", "--loglevel=error"],
    { cwd: folder },
  );
  const [{ filename }] = Object.values(JSON.parse(stdout));
  return { name: filename, bytes: await readFile(path.join(folder, filename)) };
}

/** What git knows, and what it would know if it were added. */
async function copyTree(folder) {
  const listed = ask("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--deduplicate");
  const deleted = new Set(ask("git", "ls-files", "-z", "--deleted")?.split("\0"));
  if (listed === null) throw new StepError("The files are those that git knows, and this is no repository.");
  for (const file of listed.split("\0").filter((name) => name !== "" && !deleted.has(name))) {
    const target = path.join(folder, file);
    await mkdir(path.dirname(target), { recursive: true });
    await cp(path.join(root, file), target);
  }
}

// ---- comparing

/** Which files differ and where; one line when only the archives do. */
function compare(one, other) {
  if (one.bytes.equals(other.bytes)) return [];
  const [before, after] = [one, other].map(({ bytes }) => entriesOf(bytes));
  const names = [...new Set([...before.keys(), ...after.keys()])].sort();
  const lines = names.map((name) => difference(name, before.get(name), after.get(name))).filter(Boolean);
  return lines.length > 0
    ? lines
    : ["The files are the same, and the archives are not: their headers differ."];
}

function difference(name, one, other) {
  if (one === undefined || other === undefined) return `${name} is in one of them only`;
  if (one.equals(other)) return undefined;
  const place = one.findIndex((byte, i) => byte !== other[i]);
  const around = (bytes) => JSON.stringify(bytes.toString("latin1", Math.max(0, place - 40), place + 60));
  return `${name} from byte ${place} of ${one.length} and ${other.length}:\n  ${around(one)}\n  ${around(other)}`;
}

/** The files of a tarball by name. A header of 512 bytes, in which the size is octal, stands before each. */
function entriesOf(tarball) {
  const tar = gunzipSync(tarball);
  const files = new Map();
  for (let at = 0; at < tar.length && tar[at] !== 0; ) {
    const text = (from, length) =>
      tar.toString("latin1", at + from, at + from + length).replace(/\0.*$/s, "");
    const size = Number.parseInt(text(124, 12), 8);
    files.set(path.posix.join(text(345, 155), text(0, 100)), tar.subarray(at + 512, at + 512 + size));
    at += 512 + Math.ceil(size / 512) * 512;
  }
  return files;
}

const sha256 = (bytes) => createHash("sha256").update(bytes).digest("hex");

// ---- the command

if (process.argv[1] === import.meta.filename) {
  const { values } = parseArgs({ options: { out: { type: "string" } } });
  const started = Date.now();
  try {
    const { files, tarball } = await run({ out: values.out });
    console.log(`${files} files, built twice, equal to the byte: ${tarball.sha256} (${since(started)})`);
  } catch (error) {
    console.error(toldOf(error));
    process.exitCode = 1;
  }
}
