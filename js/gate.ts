import * as glue from "../pkg/core.js";
import { abortReason, Call } from "./call.ts";
import { Flag, Transition } from "./codes.ts";
import { merged, shellConfig } from "./config.ts";
import { coreState, type ServiceCore } from "./core.ts";
import { Emitter } from "./events.ts";
import { failure, NO_CORE } from "./failure.ts";
import type { LimitsPlan, OnCoreUnavailable, Place } from "./lanes.ts";
import { type LaneState, type LaneStatus, Limits, type Slot } from "./limits.ts";
import { type Granted, Link } from "./link.ts";
import type { CoreState, Host, Logger, LogLevel, QuotaWarning } from "./types.ts";
import { type Answer, answerFor, type Leave } from "./waiters.ts";

export type { LaneState, LaneStatus, QuotaState } from "./limits.ts";

export interface GateOptions {
  host?: Partial<Host> | undefined;
  onCoreUnavailable: OnCoreUnavailable;
  /** Where it is logged. Default `console`. */
  logger?: Logger | undefined;
  /** How much is logged. Default `"warn"`. */
  logLevel?: LogLevel | undefined;
}

export interface AcquireOptions {
  /** Ends the wait at once, with the signal's reason. */
  signal?: AbortSignal | null | undefined;
  /** Higher goes first; 0 is normal. */
  priority?: number | undefined;
  /** How long the wait may take; one that cannot fit is an error at once. */
  deadlineMs?: number | undefined;
}

/** What was acquired. */
export interface Hold {
  /** By the host's clock. */
  readonly takenAt: number;
  /** When the slot is free again although nobody released it; `Infinity`: never. */
  readonly expiresAt: number;
  /** Gives the slot back. Harmless twice, and after the lease has ended. */
  release(): void;
  /** Begins the lease anew and tells when it ends; `null` when the slot is no longer held. */
  renew(): number | null;
}

export interface GateEvents {
  warned: QuotaWarning;
  core: { state: CoreState };
}

/** Limits and a line before them, and nothing to call: `RateLimiter` and `Slots` are made of it. */
export class Gate {
  readonly #limits: Limits;
  readonly #link: Link;
  readonly #emitter: Emitter<GateEvents>;
  readonly #onCoreUnavailable: OnCoreUnavailable;
  #hasSlots: boolean;
  #disposed = false;

  constructor(plan: LimitsPlan, { host, onCoreUnavailable, logger, logLevel }: GateOptions) {
    const { log } = shellConfig(merged({}, { logger, logLevel }));
    this.#limits = new Limits(plan);
    this.#hasSlots = hasSlots(plan);
    this.#onCoreUnavailable = onCoreUnavailable;
    this.#emitter = new Emitter((error) => log.error("A listener threw", error));
    this.#link = new Link(host, this.#limits, {
      config: () => ({ ...AT_REST, limits: this.#limits.plan }),
      log: () => log,
      changed: (core, kind) => {
        if (kind === Transition.warned) this.#emitter.emit("warned", this.#link.warning(core));
      },
      coreChanged: (state) => this.#emitter.emit("core", { state }),
    });
  }

  /**
   * Waits until the place's limits let one more go, and takes what it needs. Where the plan rejects, it does not wait.
   *
   * @throws RateLimitError, or the signal's reason when it aborts; an AbortError when the gate is disposed of; a
   *   RateLimitConfigError for illegal options.
   */
  async acquire(place: Place, options: AcquireOptions = {}): Promise<Hold> {
    const { platform } = this.#link;
    const call = new Call(options, platform.now(), Number.NaN, 0, 0, place);
    if (options.signal?.aborted) throw abortReason(options.signal);
    const core = this.#core();
    if (core === null) return this.#unchecked();
    const asked = this.#begin(core, call);
    let granted =
      typeof asked === "number" ? await this.#link.granted(core, asked, call.arrival, call) : asked;
    while (granted !== "core lost" && "core" in granted && !this.#link.isCurrent(granted.core)) {
      granted = await this.#link.askAgain(call);
    }
    if (granted === "core lost") return this.#unchecked();
    if ("rejected" in granted) throw this.#failure(granted.rejected);
    return this.#hold(granted, call.lane, place);
  }

  /**
   * Takes what the place needs when it may go at once, and nobody in its lane waits; `null` otherwise.
   *
   * @throws RateLimitError when there is no core, if the gate was told so; an AbortError after `dispose`.
   */
  tryAcquire(place: Place): Hold | null {
    if (this.#core() === null) return this.#unchecked();
    const { weight, concurrency, limit, windowMs } = place;
    const leave = this.#link.askLane(place, (core, lane, at) => {
      const permit = glue.try_in(core.handle, at, 0, lane, weight, concurrency, limit, windowMs);
      return { core, permit, at, lane };
    });
    if (leave === undefined) return this.#core() === null ? this.#unchecked() : null;
    if (leave.permit === 0) return null;
    if (leave.permit < 0) this.#link.follow(Flag.news);
    return this.#hold({ ...leave, permit: Math.abs(leave.permit) }, leave.lane, place);
  }

  /** Another plan from the next decision on: who waits is asked again, what is taken stays taken. */
  configure(plan: LimitsPlan): void {
    this.#limits.configure(plan);
    this.#hasSlots = hasSlots(plan);
    this.#link.ask((core) => core.configure({ ...AT_REST, limits: plan }));
    this.#link.poll();
  }

  /** How full a lane is; `null` without the core, and of a new lane while there is no room for it. */
  status(place: Place): LaneStatus | null {
    return this.#link.status(place);
  }

  totals(): { inFlight: number; waiting: number } {
    return this.#link.totals();
  }

  /** The names of the lanes that are not forgotten. */
  names(): string[] {
    return this.#link.names();
  }

  /** Forgets what was used of the place's quotas, or of all. */
  clear(place?: Place): void {
    this.#link.clear(place);
  }

  /** Units that were taken at `takenAt` will not be used. */
  giveBack(place: Place, takenAt: number, weight: number): void {
    this.#link.returnUnits(place, takenAt, weight);
  }

  /** What the place's quotas have counted; `null` without the core, and for a lane that is not known. */
  dump(place: Place): LaneState | null {
    return this.#link.dump(place);
  }

  /** Adds what was counted elsewhere or before: what is too old no longer counts, and a time in the future counts as now. */
  load(place: Place, state: LaneState): void {
    this.#link.load(place, state);
  }

  /** Calls `listener` at each event until the function that is returned is called. */
  on<E extends keyof GateEvents>(event: E, listener: (event: GateEvents[E]) => void): () => void {
    const off = this.#emitter.on(event, listener);
    const state = coreState();
    if (event === "core" && state !== "ready") {
      this.#emitter.tell(listener as (event: GateEvents["core"]) => void, { state });
    }
    return off;
  }

  /** Ends every wait with an AbortError, and so every later one. What is held needs no release any more. */
  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    this.#link.dispose(disposed());
  }

  #core(): ReturnType<Link["current"]> {
    if (this.#disposed) throw disposed();
    return this.#link.current();
  }

  /** Leave, where it may go at once; or a number, of which `granted` makes leave. */
  #begin(core: ServiceCore, call: Call): number | Granted {
    try {
      const permit = this.#link.begin(core, call);
      return permit > 0 ? { core, permit, at: call.arrival } : permit;
    } catch (error) {
      return this.#link.noLeave(call, error);
    }
  }

  /** What was taken stays taken until it is released; where nothing depends on that, it is released at once. */
  #hold({ core, permit, at }: Leave, lane: number, place: Place): Hold {
    if (this.#hasSlots) return new Held(this.#link, this.#limits.take(core, permit, at, lane, place, 0));
    this.#link.release(core, permit, lane);
    return new Spent(at);
  }

  /** Without the core. */
  #unchecked(): Hold {
    if (this.#onCoreUnavailable === "reject") throw this.#failure(answerFor(NO_CORE));
    return new Spent(this.#link.platform.now());
  }

  #failure(answer: Answer): Error {
    return failure(answer, { attempts: 0, retries: 0, now: this.#link.platform.now() });
  }
}

class Held implements Hold {
  readonly #link: Link;
  readonly #slot: Slot;

  constructor(link: Link, slot: Slot) {
    this.#link = link;
    this.#slot = slot;
  }

  get takenAt(): number {
    return this.#slot.takenAt;
  }

  get expiresAt(): number {
    return this.#slot.expiresAt;
  }

  release(): void {
    this.#link.giveBack(this.#slot);
  }

  renew(): number | null {
    return this.#link.renew(this.#slot);
  }
}

/** Nothing is held: units were used, or nobody counts. */
class Spent implements Hold {
  readonly expiresAt = Number.POSITIVE_INFINITY;
  readonly takenAt: number;

  constructor(takenAt: number) {
    this.takenAt = takenAt;
  }

  release(): void {}

  renew(): number {
    return this.expiresAt;
  }
}

/** The rooms that look at outcomes: they see none. */
const AT_REST = { retryBudget: null, sharedCooldown: false };

/** Whether anything depends on how many there are at a time. */
function hasSlots({ concurrency, concurrencyPerKey, concurrencyPerOperation }: LimitsPlan): boolean {
  return [concurrency, concurrencyPerKey, ...concurrencyPerOperation].some((cap) => cap !== null);
}

function disposed(): DOMException {
  return new DOMException("The limits were disposed of.", "AbortError");
}
