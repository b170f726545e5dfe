import { rejectionOrder } from "./codes.ts";
import type { CallContext, CallStats, DurationStats, MetricsSnapshot } from "./types.ts";

type Names = Pick<CallContext, "resourceName" | "operation">;

/** Numbers for the pairs of resource name and operation that calls are counted under. 0 is for calls without either. */
export class Groups {
  readonly #numbers = new Map<string | undefined, Map<string | undefined, number>>();
  readonly #names: Names[] = [];
  /** The last ones that were asked for: most calls are like the one before. */
  #resourceName: string | undefined;
  #operation: string | undefined;
  #number = 0;

  numberOf({ resourceName, operation }: Names): number {
    if (resourceName === this.#resourceName && operation === this.#operation) return this.#number;
    this.#resourceName = resourceName;
    this.#operation = operation;
    this.#number = this.#find(resourceName, operation);
    return this.#number;
  }

  /** In the order of their numbers; the last one, where the bound is reached, stands for all further pairs. */
  names(): Names[] {
    return this.#names;
  }

  #find(resourceName: string | undefined, operation: string | undefined): number {
    if (resourceName === undefined && operation === undefined) return 0;
    return this.#numbers.get(resourceName)?.get(operation) ?? this.#add(resourceName, operation);
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

/** The counters with their names. `counted` asks the core for those of a group: none where nothing was counted. */
export function metricsSnapshot(
  counted: (group: number) => readonly number[],
  groups: Groups,
): MetricsSnapshot {
  const named = groups.names().flatMap((names, index) => {
    const counts = counted(index + 1);
    return counts.length > 0 ? [{ ...names, ...callStats(counts) }] : [];
  });
  return { ...callStats(counted(0)), groups: named };
}

/** From the numbers of the core: `counts` in src/wasm/snapshot.rs. Without any, all are 0. */
function callStats(counts: readonly number[]): CallStats {
  const [calls = 0, attempts = 0, successes = 0, throttled = 0, retries = 0, failures = 0, ...more] = counts;
  const rejected = Object.fromEntries(rejectionOrder.map((reason) => [reason, more.shift() ?? 0]));
  return {
    calls,
    attempts,
    successes,
    throttled,
    retries,
    failures,
    rejected: rejected as CallStats["rejected"],
    waits: durationStats(more.splice(0, 5)),
    attemptDurations: durationStats(more),
  };
}

function durationStats([
  count = 0,
  p50Ms = 0,
  p95Ms = 0,
  p99Ms = 0,
  maxMs = 0,
]: readonly number[]): DurationStats {
  return { count, p50Ms, p95Ms, p99Ms, maxMs };
}
