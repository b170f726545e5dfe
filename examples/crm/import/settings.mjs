/**
 * What an import wants from the rate limit service that differs from the defaults, in the page as without one:
 *
 * - The circuit opens after 20 refusals in a row instead of 5, and is tried again after 2 s instead of 60. Nobody says
 *   here when to come back: react-admin's HttpError has no headers to find Retry-After in. So each of ten rows in
 *   flight finds out by its own first backoff of 100 ms, and 5 refusals are over in half a second: less than the
 *   window of most limits. An import waits a circuit out whatever it is set to; one request in 2 s is no load, and
 *   costs at most those 2 s more than a long window.
 * - Whatever the importer creates may be created again, because `import_key` is unique; so transient failures are
 *   retried inside the service.
 *
 * @satisfies {Partial<import("tidegate").RateLimitConfig>}
 */
export const importSettings = {
  circuitBreakerThreshold: 20,
  circuitResetMs: 2_000,
  retryTransient: /** @type {const} */ ("idempotent"),
};
