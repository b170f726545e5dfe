import { RateLimitService } from "../../js/index.ts";
import { ManualHost } from "../../js/testing.ts";
import type { RateLimitConfig } from "../../js/types.ts";

/** A service in manual time, without jitter, also on what a server asks for: waits last exactly as long as they must. */
export function serviceOf(config: Partial<RateLimitConfig> = {}) {
  const host = Object.assign(new ManualHost(), { random: () => 0 });
  return { host, service: new RateLimitService({ logLevel: "silent", ...config }, host) };
}
