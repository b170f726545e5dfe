import { RateLimitConfigError } from "./errors.ts";
import { randomKey } from "./host.ts";
import type { AttemptInfo, CallContext } from "./types.ts";

/** What is the same for all attempts of a call, and what it has used up. Times by the host's clock; NaN: none. */
export class Call {
  readonly context: CallContext;
  readonly arrival: number;
  readonly deadline: number;
  readonly priority: number;
  readonly maxRetries: number;
  /** What it is counted under. */
  readonly group: number;
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
  ) {
    this.context = context;
    this.arrival = arrival;
    this.deadline = arrival + optionalNumber("deadlineMs", context.deadlineMs, callDeadlineMs);
    this.priority = Math.trunc(optionalNumber("priority", context.priority, 0));
    this.maxRetries = context.maxRetries === undefined ? maxRetries : retries(context.maxRetries);
    this.group = group;
  }

  get attempt(): number {
    return this.retries + 1;
  }

  get idempotencyKey(): string {
    this.#idempotencyKey ??= this.context.idempotencyKey ?? randomKey();
    return this.#idempotencyKey;
  }
}

/** One attempt, as its operation sees it. A signal costs as much as several calls, so it is made when it is read. */
export class Attempt implements AttemptInfo {
  readonly attempt: number;
  readonly #call: Call;
  #controller: AbortController | null = null;
  #stopped: { reason: unknown } | null = null;
  #unfollow: (() => void) | null = null;

  constructor(call: Call) {
    this.#call = call;
    this.attempt = call.attempt;
  }

  get retries(): number {
    return this.attempt - 1;
  }

  get idempotencyKey(): string {
    return this.#call.idempotencyKey;
  }

  get signal(): AbortSignal {
    if (this.#controller === null) {
      this.#controller = new AbortController();
      if (this.#stopped) this.#controller.abort(this.#stopped.reason);
      else this.#follow(this.#call.context.signal, this.#controller);
    }
    return this.#controller.signal;
  }

  /** The attempt is not waited for any longer. */
  stop(reason: unknown): void {
    this.#stopped = { reason };
    this.#controller?.abort(reason);
    this.end();
  }

  /** The attempt has ended: nobody needs to be told of anything. */
  end(): void {
    this.#unfollow?.();
    this.#unfollow = null;
  }

  #follow(signal: AbortSignal | undefined, controller: AbortController): void {
    if (!signal) return;
    this.#unfollow = onAbort(signal, () => controller.abort(signal.reason));
  }
}

/** Calls back when the signal aborts, at once when it has. Returns the way to stop listening. */
export function onAbort(signal: AbortSignal, callback: () => void): () => void {
  if (signal.aborted) {
    callback();
    return () => {};
  }
  signal.addEventListener("abort", callback, { once: true });
  return () => signal.removeEventListener("abort", callback);
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
