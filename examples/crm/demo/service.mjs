import { RateLimitService } from "tidegate";

/**
 * The rate limit service of an import without anybody in front of it. What differs from the defaults, and why:
 *
 * - The circuit opens after 20 refusals in a row instead of 5, and is tried again after 2 s instead of 60. Nobody says
 *   here when to come back: react-admin's HttpError has no headers to find Retry-After in. So each of ten rows in
 *   flight finds out by its own first backoff of 100 ms, and 5 refusals are over in half a second: less than the
 *   window of most limits. An import waits a circuit out whatever it is set to; one request in 2 s is no load, and
 *   costs at most those 2 s more than a long window.
 * - A hint of up to ten minutes is waited for inside the service. Longer ones come back to the importer, which waits
 *   too, but holds the row meanwhile.
 * - Creating a contact may be repeated, because `import_key` is unique; so transient failures are retried here.
 *
 * @param {{ verbose: boolean }} options
 */
export function createImportService({ verbose }) {
  return new RateLimitService({
    circuitBreakerThreshold: 20,
    circuitResetMs: 2_000,
    maxRetryAfterMs: 600_000,
    retryTransient: "idempotent",
    // Refusals are what the demonstration is about; its table counts them.
    logLevel: verbose ? "debug" : "silent",
    logger: toStderr,
  });
}

/** The standard output belongs to the demonstration. */
const toStderr = { error: console.error, warn: console.error, info: console.error, debug: console.error };
