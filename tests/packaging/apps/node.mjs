// An application in Node, as an ES module: no init, no configuration.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { coreState, isRateLimitError, RateLimitError, RateLimitService, rateLimitService } from "tidegate";
import { resilientDataProvider } from "tidegate/react-admin";
import { resilientFetch, resilientHttpClient } from "tidegate/supabase";

assert.equal(coreState(), "idle");
assert.equal(await rateLimitService.executeWithRetry(() => 5), 5);
assert.equal(coreState(), "ready");

const service = new RateLimitService({ maxRetries: 0, logLevel: "silent" });
const refused = await service.executeWithRetry(() => Promise.reject({ status: 429 })).catch((error) => error);
assert(refused instanceof RateLimitError);
assert(isRateLimitError(refused));
assert.equal(refused.code, "RATE_LIMIT_MAX_RETRIES_EXCEEDED");

const expected = Symbol.dispose === undefined ? "undefined" : "function";
assert.equal(typeof service[Symbol.dispose], expected, "`using` works where the platform has it");

assert.equal(typeof resilientDataProvider, "function");
assert.equal(typeof resilientFetch, "function");
assert.equal(typeof resilientHttpClient, "function");

const wasm = await readFile(createRequire(import.meta.url).resolve("tidegate/core.wasm"));
assert(WebAssembly.validate(wasm));
