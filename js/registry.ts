import { CLOSED } from "./circuit.ts";
import { merged } from "./config.ts";
import { alarm } from "./core.ts";
import { RateLimitConfigError } from "./errors.ts";
import type { QuotaState } from "./gate.ts";
import { type Platform, platform } from "./host.ts";
import type { Place } from "./lanes.ts";
import type { LaneStatus } from "./limits.ts";
import { aHost } from "./parts.ts";
import {
  type LimitKey,
  type LimitsInForce,
  type LimitsUpdate,
  type Operation,
  OVERRIDES,
  partsOf,
  placeOf,
  ServicePlan,
  under,
  wished,
} from "./plan.ts";
import {
  aBoolean,
  anObject,
  aString,
  checked,
  listOf,
  namesTo,
  needed,
  QUOTA_STATE,
  type Rules,
} from "./rules.ts";
import { type LaneContext, RateLimitService } from "./service.ts";
import type {
  AttemptInfo,
  CallContext,
  CircuitState,
  Host,
  LimitInfo,
  LimitOverrides,
  RateLimitConfig,
  ServiceEvents,
  ServiceLimits,
} from "./types.ts";
import { forUsing } from "./using.ts";

export interface RegistryOptions {
  /** The clock, the randomness and the timers of all services. Default: the platform's. */
  host?: Partial<Host> | undefined;
  /** What the `retry` of a service leaves out. */
  config?: Partial<RateLimitConfig> | undefined;
  /** `false` passes every call through, untouched and uncounted. Default `true`. */
  enabled?: boolean | undefined;
}

/** How full a service is. */
export interface ServiceStatus {
  /** Attempts under way. */
  inFlight: number;
  /** Calls in line; not those in a pause before a retry. */
  queued: number;
  circuit: CircuitState;
  /** By name; operations without one are together under `default`. */
  operations: Record<string, OperationStatus>;
}

/** How full an operation is. `windows` and `nextPermitAt` are those of calls without a `limitKey`. */
export interface OperationStatus extends KeyStatus {
  /** Attempts under way, under whatever key. */
  inFlight: number;
  /** Calls in line, under whatever key. */
  queued: number;
  /** Those keys that are in use, the busiest first: by calls in line, attempts under way, units used. At most 100. */
  keys: (KeyStatus & { key: string | Readonly<Record<string, string>> })[];
}

/** How full an operation is under one key. */
export interface KeyStatus {
  inFlight: number;
  queued: number;
  windows: WindowStatus[];
  /**
   * When the next call may start, as far as limits, cooldown and circuit tell: now, when at once. `null`: nobody knows, as
   * where a slot has to come free first, and without the core.
   */
  nextPermitAt: number | null;
}

export interface WindowStatus extends LimitInfo {
  /** Which of several keys is counted. */
  per?: string;
  /** Units that count now. */
  used: number;
  left: number;
}

/** What was counted by a registry, for JSON. Times are wall times, in milliseconds since 1970. */
export interface RegistryState {
  version: 1;
  services: Record<string, PlaceState[]>;
}

/** The quotas of one operation under one key that are not empty, each in the first place that has it. */
export interface PlaceState {
  operation: string;
  limitKey?: LimitKey | undefined;
  quotas: CountedState[];
}

/** One quota. Units are told by window and time; `nextAt` is when the minimum interval, or the even spacing, is over. */
export interface CountedState extends QuotaState {
  /** Which of several keys it counts. */
  per?: string;
  /** It is that of the minimum interval, which all operations share. */
  interval?: boolean;
}

/** Of an event of a service of the registry. */
export type RegistryEvent<E extends keyof ServiceEvents> = ServiceEvents[E] & { service: string };

/**
 * Limits per service and operation: a RateLimitService with limits for each name, made when it is first used.
 *
 * ```ts
 * const registry = new RateLimiterRegistry({ crm: { concurrency: 5, rateLimit: { default: { maxRequests: 10, windowMs: 1_000 } } } });
 * await registry.withRateLimit("crm", "contacts", ({ signal }) => fetch(url, { signal }));
 * ```
 */
export class RateLimiterRegistry {
  readonly #members = new Map<string, Member>();
  readonly #shared: Shared;

  /**
   * @param services By name. `default` is for the names that are not here; without it they are an error.
   * @throws RateLimitConfigError whose field begins with the name of the service.
   */
  constructor(services: Readonly<Record<string, ServiceLimits>>, options: RegistryOptions = {}) {
    forUsing(this, "dispose");
    const { host, config, enabled } = checked<RegistryOptions>("options", options, OPTIONS, "options.");
    const base = under("options.config", () => merged({}, config ?? {}));
    this.#shared = {
      host,
      base: enabled === undefined ? base : { ...base, enabled },
      platform: platform(host, alarm),
      listening: new Set(),
      disposed: false,
    };
    if (!anObject.holds(services)) throw new RateLimitConfigError("services", services, anObject.expected);
    for (const [name, limits] of Object.entries(services)) {
      this.#members.set(
        name,
        new Member(name, ServicePlan.of(name, limits, this.#shared.base), this.#shared),
      );
    }
  }

  /**
   * Calls `fn` as `executeWithRetry` does, and each attempt when the limits of the service and of the operation allow it.
   *
   * `overrides` are other limits for this call: it is counted with all others. `maxRequests` and `windowMs` stand for the
   * operation's first window and for those with the same `per`.
   *
   * A call that waits for a slot and is made by one that holds one of the same service may wait for ever: do not nest them.
   *
   * @returns what `fn` resolves with.
   * @throws what `executeWithRetry` throws; a RateLimitError with the code `RATE_LIMIT_QUOTA_EXHAUSTED` or
   *   `RATE_LIMIT_CONCURRENCY_EXCEEDED` where the service rejects, `RATE_LIMIT_QUEUE_FULL`, and
   *   `RATE_LIMIT_CORE_UNAVAILABLE` where limits cannot be checked; a RateLimitConfigError for a service or an operation
   *   that is not there and for illegal overrides.
   */
  withRateLimit<T>(
    service: string,
    operation: string,
    fn: (attempt: AttemptInfo) => T | PromiseLike<T>,
    overrides?: LimitOverrides | null,
  ): Promise<T> {
    try {
      const member = this.#members.get(service) ?? this.#member(service);
      const spot = member.spot(service, operation);
      if (typeof fn !== "function") throw new TypeError("withRateLimit: fn must be a function.");
      if (overrides === undefined || overrides === null) {
        return member.service.executeIn(spot.place, fn, spot.context);
      }
      const given = checked<LimitOverrides>("overrides", overrides, OVERRIDES, "overrides.");
      return member.service.executeIn(placed(spot, given), fn, contextOf(spot, given));
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /**
   * Other limits from the next decision on: calls that wait are planned anew at once, and nothing that runs is disturbed.
   * What is left out stays. `rateLimit`, `concurrencyPerOperation` and `retry` are merged; `null` takes an operation's
   * windows away.
   *
   * @throws RateLimitConfigError, and then nothing has changed.
   */
  updateServiceLimits(service: string, limits: LimitsUpdate): void {
    this.#member(service, null).update(limits);
  }

  /** How full each service is. Looking changes nothing, and makes no service. */
  status(): Record<string, ServiceStatus> {
    return Object.fromEntries([...this.#members].map(([name, member]) => [name, member.status()]));
  }

  /**
   * The service behind a name, for its circuit, metrics and events. Calls that are made with it directly meet its circuit
   * and its cooldown, and none of the limits.
   *
   * @throws RateLimitConfigError when there is none.
   */
  service(name: string): RateLimitService {
    return this.#member(name).service;
  }

  /**
   * The limits in force, with their defaults, frozen.
   *
   * @throws RateLimitConfigError when there is no such service.
   */
  limits(service: string): LimitsInForce {
    return this.#member(service).plan.limits;
  }

  /** The names, in the order in which they were given. */
  services(): string[] {
    return [...this.#members.keys()];
  }

  /** Calls `listener` at each such event of any service until the function that is returned is called. */
  on<E extends keyof ServiceEvents>(event: E, listener: (event: RegistryEvent<E>) => void): () => void {
    const offs: (() => void)[] = [];
    const listen: Listen = (name, service) => {
      offs.push(service.on(event, (detail) => listener({ ...detail, service: name })));
    };
    this.#shared.listening.add(listen);
    for (const member of this.#members.values()) member.listened(listen);
    return () => {
      this.#shared.listening.delete(listen);
      for (const off of offs.splice(0)) off();
    };
  }

  /** What was counted, to go on with after a reload; what is empty is left out. */
  snapshot(): RegistryState {
    const services = [...this.#members].map(([name, member]) => [name, member.snapshot()] as const);
    return {
      version: VERSION,
      services: Object.fromEntries(services.filter(([, places]) => places.length > 0)),
    };
  }

  /**
   * Counts what an earlier registry has counted, on top of what this one has. What is too old, of a service, an operation
   * or a window that is no longer there is left out; a time that is yet to come counts as now.
   *
   * @throws RateLimitConfigError when `snapshot()` did not make it, and then nothing has changed.
   */
  restore(state: RegistryState): void {
    const services = stateOf(state);
    for (const [name, places] of Object.entries(services)) this.#members.get(name)?.restore(places);
  }

  /**
   * Forgets what was counted in the windows, of one service or of all. Who runs keeps his slot; the circuit stays.
   *
   * @throws RateLimitConfigError when there is no such service.
   */
  reset(service?: string): void {
    const members = service === undefined ? this.#members.values() : [this.#member(service, null)];
    for (const member of members) member.reset();
  }

  /** Ends every wait with an AbortError; later calls pass through. */
  dispose(): void {
    this.#shared.disposed = true;
    for (const member of this.#members.values()) member.dispose();
  }

  /** Of the name, else of `others`. */
  #member(name: string, others: string | null = OTHERS): Member {
    const member = this.#members.get(name) ?? (others === null ? undefined : this.#members.get(others));
    if (member && typeof name === "string") return member;
    throw new RateLimitConfigError("service", name, `one of ${this.services().join(", ")}`);
  }
}

/** The service for the names that are not there. */
const OTHERS = "default";

const VERSION = 1;

const OPTIONS: Rules<RegistryOptions> = { host: aHost, config: anObject, enabled: aBoolean };

type Listen = (name: string, service: RateLimitService) => void;

/** What the services of a registry have in common. */
interface Shared {
  readonly host: Partial<Host> | undefined;
  readonly base: Partial<RateLimitConfig>;
  readonly platform: Platform;
  readonly listening: Set<Listen>;
  disposed: boolean;
}

/** What is the same for all plain calls of an operation. */
interface Spot {
  readonly operation: Operation;
  readonly place: Place;
  readonly context: CallContext;
}

/** A lane of a service in the core, and what its name says. */
interface Lane {
  readonly operation: Operation;
  readonly limitKey: LimitKey;
  readonly place: Place;
}

/** One service of a registry. */
class Member {
  plan: ServicePlan;
  readonly #name: string;
  readonly #shared: Shared;
  /** By the operation's name. */
  readonly #spots = new Map<string, Spot>();
  #service: RateLimitService | null = null;
  /** What was counted when that was last known. */
  #saved: PlaceState[] = [];

  constructor(name: string, plan: ServicePlan, shared: Shared) {
    this.#name = name;
    this.plan = plan;
    this.#shared = shared;
  }

  get service(): RateLimitService {
    return this.#service ?? this.#made();
  }

  /** `name`: how the caller called the service. */
  spot(name: string, operation: string): Spot {
    const known = name === this.#name ? this.#spots.get(operation) : undefined;
    return known ?? this.#spotOf(name, operation);
  }

  update(limits: LimitsUpdate): void {
    const before = this.plan.core;
    this.plan = this.plan.updated(limits);
    this.#spots.clear();
    const service = this.#service;
    if (!service) return;
    const { core, config } = this.plan;
    if (core.policies.length > before.policies.length) {
      // Every lane comes to need what is new before anything lets go whoever waits in it.
      const policies = core.policies.map((policy, number) => before.policies[number] ?? policy);
      service.updateLimits({ ...before, policies });
      for (const { place } of this.#lanes()) service.link.status(place);
    }
    service.updateLimits(core);
    service.updateConfig(config);
  }

  status(): ServiceStatus {
    const lanes = this.#lanes();
    const operations = [...this.plan.operations.values()].map((operation) => {
      const own = lanes.filter((lane) => lane.operation === operation);
      return [operation.name, this.#operationStatus(operation, own)] as const;
    });
    const { inFlight, waiting } = this.#service?.link.totals() ?? { inFlight: 0, waiting: 0 };
    const circuit = this.#service?.getCircuitState() ?? { ...CLOSED };
    return { inFlight, queued: waiting, circuit, operations: Object.fromEntries(operations) };
  }

  /** Without the core nobody knows more than was saved last. */
  snapshot(): PlaceState[] {
    if (this.#service?.link.current()) this.#saved = this.#counted();
    return this.#saved;
  }

  /** Where there is no core now, it is told when it comes. */
  restore(places: readonly PlaceState[]): void {
    this.#saved = [...this.#saved, ...places];
    if (this.service.link.current()) this.#load(places);
  }

  reset(): void {
    this.#saved = [];
    this.#service?.link.clear();
  }

  dispose(): void {
    this.#service?.dispose();
  }

  /** Calls back now if the service is there. */
  listened(listen: Listen): void {
    if (this.#service) listen(this.#name, this.#service);
  }

  #made(): RateLimitService {
    const { host, listening, disposed } = this.#shared;
    const service = new RateLimitService(this.plan.config, host, this.plan.core);
    this.#service = service;
    if (disposed) service.dispose();
    // A core that was started anew has counted nothing.
    service.on("core", ({ state }) => {
      if (state === "ready") this.#load(this.#saved);
    });
    for (const listen of listening) listen(this.#name, service);
    return service;
  }

  #spotOf(name: string, called: string): Spot {
    const operation = this.plan.operation(called);
    const context = Object.freeze({ resourceName: name, operation: called });
    const spot = { operation, place: placeOf(operation, undefined), context };
    if (name === this.#name && this.#spots.size < MOST_SPOTS) this.#spots.set(called, spot);
    return spot;
  }

  #counted(): PlaceState[] {
    const told = new Set<string>();
    return this.#lanes().flatMap(({ operation, limitKey, place }) => {
      const state = this.#service?.link.dump(place);
      const quotas = operation.quotas.flatMap(({ policy, per, isInterval }, index) => {
        const kept = state?.quotas[index];
        // Other lanes may need it too, and it is counted once.
        const name = `${policy} ${place.needs[index]?.key}`;
        if (!kept || told.has(name) || (kept.nextAt === undefined && kept.taken.length === 0)) return [];
        told.add(name);
        const which = isInterval ? { interval: true } : { ...(per !== undefined && { per }) };
        return { ...which, ...kept };
      });
      const key = limitKey === undefined ? {} : { limitKey };
      return quotas.length > 0 ? [{ operation: operation.name, ...key, quotas }] : [];
    });
  }

  #load(places: readonly PlaceState[]): void {
    for (const { operation: name, limitKey, quotas } of places) {
      const operation = this.plan.operations.get(name);
      const place = operation && tried(() => placeOf(operation, limitKey));
      if (!place) continue;
      const states = operation.quotas.map(({ per, isInterval }) => {
        const same = quotas.find(
          ({ interval = false, ...quota }) => interval === isInterval && quota.per === per,
        );
        return same ? { ...same, ...this.#held(same.nextAt) } : { taken: [] };
      });
      this.#service?.link.load(place, { quotas: states });
    }
  }

  /** A clock that was ahead must not hold anybody for longer than a start of today could. */
  #held(nextAt = 0): { nextAt: number } {
    const { minIntervalMs, smooth } = this.plan.limits;
    const lengths = smooth ? this.plan.core.policies.flatMap((policy) => policy.windows) : [];
    const longest = Math.max(minIntervalMs, ...lengths.map(({ lengthMs }) => lengthMs));
    return { nextAt: Math.min(nextAt, this.#shared.platform.wall() + longest) };
  }

  /** The lanes that the core knows, of operations that are still there. */
  #lanes(): Lane[] {
    const byNumber = new Map(
      [...this.plan.operations.values()].map((operation) => [operation.number, operation]),
    );
    return (this.#service?.link.names() ?? []).flatMap((name) => {
      const { operation: number, limitKey } = partsOf(name);
      const operation = byNumber.get(number);
      // Who waits in it has not said what a later update wants to know.
      const place = operation && tried(() => placeOf(operation, limitKey));
      return place ? [{ operation, limitKey, place: { ...place, name } }] : [];
    });
  }

  #operationStatus(operation: Operation, lanes: readonly Lane[]): OperationStatus {
    const plain = placeOf(operation, undefined);
    const status = this.#service?.link.status(plain) ?? null;
    // Where there is no room for the lane of plain calls, those of the keys know who runs.
    let inFlight = status?.operationInFlight ?? 0;
    let queued = status?.waiting ?? 0;
    const keys: OperationStatus["keys"] = [];
    for (const { limitKey, place } of lanes) {
      if (place.name === plain.name) continue;
      const own = this.#service?.link.status(place) ?? null;
      const key = this.#keyStatus(operation, own);
      inFlight = own?.operationInFlight ?? inFlight;
      queued += key.queued;
      if (limitKey !== undefined) keys.push({ key: limitKey, ...key });
    }
    keys.sort((a, b) => b.queued - a.queued || b.inFlight - a.inFlight || usedOf(b) - usedOf(a));
    return {
      ...this.#keyStatus(operation, status),
      ...{ inFlight, queued, keys: keys.slice(0, MOST_KEYS) },
    };
  }

  #keyStatus({ quotas }: Operation, status: LaneStatus | null): KeyStatus {
    const unknown = this.#service ? Number.POSITIVE_INFINITY : this.#shared.platform.now();
    const next = status?.nextTime ?? unknown;
    const configured = quotas.flatMap(({ windows }) => windows);
    return {
      inFlight: status?.inFlight ?? 0,
      queued: status?.waiting ?? 0,
      windows: configured.map(({ maxRequests, windowMs, per }, index) => {
        const used = status?.windows[index]?.used ?? 0;
        const left = Math.max(0, maxRequests - used);
        return { maxRequests, windowMs, ...(per !== undefined && { per }), used, left };
      }),
      nextPermitAt: next === Number.POSITIVE_INFINITY ? null : next,
    };
  }
}

/** Operations whose place is kept: more names come from callers who make them up. */
const MOST_SPOTS = 1_000;

const MOST_KEYS = 100;

function usedOf({ windows }: KeyStatus): number {
  return windows.reduce((used, window) => used + window.used, 0);
}

/** The place of a call that has overrides. */
function placed({ operation, place }: Spot, overrides: LimitOverrides): Place {
  const { limitKey } = overrides;
  return {
    ...(limitKey === undefined ? place : placeOf(operation, limitKey)),
    ...wished(operation, overrides),
  };
}

function contextOf(
  { context }: Spot,
  { retries, retryDelay, priority, signal }: LimitOverrides,
): LaneContext {
  return { ...context, maxRetries: retries, retryDelayMs: retryDelay, priority, signal };
}

/** A key that leaves out a `per` has no place. */
function tried(make: () => Place): Place | undefined {
  try {
    return make();
  } catch (error) {
    if (error instanceof RateLimitConfigError) return undefined;
    throw error;
  }
}

/** The services of a state that `snapshot` made. */
function stateOf(given: unknown): Record<string, PlaceState[]> {
  const { services } = checked<RegistryState>("state", given, STATE, "state.");
  return services ?? {};
}

const STATE: Rules<RegistryState> = {
  version: needed({ expected: `${VERSION}`, holds: (value) => value === VERSION }),
  services: needed(
    namesTo(
      listOf({
        ...anObject,
        fields: {
          operation: needed(aString),
          limitKey: OVERRIDES.limitKey,
          quotas: needed(
            listOf({
              ...anObject,
              fields: {
                per: aString,
                interval: aBoolean,
                ...QUOTA_STATE,
              } satisfies Rules<CountedState>,
            }),
          ),
        } satisfies Rules<PlaceState>,
      }),
    ),
  ),
};
