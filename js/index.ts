/** The default entry: the core comes along as text and is compiled when it is first used. */

import { text } from "../pkg/core.inline.js";
import * as api from "./api.ts";

const bytes = (): BufferSource => api.bytesOf(text);

// Each of these may be the only thing that an application imports, and needs the core: none is a mere re-export, which
// a bundler would follow past this file and leave the bytes behind.
export const RateLimitService: typeof api.RateLimitService = /* @__PURE__ */ api.provide(
  bytes,
  api.RateLimitService,
);
export type RateLimitService = api.RateLimitService;

export const RateLimiterRegistry: typeof api.RateLimiterRegistry = /* @__PURE__ */ api.provide(
  bytes,
  api.RateLimiterRegistry,
);
export type RateLimiterRegistry = api.RateLimiterRegistry;

export const RateLimiter: typeof api.RateLimiter = /* @__PURE__ */ api.provide(bytes, api.RateLimiter);
export type RateLimiter = api.RateLimiter;

export const Slots: typeof api.Slots = /* @__PURE__ */ api.provide(bytes, api.Slots);
export type Slots = api.Slots;

export const Pool: typeof api.Pool = /* @__PURE__ */ api.provide(bytes, api.Pool);
export type Pool = api.Pool;

export const CircuitBreaker: typeof api.CircuitBreaker = /* @__PURE__ */ api.provide(
  bytes,
  api.CircuitBreaker,
);
export type CircuitBreaker = api.CircuitBreaker;

/** The service that everybody shares who names no other. Made at its first use. */
export const rateLimitService: api.RateLimitService = /* @__PURE__ */ api.provide(
  bytes,
  /* @__PURE__ */ api.makeShared(),
);

/** The registry that everybody shares: it starts with the presets. Made at its first use. */
export const rateLimiter: api.RateLimiterRegistry = /* @__PURE__ */ api.provide(
  bytes,
  /* @__PURE__ */ api.makeSharedRegistry(),
);

/** The services of the shared registry, to look at. */
export const serviceLimiters: api.ServiceLimiters = /* @__PURE__ */ api.provide(
  bytes,
  /* @__PURE__ */ api.makeServiceLimiters(),
);

/** `rateLimiter.withRateLimit`. */
export const withRateLimit: typeof api.withRateLimit = /* @__PURE__ */ api.provide(bytes, api.withRateLimit);

export const registryFromEnv: typeof api.registryFromEnv = /* @__PURE__ */ api.provide(
  bytes,
  api.registryFromEnv,
);

export const init: typeof api.init = /* @__PURE__ */ api.provide(bytes, api.init);

export {
  capacity,
  coreState,
  isRateLimitError,
  presets,
  RateLimitConfigError,
  RateLimitError,
  startsPerMinute,
} from "./api.ts";
export type * from "./public.ts";
