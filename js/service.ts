import * as glue from "../pkg/core.js";
import { Attempt, type Brought, boundedAttempt, plainAttempt } from "./attempt.ts";
import { abortReason, Call } from "./call.ts";
import { CLOSED, circuitState } from "./circuit.ts";
import { Flag, Judgement, Next, phases, Reason, Transition } from "./codes.ts";
import { type CoreConfig, merged, type ShellConfig, shellConfig } from "./config.ts";
import { coreState, type ServiceCore } from "./core.ts";
import { isRateLimitError, type RateLimitError } from "./errors.ts";
import { Emitter } from "./events.ts";
import { failure, NO_CORE } from "./failure.ts";
import { endsWith, type FinalFailures } from "./final.ts";
import { isOnline, type Platform } from "./host.ts";
import { isPlainSuccess, type Judged, judge, judgedAs, outcomeOf, verdictName } from "./judge.ts";
import { type LimitsPlan, NOWHERE, type OnCoreUnavailable, type Place } from "./lanes.ts";
import { type LaneStatus, Limits, type Slot } from "./limits.ts";
import { type Granted, Link } from "./link.ts";
import { Groups, metricsSnapshot } from "./metrics.ts";
import type {
  AttemptInfo,
  CallContext,
  CircuitState,
  Host,
  MessageInfo,
  MetricsSnapshot,
  RateLimitConfig,
  RateLimitErrorCode,
  ServiceEvents,
  WaitReason,
} from "./types.ts";
import { forUsing } from "./using.ts";
import { type Answer, answerFor, answerOf, type Ended, type Leave } from "./waiters.ts";

type Operation<T> = (attempt: AttemptInfo) => T | PromiseLike<T>;

/** What a call in a lane may say beside the public fields. */
export interface LaneContext extends CallContext {
  /** The pause before the first retry, instead of the configuration's. */
  retryDelayMs?: number | undefined;
}

/**
 * Retries, a circuit breaker and a shared cooldown for everything that counts against one server's limits.
 *
 * The loop is here, the decisions are the core's: a call that succeeds costs at most two calls into it, with numbers only.
 * Without the core calls pass straight through.
 */
export class RateLimitService {
  #given: Partial<RateLimitConfig>;
  #shell: ShellConfig;
  readonly #host: Partial<Host> | undefined;
  readonly #platform: Platform;
  readonly #siblings = new Map<string, { service: RateLimitService; config: Partial<RateLimitConfig> }>();
  readonly #limits: Limits | null;
  /** @internal */
  readonly link: Link;
  readonly #emitter: Emitter<ServiceEvents>;
  readonly #groups = new Groups();
  #onCoreUnavailable: OnCoreUnavailable;

  #isolated = false;
  #disposed = false;
  /** An operation that has a slot is beginning: what is called now is called by it. */
  #isInside = false;

  /** @throws RateLimitConfigError for a value out of its range and for an unknown field. */
  constructor(config?: Partial<RateLimitConfig>, host?: Partial<Host>);
  /**
   * With limits, for calls that stand in a lane.
   * @internal
   */
  constructor(
    config: Partial<RateLimitConfig> | undefined,
    host: Partial<Host> | undefined,
    limits: LimitsPlan & { onCoreUnavailable: OnCoreUnavailable },
  );
  constructor(
    config?: Partial<RateLimitConfig>,
    host?: Partial<Host>,
    limits?: LimitsPlan & { onCoreUnavailable: OnCoreUnavailable },
  ) {
    forUsing(this, "dispose");
    this.#given = merged({}, config);
    this.#shell = shellConfig(this.#given);
    this.#host = host;
    this.#limits = limits ? new Limits(limits) : null;
    this.#onCoreUnavailable = limits?.onCoreUnavailable ?? "pass";
    this.#emitter = new Emitter((error) => this.#shell.log.error("A listener threw", error));
    this.link = new Link(host, this.#limits, {
      config: () => this.#configuration(),
      log: () => this.#shell.log,
      restore: (core) => {
        if (this.#isolated) glue.isolate(core.handle);
      },
      changed: (core, kind) => this.#tellChange(core, kind),
      coreChanged: (state) => this.#emitter.emit("core", { state }),
    });
    this.#platform = this.link.platform;
    this.link.current();
  }

  /**
   * Calls `operation`, and again when the server refuses, until it is done or there is no sense in going on.
   *
   * @returns what the operation resolves with: the same value.
   * @throws what the operation throws, the same object, when that is no refusal; a RateLimitError when refusals outlast
   *   the retries, the circuit is open, or the call cannot be over in time; the signal's reason when it aborts; a
   *   TypeError when `operation` is no function; a RateLimitConfigError for an illegal context.
   */
  executeWithRetry<T>(
    operation: (attempt: AttemptInfo) => T | PromiseLike<T>,
    context?: CallContext | null,
  ): Promise<T> {
    return this.#execute(operation, context, null);
  }

  /**
   * The same for a call that stands in a lane: an attempt begins when the limits let it go. Without the core calls end with
   * RATE_LIMIT_CORE_UNAVAILABLE, or pass through: as the service was told when it was made.
   * @internal
   */
  executeIn<T>(
    place: Place,
    operation: (attempt: AttemptInfo) => T | PromiseLike<T>,
    context?: LaneContext | null,
  ): Promise<T> {
    const inside: Operation<T> = (attempt) => this.#inside(operation, attempt);
    return this.#execute(typeof operation === "function" ? inside : operation, context, place);
  }

  /** The circuit as the next call would meet it. Reading it changes nothing. */
  getCircuitState(): CircuitState {
    const state = this.link.ask((wasm) => this.#circuit(wasm));
    if (state) return state;
    return this.#isolated
      ? { ...CLOSED, isOpen: true, state: "isolated", retryAfterMs: Number.POSITIVE_INFINITY }
      : { ...CLOSED };
  }

  /** Closes the circuit, zeroes its counters and ends a cooldown. */
  resetCircuit(): void {
    this.#isolated = false;
    this.link.ask((wasm) => glue.reset(wasm.handle));
    this.link.poll();
  }

  /** Holds the circuit open until `resetCircuit()`, also while there is no core. */
  isolateCircuit(): void {
    this.#isolated = true;
    this.link.ask((wasm) => glue.isolate(wasm.handle));
    this.link.poll();
  }

  /** What was counted since the service was made, or since the core was started anew after a trap. */
  getMetrics(): MetricsSnapshot {
    const counted = (group: number): number[] =>
      this.link.ask((wasm) => glue.counts(wasm.handle, group) as number[]) ?? [];
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
    this.#configure();
    for (const sibling of this.#siblings.values())
      sibling.service.updateConfig({ ...config, ...sibling.config });
  }

  /**
   * Other limits from the next decision on: who waits is asked again, who runs is not disturbed, what is counted stays.
   * The plan is a checked one. Not for a service that was made without limits.
   * @internal
   */
  updateLimits(plan: LimitsPlan & { onCoreUnavailable?: OnCoreUnavailable }): void {
    this.#onCoreUnavailable = plan.onCoreUnavailable ?? this.#onCoreUnavailable;
    this.#limits?.configure(plan);
    this.#configure();
  }

  /**
   * How full a lane is; `null` when nobody can tell: without the core, and of a new one while there is no room for it.
   * @internal
   */
  status(place: Place): LaneStatus | null {
    return this.link.status(place);
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

  /**
   * What this service says of a failure that was no call of its own, and which counts nowhere; `null` without the core.
   * @internal
   */
  async judgement(error: unknown, durationMs: number): Promise<Judged | null> {
    const wasm = this.link.current();
    if (wasm === null) return null;
    const call = new Call(NO_CONTEXT, this.#platform.now(), Number.NaN, 0, 0);
    return this.#judged(wasm, call, { thrown: true, value: error }, durationMs);
  }

  /** Ends every wait with an AbortError; later calls pass through. */
  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    this.link.dispose(new DOMException("The service was disposed.", "AbortError"));
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

  // ---- the loop

  async #execute<T>(
    operation: Operation<T>,
    context: LaneContext | null | undefined,
    place: Place | null,
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
      place,
    );
    if (wasm === null) return this.#passThrough(operation, call);
    if (context?.signal?.aborted) throw abortReason(context.signal);
    const isBounded = this.#isBounded(call);
    const { calm } = this.link;
    let permit: number;
    try {
      if (calm.permit !== 0 && place === null && !isBounded) {
        calm.called(call.arrival, group);
        permit = calm.permit;
      } else {
        permit = this.link.begin(wasm, call);
      }
    } catch (error) {
      return this.#run(operation, call, this.#leaveOf(this.link.noLeave(call, error), call));
    }
    if (permit <= 0 || isBounded) return this.#runFrom(operation, call, wasm, permit);

    // The first attempt of a plain call stands here and not in `#run`: every async function between the caller and the
    // operation would cost as much as the core.
    if (place !== null) this.#takeSlot(call, place, wasm, permit, call.arrival);
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

  /** From what the core answered when the call asked for its first attempt. */
  async #runFrom<T>(operation: Operation<T>, call: Call, wasm: ServiceCore, asked: number): Promise<T> {
    const granted = await this.link.granted(wasm, asked, call.arrival, call, this.#waitsOf(call));
    return this.#run(operation, call, this.#leaveOf(granted, call));
  }

  /** Attempt after attempt. */
  async #run<T>(operation: Operation<T>, call: Call, leave: Leave | "core lost"): Promise<T> {
    if (leave === "core lost") return this.#passThrough(operation, call);
    if (!this.link.isCurrent(leave.core)) {
      const granted = await this.link.askAgain(call, this.#waitsOf(call));
      return this.#run(operation, call, this.#leaveOf(granted, call));
    }
    const { core: wasm, permit, at } = leave;
    if (call.place !== null) this.#takeSlot(call, call.place, wasm, permit, at);
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
    const host = { platform: this.#platform, waits: this.link.waits };
    const { slot } = call;
    const over = slot === null ? undefined : () => this.#operationOver(slot);
    return boundedAttempt(operation, call, this.#shell.attemptTimeoutMs, host, over);
  }

  #succeeded(wasm: ServiceCore, permit: number, started: number, call: Call): void {
    const { slot, group } = call;
    if (!this.link.isCurrent(wasm)) {
      if (slot !== null) this.link.giveBack(slot);
      return;
    }
    const now = this.#platform.now();
    const { calm } = this.link;
    try {
      if (slot !== null) {
        this.#limits?.drop(slot);
        this.link.follow(glue.succeed_in(wasm.handle, permit, now, started, group, slot.lane));
      } else if (!calm.succeeded(permit, now - started, group)) {
        const flags = glue.succeed(wasm.handle, permit, now, started, group);
        if (flags === Flag.calm) calm.begin(wasm, permit);
        else this.link.follow(flags);
      }
    } catch (error) {
      this.link.trapped(error);
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
    const { slot } = call;
    // Nobody waits for the operation any longer, but what it costs the server goes on until it settles.
    if (slot !== null) slot.kept = brought.stopped !== undefined && !slot.over;
    const durationMs = this.#platform.now() - started;
    const judged = await this.#judged(wasm, call, brought, durationMs);
    const end = this.link.isCurrent(wasm) ? this.#ended(wasm, permit, started, call, brought, judged) : null;
    this.#leaveSlot(call);
    if (end) this.#tellAttempt(end.attempt, call, durationMs, judged.code);
    if (brought.stopped === "deadline") {
      this.link.ask((current) => glue.rejected(current.handle, call.group, Reason.deadline));
      this.link.poll();
      throw this.#failure(call, answerFor(Reason.deadline), call.attempt, brought);
    }
    this.link.poll();
    if (end?.standing) {
      this.#tellRetry(call, end.attempt, end.answer, brought, judged.code);
      this.#tellWait(call, end.answer);
      const granted = await this.link.waited(end.standing, call, this.#waitsOf(call));
      return this.#leaveOf(granted, call, brought);
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
    if (!this.link.isCurrent(wasm)) return null;
    try {
      const next = this.#tellCore(wasm, permit, started, call, judged, terms);
      const answer = answerOf(wasm);
      if (next !== Next.retry) return { next, answer, attempt, standing: null };
      call.retries++;
      call.delay = answer.after;
      return { next, answer, attempt, standing: this.link.stand(call, answer) };
    } catch (error) {
      this.link.trapped(error);
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
      if (this.link.isCurrent(wasm)) {
        this.link.ask(() => this.#tellCore(wasm, permit, started, call, IGNORED, NO_TERMS));
        this.#tellAttempt(call.attempt, call, this.#platform.now() - started, IGNORED.code);
        this.link.poll();
      }
      this.#leaveSlot(call);
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
    const { arrival, deadline, priority, group, retries, delay, place, lane, slot } = call;
    const { weight, concurrency, limit, windowMs } = place ?? NOWHERE;
    const { retryDelayMs = Number.NaN } = place === null ? NO_DELAY : (call.context as LaneContext);
    const now = this.#platform.now();
    if (slot?.kept === false) this.#limits?.drop(slot);
    this.link.calm.end();
    // biome-ignore format: numbers cross for nothing, so there are many of them: the attempt, the call's use so far, the call, its limits
    return glue.end(
      wasm.handle, permit, now, started, code, hintMs, isOnline(),
      retries, maxRetries, delay, idempotent,
      arrival, deadline, priority, group, draw,
      lane, weight, concurrency, limit, windowMs, retryDelayMs, slot?.kept === true,
    );
  }

  async #judged(wasm: ServiceCore, call: Call, brought: Brought, durationMs: number): Promise<Judged> {
    if (brought.stopped) return brought.stopped === "timeout" ? SILENT : IGNORED;
    if (brought.thrown && isRateLimitError(brought.value)) return IGNORED;
    if (!this.link.isCurrent(wasm)) return IGNORED;
    const wall = this.#platform.wall();
    const { sleep } = this.#platform;
    const leftMs = call.deadline - this.#platform.now();
    try {
      const own = this.#ownJudgement(brought, durationMs, () => glue.hint_in(brought.value, wall));
      return own ?? (await judge(wasm, brought, wall, { sleep, leftMs, signal: call.context.signal }));
    } catch (error) {
      this.link.trapped(error);
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

  // ---- slots

  /** Lets an operation that has a slot begin, and knows meanwhile that it is inside of one. */
  #inside<T>(operation: Operation<T>, attempt: AttemptInfo): T | PromiseLike<T> {
    const before = this.#isInside;
    this.#isInside = true;
    try {
      return operation(attempt);
    } finally {
      this.#isInside = before;
    }
  }

  #takeSlot(call: Call, place: Place, wasm: ServiceCore, permit: number, at: number): void {
    call.slot = this.#limits?.take(wasm, permit, at, call.lane, place, call.group) ?? null;
  }

  /** Gives the slot of an attempt back, if that was not done, unless its operation goes on. */
  #leaveSlot({ slot }: Call): void {
    if (slot?.kept === false) this.link.giveBack(slot);
  }

  /** The operation has settled, perhaps long after its attempt was ended. */
  #operationOver(slot: Slot): void {
    slot.over = true;
    if (slot.kept) this.link.giveBack(slot);
  }

  // ---- waiting

  /** The leave that a call was given. */
  #leaveOf(granted: Granted, call: Call, brought: Brought | null = null): Leave | "core lost" {
    if (granted !== "core lost" && "rejected" in granted) {
      throw this.#failure(call, granted.rejected, call.retries, brought);
    }
    return granted;
  }

  /** Whom to tell of the call's waits. */
  #waitsOf(call: Call): ((answer: Answer) => void) | undefined {
    return call.context.onWait || call.place ? (answer) => this.#tellWait(call, answer) : undefined;
  }

  // ---- telling

  /** Hands on a change that the core has noted. */
  #tellChange(wasm: ServiceCore, kind: number): void {
    if (kind === Transition.circuit) this.#tellCircuit(wasm, glue.name(wasm.handle));
    else if (kind === Transition.warned) this.#emitter.emit("warned", this.link.warning(wasm));
    else if (kind === Transition.cooldownBegan)
      this.#emitter.emit("cooldown", { state: "began", untilTime: glue.until(wasm.handle) });
    else this.#emitter.emit("cooldown", { state: "ended" });
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
    if (reason === Reason.slots && this.#isInside) {
      this.#shell.log.debug(
        "A call waits for a slot inside another that has one: where no other comes free, both wait for ever",
      );
    }
    const { onWait } = call.context;
    if (!onWait) return;
    const untilTime = Number.isNaN(until) ? Number.POSITIVE_INFINITY : until;
    this.#emitter.tell(onWait, { reason: WAITS[reason] ?? "queue", untilTime, attempt: call.attempt });
  }

  /** The error that ends a call, logged and announced. */
  #failure(call: Call, answer: Answer, attempts: number, brought: Brought | null): RateLimitError {
    const { resourceName, operation } = call.context;
    const { retries } = call;
    const now = this.#platform.now();
    const circumstances = { attempts, retries, now, resourceName, operation, originalError: brought?.value };
    const error = failure(answer, circumstances, (code, info) => this.#translated(code, info));
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
    return this.#disposed || !this.#shell.enabled ? null : this.link.current();
  }

  /** What the service is in the core. */
  #configuration(): CoreConfig {
    return this.#limits ? { ...this.#given, limits: this.#limits.plan } : this.#given;
  }

  #configure(): void {
    this.link.ask((wasm) => wasm.configure(this.#configuration()));
    this.link.poll();
  }

  #circuit(wasm: ServiceCore): CircuitState {
    return circuitState(glue.circuit(wasm.handle, this.#platform.now()) as number[]);
  }

  async #passThrough<T>(operation: Operation<T>, call: Call): Promise<T> {
    if (this.#shell.enabled && !this.#disposed) {
      if (this.#isolated) throw this.#failure(call, answerFor(Reason.circuitOpen), call.retries, null);
      const uncounted = call.place !== null && !this.#limits?.isFree(call.place);
      if (uncounted && this.#onCoreUnavailable === "reject") {
        throw this.#failure(call, answerFor(NO_CORE), call.retries, null);
      }
    }
    const attempt = new Attempt(call);
    try {
      return await operation(attempt);
    } finally {
      attempt.end();
    }
  }
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

const NO_DELAY: LaneContext = {};

const NO_CONTEXT: CallContext = Object.freeze({});

const IGNORED: Judged = { code: Judgement.ignored, hintMs: Number.NaN };
const SILENT: Judged = { code: Judgement.silent, hintMs: Number.NaN };

/** The public names of what a call waits for. */
const WAITS: Partial<Record<number, WaitReason>> = {
  [Reason.backoff]: "backoff",
  [Reason.cooldown]: "cooldown",
  [Reason.quota]: "quota",
  [Reason.slots]: "concurrency",
};

/** What the attempt brought, unchanged. */
function passedOn<T>(brought: Brought): T {
  if (brought.thrown) throw brought.value;
  return brought.value as T;
}
