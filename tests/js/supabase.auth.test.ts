import type { AuthChangeEvent, Session } from "@supabase/supabase-js";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { ResilientFetchOptions } from "../../js/supabase.ts";
import type { RateLimitConfig } from "../../js/types.ts";
import { type Bench, bench, clientFor, ok, refused } from "./supabase.support.ts";

const REFRESH = "POST /auth/v1/token?grant_type=refresh_token";
const TOKEN = "/auth/v1/token";

/** auth-js asks `Date` how long it has been trying: it must see the same time as the host. */
beforeEach(() => {
  // It logs every failed refresh.
  for (const level of ["error", "warn"] as const) vi.spyOn(console, level).mockImplementation(() => {});
  vi.useFakeTimers({ toFake: ["Date"], now: Date.UTC(2026, 0, 1) });
});

afterEach(() => {
  vi.useRealTimers();
});

interface SignedIn extends Bench {
  storage: Map<string, string>;
  events: AuthChangeEvent[];
}

/** Somebody whose access token has expired, as after lunch. */
async function signedIn(
  config: Partial<RateLimitConfig> = {},
  options: ResilientFetchOptions = {},
): Promise<SignedIn> {
  const storage = new Map<string, string>([["session", JSON.stringify(session(-60))]]);
  const at = await bench(config, options, {
    auth: {
      persistSession: true,
      storageKey: "session",
      storage: {
        getItem: (key: string) => storage.get(key) ?? null,
        setItem: (key: string, value: string) => void storage.set(key, value),
        removeItem: (key: string) => void storage.delete(key),
      },
    },
  });
  const events: AuthChangeEvent[] = [];
  at.client.auth.onAuthStateChange((event) => void events.push(event));
  return { ...at, storage, events };
}

function session(expiresIn: number): Session {
  const seconds = Math.floor(Date.now() / 1000) + expiresIn;
  const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString("base64url");
  return {
    access_token: `${part({ alg: "HS256", typ: "JWT" })}.${part({ sub: "1", exp: seconds })}.c2ln`,
    refresh_token: "refresh-1",
    token_type: "bearer",
    expires_in: 3600,
    expires_at: seconds,
    user: { id: "1", aud: "authenticated", app_metadata: {}, user_metadata: {}, created_at: "" },
  };
}

test("without us a 429 on the refresh signs the user out", async () => {
  const { project, play, storage } = await signedIn();
  const plain = clientFor(project, fetch, {
    auth: {
      persistSession: true,
      storageKey: "session",
      storage: {
        getItem: (key) => storage.get(key) ?? null,
        setItem: () => {},
        removeItem: (key) => void storage.delete(key),
      },
    },
  });
  project.on(REFRESH, refused());
  await play(plain.auth.getSession());
  expect(storage.has("session")).toBe(false);
});

test("a refresh that is refused is waited out, and the user stays signed in", async () => {
  const { client, project, play, storage, events } = await signedIn();
  project.on(REFRESH, refused(), refused(5), { status: 420, body: { message: "later" } }, ok(session(3600)));
  const { data, error } = await play(client.auth.getSession());
  expect(error).toBeNull();
  expect(data.session?.expires_at).toBeGreaterThan(Date.now() / 1000);
  // The first pause, the hint, and the third pause.
  expect(project.times(TOKEN)).toEqual([0, 1_000, 6_000, 10_000]);
  expect(storage.has("session")).toBe(true);
  expect(events).toContain("TOKEN_REFRESHED");
  expect(events).not.toContain("SIGNED_OUT");
});

test("one that stays refused keeps the session, with six requests in half a minute", async () => {
  const { client, project, play, storage, events } = await signedIn();
  project.on(REFRESH, {
    status: 429,
    body: { code: "over_request_rate_limit", message: "Request rate limit reached" },
  });
  const { data, error } = await play(client.auth.getSession());
  expect(project.times(TOKEN)).toEqual([0, 1_000, 3_000, 7_000, 15_000, 30_000]);
  expect([data.session, error?.name, error?.status]).toEqual([null, "AuthRetryableFetchError", 503]);
  expect(storage.has("session")).toBe(true);
  expect(events).not.toContain("SIGNED_OUT");
});

test("a page of HTML from Cloudflare is a refusal of the refresh, too", async () => {
  const { client, project, play, storage, events } = await signedIn();
  project.on(REFRESH, {
    status: 429,
    headers: { "content-type": "text/html", "retry-after": "30" },
    body: "<!doctype html><title>Access denied</title> error code: 1015",
  });
  await play(client.auth.getSession());
  expect(project.times(TOKEN)).toEqual([0, 30_000]);
  expect(storage.has("session")).toBe(true);
  expect(events).not.toContain("SIGNED_OUT");
});

test("a server that asks for more than refreshWaitMs is asked once, and auth-js does not come back at once", async () => {
  const { client, project, host, play, storage } = await signedIn();
  const began = host.now();
  project.on(REFRESH, refused(120));
  await play(client.auth.getSession());
  expect(project.count(TOKEN)).toBe(1);
  expect(host.now() - began).toBe(30_000);
  expect(storage.has("session")).toBe(true);
});

test("the synthetic answer is a 503 in JSON, never a 429", async () => {
  const { resilient, project, play } = await bench({}, { refreshWaitMs: 2_500 });
  project.on(REFRESH, refused());
  const response = await play(
    resilient(`${project.url}${TOKEN}?grant_type=refresh_token`, { method: "POST", body: "{}" }),
  );
  expect(response.status).toBe(503);
  expect(response.headers.get("content-type")).toContain("application/json");
  expect(await response.json()).toMatchObject({
    code: "RATE_LIMIT_MAX_RETRIES_EXCEEDED",
    message: "The system is temporarily overloaded. Please try again in a few moments.",
    details: "The refresh of the session was refused. The session is kept.",
    hint: null,
  });
  // The last wait is cut to what is left.
  expect(project.times(TOKEN)).toEqual([0, 1_000, 2_500]);
});

test("a refresh that is given as a Request is sent again, with its body", async () => {
  const { resilient, project, play } = await bench();
  project.on(REFRESH, refused(), ok({}));
  const headers = { "content-type": "application/json" };
  const init = { method: "POST", headers, body: '{"refresh_token":"r"}' };
  const url = `${project.url}${TOKEN}?grant_type=refresh_token`;
  expect((await play(resilient(new Request(url, init)))).status).toBe(200);
  expect(project.seen.map(({ body }) => body)).toEqual([init.body, init.body]);
});

test("one whose body cannot be sent again is a 503 at once", async () => {
  const { resilient, project, host } = await bench();
  project.on(REFRESH, refused());
  const init = { method: "POST", body: new Blob(["{}"]).stream(), duplex: "half" } as RequestInit;
  const response = await resilient(`${project.url}${TOKEN}?grant_type=refresh_token`, init);
  expect([response.status, project.count(TOKEN), host.sleeping]).toEqual([503, 1, 0]);
});

test("with refreshWaitMs 0 a refusal is a 503 at once", async () => {
  const { resilient, project, host } = await bench({}, { refreshWaitMs: 0 });
  project.on(REFRESH, refused());
  const response = await resilient(`${project.url}${TOKEN}?grant_type=refresh_token`, {
    method: "POST",
    body: "{}",
  });
  expect([response.status, project.count(TOKEN), host.sleeping]).toEqual([503, 1, 0]);
});

test("an open circuit does not stop a refresh, and the user stays signed in", async () => {
  const { client, project, service, play, storage, events } = await signedIn();
  service.isolateCircuit();
  project.on(REFRESH, ok(session(3600)));
  const { data, error, status } = await play(
    client
      .from("contacts")
      .select()
      .then(async (result) => ({ ...result, ...(await client.auth.getSession()) })),
  );
  expect(status).toBe(429);
  expect([error, data.session === null]).toEqual([null, false]);
  expect(project.seen.map(({ path }) => path)).toEqual([`${TOKEN}?grant_type=refresh_token`]);
  expect(storage.has("session")).toBe(true);
  expect(events).not.toContain("SIGNED_OUT");
});

test("a cooldown does not hold a refresh", async () => {
  const { client, project, host, play } = await signedIn();
  project.on("GET /rest/v1/contacts", refused(40), ok()).on(REFRESH, ok(session(3600)));
  await play(client.auth.getSession());
  const began = host.now();
  const read = client.from("contacts").select().then();
  await vi.waitFor(() => expect(host.sleeping).toBeGreaterThan(0));
  const { data } = await client.auth.refreshSession();
  expect(data.session).not.toBeNull();
  expect(host.now()).toBe(began);
  expect((await play(read)).status).toBe(200);
});

test("refreshes that are refused open no circuit, and count nowhere", async () => {
  const { client, project, service, play } = await signedIn({ circuitBreakerThreshold: 1 });
  project.on(REFRESH, refused(1)).on("GET /rest/v1/contacts", ok());
  await play(client.auth.getSession());
  expect(service.getCircuitState().state).toBe("closed");
  expect(service.getMetrics().calls).toBe(0);
});

test("a service that is switched off still keeps the session, and nothing else", async () => {
  const { resilient, project, play } = await bench({ enabled: false });
  project.on(REFRESH, refused(2), ok({})).on("GET /rest/v1/contacts", refused());
  const url = `${project.url}${TOKEN}?grant_type=refresh_token`;
  expect((await play(resilient(url, { method: "POST", body: "{}" }))).status).toBe(200);
  expect(project.times(TOKEN)).toEqual([0, 2_000]);
  const response = await resilient(`${project.url}/rest/v1/contacts`);
  expect([response.status, response.headers.has("x-tidegate-code")]).toEqual([429, false]);
});

test("an abort during the wait for a refresh rejects with its reason", async () => {
  const { resilient, project, host } = await bench();
  project.on(REFRESH, refused());
  const stop = new AbortController();
  const answer = resilient(`${project.url}${TOKEN}?grant_type=refresh_token`, {
    method: "POST",
    body: "{}",
    signal: stop.signal,
  });
  await vi.waitFor(() => expect(host.sleeping).toBe(1));
  stop.abort("left");
  await expect(answer).rejects.toBe("left");
  expect(project.count(TOKEN)).toBe(1);
});

test("after an abort nothing is sent, even by a fetch that knows no signals", async () => {
  const stop = new AbortController();
  const sent: string[] = [];
  const fetch = async (): Promise<Response> => {
    sent.push("refresh");
    return new Response("{}", { status: 429 });
  };
  const { resilient, host } = await bench({}, { fetch });
  const answer = resilient("https://p.supabase.co/auth/v1/token?grant_type=refresh_token", {
    method: "POST",
    signal: stop.signal,
  });
  await vi.waitFor(() => expect(host.sleeping).toBe(1));
  stop.abort();
  await expect(answer).rejects.toMatchObject({ name: "AbortError" });
  expect(sent.length).toBe(1);
});

test("a refresh that is not refused is not touched", async () => {
  const { client, project, play, storage, events } = await signedIn();
  project.on(REFRESH, {
    status: 400,
    body: { error_code: "refresh_token_not_found", msg: "Invalid Refresh Token" },
  });
  const { error } = await play(client.auth.getSession());
  expect(error?.status).toBe(400);
  expect(project.count(TOKEN)).toBe(1);
  // That is the end of the session indeed.
  expect(storage.has("session")).toBe(false);
  expect(events).toContain("SIGNED_OUT");
});

test("it is protected without the core as well", async () => {
  vi.stubGlobal("WebAssembly", undefined);
  vi.resetModules();
  const { RateLimitService } = await import("../../js/index.ts");
  const { resilientFetch } = await import("../../js/supabase.ts");
  const { TestHost } = await import("./supabase.support.ts");
  const host = new TestHost();
  const answers = [429, 420, 429];
  const sent: number[] = [];
  const fetch = async (): Promise<Response> => {
    sent.push(host.now());
    return new Response("{}", { status: answers.shift() ?? 200, headers: { "retry-after": "9" } });
  };
  const resilient = resilientFetch(new RateLimitService({ logLevel: "silent" }, host), { fetch, host });
  const refresh = resilient("https://p.supabase.co/auth/v1/token?grant_type=refresh_token", {
    method: "POST",
  });
  expect((await host.play(refresh)).status).toBe(200);
  expect(sent.map((time) => time - (sent[0] ?? 0))).toEqual([0, 1_000, 3_000, 7_000]);
});

test("other ways to get a token, and everything else of auth, pass through untouched", async () => {
  const { client, project, service } = await bench();
  service.isolateCircuit();
  project.on("POST /auth/v1/token?grant_type=password", refused(9)).on("POST /auth/v1/signup", refused());
  const { error } = await client.auth.signInWithPassword({ email: "a@example.com", password: "secret" });
  expect(error?.status).toBe(429);
  await client.auth.signUp({ email: "a@example.com", password: "secret" });
  expect(project.seen.length).toBe(2);
});

test("a limit on e-mails does not hold calls for data", async () => {
  const { client, project, service, host } = await signedIn({ circuitBreakerThreshold: 1 });
  project.on("POST /auth/v1/otp", {
    status: 429,
    headers: { "retry-after": "60", "x-supabase-api-version": "2024-01-01" },
    body: { code: "over_email_send_rate_limit", message: "email rate limit exceeded" },
  });
  project.on("GET /rest/v1/contacts", ok()).on(REFRESH, ok(session(3600)));
  for (let i = 0; i < 3; i++) {
    const { error } = await client.auth.signInWithOtp({ email: "a@example.com" });
    expect([error?.status, error?.code]).toEqual([429, "over_email_send_rate_limit"]);
  }
  expect(project.count("/auth/v1/otp")).toBe(3);
  const { status } = await client.from("contacts").select();
  expect(status).toBe(200);
  expect(host.sleeping).toBe(0);
  expect(service.getCircuitState().consecutiveFailures).toBe(0);
});
