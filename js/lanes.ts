import * as glue from "../pkg/core.js";
import { NONE } from "./codes.ts";
import type { ServiceCore } from "./core.ts";

/** The limits of one service, as the core reads them: checked and numbered. */
export interface LimitsPlan {
  /**
   * How quotas are counted. The number of a policy keeps its meaning for as long as the service lives, because quotas are
   * counted under it: what is no longer wanted stays in its place without windows.
   */
  readonly policies: readonly PolicyPlan[];
  /** Attempts at a time; `null`: as many as come. */
  readonly concurrency: number | null;
  /** The same for one lane. */
  readonly concurrencyPerKey: number | null;
  /** The same for one operation, by its number. */
  readonly concurrencyPerOperation: readonly (number | null)[];
  /** After that a slot that was not given back is free again; `null`: never. */
  readonly leaseMs: number | null;
  readonly maxQueue: number;
  /** A call that would have to wait is an error. */
  readonly reject: boolean;
  readonly maxKeys: number;
}

export interface PolicyPlan {
  readonly windows: readonly { readonly limit: number; readonly lengthMs: number }[];
  /** Between two starts; 0: none. */
  readonly intervalMs: number;
  readonly smooth: boolean;
  /** What a warning about it is told under; the core does not read that. */
  readonly resourceName?: string | undefined;
  readonly operation?: string | undefined;
}

/** What happens to calls where limits cannot be checked. */
export type OnCoreUnavailable = "reject" | "pass";

/** One quota: the log of a key under a policy. */
export interface Need {
  readonly policy: number;
  readonly key: string;
}

/** Where a call stands, and what it needs to go. */
export interface Place {
  /** The lane's name: operation and keys. One name always has the same operation, and the same needs as long as the plan stays. */
  readonly name: string;
  readonly operation: number;
  readonly needs: readonly Need[];
  /** Units of each quota; 0 spends nothing. */
  readonly weight: number;
  /** It goes only while fewer of its operation run; 0: no such wish. */
  readonly concurrency: number;
  /** It goes only while so few units of the window of `windowMs` are used; 0: no such wish. */
  readonly limit: number;
  readonly windowMs: number;
}

/** The lane of those who need nothing. */
export const NO_LANE = 0;

export const NOWHERE: Place = {
  name: "",
  operation: 0,
  needs: [],
  weight: 0,
  concurrency: 0,
  limit: 0,
  windowMs: 0,
};

/** A new key came while all were in use. */
export class NoIdleKey extends Error {
  /** Until a key may be idle; NaN: nobody knows. */
  readonly retryAfterMs: number;

  constructor(retryAfterMs: number) {
    super("Too many keys are in use.");
    this.retryAfterMs = retryAfterMs;
  }
}

/**
 * The names of the lanes and quotas that one service has in the core, which knows their numbers only.
 *
 * Bounded by the plan's `maxKeys`: what the core takes back is forgotten here. Empty again with each new instance.
 */
export class Lanes {
  #core: ServiceCore | null = null;
  #lanes = new Map<string, Lane>();
  #quotas = new Map<string, number>();
  /** By number, to forget what the core took back. */
  #laneNames: string[] = [];
  #needs: Need[] = [];
  /** Of the plan; a lane of an earlier one may need more quotas now. */
  #edition = 0;

  /**
   * The number of the place's lane, made where it is missing.
   *
   * @throws NoIdleKey when there is no room for it.
   */
  of(core: ServiceCore, now: number, place: Place): number {
    if (core !== this.#core) this.#startAnew(core);
    const lane = this.#lanes.get(place.name) ?? this.#add(core, now, place);
    if (lane.edition !== this.#edition) this.#connect(core, lane, place);
    return lane.number;
  }

  /** The plan has changed: each lane is told what it needs once more, by whoever next comes to it. */
  planned(): void {
    this.#edition++;
  }

  /** Whether the core knows the place's lane. */
  has(core: ServiceCore, { name }: Place): boolean {
    return core === this.#core && this.#lanes.has(name);
  }

  /** The number of the quota; `undefined` when nobody has needed it yet. */
  quota(core: ServiceCore, { policy, key }: Need): number | undefined {
    return core === this.#core ? this.#quotas.get(quotaName(policy, key)) : undefined;
  }

  /** Whose log the quota of this number is. */
  needOf(quota: number): Need | undefined {
    return this.#needs[quota];
  }

  /** Every lane that this core knows. */
  names(core: ServiceCore): string[] {
    return core === this.#core ? [...this.#lanes.keys()] : [];
  }

  #startAnew(core: ServiceCore): void {
    this.#core = core;
    this.#lanes = new Map();
    this.#quotas = new Map();
    this.#laneNames = [];
    this.#needs = [];
  }

  #add(core: ServiceCore, now: number, place: Place): Lane {
    const { handle } = core;
    const number = glue.lane(handle, now, place.operation);
    if (number === NONE) throw new NoIdleKey(glue.after(handle));
    const former = this.#laneNames[number];
    if (former !== undefined) this.#lanes.delete(former);
    for (let quota = glue.freed(handle); quota !== NONE; quota = glue.freed(handle)) this.#forget(quota);
    const lane: Lane = { number, edition: -1, quotas: [] };
    this.#lanes.set(place.name, lane);
    this.#laneNames[number] = place.name;
    return lane;
  }

  #forget(quota: number): void {
    const need = this.#needs[quota];
    if (need) this.#quotas.delete(quotaName(need.policy, need.key));
    delete this.#needs[quota];
  }

  /** Tells the core of every quota that the lane needs and has not yet. */
  #connect({ handle }: ServiceCore, lane: Lane, place: Place): void {
    for (const need of place.needs) {
      const name = quotaName(need.policy, need.key);
      let quota = this.#quotas.get(name);
      if (quota === undefined) {
        quota = glue.quota(handle, need.policy);
        this.#quotas.set(name, quota);
        this.#needs[quota] = need;
      }
      if (lane.quotas.includes(quota)) continue;
      glue.need(handle, lane.number, quota);
      lane.quotas.push(quota);
    }
    lane.edition = this.#edition;
  }
}

interface Lane {
  readonly number: number;
  /** Of the plan for which it has its quotas. */
  edition: number;
  readonly quotas: number[];
}

/** The number comes first, so that no two pairs have the same name. */
function quotaName(policy: number, key: string): string {
  return `${policy} ${key}`;
}
