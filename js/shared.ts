import type { LimitsInForce } from "./plan.ts";
import { type PresetService, presetServices } from "./presets.ts";
import { RateLimiterRegistry, type ServiceStatus } from "./registry.ts";
import { RateLimitService } from "./service.ts";
import type { AttemptInfo, LimitOverrides } from "./types.ts";

/** The services that all copies of the package in a page share. */
interface Shared {
  service?: RateLimitService;
  registry?: RateLimiterRegistry;
}

const KEY = Symbol.for("tidegate/1");

function shared(): Shared {
  const holder = globalThis as { [KEY]?: Shared };
  holder[KEY] ??= {};
  return holder[KEY];
}

/** The default service, made at its first use, by whichever copy of the package comes first. */
export function sharedService(): RateLimitService {
  const all = shared();
  all.service ??= new RateLimitService();
  return all.service;
}

/** The default registry, likewise: it begins with the presets. */
export function sharedRegistry(): RateLimiterRegistry {
  const all = shared();
  all.registry ??= new RateLimiterRegistry(presetServices());
  return all.registry;
}

/**
 * An object that stands for the default service: importing it does nothing, using it makes the service.
 * `instanceof RateLimitService` holds.
 */
export function makeShared(): RateLimitService {
  return standIn(RateLimitService.prototype, sharedService);
}

/** An object that stands for the default registry, likewise. */
export function makeSharedRegistry(): RateLimiterRegistry {
  return standIn(RateLimiterRegistry.prototype, sharedRegistry);
}

/** `withRateLimit` of the default registry. */
export function withRateLimit<T>(
  service: string,
  operation: string,
  fn: (attempt: AttemptInfo) => T | PromiseLike<T>,
  overrides?: LimitOverrides | null,
): Promise<T> {
  return sharedRegistry().withRateLimit(service, operation, fn, overrides);
}

/** One service of the default registry, as it is at the moment. */
export interface ServiceLimiter {
  /** Those in force, frozen. */
  readonly limits: LimitsInForce;
  status(): ServiceStatus;
  withRateLimit<T>(
    operation: string,
    fn: (attempt: AttemptInfo) => T | PromiseLike<T>,
    overrides?: LimitOverrides | null,
  ): Promise<T>;
}

/** The services of the default registry by name. Others than the presets may be there, or not. */
export type ServiceLimiters = Readonly<
  Record<PresetService, ServiceLimiter> & Record<string, ServiceLimiter | undefined>
>;

/** A view of the default registry that changes with it and cannot be changed. Importing it does nothing. */
export function makeServiceLimiters(): ServiceLimiters {
  const views = new Map<PropertyKey, ServiceLimiter>();
  const view = (name: PropertyKey): ServiceLimiter | undefined => {
    if (typeof name !== "string" || !sharedRegistry().services().includes(name)) return undefined;
    const known = views.get(name) ?? limiterOf(name);
    views.set(name, known);
    return known;
  };
  // Assigning ends in `defineProperty`.
  const no = (): boolean => false;
  return new Proxy(Object.create(null), {
    get: (_, name) => view(name),
    has: (_, name) => view(name) !== undefined,
    ownKeys: () => sharedRegistry().services(),
    getOwnPropertyDescriptor: (_, name) => {
      const value = view(name);
      // Configurable, because the target does not have it; `defineProperty` refuses all the same.
      return value && { value, enumerable: true, configurable: true, writable: false };
    },
    defineProperty: no,
    deleteProperty: no,
    setPrototypeOf: no,
    preventExtensions: no,
  });
}

function limiterOf(name: string): ServiceLimiter {
  return Object.freeze({
    get limits() {
      return sharedRegistry().limits(name);
    },
    status: () => sharedRegistry().status()[name] as ServiceStatus,
    withRateLimit: <T>(
      operation: string,
      fn: (attempt: AttemptInfo) => T | PromiseLike<T>,
      overrides?: LimitOverrides | null,
    ) => sharedRegistry().withRateLimit(name, operation, fn, overrides),
  });
}

/** An object that has the members of what `made` returns, with the prototype of its class. */
function standIn<T extends object>(prototype: T, made: () => T): T {
  const bound = new WeakMap<object, unknown>();
  return new Proxy(Object.create(prototype) as T, {
    get(target, key) {
      // What a test has put in its place, as a spy.
      if (Object.hasOwn(target, key)) return Reflect.get(target, key);
      const owner = made();
      const value: unknown = Reflect.get(owner, key);
      if (typeof value !== "function") return value;
      // A private field has its owner for `this`. One method of one class for one owner: the method alone is the key,
      // unless the shared one was replaced.
      const known = bound.get(value) as { owner: object; method: unknown } | undefined;
      if (known?.owner === owner) return known.method;
      const method: unknown = value.bind(owner);
      bound.set(value, { owner, method });
      return method;
    },
  });
}
