import type { LimitsPlan, Place, PolicyPlan } from "../../../js/lanes.ts";

/** A plan that limits nothing but what is given. */
export function planOf(given: Partial<LimitsPlan> = {}): LimitsPlan {
  return {
    policies: [],
    concurrency: null,
    concurrencyPerKey: null,
    concurrencyPerOperation: [],
    leaseMs: null,
    maxQueue: 10_000,
    reject: false,
    maxKeys: 10_000,
    ...given,
  };
}

/** A policy of these windows. */
export function policyOf(...windows: [limit: number, lengthMs: number][]): PolicyPlan {
  return {
    windows: windows.map(([limit, lengthMs]) => ({ limit, lengthMs })),
    intervalMs: 0,
    smooth: false,
  };
}

/** The place of a key, of operation 0 and policy 0 unless something else is given. */
export function placeOf(key: string, given: Partial<Place> = {}): Place {
  const needs = [{ policy: 0, key }];
  return { name: key, operation: 0, needs, weight: 1, concurrency: 0, limit: 0, windowMs: 0, ...given };
}

/** A place that needs slots only. */
export function slotOf(key = "", given: Partial<Place> = {}): Place {
  return placeOf(key, { needs: [], ...given });
}
