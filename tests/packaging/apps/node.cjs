// The same in CommonJS.
const assert = require("node:assert/strict");
const { coreState, RateLimitService } = require("tidegate");
const { resilientDataProvider } = require("tidegate/react-admin");
const { resilientFetch } = require("tidegate/supabase");

async function main() {
  assert.equal(coreState(), "idle");
  assert.equal(await new RateLimitService().executeWithRetry(async () => 5), 5);
  assert.equal(coreState(), "ready");
  assert.equal(typeof resilientDataProvider, "function");
  assert.equal(typeof resilientFetch, "function");
  assert.equal(
    require("tidegate/external").RateLimitService,
    RateLimitService,
    "one class, whatever the entry",
  );
}

main();
