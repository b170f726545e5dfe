import { expect, test, vi } from "vitest";
import { RateLimitService } from "../../js/index.ts";
import { resilientFetch } from "../../js/supabase.ts";

const PROJECT = "https://p.supabase.co";
const REFRESH = `${PROJECT}/auth/v1/token?grant_type=refresh_token`;

function guarding(options: Parameters<typeof resilientFetch>[1]): ReturnType<typeof resilientFetch> {
  return resilientFetch(new RateLimitService({ logLevel: "silent" }), options);
}

test("a refresh is not asked for for ever where a sleep returns at once and no clock moves", async () => {
  const fetch = vi.fn(async () => new Response("", { status: 429, headers: { "retry-after": "10" } }));
  const host = { now: () => 0, sleep: vi.fn(async () => {}) };
  const resilient = guarding({ fetch, host, refreshWaitMs: 25_000 });
  expect((await resilient(REFRESH, { method: "POST", body: "{}" })).status).toBe(503);
  expect(host.sleep.mock.calls.map(([ms]: unknown[]) => ms)).toEqual([10_000, 10_000, 5_000]);
  expect(fetch).toHaveBeenCalledTimes(3);
});

test("an onService that throws is logged with its error", async () => {
  const log = vi.spyOn(console, "error").mockImplementation(() => {});
  const error = new Error("broken");
  const onService = (): never => {
    throw error;
  };
  const resilient = guarding({ fetch: async () => new Response("{}"), onService });
  expect((await resilient(`${PROJECT}/functions/v1/merge`)).status).toBe(200);
  expect(log.mock.calls).toEqual([["[RateLimit] onService threw", error]]);
});
