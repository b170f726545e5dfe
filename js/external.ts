/** The same API without the bytes of the core: `await init()` fetches them. For streaming, a CDN, and strict size budgets. */

import * as api from "./api.ts";

/**
 * Fetches and compiles the core: from `wasm`, else from `core_bg.wasm` of this package as the bundler resolves it.
 * Until then calls pass through.
 *
 * @throws when it cannot be fetched or is no WebAssembly module.
 */
export async function init(options: { wasm?: api.WasmSource } = {}): Promise<api.CoreState> {
  return api.init({ wasm: options.wasm ?? new URL("../pkg/core_bg.wasm", import.meta.url) });
}

/** The service that everybody shares who names no other. Made at its first use. */
export const rateLimitService: api.RateLimitService = /* @__PURE__ */ api.makeShared();

/** The registry that everybody shares: it starts with the presets. Made at its first use. */
export const rateLimiter: api.RateLimiterRegistry = /* @__PURE__ */ api.makeSharedRegistry();

/** The services of the shared registry, to look at. */
export const serviceLimiters: api.ServiceLimiters = /* @__PURE__ */ api.makeServiceLimiters();

export {
  CircuitBreaker,
  capacity,
  coreState,
  isRateLimitError,
  Pool,
  presets,
  RateLimitConfigError,
  RateLimitError,
  RateLimiter,
  RateLimiterRegistry,
  RateLimitService,
  registryFromEnv,
  Slots,
  startsPerMinute,
  withRateLimit,
} from "./api.ts";
export type * from "./public.ts";
