// What every host needs: an application with the packed package in it, programs, servers and pages.
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { cp, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { stripVTControlCharacters } from "node:util";
import esbuild from "esbuild";
import { npm } from "../../js/setup.mjs";
import { root, run, StepError } from "../../js/steps.mjs";
import { findChromium, INSTALL_CHROMIUM, launch, serveFiles } from "../browser/harness.mjs";
import { installPacked } from "../packaging/pack.mjs";
import { startServer } from "./server.mjs";

/** The host is not to be had here: nothing is known of it. */
export class NotRun extends Error {
  name = "NotRun";
}

/**
 * Packs the package and starts the server. Resolves with `{ makeApplication, openPage, server, browserVersion, close }`;
 * the browser starts with the first page.
 */
export async function openStage({ log }) {
  const packed = await installPacked();
  const server = await startServer();
  let browser = null;
  const theBrowser = () => {
    browser ??= launch(chromium());
    return browser;
  };
  return {
    server,
    makeApplication: (name) => makeApplication(name, packed.tarball, log),
    openPage: async (address, body) => onPage(await theBrowser(), address, body),
    browserVersion: async () => (browser === null ? undefined : (await browser).version()),
    async close() {
      await browser?.then((opened) => opened.close()).catch(() => {});
      await server.close();
      await packed.remove();
    },
  };
}

// ---- applications

const HERE = import.meta.dirname;

/** What npm downloaded stays here from run to run. */
const CACHE = path.join(root, "node_modules", ".cache", "hosts");

/** No colours, no questions, nothing sent home; and no options that this process was started with. */
const ENVIRONMENT = {
  NO_COLOR: "1",
  FORCE_COLOR: undefined,
  NODE_OPTIONS: undefined,
  NODE_ENV: undefined,
  NEXT_TELEMETRY_DISABLED: "1",
};

/** A new application from `apps/<name>`, with the tarball and what its package.json pins installed from the registry. */
async function makeApplication(name, tarball, log) {
  const folder = await mkdtemp(path.join(tmpdir(), `tidegate-${name}-`));
  const app = new Application(name, folder, log);
  try {
    for (const part of ["common", name]) {
      await cp(path.join(HERE, "apps", part), folder, { recursive: true });
    }
    await writeCommonJs(folder);
    await app.install(tarball);
    return app;
  } catch (error) {
    await app.remove();
    throw error;
  }
}

/** The exercise, for who cannot import: made by esbuild, whose version has nothing to do with the hosts. */
async function writeCommonJs(folder) {
  const source = await readFile(path.join(folder, "exercise.js"), "utf8");
  const { code } = await esbuild.transform(source, { format: "cjs" });
  await writeFile(path.join(folder, "exercise.cjs"), code);
}

class Application {
  #log;
  #done = new Map();

  constructor(name, folder, log) {
    this.name = name;
    this.folder = folder;
    this.#log = log;
  }

  async install(tarball) {
    const [command, ...args] = npm();
    const options = ["--ignore-scripts", "--prefer-offline", "--no-audit", "--no-fund", "--no-package-lock"];
    const more = ["--loglevel=error", "--cache", CACHE, tarball];
    const title = `installing ${this.name}`;
    const { status, output } = await run(title, command, [...args, "install", ...options, ...more], {
      cwd: this.folder,
      env: ENVIRONMENT,
      log: this.#log,
      mayFail: true,
      timeoutMs: 300_000,
    });
    if (status === 0) return;
    const [, code] = /npm error code (\w+)/.exec(output) ?? [];
    if (OUT_OF_REACH.test(code ?? "")) throw new NotRun(`npm cannot install it here (${code})`);
    throw new StepError(`${title}: npm ended with ${status}\n${output.trimEnd()}`);
  }

  /** Does `work` once for all hosts that share the application. */
  once(what, work) {
    if (!this.#done.has(what)) this.#done.set(what, work());
    return this.#done.get(what);
  }

  /** The path of a file in it. */
  at(...parts) {
    return path.join(this.folder, ...parts);
  }

  /** The version of an installed package. */
  async version(name) {
    return JSON.parse(await readFile(this.at("node_modules", name, "package.json"), "utf8")).version;
  }

  /** The path of a program that comes as a package for each system: `file` in the first of `names` that was installed. */
  binary(names, file) {
    const found = names.map((name) => this.at("node_modules", name, file)).find((place) => existsSync(place));
    if (found !== undefined) return found;
    throw new NotRun(`there is no package with it for ${process.platform} on ${process.arch}`);
  }

  /** The packages of a scope, such as those that each carry a program for one system. */
  async scope(name) {
    const packages = await readdir(this.at("node_modules", name)).catch(() => []);
    return packages.sort().map((each) => `${name}/${each}`);
  }

  /** Runs a program to its end. Where it fails, its output is the error. */
  run(command, args, env = {}) {
    return run(this.name, command, args, { ...this.#surroundings(env), log: this.#log, timeoutMs: 240_000 });
  }

  /** Runs the script that an installed package has for the command line. */
  async tool(name, args, env) {
    return this.run(process.execPath, [await this.#script(name), ...args], env);
  }

  /** Starts such a script that serves. Resolves with `{ origin, close() }` once it says where. */
  async serve(name, args) {
    return listening(this.name, process.execPath, [await this.#script(name), ...args], this.#surroundings());
  }

  /** Starts a program that serves, and says where in its output: `port` finds it there. */
  serveProgram(command, args, port) {
    return listening(this.name, command, args, this.#surroundings(), port);
  }

  /** Serves its files, those of `folder` at the root. */
  serveFiles(folder, texts = {}) {
    return serveFiles({ mounts: { "/": this.at(folder) }, texts });
  }

  remove() {
    return rm(this.folder, { recursive: true, force: true, maxRetries: 3 });
  }

  #surroundings(env = {}) {
    return { cwd: this.folder, env: { ...ENVIRONMENT, ...env } };
  }

  async #script(name) {
    const { bin } = JSON.parse(await readFile(this.at("node_modules", name, "package.json"), "utf8"));
    return this.at("node_modules", name, typeof bin === "string" ? bin : bin[name]);
  }
}

/** npm's words for a registry that is not there, or has it not, or not for this system. */
const OUT_OF_REACH =
  /^(?:E404|ETARGET|ENOTFOUND|EAI_AGAIN|ECONN\w+|ETIMEDOUT|ENETUNREACH|E5\d\d|EBADPLATFORM|ENOTCACHED|ERR_SOCKET_TIMEOUT)$/;

// ---- servers

const PORT = /http:\/\/(?:127\.0\.0\.1|localhost):(\d+)/;

function listening(title, command, args, { cwd, env }, port = PORT) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, {
      cwd,
      env: { ...process.env, ...env },
      stdio: ["ignore", "pipe", "pipe"],
    });
    let output = "";
    const failed = (why) => {
      clearTimeout(late);
      child.kill();
      reject(new StepError(`${title}: ${why}\n${output.trimEnd()}`));
    };
    const late = setTimeout(failed, 60_000, "it does not listen after 60 s");
    const hear = (text) => {
      output += stripVTControlCharacters(text);
      const [, found] = port.exec(output) ?? [];
      if (found === undefined) return;
      clearTimeout(late);
      resolve({ origin: `http://127.0.0.1:${found}`, output: () => output, close: () => ended(child) });
    };
    child.stdout.setEncoding("utf8").on("data", hear);
    child.stderr.setEncoding("utf8").on("data", hear);
    child.once("error", (error) => failed(error.message));
    child.once("exit", (code, signal) => failed(`it ended with ${signal ?? code}`));
    process.once("exit", () => child.kill());
  });
}

function ended(child) {
  if (child.exitCode !== null || child.signalCode !== null) return;
  return new Promise((resolve) => {
    child.once("exit", resolve);
    child.kill();
    setTimeout(() => child.kill("SIGKILL"), 5_000).unref();
  });
}

// ---- pages

/** The browser's program. */
export function chromium() {
  const found = findChromium();
  if (found !== null) return found;
  throw new NotRun(`no Chromium was found: ${INSTALL_CHROMIUM}`);
}

/** Runs `body(page)` in a new page. An error that nobody caught in it ends the case. */
async function onPage(browser, address, body) {
  const context = await browser.newContext();
  try {
    const page = await context.newPage();
    const uncaught = new Promise((_, reject) => {
      page.on("pageerror", (error) => reject(new StepError(`in the page: ${error.stack ?? error.message}`)));
    });
    uncaught.catch(() => {});
    const look = async () => {
      await page.goto(address);
      return body(page);
    };
    return await Promise.race([look(), uncaught]);
  } finally {
    await context.close();
  }
}
