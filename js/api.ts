/** All of the API, built once and shared by every entry: one set of classes, one core. */

export { CircuitBreaker, type CircuitBreakerOptions, type ExecuteOptions } from "./breaker.ts";
/** @internal */
export { abortReason, onAbort } from "./call.ts";
/** @internal */
export { Judgement } from "./codes.ts";
export { coreState, init, provide, type WasmSource } from "./core.ts";
export { type Environment, type EnvironmentOptions, registryFromEnv } from "./env.ts";
export {
  HttpRateLimitError,
  isRateLimitError,
  RateLimitConfigError,
  RateLimitError,
  userMessage,
} from "./errors.ts";
/** @internal */
export { Emitter } from "./events.ts";
export { finalFailures } from "./final.ts";
/** @internal */
export { type Alarm, isOnline, type Platform, plainAlarm, platform, Waits } from "./host.ts";
/** @internal */
export { type Judged, outcomeOf } from "./judge.ts";
export {
  type QuotaStatus,
  RateLimiter,
  type RateLimiterOptions,
  type Reservation,
  type SpendOptions,
  type WaitOptions,
} from "./limiter.ts";
export { type JobInfo, Pool, type PoolOptions, type SubmitOptions } from "./pool.ts";
export { presets } from "./presets.ts";
export {
  type KeyStatus,
  type OperationStatus,
  RateLimiterRegistry,
  type RegistryOptions,
  type RegistryState,
  type ServiceStatus,
  type WindowStatus,
} from "./registry.ts";
export {
  aBoolean,
  aFunction,
  anObject,
  checked,
  count,
  milliseconds,
  number,
  oneOf,
  orNull,
  type Rule,
  type Rules,
} from "./rules.ts";
export { RateLimitService } from "./service.ts";
export {
  makeServiceLimiters,
  makeShared,
  makeSharedRegistry,
  type ServiceLimiter,
  type ServiceLimiters,
  sharedService,
  withRateLimit,
} from "./shared.ts";
export {
  type Capacity,
  type CapacityPlan,
  capacity,
  type Lease,
  Slots,
  type SlotsOptions,
  startsPerMinute,
} from "./slots.ts";
export type { LimiterState, StateStorage, StoreOptions } from "./store.ts";
/** @internal */
export { bytesOf } from "./text.ts";
export type * from "./types.ts";
