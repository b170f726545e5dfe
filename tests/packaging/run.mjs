// What gets published is what gets tested: the tarball, installed into an application of its own.
//
//   node tests/packaging/run.mjs [--update]    after `node js/build.mjs`
import assert from "node:assert/strict";
import { cp, mkdir, readdir, readFile, symlink, writeFile } from "node:fs/promises";
import path from "node:path";
import { pathToFileURL } from "node:url";
import esbuild from "esbuild";
import { build as viteBuild } from "vite";
import { filesIn, installed, root, run as runProgram, StepError } from "../../js/steps.mjs";
import { Report } from "../report.mjs";
import { checkDependencies } from "./dependencies.mjs";
import { evaluators } from "./evaluators.mjs";
import { installPacked } from "./pack.mjs";

export async function run({ report, update = false }) {
  const app = await installPacked();
  try {
    await cp(path.join(HERE, "apps"), app.folder, { recursive: true });
    await recorded(report, app, update);
    await manifest(report, app);
    await supplyChain(report, app);
    await inNode(report, app);
    await inTypeScript(report, app);
    await inDocumentation(report, app);
    await inBundlers(report, app);
  } finally {
    await app.remove();
  }
}

const HERE = import.meta.dirname;

// ---- lists that a reviewer sees change

async function recorded(report, app, update) {
  const lists = [
    ["files.txt", "the tarball holds what is recorded, and only that", () => app.files],
    ["api.txt", "the public declarations are those recorded", () => declarations(app)],
    ["imports.txt", "the core imports what is recorded, and only that", () => coreImports(app)],
  ];
  for (const [file, name, list] of lists) {
    await report.case(name, async () => {
      const recorded = path.join(HERE, file);
      const text = `${(await list()).join("\n")}\n`;
      if (update) await writeFile(recorded, text);
      const expected = await readFile(recorded, "utf8");
      if (text === expected) return;
      throw new StepError(
        `${difference(expected, text)}\nIf that is meant: npm test -- --only package --update`,
      );
    });
  }
}

/** The declarations of all files, one after the other, without comments: the shape of the interface. */
async function declarations(app) {
  const lines = [];
  for (const file of app.files.filter((name) => name.endsWith(".d.ts"))) {
    const text = await readFile(path.join(app.folder, "node_modules", "tidegate", file), "utf8");
    const bare = text.replaceAll(/\/\*[\s\S]*?\*\//g, "").replaceAll(/^\s*\n/gm, "");
    lines.push(`// ${file}`, bare.trimEnd(), "");
  }
  return lines;
}

/** What the core asks of the platform: in the module itself its names are letters (js/rewrite.mjs). */
async function coreImports(app) {
  const bytes = await readFile(path.join(app.folder, "node_modules", "tidegate", "pkg", "core_bg.wasm"));
  const letters = JSON.parse(await readFile(path.join(root, "pkg", "core.imports.json"), "utf8"));
  return WebAssembly.Module.imports(new WebAssembly.Module(bytes))
    .map(({ name }) => letters[name] ?? name)
    .sort();
}

function difference(expected, actual) {
  const [before, after] = [expected.split("\n"), actual.split("\n")];
  const lines = [
    ...before.filter((line) => !after.includes(line)).map((line) => `- ${line}`),
    ...after.filter((line) => !before.includes(line)).map((line) => `+ ${line}`),
  ];
  return lines.length > 0 ? lines.join("\n") : "The same lines, in another order.";
}

// ---- package.json

async function manifest(report, app) {
  await report.case("installing it brings nothing else and runs nothing", async () => {
    const { dependencies = {}, scripts = {} } = JSON.parse(
      await readFile(path.join(root, "package.json"), "utf8"),
    );
    assert.deepEqual(dependencies, {});
    const hooks = ["preinstall", "install", "postinstall", "prepare"];
    assert.deepEqual(
      hooks.filter((hook) => hook in scripts),
      [],
    );
  });
  await report.case("publint finds nothing", () =>
    runProgram(
      "publint",
      process.execPath,
      [installed("publint", "src/cli.js"), app.tarball, "--strict"],
      QUIET,
    ).then(nothing),
  );
  await report.case("attw finds that all entries resolve, in every mode that reads exports", () =>
    runProgram(
      "attw",
      process.execPath,
      [
        installed("@arethetypeswrong/cli", "dist/index.js"),
        app.tarball,
        "--no-emoji",
        "--profile",
        "node16",
        "--exclude-entrypoints",
        "core.wasm",
      ],
      QUIET,
    ).then(nothing),
  );
}

// ---- what comes with it, and what it may do

async function supplyChain(report, app) {
  await report.case("docs/dependencies.md tells of every dependency, and of nothing else", async () => {
    return `${await checkDependencies()} dependencies`;
  });
  await report.case("nothing that is published evaluates text", async () => {
    const scripts = app.files.filter((file) => /\.c?js$/.test(file));
    assert(scripts.length > 0, "there are none");
    for (const sample of EVALUATING) assert.equal(evaluators(sample).length, 1, `${sample} is not found`);
    const found = [];
    for (const file of scripts) {
      const text = await readFile(path.join(app.folder, "node_modules", "tidegate", file), "utf8");
      found.push(...evaluators(text).map((what) => `${file}: ${what}`));
    }
    assert.deepEqual(found, []);
    return `${scripts.length} files`;
  });
  for (const script of ["node.mjs", "node.cjs"]) {
    await report.case(`it works where no text may be evaluated: ${script}`, () =>
      runProgram(
        script,
        process.execPath,
        ["--disallow-code-generation-from-strings", script],
        inside(app),
      ).then(nothing),
    );
  }
}

/** What has to be found, so that finding nothing means something. */
const EVALUATING = [
  'eval("1")',
  '(0, eval)("1")',
  'new Function("a", "return a")',
  "const make = globalThis.Function",
  'setTimeout("f()", 1)',
  '(() => {}).constructor("return 1")',
];

// ---- Node

async function inNode(report, app) {
  const node = (name, ...args) =>
    report.case(name, () => runProgram(name, process.execPath, args, inside(app)).then(nothing));
  const { exports } = JSON.parse(await readFile(path.join(root, "package.json"), "utf8"));
  const scripts = Object.keys(exports).filter((subpath) => !/\.(?:wasm|json)$/.test(subpath));
  const specifiers = scripts.map((subpath) => `tidegate${subpath.slice(1)}`);
  await node("an ES module in Node imports it and calls", "node.mjs");
  await node("a CommonJS module in Node requires it and calls", "node.cjs");
  await node("two copies in a process share the default service", "two-copies.mjs");
  await linkPeers(app);
  await node("importing every entry runs nothing", "quiet.mjs", ...specifiers);
}

// ---- TypeScript

async function inTypeScript(report, app) {
  const modes = [
    { title: "nodenext, ES module", source: "consumer.ts", options: { module: "nodenext" } },
    { title: "nodenext, CommonJS", source: "consumer.cts", options: { module: "nodenext" } },
    { title: "bundler", source: "consumer.ts", options: { module: "esnext", moduleResolution: "bundler" } },
    {
      title: "`using`",
      source: "dispose.ts",
      options: { module: "nodenext", lib: [...LIB, "ESNext.Disposable"] },
    },
  ];
  await cp(path.join(app.folder, "consumer.ts"), path.join(app.folder, "consumer.cts"));
  for (const compiler of ["typescript", "typescript-5"]) {
    for (const [i, { title, source, options }] of modes.entries()) {
      await report.case(`a strict consumer compiles: ${compiler}, ${title}`, async () => {
        const project = path.join(app.folder, `tsconfig.${i}.json`);
        await writeFile(
          project,
          JSON.stringify({ compilerOptions: { ...CONSUMER, ...options }, files: [source] }),
        );
        await runProgram(
          "tsc",
          process.execPath,
          [installed(compiler, "bin/tsc"), "--project", project],
          inside(app),
        );
      });
    }
  }
}

const LIB = ["ES2022", "DOM", "DOM.Iterable"];

const CONSUMER = {
  target: "ES2022",
  lib: LIB,
  types: [],
  strict: true,
  exactOptionalPropertyTypes: true,
  noUncheckedIndexedAccess: true,
  isolatedModules: true,
  skipLibCheck: false,
  noEmit: true,
};

// ---- documentation

/** Each `ts` and `tsx` block is a file of an application with the package, the clients and `surroundings.d.ts` around it. */
async function inDocumentation(report, app) {
  await report.case("the TypeScript in the documentation compiles", async () => {
    const folder = path.join(app.folder, "snippets");
    const names = await writeSnippets(folder);
    assert(names.length > 0, "there are none");
    await linkClients(app);
    const compilerOptions = { ...CONSUMER, ...SNIPPETS };
    await writeFile(
      path.join(folder, "tsconfig.json"),
      JSON.stringify({ compilerOptions, files: [...names, "../surroundings.d.ts"] }),
    );
    await runProgram(
      "tsc",
      process.execPath,
      [installed("typescript", "bin/tsc"), "--project", folder],
      QUIET,
    );
    return `${names.length} snippets`;
  });
}

const SNIPPETS = {
  lib: [...LIB, "ESNext.Disposable"],
  module: "esnext",
  moduleResolution: "bundler",
  jsx: "react-jsx",
  skipLibCheck: true,
};

/** Writes the blocks of README.md and docs/ as `<page>-<line>.ts` and resolves with their names. */
async function writeSnippets(folder) {
  await mkdir(folder);
  const pages = ["README.md", ...(await filesIn("docs"))].filter((file) => file.endsWith(".md"));
  const names = [];
  for (const page of pages) {
    const text = await readFile(path.join(root, page), "utf8");
    for (const { 1: language, 2: code, index } of text.matchAll(/^```(tsx?)\n([\s\S]*?)^```$/gm)) {
      const line = text.slice(0, index).split("\n").length;
      const name = `${page.replaceAll(/\W/g, "-")}-${line}.${language}`;
      await writeFile(path.join(folder, name), `${code}\nexport {};\n`);
      names.push(name);
    }
  }
  return names;
}

/** Puts the optional peers beside the installed package, as whoever uses them would. */
async function linkPeers(app) {
  const { peerDependencies } = JSON.parse(await readFile(path.join(root, "package.json"), "utf8"));
  await link(Object.keys(peerDependencies), app);
}

/** Puts our development dependencies beside the installed package, where the snippets look for react-admin and the like. */
async function linkClients(app) {
  const installed = await readdir(path.join(root, "node_modules"));
  await link(
    installed.filter((name) => !name.startsWith(".")),
    app,
  );
}

async function link(names, app) {
  const there = await readdir(path.join(app.folder, "node_modules"));
  for (const name of names.filter((name) => !there.includes(name))) {
    const [from, to] = [root, app.folder].map((folder) => path.join(folder, "node_modules", name));
    await symlink(from, to, "junction");
  }
}

// ---- bundlers

async function inBundlers(report, app) {
  const main = path.join(app.folder, "web", "main.js");
  const options = { entryPoints: [main], bundle: true, format: "esm", logLevel: "silent", metafile: true };
  await report.case("esbuild bundles it without configuration, and the bundle runs", async () => {
    const outfile = path.join(app.folder, "esbuild.mjs");
    await esbuild.build({ ...options, minify: true, outfile });
    await assertRuns(outfile);
  });
  await report.case("Vite builds it without configuration, and the build runs", async () => {
    const outfile = path.join(app.folder, "vite", "main.mjs");
    await viteBuild({
      root: path.join(app.folder, "web"),
      configFile: false,
      logLevel: "error",
      build: {
        outDir: path.dirname(outfile),
        modulePreload: { polyfill: false },
        rollupOptions: { output: { entryFileNames: path.basename(outfile) } },
      },
    });
    await assertRuns(outfile);
  });
  await report.case("a host with the workerd condition gets the compiled module, not its text", async () => {
    const outfile = path.join(app.folder, "workerd.mjs");
    const plugins = [compiledModules()];
    const { metafile } = await esbuild.build({ ...options, conditions: ["workerd"], plugins, outfile });
    assert(!Object.keys(metafile.inputs).some((input) => input.endsWith("dist/index.js")));
    await assertRuns(outfile);
  });
  await report.case("so it does where only an import and a data provider are imported", async () => {
    const entryPoints = [path.join(app.folder, "web", "rows.js")];
    const outfile = path.join(app.folder, "workerd.import.mjs");
    const plugins = [compiledModules()];
    const { metafile } = await esbuild.build({
      ...options,
      entryPoints,
      conditions: ["workerd"],
      plugins,
      outfile,
    });
    const inputs = Object.keys(metafile.inputs).map((input) => path.basename(input));
    assert.deepEqual(
      inputs.filter((input) => /^(?:index|import|react-admin)\.js$|\.wasm$/.test(input)).sort(),
      ["core_bg.wasm", "import_bg.wasm"],
    );
    await assertRuns(outfile, { imported: 1, wrapped: "object" });
  });
}

async function assertRuns(file, expected = { value: 5, core: "ready", wrapped: "function" }) {
  delete globalThis.result;
  await import(pathToFileURL(file).href);
  assert.deepEqual(await globalThis.result, expected);
}

/** Like workerd: importing a `.wasm` file yields a WebAssembly.Module. */
function compiledModules() {
  return {
    name: "compiled-modules",
    setup(build) {
      build.onLoad({ filter: /\.wasm$/ }, async ({ path: file }) => {
        const bytes = JSON.stringify((await readFile(file)).toString("base64"));
        return { contents: `export default new WebAssembly.Module(Buffer.from(${bytes}, "base64"));` };
      });
    },
  };
}

// ---- helpers

const QUIET = { env: { NO_COLOR: "1", FORCE_COLOR: undefined } };

const inside = (app) => ({ cwd: app.folder, ...QUIET });

const nothing = () => undefined;

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const report = new Report("packaging");
  await run({ report, update: process.argv.includes("--update") });
  console.log(report.counts());
  process.exitCode = report.failed > 0 ? 1 : 0;
}
