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
  const bound = new Map<PropertyKey, unknown>();
  return new Proxy(Object.create(RateLimitService.prototype) as RateLimitService, {
    get(_, key) {
      const service = sharedService() as unknown as Record<PropertyKey, unknown>;
      const value = service[key];
      if (typeof value !== "function") return value;
      if (!bound.has(key)) bound.set(key, value.bind(service));
      return bound.get(key);
    },
  });
}
