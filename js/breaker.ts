import * as glue from "../pkg/core.js";
import { type Brought, boundedAttempt, plainAttempt } from "./attempt.ts";
import { abortReason, Call } from "./call.ts";
import { CLOSED, circuitState } from "./circuit.ts";
import { Flag, Judgement, phases, Reason, Transition } from "./codes.ts";
import type { CoreConfig } from "./config.ts";
import type { ServiceCore } from "./core.ts";
import { isRateLimitError, RateLimitConfigError, type RateLimitError } from "./errors.ts";
import { Emitter } from "./events.ts";
import { failure } from "./failure.ts";
import { judgedAs, outcomeOf } from "./judge.ts";
import { Link } from "./link.ts";
import { ACQUIRE, logOf, PART } from "./parts.ts";
import { aFunction, checked, count, milliseconds, orNull, type Rules, YEAR_MS } from "./rules.ts";
import type {
  AttemptInfo,
  CircuitState,
  Host,
  Logger,
  LogLevel,
  Outcome,
  ServiceEvents,
  Verdict,
} from "./types.ts";
import { forUsing } from "./using.ts";
import { type Answer, answerFor, answerOf } from "./waiters.ts";

export interface CircuitBreakerOptions {
  /** Failures in a row that open the circuit. Default 5; 1 to 1_000_000. Not beside `failureRatio`. */
  failureThreshold?: number | undefined;
  /**
   * The share of failures that opens it instead, `failures / calls`, of `lastCalls` or within `windowMs`: one of them is
   * needed. Above 0, at most 1.
   */
  failureRatio?: number | undefined;
  /** With fewer calls a ratio says nothing. Default 10, or `lastCalls` where that is less; 2 to 1_000_000. */
  minimumCalls?: number | undefined;
  /** The ratio is that of so many calls, the last ones. 2 to 10_000. */
  lastCalls?: number | undefined;
  /** The ratio is that of the calls that ended in so many milliseconds, within a tenth. 10 to 31_536_000_000. */
  windowMs?: number | undefined;
  /** A call that takes longer is a failure, and rejects with a `TimeoutError`; `null`: it may. Default `null`; 1 to 31_536_000_000. */
  timeout?: number | null | undefined;
  /** How long the circuit stays open. Default 60_000; 0 to 31_536_000_000. */
  resetTimeout?: number | undefined;
  /** Calls let through at a time while half-open; as many successes in a row close it. Default 1; 1 to 1_000_000. */
  halfOpenProbes?: number | undefined;
  /** A probe that has not ended by then gives its place to another. Default 30_000; 1 to 31_536_000_000. */
  probeTimeoutMs?: number | undefined;
  /**
   * What a call has shown. `"transient"` and `{ throttled: true }` are failures (of scope `"call"` they count neither way, as
   * `"ignored"`), `"success"` and `"permanent"` are none. `undefined` leaves it to the rule: what throws has failed, what
   * resolves has not, whatever it resolves with. Of the outcome `retryAfterMs` is not set.
   */
  classify?: ((outcome: Outcome) => Verdict | undefined) | undefined;
  /** How much is logged. Default `"warn"`. */
  logLevel?: LogLevel | undefined;
  /** Where it is logged. Default `console`. */
  logger?: Logger | undefined;
  /** Stands in for the platform's clock and timers. */
  host?: Partial<Host> | undefined;
}

export interface ExecuteOptions {
  /** Ends the call at once, with the signal's reason; it counts neither as a failure nor as a success. */
  signal?: AbortSignal | null | undefined;
}

/**
 * Stops calling what keeps failing: after too many failures the circuit is open and calls are rejected without being made;
 * after `resetTimeout` a few probe whether it is over. It is the circuit of RateLimitService, told of failures and not of
 * refusals: it retries nothing and holds nobody.
 *
 * Results of calls that began before the circuit last changed its state change nothing. Without the core calls pass through,
 * with their timeout; `isolate()` holds even then.
 */
export class CircuitBreaker {
  readonly #config: CoreConfig;
  readonly #timeoutMs: number;
  readonly #classify: CircuitBreakerOptions["classify"];
  readonly #log: Logger;
  readonly #emitter: Emitter<Pick<ServiceEvents, "circuit">>;
  readonly #link: Link;
  #isolated = false;
  #disposed = false;

  /** @throws RateLimitConfigError for a value out of its range, for an unknown field, and for fields that exclude each other. */
  constructor(options: CircuitBreakerOptions = {}) {
    forUsing(this, "dispose");
    const given = checked<CircuitBreakerOptions>("options", options, OPTIONS);
    this.#config = configOf(given);
    this.#timeoutMs = given.timeout ?? Number.NaN;
    this.#classify = given.classify;
    this.#log = logOf(given);
    this.#emitter = new Emitter((error) => this.#log.error("A listener threw", error));
    this.#link = new Link(given.host, null, {
      config: () => this.#config,
      log: () => this.#log,
      restore: ({ handle }) => {
        if (this.#isolated) glue.isolate(handle);
      },
      changed: (core, kind) => {
        if (kind === Transition.circuit) this.#tell(glue.name(core.handle));
      },
      coreChanged: () => {},
    });
  }

  /**
   * Calls `operation` once, unless the circuit is open.
   *
   * What it throws is a failure, but for an `AbortError`, and for a RateLimitError that was made before any attempt (a full
   * queue, a quota): those say nothing about what was to be called.
   *
   * @returns what the operation resolves with. Rejects with what it throws, the same object; with a RateLimitError of
   *   `RATE_LIMIT_CIRCUIT_OPEN`; with a DOMException named `TimeoutError`; with the signal's reason when it aborts; with a
   *   TypeError when `operation` is no function; with a RateLimitConfigError for illegal options.
   */
  async execute<T>(
    operation: (info: Pick<AttemptInfo, "signal">) => T | PromiseLike<T>,
    options?: ExecuteOptions,
  ): Promise<T> {
    if (typeof operation !== "function") throw new TypeError("execute: the operation must be a function.");
    const { signal } =
      options === undefined ? NO_OPTIONS : checked<ExecuteOptions>("options", options, EXECUTE);
    const call = new Call({ signal }, this.#link.platform.now(), Number.NaN, 0, 0);
    if (signal?.aborted) throw abortReason(signal);
    const permit = this.#permitFor(call);
    const brought = await this.#brought(operation, call);
    if (permit) this.#record(permit, call.arrival, brought);
    if (brought.thrown) throw brought.value;
    return brought.value as T;
  }

  /** The circuit's state in a word, as the next call would meet it. */
  get state(): CircuitState["state"] {
    return this.getState().state;
  }

  /** The circuit as the next call would meet it. Reading it changes nothing. */
  getState(): CircuitState {
    const numbers = this.#link.ask(
      ({ handle }) => glue.circuit(handle, this.#link.platform.now()) as number[],
    );
    if (numbers) return circuitState(numbers);
    return this.#isHeld()
      ? { ...CLOSED, isOpen: true, state: "isolated", retryAfterMs: Number.POSITIVE_INFINITY }
      : { ...CLOSED };
  }

  /** Holds the circuit open until `reset()`, also while there is no core. */
  isolate(): void {
    this.#isolated = true;
    this.#change(glue.isolate);
  }

  /** Closes the circuit and forgets all failures. */
  reset(): void {
    this.#isolated = false;
    this.#change(glue.reset);
  }

  /** Calls `listener` at each change of the state until the function that is returned is called. */
  on(event: "circuit", listener: (event: ServiceEvents["circuit"]) => void): () => void {
    return this.#emitter.on(event, listener);
  }

  /** Later calls pass through. */
  dispose(): void {
    this.#disposed = true;
    this.#link.dispose(undefined);
  }

  // ---- a call

  /** Leave to make the call; `null`: there is no core to keep the circuit. Throws when it is open. */
  #permitFor(call: Call): Permit | null {
    const core = this.#link.current();
    if (core === null) {
      if (this.#isHeld()) throw rejection(call, answerFor(Reason.circuitOpen));
      return null;
    }
    let number: number;
    let refused: Answer | null;
    try {
      number = this.#link.begin(core, call);
      refused = number === 0 ? answerOf(core) : null;
    } catch (error) {
      this.#link.trapped(error);
      return this.#permitFor(call);
    }
    if (refused !== null) throw rejection(call, refused);
    if (number < 0) this.#link.follow(Flag.news);
    return { core, number: Math.abs(number) };
  }

  /** Never rejects. */
  #brought<T>(operation: (info: AttemptInfo) => T | PromiseLike<T>, call: Call): Promise<Brought> {
    if (!call.context.signal && Number.isNaN(this.#timeoutMs)) return plainAttempt(operation, call);
    return boundedAttempt(operation, call, this.#timeoutMs, this.#link);
  }

  #record({ core, number }: Permit, started: number, brought: Brought): void {
    const now = this.#link.platform.now();
    const code = this.#judgement(brought, now - started);
    if (!this.#link.isCurrent(core)) return;
    const flags = this.#link.ask(({ handle }) => glue.record(handle, number, now, started, code, 0));
    if (flags) this.#link.follow(flags);
  }

  #judgement(brought: Brought, durationMs: number): number {
    if (brought.stopped) return brought.stopped === "timeout" ? FAILURE : Judgement.ignored;
    const code = this.#ownJudgement(brought, durationMs);
    if (code === Judgement.transient) return FAILURE;
    return code ?? (brought.thrown ? judgementOn(brought.value) : Judgement.success);
  }

  /** What the application's `classify` says; one that fails leaves it to the rule. */
  #ownJudgement(brought: Brought, durationMs: number): number | undefined {
    try {
      const verdict = this.#classify?.(outcomeOf(brought, durationMs, Number.NaN));
      return verdict === undefined ? undefined : judgedAs(verdict, Number.NaN).code;
    } catch (error) {
      this.#log.error("classify failed", error);
      return undefined;
    }
  }

  // ---- the circuit

  #change(change: (handle: number) => void): void {
    this.#link.ask(({ handle }) => change(handle));
    this.#link.follow(Flag.news);
  }

  #tell(change: number): void {
    const from = phases[change >> 2] ?? "closed";
    const to = phases[change & 3] ?? "closed";
    this.#log[to === "open" ? "error" : "info"](`Circuit breaker is ${to}`);
    this.#emitter.emit("circuit", { from, to });
  }

  /** Isolated, whether a core knows of it or not. */
  #isHeld(): boolean {
    return this.#isolated && !this.#disposed;
  }
}

interface Permit {
  core: ServiceCore;
  number: number;
}

/** The circuit counts refusals of the whole service, and takes a failure for one. */
const FAILURE = Judgement.throttled;

const NO_OPTIONS: ExecuteOptions = {};

function rejection({ arrival }: Call, answer: Answer): RateLimitError {
  return failure(answer, { attempts: 0, retries: 0, now: arrival });
}

/** The rule for what was thrown. */
function judgementOn(error: unknown): number {
  const saysNothing = isRateLimitError(error) ? !(error.attempts > 0) : isAbort(error);
  return saysNothing ? Judgement.ignored : FAILURE;
}

/** Somebody gave up, by a signal that was not handed to us. */
function isAbort(error: unknown): boolean {
  try {
    return (error as { name?: unknown } | null | undefined)?.name === "AbortError";
  } catch {
    return false;
  }
}

/** What the core is made from. */
function configOf(given: Partial<CircuitBreakerOptions>): CoreConfig {
  const {
    failureThreshold,
    failureRatio = null,
    minimumCalls = 10,
    lastCalls = null,
    windowMs = null,
  } = given;
  refuseContradictions(given);
  return {
    circuit: { ratio: failureRatio, minimumCalls, lastCalls, windowMs },
    circuitBreakerThreshold: failureThreshold ?? 5,
    circuitResetMs: given.resetTimeout ?? 60_000,
    halfOpenProbes: given.halfOpenProbes ?? 1,
    probeTimeoutMs: given.probeTimeoutMs ?? 30_000,
    sharedCooldown: false,
    retryBudget: null,
  };
}

/** A field that nobody would look at is a mistake. */
function refuseContradictions(given: Partial<CircuitBreakerOptions>): void {
  const { failureThreshold, failureRatio, lastCalls, windowMs, minimumCalls = 0 } = given;
  const refuse = (field: keyof CircuitBreakerOptions, expected: string): never => {
    throw new RateLimitConfigError(field, given[field], expected);
  };
  if (failureRatio === undefined) {
    for (const field of ["minimumCalls", "lastCalls", "windowMs"] as const) {
      if (given[field] !== undefined) refuse(field, "to stand beside failureRatio");
    }
    return;
  }
  if (failureThreshold !== undefined) refuse("failureThreshold", "nothing beside failureRatio");
  if (lastCalls === undefined && windowMs === undefined)
    refuse("failureRatio", "lastCalls or windowMs beside it");
  if (lastCalls !== undefined && windowMs !== undefined) refuse("windowMs", "nothing beside lastCalls");
  if (lastCalls !== undefined && minimumCalls > lastCalls) refuse("minimumCalls", "at most lastCalls");
}

const EXECUTE: Rules<ExecuteOptions> = { signal: ACQUIRE.signal };

const OPTIONS: Rules<CircuitBreakerOptions> = {
  failureThreshold: count(1, 1_000_000),
  failureRatio: {
    expected: "a number above 0, at most 1",
    holds: (value) => typeof value === "number" && value > 0 && value <= 1,
  },
  minimumCalls: count(2, 1_000_000),
  lastCalls: count(2, 10_000),
  windowMs: milliseconds(10, YEAR_MS),
  timeout: orNull(milliseconds(1, YEAR_MS)),
  resetTimeout: milliseconds(0, YEAR_MS),
  halfOpenProbes: count(1, 1_000_000),
  probeTimeoutMs: milliseconds(1, YEAR_MS),
  classify: aFunction,
  logLevel: PART.logLevel,
  logger: PART.logger,
  host: PART.host,
};
