// What the build changes in the files of wasm-bindgen before they become pkg/. Everything here is about size, but the
// coders: docs/decisions/0004-size-of-the-core.md.

import { StepError } from "./steps.mjs";

/**
 * Bytes as text that compresses as well as they do. js/text.wat reads it; it is written so: a digit of base 90,
 * and before it digit 90 or 91 where it stands for 90 or 180 more. No quote, backslash or `<` is among the characters.
 */
export function asText(bytes) {
  const digit = (value) => String.fromCharCode({ 25: 32, 57: 33 }[value] ?? 35 + value);
  const written = (byte) => (byte < 90 ? "" : digit(89 + Math.floor(byte / 90))) + digit(byte % 90);
  return Array.from(bytes, written).join("");
}

/**
 * TextDecoder and TextEncoder are made when they are first used. Jest's jsdom has neither, and what is made while the
 * glue is loaded would break the import there.
 */
export function withLateCoders(glue) {
  const decoder = /let cachedTextDecoder = (new TextDecoder\(.*\));\ncachedTextDecoder\.decode\(\);\n/g;
  const encoder =
    /const cachedTextEncoder = (new TextEncoder\(\));\n\nif \(!\('encodeInto' in cachedTextEncoder\)\) \{\n[\s\S]*?\n\}\n/g;
  const expected = (name) => (glue.includes(name) ? 1 : undefined);
  if (
    glue.match(decoder)?.length !== expected("cachedTextDecoder") ||
    glue.match(encoder)?.length !== expected("cachedTextEncoder")
  )
    throw new StepError("wasm-bindgen no longer makes its coders as js/rewrite.mjs knows it");
  const late = (name, made, methods) => {
    const method = (method) => `${method}: (...given) => (${name} = ${made}).${method}(...given)`;
    return `let ${name} = { ${methods.map(method).join(", ")} };\n`;
  };
  return glue
    .replace(decoder, (_, made) => late("cachedTextDecoder", made, ["decode"]))
    .replace(encoder, (_, made) => late("cachedTextEncoder", made, ["encode", "encodeInto"]));
}

/**
 * The module with a trap in place of everything that only a panic runs. It ends in one anyway (`panic = "abort"`); before
 * that it writes a message, to a standard error that the web does not have. Needs the names of the functions.
 */
export function withMutePanics(wasm) {
  const names = functionNames(wasm);
  const muted = new Set([...names.keys()].filter((index) => ONLY_FOR_PANICS.test(names.get(index))));
  if (muted.size === 0)
    throw new StepError("no function of the core is one of a panic as js/rewrite.mjs knows it");
  return withSections(withoutPlaces(wasm), {
    [CODE]: (content) => withTraps(content, importCount(wasm), muted),
  });
}

/** Zeros, which wasm-opt leaves out, for the names of source files in which something may panic: only messages tell them. */
function withoutPlaces(wasm) {
  const made = Buffer.from(wasm);
  for (const { index, 0: place } of made.toString("latin1").matchAll(SOURCE_FILE)) {
    made.fill(0, index, index + place.length);
  }
  return made;
}

/** Of the standard library, of a crate and of ours, as the compiler writes it down. */
const SOURCE_FILE = /(\/rustc\/[0-9a-f]{40}\/|index\.crates\.io-[0-9a-f]+\/|src\/)[\w/.-]+\.rs\0/g;

/** `core::panicking::panic_fmt` and all around it, and what formats the text of such a message: nothing else here formats. */
const ONLY_FOR_PANICS = /\bpanicking::|\bpanic_|::handle_(alloc_)?error\b|\bFormatter>?::pad\b/;

function withTraps(content, first, muted) {
  const source = new Reader(content);
  const count = source.number();
  const bodies = [];
  for (let index = first; index < first + count; index++) {
    const body = source.bytes(source.number());
    bodies.push(muted.has(index) ? TRAP : body);
  }
  return Buffer.concat([number(count), ...bodies.flatMap((body) => [number(body.length), body])]);
}

/** A body without locals: `unreachable`, `end`. */
const TRAP = Buffer.from([0, 0x00, 0x0b]);

/** The names of functions by their number, from the custom section `name` (WebAssembly core specification, appendix 7.4.1). */
function functionNames(wasm) {
  const names = new Map();
  const [section] = WebAssembly.Module.customSections(new WebAssembly.Module(wasm), "name");
  const source = new Reader(Buffer.from(section ?? []));
  while (!source.isAtEnd) {
    const [kind] = source.bytes(1);
    const content = new Reader(source.bytes(source.number()));
    if (kind !== FUNCTION_NAMES) continue;
    for (let count = content.number(); count > 0; count--) names.set(content.number(), content.name());
  }
  return names;
}

/** How many functions come before the module's own. */
function importCount(wasm) {
  return WebAssembly.Module.imports(new WebAssembly.Module(wasm)).filter(({ kind }) => kind === "function")
    .length;
}

/**
 * The module and its glue with short names for what they say to each other and nobody else: `a`, `b`, … for imports such as
 * `__wbg_aborted_31456edf1be00084` and for the module that they come from, `_a`, `_b`, … for functions such as
 * `__wbindgen_malloc`. `letters` tells what the imports are called that these letters stand for.
 */
export function withShortNames({ wasm, glue }) {
  const module = new WebAssembly.Module(wasm);
  const imported = WebAssembly.Module.imports(module);
  const imports = lettersFor(imported);
  const exports = lettersForInternals(WebAssembly.Module.exports(module));
  const bare = namesWithoutHashes(imported);
  return {
    wasm: withSections(wasm, {
      [IMPORTS]: (content) => importsWith(new Reader(content), renamed(imports)),
      [EXPORTS]: (content) => exportsWith(new Reader(content), renamed(exports)),
    }),
    glue: withKeys(glue, imports).replaceAll(/\b__?\w+\b|\b\w+[0-9a-f]{16}\b/g, renamed(exports)),
    letters: Object.fromEntries(imported.map(({ name }) => [imports.get(name), renamed(bare)(name)])),
  };
}

/** The next letter for each name of an import, and for each module. */
function lettersFor(imports) {
  const names = new Set(imports.flatMap(({ module, name }) => [module, name]));
  const pairs = LETTERS.flatMap((first) => LETTERS.map((second) => first + second));
  return new Map([...names].map((name, i) => [name, [...LETTERS, ...pairs][i]]));
}

const LETTERS = [..."abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"];

/** The next letter for each function that is exported for the glue alone: all but ours, and but the one that starts. */
function lettersForInternals(exports) {
  const internal = /^__(?!wbindgen_start$)|[0-9a-f]{16}$/;
  const names = exports
    .filter(({ kind, name }) => kind === "function" && internal.test(name))
    .map(({ name }) => name);
  return new Map(names.map((name, i) => [name, `_${LETTERS[i]}`]));
}

/** A name without a hash for each that has one, with a number where there would be two of the same. */
function namesWithoutHashes(declared) {
  const names = declared.map(({ name }) => name);
  const short = new Map();
  const taken = new Set(names);
  for (const name of names) {
    const bare = name.replace(/_{1,2}h?[0-9a-f]{16}$/, "").replace(/^(__wbg_|wasm_bindgen_|_)*/, "");
    if (bare.length >= name.length - 17) continue;
    let free = bare;
    for (let number = 2; taken.has(free); number++) free = `${bare}${number}`;
    taken.add(free);
    short.set(name, free);
  }
  return short;
}

function renamed(names) {
  return (name) => names.get(name) ?? name;
}

/** The glue with these names for the properties that the module imports. */
function withKeys(glue, names) {
  let made = glue;
  for (const [name, short] of names) {
    const key = new RegExp(`^(\\s+)"?${name.replaceAll(".", "\\.")}"?(?=: )`, "gm");
    if (made.match(key)?.length !== 1)
      throw new StepError(`wasm-bindgen no longer serves ${name} as js/rewrite.mjs knows it`);
    made = made.replace(key, `$1${short}`);
  }
  return made;
}

/** The module with other sections, each made of its content: WebAssembly core specification, 5.5, binary format of modules. */
function withSections(wasm, changes) {
  const sections = [];
  const source = new Reader(wasm, 8);
  while (!source.isAtEnd) {
    const id = source.bytes(1);
    const content = source.bytes(source.number());
    const made = changes[id[0]]?.(content) ?? content;
    sections.push(id, number(made.length), made);
  }
  return Buffer.concat([wasm.subarray(0, 8), ...sections]);
}

function importsWith(source, rename) {
  const count = source.number();
  const parts = [number(count)];
  for (let i = 0; i < count; i++) {
    parts.push(name(rename(source.name())), name(rename(source.name())));
    const kind = source.bytes(1);
    if (kind[0] !== FUNCTION) throw new StepError("core.wasm imports something else than functions");
    parts.push(kind, number(source.number()));
  }
  return Buffer.concat(parts);
}

function exportsWith(source, rename) {
  const count = source.number();
  const parts = [number(count)];
  for (let i = 0; i < count; i++) {
    parts.push(name(rename(source.name())), source.bytes(1), number(source.number()));
  }
  return Buffer.concat(parts);
}

const IMPORTS = 2;
const EXPORTS = 7;
const CODE = 10;
const FUNCTION = 0;
const FUNCTION_NAMES = 1;

class Reader {
  #bytes;
  #at;

  constructor(bytes, at = 0) {
    this.#bytes = bytes;
    this.#at = at;
  }

  get isAtEnd() {
    return this.#at >= this.#bytes.length;
  }

  bytes(length) {
    this.#at += length;
    return this.#bytes.subarray(this.#at - length, this.#at);
  }

  /** An unsigned integer: seven bits to the byte, the lowest first, and the eighth says that there are more. */
  number() {
    const [byte] = this.bytes(1);
    return byte < 128 ? byte : byte - 128 + 128 * this.number();
  }

  name() {
    return this.bytes(this.number()).toString();
  }
}

function number(value) {
  const bytes = [];
  for (; value >= 128; value = Math.floor(value / 128)) bytes.push((value % 128) + 128);
  return Buffer.from([...bytes, value]);
}

function name(text) {
  const bytes = Buffer.from(text);
  return Buffer.concat([number(bytes.length), bytes]);
}
