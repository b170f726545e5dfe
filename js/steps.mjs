// What the build, the set-up and the test runner share: running a program with signs of life, and skipping a step
// whose inputs did not change. Needs nothing but Node.
import { spawn, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdir, readdir, readFile, rename, stat, writeFile } from "node:fs/promises";
import path from "node:path";
import { fileURLToPath } from "node:url";

export const root = fileURLToPath(new URL("..", import.meta.url));

/** A step that failed for a reason which the reader can act upon: its message is shown without a stack. */
export class StepError extends Error {
  name = "StepError";
}

/** What is shown of an error that ends a command: of one about its reader's options, too, only the message. */
export function toldOf(error) {
  const isForReader = error instanceof StepError || String(error?.code).startsWith("ERR_PARSE_ARGS");
  return isForReader ? error.message : error;
}

/**
 * Runs a program to its end and resolves with `{ status, stdout, output }`, output being both streams.
 * A line every ten seconds says that it lives; the rest is shown only when it fails, as part of the StepError.
 * `mayFail` resolves whatever the status is; after `timeoutMs` the program is told to end.
 */
export function run(
  title,
  command,
  args,
  { cwd = root, env = {}, log = console.log, mayFail = false, timeoutMs } = {},
) {
  return new Promise((resolve, reject) => {
    const started = Date.now();
    const child = spawn(command, args, {
      cwd,
      env: { ...process.env, ...env },
      stdio: ["ignore", "pipe", "pipe"],
      timeout: timeoutMs,
    });
    let stdout = "";
    let output = "";
    child.stdout.setEncoding("utf8").on("data", (text) => {
      stdout += text;
      output += text;
    });
    child.stderr.setEncoding("utf8").on("data", (text) => {
      output += text;
    });
    const heartbeat = setInterval(() => {
      log(`  … ${title}, ${since(started)}${lastLine(output)}`);
    }, HEARTBEAT_MS);
    child.once("error", (error) => {
      clearInterval(heartbeat);
      reject(new StepError(`${title}: ${command} did not start: ${error.message}`));
    });
    child.once("close", (code, signal) => {
      clearInterval(heartbeat);
      const status = signal ?? code;
      if (status === 0 || mayFail) resolve({ status, stdout, output });
      else
        reject(
          new StepError(`${title}: ${path.basename(command)} ended with ${status}\n${output.trimEnd()}`),
        );
    });
  });
}

/** The path of a file in an installed development dependency. */
export function installed(name, file) {
  const found = path.join(root, "node_modules", name, file);
  if (existsSync(found)) return found;
  throw new StepError(`${name} is not installed: run \`node js/setup.mjs\`, or \`npm ci\``);
}

/** The standard output of a quick program, trimmed, or null when it is missing or fails. */
export function ask(command, ...args) {
  const { status, stdout } = spawnSync(command, args, {
    cwd: root,
    encoding: "utf8",
    stdio: ["ignore", "pipe", "ignore"],
  });
  return status === 0 ? stdout.trim() : null;
}

/**
 * Runs `work`, unless the stamp of the last time says that the same inputs made the outputs that lie there now;
 * resolves with whether it ran. `inputs` and `outputs` are files and folders, `also` is whatever else decides the
 * result: versions, flags. The stamp is written last, so a step that was interrupted runs again.
 */
export async function stamped(name, { inputs, outputs, also = [] }, work) {
  const file = path.join(root, "target", "stamps", `${name}.json`);
  const before = await digest(inputs, also);
  const stamp = await readFile(file, "utf8").then(JSON.parse, () => ({}));
  if (stamp.inputs === before && stamp.outputs === (await digest(outputs))) return false;
  await work();
  await writeWhole(file, JSON.stringify({ inputs: before, outputs: await digest(outputs) }));
  return true;
}

/** Writes a file so that nobody ever reads half of it. */
export async function writeWhole(file, content) {
  await mkdir(path.dirname(file), { recursive: true });
  const temporary = `${file}.${process.pid}.${++written}.tmp`;
  await writeFile(temporary, content);
  await rename(temporary, file);
}

let written = 0;

/** All files in a folder and below it, relative to the root and in order; a file is itself, what is not there is nothing. */
export async function filesIn(place) {
  const found = await stat(path.join(root, place)).catch(() => null);
  if (found === null) return [];
  if (found.isFile()) return [place];
  const entries = await readdir(path.join(root, place), { withFileTypes: true, recursive: true });
  return entries
    .filter((entry) => entry.isFile() && !entry.name.endsWith(".tmp"))
    .map((entry) => path.relative(root, path.join(entry.parentPath, entry.name)))
    .sort();
}

/** The time since `start`, an epoch in milliseconds, in words. */
export const since = (start) => `${((Date.now() - start) / 1000).toFixed(1)} s`;

const HEARTBEAT_MS = 10_000;

async function digest(places, also = []) {
  const hash = createHash("sha256").update(JSON.stringify(also));
  for (const place of places) {
    for (const file of await filesIn(place)) {
      hash.update(`\0${file}\0`).update(await readFile(path.join(root, file)));
    }
  }
  return hash.digest("hex");
}

function lastLine(output) {
  const line = output
    .trimEnd()
    .split(/[\r\n]/)
    .at(-1)
    ?.trim();
  return line ? `: ${line.slice(0, 90)}` : "";
}
