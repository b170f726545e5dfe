// The hosts, and how each of them is made to run the exercise. An application is made once for all hosts that name it.
import { readdir, readFile, writeFile } from "node:fs/promises";
import path from "node:path";
import { CHROMIUM_ARGS } from "../browser/harness.mjs";
import { chromium } from "./stage.mjs";

/**
 * A host. `name` is for `--only`; `host` and `way` are for people; `packageName` is the package whose version is its own,
 * `null` where the browser is the host. `run` does the exercise in the application `app` against the server at `url`:
 * where that is in a page, by `visit(address, look)`. `mounts`: how often React runs the effect that does it.
 */
const host = (name, app, title, way, packageName, run, more = {}) => ({
  name,
  app,
  host: title,
  way,
  packageName,
  run,
  mounts: 1,
  ...more,
});

const MODULES = [
  { form: "esm", way: "ES module", script: "program.mjs" },
  { form: "cjs", way: "CommonJS", script: "program.cjs" },
];

export const HOSTS = [
  host("vite-dev", "vite", "Vite", "development server (StrictMode)", "vite", viteDev, { mounts: 2 }),
  host("vite-build", "vite", "Vite", "build", "vite", viteBuild),
  host("webpack", "webpack", "webpack", "build", "webpack", webpack),
  host("rollup", "rollup", "Rollup", "build", "rollup", rollup),
  host("esbuild", "esbuild", "esbuild", "build", "esbuild", esbuild),
  host("parcel", "parcel", "Parcel", "build (`packageExports` on)", "parcel", parcel),
  host("next-client", "next", "Next.js", "client component", "next", nextInPage),
  host("next-server", "next", "Next.js", "server component", "next", nextOnServer("server")),
  host("next-route", "next", "Next.js", "route handler", "next", nextOnServer("route")),
  host("next-edge", "next", "Next.js", "route handler (edge runtime)", "next", nextOnServer("edge")),
  host("vitest-node", "vitest", "Vitest", "node", "vitest", vitest("--environment", "node")),
  host("vitest-jsdom", "vitest", "Vitest", "jsdom", "vitest", vitest("--environment", "jsdom")),
  host("vitest-browser", "vitest", "Vitest", "browser mode", "vitest", vitestInBrowser),
  host("jest-node", "jest", "Jest", "node", "jest", jest("--env=node")),
  host(
    "jest-jsdom",
    "jest",
    "Jest",
    "jsdom (with a set-up file)",
    "jest",
    jest("--config=jsdom.config.json"),
  ),
  ...[20, 22, 24, 26].flatMap((major) =>
    MODULES.map(({ form, way, script }) =>
      host(`node-${major}-${form}`, "node", "Node", way, `node-${major}`, node(`node-${major}`, script)),
    ),
  ),
  ...MODULES.map(({ form, way, script }) => host(`deno-${form}`, "deno", "Deno", way, "deno", deno(script))),
  ...MODULES.map(({ form, way, script }) => host(`bun-${form}`, "bun", "Bun", way, "bun", bun(script))),
  host("workerd", "workerd", "workerd", "bundled by esbuild", "workerd", workerd),
  host("page", "page", "Chromium, no bundler", '`<script type="module">`', null, page("direct.html")),
  host("page-mapped", "page", "Chromium, no bundler", "import map", null, page("mapped.html")),
];

// ---- bundlers

async function viteDev({ app, visit }) {
  const site = await app.serve("vite", ["--host", "127.0.0.1", "--port", "0"]);
  await visit(site, "/", (page) => page.evaluate(() => globalThis.effects));
}

async function viteBuild({ app, visit }) {
  await app.tool("vite", ["build"]);
  await visit(await app.serveFiles("dist"), "/index.html");
}

async function webpack({ app, visit }) {
  await app.tool("webpack", ["--mode", "production", "--entry", "./page.js", "--output-filename", "page.js"]);
  await visit(await app.serveFiles("."), "/bundled.html");
}

async function rollup({ app, visit }) {
  await app.tool("rollup", ["page.js", "--plugin", "node-resolve", "--format", "es", "--dir", "dist"]);
  await visit(await app.serveFiles("."), "/bundled.html");
}

async function esbuild({ app, visit }) {
  await app.tool("esbuild", ["page.js", "--bundle", "--minify", "--format=esm", "--outdir=dist"]);
  await visit(await app.serveFiles("."), "/bundled.html");
}

async function parcel({ app, visit }) {
  await app.tool("parcel", ["build", "index.html", "--no-cache"]);
  await visit(await app.serveFiles("dist"), "/index.html");
}

// ---- frameworks

async function nextInPage({ app, visit }) {
  await visit(await startNext(app), "/client");
}

/** A page or a route that does the exercise before it answers. */
function nextOnServer(at) {
  return async ({ app, url, ask }) => ask(await startNext(app), `/${at}?api=${encodeURIComponent(url)}`);
}

async function startNext(app) {
  await app.once("build", () => app.tool("next", ["build"]));
  return app.serve("next", ["start", "--hostname", "127.0.0.1", "--port", "0"]);
}

// ---- test runners

function vitest(...options) {
  return ({ app, url }) => app.tool("vitest", ["run", ...options], { VITE_API: url });
}

function vitestInBrowser({ app, url }) {
  return app.tool("vitest", ["run", "--config", "browser.config.js"], {
    VITE_API: url,
    CHROMIUM: chromium(),
    CHROMIUM_ARGS: JSON.stringify(CHROMIUM_ARGS),
  });
}

function jest(...options) {
  return ({ app, url }) => app.tool("jest", [...options, "--no-cache"], { API: url });
}

// ---- other platforms

/** Node is a package here, so that its version does not depend on what runs this. */
function node(name, script) {
  return ({ app, url }) => app.run(app.binary([name], "bin/node"), [script, url]);
}

/** With leave to talk to the server, and for nothing else; `require` looks for files. */
function deno(script) {
  const leave = ["--allow-net=127.0.0.1", ...(script.endsWith(".cjs") ? ["--allow-read=."] : [])];
  return async ({ app, url }) => {
    const program = app.binary(await app.scope("@deno"), "deno");
    await app.run(program, ["run", "--no-prompt", ...leave, script, url]);
  };
}

function bun(script) {
  return async ({ app, url }) => app.run(app.binary(await app.scope("@oven"), "bin/bun"), [script, url]);
}

/** As wrangler does it: one module by esbuild, under the platform's conditions, and what is WebAssembly beside it. */
async function workerd({ app, url, ask }) {
  const options = ["--format=esm", "--conditions=workerd,worker,browser", "--loader:.wasm=copy"];
  await app.tool("esbuild", ["worker.js", "--bundle", "--outdir=dist", "--asset-names=[name]", ...options]);
  await writeFile(app.at("config.capnp"), await workerdConfig(app));
  const program = app.binary(await app.scope("@cloudflare"), "bin/workerd");
  const args = ["serve", "config.capnp", "--control-fd=1"];
  await ask(await app.serveProgram(program, args, /"port":(\d+)/), `/?api=${encodeURIComponent(url)}`);
}

/** Its API is on loopback, which a worker may reach only when told. */
async function workerdConfig(app) {
  const names = (await readdir(app.at("dist"))).sort().reverse();
  const kind = { ".js": "esModule", ".wasm": "wasm" };
  const modules = names.map(
    (name) => `    (name = "${name}", ${kind[path.extname(name)]} = embed "dist/${name}"),`,
  );
  return `using Workerd = import "/workerd/workerd.capnp";

const config :Workerd.Config = (
  services = [
    (name = "main", worker = .worker),
    (name = "internet", network = (allow = ["public", "private"])),
  ],
  sockets = [(name = "http", address = "127.0.0.1:0", http = (), service = "main")],
);

const worker :Workerd.Worker = (
  compatibilityDate = "2026-11-01",
  modules = [
${modules.join("\n")}
  ],
);
`;
}

// ---- pages without a bundler

function page(file) {
  return async ({ app, visit }) => {
    await app.once("addresses", () => writeWithAddresses(app));
    await visit(await app.serveFiles("."), `/${file}`);
  };
}

/** The exercise with addresses in place of names: what a page imports that has no import map. */
async function writeWithAddresses(app) {
  const text = await readFile(app.at("exercise.js"), "utf8");
  const addressed = text
    .replace('"tidegate"', '"/node_modules/tidegate/dist/index.js"')
    .replace('"tidegate/import"', '"/node_modules/tidegate/dist/import.js"');
  await writeFile(app.at("exercise.direct.js"), addressed);
  const start = await readFile(app.at("page.js"), "utf8");
  await writeFile(app.at("page.direct.js"), start.replace("./exercise.js", "./exercise.direct.js"));
}
