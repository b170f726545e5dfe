import { RateLimitService } from "./service.ts";

/** The services that all copies of the package in a page share. */
interface Shared {
  service?: RateLimitService;
}

const KEY = Symbol.for("tidegate/1");

/** The default service, made at its first use, by whichever copy of the package comes first. */
export function sharedService(): RateLimitService {
  const holder = globalThis as { [KEY]?: Shared };
  holder[KEY] ??= {};
  holder[KEY].service ??= new RateLimitService();
  return holder[KEY].service;
}

/**
 * An object that stands for the default service: importing it does nothing, using it makes the service.
 * `instanceof RateLimitService` holds.
 */
export function makeShared(): RateLimitService {
  const bound = new WeakMap<object, unknown>();
  return new Proxy(Object.create(RateLimitService.prototype) as RateLimitService, {
    get(target, key) {
      // What a test has put in its place, as a spy.
      if (Object.hasOwn(target, key)) return Reflect.get(target, key);
      const service = sharedService();
      const value: unknown = Reflect.get(service, key);
      if (typeof value !== "function") return value;
      // A private field has its owner for `this`. One method of one class for one service: the method alone is the key,
      // unless the shared service was replaced.
      const known = bound.get(value) as { service: object; method: unknown } | undefined;
      if (known?.service === service) return known.method;
      const method: unknown = value.bind(service);
      bound.set(value, { service, method });
      return method;
    },
  });
}
