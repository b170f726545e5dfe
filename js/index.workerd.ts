/** For hosts that forbid compiling at run time: the module comes compiled, as an import. */

import core from "../pkg/core_bg.wasm";
import * as api from "./api.ts";

const module = (): WebAssembly.Module => core;

export const RateLimitService: typeof api.RateLimitService = /* @__PURE__ */ api.provide(
  module,
  api.RateLimitService,
);
export type RateLimitService = api.RateLimitService;

/** The service that everybody shares who names no other. Made at its first use. */
export const rateLimitService: api.RateLimitService = /* @__PURE__ */ api.provide(
  module,
  /* @__PURE__ */ api.makeShared(),
);

export const init: typeof api.init = /* @__PURE__ */ api.provide(module, api.init);

export { coreState, isRateLimitError, RateLimitConfigError, RateLimitError, type WasmSource } from "./api.ts";
export type * from "./types.ts";
