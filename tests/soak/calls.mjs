// Calls of every kind, with every outcome, on the platform's own clock and timers.
import path from "node:path";
import { pathToFileURL } from "node:url";
import { root } from "../../js/steps.mjs";
import { weighted } from "./random.mjs";

const folder = path.resolve(process.env.TIDEGATE ?? path.join(root, "dist"));
const { CircuitBreaker, isRateLimitError, Pool, RateLimiter, RateLimiterRegistry, RateLimitService, Slots } =
  await import(pathToFileURL(path.join(folder, "index.js")).href);

/** So many are begun together, and waited for together. */
const BATCH = 4_000;

/** Nothing here takes longer than some tenths of a second, on a machine that does something else too. */
const STUCK_MS = 120_000;

/** Short, so that circuits open and close, and pauses begin and end, thousands of times. */
const QUICK = {
  logLevel: "silent",
  initialDelayMs: 1,
  maxDelayMs: 4,
  circuitResetMs: 5,
  probeTimeoutMs: 20,
  attemptTimeoutMs: 50,
};

const CONFIGS = [
  QUICK,
  { ...QUICK, attemptTimeoutMs: null },
  { ...QUICK, attemptTimeoutMs: null, retryTransient: "always", jitter: "full" },
  { ...QUICK, sharedCooldown: false, jitter: "decorrelated", circuitBreakerThreshold: 1_000_000 },
  { ...QUICK, retryBudget: null, retryTransient: "idempotent", maxRetries: 1 },
  {
    ...QUICK,
    classify: ({ message }) => (message === "refused" ? { throttled: true, retryAfterMs: 1 } : undefined),
  },
];

const LIMITS = {
  crm: {
    concurrency: 50,
    rateLimit: {
      search: { maxRequests: 500, windowMs: 5 },
      default: [
        { maxRequests: 2_000, windowMs: 5, per: "user" },
        { maxRequests: 5_000, windowMs: 20, per: "team" },
      ],
    },
    maxKeys: 200,
    retry: QUICK,
  },
  sms: { minIntervalMs: 0, concurrencyPerKey: 3, onLimit: "reject", leaseMs: 10, retry: QUICK },
};

export class Calls {
  done = 0;
  /** How they ended, by the name of the error. */
  tally = {};
  #random;
  #signals;
  /** What lives as long as the run. */
  #services;
  #registry = new RateLimiterRegistry(LIMITS);
  #limiter = new RateLimiter({ windows: { maxRequests: 500, windowMs: 5 }, maxKeys: 500 });
  #slots = new Slots({ global: 200, perGroup: 20, leaseMs: 8 });
  #pool = new Pool({ workers: 20, queue: 10_000 });
  #breaker = new CircuitBreaker({ failureThreshold: 5, timeout: 20, resetTimeout: 5, logLevel: "silent" });
  #heard = 0;

  constructor(random, signals) {
    this.#random = random;
    this.#signals = signals;
    this.#services = CONFIGS.map((config) => new RateLimitService(config));
  }

  async upTo(total) {
    while (this.done < total) {
      const count = Math.min(BATCH, total - this.done);
      await this.#batch(count);
      this.done += count;
    }
  }

  async end() {
    for (const service of this.#services) service.dispose();
    this.#registry.dispose();
    this.#limiter.dispose();
    this.#slots.dispose();
    this.#breaker.dispose();
    await this.#pool.close();
  }

  async #batch(count) {
    const short = this.#shortLived();
    for (const service of [
      ...this.#services,
      ...["crm", "sms"].map((name) => this.#registry.service(name)),
    ]) {
      service.resetCircuit();
    }
    const offs = this.#services.flatMap((service) => this.#listening(service));
    const ended = [];
    for (let i = 0; i < count; i++) ended.push(this.#noted(DRAW(this.#random).call(this, short)));
    await this.#within(Promise.all(ended));
    for (const off of offs) off();
    // Keys that were seen are remembered until then: that is no leak.
    this.#pool.clearSeen();
    short.end();
  }

  /** Some that are disposed of, and some that are only left: the collector has to find those. */
  #shortLived() {
    const random = this.#random;
    const services = Array.from({ length: 4 }, () => new RateLimitService(random.one(CONFIGS)));
    const limiter = new RateLimiter({ windows: { maxRequests: 100, windowMs: 5 } });
    const slots = new Slots({ global: 10, leaseMs: 5 });
    const pool = new Pool({ workers: 3, queue: 10_000 });
    const registry = new RateLimiterRegistry(LIMITS);
    const end = () => {
      for (const made of [...services, limiter, slots, registry]) if (random.chance(0.5)) made.dispose();
      if (random.chance(0.5)) pool.close();
    };
    return { services, limiter, slots, pool, registry, end };
  }

  #listening(service) {
    const heard = () => {
      this.#heard++;
    };
    return ["attempt", "retry", "giveUp", "circuit", "cooldown", "core"].map((event) =>
      service.on(event, heard),
    );
  }

  async #noted(call) {
    let name = "done";
    try {
      await call;
    } catch (error) {
      name = isRateLimitError(error) ? error.code : (error?.name ?? String(error));
    }
    this.tally[name] = (this.tally[name] ?? 0) + 1;
  }

  async #within(promise) {
    let timer;
    const stuck = new Promise((_, reject) => {
      timer = setTimeout(() => reject(new Error(`Calls that did not end within ${STUCK_MS} ms`)), STUCK_MS);
    });
    await Promise.race([promise, stuck]).finally(() => clearTimeout(timer));
  }

  // ---- what is drawn

  service(short) {
    return this.#random.chance(0.9) ? this.#random.one(this.#services) : this.#random.one(short.services);
  }

  registry(short) {
    return this.#random.chance(0.9) ? this.#registry : short.registry;
  }

  limiter(short) {
    return this.#random.chance(0.9) ? this.#limiter : short.limiter;
  }

  slots(short) {
    return this.#random.chance(0.9) ? this.#slots : short.slots;
  }

  pool(short) {
    return this.#random.chance(0.9) ? this.#pool : short.pool;
  }

  get breaker() {
    return this.#breaker;
  }

  get random() {
    return this.#random;
  }

  /** One that outlives the call, one that aborts at some time, or one that has. */
  signal() {
    const kind = this.#random.below(10);
    if (kind < 7) return this.#random.one(this.#signals);
    const own = new AbortController();
    if (kind === 9) own.abort();
    else setTimeout(() => own.abort(new Error("left")), this.#random.below(6));
    return own.signal;
  }

  context() {
    const { chance, below } = this.#random;
    return {
      ...(chance(0.5) && { resourceName: `table ${below(150)}`, operation: "list" }),
      ...(chance(0.4) && { signal: this.signal() }),
      ...(chance(0.2) && { deadlineMs: 1 + below(20) }),
      ...(chance(0.3) && { priority: below(5) }),
      ...(chance(0.3) && { idempotent: true }),
      ...(chance(0.2) && { onWait: () => this.#heard++ }),
      ...(chance(0.1) && { maxRetries: below(3) }),
    };
  }

  /** An operation that may be anything. */
  operation() {
    const kind = OUTCOME(this.#random);
    return (attempt) => kind(attempt, this.#random);
  }
}

// ---- outcomes of an attempt

const failed = (message, more) => Object.assign(new Error(message), more);

const OUTCOME = weighted([
  [40, () => "done"],
  [30, async () => ({ data: [1, 2, 3], error: null })],
  [6, (_, { below }) => later(below(3))],
  [5, async (attempt) => (attempt.retries === 0 ? Promise.reject(failed("429", { status: 429 })) : "done")],
  [3, () => Promise.reject(failed("refused"))],
  [3, () => Promise.reject(failed("429", { status: 429, headers: { "retry-after-ms": "2" } }))],
  // Bars its service for an hour, or until the next batch: more of it, and nothing else would happen.
  [0.01, () => Promise.reject(failed("429", { status: 429, headers: { "Retry-After": "3600" } }))],
  [1, () => ({ data: null, error: { status: 429, message: "Too many requests" } })],
  [0.5, () => new Response("slow down", { status: 429, headers: { "retry-after-ms": "1" } })],
  [3, () => Promise.reject(failed("unavailable", { status: 503 }))],
  [2, () => Promise.reject(new TypeError("Failed to fetch"))],
  [3, () => Promise.reject(failed("invalid", { status: 422 }))],
  [1, (attempt) => untilAborted(attempt.signal)],
  [1, ({ idempotencyKey }) => idempotencyKey],
  [0.5, () => Promise.reject(undefined)],
]);

function later(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** Like a fetch whose answer does not come. Where nobody gives up, it comes in the end. */
function untilAborted(signal) {
  return new Promise((resolve, reject) => {
    const end = () => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", end);
      if (signal?.aborted) reject(signal.reason);
      else resolve("late");
    };
    const timer = setTimeout(end, 80);
    signal?.addEventListener("abort", end);
  });
}

// ---- kinds of calls

const DRAW = weighted([
  [
    60,
    function plain(short) {
      return this.service(short).executeWithRetry(this.operation());
    },
  ],
  [
    15,
    function withContext(short) {
      return this.service(short).executeWithRetry(this.operation(), this.context());
    },
  ],
  [
    8,
    function limited(short) {
      const { below, chance } = this.random;
      const limitKey = { user: `u${below(100)}`, team: `t${below(10)}` };
      const overrides = { limitKey, ...(chance(0.3) && { signal: this.signal() }), priority: below(3) };
      return this.registry(short).withRateLimit("crm", "list", this.operation(), overrides);
    },
  ],
  [
    3,
    function searched(short) {
      const overrides = this.random.chance(0.5) ? { concurrency: 30, retryDelay: 1 } : undefined;
      return this.registry(short).withRateLimit("crm", "search", this.operation(), overrides);
    },
  ],
  [
    3,
    function sent(short) {
      const overrides = { limitKey: `number ${this.random.below(40)}` };
      return this.registry(short).withRateLimit("sms", "send", this.operation(), overrides);
    },
  ],
  [
    3,
    function spent(short) {
      const limiter = this.limiter(short);
      const key = `agent ${this.random.below(400)}`;
      const kind = this.random.below(3);
      if (kind === 0) return limiter.tryAcquire(key);
      if (kind === 1) return limiter.reserve(key)?.giveBack();
      return limiter.wait(key, { signal: this.signal() });
    },
  ],
  [
    3,
    async function held(short) {
      const slots = this.slots(short);
      const group = `campaign ${this.random.below(30)}`;
      const kind = this.random.below(4);
      if (kind === 0) return slots.tryAcquire(group)?.release();
      if (kind === 1) return slots.run(group, this.operation());
      const lease = await slots.acquire(group, { signal: this.signal() });
      // One that nobody releases ends by itself.
      if (kind === 2) lease.release();
      return undefined;
    },
  ],
  [
    3,
    function queued(short) {
      const { chance, below } = this.random;
      const options = {
        ...(chance(0.5) && { priority: below(4) }),
        ...(chance(0.3) && { dedupeKey: `page ${below(500)}` }),
        ...(chance(0.3) && { signal: this.signal() }),
      };
      const operation = this.operation();
      return this.pool(short).submit((job) => operation({ ...ATTEMPT, signal: job.signal }), options);
    },
  ],
  [
    2,
    function broken() {
      const options = this.random.chance(0.3) ? { signal: this.signal() } : undefined;
      const operation = this.operation();
      return this.breaker.execute(({ signal }) => operation({ ...ATTEMPT, signal }), options);
    },
  ],
]);

const ATTEMPT = { attempt: 1, retries: 0, idempotencyKey: "none" };
