import * as glue from "../pkg/core.js";
import { abortReason, onAbort } from "./call.ts";
import { CoreHandle, isReady, isReturning, onCoreState, trapped } from "./core.ts";
import { RateLimitError, userMessage } from "./errors.ts";
import { type Platform, plainAlarm, platform } from "./host.ts";
import { ACQUIRE, PART } from "./parts.ts";
import { aString, checked, count, oneOf, type Rules } from "./rules.ts";
import type { CoreState, Host, RateLimitErrorCode } from "./types.ts";

/** How many jobs run, and how many may wait. */
export interface PoolLimits {
  /** Jobs that run at a time. Default 5; 1 to 1_000_000. */
  workers?: number | undefined;
  /** Jobs that may wait for a worker. Default 100; 0 to 1_000_000_000. */
  queue?: number | undefined;
}

export interface PoolOptions extends PoolLimits {
  /**
   * What becomes of a job for which the queue has no room: `"reject"` is `RATE_LIMIT_QUEUE_FULL`; with `"wait"` it joins the
   * queue when there is, first come, first served. Default `"reject"`.
   */
  onFull?: "reject" | "wait" | undefined;
  /**
   * What becomes of jobs where there is no core to keep the queue: `"reject"` is `RATE_LIMIT_CORE_UNAVAILABLE`; with `"pass"`
   * all of them run at once. Default `"reject"`.
   */
  onCoreUnavailable?: "reject" | "pass" | undefined;
  /** What replaces the platform's clock. */
  host?: Partial<Host> | undefined;
}

export interface SubmitOptions {
  /** Higher goes first; 0 is normal. Ten seconds of waiting count as one step, so that nobody starves. */
  priority?: number | undefined;
  /** Jobs of one key are done once: see `submit`. */
  dedupeKey?: string | undefined;
  /** Takes the job back at once, queued or running, with the signal's reason. */
  signal?: AbortSignal | null | undefined;
}

/** What a job is told. */
export interface JobInfo {
  /** Aborts when nobody waits for the job any more. Made when first read. */
  readonly signal: AbortSignal;
}

/**
 * So many workers, and a queue before them: bounded, by priority and then by arrival. To join it, to leave it and to go is
 * O(log n), whether a hundred wait or a million.
 *
 * A job must not wait for another job of its own pool: when all that run do, none of them ever ends.
 */
export class Pool {
  #workers: number;
  #bound: number;
  readonly #waitsForRoom: boolean;
  readonly #passes: boolean;
  readonly #platform: Platform;
  readonly #unwatch: () => void;
  #core: CoreHandle | null = null;

  #running = 0;
  /** Those in the queue, by their names. */
  #queue: (Task | undefined)[] = [];
  #depth = 0;
  /** Those for whom it had no room. */
  readonly #outside = new Line<Task>();
  /** How many have come so far. */
  #comings = 0;
  /** Arrivals are counted from here: small numbers take no memory of their own. */
  readonly #origin: number;

  /** What comes is of this batch. */
  #batch: Batch;
  /** The first one that has jobs to come to an end, and the last one that takes no more: somebody waits for these. */
  #oldest: Batch;
  #closed: Batch | null = null;
  /** Jobs by key, for as long as they may be joined; `null`: the key was marked by hand. */
  readonly #known = new Map<string, Shared | null>();
  #closing: Promise<void> | null = null;

  /** @throws RateLimitConfigError for a value out of its range and for an unknown field. */
  constructor(options: PoolOptions = {}) {
    const given = checked<PoolOptions>("options", options, OPTIONS);
    const { workers = 5, queue = 100, onFull, onCoreUnavailable, host } = given;
    this.#workers = workers;
    this.#bound = queue;
    this.#waitsForRoom = onFull === "wait";
    this.#passes = onCoreUnavailable === "pass";
    this.#platform = platform(host, plainAlarm);
    this.#origin = this.#platform.now();
    this.#batch = new Batch(this.#ended);
    this.#oldest = this.#batch;
    this.#unwatch = Pool.#watchCore(new WeakRef(this));
  }

  /**
   * Runs `job` when a worker is free: at once, before this returns, when one is.
   *
   * A job whose `dedupeKey` came before in this batch, which lasts until `clearSeen()`, is not run: whether the first one is
   * queued, running or done, the caller gets what that one brings. (The values of jobs with keys are kept until then.) A job
   * that failed, or was taken back, leaves no trace: the next one of its key runs.
   *
   * When the signal aborts, the promise rejects at once. A job that is queued leaves; one that runs sees it in the signal of
   * its own, and keeps its worker until it settles. One that several wait for goes on until the last of them has left.
   *
   * @returns what the job resolves with. Rejects with what it throws, unchanged; with a RateLimitError of
   *   `RATE_LIMIT_QUEUE_FULL`, `RATE_LIMIT_POOL_CLOSED` or `RATE_LIMIT_CORE_UNAVAILABLE`; with the signal's reason; with a
   *   TypeError when `job` is no function; with a RateLimitConfigError for illegal options.
   */
  submit<T>(job: (info: JobInfo) => T | PromiseLike<T>, options?: SubmitOptions): Promise<T> {
    try {
      if (typeof job !== "function") throw new TypeError("submit: the job must be a function.");
      if (options === undefined) return this.#enter(job, 0) as Promise<T>;
      const { priority, dedupeKey, signal } = legalOptions(options);
      if (signal?.aborted) throw abortReason(signal);
      if (dedupeKey !== undefined) return this.#join(dedupeKey, job, priority, signal) as Promise<T>;
      if (!signal) return this.#enter(job, priority) as Promise<T>;
      const task = new HeldTask(job, priority, this.#batch);
      const outcome = this.#enter(job, priority, task) as Promise<T>;
      return orAborted(outcome, signal, (reason) => this.#takeBack(task, reason));
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /**
   * Resolves when all jobs that were submitted so far have ended, well or not, and also those that were taken back while they
   * ran. Rejects only with the signal's reason, and with a RateLimitConfigError for illegal options.
   */
  async wait(options: { signal?: AbortSignal | null | undefined } = {}): Promise<void> {
    const { signal } = checked<Pick<SubmitOptions, "signal">>("options", options, WAIT);
    if (signal?.aborted) throw abortReason(signal);
    const batch = this.#closedBatch();
    if (batch !== null) {
      let wake = (): void => {};
      const ended = new Promise<void>((resolve) => {
        wake = resolve;
        batch.waiting.add(wake);
      });
      await (signal ? orAborted(ended, signal, () => batch.waiting.delete(wake)) : ended);
    }
    for (let turn = 0; turn < TURNS_TO_HEAR; turn++) await null;
  }

  /**
   * Takes no more jobs; those in the queue still run. Resolves when all have ended. Whoever waits for room in the queue is
   * rejected as those are who submit from now on: `RATE_LIMIT_POOL_CLOSED`.
   */
  close(): Promise<void> {
    this.#closing ??= this.#drained();
    return this.#closing;
  }

  /** Jobs that run now, those included that were taken back and have not settled yet. */
  get activeWorkers(): number {
    return this.#running;
  }

  /** Jobs in the queue. */
  get queueDepth(): number {
    return this.#depth;
  }

  /** Whether a job of that key is queued, running or done in this batch, or the key was marked. */
  isDuplicate(key: string): boolean {
    return this.#known.has(key);
  }

  /**
   * Makes the key a duplicate, for those who ask `isDuplicate` and then decide. `submit` joins jobs, not marks: it runs the
   * first job of a key that was marked.
   */
  markSeen(key: string): void {
    if (!this.#known.has(key)) this.#known.set(key, null);
  }

  /** Begins another batch: all keys are new. Jobs that are queued or running go on, and nobody joins them any more. */
  clearSeen(): void {
    this.#known.clear();
  }

  /**
   * Other limits from now on; fields that are left out keep theirs. Additional workers begin at once. Who is in stays in:
   * with fewer workers, or a shorter queue, only what comes next finds less room.
   *
   * @throws RateLimitConfigError, and then nothing has changed.
   */
  updateLimits(limits: PoolLimits): void {
    const given = checked<PoolLimits>("limits", limits, LIMITS);
    this.#workers = given.workers ?? this.#workers;
    this.#bound = given.queue ?? this.#bound;
    this.#ask((handle) => glue.pool_configure(handle, this.#workers, this.#bound));
    this.#advance();
  }

  // ---- the way of a job

  /** Lets a job in: to a worker, into the queue, or into the line before that. */
  #enter(job: Job, priority: number, held?: HeldTask): Promise<unknown> {
    if (this.#closing !== null) throw refusal("RATE_LIMIT_POOL_CLOSED", "The pool is closed. ");
    // Where a worker is idle, nobody asks when the job came: to read the clock would be a third of all that this costs.
    const isIdle = this.#depth === 0 && this.#running < this.#workers;
    const now = isIdle ? null : this.#platform.now();
    const place = this.#outside.size > 0 ? FULL : this.#placeFor(now ?? 0, priority);
    if (place === UNAVAILABLE) throw unavailable();
    if (place === FULL && !this.#waitsForRoom) {
      throw refusal("RATE_LIMIT_QUEUE_FULL", "The queue of the pool is full. ");
    }
    const batch = this.#batch;
    batch.pending++;
    if (place === RUNS) {
      this.#running++;
      return this.#begin(job, batch, held);
    }
    const task = held ?? new Task(job, priority, batch);
    task.coming = this.#comings++;
    task.arrival = smallInteger((now ?? this.#platform.now()) - this.#origin);
    if (place === FULL) this.#outside.join(task);
    else this.#put(task, place);
    // What follows a promise runs in the asynchronous context of whoever called `then`: the job sees that of its submitter,
    // and not that of the job before it.
    const turn = new Promise<Task>(keepResolve);
    task.go = kept;
    return turn.then(this.#run);
  }

  /** The name under which it is queued, or RUNS, FULL, UNAVAILABLE. */
  #placeFor(arrival: number, priority: number): number {
    const core = this.#current();
    try {
      if (core !== null) return glue.pool_enter(core.handle, arrival, priority);
    } catch {
      this.#trapped();
    }
    if (this.#passes) return RUNS;
    if (!isReturning()) return UNAVAILABLE;
    // The next core will be told of it, as of all others.
    return this.#depth < this.#bound ? this.#queue.length : FULL;
  }

  readonly #run = (task: Task): Promise<unknown> => {
    const { job, batch } = task;
    if (job !== null) return this.#begin(job, batch, task);
    // It was taken back when a worker had been found for it and it had not begun.
    this.#ended(batch);
    return Promise.resolve();
  };

  #begin(job: Job, batch: Batch, task?: Task): Promise<unknown> {
    const info = task instanceof HeldTask ? task.info : new Info();
    if (task) task.job = null;
    return settlementOf(job, info).then(batch.fulfilled, batch.rejected);
  }

  /** A job has ended, and its worker is free. */
  readonly #ended = (batch: Batch): void => {
    this.#running--;
    const next = this.#next(true);
    if (next !== NOBODY) this.#start(next);
    if (this.#outside.size > 0) this.#letIn();
    this.#left(batch);
  };

  /** Who runs next. */
  #next(ended: boolean): number {
    const core = this.#core;
    try {
      if (core?.isCurrent) return glue.pool_next(core.handle, ended);
    } catch {
      this.#trapped();
    }
    return NOBODY;
  }

  #start(name: number): void {
    const task = this.#unput(name);
    if (task !== undefined) this.#release(task);
  }

  #put(task: Task, name: number): void {
    if (task instanceof HeldTask) task.name = name;
    this.#queue[name] = task;
    this.#depth++;
  }

  #unput(name: number): Task | undefined {
    const task = this.#queue[name];
    if (task === undefined) return undefined;
    if (task instanceof HeldTask) task.name = NOBODY;
    this.#queue[name] = undefined;
    this.#depth--;
    return task;
  }

  /** Gives work to all workers, and room to those outside. */
  #advance(): void {
    for (let next = this.#next(false); next !== NOBODY; next = this.#next(false)) this.#start(next);
    this.#letIn();
  }

  #letIn(): void {
    if (this.#outside.size > 0) this.#current();
    for (let task = this.#outside.first; task !== undefined; task = this.#outside.first) {
      const place = this.#placeFor(this.#origin + task.arrival, task.priority);
      if (place < RUNS) return;
      // A core that was just lost has let everybody in already, where jobs pass without one.
      if (!this.#outside.leave(task)) continue;
      if (place === RUNS) this.#release(task);
      else this.#put(task, place);
    }
  }

  /** One that waited may run. */
  #release(task: Task): void {
    this.#running++;
    task.go(task);
  }

  /** Nobody waits for the job any more. */
  #takeBack(task: HeldTask, reason: unknown): void {
    const { name, batch } = task;
    task.job = null;
    if (name !== NOBODY) {
      this.#unput(name);
      this.#ask((handle) => glue.pool_leave(handle, name));
      this.#letIn();
      this.#left(batch);
    } else if (this.#outside.leave(task)) {
      this.#left(batch);
    } else {
      task.info.stop(reason);
    }
  }

  // ---- jobs that several wait for

  #join(key: string, job: Job, priority: number, signal: AbortSignal | null | undefined): Promise<unknown> {
    const shared = this.#known.get(key) ?? this.#share(key, job, priority);
    shared.holders++;
    // A promise for each: one that is rejected and that nobody handles must not go unnoticed because another one is.
    if (!signal) return shared.outcome.then();
    return orAborted(shared.outcome, signal, (reason) => {
      if (--shared.holders > 0) return;
      this.#forget(key, shared);
      this.#takeBack(shared.task, reason);
    });
  }

  #share(key: string, job: Job, priority: number): Shared {
    const task = new HeldTask(job, priority, this.#batch);
    let settle: (outcome: Promise<unknown>) => void = () => {};
    const outcome = new Promise<unknown>((resolve) => {
      settle = resolve;
    });
    // Known before it is in: it may run at once, and ask about its own key.
    const shared = { task, outcome, holders: 0 };
    const marked = this.#known.has(key);
    this.#known.set(key, shared);
    try {
      settle(this.#enter(job, priority, task));
    } catch (error) {
      this.#forget(key, shared);
      if (marked) this.markSeen(key);
      throw error;
    }
    outcome.catch(() => this.#forget(key, shared));
    return shared;
  }

  #forget(key: string, shared: Shared): void {
    if (this.#known.get(key) === shared) this.#known.delete(key);
  }

  // ---- ends

  /** The batch whose end is the end of all that came so far; `null`: it has come. */
  #closedBatch(): Batch | null {
    if (this.#batch.pending > 0) {
      this.#closed = this.#batch;
      this.#batch = new Batch(this.#ended);
      this.#closed.next = this.#batch;
    }
    return this.#oldest === this.#batch ? null : this.#closed;
  }

  /** One of that batch is no longer pending. */
  #left(batch: Batch): void {
    batch.pending--;
    // Each waits for those before it.
    while (this.#oldest.pending === 0 && this.#oldest.next !== null) {
      for (const wake of this.#oldest.waiting) wake();
      this.#oldest = this.#oldest.next;
    }
  }

  async #drained(): Promise<void> {
    const closed = refusal("RATE_LIMIT_POOL_CLOSED", "The pool is closed. ");
    for (const task of this.#outside.all()) {
      this.#outside.leave(task);
      this.#refuse(task, closed);
    }
    await this.wait();
    this.#unwatch();
    this.#ask(() => this.#core?.release());
    this.#core = null;
  }

  #refuse(task: Task, error: RateLimitError): void {
    task.go(Promise.reject(error));
    this.#left(task.batch);
  }

  // ---- the core

  /** The present core, told of everybody where it is a new one; `null`: there is none. */
  #current(): CoreHandle | null {
    if (this.#core?.isCurrent) return this.#core;
    if (!isReady()) return null;
    try {
      this.#core = this.#build();
    } catch {
      this.#trapped();
      return null;
    }
    this.#advance();
    return this.#core;
  }

  /** A core that knows who runs and who is queued. */
  #build(): CoreHandle {
    const waiting = this.#inOrder();
    const core = new CoreHandle(() => glue.pool(this.#running, waiting.length), glue.pool_free);
    for (let i = 0; i < this.#running; i++) glue.pool_enter(core.handle, 0, 0);
    const names = waiting.map((task) =>
      glue.pool_enter(core.handle, this.#origin + task.arrival, task.priority),
    );
    glue.pool_configure(core.handle, this.#workers, this.#bound);
    this.#queue = [];
    this.#depth = 0;
    for (const [i, name] of names.entries()) this.#put(waiting[i] as Task, name);
    return core;
  }

  #inOrder(): Task[] {
    return this.#queue.filter((task) => task !== undefined).sort((a, b) => a.coming - b.coming);
  }

  /** Asks the present core, if there is one. */
  #ask(question: (handle: number) => unknown): void {
    try {
      if (this.#core?.isCurrent) question(this.#core.handle);
    } catch {
      this.#trapped();
    }
  }

  #trapped(): void {
    trapped(this.#platform.now());
  }

  /** As in Link: a pool that nobody holds may be collected. */
  static #watchCore(pool: WeakRef<Pool>): () => void {
    const unwatch = onCoreState((state) => {
      const followed = pool.deref();
      if (followed) followed.#coreChanged(state);
      else unwatch();
    });
    return unwatch;
  }

  #coreChanged(state: CoreState): void {
    if (state === "ready") {
      if (this.#running + this.#depth + this.#outside.size > 0) this.#current();
      return;
    }
    // While it is to return, those in the queue wait for it.
    if (!this.#passes && isReturning()) return;
    const everybody = [...this.#inOrder(), ...this.#outside.all()];
    this.#queue = [];
    this.#depth = 0;
    for (const task of everybody) {
      this.#outside.leave(task);
      if (task instanceof HeldTask) task.name = NOBODY;
      if (this.#passes) this.#release(task);
      else this.#refuse(task, unavailable());
    }
  }
}

/** A job. A queue may hold a million of them: every field is eight bytes for each. */
class Task {
  /** `null` once it has begun, or was taken back. */
  job: Job | null;
  readonly priority: number;
  readonly batch: Batch;
  /** Its number: those of one rank go in this order. */
  coming = 0;
  arrival = 0;
  /** Ends its wait: with itself it begins, with a rejection it is over. */
  go: (turn: Task | Promise<never>) => void = neverWaited;

  constructor(job: Job, priority: number, batch: Batch) {
    this.job = job;
    this.priority = priority;
    this.batch = batch;
  }
}

type Job = (info: JobInfo) => unknown;

/** One that may be taken back. */
class HeldTask extends Task {
  /** In the queue; NOBODY: it is not there. */
  name = NOBODY;
  readonly info = new Info();
}

class Info implements JobInfo {
  #controller: AbortController | null = null;

  get signal(): AbortSignal {
    this.#controller ??= new AbortController();
    return this.#controller.signal;
  }

  stop(reason: unknown): void {
    this.#controller ??= new AbortController();
    this.#controller.abort(reason);
  }
}

/** A job that several may wait for. */
interface Shared {
  readonly task: HeldTask;
  readonly outcome: Promise<unknown>;
  /** How many have not left. */
  holders: number;
}

/** Jobs whose end somebody waits for together. */
class Batch {
  pending = 0;
  /** The one that came after it. */
  next: Batch | null = null;
  readonly waiting = new Set<() => void>();
  /** What follows each of its jobs: two functions for all of them. */
  readonly fulfilled: (value: unknown) => unknown;
  readonly rejected: (error: unknown) => never;

  constructor(ended: (batch: Batch) => void) {
    this.fulfilled = (value) => {
      ended(this);
      return value;
    };
    this.rejected = (error) => {
      ended(this);
      throw error;
    };
  }
}

/** First come, first out; and whoever does not want to wait leaves. Each in constant time. */
class Line<T> {
  readonly #all = new Set<T>();
  /** One iterator for as long as it lasts: a new one would walk over everybody who has left. */
  #walk = this.#all.values();
  #first: T | undefined;

  get size(): number {
    return this.#all.size;
  }

  get first(): T | undefined {
    if (this.#first === undefined || !this.#all.has(this.#first)) {
      let step = this.#walk.next();
      if (step.done) {
        // It had come to its end, and sees nobody who comes after that.
        this.#walk = this.#all.values();
        step = this.#walk.next();
      }
      this.#first = step.value;
    }
    return this.#first;
  }

  join(one: T): void {
    this.#all.add(one);
  }

  leave(one: T): boolean {
    return this.#all.delete(one);
  }

  all(): T[] {
    return [...this.#all];
  }
}

/** Names that are none: what the core answers in place of one, and NOBODY's. */
const NOBODY = -1;
const RUNS = -1;
const FULL = -2;
const UNAVAILABLE = -3;

/** Between the end of a job and the `then` of its submitter; whoever waits for all comes after that. */
const TURNS_TO_HEAR = 5;

/** Calls the job. One that throws before its first `await` has failed like any other. */
function settlementOf(job: Job, info: JobInfo): Promise<unknown> {
  try {
    return Promise.resolve(job(info));
  } catch (error) {
    return Promise.reject(error);
  }
}

/** The same end, unless the signal aborts first: `left` is told. */
function orAborted<T>(promise: Promise<T>, signal: AbortSignal, left: (reason: unknown) => void): Promise<T> {
  return new Promise((resolve, reject) => {
    const unfollow = onAbort(signal, () => {
      const reason = abortReason(signal);
      reject(reason);
      left(reason);
    });
    promise.then(
      (value) => {
        unfollow();
        resolve(value);
      },
      (error: unknown) => {
        unfollow();
        reject(error);
      },
    );
  });
}

/** What is computed lies on the heap, sixteen bytes for each, until it is said to be a small integer. */
function smallInteger(ms: number): number {
  return ms < 2 ** 30 ? ms | 0 : ms;
}

function neverWaited(): void {}

/** The one executor of all promises of a turn: a closure for each would be the largest part of a queued job. */
function keepResolve(resolve: typeof kept): void {
  kept = resolve;
}

let kept: (turn: Task | Promise<never>) => void = neverWaited;

function unavailable(): RateLimitError {
  return refusal("RATE_LIMIT_CORE_UNAVAILABLE", "There is no core to keep the queue of the pool. ");
}

function refusal(code: RateLimitErrorCode, summary: string): RateLimitError {
  return new RateLimitError({ code, summary, userMessage: userMessage(code, {}), attempts: 0 });
}

function legalOptions(options: SubmitOptions): SubmitOptions & { priority: number } {
  const alone = priorityAlone(options);
  if (!Number.isNaN(alone)) return { priority: clamped(alone) };
  const { priority = 0, dedupeKey, signal } = checked<SubmitOptions>("options", options, SUBMIT);
  return { priority: clamped(priority), dedupeKey, signal };
}

/** A million jobs may come with a priority and nothing else. NaN: there is more to these options, or less. */
function priorityAlone(options: SubmitOptions): number {
  for (const field in options) if (field !== "priority") return Number.NaN;
  const priority: unknown = options?.priority;
  return typeof priority === "number" ? priority : Number.NaN;
}

function clamped(priority: number): number {
  return Math.max(-MOST_URGENT, Math.min(MOST_URGENT, priority));
}

/** It crosses into the core as an integer of 32 bits. */
const MOST_URGENT = 2 ** 31 - 1;

const LIMITS: Rules<PoolLimits> = {
  workers: count(1, 1_000_000),
  queue: count(0, 1_000_000_000),
};

const OPTIONS: Rules<PoolOptions> = {
  ...LIMITS,
  onFull: oneOf("reject", "wait"),
  onCoreUnavailable: PART.onCoreUnavailable,
  host: PART.host,
};

const WAIT: Rules<Pick<SubmitOptions, "signal">> = { signal: ACQUIRE.signal };

const SUBMIT: Rules<SubmitOptions> = { ...WAIT, priority: ACQUIRE.priority, dedupeKey: aString };
