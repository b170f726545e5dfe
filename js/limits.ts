import * as glue from "../pkg/core.js";
import type { ServiceCore } from "./core.ts";
import { Lanes, type LimitsPlan, type Place, type PolicyPlan } from "./lanes.ts";

/** A slot that somebody has. */
export interface Slot {
  /** Where it is taken; another one after a restart. */
  core: ServiceCore;
  /** 0: the present core has not given it. */
  permit: number;
  lane: number;
  readonly place: Place;
  readonly group: number;
  readonly takenAt: number;
  /** When the core takes it back; `Infinity`: never. */
  expiresAt: number;
  /** What it was taken for has settled. */
  over: boolean;
  /** It stays taken until then, although nobody waits for that any longer. */
  kept: boolean;
}

/** How full a lane is, and what it needs. */
export interface LaneStatus {
  waiting: number;
  /** Slots taken in this lane. */
  inFlight: number;
  /** Slots taken by its operation, whatever the key. */
  operationInFlight: number;
  /** When the next one may go, by the host's clock; not later than now: at once; `Infinity`: not by time alone. */
  nextTime: number;
  /** Need by need, each window as in its policy. A minimum interval is not one of them. */
  windows: { used: number; maxRequests: number; windowMs: number }[];
}

/** What a lane's quotas have counted, for another day: times are the wall clock's. */
export interface LaneState {
  /** Need by need. */
  quotas: QuotaState[];
}

export interface QuotaState {
  /** When the minimum interval will have passed. */
  nextAt?: number;
  /** For each slice of a window that is not empty: the window's length, when it ended, its units. */
  taken: [windowMs: number, at: number, units: number][];
}

/** The limits of one service, as far as the shell has to know them: names of lanes, and who has a slot. */
export class Limits {
  plan: LimitsPlan;
  readonly lanes = new Lanes();
  /** The first to expire come first, as long as the plan's `leaseMs` stays. */
  readonly #taken = new Set<Slot>();

  constructor(plan: LimitsPlan) {
    this.plan = plan;
  }

  configure(plan: LimitsPlan): void {
    this.plan = plan;
    this.lanes.planned();
  }

  /** Whether a call meets no limit there, and needs nobody to count. */
  isFree({ operation, concurrency, needs }: Place): boolean {
    const { plan } = this;
    const caps = [plan.concurrency, plan.concurrencyPerKey, plan.concurrencyPerOperation[operation]];
    return (
      concurrency === 0 &&
      caps.every((cap) => cap == null) &&
      needs.every(({ policy }) => isEmpty(plan.policies[policy]))
    );
  }

  /** Notes a slot that the core has given. */
  take(core: ServiceCore, permit: number, now: number, lane: number, place: Place, group: number): Slot {
    this.#forgetExpired(now);
    const expiresAt = now + (this.plan.leaseMs ?? Number.POSITIVE_INFINITY);
    const slot = { core, permit, lane, place, group, takenAt: now, expiresAt, over: false, kept: false };
    this.#taken.add(slot);
    return slot;
  }

  holds(slot: Slot): boolean {
    return this.#taken.has(slot);
  }

  /** Forgets a slot. False when it was forgotten before. */
  drop(slot: Slot): boolean {
    return this.#taken.delete(slot);
  }

  /** Its lease begins anew. */
  renewed(slot: Slot, expiresAt: number): void {
    slot.expiresAt = expiresAt;
    this.#taken.delete(slot);
    this.#taken.add(slot);
  }

  /**
   * Tells a new core, which has no caps yet, what the last one knew. Windows of up to a minute count as full, because nobody
   * else has counted; the slots of those who run are taken again, as takings of no weight that spend nothing, and their
   * leases begin anew.
   */
  restore(core: ServiceCore, now: number): void {
    const { handle } = core;
    glue.fill(handle, now);
    this.#forgetExpired(now);
    for (const slot of this.#taken) {
      slot.core = core;
      slot.permit = 0;
      slot.lane = this.lanes.of(core, now, slot.place);
      slot.permit = Math.abs(glue.try_in(handle, now, slot.group, slot.lane, 0, 0, 0, 0));
      slot.expiresAt = now + (this.plan.leaseMs ?? Number.POSITIVE_INFINITY);
    }
    // Their places may be of an earlier plan: whoever comes next says what the lanes need now.
    this.lanes.planned();
  }

  #forgetExpired(now: number): void {
    if (this.plan.leaseMs === null) return;
    for (const slot of this.#taken) {
      if (slot.expiresAt > now) return;
      this.#taken.delete(slot);
    }
  }
}

function isEmpty(policy: PolicyPlan | undefined): boolean {
  return !policy || (policy.windows.length === 0 && policy.intervalMs === 0);
}

/** From the numbers of the core: `lane` in src/wasm/snapshot.rs. */
export function laneStatus([
  waiting = 0,
  inFlight = 0,
  operationInFlight = 0,
  next = 0,
  ...rest
]: readonly number[]): LaneStatus {
  const windows: LaneStatus["windows"] = [];
  for (let i = 0; i + 2 < rest.length; i += 3) {
    const [used = 0, maxRequests = 0, windowMs = 0] = rest.slice(i, i + 3);
    windows.push({ used, maxRequests, windowMs });
  }
  const nextTime = Number.isNaN(next) ? Number.POSITIVE_INFINITY : next;
  return { waiting, inFlight, operationInFlight, nextTime, windows };
}

/** From the numbers of the core: `dump` in src/wasm/snapshot.rs. `wall` is the time of now by the wall clock. */
export function quotaState([rest = 0, ...triples]: readonly number[], wall: number): QuotaState {
  const taken: QuotaState["taken"] = [];
  for (let i = 0; i + 2 < triples.length; i += 3) {
    const [windowMs = 0, age = 0, units = 0] = triples.slice(i, i + 3);
    taken.push([windowMs, wall - age, units]);
  }
  return { ...(rest > 0 && { nextAt: wall + rest }), taken };
}

export const NOTHING_COUNTED: QuotaState = { taken: [] };
