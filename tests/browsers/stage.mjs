// What the suite needs beside a browser: the packed package, one site for each content policy, the API on another origin.
import { readFile } from "node:fs/promises";
import path from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { build } from "esbuild";
import { installed, root } from "../../js/steps.mjs";
import { serveFiles } from "../browser/harness.mjs";
import { installPacked } from "../packaging/pack.mjs";
import { serveCases } from "./api.mjs";

/** The content policies that pages and workers are served with, and the state in which the core is to be under each. */
export const POLICIES = [
  { name: "none", core: "ready" },
  { name: "script-src 'self' 'wasm-unsafe-eval'", core: "ready" },
  { name: "script-src 'self'", core: "csp" },
];

/** Resolves with `{ api, sites, close }`: `sites` are the origins, by the names of `POLICIES`. */
export async function openStage() {
  const closing = [];
  const close = async () => {
    for (const end of closing.reverse()) await end();
  };
  const owned = (thing, end = () => thing.close()) => {
    closing.push(end);
    return thing;
  };
  try {
    const app = await installPacked();
    owned(app, () => app.remove());
    const files = await siteOf(path.join(app.folder, "node_modules", "tidegate"));
    const sites = {};
    for (const { name } of POLICIES) {
      const headers = name === "none" ? {} : { "Content-Security-Policy": name };
      sites[name] = owned(await serveFiles({ ...files, headers })).origin;
    }
    const api = owned(await serveCases());
    return { api: api.origin, sites, close };
  } catch (error) {
    await close();
    throw error;
  }
}

/** Each mount is a copy of the package: to a browser, another address is another module. */
const MOUNTS = [
  "tidegate",
  "fresh",
  "second",
  "missing",
  "limited",
  "streamed",
  "whole",
  "bytes",
  "compiled",
];

async function siteOf(folder) {
  const script = (text) => ({ type: "text/javascript", text });
  const html = (name) => ({
    type: "text/html; charset=utf-8",
    text: `<!doctype html><meta charset="utf-8"><title>${name}</title><link rel="icon" href="data:,"><script type="module" src="/${name}.js"></script>`,
  });
  return {
    mounts: Object.fromEntries(MOUNTS.map((name) => [`/${name}/`, folder])),
    texts: {
      "/": html("page"),
      "/frame.html": html("frame"),
      "/page.js": script(await bundled("page", folder)),
      "/realm.js": script(await bundled("realm", folder)),
      "/frame.js": script(await bundled("frame", folder)),
      "/plain/core_bg.wasm": {
        type: "application/octet-stream",
        text: await readFile(path.join(folder, "pkg", "core_bg.wasm")),
      },
    },
  };
}

/** With the package left out, so that browsers load it as it was built; but for the reader of CSV, which needs Papaparse. */
async function bundled(name, folder) {
  const { outputFiles } = await build({
    entryPoints: [path.join(root, "tests", "browsers", "realm", `${name}.js`)],
    bundle: true,
    format: "esm",
    external: MOUNTS.map((mount) => `/${mount}/*`),
    alias: { "tidegate/csv": path.join(folder, "dist", "csv.js"), papaparse: installed("papaparse", ".") },
    write: false,
    logLevel: "error",
  });
  return outputFiles[0].text;
}

/** Asks until the answer is true, and resolves with it. */
export async function until(isTrue, patienceMs = 60_000) {
  const end = performance.now() + patienceMs;
  for (;;) {
    const value = await isTrue();
    if (value) return value;
    if (performance.now() > end)
      throw new Error(`It did not happen within ${patienceMs / 1_000} s: ${isTrue}`);
    await delay(50);
  }
}
