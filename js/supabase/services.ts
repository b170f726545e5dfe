/** The services that guard one project: one for each of the limits that its server counts apart. */

import { RateLimitConfigError, type RateLimitService } from "../api.ts";

export type OnService = (name: string, service: RateLimitService) => void;

export class Services {
  readonly #service: RateLimitService;
  readonly #onService: OnService | undefined;
  readonly #made = new Map<string, RateLimitService>();

  constructor(service: RateLimitService, onService?: OnService) {
    this.#service = service;
    this.#onService = onService;
    this.#made.set("rest", service);
  }

  /** By name, in the order in which they were first needed. */
  get all(): ReadonlyMap<string, RateLimitService> {
    return this.#made;
  }

  /** The one for these limits, made when it is first asked for. */
  for(limits: string): RateLimitService {
    const known = this.#made.get(limits);
    if (known) return known;
    const name = this.#made.size >= MOST_SERVICES && limits.startsWith("functions/") ? OTHERS : limits;
    return this.#made.get(name) ?? this.#make(name);
  }

  #make(name: string): RateLimitService {
    const service = this.#service.sibling(name);
    this.#made.set(name, service);
    try {
      this.#onService?.(name, service);
    } catch (error) {
      console.error("[RateLimit] onService threw", error);
    }
    return service;
  }
}

/** @throws RateLimitConfigError when it is none. */
export function checkService(service: unknown): asserts service is RateLimitService {
  const { executeWithRetry, sibling } = (service ?? {}) as Partial<RateLimitService>;
  if (typeof executeWithRetry !== "function" || typeof sibling !== "function") {
    throw new RateLimitConfigError("service", service, "a RateLimitService");
  }
}

/** A project has some dozens of Edge Functions; names beyond are most likely made up per call. */
const MOST_SERVICES = 100;

/** What Edge Functions beyond that share. */
const OTHERS = "functions/(others)";
