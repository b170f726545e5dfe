import { afterEach, expect, test, vi } from "vitest";
import { RateLimitService } from "../../js/index.ts";
import { resilientFetch } from "../../js/supabase.ts";
import { bench, clientFor, headersOf, ok, refused } from "./supabase.support.ts";

afterEach(() => {
  vi.useRealTimers();
});

test("a refused read is retried here and by nobody else", async () => {
  const { client, project, play } = await bench();
  project.on("GET /rest/v1/contacts", refused(), refused(7), ok([{ id: 1 }]));
  const { data, error } = await play(client.from("contacts").select());
  expect(error).toBeNull();
  expect(data).toEqual([{ id: 1 }]);
  expect(project.times("/rest/v1/contacts")).toEqual([0, 100, 7_100]);
});

test("a refusal that outlasts the retries is one synthetic 429 with our code", async () => {
  const { client, project, play } = await bench({ maxRetries: 2 });
  project.on("GET /rest/v1/contacts", refused(3));
  const { error, status } = await play(client.from("contacts").select());
  expect(project.count("/rest/v1/contacts")).toBe(3);
  expect(status).toBe(429);
  expect(error).toMatchObject({
    code: "RATE_LIMIT_MAX_RETRIES_EXCEEDED",
    message: "The system is temporarily overloaded. Please try again in a few moments.",
    hint: "Retry after 3 seconds.",
  });
  expect(error?.details).toContain("persisted after 2 retries");
});

test("the synthetic 429 carries the code and the delay as headers", async () => {
  const { resilient, project, play } = await bench({ maxRetryAfterMs: 1_000 });
  project.on("GET /rest/v1/contacts", refused(90));
  const response = await play(resilient(`${project.url}/rest/v1/contacts`));
  expect([response.status, response.statusText]).toEqual([429, "Too Many Requests"]);
  expect(response.headers.get("x-tidegate-code")).toBe("RATE_LIMIT_RETRY_AFTER_TOO_LONG");
  expect(response.headers.get("retry-after")).toBe("90");
  expect(await response.json()).toMatchObject({ code: "RATE_LIMIT_RETRY_AFTER_TOO_LONG" });
});

test("an open circuit answers a select at once, without a request", async () => {
  const { client, project, service, host } = await bench();
  service.isolateCircuit();
  const { error, status } = await client.from("contacts").select();
  expect([status, error?.code]).toEqual([429, "RATE_LIMIT_CIRCUIT_OPEN"]);
  expect(error?.message).toBe("Too many requests. Please wait 1-2 minutes before trying again.");
  expect(project.seen).toEqual([]);
  expect(host.sleeping).toBe(0);
});

test("a HEAD select learns the code of an open circuit, too", async () => {
  const { client, service } = await bench();
  service.isolateCircuit();
  const { error, status } = await client.from("contacts").select("*", { count: "exact", head: true });
  expect([status, error?.code]).toEqual([429, "RATE_LIMIT_CIRCUIT_OPEN"]);
});

test("an isolated circuit has no Retry-After, because nobody knows", async () => {
  const { resilient, project, service } = await bench();
  service.isolateCircuit();
  const response = await resilient(`${project.url}/rest/v1/contacts`);
  expect(response.headers.has("retry-after")).toBe(false);
  expect(await response.json()).toMatchObject({ hint: null });
});

test("an insert that is refused and then accepted is written once", async () => {
  const { client, project, play } = await bench();
  project.on("POST /rest/v1/contacts", refused(1), { status: 201, body: "" });
  const { error, status } = await play(client.from("contacts").insert({ name: "Ada" }));
  expect([error, status]).toEqual([null, 201]);
  expect(project.seen.map(({ body }) => body)).toEqual(['{"name":"Ada"}', '{"name":"Ada"}']);
  expect(project.times("/rest/v1/contacts")).toEqual([0, 1_000]);
});

test("Supabase's documented limiter, a 420 without a hint, is a refusal", async () => {
  const { client, project, play } = await bench();
  project.on(
    "POST /rest/v1/contacts",
    { status: 420, body: { message: "Rate limit exceeded, try again after a while" } },
    { status: 201 },
  );
  const { error } = await play(client.from("contacts").insert({ name: "Ada" }));
  expect(error).toBeNull();
  expect(project.times("/rest/v1/contacts")).toEqual([0, 100]);
});

test("a delay that stands only in the body of the refusal is waited out", async () => {
  const { client, project, play } = await bench();
  const body = { code: "PT429", message: "slow down", details: { retryAfter: 4 }, hint: null };
  project.on("GET /rest/v1/contacts", { status: 429, body }, ok());
  await play(client.from("contacts").select());
  expect(project.times("/rest/v1/contacts")).toEqual([0, 4_000]);
});

test("a read that is answered 503 is repeated by postgrest-js alone", async () => {
  const { client, project, service, play } = await bench();
  project.on("GET /rest/v1/contacts", {
    status: 503,
    headers: { "retry-after": "0" },
    body: { message: "busy" },
  });
  const { status } = await play(client.from("contacts").select());
  expect(status).toBe(503);
  expect(project.count("/rest/v1/contacts")).toBe(4);
  expect(service.getMetrics()).toMatchObject({ calls: 4, attempts: 4, failures: 4, retries: 0 });
});

test("a read that is not answered is repeated by postgrest-js alone, and counted as silence", async () => {
  const { client, project, service, host } = await bench({ sharedCooldown: false });
  project.on("GET /rest/v1/contacts", "lost");
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
  const answer = client.from("contacts").select().then();
  for (const pause of [1_000, 2_000, 4_000]) {
    await vi.waitFor(() => expect(vi.getTimerCount()).toBeGreaterThan(0), { timeout: 1_000, interval: 1 });
    await vi.advanceTimersByTimeAsync(pause);
  }
  const { status, error } = await answer;
  expect([status, error?.message]).toEqual([0, "TypeError: fetch failed"]);
  expect(project.count("/rest/v1/contacts")).toBe(4);
  expect(host.sleeping).toBe(0);
  expect(service.getMetrics()).toMatchObject({ calls: 4, attempts: 4, retries: 0 });
  // Three silences within five seconds are one refusal: such is a 429 that CORS hides.
  expect(service.getCircuitState().consecutiveFailures).toBe(1);
});

test("ownRetries takes the repeated reads over", async () => {
  const { client, project, service, play } = await bench(
    { retryTransient: "idempotent" },
    { ownRetries: true },
    { db: { retry: false } },
  );
  project.on("GET /rest/v1/contacts", 503, "lost", ok([{ id: 1 }]));
  const { data } = await play(client.from("contacts").select());
  expect(data).toEqual([{ id: 1 }]);
  expect(project.times("/rest/v1/contacts")).toEqual([0, 100, 300]);
  expect(service.getMetrics()).toMatchObject({ calls: 1, attempts: 3, retries: 2 });
});

test("other transient answers to a read are ours to retry, since postgrest-js does not", async () => {
  const { client, project, play } = await bench({ retryTransient: "idempotent" });
  project.on("GET /rest/v1/contacts", 502, ok([{ id: 1 }]));
  const { data } = await play(client.from("contacts").select());
  expect(data).toEqual([{ id: 1 }]);
  expect(project.count("/rest/v1/contacts")).toBe(2);
});

test.each([
  ["an insert", 1, (client: ReturnType<typeof clientFor>) => client.from("contacts").insert({ name: "Ada" })],
  ["an update", 1, (client) => client.from("contacts").update({ name: "Ada" }).eq("id", 1)],
  ["an upsert of a row without its key", 1, (client) => client.from("contacts").upsert({ name: "Ada" })],
  ["an upsert of a row with its id", 2, (client) => client.from("contacts").upsert({ id: 1, name: "Ada" })],
  [
    "an upsert that ignores duplicates of a named column",
    2,
    (client) =>
      client
        .from("contacts")
        .upsert([{ key: "a" }, { key: "b" }], { onConflict: "key", ignoreDuplicates: true }),
  ],
  [
    "an upsert of which one row has no key",
    1,
    (client) => client.from("contacts").upsert([{ key: "a" }, { key: null }], { onConflict: "key" }),
  ],
  ["a delete", 2, (client) => client.from("contacts").delete().eq("id", 1)],
] as [string, number, (client: ReturnType<typeof clientFor>) => PromiseLike<{ status: number }>][])(
  "%s that gets no answer is sent %d time(s) when idempotent calls may be repeated",
  async (_, times, write) => {
    const { client, project, play } = await bench({ retryTransient: "idempotent" });
    for (const method of ["POST", "PATCH", "DELETE"]) project.on(`${method} /rest/v1/contacts`, "lost", 204);
    await play(write(client));
    expect(project.seen.length).toBe(times);
  },
);

test("nothing is added to the headers of any request, on the wire", async () => {
  const { client, project, play } = await bench();
  const plain = clientFor(project, fetch);
  project.on("GET /rest/v1/contacts", refused(), ok()).on("POST /rest/v1/contacts", { status: 201 });
  project.on("POST /functions/v1/hello", ok({})).on("POST /storage/v1/object/list/avatars", ok());
  const requests = async (of: typeof client): Promise<void> => {
    await of.from("contacts").select();
    await of.from("contacts").insert({ name: "Ada" });
    await of.functions.invoke("hello", { body: { a: 1 } });
    await of.storage.from("avatars").list();
  };
  await play(requests(client));
  const [first, again, ...guarded] = project.seen.splice(0);
  await requests(plain);
  expect([first, ...guarded].map((seen) => seen?.headers)).toEqual(
    project.seen.map(({ headers }) => headers),
  );
  expect(again?.headers).toEqual(first?.headers);
});

test("a stream is sent once, whatever the answer", async () => {
  const { resilient, project, host } = await bench({ retryTransient: "always" });
  project.on("POST /rest/v1/contacts", refused(1), { status: 201 });
  const body = new Blob(["a,b\n1,2\n"]).stream();
  const response = await resilient(`${project.url}/rest/v1/contacts`, {
    method: "POST",
    body,
    duplex: "half",
  } as RequestInit);
  expect(response.status).toBe(429);
  expect(await response.json()).toMatchObject({ code: "RATE_LIMIT_MAX_RETRIES_EXCEEDED" });
  expect(project.seen.map((seen) => seen.body)).toEqual(["a,b\n1,2\n"]);
  expect(host.sleeping).toBe(0);
});

test.each([
  ["a string", () => "a=1", "a=1"],
  ["bytes", () => new TextEncoder().encode("a=1"), "a=1"],
  ["a buffer", () => new TextEncoder().encode("a=1").buffer, "a=1"],
  ["a blob", () => new Blob(["a=1"]), "a=1"],
  ["parameters", () => new URLSearchParams({ a: "1" }), "a=1"],
] as [string, () => BodyInit, string][])("%s is sent again after a refusal", async (_, body, text) => {
  const { resilient, project, play } = await bench();
  project.on("POST /rest/v1/rpc/add", refused(1), ok({}));
  const response = await play(resilient(`${project.url}/rest/v1/rpc/add`, { method: "POST", body: body() }));
  expect(response.status).toBe(200);
  expect(project.seen.map((seen) => seen.body)).toEqual([text, text]);
});

test("a form is sent again after a refusal", async () => {
  const { resilient, project, play } = await bench();
  project.on("POST /storage/v1/object/avatars/a.png", refused(1), ok({}));
  const body = new FormData();
  body.append("", new Blob(["image"]), "a.png");
  await play(resilient(`${project.url}/storage/v1/object/avatars/a.png`, { method: "POST", body }));
  expect(project.seen.map((seen) => seen.body.includes("image"))).toEqual([true, true]);
});

test("a Request whose body is text is sent again, and so is one without a body", async () => {
  const { resilient, project, play } = await bench();
  project
    .on("POST /rest/v1/contacts", refused(1), { status: 201 })
    .on("GET /rest/v1/contacts", refused(1), ok());
  const url = new URL(`${project.url}/rest/v1/contacts`);
  const headers = { "content-type": "application/json", prefer: "return=minimal" };
  const written = await play(resilient(new Request(url, { method: "POST", headers, body: '{"a":1}' })));
  const read = await play(resilient(new Request(url)));
  expect([written.status, read.status]).toEqual([201, 200]);
  expect(project.seen.map(({ method, body }) => `${method} ${body}`)).toEqual([
    'POST {"a":1}',
    'POST {"a":1}',
    "GET ",
    "GET ",
  ]);
  const preferences = project.seen.map(headersOf).map(({ prefer }) => prefer);
  expect(preferences).toEqual(["return=minimal", "return=minimal", undefined, undefined]);
});

test("a Request whose body may be a stream of any length is sent once", async () => {
  const { resilient, project } = await bench();
  project.on("POST /storage/v1/object/avatars/a.bin", refused(1));
  const request = new Request(`${project.url}/storage/v1/object/avatars/a.bin`, {
    method: "POST",
    body: new Blob(["bytes"]).stream(),
    duplex: "half",
  } as RequestInit);
  expect((await resilient(request)).status).toBe(429);
  expect(project.seen.map((seen) => seen.body)).toEqual(["bytes"]);
});

test("the URL may be a URL, and the init of a Request goes before it", async () => {
  const { resilient, project } = await bench();
  project.on("DELETE /rest/v1/contacts", 204).on("GET /rest/v1/contacts", ok());
  const url = new URL("/rest/v1/contacts?id=eq.1", project.url);
  expect((await resilient(url)).status).toBe(200);
  expect((await resilient(new Request(url), { method: "DELETE" })).status).toBe(204);
});

test("an abort during our wait rejects at once with its reason, and nothing more is sent", async () => {
  const { resilient, project, host } = await bench();
  project.on("GET /rest/v1/contacts", refused(20), ok());
  const stop = new AbortController();
  const answer = resilient(`${project.url}/rest/v1/contacts`, { signal: stop.signal });
  await vi.waitFor(() => expect(host.sleeping).toBeGreaterThan(0));
  const reason = new Error("the page was left");
  stop.abort(reason);
  await expect(answer).rejects.toBe(reason);
  await host.advance(60_000);
  expect(project.seen.length).toBe(1);
});

test("supabase-js sees an abort during our wait as an abort", async () => {
  const { client, project, host } = await bench();
  project.on("GET /rest/v1/contacts", refused(20), ok());
  const stop = new AbortController();
  const answer = client.from("contacts").select().abortSignal(stop.signal).then();
  await vi.waitFor(() => expect(host.sleeping).toBeGreaterThan(0));
  stop.abort();
  const { error, status } = await answer;
  expect([status, error?.hint]).toEqual([0, "Request was aborted (timeout or manual cancellation)"]);
  expect(project.seen.length).toBe(1);
});

test("the signal of a Request counts, and one in the init goes before it", async () => {
  const { resilient, project } = await bench();
  const url = `${project.url}/rest/v1/contacts`;
  const aborted = AbortSignal.abort("enough");
  await expect(resilient(new Request(url, { signal: aborted }))).rejects.toBe("enough");
  await expect(resilient(new Request(url), { signal: aborted })).rejects.toBe("enough");
  project.on("GET /rest/v1/contacts", ok());
  expect((await resilient(new Request(url, { signal: aborted }), { signal: null })).status).toBe(200);
});

test("a signal that aborts while the body is read ends the reading", async () => {
  const { resilient, project, host } = await bench({}, { fetch: slowBody });
  const stop = new AbortController();
  const response = await resilient(`${project.url}/rest/v1/contacts`, { signal: stop.signal });
  const text = response.text();
  stop.abort();
  await expect(text).rejects.toMatchObject({ name: "AbortError" });
  expect(host.sleeping).toBe(0);
});

/** The headers come at once, the body never; as with a server that is read from, the signal ends it. */
async function slowBody(_: RequestInfo | URL, init?: RequestInit): Promise<Response> {
  const body = new ReadableStream({
    start: (controller) =>
      init?.signal?.addEventListener("abort", () => controller.error(init.signal?.reason)),
  });
  return new Response(body);
}

test.each([
  ["without", undefined],
  ["with", new AbortController().signal],
])("attemptTimeoutMs aborts a request %s a signal of its own", async (_, signal) => {
  const aborted: unknown[] = [];
  const neverAnswering = (_: unknown, init?: RequestInit): Promise<never> => {
    init?.signal?.addEventListener("abort", () => aborted.push(init.signal?.reason));
    return new Promise(() => {});
  };
  const { resilient, project, play } = await bench({ attemptTimeoutMs: 500 }, { fetch: neverAnswering });
  const answer = play(resilient(`${project.url}/rest/v1/contacts`, signal ? { signal } : {}));
  await expect(answer).rejects.toMatchObject({ name: "TimeoutError" });
  expect(aborted).toMatchObject([{ name: "TimeoutError" }]);
});

test("calls are counted by table or function and by method", async () => {
  const { client, project, service } = await bench();
  project
    .on("GET /rest/v1/contacts", ok())
    .on("POST /rest/v1/rpc/merge", ok())
    .on("POST /graphql/v1", ok({}));
  await client.from("contacts").select("id");
  await client.from("contacts").select("name");
  await client.rpc("merge", { a: 1 });
  const groups = service.getMetrics().groups.map(({ resourceName, operation, calls }) => ({
    name: `${operation} ${resourceName}`,
    calls,
  }));
  expect(groups).toEqual([
    { name: "GET contacts", calls: 2 },
    { name: "POST rpc/merge", calls: 1 },
  ]);
});

test("GraphQL counts against the same limits as the tables", async () => {
  const { resilient, project, service } = await bench();
  service.isolateCircuit();
  const response = await resilient(`${project.url}/graphql/v1`, { method: "POST", body: "{}" });
  expect(await response.json()).toMatchObject({ code: "RATE_LIMIT_CIRCUIT_OPEN" });
});

test("an outer call of another service passes the synthetic 429 on: neither retried nor counted", async () => {
  const { client, project, service, play } = await bench({ maxRetries: 1 });
  const outer = (await bench()).service;
  project.on("GET /rest/v1/contacts", refused(1));
  const result = await play(outer.executeWithRetry(() => client.from("contacts").select()));
  expect(result.error?.code).toBe("RATE_LIMIT_MAX_RETRIES_EXCEEDED");
  expect(project.count("/rest/v1/contacts")).toBe(2);
  expect(outer.getMetrics()).toMatchObject({ attempts: 1, throttled: 0 });
  expect(outer.getCircuitState().consecutiveFailures).toBe(0);
  expect(service.getMetrics().throttled).toBe(2);
});

test("an outer call recognises what throwOnError makes of the synthetic 429, though its status is lost", async () => {
  const { client, service } = await bench();
  const outer = (await bench()).service;
  service.isolateCircuit();
  const call = outer.executeWithRetry(() => client.from("contacts").select().throwOnError());
  await expect(call).rejects.toMatchObject({ name: "PostgrestError", code: "RATE_LIMIT_CIRCUIT_OPEN" });
  expect(outer.getMetrics()).toMatchObject({ attempts: 1, throttled: 0, retries: 0 });
});

test("the connections of refused answers are given back", async () => {
  const given: Response[] = [];
  const refusing = async (): Promise<Response> => {
    const endless = new ReadableStream({ pull: (controller) => controller.enqueue(new Uint8Array(1_000)) });
    const headers = { "retry-after": "1" };
    given.push(new Response(endless, { status: 429, headers }));
    return given.at(-1) as Response;
  };
  const { resilient, project, play } = await bench({ maxRetries: 2 }, { fetch: refusing });
  expect((await play(resilient(`${project.url}/rest/v1/contacts`))).status).toBe(429);
  const ended = await Promise.all(given.map((response) => response.body?.getReader().read()));
  expect(ended.map((read) => read?.done)).toEqual([true, true, true]);
});

test.each<[name: string, config: object, own: boolean]>([
  ["no time ends an attempt, fetch gets the caller's signal or none", {}, false],
  ["an attempt has its time, fetch gets a signal of ours", { attemptTimeoutMs: 5_000 }, true],
  ["the call has a deadline, fetch gets a signal of ours", { callDeadlineMs: 5_000 }, true],
])("where %s", async (_, config, own) => {
  const sent: (AbortSignal | null | undefined)[] = [];
  const fetch = async (_input: unknown, init?: RequestInit) => {
    sent.push(init?.signal);
    return new Response("[]");
  };
  const resilient = resilientFetch(new RateLimitService({ logLevel: "silent", ...config }), { fetch });
  const { signal } = new AbortController();
  await resilient("https://db.example.com/rest/v1/contacts");
  await resilient("https://db.example.com/rest/v1/contacts", { signal });
  expect(sent.map((each) => each instanceof AbortSignal)).toEqual([own, true]);
  expect(sent[1] === signal).toBe(!own);
});
