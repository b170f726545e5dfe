import { vi } from "vitest";

/** Exports of the core that trap while they are named here: `true` is all of them. */
export interface Sabotage {
  trapIn: ReadonlySet<string> | true;
  /** How often one was met. */
  traps: number;
}

/**
 * From now on instances of the core have exports that can be made to trap, with a real `WebAssembly.RuntimeError`.
 * Ends with `vi.unstubAllGlobals()`. Import the package afterwards, afresh.
 */
export function sabotageCore(): Sabotage {
  const sabotage: Sabotage = { trapIn: new Set(), traps: 0 };
  const real = WebAssembly;
  const trap = new real.Instance(new real.Module(UNREACHABLE)).exports.trap as () => never;
  const guarded =
    (name: string, call: (...args: unknown[]) => unknown) =>
    (...args: unknown[]): unknown => {
      if (sabotage.trapIn !== true && !sabotage.trapIn.has(name)) return call(...args);
      sabotage.traps++;
      return trap();
    };
  function Instance(module: WebAssembly.Module, imports?: WebAssembly.Imports): { exports: object } {
    const { exports } = new real.Instance(module, imports);
    const entries = Object.entries(exports).map(([name, value]) => [
      name,
      typeof value === "function" ? guarded(name, value as (...args: unknown[]) => unknown) : value,
    ]);
    return { exports: Object.fromEntries(entries) as object };
  }
  vi.stubGlobal("WebAssembly", Object.create(real, { Instance: { value: Instance } }));
  return sabotage;
}

/** `(module (func (export "trap") unreachable))`. */
const UNREACHABLE = Uint8Array.of(
  ...[
    0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00, 0x01, 0x04, 0x01, 0x60, 0x00, 0x00, 0x03, 0x02, 0x01,
    0x00,
  ],
  ...[0x07, 0x08, 0x01, 0x04, 0x74, 0x72, 0x61, 0x70, 0x00, 0x00, 0x0a, 0x05, 0x01, 0x03, 0x00, 0x00, 0x0b],
);
