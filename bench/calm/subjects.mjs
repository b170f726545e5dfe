// Who guards a call, each behind the same functions; an entry that is missing is work that the library does not do.
//
// `call()` awaits an operation under guard once, as an application writes it at the place of the call: with what is set up
// once set up outside, and what each call passes made for each call. Configured alike where there is something to configure:
// 3 retries from 100 ms, on a refusal with 429; a circuit that opens after 5 refusals in a row, for a minute.

const isRefusal = (error) => error?.status === 429;

/** Answers at once, as nobody's network does: what remains is the cost of the guard. A `Response` is made for each request. */
const answering = async () => new Response("{}", { status: 200, headers: HEADERS });
const HEADERS = { "content-type": "application/json" };
const URL_OF_ROWS = "https://project.supabase.co/rest/v1/contacts";

export const subjects = {
  bare: {
    does: "nothing",
    packages: [],
    async load() {
      return { calls: (operation) => () => operation(), requests: () => () => answering(URL_OF_ROWS) };
    },
  },
  "hand-written": {
    does: "retries, Retry-After, a breaker by refusals in a row, abort: bench/calm/handwritten.ts",
    packages: [],
    async load() {
      const { Guard } = await import("./handwritten.ts");
      return {
        calls(operation) {
          const guard = new Guard();
          return () => guard.execute(operation);
        },
        requests() {
          const guard = new Guard();
          return () => guard.execute(() => thrown(answering(URL_OF_ROWS)));
        },
      };
    },
  },
  tidegate: {
    does: "retries, hints, a circuit, a shared cooldown, a retry budget, metrics",
    packages: ["tidegate"],
    async load() {
      const { RateLimitService } = await import("tidegate");
      const { resilientFetch } = await import("tidegate/supabase");
      return {
        calls(operation) {
          const service = new RateLimitService();
          return () => service.executeWithRetry(operation);
        },
        callsWithContext(operation) {
          const service = new RateLimitService();
          return () => service.executeWithRetry(operation, { resourceName: "contacts", operation: "create" });
        },
        requests() {
          const fetch = resilientFetch(new RateLimitService(), { fetch: answering });
          return () => fetch(URL_OF_ROWS);
        },
      };
    },
  },
  cockatiel: {
    does: "retries, a breaker by failures in a row",
    packages: ["cockatiel"],
    async load() {
      const { ConsecutiveBreaker, circuitBreaker, ExponentialBackoff, handleWhen, retry, wrap } =
        await import("cockatiel");
      const make = () => {
        const policy = handleWhen(isRefusal);
        const retrying = retry(policy, {
          maxAttempts: 3,
          backoff: new ExponentialBackoff({ initialDelay: 100 }),
        });
        const breaking = circuitBreaker(policy, {
          halfOpenAfter: 60_000,
          breaker: new ConsecutiveBreaker(5),
        });
        return wrap(retrying, breaking);
      };
      return {
        calls(operation) {
          const policy = make();
          return () => policy.execute(operation);
        },
        requests() {
          const policy = make();
          return () => policy.execute(() => thrown(answering(URL_OF_ROWS)));
        },
      };
    },
  },
  opossum: {
    does: "a breaker by the share of failures; no retries. Without its timeout, which would be a timer for each call",
    packages: ["opossum"],
    async load() {
      const { default: CircuitBreaker } = await import("opossum");
      const options = { timeout: false, resetTimeout: 60_000, errorFilter: (error) => !isRefusal(error) };
      return {
        calls(operation) {
          const breaker = new CircuitBreaker(operation, options);
          return () => breaker.fire();
        },
      };
    },
  },
  "p-retry": {
    does: "retries; no breaker",
    packages: ["p-retry"],
    async load() {
      const { default: pRetry } = await import("p-retry");
      return {
        calls(operation) {
          const shouldRetry = ({ error }) => isRefusal(error);
          return () => pRetry(operation, { retries: 3, minTimeout: 100, shouldRetry });
        },
      };
    },
  },
  effect: {
    does: "Effect.retry with a schedule, by runPromise; no breaker",
    packages: ["effect"],
    async load() {
      const [Effect, Schedule] = await Promise.all([import("effect/Effect"), import("effect/Schedule")]);
      return {
        calls(operation) {
          const policy = { schedule: Schedule.exponential("100 millis"), times: 3, while: isRefusal };
          const asked = { try: operation, catch: (error) => error };
          return () => Effect.runPromise(Effect.retry(Effect.tryPromise(asked), policy));
        },
      };
    },
  },
  ky: {
    does: "a client of its own around fetch: retries with hints; no breaker",
    packages: ["ky"],
    async load() {
      const { default: ky } = await import("ky");
      return {
        requests() {
          const client = ky.create({ fetch: answering, retry: { limit: 3 }, timeout: false });
          return () => client(URL_OF_ROWS);
        },
      };
    },
  },
};

/** Fetch resolves with a refusal: whoever retries on what is thrown has to throw it. */
async function thrown(pending) {
  const response = await pending;
  if (response.ok) return response;
  throw Object.assign(new Error(`HTTP ${response.status}`), {
    status: response.status,
    headers: response.headers,
  });
}
