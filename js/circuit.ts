import { phases } from "./codes.ts";
import type { CircuitState } from "./types.ts";

/** The circuit as long as nothing has been refused. */
export const CLOSED: CircuitState = {
  isOpen: false,
  state: "closed",
  consecutiveFailures: 0,
  lastFailureTime: 0,
  timeSinceLastFailure: 0,
  retryAfterMs: 0,
};

/** From the numbers of the core: `circuit` in src/wasm/snapshot.rs. */
export function circuitState(numbers: readonly number[]): CircuitState {
  const [phase, consecutiveFailures, lastFailureTime, timeSinceLastFailure, retryAfterMs] = numbers as Five;
  const state = phases[phase] ?? "closed";
  return {
    isOpen: state === "open" || state === "isolated",
    state,
    consecutiveFailures,
    lastFailureTime,
    timeSinceLastFailure,
    retryAfterMs,
  };
}

type Five = readonly [number, number, number, number, number];
