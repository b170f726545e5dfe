import { expect, test, vi } from "vitest";
import { RateLimitService } from "../../js/index.ts";
import { resilientFetch } from "../../js/supabase.ts";
import { ManualHost } from "../../js/testing.ts";
import { bench, ok, refused } from "./supabase.support.ts";

const open = { maxRetries: 0, circuitBreakerThreshold: 1 };

test("storage that refuses does not hold the tables, nor the other way round", async () => {
  const { client, project, resilient } = await bench(open);
  project.on("POST /storage/v1/object/list/avatars", refused(30)).on("GET /rest/v1/contacts", ok());
  const { error } = await client.storage.from("avatars").list();
  expect(error).toMatchObject({ status: 429, statusCode: "RATE_LIMIT_CIRCUIT_OPEN" });
  expect((await client.from("contacts").select()).status).toBe(200);

  resilient.services.get("storage")?.resetCircuit();
  resilient.services.get("rest")?.isolateCircuit();
  project.on("POST /storage/v1/object/list/avatars", ok());
  expect((await client.storage.from("avatars").list()).error).toBeNull();
  expect((await client.from("contacts").select()).status).toBe(429);
});

test("each Edge Function has limits of its own", async () => {
  const { client, project, resilient } = await bench(open);
  project.on("POST /functions/v1/merge", refused(30)).on("POST /functions/v1/invite/now", ok({}));
  project.on("GET /rest/v1/contacts", ok());
  expect((await client.functions.invoke("merge")).error).not.toBeNull();
  expect((await client.functions.invoke("invite/now")).error).toBeNull();
  expect((await client.from("contacts").select()).error).toBeNull();
  expect([...resilient.services.keys()]).toEqual(["rest", "functions/merge", "functions/invite"]);
});

test("an Edge Function that refuses is retried with its hint", async () => {
  const { client, project, play } = await bench();
  project.on("POST /functions/v1/merge", refused(2), ok({ merged: 3 }));
  const { data } = await play(client.functions.invoke("merge", { body: { a: 1 } }));
  expect(data).toEqual({ merged: 3 });
  expect(project.times("/functions/v1/merge")).toEqual([0, 2_000]);
});

test("the Response in the error of an Edge Function is recognised by a call around it", async () => {
  const { client, project, service, play } = await bench({ maxRetries: 1 });
  project.on("POST /functions/v1/merge", refused(1));
  const { error } = await play(service.executeWithRetry(() => client.functions.invoke("merge")));
  expect(error.context.headers.get("x-tidegate-code")).toBe("RATE_LIMIT_MAX_RETRIES_EXCEEDED");
  expect(project.count("/functions/v1/merge")).toBe(2);
  expect(service.getMetrics()).toMatchObject({ calls: 1, attempts: 1, throttled: 0, retries: 0 });
  expect(service.getCircuitState().consecutiveFailures).toBe(0);
});

test("a stored file is uploaded again after a refusal, and counted under its bucket", async () => {
  const { client, project, resilient, play } = await bench();
  project.on("POST /storage/v1/object/avatars/a.png", refused(1), ok({ Id: "1", Key: "avatars/a.png" }));
  const { error } = await play(client.storage.from("avatars").upload("a.png", new Blob(["image"])));
  expect(error).toBeNull();
  expect(project.seen.map(({ body }) => body.includes("image"))).toEqual([true, true]);
  expect(resilient.services.get("storage")?.getMetrics().groups).toMatchObject([
    { resourceName: "avatars", operation: "POST", attempts: 2 },
  ]);
});

test("siblings are told of when they are made, and Edge Functions beyond a hundred share one", async () => {
  const made: string[] = [];
  const { resilient } = await bench({}, { onService: (name) => made.push(name), fetch: answering });
  for (let i = 0; i < 150; i++)
    await resilient(`https://p.supabase.co/functions/v1/f${i}`, { method: "POST" });
  await resilient("https://p.supabase.co/storage/v1/bucket");
  expect(made.length).toBe(101);
  expect([made[0], made[98], ...made.slice(99)]).toEqual([
    "functions/f0",
    "functions/f98",
    "functions/(others)",
    "storage",
  ]);
  expect(resilient.services.get("functions/(others)")?.getMetrics().calls).toBe(51);
});

test("an onService that throws fails no request", async () => {
  const error = vi.spyOn(console, "error").mockImplementation(() => {});
  const broken = (): never => {
    throw new Error("broken");
  };
  const { resilient } = await bench({}, { onService: broken, fetch: answering });
  expect((await resilient("https://p.supabase.co/functions/v1/merge")).status).toBe(200);
  expect(error).toHaveBeenCalledOnce();
});

test("two clients of one service share its siblings", async () => {
  const service = new RateLimitService({ logLevel: "silent" });
  const [first, second] = [
    resilientFetch(service, { fetch: answering }),
    resilientFetch(service, { fetch: answering }),
  ];
  await first("https://p.supabase.co/storage/v1/bucket");
  await second("https://p.supabase.co/storage/v1/bucket");
  expect(first.services.get("storage")).toBe(second.services.get("storage"));
  expect(first.services.get("storage")?.getMetrics().calls).toBe(2);
});

test("what is no API of Supabase's passes through untouched", async () => {
  const fetch = vi.fn(async () => new Response(null, { status: 429 }));
  const service = new RateLimitService({ logLevel: "silent" });
  service.isolateCircuit();
  const resilient = resilientFetch(service, { fetch });
  const init = { method: "POST" };
  const url = "https://p.supabase.co/realtime/v1/api/broadcast";
  expect((await resilient(url, init)).status).toBe(429);
  expect((await resilient("not an address")).status).toBe(429);
  expect(fetch.mock.calls).toEqual([
    [url, init],
    ["not an address", undefined],
  ]);
});

// ---- RateLimitService.sibling

test("a sibling has the configuration and the host, and circuit and counters of its own", async () => {
  const host = new ManualHost();
  const service = new RateLimitService({ ...open, logLevel: "silent", jitter: "none" }, host);
  const sibling = service.sibling("storage");
  expect(service.sibling("storage")).toBe(sibling);
  expect(service.sibling("other")).not.toBe(sibling);
  await expect(sibling.executeWithRetry(() => Promise.reject({ status: 429 }))).rejects.toThrow();
  expect(sibling.getCircuitState()).toMatchObject({ state: "open", lastFailureTime: host.now() });
  expect(service.getCircuitState().state).toBe("closed");
  expect(service.getMetrics().calls).toBe(0);
});

test("a sibling follows updateConfig, except in what it was given", () => {
  const service = new RateLimitService({ logLevel: "silent" });
  const attempts = async (of: RateLimitService): Promise<number> => {
    await of.executeWithRetry(() => Promise.reject({ status: 429, retryAfterMs: 0 })).catch(() => {});
    return of.getMetrics().attempts;
  };
  const follows = service.sibling("follows");
  const stands = service.sibling("stands", { maxRetries: 0 });
  service.updateConfig({ maxRetries: 1, initialDelayMs: 0 });
  return expect(Promise.all([attempts(follows), attempts(stands)])).resolves.toEqual([2, 1]);
});

test("an update that is not legal leaves the siblings as they are, too", () => {
  const service = new RateLimitService({ logLevel: "silent", circuitBreakerThreshold: 1, maxRetries: 0 });
  const sibling = service.sibling("storage");
  expect(() => service.updateConfig({ circuitBreakerThreshold: 0 })).toThrow("circuitBreakerThreshold");
  return sibling
    .executeWithRetry(() => Promise.reject({ status: 429 }))
    .catch(() => expect(sibling.getCircuitState().isOpen).toBe(true));
});

test("siblings end with the service, also those made later", async () => {
  const host = new ManualHost();
  const service = new RateLimitService({ logLevel: "silent" }, host);
  const sibling = service.sibling("storage");
  const waiting = sibling.executeWithRetry(() => Promise.reject({ status: 429, retryAfterMs: 5_000 }));
  const ended = expect(waiting).rejects.toMatchObject({ name: "AbortError" });
  await host.advance(0);
  service.dispose();
  await ended;
  const later = service.sibling("later");
  await expect(later.executeWithRetry(() => Promise.reject({ status: 429 }))).rejects.toEqual({
    status: 429,
  });
});

async function answering(): Promise<Response> {
  return new Response("{}");
}
