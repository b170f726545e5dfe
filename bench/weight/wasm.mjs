// Where the bytes of a module are: by section, and by the room of the core that its functions come from.
import binaryen from "binaryen";

const SECTIONS = [
  "custom",
  "types",
  "imports",
  "functions",
  "tables",
  "memory",
  "globals",
  "exports",
  "start",
  "elements",
  "code",
  "data",
  "data count",
  "tags",
];

/** Bytes by section, each with its header. */
export function sectionsOf(wasm) {
  const sizes = {};
  for (const { id, start, end } of sections(wasm))
    sizes[SECTIONS[id]] = (sizes[SECTIONS[id]] ?? 0) + end - start;
  return sizes;
}

/**
 * Bytes of code by room. `compiled` is the module as rustc wrote it, with names: they are gone in what is shipped. So it is
 * optimised here once more as the build does it, without what wasm-bindgen only needs to describe itself.
 */
export function roomsOf(compiled) {
  const wasm = optimised(compiled);
  const names = namesOf(wasm);
  const sizes = {};
  for (const { index, size } of bodiesOf(wasm)) {
    const room = roomOf(names.get(index) ?? "");
    sizes[room] = (sizes[room] ?? 0) + size;
  }
  return Object.fromEntries(Object.entries(sizes).sort(([, a], [, b]) => b - a));
}

function optimised(compiled) {
  binaryen.setDebugInfo(true);
  binaryen.setOptimizeLevel(2);
  binaryen.setShrinkLevel(2);
  binaryen.setLowMemoryUnused(true);
  const module = binaryen.readBinary(compiled);
  for (let i = module.getNumExports() - 1; i >= 0; i--) {
    const { name } = binaryen.getExportInfo(module.getExportByIndex(i));
    if (name.startsWith("__wbindgen_describe")) module.removeExport(name);
  }
  module.optimize();
  const wasm = module.emitBinary();
  module.dispose();
  return wasm;
}

/**
 * `tidegate::limits::…` is of the room limits, and so is what a generic function of the standard library became for it. The
 * functions that JavaScript calls bear the crate's hash and are of the room that knows JavaScript.
 */
function roomOf(name) {
  const own = /8tidegate(\d+)(\w+)/.exec(name);
  if (own) return own[2].slice(0, Number(own[1]));
  const inGeneric = /tidegate\.\.(\w+)/.exec(name);
  if (inGeneric) return inGeneric[1];
  if (/^\w+_[0-9a-f]{16}$/.test(name)) return "wasm";
  if (/^__(wb|externref)/.test(name)) return "wasm_bindgen";
  const other = /^_ZN(\d+)([a-z]\w*)/.exec(name);
  const crate = other?.[2].slice(0, Number(other[1]));
  return crate && !["core", "alloc", "std"].includes(crate) ? crate : STANDARD;
}

const STANDARD = "Rust's standard library";

function bodiesOf(wasm) {
  const code = sections(wasm).find(({ id }) => id === 10);
  const reader = new Reader(wasm, code.body);
  const imported = importedFunctions(wasm);
  return Array.from({ length: reader.number() }, (_, i) => {
    const size = reader.number();
    reader.at += size;
    return { index: imported + i, size };
  });
}

function namesOf(wasm) {
  const names = new Map();
  for (const { id, body, end } of sections(wasm)) {
    if (id !== 0) continue;
    const reader = new Reader(wasm, body);
    if (reader.text() !== "name") continue;
    while (reader.at < end) {
      const kind = reader.number();
      const size = reader.number();
      const next = reader.at + size;
      if (kind === 1)
        for (let left = reader.number(); left > 0; left--) names.set(reader.number(), reader.text());
      reader.at = next;
    }
  }
  return names;
}

function importedFunctions(wasm) {
  return WebAssembly.Module.imports(new WebAssembly.Module(wasm)).filter(({ kind }) => kind === "function")
    .length;
}

function sections(wasm) {
  const found = [];
  const reader = new Reader(wasm, 8);
  while (reader.at < wasm.length) {
    const start = reader.at;
    const id = reader.number();
    const size = reader.number();
    found.push({ id, start, body: reader.at, end: reader.at + size });
    reader.at += size;
  }
  return found;
}

/** LEB128 and strings, from the binary format of the WebAssembly specification. */
class Reader {
  constructor(bytes, at) {
    this.bytes = bytes;
    this.at = at;
  }

  number() {
    let value = 0;
    for (let factor = 1; ; factor *= 128) {
      const byte = this.bytes[this.at++];
      value += (byte & 127) * factor;
      if (byte < 128) return value;
    }
  }

  text() {
    const length = this.number();
    const bytes = this.bytes.subarray(this.at, this.at + length);
    this.at += length;
    return new TextDecoder().decode(bytes);
  }
}
