import fc from "fast-check";
import { afterEach, describe, expect, it, vi } from "vitest";
import {
  CircuitBreaker,
  Pool,
  RateLimitConfigError,
  RateLimiter,
  RateLimiterRegistry,
  RateLimitService,
  Slots,
} from "../../js/index.ts";
import { ManualHost } from "../../js/testing.ts";
import { leavesNothingLoose } from "./support/service.ts";

/**
 * Whatever is configured is refused with an error that names the field, or it works: the first call goes, and brings what
 * it brings. `FUZZ_RUNS` says how many configurations of each kind; the target `config` of fuzz/ is the same for the core.
 */
const RUNS = Number(process.env.FUZZ_RUNS ?? 300);
const TIMEOUT_MS = 20_000 + 10 * RUNS;

leavesNothingLoose();
afterEach(() => {
  vi.restoreAllMocks();
});

/** A thing that is configured: its fields, and one call that nothing stands in the way of. */
interface Subject {
  fields: readonly string[];
  /** Makes one, calls once, and throws it away. */
  first(options: Record<string, unknown>, host: ManualHost): Promise<unknown>;
}

const five = async (): Promise<number> => 5;

const SUBJECTS: Record<string, Subject> = {
  RateLimitService: {
    fields: [
      "enabled",
      "maxRetries",
      "initialDelayMs",
      "maxDelayMs",
      "jitter",
      "jitterFactor",
      "respectRetryAfter",
      "maxRetryAfterMs",
      "circuitBreakerThreshold",
      "circuitResetMs",
      "halfOpenProbes",
      "probeTimeoutMs",
      "attemptTimeoutMs",
      "callDeadlineMs",
      "retryTransient",
      "retryBudget",
      "sharedCooldown",
      "logLevel",
    ],
    first: (options, host) => new RateLimitService(options, host).executeWithRetry(five),
  },
  CircuitBreaker: {
    fields: [
      "failureThreshold",
      "failureRatio",
      "minimumCalls",
      "lastCalls",
      "windowMs",
      "timeout",
      "resetTimeout",
      "halfOpenProbes",
      "probeTimeoutMs",
    ],
    first: (options, host) => new CircuitBreaker({ ...options, host }).execute(five),
  },
  RateLimiter: {
    fields: ["windows", "minIntervalMs", "smooth", "onLimit", "maxQueue", "maxKeys", "onCoreUnavailable"],
    first: async (options, host) => {
      const limiter = new RateLimiter({ ...options, host } as never);
      const went = limiter.tryAcquire();
      limiter.dispose();
      return went ? 5 : undefined;
    },
  },
  Slots: {
    fields: ["global", "perGroup", "leaseMs", "onLimit", "maxQueue", "maxKeys", "onCoreUnavailable"],
    first: (options, host) => {
      const slots = new Slots({ ...options, host });
      return slots.run("a", five).finally(() => slots.dispose());
    },
  },
  Pool: {
    fields: ["workers", "queue", "onFull", "onCoreUnavailable"],
    first: (options, host) => {
      const pool = new Pool({ ...options, host });
      return pool.submit(five).finally(() => pool.close());
    },
  },
  RateLimiterRegistry: {
    fields: [
      "concurrency",
      "concurrencyPerKey",
      "concurrencyPerOperation",
      "leaseMs",
      "rateLimit",
      "minIntervalMs",
      "smooth",
      "attemptTimeoutMs",
      "onCoreUnavailable",
      "onLimit",
      "maxQueue",
      "maxKeys",
    ],
    first: (options, host) => {
      const registry = new RateLimiterRegistry({ api: options }, { host });
      return registry.withRateLimit("api", "read", five).finally(() => registry.dispose());
    },
  },
};

/** Numbers with a liking for edges, words that are legal somewhere, windows, and anything else. */
const value: fc.Arbitrary<unknown> = fc.oneof(
  fc.constantFrom(0, -0, 1, 2, 10, 0.5, -1, 1e6, 2 ** 31, 2 ** 32, 2 ** 53, 31_536_000_000, 31_536_000_001),
  fc.integer({ min: 0, max: 1_000 }),
  fc.double(),
  fc.boolean(),
  fc.constantFrom(null, undefined, "", "wait", "reject", "pass", "full", "none", "idempotent", "silent", "5"),
  fc.record({ maxRequests: fc.oneof(fc.nat(), fc.double()), windowMs: fc.oneof(fc.nat(), fc.double()) }),
  fc.record({ ratio: fc.double(), minPerSecond: fc.double(), windowMs: fc.oneof(fc.nat(), fc.double()) }),
  fc.dictionary(fc.constantFrom("read", "write", "*"), fc.oneof(fc.nat(), fc.anything()), { maxKeys: 3 }),
  fc.anything({ withBigInt: true, withDate: true, withMap: true, withNullPrototype: true }),
);

/** A few fields, now and then one that there is not. */
const optionsOf = ({ fields }: Subject): fc.Arbitrary<Record<string, unknown>> =>
  fc.dictionary(fc.oneof({ weight: 20, arbitrary: fc.constantFrom(...fields) }, fc.string()), value, {
    maxKeys: 4,
  });

describe.each(Object.entries(SUBJECTS))("whatever is configured of %s", (_, subject) => {
  it(
    "is refused by the name of its field, or works",
    async () => {
      vi.spyOn(console, "warn").mockReturnValue();
      vi.spyOn(console, "info").mockReturnValue();
      let worked = 0;
      await fc.assert(
        fc.asyncProperty(optionsOf(subject), async (options) => {
          const end = await Promise.resolve()
            .then(() => subject.first(options, new ManualHost()))
            .catch((error: unknown) => error);
          if (end instanceof RateLimitConfigError) {
            expect(end.message).toContain(end.field);
          } else {
            expect(end).toBe(5);
            worked += 1;
          }
        }),
        { numRuns: RUNS },
      );
      expect(worked, "none of them was legal").toBeGreaterThan(0);
    },
    TIMEOUT_MS,
  );
});
