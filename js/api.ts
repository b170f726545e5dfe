/** All of the API, built once and shared by every entry: one set of classes, one core. */

export { abortReason } from "./call.ts";
export { coreState, init, provide, type WasmSource } from "./core.ts";
export {
  HttpRateLimitError,
  isRateLimitError,
  RateLimitConfigError,
  RateLimitError,
  userMessage,
} from "./errors.ts";
export { finalFailures } from "./final.ts";
export { plainAlarm, platform } from "./host.ts";
export {
  aBoolean,
  aFunction,
  anObject,
  checked,
  count,
  milliseconds,
  orNull,
  type Rules,
} from "./rules.ts";
export { RateLimitService } from "./service.ts";
export { makeShared, sharedService } from "./shared.ts";
export type * from "./types.ts";
