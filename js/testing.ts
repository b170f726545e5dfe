/** For tests of applications: time that moves when it is told to, servers that refuse, and what a crowd makes of both. */

export {
  type RateLimitFindings,
  type RateLimitTestOptions,
  type RefusalSeen,
  testRateLimits,
} from "./testing/limits.ts";
export {
  type LoadReport,
  type LoadRequest,
  type LoadSecond,
  type LoadTestOptions,
  loadTest,
} from "./testing/load.ts";
export { ManualHost, type ManualHostOptions } from "./testing/manual-host.ts";
export {
  type LimitedFetch,
  type LimitedFetchOptions,
  limitedFetch,
  type ScriptedAnswer,
  scriptedFetch,
} from "./testing/server.ts";
