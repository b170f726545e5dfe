// The libraries, each behind the same few functions. An entry that is missing is work that the library does not do.

/** Where tidegate is taken from: another build may be named, to compare two of them. */
const TIDEGATE = process.env.TIDEGATE ?? new URL("../dist/index.js", import.meta.url).href;

/** More than any run queues: where a queue wants a bound, it has this one. */
const UNBOUNDED = 100_000_000;

/**
 * Runs jobs, so many at a time. `pool(concurrency)` answers `submit(job)`, and `prioritized(concurrency)` answers
 * `submit(job, priority)`, where 0 is the least urgent of ten; `abortable(concurrency)` answers `submit(job, signal)`.
 */
export const pools = {
  tidegate: {
    packages: ["tidegate"],
    async load() {
      const { Pool } = await import(TIDEGATE);
      const make = (workers) => new Pool({ workers, queue: UNBOUNDED });
      return {
        pool(concurrency) {
          const pool = make(concurrency);
          return (job) => pool.submit(job);
        },
        prioritized(concurrency) {
          const pool = make(concurrency);
          return (job, priority) => pool.submit(job, { priority });
        },
        abortable(concurrency) {
          const pool = make(concurrency);
          return (job, signal) => pool.submit(job, { signal });
        },
      };
    },
  },
  "p-queue": {
    packages: ["p-queue"],
    async load() {
      const { default: PQueue } = await import("p-queue");
      return {
        pool(concurrency) {
          const queue = new PQueue({ concurrency });
          return (job) => queue.add(job);
        },
        prioritized(concurrency) {
          const queue = new PQueue({ concurrency });
          return (job, priority) => queue.add(job, { priority });
        },
        abortable(concurrency) {
          const queue = new PQueue({ concurrency });
          return (job, signal) => queue.add(job, { signal });
        },
      };
    },
  },
  bottleneck: {
    packages: ["bottleneck"],
    async load() {
      const { default: Bottleneck } = await import("bottleneck");
      return {
        pool(maxConcurrent) {
          const limiter = new Bottleneck({ maxConcurrent });
          return (job) => limiter.schedule(job);
        },
        prioritized(maxConcurrent) {
          const limiter = new Bottleneck({ maxConcurrent });
          // Its own 0 is the most urgent of ten.
          return (job, priority) => limiter.schedule({ priority: 9 - priority }, job);
        },
      };
    },
  },
  "p-limit": {
    packages: ["p-limit"],
    async load() {
      const { default: pLimit } = await import("p-limit");
      return { pool: (concurrency) => pLimit(concurrency) };
    },
  },
  "cockatiel bulkhead": {
    packages: ["cockatiel"],
    async load() {
      const { bulkhead } = await import("cockatiel");
      return {
        pool(concurrency) {
          const policy = bulkhead(concurrency, UNBOUNDED);
          return (job) => policy.execute(job);
        },
        abortable(concurrency) {
          const policy = bulkhead(concurrency, UNBOUNDED);
          return (job, signal) => policy.execute(job, signal);
        },
      };
    },
  },
};

/**
 * Counts units by key: 1000 an hour of each, so that nobody has to wait. `wait(key)` is a promise; `tryAcquire(key)`, where
 * there is one, answers at once.
 */
export const limiters = {
  tidegate: {
    packages: ["tidegate"],
    isKeyed: true,
    async load() {
      const { RateLimiter } = await import(TIDEGATE);
      const windows = [{ maxRequests: 1_000, windowMs: HOUR_MS }];
      const limiter = new RateLimiter({ windows, maxKeys: 1_000_000 });
      return { wait: (key) => limiter.wait(key), tryAcquire: (key) => limiter.tryAcquire(key) };
    },
  },
  "rate-limiter-flexible": {
    packages: ["rate-limiter-flexible"],
    isKeyed: true,
    async load() {
      const { RateLimiterMemory } = await import("rate-limiter-flexible");
      const limiter = new RateLimiterMemory({ points: 1_000, duration: HOUR_MS / 1_000 });
      return { wait: (key) => limiter.consume(key) };
    },
  },
  "p-throttle, a function per key": {
    packages: ["p-throttle"],
    async load() {
      const { default: pThrottle } = await import("p-throttle");
      const options = { limit: 1_000, interval: HOUR_MS, strict: true };
      const byKey = new Map();
      const nothing = () => {};
      return {
        wait(key) {
          if (!byKey.has(key)) byKey.set(key, pThrottle(options)(nothing));
          return byKey.get(key)();
        },
      };
    },
  },
};

const HOUR_MS = 3_600_000;
