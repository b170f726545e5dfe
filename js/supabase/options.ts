/** Checks of what applications hand in. */

import { RateLimitConfigError, type RateLimitService } from "../api.ts";

/** What an option may be. */
export interface Legal {
  expected: string;
  allows(value: unknown): boolean;
}

export const aFunction: Legal = {
  expected: "a function",
  allows: (value) => typeof value === "function",
};

export const aBoolean: Legal = {
  expected: "true or false",
  allows: (value) => typeof value === "boolean",
};

export const anObject: Legal = {
  expected: "an object",
  allows: (value) => typeof value === "object" && value !== null,
};

export function milliseconds(from: number, to: number): Legal {
  return {
    expected: `a number of milliseconds from ${from} to ${to}`,
    allows: (value) => typeof value === "number" && value >= from && value <= to,
  };
}

/** @throws RateLimitConfigError for an option that is not legal, and for one that is not known. */
export function checkOptions(options: unknown, known: Record<string, Legal>): void {
  if (typeof options !== "object" || options === null || Array.isArray(options)) {
    throw new RateLimitConfigError("options", options, "an object");
  }
  for (const key of Reflect.ownKeys(options)) {
    const value = (options as Record<PropertyKey, unknown>)[key];
    const legal = typeof key === "string" && Object.hasOwn(known, key) ? known[key] : undefined;
    if (!legal) {
      throw new RateLimitConfigError(
        String(key),
        "an unknown field",
        `one of ${Object.keys(known).join(", ")}`,
      );
    }
    if (value !== undefined && !legal.allows(value))
      throw new RateLimitConfigError(String(key), value, legal.expected);
  }
}

/** @throws RateLimitConfigError when it is none. */
export function checkService(service: unknown): asserts service is RateLimitService {
  const { executeWithRetry, sibling } = (service ?? {}) as Partial<RateLimitService>;
  if (typeof executeWithRetry !== "function" || typeof sibling !== "function") {
    throw new RateLimitConfigError("service", service, "a RateLimitService");
  }
}
