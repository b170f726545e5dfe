/**
 * The core: compiled at first use, watched for traps, started again after one.
 *
 * Whatever goes wrong here ends in a state and an event, never in an exception for the caller: a resilience library
 * must not be what breaks the page.
 */

import * as glue from "../pkg/core.js";
import { type CoreConfig, numbersOf } from "./config.ts";
import { type Alarm, plainAlarm } from "./host.ts";
import type { CoreState } from "./types.ts";

/** What `init` takes: where the module is, or the module. */
export type WasmSource = string | URL | Response | Promise<Response> | BufferSource | WebAssembly.Module;

/** The number of the present instance. What an earlier one issued is void. */
let instance = 0;

let state: CoreState = "idle";
let source: (() => BufferSource | WebAssembly.Module) | null = null;
let compiling: Promise<void> | null = null;
let traps: number[] = [];
/** A trap was followed by a restart that is not done yet. */
let returning = false;
const alarms = new Set<Promise<void>>();
const listeners = new Set<(state: CoreState) => void>();

/**
 * Says where the bytes of the core are, and hands back `api` unchanged. Written so that a bundler keeps the bytes
 * exactly when it keeps something that needs them.
 */
export function provide<T>(bytes: () => BufferSource | WebAssembly.Module, api: T): T {
  source ??= bytes;
  return api;
}

/** The state of the core. */
export function coreState(): CoreState {
  return state;
}

/** Something that lives in the core: what its functions are called with. Given back when nobody holds it any more. */
export class CoreHandle {
  readonly #handle: number;
  readonly #free: (handle: number) => void;
  readonly #instance = instance;

  /** `free` gives back what `make` made. Only while the core is ready. */
  constructor(make: () => number, free: (handle: number) => void) {
    this.#handle = make();
    this.#free = free;
    left ??= new FinalizationRegistry(forget);
    left.register(this, { handle: this.#handle, free, of: instance }, this);
  }

  /** Whether it is in the present instance of the core. */
  get isCurrent(): boolean {
    return this.#instance === instance;
  }

  /** @throws when the core was started anew since: there the number may be that of another. */
  get handle(): number {
    if (this.#instance === instance) return this.#handle;
    throw new Error("The handle is of an earlier instance of the core.");
  }

  /** Gives it back. */
  release(): void {
    left?.unregister(this);
    this.#free(this.handle);
  }
}

/** A service in the core. */
export class ServiceCore extends CoreHandle {
  /** @internal */
  constructor(config: CoreConfig) {
    super(() => glue.create(numbersOf(config)), glue.free);
  }

  /**
   * Another configuration from the next decision on.
   * @internal
   */
  configure(config: CoreConfig): void {
    glue.configure(this.handle, numbersOf(config));
  }
}

/** What nobody holds any more, and nobody gave back. */
let left: FinalizationRegistry<Left> | null = null;

interface Left {
  handle: number;
  free: (handle: number) => void;
  of: number;
}

function forget({ handle, free, of }: Left): void {
  if (state === "ready" && of === instance) free(handle);
}

/**
 * Whether there is a core, compiled now if it was not yet. Where there is none, calls pass through.
 * @internal
 */
export function isReady(): boolean {
  if (state === "idle" && compiling === null && source !== null) start(source);
  return state === "ready";
}

/**
 * Compiles the core ahead of its first use and off the main thread where the platform can. Needed only with
 * `tidegate/external`, which comes without the bytes. Never rejects for lack of WebAssembly: `coreState()` tells.
 *
 * @throws when `wasm` cannot be fetched or is no WebAssembly module.
 */
export async function init(options: { wasm?: WasmSource } = {}): Promise<CoreState> {
  // After a trap the instance is torn: it comes back by `restart`, or not at all.
  if (state === "ready" || state === "trap") return state;
  if (!hasWebAssembly()) return enter("no-wasm");
  const given = options.wasm ?? source;
  if (given === null)
    throw new TypeError("init: `wasm` is needed here: a URL, a Response, bytes or a WebAssembly.Module.");
  compiling ??= compile(given).finally(() => {
    compiling = null;
  });
  await compiling;
  return state;
}

/** Whether the core trapped and will be back. Changes are told as those of the state are. */
export function isReturning(): boolean {
  return returning;
}

/** Calls back at every change of the state. Returns the way to stop that. */
export function onCoreState(listener: (state: CoreState) => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

/**
 * The core threw what it never throws on purpose. Its memory may be torn, so nobody asks it again; once its last alarm
 * has run out it is started anew. (Earlier, that alarm would be lost, and with it whoever waits for it.)
 */
export function trapped(now: number): void {
  if (state !== "ready") return;
  instance++;
  traps = [...traps.filter((time) => now - time < TRAP_WINDOW_MS), now];
  returning = traps.length < TRAPS_TOLERATED;
  enter("trap");
  if (returning) void restart();
}

/** The default alarm: the core's while it runs. */
export const alarm: Alarm = (ms, signal) => {
  if (state !== "ready") return plainAlarm(ms, signal);
  let ring!: () => void;
  const ringing = new Promise<void>((resolve) => {
    ring = resolve;
  });
  glue.sleep(ms, signal, ring);
  alarms.add(ringing);
  ringing.then(() => alarms.delete(ringing));
  return ringing;
};

/** A third trap within a minute leaves the core off: it would trap again. */
const TRAPS_TOLERATED = 3;
const TRAP_WINDOW_MS = 60_000;

function start(from: () => BufferSource | WebAssembly.Module): void {
  if (!hasWebAssembly()) {
    enter("no-wasm");
    return;
  }
  try {
    const given = from();
    run(given instanceof WebAssembly.Module ? given : new WebAssembly.Module(given));
  } catch (error) {
    enter(stateAfter(error));
    // The limit is one of synchronous compilation: until it is done elsewhere, calls pass through.
    if (state === "limit") init().catch(() => {});
  }
}

async function compile(given: WasmSource | NonNullable<typeof source>): Promise<void> {
  try {
    run(await moduleFrom(typeof given === "function" ? given() : given));
  } catch (error) {
    const after = stateAfter(error);
    if (after === "csp" || error instanceof RangeError) enter(after);
    else throw error;
  }
}

function run(module: WebAssembly.Module): void {
  glue.initSync({ module });
  instance++;
  enter("ready");
}

async function moduleFrom(given: WasmSource): Promise<WebAssembly.Module> {
  if (given instanceof WebAssembly.Module) return given;
  if (typeof given === "string" || given instanceof URL) return fetched(fetch(given));
  if (isResponse(given)) return fetched(Promise.resolve(given));
  return WebAssembly.compile(given as BufferSource);
}

/** Streaming where the server names the type, whole where it does not. */
async function fetched(pending: Promise<Response>): Promise<WebAssembly.Module> {
  const response = await pending;
  if (!response.ok)
    throw new Error(`init: ${response.url || "the module"} answered HTTP ${response.status}.`);
  // With a parameter behind it, streaming refuses the type.
  const type = response.headers.get("content-type")?.trim().toLowerCase();
  if (type === "application/wasm" && "compileStreaming" in WebAssembly) {
    return WebAssembly.compileStreaming(response);
  }
  return WebAssembly.compile(await response.arrayBuffer());
}

function isResponse(given: WasmSource): given is Response | Promise<Response> {
  return typeof given === "object" && ("then" in given || "arrayBuffer" in given);
}

async function restart(): Promise<void> {
  await Promise.allSettled(alarms);
  try {
    glue.__wbg_reset_state();
  } catch {
    // It stays off until the page is loaded again.
    returning = false;
    tell("trap");
    return;
  }
  returning = false;
  instance++;
  enter("ready");
}

function hasWebAssembly(): boolean {
  return typeof WebAssembly === "object" && WebAssembly !== null;
}

function stateAfter(error: unknown): CoreState {
  if (error instanceof RangeError) return "limit";
  return mayRun() ? "no-wasm" : "csp";
}

/**
 * `WebAssembly.validate` works under every policy: only the smallest module there is tells. Compiled is not enough: WebKit
 * refuses no earlier than when it is instantiated.
 */
function mayRun(): boolean {
  try {
    const module = new WebAssembly.Module(Uint8Array.of(0, 0x61, 0x73, 0x6d, 1, 0, 0, 0));
    return new WebAssembly.Instance(module) instanceof WebAssembly.Instance;
  } catch {
    return false;
  }
}

function enter(next: CoreState): CoreState {
  if (next !== state) {
    state = next;
    tell(next);
  }
  return next;
}

function tell(now: CoreState): void {
  for (const listener of [...listeners]) listener(now);
}
