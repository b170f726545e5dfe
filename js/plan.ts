/** From the limits of a service to what the core reads: checked, numbered, and a place for each call. */

import { merged } from "./config.ts";
import { RateLimitConfigError } from "./errors.ts";
import type { LimitsPlan, Need, OnCoreUnavailable, Place, PolicyPlan } from "./lanes.ts";
import { ACQUIRE, anything, LINE, lineOf, MOST_UNITS, WINDOW, windowsOf } from "./parts.ts";
import {
  aBoolean,
  anObject,
  aString,
  checked,
  count,
  DAY_MS,
  milliseconds,
  namesTo,
  oneOf,
  orNull,
  type Rules,
  YEAR_MS,
} from "./rules.ts";
import type { LimitOverrides, RateLimitConfig, ServiceLimits, WindowLimit } from "./types.ts";

/** The limits of a service as they are in force: with every default. */
export type LimitsInForce = Readonly<
  Omit<Complete<ServiceLimits>, "attemptTimeoutMs"> & Pick<ServiceLimits, "rateLimit" | "attemptTimeoutMs">
>;

type Complete<T> = { [K in keyof T]-?: Exclude<T[K], undefined> };

/** Other limits for a service: what is left out stays. Operations are merged; `null` takes an operation's limits away. */
export type LimitsUpdate = Omit<ServiceLimits, "rateLimit" | "concurrencyPerOperation"> & {
  rateLimit?: Readonly<Record<string, WindowLimit | readonly WindowLimit[] | null>> | undefined;
  concurrencyPerOperation?: Readonly<Record<string, number | null>> | undefined;
};

export type LimitKey = LimitOverrides["limitKey"];

/** One operation of a service. */
export interface Operation {
  readonly name: string;
  readonly number: number;
  /** Those of `default` where it has none of its own. */
  readonly windows: readonly WindowLimit[];
  /** What a call of it needs. The first is that of the first window: in the core, overrides are for the first. */
  readonly quotas: readonly [Counted, ...Counted[]];
}

/** A policy of an operation, and which key is counted under it. */
interface Counted {
  readonly policy: number;
  readonly per: string | undefined;
  readonly windows: readonly WindowLimit[];
  /** It is the minimum interval of the service, which all operations share. */
  readonly isInterval: boolean;
}

/** The numbers given so far, by what they stand for: each keeps its meaning for as long as the service lives. */
interface Numbers {
  readonly operations: readonly string[];
  readonly policies: readonly string[];
}

/**
 * What the limits of one service come to. It never changes: an update makes another one, with the same numbers for the
 * same things.
 */
export class ServicePlan {
  readonly limits: LimitsInForce;
  /** For the core. */
  readonly core: LimitsPlan & { readonly onCoreUnavailable: OnCoreUnavailable };
  /** For the service's retries. */
  readonly config: Partial<RateLimitConfig>;
  readonly operations: ReadonlyMap<string, Operation>;
  /** What operations without a name of their own count under; `null`: there are no others. */
  readonly others: Operation | null;
  readonly #service: string;
  readonly #base: Partial<RateLimitConfig>;
  readonly #numbers: Numbers;

  private constructor(
    service: string,
    given: ServiceLimits,
    base: Partial<RateLimitConfig>,
    before: Numbers,
  ) {
    this.config = retryConfig(service, given, base);
    this.limits = inForce(service, given, this.config);
    const { core, operations, numbers } = layOut(service, this.limits, before);
    this.core = core;
    this.operations = operations;
    this.others = operations.get(OTHERS) ?? null;
    this.#service = service;
    this.#base = base;
    this.#numbers = numbers;
  }

  /**
   * @param base What `retry` leaves out.
   * @throws RateLimitConfigError that names the service and the field.
   */
  static of(service: string, given: unknown, base: Partial<RateLimitConfig>): ServicePlan {
    const limits = checked<ServiceLimits>(service, given, LIMITS, `${service}.`);
    return new ServicePlan(service, limits, base, { operations: [], policies: [] });
  }

  /** @throws RateLimitConfigError, and then nothing has changed. */
  updated(update: unknown): ServicePlan {
    const service = this.#service;
    const given = checked<LimitsUpdate>(service, update, UPDATE, `${service}.`);
    return new ServicePlan(service, merge(this.limits, given), this.#base, this.#numbers);
  }

  /** @throws RateLimitConfigError that names the operations that there are. */
  operation(name: string): Operation {
    const operation = this.operations.get(name) ?? this.others;
    if (operation && typeof name === "string") return operation;
    const known = [...this.operations.keys()].join(", ");
    throw new RateLimitConfigError("operation", name, `one of ${this.#service}: ${known}`);
  }
}

/**
 * Where a call of the operation stands under a key.
 *
 * @throws RateLimitConfigError when the key leaves out a `per` of the operation.
 */
export function placeOf({ number, quotas }: Operation, limitKey: LimitKey): Place {
  const key = whole(limitKey);
  const part = (per: string): string => (typeof limitKey === "object" ? partOf(limitKey, per) : key);
  // One name, one first quota, also after an update. The key of a record begins with a brace, that of a string here with
  // a space: no two of them have the same name.
  const lane = `${number}.${quotas[0].policy}`;
  return {
    name: typeof limitKey === "string" && key !== NO_KEY ? `${lane} ${key}` : lane + key,
    operation: number,
    needs: quotas.map(({ policy, per }): Need => ({ policy, key: per === undefined ? key : part(per) })),
    weight: 1,
    concurrency: 0,
    limit: 0,
    windowMs: 0,
  };
}

/** What the name of a place was made of; the number is that of its operation. */
export function partsOf(name: string): { operation: number; limitKey: LimitKey } {
  const [, operation, string, record] = /^(\d+)\.\d+(?: (.*)|(.+))?$/s.exec(name) ?? [];
  return { operation: Number(operation), limitKey: string ?? (record && JSON.parse(record)) };
}

/** The one key of what is counted under all keys together. That of a record does not depend on the order of its fields. */
function whole(limitKey: LimitKey): string {
  if (typeof limitKey !== "object") return limitKey ?? NO_KEY;
  const names = Object.keys(limitKey).sort();
  return names.length > 0 ? JSON.stringify(limitKey, names) : NO_KEY;
}

/** An empty key is none. */
const NO_KEY = "";

function partOf(limitKey: Readonly<Record<string, string>>, per: string): string {
  if (Object.hasOwn(limitKey, per)) return limitKey[per] as string;
  throw new RateLimitConfigError(`overrides.limitKey.${per}`, undefined, "a string: whose window it is");
}

/**
 * The limits that one call wishes for: the same counters, with other limits. They stand for the operation's first window
 * and for those with the same `per`; of the two numbers, the one that is not given is the first window's.
 *
 * @throws RateLimitConfigError for a window longer than any of these, for one where there are none, and for more units
 *   than a window has.
 */
export function wished(
  { name, windows, quotas: [own, ...others] }: Operation,
  { weight = 1, concurrency = 0, maxRequests, windowMs }: LimitOverrides,
): Pick<Place, "weight" | "concurrency" | "limit" | "windowMs"> {
  const wish = { weight, concurrency, limit: 0, windowMs: 0 };
  const full: { maxRequests: number }[] = others.flatMap((other) => other.windows);
  if (maxRequests === undefined && windowMs === undefined) {
    full.push(...own.windows);
  } else {
    const [first] = windows;
    if (!first) throw illegal({ maxRequests, windowMs }, `an operation with windows, which "${name}" is not`);
    const longest = Math.max(...own.windows.map((window) => window.windowMs));
    if (windowMs !== undefined && windowMs > longest) {
      throw illegal({ windowMs }, `at most ${longest}, the longest window of "${name}"`);
    }
    wish.limit = maxRequests ?? first.maxRequests;
    wish.windowMs = windowMs ?? first.windowMs;
    full.push({ maxRequests: wish.limit });
  }
  const most = Math.min(...full.map((window) => window.maxRequests));
  if (weight > most) throw illegal({ weight }, `at most ${most}, all that a window has`);
  return wish;
}

function illegal(overrides: LimitOverrides, expected: string): RateLimitConfigError {
  const [field, value] = Object.entries(overrides).find(([, given]) => given !== undefined) ?? [];
  return new RateLimitConfigError(`overrides.${field}`, value, expected);
}

/** The same check, with the errors' fields under a name. */
export function under<T>(name: string, check: () => T): T {
  try {
    return check();
  } catch (error) {
    if (!(error instanceof RateLimitConfigError)) throw error;
    throw new RateLimitConfigError(`${name}.${error.field}`, error.value, error.expected);
  }
}

// ---- laying out

/** The name of the operation that stands for those without a name. */
const OTHERS = "default";

/** The policy of the minimum interval, which all operations share. No operation's number is empty. */
const INTERVAL = "";

const UNUSED: PolicyPlan = { windows: [], intervalMs: 0, smooth: false };

function layOut(
  service: string,
  limits: LimitsInForce,
  before: Numbers,
): Pick<ServicePlan, "core" | "operations"> & { numbers: Numbers } {
  const numbers = { operations: [...before.operations], policies: [...before.policies] };
  const policies = numbers.policies.map(() => UNUSED);
  const counted = (
    id: string,
    per: string | undefined,
    windows: readonly WindowLimit[],
    plan: object,
  ): Counted => {
    const policy = numberOf(id, numbers.policies);
    policies[policy] = { ...UNUSED, resourceName: service, ...plan };
    return { policy, per, windows, isInterval: id === INTERVAL };
  };
  const { minIntervalMs, smooth, rateLimit, concurrencyPerOperation } = limits;
  const interval = minIntervalMs > 0 ? [counted(INTERVAL, undefined, [], { intervalMs: minIntervalMs })] : [];

  const named = new Map<string, WindowLimit | readonly WindowLimit[]>(
    Object.entries(rateLimit ?? { [OTHERS]: [] }),
  );
  const sharing = Object.keys(concurrencyPerOperation).filter((name) => !named.has(name));
  if (!named.has(OTHERS)) for (const name of sharing.splice(0)) named.set(name, []);

  const operations = new Map<string, Operation>();
  for (const [name, given] of named) {
    const windows = [given].flat();
    const number = numberOf(name, numbers.operations);
    const [first, ...more] = groupedByPer(windows).map(([per, group]) => {
      const counts = group.map(({ maxRequests, windowMs }) => ({ limit: maxRequests, lengthMs: windowMs }));
      return counted(`${number} ${per ?? ""}`, per, group, { windows: counts, smooth, operation: name });
    }) as [Counted, ...Counted[]];
    // In the order of their numbers, which is that in which the core comes to know of them, also after an update.
    more.sort((a, b) => a.policy - b.policy);
    operations.set(name, { name, number, windows, quotas: [first, ...more, ...interval] });
  }
  for (const name of sharing) {
    const counters = operations.get(OTHERS) as Operation;
    operations.set(name, { ...counters, name, number: numberOf(name, numbers.operations) });
  }

  const { concurrency, concurrencyPerKey, leaseMs, onCoreUnavailable } = limits;
  const perOperation = new Map(Object.entries(concurrencyPerOperation));
  const core = {
    ...{ policies, concurrency, concurrencyPerKey, leaseMs, onCoreUnavailable, ...lineOf(limits) },
    concurrencyPerOperation: numbers.operations.map((name) => perOperation.get(name) ?? null),
  };
  return { core, operations, numbers };
}

function numberOf(id: string, known: string[]): number {
  const number = known.indexOf(id);
  return number < 0 ? known.push(id) - 1 : number;
}

/** At least one group: an update may bring windows to an operation that has none, and callers who wait by then. */
function groupedByPer(windows: readonly WindowLimit[]): [per: string | undefined, group: WindowLimit[]][] {
  const groups = new Map<string | undefined, WindowLimit[]>();
  for (const window of windows) groups.set(window.per, [...(groups.get(window.per) ?? []), window]);
  return groups.size > 0 ? [...groups] : [[undefined, []]];
}

// ---- checking

/** The limits with their defaults, frozen. `rateLimit` stays away where it was never given: then every operation is known. */
function inForce(service: string, given: ServiceLimits, config: Partial<RateLimitConfig>): LimitsInForce {
  for (const [operation, windows] of Object.entries(given.rateLimit ?? {})) {
    checkLengths(`${service}.rateLimit.${operation}`, [windows].flat());
  }
  // As it was checked and copied, not as it was given.
  const named = Object.keys(given.retry ?? {}) as (keyof RateLimitConfig)[];
  const retry = Object.fromEntries(named.map((field) => [field, config[field]]));
  if (config.retryBudget) Object.freeze(config.retryBudget);
  const limits = { ...frozen({ ...DEFAULTS, ...given, retry: null }), retry: Object.freeze(retry) };
  return Object.freeze(limits as LimitsInForce);
}

function retryConfig(
  service: string,
  { retry, attemptTimeoutMs }: ServiceLimits,
  base: Partial<RateLimitConfig>,
): Partial<RateLimitConfig> {
  return under(`${service}.retry`, () =>
    merged(base, { ...retry, ...(attemptTimeoutMs !== undefined && { attemptTimeoutMs }) }),
  );
}

const DEFAULTS = {
  concurrency: null,
  concurrencyPerKey: null,
  concurrencyPerOperation: {},
  leaseMs: 600_000,
  minIntervalMs: 0,
  smooth: false,
  retry: {},
  onLimit: "wait",
  maxQueue: 10_000,
  maxKeys: 10_000,
  onCoreUnavailable: "reject",
} as const;

function checkLengths(field: string, windows: readonly WindowLimit[]): void {
  windows.forEach(({ windowMs, per }, index) => {
    const twin = windows.findIndex((other) => other.windowMs === windowMs && other.per === per);
    if (twin < index) {
      throw new RateLimitConfigError(`${field}[${index}].windowMs`, windowMs, "one window of each length");
    }
  });
}

function merge(before: ServiceLimits, update: Partial<LimitsUpdate>): ServiceLimits {
  const { rateLimit, concurrencyPerOperation, retry, ...more } = update;
  const operations = Object.entries(rateLimit ?? {}).map(([name, windows]) => [name, windows ?? []] as const);
  const perOperation = Object.entries({ ...before.concurrencyPerOperation, ...concurrencyPerOperation });
  return {
    ...before,
    ...more,
    ...(rateLimit && { rateLimit: { ...before.rateLimit, ...Object.fromEntries(operations) } }),
    concurrencyPerOperation: Object.fromEntries(
      perOperation.filter((entry): entry is [string, number] => entry[1] !== null),
    ),
    retry: { ...before.retry, ...retry },
  };
}

function frozen<T extends object>(part: T): T {
  for (const inner of Object.values(part)) if (typeof inner === "object" && inner !== null) frozen(inner);
  return Object.freeze(part);
}

export const MOST_AT_A_TIME = 1_000_000;

const windows = windowsOf({
  ...WINDOW,
  per: { expected: "a name", holds: (value) => typeof value === "string" && value !== "" },
} satisfies Rules<WindowLimit>);

export const LIMITS: Rules<ServiceLimits> = {
  concurrency: orNull(count(1, MOST_AT_A_TIME)),
  concurrencyPerKey: orNull(count(1, MOST_AT_A_TIME)),
  concurrencyPerOperation: namesTo(count(1, MOST_AT_A_TIME)),
  leaseMs: orNull(milliseconds(1, YEAR_MS)),
  rateLimit: namesTo(windows),
  minIntervalMs: milliseconds(0, YEAR_MS),
  smooth: aBoolean,
  attemptTimeoutMs: orNull(milliseconds(1, YEAR_MS)),
  retry: namesTo(anything),
  onCoreUnavailable: oneOf("reject", "pass"),
  ...LINE,
};

const UPDATE: Rules<LimitsUpdate> = {
  ...LIMITS,
  concurrencyPerOperation: namesTo(orNull(count(1, MOST_AT_A_TIME))),
  rateLimit: namesTo(orNull(windows)),
};

/** For one call. */
export const OVERRIDES: Rules<LimitOverrides> = {
  retries: count(0, 1_000),
  retryDelay: milliseconds(0, DAY_MS),
  concurrency: count(1, MOST_AT_A_TIME),
  maxRequests: count(1, MOST_UNITS),
  windowMs: milliseconds(1, YEAR_MS),
  priority: ACQUIRE.priority,
  signal: ACQUIRE.signal,
  limitKey: {
    expected: "a string, or an object with a string for each `per`",
    holds: (value) => typeof value === "string" || anObject.holds(value),
    each: aString,
  },
  weight: count(1, MOST_UNITS),
};
