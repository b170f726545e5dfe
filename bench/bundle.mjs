// How the benches bundle: with esbuild, as an application for browsers does, tidegate and its peers in the same way.
import path from "node:path";
import { build } from "esbuild";
import { here } from "./report.mjs";

/** Where tidegate is taken from: the folder of another build may be named, to compare two of them. */
const DIST = process.env.TIDEGATE ? path.dirname(process.env.TIDEGATE) : path.join(here, "..", "dist");

const BROWSER = { bundle: true, minify: true, format: "esm", platform: "browser", target: "es2022" };

/** One file from a text of code, with what esbuild knows of where its bytes come from. */
export function bundled(contents, more = {}) {
  return bundledFrom({ stdin: { contents, resolveDir: here }, plugins: [tidegate], ...more });
}

/** An entry from its source, to see which file takes how much: what lies in dist/ is one file for most of them. */
export function bundledFromSource(entry) {
  return bundledFrom({ entryPoints: [`js/${entry}.ts`] });
}

async function bundledFrom(more) {
  const { outputFiles, metafile } = await build({
    ...BROWSER,
    write: false,
    metafile: true,
    outdir: here,
    absWorkingDir: path.join(here, ".."),
    logLevel: "error",
    ...more,
  });
  const [output] = Object.values(metafile.outputs);
  return { bytes: outputFiles[0].contents, inputs: output.inputs };
}

/** Files in a folder: each library in a part of its own, which is loaded when it is imported. */
export async function bundledInto(folder, entry) {
  await build({
    ...BROWSER,
    entryPoints: [entry],
    splitting: true,
    outdir: folder,
    outExtension: { ".js": ".mjs" },
    logLevel: "error",
    plugins: [tidegate],
  });
  return path.join(folder, path.basename(entry));
}

/** `tidegate` and its subpaths are what was built beside us. */
const tidegate = {
  name: "tidegate",
  setup({ onResolve }) {
    onResolve({ filter: /^tidegate(\/|$)/ }, ({ path: name }) => {
      const subpath = name.slice("tidegate/".length);
      return { path: path.join(DIST, `${subpath || "index"}.js`), sideEffects: false };
    });
  },
};
