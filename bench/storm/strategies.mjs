// What stands between a client and the server. `make({ host })` is called once for each client, in virtual time, and gives
// `(send) => promise`. Options are the libraries' own defaults, or those of their documentation's first example.
import { AdaptiveRetryStrategy, StandardRetryStrategy } from "@smithy/util-retry";
import { ConsecutiveBreaker, circuitBreaker, ExponentialBackoff, handleWhen, retry, wrap } from "cockatiel";
import CircuitBreaker from "opossum";

/** The AWS SDKs' legacy mode: three retries, full jitter over 100, 200, 400 ms. */
const FULL_JITTER = { retries: 3, baseMs: 100 };

export function strategies({ RateLimitService, RateLimiterRegistry }) {
  const service =
    (config) =>
    ({ host }) => {
      const made = new RateLimitService({ logLevel: "silent", ...config }, host);
      return (send) => made.executeWithRetry(send);
    };
  return {
    tidegate: { packages: ["tidegate"], make: service({}) },
    "tidegate, transient too": {
      packages: ["tidegate"],
      // Elsewhere nothing is transient, and it would be the first line again.
      isFor: ({ server }) => server === "queue",
      make: service({ retryTransient: "always" }),
    },
    // As tidegate/react-admin does, where somebody looks at a spinner.
    "tidegate, deadline 10 s": { packages: ["tidegate"], make: service({ callDeadlineMs: 10_000 }) },
    "tidegate with limits": {
      packages: ["tidegate"],
      make: ({ host }) => {
        const registry = new RateLimiterRegistry({ api: LIMITS }, { host, config: { logLevel: "silent" } });
        return (send) => registry.withRateLimit("api", "default", send);
      },
    },
    "no protection": { packages: [], make: () => (send) => send() },
    "retry, full jitter": { packages: [], make: () => fullJitter },
    "cockatiel retry": { packages: ["cockatiel"], make: () => executed(cockatielRetry()) },
    "cockatiel breaker": { packages: ["cockatiel"], make: () => executed(cockatielBreaker()) },
    "cockatiel both": {
      packages: ["cockatiel"],
      make: () => executed(wrap(cockatielRetry(), cockatielBreaker())),
    },
    opossum: {
      packages: ["opossum"],
      make: () => {
        const breaker = new CircuitBreaker((send) => send());
        return (send) => breaker.fire(send);
      },
    },
    "AWS standard": {
      packages: ["@smithy/util-retry"],
      make: () => smithy(new StandardRetryStrategy(async () => 3)),
    },
    "AWS adaptive": {
      packages: ["@smithy/util-retry"],
      // It lets calls wait without a bound, and asks for all of them again whenever one may go: more load never ends.
      isFor: ({ load }) => load < 1,
      make: () => smithy(new AdaptiveRetryStrategy(async () => 3)),
    },
  };
}

/** Twice of what a client wants on the average, two at a time: what somebody sets who knows his own application. */
const LIMITS = { concurrency: 2, rateLimit: { default: { maxRequests: 2, windowMs: 1_000 } } };

async function fullJitter(send) {
  for (let attempt = 0; ; attempt++) {
    try {
      return await send();
    } catch (error) {
      if (attempt === FULL_JITTER.retries || !isWorthAnother(error)) throw error;
      await new Promise((resolve) => setTimeout(resolve, Math.random() * FULL_JITTER.baseMs * 2 ** attempt));
    }
  }
}

const executed = (policy) => (send) => policy.execute(send);

const cockatielRetry = () =>
  retry(handleWhen(isWorthAnother), { maxAttempts: 3, backoff: new ExponentialBackoff() });

const cockatielBreaker = () =>
  circuitBreaker(handleWhen(isWorthAnother), { halfOpenAfter: 10_000, breaker: new ConsecutiveBreaker(5) });

/** As the SDK's retry middleware drives them. */
function smithy(strategy) {
  return async (send) => {
    let token = await strategy.acquireInitialRetryToken("");
    for (;;) {
      try {
        const value = await send();
        strategy.recordSuccess(token);
        return value;
      } catch (error) {
        // Rejects when there are no attempts or no tokens left; the SDK then throws what the server said.
        token = await strategy.refreshRetryTokenForRetry(token, errorInfo(error)).catch(() => {
          throw error;
        });
        await new Promise((resolve) => setTimeout(resolve, token.getRetryDelay()));
      }
    }
  };
}

function errorInfo(error) {
  const errorType = error.status === 429 ? "THROTTLING" : "TRANSIENT";
  const seconds = Number(error.headers?.["retry-after"]);
  const hint = seconds > 0 ? { retryAfterHint: new Date(Date.now() + seconds * 1_000) } : {};
  return { error, errorType, ...hint };
}

/** All failures there are here: a refusal, and an answer that did not come in time. */
function isWorthAnother(error) {
  return error.status === 429 || error.name === "TimeoutError";
}
