import postgrestProvider, { defaultPrimaryKeys, defaultSchema } from "@raphiniert/ra-data-postgrest";
import { fetchUtils } from "ra-core";
import { supabaseDataProvider, supabaseHttpClient } from "ra-supabase-core";
import { afterEach, expect, test, vi } from "vitest";
import { isRateLimitError, RateLimitError, RateLimitService } from "../../js/index.ts";
import {
  type HttpClient,
  HttpRateLimitError,
  type ResilientHttpClientOptions,
  resilientHttpClient,
} from "../../js/supabase.ts";
import type { RateLimitConfig } from "../../js/types.ts";
import {
  type Bench,
  bench,
  clientFor,
  headersOf,
  ok,
  Project,
  refused,
  TestHost,
} from "./supabase.support.ts";

const PAGE = {
  pagination: { page: 1, perPage: 10 },
  sort: { field: "id", order: "ASC" as const },
  filter: {},
};
const ADA = { id: 1, name: "Ada" };

/** An address, and the client that is asked for it. */
async function httpBench(
  config: Partial<RateLimitConfig> = {},
  options: ResilientHttpClientOptions = {},
): Promise<Bench & { httpClient: HttpClient; contacts: string }> {
  const at = await bench(config);
  const httpClient = resilientHttpClient(
    at.service,
    options.httpClient ? options : { fetch: at.host.fetch, ...options },
  );
  return { ...at, httpClient, contacts: `${at.project.url}/rest/v1/contacts` };
}

afterEach(() => {
  vi.restoreAllMocks();
});

test("ra-data-postgrest over ours: lists, creates, updates and deletes, with the headers that it would send", async () => {
  const { project, httpClient } = await httpBench();
  project.on("GET /contacts", { status: 200, headers: { "content-range": "0-0/1" }, body: [ADA] });
  project
    .on("POST /contacts", { status: 201, body: ADA })
    .on("PATCH /contacts", ok(ADA))
    .on("DELETE /contacts", ok(ADA));
  const use = async (client: HttpClient | typeof fetchUtils.fetchJson): Promise<unknown[]> => {
    const provider = postgrestProvider({
      apiUrl: project.url,
      httpClient: client as (url: string, options: unknown) => Promise<unknown>,
      defaultListOp: "eq",
      primaryKeys: defaultPrimaryKeys,
      schema: defaultSchema,
    });
    return [
      await provider.getList("contacts", PAGE),
      await provider.create("contacts", { data: { name: "Ada" } }),
      await provider.update("contacts", { id: 1, data: { name: "Ada" }, previousData: { id: 1, name: "" } }),
      await provider.delete("contacts", { id: 1, previousData: ADA }),
    ];
  };
  const answers = await use(httpClient);
  const sent = project.seen.splice(0);
  expect(answers).toEqual(await use(fetchUtils.fetchJson));
  expect(sent.map(({ headers, body }) => ({ headers, body }))).toEqual(
    project.seen.map(({ headers, body }) => ({ headers, body })),
  );
});

test("a refused create is written once, after what Retry-After says", async () => {
  const { project, httpClient, contacts, play } = await httpBench();
  project.on("POST /rest/v1/contacts", refused(7), { status: 201, body: ADA });
  const init = {
    method: "POST",
    headers: new Headers({ Prefer: "return=representation" }),
    body: '{"name":"Ada"}',
  };
  const { status, json, body } = await play(httpClient(contacts, init));
  expect([status, json, body]).toEqual([201, ADA, JSON.stringify(ADA)]);
  expect(project.times("/rest/v1/contacts")).toEqual([0, 7_000]);
  expect([...init.headers]).toEqual([["prefer", "return=representation"]]);
});

test("a delay that stands in the body is waited out, also in prose", async () => {
  const { project, httpClient, contacts, play } = await httpBench();
  project.on("GET /rest/v1/contacts", { status: 429, body: "Rate limited. Try again in 3 seconds." }, ok());
  await play(httpClient(contacts));
  expect(project.times("/rest/v1/contacts")).toEqual([0, 3_000]);
});

test("a refusal that outlasts the retries is an error that react-admin can show", async () => {
  const { project, httpClient, contacts, play } = await httpBench({ maxRetries: 1 });
  project.on("GET /rest/v1/contacts", refused(2));
  const error = await play(httpClient(contacts).catch((error: unknown) => error));
  expect(error).toBeInstanceOf(HttpRateLimitError);
  expect(isRateLimitError(error)).toBe(true);
  expect(error).toMatchObject({
    name: "RateLimitError",
    status: 429,
    message: "The system is temporarily overloaded. Please try again in a few moments.",
    body: { code: "RATE_LIMIT_MAX_RETRIES_EXCEEDED", retryAfterMs: 2_000 },
    attempts: 2,
    resourceName: "contacts",
    operation: "GET",
  });
});

test("an open circuit rejects at once, without a request", async () => {
  const { project, httpClient, contacts, service } = await httpBench();
  service.isolateCircuit();
  await expect(httpClient(contacts)).rejects.toMatchObject({
    status: 429,
    body: { code: "RATE_LIMIT_CIRCUIT_OPEN" },
  });
  expect(project.seen).toEqual([]);
});

test.each([
  [{ status: 400, body: { message: "bad name", errors: { name: "too long" } } }, "bad name"],
  [{ status: 404, body: { code: "PGRST125" } }, "Not Found"],
  [{ status: 503, body: "<html>" }, "Service Unavailable"],
  [{ status: 409, body: { message: 429 } }, "Conflict"],
  [{ status: 302, headers: { location: "" }, body: "null" }, "Found"],
])("an answer that is no success is an error as fetchJson's: %j", async (answer, message) => {
  const { project, httpClient, contacts } = await httpBench({ maxRetries: 0 });
  project.on("GET /rest/v1/contacts", answer);
  const ours = await httpClient(contacts, { redirect: "manual" }).catch((error: unknown) => error);
  const theirs = await fetchUtils
    .fetchJson(contacts, { redirect: "manual" })
    .catch((error: unknown) => error);
  const parts = ({ name, status, body }: Record<string, unknown>): unknown => ({ name, status, body });
  expect(parts(ours as Record<string, unknown>)).toEqual(parts(theirs as Record<string, unknown>));
  expect((ours as Error).message).toBe(message);
});

test.each([
  ["by default JSON is accepted", {}],
  ["a body is JSON", { method: "POST", body: "{}" }],
  ["a body with a type keeps it", { method: "POST", body: "a,b", headers: { "Content-Type": "text/csv" } }],
  ["a form has its own type", { method: "POST", body: new URLSearchParams({ a: "1" }) }],
  ["a user is authorised", { user: { authenticated: true, token: "Bearer t" } }],
  ["one who is not authenticated is not", { user: { authenticated: false, token: "Bearer t" } }],
] as [string, RequestInit][])("the headers are fetchJson's: %s", async (_, init) => {
  const { project, httpClient, contacts } = await httpBench();
  project.on("GET /rest/v1/contacts", ok()).on("POST /rest/v1/contacts", ok());
  const again = (): RequestInit => ({ ...init, ...(init.headers && { headers: new Headers(init.headers) }) });
  await httpClient(contacts, again());
  await fetchUtils.fetchJson(contacts, again());
  const [ours, theirs] = project.seen;
  expect(ours?.headers).toEqual(theirs?.headers);
});

test("a multipart form gets the type that fetch gives it", async () => {
  const { project, httpClient, contacts } = await httpBench();
  project.on("POST /rest/v1/contacts", ok());
  await httpClient(contacts, { method: "POST", body: new FormData() });
  expect(project.seen.map(headersOf)[0]?.["content-type"]).toMatch(/^multipart\/form-data; boundary=/);
});

test("the option headers is asked before each attempt", async () => {
  const tokens = ["first", "second"];
  const headers = async (): Promise<HeadersInit> => ({
    apikey: "key",
    Authorization: `Bearer ${tokens.shift()}`,
  });
  const { project, httpClient, contacts, play } = await httpBench({}, { headers });
  project.on("GET /rest/v1/contacts", refused(1), ok());
  await play(httpClient(contacts, { headers: { Accept: "text/csv" } }));
  const sent = project.seen.map(headersOf);
  expect(sent.map(({ authorization, apikey, accept }) => [authorization, apikey, accept])).toEqual([
    ["Bearer first", "key", "text/csv"],
    ["Bearer second", "key", "text/csv"],
  ]);
});

test.each([
  ["an insert", 1, { method: "POST", body: '{"name":"Ada"}' }],
  ["an update", 1, { method: "PATCH", body: '{"name":"Ada"}' }],
  ["a delete", 2, { method: "DELETE" }],
  ["a list", 2, {}],
])(
  "%s that gets no answer is sent %d time(s) when idempotent calls may be repeated",
  async (_, times, init) => {
    const { project, httpClient, contacts, play } = await httpBench({ retryTransient: "idempotent" });
    for (const method of ["GET", "POST", "PATCH", "DELETE"])
      project.on(`${method} /rest/v1/contacts`, "lost", ok());
    await play(httpClient(contacts, init).catch(() => {}));
    expect(project.seen.length).toBe(times);
  },
);

/** An answer whose body begins, and does not end by itself. */
function unended(status: number): Response {
  const begun = new ReadableStream({
    start: (controller) => controller.enqueue(new TextEncoder().encode("[")),
  });
  return new Response(begun, { status });
}

test.each([200, 404])("a body that does not end, of a %d, ends with the attempt's time", async (status) => {
  const fetch = vi.fn(async () => unended(status));
  const { host, httpClient, contacts } = await httpBench({ attemptTimeoutMs: 1_000 }, { fetch });
  await expect(host.drive(httpClient(contacts))).rejects.toMatchObject({ name: "TimeoutError" });
  expect(host.now() - Date.UTC(2026, 0, 1)).toBe(1_000);
});

test("a list whose body breaks off is asked for again when idempotent calls may be repeated", async () => {
  const broken = new ReadableStream({ pull: (controller) => controller.error(new TypeError("terminated")) });
  const answers = [new Response(broken), Response.json([ADA])];
  const fetch = async (): Promise<Response> => answers.shift() as Response;
  const { host, httpClient, contacts } = await httpBench({ retryTransient: "idempotent" }, { fetch });
  expect((await host.drive(httpClient(contacts))).json).toEqual([ADA]);
});

test("no answer rejects with the very error of fetch", async () => {
  const lost = new TypeError("Failed to fetch");
  const { httpClient, contacts } = await httpBench({}, { fetch: () => Promise.reject(lost) });
  await expect(httpClient(contacts)).rejects.toBe(lost);
});

test("the signal of the request ends a wait", async () => {
  const { project, httpClient, contacts, host } = await httpBench();
  project.on("GET /rest/v1/contacts", refused(20), ok());
  const stop = new AbortController();
  const answer = httpClient(contacts, { signal: stop.signal });
  await vi.waitFor(() => expect(host.sleeping).toBeGreaterThan(0));
  stop.abort();
  await expect(answer).rejects.toMatchObject({ name: "AbortError" });
  expect(project.seen.length).toBe(1);
});

// ---- over a client of the application's

/** ra-supabase with its own client inside, which sends by the global fetch. */
async function raSupabase(
  config: Partial<RateLimitConfig> = {},
): Promise<Bench & { provider: ReturnType<typeof supabaseDataProvider> }> {
  const host = new TestHost();
  const project = await Project.start(host);
  const service = new RateLimitService({ jitter: "none", logLevel: "silent", ...config }, host);
  const client = clientFor(project, host.fetch);
  const httpClient = resilientHttpClient(service, {
    httpClient: supabaseHttpClient({ apiKey: "publishable-key", supabaseClient: client }),
  });
  const provider = supabaseDataProvider({
    instanceUrl: project.url,
    apiKey: "publishable-key",
    supabaseClient: client,
    httpClient,
  });
  return { host, project, service, client, provider, play: (promise) => host.play(promise) } as Bench & {
    provider: ReturnType<typeof supabaseDataProvider>;
  };
}

test("ra-supabase with its own client inside: key and token get in, the delay of the body counts", async () => {
  const { project, provider, play } = await raSupabase();
  const body = { code: "PT429", message: "slow down", details: { retryAfter: 4 } };
  project.on("POST /rest/v1/contacts", { status: 429, body }, { status: 201, body: ADA });
  const { data } = await play(provider.create("contacts", { data: { name: "Ada" } }));
  expect(data).toEqual(ADA);
  expect(project.times("/rest/v1/contacts")).toEqual([0, 4_000]);
  const [first, again] = project.seen.map(headersOf);
  expect(first).toMatchObject({ apikey: "publishable-key", prefer: "return=representation" });
  expect(again).toEqual(first);
});

test("ra-supabase over ours, with the session by the option headers, reads Retry-After", async () => {
  const { project, client, service, host, play } = await bench();
  const httpClient = resilientHttpClient(service, {
    fetch: host.fetch,
    headers: async () => {
      const { data } = await client.auth.getSession();
      return {
        apikey: "publishable-key",
        Authorization: `Bearer ${data.session?.access_token ?? "publishable-key"}`,
      };
    },
  });
  const provider = supabaseDataProvider({
    instanceUrl: project.url,
    apiKey: "publishable-key",
    supabaseClient: client,
    httpClient,
  });
  project.on("GET /rest/v1/contacts", refused(5), {
    status: 200,
    headers: { "content-range": "0-0/1" },
    body: [ADA],
  });
  const { data, total } = await play(provider.getList("contacts", PAGE));
  expect([data, total]).toEqual([[ADA], 1]);
  expect(project.times("/rest/v1/contacts")).toEqual([0, 5_000]);
});

test("what ra-supabase is refused for good has the words for react-admin, and does not log out", async () => {
  const { project, provider, play } = await raSupabase({ maxRetries: 1 });
  project.on("GET /rest/v1/contacts", { status: 429, body: { message: "slow down" } });
  const error = await play(provider.getList("contacts", PAGE).catch((error: unknown) => error));
  expect(error).toMatchObject({
    status: 429,
    message: "The system is temporarily overloaded. Please try again in a few moments.",
    body: { code: "RATE_LIMIT_MAX_RETRIES_EXCEEDED" },
  });
  expect(project.count("/rest/v1/contacts")).toBe(2);
});

test("errors of the given client come out as the same objects, ours of a service further in too", async () => {
  const failure = Object.assign(new Error("bad"), { status: 400, body: null });
  const { service, httpClient, contacts } = await httpBench(
    {},
    { httpClient: () => Promise.reject(failure) },
  );
  await expect(httpClient(contacts)).rejects.toBe(failure);

  const refusal = new HttpRateLimitError(
    new RateLimitError({ code: "RATE_LIMIT_CIRCUIT_OPEN", summary: "", userMessage: "Wait.", attempts: 0 }),
  );
  const outer = resilientHttpClient(service, { httpClient: () => Promise.reject(refusal) });
  await expect(outer(contacts)).rejects.toBe(refusal);
  expect(service.getMetrics()).toMatchObject({ throttled: 0, retries: 0 });
});

test("a refusal that a given client resolves with is one, too", async () => {
  const answers = [429, 429, 200];
  const { httpClient, contacts, play } = await httpBench(
    {},
    { httpClient: async () => ({ status: answers.shift() ?? 500, headers: new Headers(), body: "text" }) },
  );
  expect(await play(httpClient(contacts))).toMatchObject({ status: 200, body: "text" });
});

test("a given client gets headers of its own for each attempt, and the signal", async () => {
  const seen: { names: string[]; signal: unknown }[] = [];
  const { httpClient, contacts, play } = await httpBench(
    {},
    {
      httpClient: async (_, init) => {
        const headers = init?.headers as Headers;
        seen.push({ names: [...headers.keys()], signal: init?.signal });
        headers.append("x-added", "1");
        if (seen.length < 3) throw Object.assign(new Error("slow down"), { status: 429 });
        return { status: 200, headers: new Headers(), body: "" };
      },
    },
  );
  await play(httpClient(contacts, { headers: new Headers({ prefer: "count=exact" }) }));
  expect(seen.map(({ names }) => names)).toEqual([["prefer"], ["prefer"], ["prefer"]]);
  expect(seen.every(({ signal }) => signal instanceof AbortSignal)).toBe(true);
});
