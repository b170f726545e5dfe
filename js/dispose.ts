/**
 * Types only, for applications that write `using service = new RateLimitService()`: import it once, as
 * `import type {} from "tidegate/dispose"`. It is a file of its own because consumers without TypeScript's
 * `ESNext.Disposable` library could not compile it; at run time the method is there wherever the platform has it.
 */

declare module "./service.ts" {
  interface RateLimitService {
    /** The same as `dispose()`. */
    [Symbol.dispose](): void;
  }
}

declare module "./registry.ts" {
  interface RateLimiterRegistry {
    /** The same as `dispose()`. */
    [Symbol.dispose](): void;
  }
}

declare module "./limiter.ts" {
  interface RateLimiter {
    /** The same as `dispose()`. */
    [Symbol.dispose](): void;
  }
}

declare module "./slots.ts" {
  interface Slots {
    /** The same as `dispose()`. */
    [Symbol.dispose](): void;
  }

  interface Lease {
    /** The same as `release()`. */
    [Symbol.dispose](): void;
  }
}

declare module "./breaker.ts" {
  interface CircuitBreaker {
    /** The same as `dispose()`. */
    [Symbol.dispose](): void;
  }
}

export {};
