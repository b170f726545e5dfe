import { RateLimitConfigError } from "./errors.ts";
import { randomKey } from "./host.ts";
import { NO_LANE, type Place } from "./lanes.ts";
import type { Slot } from "./limits.ts";
import type { CallContext } from "./types.ts";

/** What is the same for all attempts of a call, and what it has used up. Times by the host's clock; NaN: none. */
export class Call {
  readonly context: CallContext;
  readonly arrival: number;
  readonly deadline: number;
  readonly priority: number;
  readonly maxRetries: number;
  /** What it is counted under. */
  readonly group: number;
  /** What it needs of the limits; `null`: nothing. */
  readonly place: Place | null;
  /** Where the present core has it stand. */
  lane = NO_LANE;
  /** Of its present attempt. */
  slot: Slot | null = null;
  retries = 0;
  /** The pause before the last retry. */
  delay = Number.NaN;
  #idempotencyKey: string | undefined;

  constructor(
    context: CallContext,
    arrival: number,
    callDeadlineMs: number,
    maxRetries: number,
    group: number,
    place: Place | null = null,
  ) {
    if (context.signal) checkSignal(context.signal);
    if (context.onWait !== undefined && typeof context.onWait !== "function") {
      throw new RateLimitConfigError("onWait", context.onWait, "a function");
    }
    this.context = context;
    this.arrival = arrival;
    this.deadline = arrival + optionalNumber("deadlineMs", context.deadlineMs, callDeadlineMs);
    this.priority = clamped(optionalNumber("priority", context.priority, 0));
    this.maxRetries = context.maxRetries === undefined ? maxRetries : retries(context.maxRetries);
    this.group = group;
    this.place = place;
  }

  get attempt(): number {
    return this.retries + 1;
  }

  get idempotencyKey(): string {
    this.#idempotencyKey ??= this.context.idempotencyKey ?? randomKey();
    return this.#idempotencyKey;
  }
}

/**
 * Calls back when the signal aborts, at once when it has. Returns the way to stop listening.
 *
 * However many calls share a signal, it has one listener of ours: Node warns of a leak at the eleventh.
 */
export function onAbort(signal: AbortSignal, callback: () => void): () => void {
  if (signal.aborted) {
    callback();
    return () => {};
  }
  const audience = audiences.get(signal) ?? listen(signal);
  const hear = (): void => callback();
  audience.hearers.add(hear);
  return () => {
    audience.hearers.delete(hear);
    if (audience.hearers.size === 0) audience.leave();
  };
}

interface Audience {
  hearers: Set<() => void>;
  leave(): void;
}

const audiences = new WeakMap<AbortSignal, Audience>();

function listen(signal: AbortSignal): Audience {
  const hearers = new Set<() => void>();
  const leave = (): void => {
    signal.removeEventListener("abort", tell);
    audiences.delete(signal);
  };
  const tell = (): void => {
    leave();
    for (const hear of hearers) hear();
  };
  const audience = { hearers, leave };
  signal.addEventListener("abort", tell);
  audiences.set(signal, audience);
  return audience;
}

/** What a signal aborted with; the platform gives a DOMException named AbortError by default. */
export function abortReason(signal: AbortSignal): unknown {
  return signal.reason ?? new DOMException("This operation was aborted", "AbortError");
}

function optionalNumber(field: string, value: number | undefined, fallback: number): number {
  if (value === undefined) return fallback;
  if (typeof value !== "number" || Number.isNaN(value))
    throw new RateLimitConfigError(field, value, "a number");
  return value;
}

function retries(value: number): number {
  if (Number.isInteger(value) && value >= 0 && value <= 1000) return value;
  throw new RateLimitConfigError("maxRetries", value, "an integer from 0 to 1000");
}

function checkSignal(signal: unknown): void {
  const { aborted, addEventListener } = signal as Partial<AbortSignal>;
  if (typeof aborted !== "boolean" || typeof addEventListener !== "function") {
    throw new RateLimitConfigError("signal", signal, "an AbortSignal");
  }
}

/** It crosses into the core as an integer of 32 bits. */
function clamped(priority: number): number {
  return Math.max(-(2 ** 31), Math.min(2 ** 31 - 1, Math.trunc(priority)));
}
