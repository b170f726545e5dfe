import { expect, test } from "vitest";
import { RateLimitService } from "../../js/index.ts";
import { resilientFetch, resilientHttpClient } from "../../js/supabase.ts";
import type { RateLimitConfig } from "../../js/types.ts";
import { bench, ok, TestHost } from "./supabase.support.ts";

const BUSY = { status: 503, headers: { "retry-after": "0" }, body: { message: "busy" } };
const MODES = ["idempotent", "always"] as const;

test.each(MODES)(
  "a read that is answered 503 is repeated by postgrest-js alone with retryTransient %s",
  async (mode) => {
    const { client, project, service, play } = await bench({ retryTransient: mode });
    project.on("GET /rest/v1/contacts", BUSY);
    expect((await play(client.from("contacts").select())).status).toBe(503);
    expect(project.count("/rest/v1/contacts")).toBe(4);
    expect(service.getMetrics()).toMatchObject({
      calls: 4,
      attempts: 4,
      failures: 4,
      retries: 0,
      throttled: 0,
    });
  },
);

test.each(MODES)("so is one with HEAD that is answered 520, with retryTransient %s", async (mode) => {
  const { client, project, service, play } = await bench({ retryTransient: mode });
  project.on("HEAD /rest/v1/contacts", { ...BUSY, status: 520 }, ok());
  await play(client.from("contacts").select("*", { count: "exact", head: true }));
  expect(project.count("/rest/v1/contacts")).toBe(2);
  expect(service.getMetrics()).toMatchObject({ calls: 2, retries: 0 });
});

/** A service whose requests are never answered, and what was sent. */
function unanswering(config: Partial<RateLimitConfig>): {
  service: RateLimitService;
  host: TestHost;
  sent: string[];
  fetch: typeof fetch;
} {
  const host = new TestHost();
  const sent: string[] = [];
  const service = new RateLimitService({ jitter: "none", logLevel: "silent", ...config }, host);
  const fetch = async (_: unknown, init?: RequestInit): Promise<never> => {
    sent.push(init?.method ?? "GET");
    if (config.attemptTimeoutMs !== undefined) await new Promise(() => {});
    throw new TypeError("Failed to fetch");
  };
  return { service, host, sent, fetch };
}

test.each(MODES)(
  "a read without an answer is passed on at once with retryTransient %s, and is silence",
  async (mode) => {
    const { service, host, sent, fetch } = unanswering({ retryTransient: mode });
    const verdicts: string[] = [];
    service.on("attempt", ({ verdict }) => verdicts.push(verdict));
    const resilient = resilientFetch(service, { fetch });
    for (let i = 0; i < 3; i++) {
      await expect(resilient("https://p.supabase.co/rest/v1/contacts")).rejects.toThrow("Failed to fetch");
    }
    expect([sent.length, host.sleeping]).toEqual([3, 0]);
    expect(verdicts).toEqual(["transient", "transient", "transient"]);
    expect(service.getCircuitState().consecutiveFailures).toBe(1);
  },
);

test.each(MODES)(
  "nor is one retried that took longer than attemptTimeoutMs, with retryTransient %s",
  async (mode) => {
    const { service, host, sent, fetch } = unanswering({ retryTransient: mode, attemptTimeoutMs: 500 });
    const answer = host.play(resilientFetch(service, { fetch })("https://p.supabase.co/rest/v1/contacts"));
    await expect(answer).rejects.toMatchObject({ name: "TimeoutError" });
    expect(sent).toEqual(["GET"]);
  },
);

test.each([
  [
    "fetch",
    (service: RateLimitService, fetch: typeof globalThis.fetch) => resilientFetch(service, { fetch }),
  ],
  [
    "client",
    (service: RateLimitService, fetch: typeof globalThis.fetch) => resilientHttpClient(service, { fetch }),
  ],
] as const)(
  "a write without an answer is sent once by our %s even with retryTransient always",
  async (_, make) => {
    for (const [method, times] of [
      ["POST", 1],
      ["PATCH", 1],
      ["PUT", 4],
      ["DELETE", 4],
    ] as const) {
      const { service, host, sent, fetch } = unanswering({ retryTransient: "always" });
      const answer: Promise<unknown> = make(service, fetch)("https://p.supabase.co/rest/v1/contacts", {
        method,
        body: "{}",
      });
      await expect(host.play(answer)).rejects.toThrow("Failed to fetch");
      expect(sent).toEqual(Array(times).fill(method));
    }
  },
);

test("a write that took longer than attemptTimeoutMs may have been done: it is sent once", async () => {
  const { service, host, sent, fetch } = unanswering({ retryTransient: "always", attemptTimeoutMs: 500 });
  const resilient = resilientFetch(service, { fetch });
  const answer = resilient("https://p.supabase.co/functions/v1/invite", { method: "POST", body: "{}" });
  await expect(host.play(answer)).rejects.toMatchObject({ name: "TimeoutError" });
  expect(sent).toEqual(["POST"]);
});

test("a write that was answered is retried with retryTransient always: that is what it says", async () => {
  const { client, project, play } = await bench({ retryTransient: "always" });
  project.on("POST /rest/v1/contacts", 502, { status: 201 });
  expect((await play(client.from("contacts").insert({ name: "Ada" }))).status).toBe(201);
  expect(project.count("/rest/v1/contacts")).toBe(2);
});

test("a file that is not answered is ours to ask for again: storage-js does not", async () => {
  const { resilient, project, play } = await bench({ retryTransient: "idempotent" });
  project.on("GET /storage/v1/object/avatars/a.png", "lost", 503, ok("image"));
  const response = await play(resilient(`${project.url}/storage/v1/object/avatars/a.png`));
  expect(await response.text()).toBe("image");
});

test("the context is told by a symbol that another copy of the package knows", async () => {
  const { service, host, sent, fetch } = unanswering({ retryTransient: "always" });
  const context = { [Symbol.for("tidegate.final")]: () => true };
  const call = service.executeWithRetry(() => fetch("https://example.com"), context);
  await expect(host.play(call)).rejects.toThrow("Failed to fetch");
  expect(sent.length).toBe(1);
});
