import { abortReason, onAbort } from "./call.ts";
import { alarm } from "./core.ts";
import { RateLimitConfigError } from "./errors.ts";
import { type AcquireOptions, Gate, type Hold } from "./gate.ts";
import { type Platform, platform, type Wait, Waits } from "./host.ts";
import type { LimitsPlan, Place } from "./lanes.ts";
import { ACQUIRE, LINE, type LineLimits, lineOf, logOf, optionsOf, PART, type PartOptions } from "./parts.ts";
import { checked, count, milliseconds, needed, number, orNull, type Rules, YEAR_MS } from "./rules.ts";
import type { Logger } from "./types.ts";
import { forUsing } from "./using.ts";

/** How many may be at work at once. At least one of `global` and `perGroup` is needed. */
export interface SlotLimits extends LineLimits {
  /** Leases at a time, over all groups; `null`: as many as the groups may have. Default `null`; 1 to 1_000_000. */
  global?: number | null | undefined;
  /** Leases at a time in one group; `null`: as many as there are. Default `null`; 1 to 1_000_000. */
  perGroup?: number | null | undefined;
  /** How long a lease lasts unless it is renewed; `null`: until it is released. Default 600_000; 1 to 31_536_000_000. */
  leaseMs?: number | null | undefined;
}

export interface SlotsOptions extends SlotLimits, PartOptions {}

/**
 * So many at once: over all, and in each group. Whoever gets a slot holds it by a lease, and a lease that nobody releases
 * ends by itself, so that a holder that crashed, or forgot, costs a slot for a while and not for ever.
 *
 * Slots are given first come, first served within a priority. A holder must not wait for another slot of its own group,
 * or, where only `global` is set, of any group: when all holders do, each waits for the others until the first lease
 * runs out. With `logLevel: "debug"` a line says so when it looks like that.
 */
export class Slots {
  #limits: SlotLimits;
  readonly #gate: Gate;
  /** Only where a debug log is kept: what it costs nobody else pays. */
  readonly #stalls: Stalls | null;

  /** @throws RateLimitConfigError for a value out of its range, for an unknown field, and without any cap. */
  constructor(options: SlotsOptions) {
    forUsing(this, "dispose");
    const given = checked<SlotsOptions>("options", options, OPTIONS);
    const { onCoreUnavailable = "reject", logLevel, logger, host, ...limits } = given;
    const log = logOf({ logLevel, logger });
    this.#limits = limits;
    this.#gate = new Gate(planOf(limits), { host, onCoreUnavailable, logger, logLevel });
    const inFlight = (group: string): number => this.inFlight(group);
    this.#stalls = logLevel === "debug" ? new Stalls(platform(host, alarm), log, inFlight) : null;
  }

  /**
   * A slot, now or as soon as one is free. Without a group it counts as one of the group `""`.
   *
   * @throws RateLimitError: `RATE_LIMIT_CONCURRENCY_EXCEEDED` where it is set to reject, `RATE_LIMIT_QUEUE_FULL`,
   *   `RATE_LIMIT_DEADLINE_EXCEEDED`, `RATE_LIMIT_QUOTA_EXHAUSTED` when there are too many groups,
   *   `RATE_LIMIT_CORE_UNAVAILABLE`; the signal's reason when it aborts; a RateLimitConfigError for illegal options.
   */
  async acquire(group = "", options?: AcquireOptions): Promise<Lease> {
    const place = placeOf(group);
    const terms = optionsOf<AcquireOptions>(options, ACQUIRE);
    const settled = this.#stalls?.waits(group);
    try {
      return this.#lease(group, await this.#gate.acquire(place, terms));
    } finally {
      settled?.();
    }
  }

  /** A slot if one is free now and nobody waits for it; otherwise `null`. */
  tryAcquire(group = ""): Lease | null {
    const hold = this.#gate.tryAcquire(placeOf(group));
    return hold && this.#lease(group, hold);
  }

  /**
   * Does `work` with a slot, which is released when it is done, however it ends.
   *
   * When the signal aborts, the promise rejects at once; the slot is released when `work` settles or its lease ends. Work
   * that takes longer than `leaseMs` has to renew its lease.
   *
   * @returns what `work` resolves with. Rejects with what it throws, unchanged, and as `acquire` does.
   */
  async run<T>(
    group: string | undefined,
    work: (lease: Lease) => T | PromiseLike<T>,
    options?: AcquireOptions,
  ): Promise<T> {
    if (typeof work !== "function") throw new TypeError("run: the work must be a function.");
    const lease = await this.acquire(group, options);
    const done = (async () => work(lease))().finally(() => lease.release());
    return options?.signal ? orAborted(done, options.signal) : done;
  }

  /** Leases that are held now: in this group, or over all. */
  inFlight(group?: string): number {
    if (group === undefined) return this.#gate.totals().inFlight;
    return this.#gate.status(placeOf(group))?.inFlight ?? 0;
  }

  /** How many stand in line, over all groups. */
  get waiting(): number {
    return this.#gate.totals().waiting;
  }

  /**
   * Other limits from the next decision on; fields that are left out keep theirs. Who waits is planned anew at once, and
   * no lease is disturbed: with a lower cap, slots are given again when enough of them have come back.
   *
   * @throws RateLimitConfigError, and then nothing has changed.
   */
  updateLimits(limits: SlotLimits): void {
    const next = { ...this.#limits, ...checked<SlotLimits>("limits", limits, LIMITS) };
    this.#gate.configure(planOf(next));
    this.#limits = next;
  }

  /** Ends every wait with an AbortError, also those that begin later. Leases need no release any more. */
  dispose(): void {
    this.#gate.dispose();
  }

  #lease(group: string, hold: Hold): Lease {
    this.#stalls?.moved(group);
    return new Lease(group, hold, () => this.#stalls?.moved(group));
  }
}

/**
 * A slot that is held. One that is neither released nor renewed ends at `expiresAt`, also when nobody has the object any
 * more; one without a limit, whose `expiresAt` is `null`, only by `release()`.
 */
export class Lease {
  readonly group: string;
  readonly #hold: Hold;
  readonly #ended: () => void;
  #end: number;
  #released = false;

  /** @internal */
  constructor(group: string, hold: Hold, ended: () => void) {
    forUsing(this, "release");
    this.group = group;
    this.#hold = hold;
    this.#ended = ended;
    this.#end = hold.expiresAt;
  }

  /** When somebody else may have the slot, in milliseconds by the host's clock; `null`: never by itself. */
  get expiresAt(): number | null {
    return Number.isFinite(this.#end) ? this.#end : null;
  }

  /** The lease lasts `leaseMs` from now on. `false`: it has ended, and somebody else may have the slot. */
  renew(): boolean {
    const end = this.#released ? null : this.#hold.renew();
    if (end === null) return false;
    this.#end = end;
    return true;
  }

  /** Gives the slot back. Harmless twice, and when the lease has ended. */
  release(): void {
    if (this.#released) return;
    this.#released = true;
    this.#hold.release();
    this.#ended();
  }
}

/**
 * How many leases can begin in a minute: `cap / averageDurationMs * 60_000`, which is Little's law (Little 1961): how
 * many are at work = starts per time × how long each takes.
 *
 * @throws RateLimitConfigError unless both are numbers, the duration at least 1 ms.
 */
export function startsPerMinute(cap: number, averageDurationMs: number): number {
  checked("capacity", { cap, averageDurationMs }, RATE);
  return (cap / averageDurationMs) * MINUTE_MS;
}

export interface CapacityPlan {
  /** Slots over all groups. */
  global: number;
  /** Slots of each group. */
  perGroup: number;
  /** How many groups are at work at a time. */
  groups: number;
  /** How long a slot is held, on average. */
  averageDurationMs: number;
}

export interface Capacity {
  /** Starts a minute that one group's cap allows while the others leave it room. */
  perGroupPerMinute: number;
  /** Starts a minute that the global cap allows: the ceiling for all groups together. */
  globalPerMinute: number;
  /** Starts a minute when all groups are busy: the lower one of `groups * perGroupPerMinute` and `globalPerMinute`. */
  totalPerMinute: number;
  /** Which cap is the one to raise: `"global"` when it is reached before all groups have their slots. */
  bound: "global" | "perGroup";
}

/**
 * What caps are good for, by `startsPerMinute`: of each group, of all, and which of the two caps is met first.
 *
 * @throws RateLimitConfigError unless all four are positive numbers.
 */
export function capacity(plan: CapacityPlan): Capacity {
  const { global, perGroup, groups, averageDurationMs } = checked<CapacityPlan>(
    "capacity",
    plan,
    CAPACITY,
  ) as CapacityPlan;
  const perGroupPerMinute = startsPerMinute(Math.min(perGroup, global), averageDurationMs);
  const globalPerMinute = startsPerMinute(global, averageDurationMs);
  const totalPerMinute = startsPerMinute(Math.min(global, perGroup * groups), averageDurationMs);
  const bound = global < perGroup * groups ? "global" : "perGroup";
  return { perGroupPerMinute, globalPerMinute, totalPerMinute, bound };
}

/**
 * Notices groups that have stopped: somebody waits, the group has leases, and for a while none has begun or ended. That
 * may be slow work; it may be a holder that waits for a second slot of its own group, which nothing else would tell.
 */
class Stalls {
  readonly #platform: Platform;
  readonly #waits: Waits;
  readonly #log: Logger;
  readonly #inFlight: (group: string) => number;
  /** The groups in which somebody waits. */
  readonly #groups = new Map<string, { waiting: number; movedAt: number; look: Wait }>();
  #toldAt = Number.NEGATIVE_INFINITY;

  constructor(host: Platform, log: Logger, inFlight: (group: string) => number) {
    this.#platform = host;
    this.#waits = new Waits(host);
    this.#log = log;
    this.#inFlight = inFlight;
  }

  /** Somebody waits in this group. Returns the way to say that it is over. */
  waits(group: string): () => void {
    const now = this.#platform.now();
    const stall = this.#groups.get(group) ?? {
      waiting: 0,
      movedAt: now,
      look: this.#lookAt(now + STALL_MS, group),
    };
    this.#groups.set(group, stall);
    stall.waiting++;
    return () => {
      if (--stall.waiting > 0) return;
      this.#waits.remove(stall.look);
      this.#groups.delete(group);
    };
  }

  /** A lease of this group began or ended. */
  moved(group: string): void {
    const stall = this.#groups.get(group);
    if (stall) stall.movedAt = this.#platform.now();
  }

  #lookAt(time: number, group: string): Wait {
    return this.#waits.add(time, () => this.#look(group));
  }

  #look(group: string): void {
    const stall = this.#groups.get(group);
    if (!stall) return;
    const now = this.#platform.now();
    const stoodMs = now - stall.movedAt;
    if (stoodMs >= STALL_MS && now - this.#toldAt >= MINUTE_MS && this.#inFlight(group) > 0) {
      this.#toldAt = now;
      this.#log.debug(
        `Somebody waits for a slot of the group "${group}", and no lease of it has ended for ${stoodMs / 1000} s: ` +
          "does a holder wait for a second slot of its own group?",
      );
    }
    stall.look = this.#lookAt(now + (stoodMs < STALL_MS ? STALL_MS - stoodMs : MINUTE_MS), group);
  }
}

const MINUTE_MS = 60_000;

/** Longer than most calls take, short enough to be read while somebody still looks. */
const STALL_MS = 30_000;

const CAPS: Pick<Rules<SlotLimits>, "global" | "perGroup"> = {
  global: orNull(count(1, 1_000_000)),
  perGroup: orNull(count(1, 1_000_000)),
};

const LIMITS: Rules<SlotLimits> = { ...CAPS, leaseMs: orNull(milliseconds(1, YEAR_MS)), ...LINE };

const OPTIONS: Rules<SlotsOptions> = { ...LIMITS, ...PART };

const POSITIVE = needed(number(Number.MIN_VALUE, Number.MAX_VALUE));

const RATE: Rules<{ cap: number; averageDurationMs: number }> = {
  cap: POSITIVE,
  averageDurationMs: POSITIVE,
};

const CAPACITY: Rules<CapacityPlan> = {
  global: POSITIVE,
  perGroup: POSITIVE,
  groups: POSITIVE,
  averageDurationMs: POSITIVE,
};

/** @throws RateLimitConfigError without any cap. */
function planOf({ global = null, perGroup = null, leaseMs = 600_000, ...line }: SlotLimits): LimitsPlan {
  if (global === null && perGroup === null) {
    throw new RateLimitConfigError("global", global, "an integer, or else perGroup");
  }
  const caps = { concurrency: global, concurrencyPerKey: perGroup, concurrencyPerOperation: [] };
  return { policies: [], ...caps, leaseMs, ...lineOf(line) };
}

/** A group is the key of a lane that needs no quota. */
function placeOf(group: string): Place {
  if (typeof group !== "string") throw new RateLimitConfigError("group", group, "a string");
  return { name: group, operation: 0, needs: [], weight: 0, concurrency: 0, limit: 0, windowMs: 0 };
}

/** The promise, or the signal's reason as soon as it aborts. */
function orAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const stop = onAbort(signal, () => reject(abortReason(signal)));
    promise.then(resolve, reject).finally(stop);
  });
}
