// An application whose dependencies bring the ES module and the CommonJS form: two copies, one shared service.
import assert from "node:assert/strict";
import { createRequire } from "node:module";
import * as first from "tidegate";

const second = createRequire(import.meta.url)("tidegate");
assert.notEqual(first.RateLimitService, second.RateLimitService);
assert.notEqual(globalThis[Symbol.for("tidegate/1")], null);

first.rateLimitService.isolateCircuit();
assert.equal(second.rateLimitService.getCircuitState().state, "isolated");
second.rateLimitService.resetCircuit();
assert.equal(first.rateLimitService.getCircuitState().state, "closed");

const strict = new second.RateLimitService({ maxRetries: 0, logLevel: "silent" });
const refused = await strict.executeWithRetry(() => Promise.reject({ status: 429 })).catch((error) => error);
assert(first.isRateLimitError(refused));
