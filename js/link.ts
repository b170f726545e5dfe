import * as glue from "../pkg/core.js";
import type { Call } from "./call.ts";
import { Calm } from "./calm.ts";
import { Flag, Reason, Transition } from "./codes.ts";
import type { CoreConfig } from "./config.ts";
import { alarm, isReady, isReturning, onCoreState, ServiceCore, trapped } from "./core.ts";
import { type Platform, platform, Waits } from "./host.ts";
import { NOWHERE, NoIdleKey, type Place } from "./lanes.ts";
import {
  type LaneState,
  type LaneStatus,
  type Limits,
  laneStatus,
  NOTHING_COUNTED,
  quotaState,
  type Slot,
} from "./limits.ts";
import type { CoreState, Host, Logger, QuotaWarning } from "./types.ts";
import { type Answer, answerFor, answerOf, type Ended, type Leave, Waiters } from "./waiters.ts";

/** Who uses a service of the core, and what it says to the link and is told by it. */
export interface Owner {
  /** What the service is made from. */
  config(): CoreConfig;
  log(): Logger;
  /** There is another core: tells it what it must know beside the configuration and the limits. */
  restore?(core: ServiceCore): void;
  /** The core has noted a change: `kind` is one of `Transition`, the details are in its registers. */
  changed(core: ServiceCore, kind: number): void;
  coreChanged(state: CoreState): void;
}

/** What became of a call that asked for an attempt. */
export type Granted = Leave | { rejected: Answer } | "core lost";

/**
 * A service of the core, whichever instance of it there is: made when it is needed, watched for traps, asked, polled.
 *
 * Whoever is told that there is no core decides by himself what that means. With limits, a call may stand in a lane.
 */
export class Link {
  readonly platform: Platform;
  readonly waits: Waits;
  readonly limits: Limits | null;
  /** Ends whenever the core is told or asked something. */
  readonly calm = new Calm();
  readonly #owner: Owner;
  readonly #waiters: Waiters;
  readonly #unwatch: () => void;

  #core: ServiceCore | null = null;
  /** There was a core before. */
  #wasLost = false;
  #disposed = false;

  constructor(host: Partial<Host> | undefined, limits: Limits | null, owner: Owner) {
    this.#owner = owner;
    this.limits = limits;
    this.platform = platform(host, alarm);
    this.waits = new Waits(this.platform);
    this.#waiters = new Waiters(this.platform, this.waits, {
      ring: () => this.poll(),
      leave: (name, reason) =>
        this.ask(({ handle }) => glue.leave(handle, this.platform.now(), name, reason)),
    });
    this.#unwatch = Link.#watchCore(new WeakRef(this));
    collected ??= new FinalizationRegistry((unwatch) => unwatch());
    collected.register(this, this.#unwatch);
  }

  /** The core of the present instance, built where it is missing. */
  current(): ServiceCore | null {
    return this.#core?.isCurrent ? this.#core : this.#build();
  }

  isCurrent(core: ServiceCore): boolean {
    return this.#core === core && core.isCurrent;
  }

  /** Asks the core for something; `undefined` when there is none, or when it trapped. */
  ask<T>(question: (core: ServiceCore) => T): T | undefined {
    const core = this.current();
    if (core === null) return undefined;
    try {
      this.calm.end();
      return question(core);
    } catch (error) {
      this.trapped(error);
      return undefined;
    }
  }

  trapped(error: unknown): void {
    this.#core = null;
    this.calm.forget();
    this.#owner.log().error("The core failed; calls pass through", error);
    trapped(this.platform.now());
  }

  /** Gives the core back and ends every wait with this error. */
  dispose(error: unknown): void {
    this.ask((core) => core.release());
    this.#disposed = true;
    this.#core = null;
    this.#unwatch();
    this.#waiters.endAll(error);
  }

  // ---- asking for an attempt

  /**
   * Asks for the first attempt of a call: a permit, negative when there are changes to fetch, or 0.
   *
   * @throws NoIdleKey when there is no room for its lane, and what the core throws.
   */
  begin(core: ServiceCore, call: Call): number {
    const { arrival, deadline, priority, group, place } = call;
    this.calm.end();
    if (place === null) return glue.begin(core.handle, arrival, deadline, priority, group);
    const { weight, concurrency, limit, windowMs } = place;
    const lane = this.#enterLane(core, arrival, call);
    // biome-ignore format: the call, then what it needs
    return glue.begin_in(
      core.handle, arrival, deadline, priority, group,
      lane, weight, concurrency, limit, windowMs,
    );
  }

  /** Makes leave of what the core answered at `at`, waiting where it says so. `waits` is told of each wait. */
  async granted(
    core: ServiceCore,
    asked: number,
    at: number,
    call: Call,
    waits?: (answer: Answer) => void,
  ): Promise<Granted> {
    if (asked !== 0) {
      if (asked < 0) this.follow(Flag.news);
      return { core, permit: Math.abs(asked), at };
    }
    let answer: Answer;
    let standing: Promise<Ended> | null = null;
    try {
      answer = answerOf(core);
      if (this.#isWait(answer)) {
        if (Number.isNaN(answer.until)) answer.until = glue.poll_timeout(core.handle, at);
        standing = this.stand(call, answer);
      }
    } catch (error) {
      this.trapped(error);
      return "core lost";
    }
    this.poll();
    if (standing === null) return { rejected: answer };
    waits?.(answer);
    return this.waited(standing, call, waits);
  }

  /** Waits as the core has said; `waited` tells how that ended. */
  stand(call: Call, answer: Answer): Promise<Ended> {
    return this.#waiters.wait(call, answer);
  }

  /** What came of a wait. */
  async waited(standing: Promise<Ended>, call: Call, waits?: (answer: Answer) => void): Promise<Granted> {
    const ended = await standing;
    if (ended === "deadline") return { rejected: answerFor(Reason.deadline) };
    return ended === "core lost" ? this.askAgain(call, waits) : ended;
  }

  /** A call whose core was lost before it went asks the next one, if there is one; where it has limits, it waits for that. */
  async askAgain(call: Call, waits?: (answer: Answer) => void): Promise<Granted> {
    if (call.place !== null && this.current() === null && isReturning()) {
      const ended = await this.#waiters.waitForCore(call);
      if (ended === "deadline") return { rejected: answerFor(Reason.deadline) };
    }
    const core = this.current();
    if (core === null) return "core lost";
    const now = this.platform.now();
    let asked: number;
    try {
      asked = this.#admit(core, now, call);
    } catch (error) {
      return this.noLeave(call, error);
    }
    return this.granted(core, asked, now, call, waits);
  }

  #admit(core: ServiceCore, now: number, call: Call): number {
    const { arrival, deadline, priority, group } = call;
    const { weight, concurrency, limit, windowMs } = call.place ?? NOWHERE;
    const lane = this.#enterLane(core, now, call);
    // Its place may be of an earlier plan: whoever comes next says what the lane needs now.
    this.limits?.lanes.planned();
    // biome-ignore format: the call, then what it needs
    return glue.admit(
      core.handle, now, arrival, deadline, priority, group,
      lane, weight, concurrency, limit, windowMs,
    );
  }

  #enterLane(core: ServiceCore, now: number, call: Call): number {
    if (call.place !== null && this.limits) call.lane = this.limits.lanes.of(core, now, call.place);
    return call.lane;
  }

  /** What an error means that came up when a call asked: there is no room for its key, or the core trapped. */
  noLeave(call: Call, error: unknown): { rejected: Answer } | "core lost" {
    if (!(error instanceof NoIdleKey)) {
      this.trapped(error);
      return "core lost";
    }
    this.ask(({ handle }) => glue.rejected(handle, call.group, Reason.keys));
    return { rejected: answerFor(Reason.keys, error.retryAfterMs) };
  }

  /** The core has given no leave: whether it has given the call a place in line. */
  #isWait({ reason, until }: Answer): boolean {
    if (reason === Reason.cooldown || reason === Reason.queue) return true;
    if (reason === Reason.quota) return !Number.isNaN(until);
    return reason === Reason.slots && this.limits?.plan.reject === false;
  }

  // ---- slots

  /** Gives a slot back, if it was not given back before. */
  giveBack(slot: Slot): void {
    if (this.limits?.drop(slot) && slot.permit !== 0) this.release(slot.core, slot.permit, slot.lane);
  }

  /** Nothing holds what this permit was for any more. */
  release(core: ServiceCore, permit: number, lane: number): void {
    if (!this.isCurrent(core)) return;
    const flags = this.ask(({ handle }) => glue.release(handle, permit, lane));
    if (flags) this.follow(flags);
  }

  /** Begins a slot's lease anew: when it ends, `Infinity` where slots have none, `null` when the slot is no longer held. */
  renew(slot: Slot): number | null {
    // First of all, because a new core takes the slot again.
    const core = this.current();
    if (!this.limits?.holds(slot)) return null;
    const now = this.platform.now();
    // It was taken while slots had no lease, and is held until it is released, whatever the plan says now.
    if (slot.expiresAt === Number.POSITIVE_INFINITY) return slot.expiresAt;
    const { leaseMs } = this.limits.plan;
    // While there is no core nobody takes it back.
    let until = now + (leaseMs ?? Number.POSITIVE_INFINITY);
    if (core !== null && slot.permit !== 0) {
      until = this.ask(({ handle }) => glue.renew(handle, slot.permit, now)) ?? until;
    }
    if (Number.isNaN(until)) {
      this.limits.drop(slot);
      return null;
    }
    this.limits.renewed(slot, until);
    return until;
  }

  // ---- looking

  /** Asks the core about a lane, which is made where it is missing; `undefined` where there is no core, or no room for it. */
  askLane<T>(place: Place, question: (core: ServiceCore, lane: number, now: number) => T): T | undefined {
    return this.ask((core) => {
      const now = this.platform.now();
      const lane = this.#laneOf(core, now, place);
      return lane === undefined ? undefined : question(core, lane, now);
    });
  }

  #laneOf(core: ServiceCore, now: number, place: Place): number | undefined {
    try {
      return this.limits?.lanes.of(core, now, place);
    } catch (error) {
      if (error instanceof NoIdleKey) return undefined;
      throw error;
    }
  }

  /** How full a lane is; `null` when nobody can tell: without the core, and of a new one while there is no room for it. */
  status(place: Place): LaneStatus | null {
    // A lease that has run out is taken back when somebody asks.
    this.poll();
    const numbers = this.askLane(
      place,
      ({ handle }, lane, now) => glue.lane_status(handle, now, lane) as number[],
    );
    return numbers === undefined ? null : laneStatus(numbers);
  }

  totals(): { inFlight: number; waiting: number } {
    this.poll();
    const [inFlight = 0, waiting = 0] =
      this.ask(({ handle }) => glue.limits_status(handle) as number[]) ?? [];
    return { inFlight, waiting };
  }

  /** The names of the lanes that the core knows. */
  names(): string[] {
    const core = this.current();
    return core === null ? [] : (this.limits?.lanes.names(core) ?? []);
  }

  // ---- what was counted

  /** Forgets what was used of a place's quotas, or of all. */
  clear(place?: Place): void {
    if (place === undefined) this.ask(({ handle }) => glue.clear(handle, 0));
    else this.askLane(place, ({ handle }, lane) => glue.clear(handle, lane));
    this.poll();
  }

  /** Units that were taken at `takenAt` will not be used. */
  returnUnits(place: Place, takenAt: number, weight: number): void {
    this.askLane(place, ({ handle }, lane) => glue.give_back(handle, lane, takenAt, weight));
    this.poll();
  }

  /** What a place's quotas have counted; `null` without the core, and for a lane that is not known. */
  dump(place: Place): LaneState | null {
    const now = this.platform.now();
    const wall = this.platform.wall();
    const state = this.ask((core) => {
      const lanes = this.limits?.lanes;
      if (!lanes?.has(core, place)) return null;
      const quotas = place.needs.map((need) => {
        const quota = lanes.quota(core, need);
        return quota === undefined
          ? NOTHING_COUNTED
          : quotaState(glue.dump(core.handle, quota, now) as number[], wall);
      });
      return { quotas };
    });
    return state ?? null;
  }

  /** Adds what was counted elsewhere or before: what is too old no longer counts, and a time in the future counts as now. */
  load(place: Place, { quotas }: LaneState): void {
    const wall = this.platform.wall();
    this.askLane(place, (core, _lane, now) => {
      place.needs.forEach((need, index) => {
        const quota = this.limits?.lanes.quota(core, need);
        const { nextAt = wall, taken } = quotas[index] ?? NOTHING_COUNTED;
        if (quota === undefined) return;
        for (const [windowMs, at, units] of taken) {
          glue.load(core.handle, quota, now, windowMs, wall - at, units);
        }
        if (nextAt > wall) glue.load(core.handle, quota, now, 0, nextAt - wall, 0);
      });
    });
    this.poll();
  }

  // ---- polling

  /** Tells those who waited and may go. Called whenever that may have changed. */
  poll(): void {
    this.ask((core) => {
      this.#waiters.poll(core);
      this.#fetch(core);
    });
  }

  follow(flags: number): void {
    if (flags & Flag.waiters) this.poll();
    else if (flags & Flag.news) this.ask((core) => this.#fetch(core));
  }

  /** Hands on the changes that the core has noted. */
  #fetch(core: ServiceCore): void {
    for (;;) {
      const kind = glue.transition(core.handle);
      if (kind === Transition.none) return;
      this.#owner.changed(core, kind);
      if (!this.isCurrent(core)) return;
    }
  }

  /** The warning that the core has just told. */
  warning({ handle }: ServiceCore): QuotaWarning {
    const need = this.limits?.lanes.needOf(glue.name(handle));
    const { resourceName, operation } = this.limits?.plan.policies[need?.policy ?? -1] ?? {};
    return {
      resourceName,
      operation,
      key: need?.key ?? "",
      maxRequests: glue.limit(handle),
      windowMs: glue.window(handle),
      used: glue.after(handle),
    };
  }

  // ---- the core comes and goes

  #build(): ServiceCore | null {
    this.#core = null;
    if (this.#disposed || !isReady()) return null;
    let core: ServiceCore;
    try {
      core = new ServiceCore(this.#owner.config());
    } catch (error) {
      this.trapped(error);
      return null;
    }
    this.#core = core;
    this.ask(() => this.#restore(core));
    return this.#core;
  }

  /** Slots first: they are taken again before an isolated circuit or a cooldown would refuse that. */
  #restore(core: ServiceCore): void {
    const now = this.platform.now();
    if (this.#wasLost && this.limits) {
      // Less may be allowed than when those who run were let go: all of them are counted.
      const config = this.#owner.config();
      core.configure({ ...config, limits: { ...this.limits.plan, ...ALL_ALLOWED } });
      this.limits.restore(core, now);
      core.configure(config);
    }
    this.#wasLost = true;
    this.#owner.restore?.(core);
    const until = this.#waiters.heldUntil();
    if (until > now) glue.restore_cooldown(core.handle, until);
  }

  /**
   * Listens to the core without being held by it: a link that nobody disposes of, and nobody holds, may be collected.
   * Static, because closures of one function keep alive whatever any of them holds.
   */
  static #watchCore(link: WeakRef<Link>): () => void {
    return onCoreState((state) => {
      const followed = link.deref();
      if (followed) followed.#coreChanged(state);
    });
  }

  #coreChanged(state: CoreState): void {
    if (state === "trap") {
      this.#core = null;
      this.calm.forget();
      this.waits.rearm();
      this.#waiters.coreLost();
    }
    this.#waiters.coreDecided();
    this.#owner.coreChanged(state);
  }
}

/** What listened to the core for links that are gone: states change seldom, and links may be made by the million. */
let collected: FinalizationRegistry<() => void> | null = null;

/** The most that a plan can say. */
const ALL_ALLOWED = {
  concurrency: null,
  concurrencyPerKey: null,
  concurrencyPerOperation: [],
  maxKeys: 1_000_000,
};
