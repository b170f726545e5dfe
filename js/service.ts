import * as glue from "../pkg/core.js";
import { Attempt, type Brought, boundedAttempt, plainAttempt } from "./attempt.ts";
import { abortReason, Call } from "./call.ts";
import { CLOSED, circuitState } from "./circuit.ts";
import { Flag, Judgement, Next, phases, Reason, Transition } from "./codes.ts";
import { merged, type ShellConfig, shellConfig } from "./config.ts";
import { alarm, coreState, isReady, onCoreState, ServiceCore, trapped } from "./core.ts";
import { isRateLimitError, RateLimitError, userMessage } from "./errors.ts";
import { Emitter } from "./events.ts";
import { endsWith, type FinalFailures } from "./final.ts";
import { isOnline, type Platform, platform, Waits } from "./host.ts";
import { isPlainSuccess, type Judged, judge, judgedAs, outcomeOf, verdictName } from "./judge.ts";
import { Groups, metricsSnapshot } from "./metrics.ts";
import type {
  AttemptInfo,
  CallContext,
  CircuitState,
  CoreState,
  Host,
  MessageInfo,
  MetricsSnapshot,
  RateLimitConfig,
  RateLimitErrorCode,
  ServiceEvents,
} from "./types.ts";
import { type Answer, answerOf, type Ended, Waiters } from "./waiters.ts";

const DISPOSE: symbol = (Symbol as { dispose?: symbol }).dispose ?? Symbol("dispose");

type Operation<T> = (attempt: AttemptInfo) => T | PromiseLike<T>;

/**
 * Retries, a circuit breaker and a shared cooldown for everything that counts against one server's limits.
 *
 * The loop is here, the decisions are the core's: a call that succeeds costs two calls into it, with numbers only.
 * Without the core calls pass straight through.
 */
export class RateLimitService {
  #given: Partial<RateLimitConfig>;
  #shell: ShellConfig;
  readonly #host: Partial<Host> | undefined;
  readonly #platform: Platform;
  readonly #siblings = new Map<string, { service: RateLimitService; config: Partial<RateLimitConfig> }>();
  readonly #waits: Waits;
  readonly #waiters: Waiters;
  readonly #emitter: Emitter<ServiceEvents>;
  readonly #groups = new Groups();
  readonly #unwatch: () => void;

  #core: ServiceCore | null = null;
  #isolated = false;
  #disposed = false;

  /** @throws RateLimitConfigError for a value out of its range and for an unknown field. */
  constructor(config?: Partial<RateLimitConfig>, host?: Partial<Host>) {
    this.#given = merged({}, config);
    this.#shell = shellConfig(this.#given);
    this.#host = host;
    this.#platform = platform(host, alarm);
    this.#waits = new Waits(this.#platform);
    this.#waiters = new Waiters(this.#platform, this.#waits, {
      ring: () => this.#poll(),
      leave: (name, reason) =>
        this.#ask((wasm) => glue.leave(wasm.handle, this.#platform.now(), name, reason)),
    });
    this.#emitter = new Emitter((error) => this.#shell.log.error("A listener threw", error));
    this.#unwatch = RateLimitService.#watchCore(new WeakRef(this));
    this.#build();
  }

  /**
   * Calls `operation`, and again when the server refuses, until it is done or there is no sense in going on.
   *
   * @returns what the operation resolves with: the same value.
   * @throws what the operation throws, the same object, when that is no refusal; a RateLimitError when refusals outlast
   *   the retries, the circuit is open, or the call cannot be over in time; the signal's reason when it aborts; a
   *   TypeError when `operation` is no function; a RateLimitConfigError for an illegal context.
   */
  async executeWithRetry<T>(
    operation: (attempt: AttemptInfo) => T | PromiseLike<T>,
    context?: CallContext | null,
  ): Promise<T> {
    if (typeof operation !== "function") {
      throw new TypeError("executeWithRetry: the operation must be a function.");
    }
    const wasm = this.#ready();
    const group = context ? this.#groups.numberOf(context) : 0;
    const call = new Call(
      context ?? NO_CONTEXT,
      this.#platform.now(),
      this.#shell.callDeadlineMs,
      this.#shell.maxRetries,
      group,
    );
    if (wasm === null) return this.#passThrough(operation, call);
    if (context?.signal?.aborted) throw abortReason(context.signal);
    let permit: number;
    try {
      permit = glue.begin(wasm.handle, call.arrival, call.deadline, call.priority, group);
    } catch (error) {
      this.#trapped(error);
      return this.#passThrough(operation, call);
    }
    if (permit <= 0 || this.#isBounded(call)) return this.#runFrom(operation, call, wasm, permit);

    // The first attempt of a plain call stands here and not in `#run`: every async function between the caller and the
    // operation would cost as much as the core.
    const attempt = new Attempt(call);
    let thrown = false;
    let value: unknown;
    try {
      value = await operation(attempt);
    } catch (error) {
      thrown = true;
      value = error;
    }
    if (!thrown && this.#shell.classify === undefined && isPlainSuccess(value)) {
      this.#succeeded(wasm, permit, call.arrival, call);
      return value as T;
    }
    return this.#goOn(operation, call, wasm, permit, call.arrival, { thrown, value });
  }

  /** The circuit as the next call would meet it. Reading it changes nothing. */
  getCircuitState(): CircuitState {
    const state = this.#ask((wasm) => this.#circuit(wasm));
    if (state) return state;
    return this.#isolated
      ? { ...CLOSED, isOpen: true, state: "isolated", retryAfterMs: Number.POSITIVE_INFINITY }
      : { ...CLOSED };
  }

  /** Closes the circuit, zeroes its counters and ends a cooldown. */
  resetCircuit(): void {
    this.#isolated = false;
    this.#ask((wasm) => glue.reset(wasm.handle));
    this.#poll();
  }

  /** Holds the circuit open until `resetCircuit()`, also while there is no core. */
  isolateCircuit(): void {
    this.#isolated = true;
    this.#ask((wasm) => glue.isolate(wasm.handle));
    this.#poll();
  }

  /** What was counted since the service was made, or since the core was started anew after a trap. */
  getMetrics(): MetricsSnapshot {
    const counted = (group: number): number[] =>
      this.#ask((wasm) => glue.counts(wasm.handle, group) as number[]) ?? [];
    return metricsSnapshot(counted, this.#groups);
  }

  /**
   * Other values from the next decision on; fields that are left out keep theirs. Counters and an open circuit stay.
   *
   * @throws RateLimitConfigError, and then nothing has changed.
   */
  updateConfig(config: Partial<RateLimitConfig>): void {
    const given = merged(this.#given, config);
    const shell = shellConfig(given);
    this.#given = given;
    this.#shell = shell;
    this.#ask((wasm) => glue.configure(wasm.handle, given));
    this.#poll();
    for (const sibling of this.#siblings.values())
      sibling.service.updateConfig({ ...config, ...sibling.config });
  }

  /** Calls `listener` at each event until the function that is returned is called. */
  on<E extends keyof ServiceEvents>(event: E, listener: (event: ServiceEvents[E]) => void): () => void {
    const off = this.#emitter.on(event, listener);
    const state = coreState();
    if (event === "core" && state !== "ready") {
      this.#emitter.tell(listener as (event: ServiceEvents["core"]) => void, { state });
    }
    return off;
  }

  /** Ends every wait with an AbortError; later calls pass through. */
  dispose(): void {
    if (this.#disposed) return;
    this.#ask((wasm) => wasm.release());
    this.#disposed = true;
    this.#core = null;
    this.#unwatch();
    this.#waiters.endAll(new DOMException("The service was disposed.", "AbortError"));
    for (const { service } of this.#siblings.values()) service.dispose();
  }

  /**
   * The service for limits that the same server counts apart; the same one for the same name. It has this one's host and
   * configuration, of which `config` (of the first call for this name) replaces what it names. It follows `updateConfig`
   * and ends with `dispose`; circuit, cooldown, retry budget, counters and listeners are its own.
   * @internal
   */
  sibling(name: string, config: Partial<RateLimitConfig> = {}): RateLimitService {
    const known = this.#siblings.get(name);
    if (known) return known.service;
    const service = new RateLimitService({ ...this.#given, ...config }, this.#host);
    if (this.#disposed) service.dispose();
    this.#siblings.set(name, { service, config });
    return service;
  }

  /**
   * For `using`, where the platform has it; typed in `tidegate/dispose`.
   * @internal
   */
  [DISPOSE](): void {
    this.dispose();
  }

  // ---- the loop

  /** From what the core answered when the call asked for its first attempt. */
  async #runFrom<T>(operation: Operation<T>, call: Call, wasm: ServiceCore, asked: number): Promise<T> {
    const leave = await this.#admitted(wasm, asked, call);
    return this.#run(operation, call, leave);
  }

  /** Attempt after attempt. */
  async #run<T>(operation: Operation<T>, call: Call, leave: Leave | "core lost"): Promise<T> {
    if (leave === "core lost" || !this.#isCurrent(leave.core)) return this.#passThrough(operation, call);
    const { core: wasm, permit } = leave;
    const started = this.#platform.now();
    const brought = await this.#brought(operation, call);
    if (!brought.thrown && this.#shell.classify === undefined && isPlainSuccess(brought.value)) {
      this.#succeeded(wasm, permit, started, call);
      return brought.value as T;
    }
    return this.#goOn(operation, call, wasm, permit, started, brought);
  }

  /** What follows from an attempt: the next one, or the end of the call. */
  async #goOn<T>(
    operation: Operation<T>,
    call: Call,
    wasm: ServiceCore,
    permit: number,
    started: number,
    brought: Brought,
  ): Promise<T> {
    const next = await this.#after(wasm, permit, started, call, brought);
    return next === "pass on" ? passedOn<T>(brought) : this.#run(operation, call, next);
  }

  /** Whether something else than the operation may end an attempt. */
  #isBounded({ context, deadline }: Call): boolean {
    return Boolean(context.signal) || !Number.isNaN(deadline) || !Number.isNaN(this.#shell.attemptTimeoutMs);
  }

  /** Lets the operation make its attempt. Never rejects. */
  #brought<T>(operation: Operation<T>, call: Call): Promise<Brought> {
    if (!this.#isBounded(call)) return plainAttempt(operation, call);
    const host = { platform: this.#platform, waits: this.#waits };
    return boundedAttempt(operation, call, this.#shell.attemptTimeoutMs, host);
  }

  #succeeded(wasm: ServiceCore, permit: number, started: number, call: Call): void {
    if (!this.#isCurrent(wasm)) return;
    const now = this.#platform.now();
    try {
      const flags = glue.succeed(wasm.handle, permit, now, started, call.group);
      if (flags !== 0) this.#follow(flags);
    } catch (error) {
      this.#trapped(error);
    }
    if (this.#emitter.has("attempt")) this.#tellAttempt(call.attempt, call, now - started, Judgement.success);
  }

  /**
   * What follows from an attempt that did not plainly succeed: leave for the next one, or what it brought is passed on.
   * Rejects with an error of ours when the call ends with one.
   */
  async #after(
    wasm: ServiceCore,
    permit: number,
    started: number,
    call: Call,
    brought: Brought,
  ): Promise<After> {
    const durationMs = this.#platform.now() - started;
    const judged = await this.#judged(wasm, call, brought, durationMs);
    const end = this.#isCurrent(wasm) ? this.#ended(wasm, permit, started, call, brought, judged) : null;
    if (end) this.#tellAttempt(end.attempt, call, durationMs, judged.code);
    if (brought.stopped === "deadline") {
      this.#ask((current) => glue.rejected(current.handle, call.group, Reason.deadline));
      this.#poll();
      throw this.#failure(call, { ...NO_ANSWER, reason: Reason.deadline }, call.attempt, brought);
    }
    this.#poll();
    if (end?.standing) {
      this.#tellRetry(call, end.attempt, end.answer, brought, judged.code);
      return this.#leave(call, end.answer, end.standing, brought);
    }
    if (end?.next === Next.reject) throw this.#failure(call, end.answer, call.attempt, brought);
    return "pass on";
  }

  /** Tells the core how an attempt ended. A call that is to be repeated stands in line before anybody else is told. */
  #ended(
    wasm: ServiceCore,
    permit: number,
    started: number,
    call: Call,
    brought: Brought,
    judged: Judged,
  ): End | null {
    const { attempt } = call;
    const terms = this.#terms(wasm, permit, started, call, brought, judged);
    if (!this.#isCurrent(wasm)) return null;
    try {
      const next = this.#tellCore(wasm, permit, started, call, judged, terms);
      const answer = answerOf(wasm);
      if (next !== Next.retry) return { next, answer, attempt, standing: null };
      call.retries++;
      call.delay = answer.after;
      return { next, answer, attempt, standing: this.#waiters.wait(call, answer, answer.until) };
    } catch (error) {
      this.#trapped(error);
      return null;
    }
  }

  /**
   * What the caller and the host say about another attempt. Read before the core is told anything: an error of theirs is
   * no trap. It ends the call, and the core takes the attempt back as one that decides nothing.
   */
  #terms(
    wasm: ServiceCore,
    permit: number,
    started: number,
    call: Call,
    brought: Brought,
    { code }: Judged,
  ): Terms {
    const { context, retries, maxRetries } = call;
    try {
      const transient = code === Judgement.transient || code === Judgement.silent;
      const isFinal = transient && endsWith(context as FinalFailures, brought.value);
      return {
        maxRetries: isFinal ? retries : maxRetries,
        idempotent: context.idempotent === true,
        draw: this.#platform.draws ? this.#platform.random() : Number.NaN,
      };
    } catch (error) {
      if (this.#isCurrent(wasm)) {
        this.#ask(() => this.#tellCore(wasm, permit, started, call, IGNORED, NO_TERMS));
        this.#tellAttempt(call.attempt, call, this.#platform.now() - started, IGNORED.code);
        this.#poll();
      }
      throw error;
    }
  }

  #tellCore(
    wasm: ServiceCore,
    permit: number,
    started: number,
    call: Call,
    { code, hintMs }: Judged,
    { maxRetries, idempotent, draw }: Terms,
  ): number {
    const { arrival, deadline, priority, group, retries, delay } = call;
    const now = this.#platform.now();
    // biome-ignore format: numbers cross for nothing, so there are many of them: the attempt, the call's use so far, the call
    return glue.end(
      wasm.handle, permit, now, started, code, hintMs, isOnline(),
      retries, maxRetries, delay, idempotent,
      arrival, deadline, priority, group, draw,
    );
  }

  async #judged(wasm: ServiceCore, call: Call, brought: Brought, durationMs: number): Promise<Judged> {
    if (brought.stopped) return brought.stopped === "timeout" ? SILENT : IGNORED;
    if (brought.thrown && isRateLimitError(brought.value)) return IGNORED;
    if (!this.#isCurrent(wasm)) return IGNORED;
    const wall = this.#platform.wall();
    const { sleep } = this.#platform;
    const leftMs = call.deadline - this.#platform.now();
    try {
      const own = this.#ownJudgement(brought, durationMs, () => glue.hint_in(brought.value, wall));
      return own ?? (await judge(wasm, brought, wall, { sleep, leftMs, signal: call.context.signal }));
    } catch (error) {
      this.#trapped(error);
      return IGNORED;
    }
  }

  /** What the application's `classify` says; one that fails leaves it to the built-in rules. */
  #ownJudgement(brought: Brought, durationMs: number, hint: () => number): Judged | null {
    const { classify } = this.#shell;
    if (!classify) return null;
    const hintMs = hint();
    try {
      const verdict = classify(outcomeOf(brought, durationMs, hintMs));
      return verdict === undefined ? null : judgedAs(verdict, hintMs);
    } catch (error) {
      this.#shell.log.error("classify failed", error);
      return null;
    }
  }

  // ---- waiting

  /** Makes leave of what the core answered when a call asked for an attempt. */
  async #admitted(
    wasm: ServiceCore,
    asked: number,
    call: Call,
    brought: Brought | null = null,
  ): Promise<Leave | "core lost"> {
    if (asked !== 0) {
      if (asked < 0) this.#follow(Flag.news);
      return { core: wasm, permit: Math.abs(asked) };
    }
    let answer: Answer;
    let standing: Promise<Ended> | null = null;
    try {
      answer = answerOf(wasm);
      if (answer.reason === Reason.cooldown) {
        if (Number.isNaN(answer.until)) answer.until = glue.poll_timeout(wasm.handle, this.#platform.now());
        standing = this.#waiters.wait(call, answer, answer.until);
      }
    } catch (error) {
      this.#trapped(error);
      return "core lost";
    }
    this.#poll();
    if (standing) return this.#leave(call, answer, standing, brought);
    throw this.#failure(call, answer, call.retries, brought);
  }

  /** Waits until the call may go. */
  async #leave(
    call: Call,
    answer: Answer,
    standing: Promise<Ended>,
    brought: Brought | null,
  ): Promise<Leave | "core lost"> {
    this.#tellWait(call, answer);
    const ended = await standing;
    if (ended === "deadline") {
      throw this.#failure(call, { ...NO_ANSWER, reason: Reason.deadline }, call.retries, brought);
    }
    if (ended === "core lost") return this.#askedAgain(call, brought);
    if ("rejected" in ended) throw this.#failure(call, ended.rejected, call.retries, brought);
    return ended;
  }

  /** A call whose core was lost while it waited asks the next one, if there is one. */
  async #askedAgain(call: Call, brought: Brought | null): Promise<Leave | "core lost"> {
    const wasm = this.#ready();
    if (wasm === null) return "core lost";
    let asked: number;
    try {
      const { arrival, deadline, priority, group } = call;
      asked = glue.admit(wasm.handle, this.#platform.now(), arrival, deadline, priority, group);
    } catch (error) {
      this.#trapped(error);
      return "core lost";
    }
    return this.#admitted(wasm, asked, call, brought);
  }

  /** Tells those who waited and may go. Called whenever that may have changed. */
  #poll(): void {
    this.#ask((wasm) => {
      this.#waiters.poll(wasm);
      this.#news(wasm);
    });
  }

  #follow(flags: number): void {
    if (flags & Flag.waiters) this.#poll();
    else if (flags & Flag.news) this.#ask((wasm) => this.#news(wasm));
  }

  // ---- telling

  /** Hands on the changes of state that the core has noted. */
  #news(wasm: ServiceCore): void {
    for (;;) {
      const kind = glue.transition(wasm.handle);
      if (kind === Transition.none) return;
      if (kind === Transition.circuit) this.#tellCircuit(wasm, glue.name(wasm.handle));
      else if (kind === Transition.cooldownBegan)
        this.#emitter.emit("cooldown", { state: "began", untilTime: glue.until(wasm.handle) });
      else this.#emitter.emit("cooldown", { state: "ended" });
      if (!this.#isCurrent(wasm)) return;
    }
  }

  #tellCircuit(wasm: ServiceCore, change: number): void {
    const from = phases[change >> 2] ?? "closed";
    const to = phases[change & 3] ?? "closed";
    if (to === "open") {
      const { consecutiveFailures } = this.#circuit(wasm);
      this.#shell.log.error(`Circuit breaker opened after ${consecutiveFailures} consecutive failures`);
    } else {
      this.#shell.log.info(`Circuit breaker is ${to}`);
    }
    this.#emitter.emit("circuit", { from, to });
  }

  #tellAttempt(attempt: number, call: Call, durationMs: number, code: number): void {
    if (!this.#emitter.has("attempt")) return;
    const { resourceName, operation } = call.context;
    this.#emitter.emit("attempt", {
      attempt,
      durationMs,
      verdict: verdictName(code),
      resourceName,
      operation,
    });
  }

  #tellRetry(call: Call, attempt: number, answer: Answer, brought: Brought, code: number): void {
    const { resourceName, operation } = call.context;
    const { after: delayMs, until: untilTime } = answer;
    const what = verdictName(code) === "throttled" ? "Rate limit detected" : "Transient failure";
    this.#shell.log.warn(`${what}. Retrying in ${delayMs}ms (attempt ${call.retries}/${call.maxRetries})`);
    this.#emitter.emit("retry", {
      attempt,
      delayMs,
      untilTime,
      cause: brought.value,
      resourceName,
      operation,
    });
  }

  #tellWait(call: Call, { reason, until }: Answer): void {
    const { onWait } = call.context;
    if (!onWait) return;
    const name = reason === Reason.backoff ? "backoff" : "cooldown";
    this.#emitter.tell(onWait, { reason: name, untilTime: until, attempt: call.attempt });
  }

  /** The error that ends a call, logged and announced. */
  #failure(call: Call, answer: Answer, attempts: number, brought: Brought | null): RateLimitError {
    const { code, summary } = words(answer.reason, call);
    const { resourceName, operation } = call.context;
    const retryAfterMs = Number.isNaN(answer.after) ? undefined : answer.after;
    const retryTime = retryAfterMs === undefined ? undefined : this.#platform.now() + retryAfterMs;
    const info = { retryAfterMs, retryTime, resourceName, operation };
    const error = new RateLimitError({
      ...{ code, summary, retryAfterMs, resourceName, operation, attempts },
      userMessage: this.#translated(code, info) ?? userMessage(code, info),
      originalError: brought?.value,
    });
    if (answer.reason === Reason.maxRetries) this.#shell.log.error("Max retries exceeded");
    else this.#shell.log.info(error.message);
    this.#emitter.emit("giveUp", { error });
    return error;
  }

  #translated(code: RateLimitErrorCode, info: MessageInfo): string | undefined {
    try {
      const translated: unknown = this.#shell.messages?.(code, info);
      return typeof translated === "string" ? translated : undefined;
    } catch (error) {
      this.#shell.log.error("messages threw", error);
      return undefined;
    }
  }

  // ---- the core

  /** The core that a call should ask; `null`: calls pass through. */
  #ready(): ServiceCore | null {
    if (this.#disposed || !this.#shell.enabled) return null;
    return this.#current();
  }

  /** The core of the present instance, built where it is missing. */
  #current(): ServiceCore | null {
    return this.#core?.isCurrent ? this.#core : this.#build();
  }

  #isCurrent(wasm: ServiceCore): boolean {
    return this.#core === wasm && wasm.isCurrent;
  }

  #build(): ServiceCore | null {
    this.#core = null;
    if (this.#disposed || !isReady()) return null;
    let wasm: ServiceCore;
    try {
      wasm = new ServiceCore(this.#given);
    } catch (error) {
      this.#trapped(error);
      return null;
    }
    this.#core = wasm;
    this.#ask(() => this.#restore(wasm));
    return this.#core;
  }

  /** What must outlive the core: an isolated circuit, and a cooldown that still holds somebody. */
  #restore(wasm: ServiceCore): void {
    if (this.#isolated) glue.isolate(wasm.handle);
    const until = this.#waiters.heldUntil();
    if (until > this.#platform.now()) glue.restore_cooldown(wasm.handle, until);
  }

  #circuit(wasm: ServiceCore): CircuitState {
    return circuitState(glue.circuit(wasm.handle, this.#platform.now()) as number[]);
  }

  /** Asks the core for something; `undefined` when there is none, or when it trapped. */
  #ask<T>(question: (wasm: ServiceCore) => T): T | undefined {
    const wasm = this.#current();
    if (wasm === null) return undefined;
    try {
      return question(wasm);
    } catch (error) {
      this.#trapped(error);
      return undefined;
    }
  }

  #trapped(error: unknown): void {
    this.#core = null;
    this.#shell.log.error("The core failed; calls pass through", error);
    trapped(this.#platform.now());
  }

  /**
   * Listens to the core without being held by it: a service that nobody disposes of, and nobody holds, may be collected.
   * Static, because closures of one function keep alive whatever any of them holds.
   */
  static #watchCore(service: WeakRef<RateLimitService>): () => void {
    return onCoreState((state) => {
      const followed = service.deref();
      if (followed) followed.#coreChanged(state);
    });
  }

  #coreChanged(state: CoreState): void {
    if (state === "trap") {
      this.#core = null;
      this.#waits.rearm();
      this.#waiters.coreLost();
    }
    this.#emitter.emit("core", { state });
  }

  async #passThrough<T>(operation: Operation<T>, call: Call): Promise<T> {
    if (this.#isolated && this.#shell.enabled && !this.#disposed) {
      throw this.#failure(call, { ...NO_ANSWER, reason: Reason.circuitOpen }, call.retries, null);
    }
    const attempt = new Attempt(call);
    try {
      return await operation(attempt);
    } finally {
      attempt.end();
    }
  }
}

/** Leave for one attempt, and the core that gave it. */
interface Leave {
  core: ServiceCore;
  permit: number;
}

type After = Leave | "core lost" | "pass on";

/** What the core made of the end of an attempt. */
interface End {
  next: number;
  answer: Answer;
  /** Which attempt it was. */
  attempt: number;
  /** The wait for the next one. */
  standing: Promise<Ended> | null;
}

/** What an attempt may lead to, as far as the core cannot know. */
interface Terms {
  maxRetries: number;
  idempotent: boolean;
  /** A random number of the host; NaN: the core draws one itself. */
  draw: number;
}

const NO_TERMS: Terms = { maxRetries: 0, idempotent: false, draw: Number.NaN };

const NO_ANSWER: Answer = { reason: Reason.none, name: 0, until: Number.NaN, after: Number.NaN };

const NO_CONTEXT: CallContext = Object.freeze({});

const IGNORED: Judged = { code: Judgement.ignored, hintMs: Number.NaN };
const SILENT: Judged = { code: Judgement.silent, hintMs: Number.NaN };

/** The code of a reason, and the words of the log that come before those for people. */
function words(reason: number, call: Call): { code: RateLimitErrorCode; summary: string } {
  switch (reason) {
    case Reason.circuitOpen:
      return { code: "RATE_LIMIT_CIRCUIT_OPEN", summary: "Rate limit circuit breaker is open. " };
    case Reason.circuitOpened:
      return { code: "RATE_LIMIT_CIRCUIT_OPEN", summary: "Rate limit circuit breaker opened. " };
    case Reason.retryAfterTooLong:
      return {
        code: "RATE_LIMIT_RETRY_AFTER_TOO_LONG",
        summary: "The server asks for a longer wait than maxRetryAfterMs allows. ",
      };
    case Reason.deadline:
      return { code: "RATE_LIMIT_DEADLINE_EXCEEDED", summary: "The call cannot be over by its deadline. " };
    case Reason.budget:
      return { code: "RATE_LIMIT_BUDGET_EXHAUSTED", summary: "The retry budget is spent. " };
    default:
      return {
        code: "RATE_LIMIT_MAX_RETRIES_EXCEEDED",
        summary: `Rate limit error persisted after ${call.retries} retries. `,
      };
  }
}

/** What the attempt brought, unchanged. */
function passedOn<T>(brought: Brought): T {
  if (brought.thrown) throw brought.value;
  return brought.value as T;
}
