/** All of the API, built once and shared by every entry: one set of classes, one core. */

export { onAbort } from "./call.ts";
export { coreState, init, provide, type WasmSource } from "./core.ts";
export { isOurCode, isRateLimitError, RateLimitConfigError, RateLimitError } from "./errors.ts";
export { isOnline, plainAlarm } from "./host.ts";
export { RateLimitService } from "./service.ts";
export { makeShared, sharedService } from "./shared.ts";
export type * from "./types.ts";
