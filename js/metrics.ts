import { rejectionOrder } from "./codes.ts";
import type { CallContext, CallStats, DurationStats, MetricsSnapshot } from "./types.ts";

type Names = Pick<CallContext, "resourceName" | "operation">;

/** Numbers for the pairs of resource name and operation that calls are counted under. 0 is for calls without either. */
export class Groups {
  readonly #numbers = new Map<string | undefined, Map<string | undefined, number>>();
  readonly #names: Names[] = [];

  numberOf({ resourceName, operation }: Names): number {
    if (resourceName === undefined && operation === undefined) return 0;
    const operations = this.#numbers.get(resourceName);
    return operations?.get(operation) ?? this.#add(resourceName, operation);
  }

  /** In the order of their numbers; the last one, where the bound is reached, stands for all further pairs. */
  names(): Names[] {
    return this.#names;
  }

  #add(resourceName: string | undefined, operation: string | undefined): number {
    if (this.#names.length >= MOST_GROUPS - 1) {
      if (this.#names.length < MOST_GROUPS) this.#names.push({ resourceName: "(others)" });
      return MOST_GROUPS;
    }
    const operations = this.#numbers.get(resourceName) ?? new Map<string | undefined, number>();
    const number = this.#names.push({
      ...(resourceName !== undefined && { resourceName }),
      ...(operation !== undefined && { operation }),
    });
    this.#numbers.set(resourceName, operations.set(operation, number));
    return number;
  }
}

/** Of the core, which counts so many groups apart: `GROUPS` in src/record/mod.rs. */
const MOST_GROUPS = 100;

/** The counters as the core hands them out. */
export interface CoreMetrics {
  total: CoreCounts;
  groups: CoreCounts[];
}

interface CoreCounts extends Omit<CallStats, "rejected"> {
  rejected: number[];
}

/** The counters with names instead of positions. */
export function metricsSnapshot(counted: CoreMetrics | null, groups: Groups): MetricsSnapshot {
  if (counted === null) return { ...nothingCounted(), groups: [] };
  const named = groups.names().flatMap((names, index) => {
    const counts = counted.groups[index];
    return counts ? [{ ...names, ...callStats(counts) }] : [];
  });
  return { ...callStats(counted.total), groups: named };
}

function callStats(counts: CoreCounts): CallStats {
  const rejected = Object.fromEntries(
    rejectionOrder.map((reason, index) => [reason, counts.rejected[index] ?? 0]),
  );
  return { ...counts, rejected: rejected as CallStats["rejected"] };
}

function nothingCounted(): CallStats {
  const none: DurationStats = { count: 0, p50Ms: 0, p95Ms: 0, p99Ms: 0, maxMs: 0 };
  return callStats({
    calls: 0,
    attempts: 0,
    successes: 0,
    throttled: 0,
    retries: 0,
    failures: 0,
    rejected: [],
    waits: none,
    attemptDurations: { ...none },
  });
}
