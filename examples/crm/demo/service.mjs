import { RateLimitService } from "tidegate";
import { importSettings } from "../import/settings.mjs";

/**
 * The rate limit service of an import without anybody in front of it. So a hint of up to ten minutes is waited for
 * inside the service. Longer ones come back to the importer, which waits too, but holds the row meanwhile.
 *
 * @param {{ verbose: boolean }} options
 */
export function createImportService({ verbose }) {
  return new RateLimitService({
    ...importSettings,
    maxRetryAfterMs: 600_000,
    // Refusals are what the demonstration is about; its table counts them.
    logLevel: verbose ? "debug" : "silent",
    logger: toStderr,
  });
}

/** The standard output belongs to the demonstration. */
const toStderr = { error: console.error, warn: console.error, info: console.error, debug: console.error };
