// Makes a fresh clone ready: `node js/setup.mjs`, with `--example` for examples/crm too. The demo and the tests begin with it. Every step looks first whether
// it is needed, so a second run takes a second and an interrupted one goes on where it was.
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { homedir } from "node:os";
import path from "node:path";
import { pathToFileURL } from "node:url";
import { build } from "./build.mjs";
import { ask, root, run, StepError, since } from "./steps.mjs";

/**
 * Checks the toolchains, installs what the lockfiles say and builds the package. `example` does so for examples/crm
 * too, `lints` for clippy and rustfmt. Throws a StepError that says what to install where that is the user's to do.
 */
export async function setup({ example = false, lints = false, log = console.log } = {}) {
  const started = Date.now();
  checkNode();
  await prepareRust({ lints, log });
  await install(root, "the tools", log);
  await build({ log });
  if (example) await install(path.join(root, "examples", "crm"), "the example", log);
  log(`set-up: complete (${since(started)})`);
}

// ---- Node

const NODE = [20, 19];

function checkNode() {
  const [major, minor] = process.versions.node.split(".").map(Number);
  if (major > NODE[0] || (major === NODE[0] && minor >= NODE[1])) return;
  throw new StepError(
    `Node ${NODE.join(".")} or newer is needed, this is ${process.versions.node}: https://nodejs.org/en/download`,
  );
}

// ---- Rust

const WASM_TARGET = "wasm32-unknown-unknown";

const INSTALL_RUST =
  process.platform === "win32"
    ? "winget install Rustlang.Rustup"
    : "curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y";

async function prepareRust({ lints, log }) {
  findCargo();
  if (ask("rustup", "--version") !== null && ask("rustc", "--version") === null) {
    log("set-up: installing the stable Rust toolchain");
    await run("installing Rust", "rustup", ["toolchain", "install", "stable", "--profile", "minimal"], {
      log,
    });
  }
  await checkRust();
  checkLinker();
  await addTarget(log);
  if (lints) await addComponents(log);
}

/** A shell that was open while rustup was installed does not have cargo on its path yet. */
function findCargo() {
  const bin = path.join(process.env.CARGO_HOME ?? path.join(homedir(), ".cargo"), "bin");
  if (ask("cargo", "--version") === null && existsSync(bin)) {
    process.env.PATH = `${bin}${path.delimiter}${process.env.PATH}`;
  }
}

async function checkRust() {
  const version = ask("rustc", "--version");
  if (version === null || ask("cargo", "--version") === null) {
    throw new StepError(`Rust was not found. Install it, then run this again:\n  ${INSTALL_RUST}`);
  }
  const manifest = await readFile(path.join(root, "Cargo.toml"), "utf8");
  const [, needed] = /^rust-version = "([\d.]+)"/m.exec(manifest) ?? [];
  const minor = (text) => Number(/1\.(\d+)/.exec(text)?.[1]);
  if (needed && minor(version) < minor(needed)) {
    throw new StepError(
      `Rust ${needed} or newer is needed, this is ${version}. Update it:\n  rustup update stable`,
    );
  }
}

/** rustc links programs of the build machine with the C compiler's driver, and says so late and at length. */
function checkLinker() {
  if (process.platform === "win32" || ask("cc", "--version") !== null) return;
  const how = process.platform === "darwin" ? "xcode-select --install" : "apt-get install build-essential";
  throw new StepError(`Rust needs a linker, and there is no \`cc\`. Install one:\n  ${how}`);
}

async function addTarget(log) {
  if (existsSync(path.join(ask("rustc", "--print", "sysroot") ?? "", "lib", "rustlib", WASM_TARGET))) return;
  log(`set-up: adding the Rust target ${WASM_TARGET}`);
  await run("adding the target", "rustup", ["target", "add", WASM_TARGET], { log });
}

async function addComponents(log) {
  const missing = [
    ["clippy", ask("cargo", "clippy", "--version")],
    ["rustfmt", ask("cargo", "fmt", "--version")],
  ].filter(([, version]) => version === null);
  if (missing.length === 0) return;
  const names = missing.map(([name]) => name);
  log(`set-up: adding ${names.join(" and ")}`);
  await run("adding components", "rustup", ["component", "add", ...names], { log });
}

// ---- npm

async function install(folder, what, log) {
  if (await isInstalled(folder)) return;
  log(`set-up: installing ${what} (npm ci)`);
  const [command, ...args] = npm();
  const quiet = ["--no-audit", "--no-fund", "--loglevel=error", "--prefer-offline"];
  await run(`installing ${what}`, command, [...args, "ci", ...quiet], { cwd: folder, log });
}

/** npm writes what it installed into node_modules as its last act: it must be what the lockfile asks for. */
async function isInstalled(folder) {
  const read = (...parts) => readFile(path.join(folder, ...parts), "utf8").then(JSON.parse, () => null);
  const [wanted, present] = await Promise.all([
    read("package-lock.json"),
    read("node_modules", ".package-lock.json"),
  ]);
  if (wanted === null) throw new StepError(`${folder} has no package-lock.json`);
  if (present === null) return false;
  return Object.entries(wanted.packages)
    .filter(([place, entry]) => place.startsWith("node_modules/") && !entry.optional)
    .every(([place, entry]) => {
      const found = present.packages[place];
      return found !== undefined && found.version === entry.version && found.integrity === entry.integrity;
    });
}

/** npm is a script that Node runs; under `npm run` its place is known, and spawn needs no shell for it on any system. */
export function npm() {
  const script = process.env.npm_execpath;
  if (script?.endsWith(".js")) return [process.execPath, script];
  return [process.platform === "win32" ? "npm.cmd" : "npm"];
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  await setup({ example: process.argv.includes("--example") }).catch((error) => {
    console.error(error instanceof StepError ? `set-up failed: ${error.message}` : error);
    process.exitCode = 1;
  });
}
