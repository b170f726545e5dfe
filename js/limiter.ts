import { alarm, coreState } from "./core.ts";
import { RateLimitConfigError } from "./errors.ts";
import { type AcquireOptions, Gate, type GateEvents } from "./gate.ts";
import { platform } from "./host.ts";
import type { LimitsPlan, Place } from "./lanes.ts";
import {
  ACQUIRE,
  LINE,
  type LineLimits,
  lineOf,
  logOf,
  MOST_UNITS,
  optionsOf,
  PART,
  type PartOptions,
  WINDOW,
  windowsOf,
} from "./parts.ts";
import { aBoolean, checked, count, milliseconds, orNull, type Rules, YEAR_MS } from "./rules.ts";
import { aStore, type KeyState, type LimiterState, Store, type StoreOptions, stateOf } from "./store.ts";
import type { LimitInfo, Logger } from "./types.ts";
import { forUsing } from "./using.ts";

/** How much each key may use. At least one of `minIntervalMs` and `windows` is needed; where both are given, both hold. */
export interface QuotaLimits extends LineLimits {
  /** Between two starts of one key; `null`: none. Default `null`; 1 to 31_536_000_000. */
  minIntervalMs?: number | null | undefined;
  /** One window, or several of different lengths that hold at once; `null`: none. Default `null`. */
  windows?: LimitInfo | readonly LimitInfo[] | null | undefined;
  /** Starts are spread evenly over the window, instead of as early as it allows. Default `false`. */
  smooth?: boolean | undefined;
}

export interface RateLimiterOptions extends QuotaLimits, PartOptions {
  /** Keeps the counts from one visit of the page to the next. Default: they end with the page. */
  store?: StoreOptions | undefined;
}

export interface SpendOptions {
  /** How many units it uses, all at once. Default 1; 1 to the smallest `maxRequests`. */
  weight?: number | undefined;
}

/** How long it may wait, in which order, and for how much. */
export interface WaitOptions extends AcquireOptions, SpendOptions {}

/** Units that were taken ahead of their use. */
export interface Reservation {
  /** They were not used. Harmless twice, after their window, and after a `reset` or `restore`: nothing comes back then. */
  giveBack(): void;
}

/** What a key has used, and may still use. */
export interface QuotaStatus {
  /** The shortest one first; none where there is only a minimum interval. */
  windows: readonly (LimitInfo & { used: number; left: number })[];
  /** When the next unit may be taken, in milliseconds by the host's clock: now or later. */
  nextPermitAt: number;
}

/**
 * So many units in any stretch of a given length, for each key by itself: it says when, and calls nothing.
 *
 * The promise is about every stretch of time, not about calendar minutes: units are logged in at most 64 slices a window,
 * and a slice counts as if all of it came at its end. There are never more than `maxRequests` in any `windowMs`, and a
 * unit comes back at most a 64th of the window late.
 *
 * A key is idle when all that it used is older than the windows. A new one beyond `maxKeys` takes the place of an idle
 * one and is refused while there is none: no count is forgotten before its time.
 */
export class RateLimiter {
  #limits: Limits;
  readonly #gate: Gate;
  #store: Store | null;
  readonly #log: Logger;
  readonly #now: () => number;
  readonly #wall: () => number;
  /** What was counted when it was last written down or handed in: for a core that comes up later, or once more. */
  #known: LimiterState | null = null;
  #disposed = false;

  /** @throws RateLimitConfigError for a value out of its range, for an unknown field, and without any limit. */
  constructor(options: RateLimiterOptions) {
    forUsing(this, "dispose");
    const given = checked<RateLimiterOptions>("options", options, OPTIONS);
    const { store, onCoreUnavailable = "reject", logLevel, logger, host, ...limits } = given;
    const clock = platform(host, alarm);
    this.#limits = inForce(limits);
    this.#log = logOf({ logLevel, logger });
    this.#now = clock.now;
    this.#wall = clock.wall;
    this.#gate = new Gate(planOf(this.#limits), { host, onCoreUnavailable, logger, logLevel });
    this.#store = store ? new Store(store, clock, this.#log, () => this.#seen()) : null;
    this.#gate.on("core", ({ state }) => {
      if (state === "ready") this.#recall();
    });
    this.#known = this.#store?.read() ?? null;
    this.#recall();
  }

  /**
   * Waits until the key may use the units, and uses them. Who waits for a key goes by priority, then in the order of
   * arrival. Without a key, it is the key `""`.
   *
   * @throws RateLimitError: `RATE_LIMIT_QUOTA_EXHAUSTED` where it is set to reject, with `retryAfterMs` and in `limit` the
   *   window that is full, and also when there are too many keys; `RATE_LIMIT_DEADLINE_EXCEEDED`;
   *   `RATE_LIMIT_QUEUE_FULL`; `RATE_LIMIT_CORE_UNAVAILABLE`; the signal's reason when it aborts; a RateLimitConfigError
   *   for illegal options, such as a weight that no window could ever hold.
   */
  async wait(key?: string, options?: WaitOptions): Promise<void> {
    // Who needs not wait is spared the promises of those who do.
    if (options === undefined && this.#isFree(this.#place(key))) return;
    const { weight, ...terms } = optionsOf<WaitOptions>(options, WAIT);
    await this.#gate.acquire(this.#place(key, weight), terms);
    this.#store?.changed();
  }

  /** Uses the units if the key may do so now, and nobody waits for it. `false`: nothing is used. */
  tryAcquire(key?: string, options?: SpendOptions): boolean {
    const { weight } = optionsOf<SpendOptions>(options, SPEND);
    return this.#isFree(this.#place(key, weight));
  }

  /** As `tryAcquire`, for units that may turn out not to be needed. `null`: nothing is used. */
  reserve(key?: string, options?: SpendOptions): Reservation | null {
    const { weight } = optionsOf<SpendOptions>(options, SPEND);
    const place = this.#place(key, weight);
    let hold = this.#gate.tryAcquire(place);
    if (!hold) return null;
    this.#store?.changed();
    return {
      giveBack: () => {
        if (!hold) return;
        this.#gate.giveBack(place, hold.takenAt, place.weight);
        hold = null;
        this.#store?.changed();
      },
    };
  }

  /** Forgets what a key has used; without a key, what all have. Who waits for it may go at once. */
  reset(key?: string): void {
    this.#gate.clear(key === undefined ? undefined : this.#place(key));
    const keys = (this.#known?.keys ?? []).filter((known) => key !== undefined && known.key !== key);
    this.#known = { version: 1, keys };
    this.#store?.changed();
  }

  /**
   * Units that a key has used in the shortest window; with nothing but a minimum interval, 1 until it has passed. All of a
   * key is in `status`.
   */
  count(key?: string): number {
    const { windows, nextPermitAt } = this.status(key);
    return windows[0]?.used ?? (nextPermitAt > this.#now() ? 1 : 0);
  }

  /** Every window of a key, and when its next unit may be taken. Nothing changes by asking. */
  status(key?: string): QuotaStatus {
    const now = this.#now();
    const unused = { nextTime: now, windows: this.#limits.windows.map((window) => ({ ...window, used: 0 })) };
    const { windows, nextTime } = this.#gate.status(this.#place(key)) ?? unused;
    return {
      windows: windows.map((window) => ({ ...window, left: Math.max(0, window.maxRequests - window.used) })),
      nextPermitAt: Math.max(now, nextTime),
    };
  }

  /** All that counts now, to be kept somewhere and handed to `restore`. */
  snapshot(): LimiterState {
    return this.#seen() ?? this.#known ?? { version: 1, keys: [] };
  }

  /**
   * Counts what `snapshot()` told, on top of what is counted already. What is older than its window by now is dropped; a
   * time in the future, which a clock that was set back leaves behind, counts as now. Windows of a length that this limiter
   * does not have are ignored.
   *
   * @throws RateLimitConfigError for anything else than such a state, and then nothing has changed.
   */
  restore(state: LimiterState): void {
    this.#known = stateOf(state);
    this.#recall();
    this.#store?.changed();
  }

  /**
   * Other limits from the next decision on; fields that are left out keep theirs. Counts stay, and who waits is planned
   * anew at once. Of a window that is longer than all before, only what those still knew is counted.
   *
   * @throws RateLimitConfigError, and then nothing has changed.
   */
  updateLimits(limits: QuotaLimits): void {
    const next = inForce({ ...this.#limits, ...checked<QuotaLimits>("limits", limits, LIMITS) });
    this.#gate.configure(planOf(next));
    this.#limits = next;
    this.#store?.changed();
  }

  /**
   * Calls `listener` at each event until the function that is returned is called: `warned` when a key has used 80 % of a
   * window, once until it has used less again; `core` when the core came up or failed.
   */
  on<E extends keyof GateEvents>(event: E, listener: (event: GateEvents[E]) => void): () => void {
    return this.#gate.on(event, listener);
  }

  /** Saves what is to be saved, and ends every wait with an AbortError, also those that begin later. */
  dispose(): void {
    this.#store?.save();
    this.#store = null;
    this.#seen();
    this.#disposed = true;
    this.#gate.dispose();
  }

  /** Uses the units where nobody has to wait for them. */
  #isFree(place: Place): boolean {
    if (this.#gate.tryAcquire(place) === null) return false;
    this.#store?.changed();
    return true;
  }

  #place(key = "", weight = 1): Place {
    if (typeof key !== "string") throw new RateLimitConfigError("key", key, "a string");
    const { most } = this.#limits;
    if (weight > most)
      throw new RateLimitConfigError("weight", weight, `at most ${most}, all that a window holds`);
    return new KeyPlace(key, weight);
  }

  /** What is counted; `null` while there is no core that could tell. */
  #seen(): LimiterState | null {
    if (this.#disposed) return null;
    const keys = this.#gate.names().flatMap((key): KeyState[] => {
      const [quota] = this.#gate.dump(this.#place(key))?.quotas ?? [];
      return quota && (quota.taken.length > 0 || quota.nextAt !== undefined) ? [{ key, ...quota }] : [];
    });
    // It may have failed while it was asked.
    if (coreState() !== "ready") return null;
    this.#known = { version: 1, keys };
    return this.#known;
  }

  /** Tells the core what was known before it came up. */
  #recall(): void {
    let left = 0;
    for (const { key, nextAt, taken } of this.#known?.keys ?? []) {
      const place = this.#place(key);
      this.#gate.load(place, { quotas: [{ taken: [...taken], ...this.#held(nextAt) }] });
      if (coreState() === "ready" && this.#gate.dump(place) === null) left++;
    }
    if (left > 0) this.#log.warn(`There is no room for ${left} keys that were counted before: raise maxKeys`);
  }

  /** A clock that was ahead must not hold a key for longer than any of its starts could. */
  #held(nextAt = 0): { nextAt?: number } {
    const { minIntervalMs, smooth, windows } = this.#limits;
    const longest = Math.max(minIntervalMs ?? 0, ...(smooth ? windows.map(({ windowMs }) => windowMs) : []));
    return { nextAt: Math.min(nextAt, this.#wall() + longest) };
  }
}

/** What was given, with the windows as a list. */
interface Limits extends Omit<QuotaLimits, "windows"> {
  readonly windows: readonly LimitInfo[];
  /** The units that every window has room for. */
  readonly most: number;
}

/** A key has the limits of all: nothing that a single call would wish for. */
class KeyPlace implements Place {
  readonly name: string;
  readonly weight: number;
  readonly operation = 0;
  readonly concurrency = 0;
  readonly limit = 0;
  readonly windowMs = 0;

  constructor(key: string, weight: number) {
    this.name = key;
    this.weight = weight;
  }

  /** Made when it is asked for: once for each key. */
  get needs(): Place["needs"] {
    return [{ policy: 0, key: this.name }];
  }
}

/** @throws RateLimitConfigError when there is nothing to limit by, and for two windows of one length. */
function inForce(given: QuotaLimits): Limits {
  const windows = [given.windows ?? []].flat().sort((a, b) => a.windowMs - b.windowMs);
  if (windows.length === 0 && (given.minIntervalMs ?? null) === null) {
    throw new RateLimitConfigError("windows", given.windows, "a window, or minIntervalMs");
  }
  const twin = windows.find(({ windowMs }, index) => windows[index - 1]?.windowMs === windowMs);
  if (twin) throw new RateLimitConfigError("windows", given.windows, `one window of ${twin.windowMs} ms`);
  return { ...given, windows, most: Math.min(...windows.map(({ maxRequests }) => maxRequests)) };
}

function planOf({ windows, minIntervalMs, smooth = false, ...line }: Limits): LimitsPlan {
  const counts = windows.map(({ maxRequests, windowMs }) => ({ limit: maxRequests, lengthMs: windowMs }));
  const policies = [{ windows: counts, intervalMs: minIntervalMs ?? 0, smooth }];
  return { policies, ...NO_SLOTS, ...lineOf(line) };
}

const NO_SLOTS = { concurrency: null, concurrencyPerKey: null, concurrencyPerOperation: [], leaseMs: null };

const LIMITS: Rules<QuotaLimits> = {
  minIntervalMs: orNull(milliseconds(1, YEAR_MS)),
  windows: orNull(windowsOf(WINDOW)),
  smooth: aBoolean,
  ...LINE,
};

const OPTIONS: Rules<RateLimiterOptions> = { ...LIMITS, ...PART, store: aStore };

const SPEND: Rules<SpendOptions> = { weight: count(1, MOST_UNITS) };

const WAIT: Rules<WaitOptions> = { ...SPEND, ...ACQUIRE };
