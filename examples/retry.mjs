// A call that is refused twice and then succeeds: node examples/retry.mjs
import { isRateLimitError, RateLimitService } from "tidegate";

const service = new RateLimitService({ logLevel: "silent" });
service.on("retry", ({ attempt, delayMs }) =>
  console.log(`attempt ${attempt} refused, next one in ${delayMs} ms`),
);

async function createContact({ attempt, idempotencyKey }) {
  console.log(`attempt ${attempt}, key ${idempotencyKey.slice(0, 8)}…`);
  // What supabase-js resolves with: no exception, and the status beside the error.
  if (attempt < 3) return { data: null, error: { message: "API rate limit exceeded" }, status: 429 };
  return { data: { id: 7, name: "Ada" }, error: null, status: 201 };
}

const { data } = await service.executeWithRetry(createContact, {
  resourceName: "contacts",
  operation: "create",
});
console.log("created", data);

try {
  await service.executeWithRetry(() => Promise.reject(Object.assign(new Error("no"), { status: 429 })), {
    maxRetries: 1,
  });
} catch (error) {
  if (!isRateLimitError(error)) throw error;
  console.log(`${error.code} after ${error.attempts} attempts: ${error.userMessage}`);
}
