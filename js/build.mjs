// Builds the package: src/ becomes pkg/ (cargo, wasm-bindgen, wasm-opt), js/ becomes dist/ (esbuild, tsc).
//
//   node js/build.mjs               builds what changed, checks the result, prints its sizes
//   node js/build.mjs --check-size  measures what lies there and fails when a promise about size is broken
//
// The steps know their inputs by content: a second build without changes takes about a second.

import { existsSync } from "node:fs";
import { mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { homedir, tmpdir } from "node:os";
import path from "node:path";
import { pathToFileURL } from "node:url";
import { brotliCompressSync, gzipSync } from "node:zlib";
import { asText, withLateCoders, withMutePanics, withShortNames } from "./rewrite.mjs";
import { ask, filesIn, installed, root, run, StepError, since, stamped, writeWhole } from "./steps.mjs";

/** What the README promises about size, in bytes. */
export const LIMITS = { coreRaw: 70_000, indexGzip: 67_000, serviceGzip: 55_500, importGzip: 51_000 };

/**
 * The entries of the package, read from the exports of package.json: the one table of them.
 * Each is built from `js/<name>.ts`; `commonjs` says that a `.cjs` stands beside the `.js`.
 */
export async function entries() {
  const { exports } = JSON.parse(await readFile(at("package.json"), "utf8"));
  const table = new Map();
  for (const target of targets(exports)) {
    const [, name, extension] = /^\.\/dist\/(.+?)\.(js|cjs)$/.exec(target) ?? [];
    if (name) table.set(name, { name, commonjs: extension === "cjs" || table.get(name)?.commonjs === true });
  }
  return [...table.values()];
}

/** Builds what changed. Throws a StepError that says which step failed and why. */
export async function build({ log = console.log } = {}) {
  const started = Date.now();
  const did = [
    (await buildDriver(log)) && "driver",
    (await buildModules(log)) && "core",
    (await buildDecoder(log)) && "decoder",
    (await buildDist(log)) && "dist",
  ].filter(Boolean);
  log(`build: ${did.length > 0 ? did.join(", ") : "nothing changed"} (${since(started)})`);
}

/** The sizes of what lies in pkg/ and dist/: each entry, and what applications import, as a minified bundle with all that it needs from us. */
export async function measure() {
  const rows = [];
  for (const { name } of MODULES) {
    rows.push({ name: `${name}.wasm`, ...sizes(await readFile(at(`pkg/${name}_bg.wasm`))) });
  }
  for (const { name } of await entries()) {
    rows.push({ name: `${name}.js`, ...(await bundledSizes(`export * from "./${name}.js";`)) });
  }
  for (const [name, code] of Object.entries(IMPORTED)) rows.push({ name, ...(await bundledSizes(code)) });
  return rows;
}

const IMPORTED = {
  "{ RateLimitService }": 'export { RateLimitService } from "./index.js";',
  "index and import": 'export * from "./index.js"; export * as imports from "./import.js";',
};

async function bundledSizes(contents) {
  const esbuild = await loadEsbuild();
  const bundle = await esbuild.build({
    stdin: { contents, resolveDir: at("dist") },
    bundle: true,
    minify: true,
    format: "esm",
    target: TARGET,
    packages: "external",
    external: ["*.wasm"],
    write: false,
    logLevel: "silent",
  });
  return sizes(bundle.outputFiles[0].contents);
}

/** The promises about size as `{ name, ok, detail }`. */
export function sizeGates(rows) {
  const size = (name) => rows.find((row) => row.name === name);
  const gate = (name, bytes, limit) => ({
    name: `${name} takes at most ${limit} bytes`,
    ok: bytes <= limit,
    detail: `${bytes} bytes`,
  });
  return [
    gate("core.wasm", size("core.wasm").raw, LIMITS.coreRaw),
    gate("the default entry, gzipped,", size("index.js").gzip, LIMITS.indexGzip),
    gate("RateLimitService alone, gzipped,", size("{ RateLimitService }").gzip, LIMITS.serviceGzip),
    gate(
      "tidegate/import beside the default entry, gzipped,",
      size("index and import").gzip - size("index.js").gzip,
      LIMITS.importGzip,
    ),
  ];
}

export function sizeTable(rows) {
  const line = (...cells) =>
    cells.map((cell, i) => (i === 0 ? String(cell).padEnd(22) : String(cell).padStart(9))).join("");
  return [
    line("bytes", "raw", "gzip", "brotli"),
    ...rows.map(({ name, raw, gzip, brotli }) => line(name, raw, gzip, brotli)),
  ].join("\n");
}

// ---- src/ -> pkg/

/** What src/ becomes: a module for each of these features of the crate. */
const MODULES = [
  { name: "core", feature: "calls" },
  { name: "import", feature: "imports" },
];
const WASM_TARGET = "wasm32-unknown-unknown";
const DRIVER_DIR = "target/bindgen";
const DRIVER = `${DRIVER_DIR}/debug/bindgen${process.platform === "win32" ? ".exe" : ""}`;

/** What rustc 1.95 may use for this target. wasm-opt must be told: with all features on it makes modules that engines refuse. */
const WASM_FEATURES = [
  "bulk-memory",
  "multivalue",
  "mutable-globals",
  "nontrapping-float-to-int",
  "reference-types",
  "sign-ext",
].map((feature) => `--enable-${feature}`);

/** Alone: beside the rlib that the tests link, cargo builds the cdylib without link-time optimisation, a fifth larger. */
const CDYLIB = ["rustc", "--lib", "--crate-type", "cdylib"];

/**
 * Nothing in the core recurses. What lies behind the stack is addressed in fewer bytes than behind the usual megabyte,
 * and a page needs less memory. A stack that overflows all the same runs into address 0, and traps.
 */
const SMALL_STACK = "-Clink-arg=-zstack-size=65536";

/** The lowest kilobyte is the far end of the stack: only who is about to overflow it gets there. */
const WASM_OPTIMISATIONS = ["-Oz", "--converge", "--low-memory-unused"];

/**
 * Compiles the program that runs wasm-bindgen. It has a folder of its own, so that the features and the profile of
 * other cargo commands never make it stale; debug, because it runs for a second and compiles for half a minute.
 */
function buildDriver(log) {
  const inputs = ["src/bin/bindgen.rs", "Cargo.lock"];
  return stamped("driver", { inputs, outputs: [DRIVER], also: [rustVersion()] }, () =>
    run(
      "compiling the wasm-bindgen driver",
      "cargo",
      ["build", "--locked", "--features", "bindgen", "--bin", "bindgen", "--target-dir", DRIVER_DIR],
      { log },
    ),
  );
}

async function buildModules(log) {
  let built = false;
  for (const module of MODULES) built = (await buildModule(module, log)) || built;
  return built;
}

function buildModule({ name, feature }, log) {
  const inputs = ["src", "Cargo.toml", "Cargo.lock", "js/build.mjs", "js/rewrite.mjs", DRIVER];
  const outputs = ["_bg.wasm", ".js", ".d.ts", ".inline.js", ".imports.json"].map(
    (end) => `pkg/${name}${end}`,
  );
  const features = ["--no-default-features", "--features", feature];
  return stamped(name, { inputs, outputs, also: [rustVersion()] }, () =>
    inFolder(async (folder) => {
      await run(
        `compiling ${name}.wasm`,
        "cargo",
        [...CDYLIB, ...features, "--release", "--locked", "--target", WASM_TARGET, "--target-dir", "target"],
        { log, env: { CARGO_ENCODED_RUSTFLAGS: [SMALL_STACK, ...anonymousPaths()].join("\x1f") } },
      );
      const compiled = at("target", WASM_TARGET, "release", "tidegate.wasm");
      await run("running wasm-bindgen", at(DRIVER), [compiled, name, folder], { log });
      const muted = path.join(folder, "muted.wasm");
      await writeFile(muted, withMutePanics(await readFile(path.join(folder, `${name}_bg.wasm`))));
      const optimised = path.join(folder, "optimised.wasm");
      await run(
        "running wasm-opt",
        process.execPath,
        [
          installed("binaryen", "bin/wasm-opt"),
          ...WASM_OPTIMISATIONS,
          ...WASM_FEATURES,
          "--strip-debug",
          "--strip-producers",
          "--strip-target-features",
          muted,
          "-o",
          optimised,
        ],
        { log },
      );
      await writePkg(name, folder, await readFile(optimised));
    }),
  );
}

/** js/text.wat, as the list of bytes that js/text.ts makes a module of. */
function buildDecoder(log) {
  const inputs = ["js/text.wat", "js/build.mjs"];
  return stamped("decoder", { inputs, outputs: ["pkg/decoder.js", "pkg/decoder.d.ts"] }, () =>
    inFolder(async (folder) => {
      const module = path.join(folder, "decoder.wasm");
      const binaryen = (tool, ...given) =>
        run(`running ${tool}`, process.execPath, [installed("binaryen", `bin/${tool}`), ...given], { log });
      await binaryen("wasm-as", at("js/text.wat"), "-o", module);
      await binaryen("wasm-opt", "-Oz", module, "-o", module);
      const bytes = [...(await readFile(module))];
      await writeWhole(at("pkg/decoder.js"), `export const decoder = [${bytes}];\n`);
      await writeWhole(
        at("pkg/decoder.d.ts"),
        "/** js/text.wat, compiled. */\nexport declare const decoder: readonly number[];\n",
      );
    }),
  );
}

/** Panic messages name source files: without this, those of the machine that built it. */
function anonymousPaths() {
  return machineFolders.map((folder) => `--remap-path-prefix=${folder}=`);
}

const machineFolders = [
  path.join(process.env.CARGO_HOME ?? path.join(homedir(), ".cargo"), "registry", "src"),
  path.normalize(root),
];

async function writePkg(name, folder, optimised) {
  const generated = await readFile(path.join(folder, `${name}.js`), "utf8");
  const glued = withLateCoders(outsideFakeTimers(generated));
  assertImports(name, optimised);
  const { wasm, glue, letters } = withShortNames({ wasm: optimised, glue: glued });
  assertHarmless(`pkg/${name}.js`, glue);
  const told = machineFolders.find((folder) => wasm.includes(folder));
  if (told) throw new StepError(`${name}.wasm contains ${told}, a path of this machine`);
  await writeWhole(at(`pkg/${name}_bg.wasm`), wasm);
  await writeWhole(at(`pkg/${name}.js`), glue);
  await writeWhole(at(`pkg/${name}.imports.json`), `${JSON.stringify(letters, null, 2)}\n`);
  await writeWhole(at(`pkg/${name}.d.ts`), await readFile(path.join(folder, `${name}.d.ts`)));
  await writeWhole(
    at(`pkg/${name}_bg.wasm.d.ts`),
    "declare const core: WebAssembly.Module;\nexport default core;\n",
  );
  await writeWhole(at(`pkg/${name}.inline.js`), `export const text =\n  "${asText(wasm)}";\n`);
  await writeWhole(
    at(`pkg/${name}.inline.d.ts`),
    `/** pkg/${name}_bg.wasm as text: for \`bytesOf\` in js/text.ts. */\nexport declare const text: string;\n`,
  );
}

/**
 * Futures of the core run as real microtasks. Jest's and sinon's fake timers replace `queueMicrotask`; a future that waits
 * in a fake queue is lost when the timers are put back, and no alarm of that core rings again.
 */
function outsideFakeTimers(glue) {
  const queued = /\n(\s*)queueMicrotask\((\w+)\);/g;
  // Without alarms there are no futures.
  if (!glue.includes("queueMicrotask")) return glue;
  if (glue.match(queued)?.length !== 1)
    throw new StepError(
      "pkg/core.js no longer calls queueMicrotask as js/build.mjs knows it: look at outsideFakeTimers",
    );
  return glue.replace(queued, "\n$1Promise.resolve().then($2);");
}

/** The core may reach randomness, timers and the objects that it is handed; never the network, a clock or an evaluator. */
function assertImports(own, wasm) {
  const forbidden = /fetch|xml|eval|newnoargs|newwithargs|date|performance|mathrandom|console|import_?meta/i;
  for (const { module, name } of WebAssembly.Module.imports(new WebAssembly.Module(wasm))) {
    if (module !== `./${own}_bg.js`)
      throw new StepError(`${own}.wasm imports from ${module}, which the glue does not serve`);
    if (forbidden.test(name)) throw new StepError(`${own}.wasm imports ${name}, which it must not need`);
  }
}

// ---- js/ -> dist/

/** Browsers with the WebAssembly features above have all of ES2022 that we use (private fields, at()). */
const TARGET = "es2022";

/** Built beside the entries: all of the API, once, so that every entry shares one set of classes and one core. */
const SHARED = "api";

function buildDist(log) {
  const inputs = ["js", "pkg", "package.json", "tsconfig.json", "tsconfig.build.json", "package-lock.json"];
  return stamped("dist", { inputs, outputs: ["dist"] }, async () => {
    const modules = await presentModules();
    const scripts = await bundles(modules);
    await writeDist(scripts);
    const types = await declarations(modules, log);
    await writeDist(types);
    await removeOthers(new Set([...scripts.keys(), ...types.keys()]));
    await assertDist([...scripts.keys()]);
  });
}

async function writeDist(files) {
  for (const [file, content] of files) await writeWhole(at("dist", file), content);
}

async function removeOthers(fresh) {
  for (const file of await filesIn("dist")) {
    if (!fresh.has(path.relative("dist", file).replaceAll(path.sep, "/"))) await rm(at(file));
  }
}

/** The shared module and the entries. */
async function presentModules() {
  const there = new Set(await readdir(at("js")));
  const modules = [{ name: SHARED, commonjs: true }, ...(await entries())].map((module) => ({
    ...module,
    source: there.has(`${module.name}.ts`) ? module.name : module.name.replace(FOR_WORKERD, ""),
  }));
  const missing = modules
    .filter(({ source }) => !there.has(`${source}.ts`))
    .map(({ name }) => `js/${name}.ts`);
  if (missing.length > 0)
    throw new StepError(`package.json exports entries without a source: ${missing.join(", ")}`);
  return modules;
}

/**
 * An entry of this name is for hosts that forbid compiling at run time. Where it has no source of its own it is built from
 * that of the entry it stands for, with each `<file>.workerd.ts` in place of the `<file>.ts` beside it.
 */
const FOR_WORKERD = /\.workerd$/;

async function bundles(modules) {
  const made = new Map();
  const owners = new Map();
  for (const format of ["esm", "cjs"]) {
    for (const module of modules) {
      if (format === "cjs" && !module.commonjs) continue;
      const { outputFiles, metafile } = await bundle(module, format, modules);
      // Never loaded beside the entry that it stands for.
      if (format === "esm" && !FOR_WORKERD.test(module.name))
        assertSingleOwner(owners, module.name, metafile);
      for (const { path: file, text } of outputFiles) {
        made.set(path.basename(file), file.endsWith(".map") ? withoutCore(text) : text);
      }
    }
  }
  return made;
}

/** Names and lines stay: they are in stack traces and in `constructor.name`. The application's own bundler shortens them. */
async function bundle({ name, source }, format, modules) {
  const esbuild = await loadEsbuild();
  const extension = format === "esm" ? ".js" : ".cjs";
  return esbuild
    .build({
      absWorkingDir: root,
      entryPoints: [{ in: `js/${source}.ts`, out: name }],
      outdir: "dist",
      outExtension: { ".js": extension },
      bundle: true,
      format,
      platform: format === "esm" ? "neutral" : "node",
      target: TARGET,
      packages: "external",
      minifySyntax: true,
      legalComments: "none",
      sourcemap: true,
      metafile: true,
      write: false,
      logLevel: "silent",
      plugins: [siblings(name, modules, extension), bundledPackages],
      ...(format === "cjs" && (await needsModuleUrl(source)) ? MODULE_URL : {}),
    })
    .catch((error) => {
      throw new StepError(error.message);
    });
}

/** What another entry is built from is imported from it, not bundled again; so is the module itself, for workerd. */
function siblings(name, modules, extension) {
  const sources = new Map(
    modules
      .filter((module) => module.source === module.name)
      .map((module) => [at("js", `${module.name}.ts`), module.name]),
  );
  const forWorkerd = (file) => file.replace(/\.ts$/, ".workerd.ts");
  return {
    name: "siblings",
    setup(build) {
      build.onResolve({ filter: /^\.{1,2}\/.*\.ts$/ }, ({ path: specifier, kind, resolveDir }) => {
        if (kind === "entry-point") return null;
        const plain = path.resolve(resolveDir, specifier);
        const file = FOR_WORKERD.test(name) && existsSync(forWorkerd(plain)) ? forWorkerd(plain) : plain;
        const sibling = sources.get(file);
        if (sibling === undefined || sibling === name) return { path: file };
        return { path: `./${sibling}${extension}`, external: true };
      });
      build.onResolve({ filter: /\.wasm$/ }, ({ path: specifier, resolveDir }) => {
        const file = path.relative(at("dist"), path.resolve(resolveDir, specifier));
        return { path: file.replaceAll(path.sep, "/"), external: true };
      });
    },
  };
}

/** Packages that come along, so that ours requires none: their licences are in LICENSE. */
const bundledPackages = {
  name: "bundled packages",
  setup(build) {
    build.onResolve({ filter: /^idb$/ }, () => ({
      path: installed("idb", "build/index.js"),
      sideEffects: false,
    }));
  },
};

/** CommonJS has no import.meta: the address of the file is made from its name, without a `require` that browsers lack. */
const MODULE_URL = {
  define: { "import.meta.url": "moduleUrl" },
  banner: {
    js: '"use strict";const moduleUrl="file:///"+encodeURI(__filename.replaceAll("\\\\","/").replace(/^\\//,"")).replaceAll("#","%23").replaceAll("?","%3F");',
  },
};

async function needsModuleUrl(name) {
  return (await readFile(at("js", `${name}.ts`), "utf8")).includes("import.meta.url");
}

/** A source that lands in two files would be two classes of one name, and two states. */
function assertSingleOwner(owners, name, { inputs }) {
  for (const input of Object.keys(inputs)) {
    const owner = owners.get(input);
    if (owner !== undefined && !STATELESS.has(input)) {
      throw new StepError(
        `${input} would be in dist/${owner}.js and in dist/${name}.js: import it through ./${SHARED}.ts`,
      );
    }
    owners.set(input, name);
  }
}

/** Without a state, and not worth a file that every entry has to load; the error among them is told by its name. */
const STATELESS = new Set(["js/import/journal/store.ts", "js/turns.ts"]);

/** Source maps carry our sources, so that a debugger shows TypeScript; the encoded core in them would be its third copy. */
function withoutCore(map) {
  const parsed = JSON.parse(map);
  parsed.sources.forEach((source, i) => {
    if (source.endsWith(".inline.js")) parsed.sourcesContent[i] = "// The core, as text.";
  });
  return JSON.stringify(parsed);
}

/** The hand-written public types, as `.d.ts` and `.d.cts`, with all that they refer to and nothing else. */
async function declarations(modules, log) {
  return inFolder(async (folder) => {
    const tsc = installed("typescript", "bin/tsc");
    await run(
      "emitting declarations",
      process.execPath,
      [tsc, "-p", "tsconfig.build.json", "--outDir", folder],
      { log },
    );
    const made = new Map();
    const visit = async (file) => {
      if (made.has(file)) return;
      const text = await readFile(path.join(folder, file), "utf8");
      made.set(file, text);
      for (const [, specifier] of text.matchAll(RELATIVE_IMPORT)) {
        await visit(declarationOf(file, specifier));
      }
    };
    for (const { name } of modules) if (!FOR_WORKERD.test(name)) await visit(`${name}.d.ts`);
    return new Map([...made].flatMap(([file, text]) => bothForms(file, text)));
  });
}

/** `from "./x.ts"`, `import("./x.ts")`, `declare module "./x.ts"`. */
const RELATIVE_IMPORT = /(?<=(?:from |import\(|import |module )")(\.{1,2}\/[^"]+)\.ts(?=")/g;

function declarationOf(file, specifier) {
  const target = path.posix.join(path.posix.dirname(file), `${specifier}.d.ts`);
  if (target.startsWith(".."))
    throw new StepError(`dist/${file} would refer to ${specifier}, which is not published`);
  return target;
}

function bothForms(file, text) {
  if (/"[./]*pkg\//.test(text))
    throw new StepError(
      `dist/${file} refers to generated types in pkg/: mark what does in its source @internal`,
    );
  return [
    [file, text.replaceAll(RELATIVE_IMPORT, "$1.js")],
    [file.replace(/\.d\.ts$/, ".d.cts"), text.replaceAll(RELATIVE_IMPORT, "$1.cjs")],
  ];
}

/** What strict content policies, old bundlers and `require` of a module stumble over. */
async function assertDist(files) {
  const esbuild = await loadEsbuild();
  for (const file of files.filter((name) => /\.c?js$/.test(name))) {
    const text = await readFile(at("dist", file), "utf8");
    assertHarmless(`dist/${file}`, text, { importMeta: file === "external.js" });
    // The CommonJS format has no place for a top-level await: esbuild refuses it, and that is the check.
    if (file.endsWith(".js"))
      await esbuild.transform(text, { format: "cjs", target: TARGET, logLevel: "silent" });
  }
  await assertCarriesCore(esbuild);
}

/**
 * With `"sideEffects": false` a bundler follows a re-export to the file that declares it and drops the file between,
 * together with what that one does on its top level. The core must come along with what needs it all the same.
 */
async function assertCarriesCore(esbuild) {
  const { size } = await stat(at("pkg/core_bg.wasm"));
  for (const name of ["RateLimitService", "rateLimitService"]) {
    const app = `import { ${name} } from "./dist/index.js"; globalThis.used = ${name};`;
    const stdin = { contents: app, resolveDir: root };
    const { outputFiles } = await esbuild.build({
      stdin,
      bundle: true,
      format: "esm",
      write: false,
      logLevel: "silent",
    });
    if (outputFiles[0].contents.length < size) {
      throw new StepError(
        `an application that imports only ${name} loses the core: dist/index.js hands the bytes over on its top level, ` +
          `which "sideEffects": false lets a bundler drop; js/index.ts must export something made from them instead`,
      );
    }
  }
}

function assertHarmless(file, text, { importMeta = false } = {}) {
  if (/\beval\s*\(|\bFunction\s*\(/.test(text))
    throw new StepError(`${file} evaluates text, which a content policy forbids`);
  if (!importMeta && text.includes("import.meta"))
    throw new StepError(`${file} uses import.meta, which not every host has`);
}

// ---- helpers

const at = (...parts) => path.join(root, ...parts);

/** Imported late: this file must load before anything is installed. */
async function loadEsbuild() {
  return await import(pathToFileURL(installed("esbuild", "lib/main.js")).href);
}

const rustVersion = () => ask("rustc", "-vV");

/** Calls `work` with a new folder and removes it afterwards. */
async function inFolder(work) {
  const folder = await mkdtemp(path.join(tmpdir(), "tidegate-build-"));
  try {
    return await work(folder);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

function targets(node) {
  return typeof node === "string" ? [node] : Object.values(node).flatMap(targets);
}

function sizes(bytes) {
  return {
    raw: bytes.length,
    gzip: gzipSync(bytes, { level: 9 }).length,
    brotli: brotliCompressSync(bytes).length,
  };
}

async function main(argument) {
  if (argument !== "--check-size") await build();
  const rows = await measure();
  console.log(sizeTable(rows));
  const broken = sizeGates(rows).filter(({ ok }) => !ok);
  for (const { name, detail } of broken) console.error(`broken promise: ${name}, and takes ${detail}`);
  return argument === "--check-size" && broken.length > 0 ? 1 : 0;
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  process.exitCode = await main(process.argv[2]).catch((error) => {
    console.error(error instanceof StepError ? `build failed: ${error.message}` : error);
    return 1;
  });
}
