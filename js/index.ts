/** The default entry: the core comes along as text and is compiled when it is first used. */

import { text } from "../pkg/inline.js";
import * as api from "./api.ts";
import { bytesOf } from "./text.ts";

const bytes = (): BufferSource => bytesOf(text);

// Each of these may be the only thing that an application imports, and needs the core: none is a mere re-export, which
// a bundler would follow past this file and leave the bytes behind.
export const RateLimitService: typeof api.RateLimitService = /* @__PURE__ */ api.provide(
  bytes,
  api.RateLimitService,
);
export type RateLimitService = api.RateLimitService;

/** The service that everybody shares who names no other. Made at its first use. */
export const rateLimitService: api.RateLimitService = /* @__PURE__ */ api.provide(
  bytes,
  /* @__PURE__ */ api.makeShared(),
);

export const init: typeof api.init = /* @__PURE__ */ api.provide(bytes, api.init);

export { coreState, isRateLimitError, RateLimitConfigError, RateLimitError, type WasmSource } from "./api.ts";
export type * from "./types.ts";
