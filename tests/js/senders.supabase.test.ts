import { createClient } from "@supabase/supabase-js";
import { describe, expect, test } from "vitest";
import ws from "ws";
import { RateLimitConfigError } from "../../js/index.ts";
import {
  isDirect,
  SupabaseSendError,
  type SupabaseSenderOptions,
  supabaseSender,
} from "../../js/supabase/sender.ts";
import { resilientFetch } from "../../js/supabase.ts";
import { scriptedFetch } from "../../js/testing.ts";
import { serviceOf } from "./react-admin.support.ts";
import { batchOf, itemOf, thrownBy, verdictOn } from "./senders.support.ts";

type Scripted = ReturnType<typeof scriptedFetch>;
type Answers = Parameters<typeof scriptedFetch>;
interface Contact {
  name: string;
  email?: string | undefined;
}

const URL_OF_PROJECT = "https://project.supabase.co";
const ADA = { name: "Ada", email: "ada@example.com" };
const BEA = { name: "Bea", email: "bea@example.com" };

function clientOver(fetch: typeof globalThis.fetch, db: { timeout?: number } = {}) {
  return createClient(URL_OF_PROJECT, "publishable-key", {
    global: { fetch },
    db,
    auth: { persistSession: false, autoRefreshToken: false },
    // Node 20 has no WebSocket of its own.
    realtime: { transport: ws as unknown as typeof WebSocket },
  });
}

/** A sender over the real client, and the requests that it made. */
function bench(answers: Answers, options: Partial<SupabaseSenderOptions<Contact>> = {}) {
  const fetch = scriptedFetch(...answers);
  const sender = supabaseSender<Contact>(clientOver(fetch), "contacts", {
    idColumn: "import_key",
    ...options,
  });
  return { fetch, sender };
}

const created = (...rows: Contact[]) => ({
  status: 201,
  body: rows.map((row) => ({ import_key: itemOf(row).id })),
});

async function sentIn({ requests }: Scripted, n = 0) {
  const request = requests[n] as Request;
  const url = new URL(request.url);
  const text = request.method === "GET" ? "null" : await request.clone().text();
  return {
    method: request.method,
    path: url.pathname,
    query: Object.fromEntries(url.searchParams),
    headers: request.headers,
    body: JSON.parse(text),
  };
}

const failure = (status: number, body?: unknown) => ({ status, body });
const postgres = (status: number, code: string, message = "the server's words") =>
  failure(status, { code, message, details: null, hint: null });

/** What a batch of one row ends with when the server answers so. */
function errorOn(...answers: Answers): Promise<SupabaseSendError> {
  return errorFor([ADA], answers);
}

async function errorFor(rows: Contact[], answers: Answers): Promise<SupabaseSendError> {
  const error = await thrownBy(bench(answers).sender, batchOf(rows));
  expect(error).toBeInstanceOf(SupabaseSendError);
  return error as SupabaseSendError;
}

describe("what is sent", () => {
  test("one upsert with the ids of the rows, which leaves alone what is there", async () => {
    const { fetch, sender } = bench([created(ADA, BEA)]);
    await sender(batchOf([ADA, BEA]));
    expect(fetch.requests).toHaveLength(1);
    const { method, path, query, headers, body } = await sentIn(fetch);
    expect([method, path]).toEqual(["POST", "/rest/v1/contacts"]);
    expect(query).toMatchObject({ on_conflict: "import_key", select: "import_key" });
    expect(body).toEqual([
      { ...ADA, import_key: itemOf(ADA).id },
      { ...BEA, import_key: itemOf(BEA, 1).id },
    ]);
    const prefer = (headers.get("prefer") ?? "").split(/,\s*/);
    expect(prefer).toEqual(
      expect.arrayContaining(["resolution=ignore-duplicates", "missing=default", "return=representation"]),
    );
  });

  test("a row without a field gets the column's default, whoever is in the batch with it", async () => {
    const { fetch, sender } = bench([created(ADA, { name: "Bea" })]);
    await sender(batchOf<Contact>([ADA, { name: "Bea", email: undefined }]));
    const { query, headers, body } = await sentIn(fetch);
    expect(query.columns).toContain('"email"');
    expect(body[1]).not.toHaveProperty("email");
    expect(headers.get("prefer")).toContain("missing=default");
  });

  test("map makes the records, and may take its time; the id is ours whatever it says", async () => {
    const { fetch, sender } = bench([created(ADA)], {
      map: async ({ name }, { index }) => ({ first_name: name, nr: index, import_key: "mine" }),
    });
    await sender(batchOf([ADA]));
    expect((await sentIn(fetch)).body).toEqual([{ first_name: "Ada", nr: 0, import_key: itemOf(ADA).id }]);
    expect(ADA).not.toHaveProperty("import_key");
  });

  test("into another schema", async () => {
    const fetch = scriptedFetch(created(ADA));
    const sender = supabaseSender(clientOver(fetch).schema("crm"), "contacts", { idColumn: "import_key" });
    await sender(batchOf([ADA]));
    expect((await sentIn(fetch)).headers.get("content-profile")).toBe("crm");
    expect(sender.origin).toBe(URL_OF_PROJECT);
  });

  test("what the engine reads off it", () => {
    const { sender } = bench([]);
    expect({ ...sender }).toMatchObject({
      idempotent: true,
      maxBatch: 100,
      table: "contacts",
      origin: URL_OF_PROJECT,
    });
    expect({ ...bench([], { maxBatch: 25, origin: "https://crm.example.com" }).sender }).toMatchObject({
      maxBatch: 25,
      origin: "https://crm.example.com",
    });
  });
});

describe("what came of it", () => {
  test("rows that come back are imported, those that do not were there", async () => {
    const { sender } = bench([created(BEA)]);
    expect(await sender(batchOf([ADA, BEA]))).toEqual([
      { outcome: "ignored", id: itemOf(ADA).id },
      { outcome: "imported", id: itemOf(BEA).id },
    ]);
  });

  test("the order of the answer does not count, nor do capitals", async () => {
    const body = [BEA, ADA].map((row) => ({ import_key: itemOf(row).id.toUpperCase() }));
    const { sender } = bench([{ status: 201, body }]);
    expect(await sender(batchOf([ADA, BEA]))).toMatchObject([
      { outcome: "imported" },
      { outcome: "imported" },
    ]);
  });

  test("sent again, all of them were there", async () => {
    const { sender } = bench([created(ADA), { status: 200, body: [] }]);
    const batch = batchOf([ADA]);
    expect(await sender(batch)).toMatchObject([{ outcome: "imported" }]);
    expect(await sender(batch)).toMatchObject([{ outcome: "ignored" }]);
  });
});

describe("what is thrown", () => {
  test("another unique constraint: the server's words, for one row as for a batch, which it refuses whole", async () => {
    const answer = failure(409, {
      code: "23505",
      message: 'duplicate key value violates unique constraint "contacts_email_key"',
      details: "Key (email)=(ada@example.com) already exists.",
      hint: null,
    });
    const error = await errorOn(answer);
    expect(error).toMatchObject({
      name: "SupabaseSendError",
      status: 409,
      code: "23505",
      message: 'duplicate key value violates unique constraint "contacts_email_key"',
      details: "Key (email)=(ada@example.com) already exists.",
    });
    expect(error.hint).toBeUndefined();
    expect(await verdictOn(error)).toEqual({ verdict: "permanent" });
    expect(await thrownBy(bench([answer]).sender, batchOf([ADA, BEA]))).toMatchObject({ code: "23505" });
  });

  test.each<[name: string, answer: Answers[number], hintMs?: number]>([
    ["429 in JSON", failure(429, { message: "API rate limit exceeded" })],
    ["420, Supabase's own recipe", failure(420, { message: "Rate limit exceeded, try again after a while" })],
    [
      "a database function",
      failure(429, {
        code: "PT429",
        message: "Too many requests",
        details: null,
        hint: "Try again after 3 seconds",
      }),
      3_000,
    ],
    [
      "details of ours",
      failure(429, { code: "PGRST", message: "slow down", details: { retryAfterMs: 4_000 }, hint: null }),
    ],
    ["Cloudflare's page", failure(429, "<!DOCTYPE html><title>Error 1015</title>")],
    ["a body that postgrest-js takes for success", failure(429, "null")],
    ["no body", failure(429)],
  ])("a refusal: %s", async (_, answer, hintMs) => {
    const error = await errorOn(answer);
    const { status } = answer as { status: number };
    expect(error.status).toBe(status);
    expect(await verdictOn(error)).toMatchObject({ verdict: "throttled", ...(hintMs && { hintMs }) });
  });

  test.each<[status: number, code: string]>([
    [500, "40001"],
    [500, "40P01"],
    [503, "53300"],
    [503, "PGRST002"],
    [504, "PGRST003"],
    [502, "XX000"],
  ])("%i %s may heal by itself, and is not about the size", async (status, code) => {
    const error = await errorOn(postgres(status, code));
    expect(await verdictOn(error)).toEqual({ verdict: "transient" });
    expect(error.tooLarge).toBeUndefined();
    expect(error.stops).toBeUndefined();
  });

  test.each<[name: string, answer: Answers[number], verdict: string]>([
    ["a statement that ran too long", postgres(500, "57014"), "transient"],
    [
      "a body that is too large",
      failure(413, "<html><h1>413 Request Entity Too Large</h1></html>"),
      "permanent",
    ],
    ["a gateway that got tired", failure(504, "<html>504</html>"), "transient"],
    ["Cloudflare that got tired", failure(524), "transient"],
    ["the database timeout of Supabase's gateway", failure(544), "transient"],
  ])("%s: fewer rows may pass", async (_, answer, verdict) => {
    const error = await errorFor([ADA, BEA], [answer]);
    expect(error.tooLarge).toBe(true);
    expect((await verdictOn(error)).verdict).toBe(verdict);
  });

  test.each<[name: string, answer: Answers[number]]>([
    ["a statement that ran too long", postgres(500, "57014")],
    ["a request that took too long", failure(408)],
    ["a gateway that got tired", failure(504, "<html>504</html>")],
    ["Cloudflare that got tired", failure(524)],
    ["the database timeout of Supabase's gateway", failure(544)],
  ])("%s is no fault of a row that is alone: it may go again", async (_, answer) => {
    const error = await errorOn(answer);
    expect(error.tooLarge).toBeUndefined();
    expect((await verdictOn(error)).verdict).toBe("transient");
  });

  test("a body that is too large stays so for a row that is alone", async () => {
    expect((await errorOn(failure(413))).tooLarge).toBe(true);
  });

  test.each<[status: number, code: string]>([
    [404, "PGRST205"],
    [404, "42P01"],
    [406, "PGRST106"],
  ])("%i %s: no row would fare better", async (status, code) => {
    expect(await errorOn(postgres(status, code))).toMatchObject({
      status,
      code,
      stops: true,
      message: "the server's words",
    });
  });

  test("a column without a unique constraint: says what to do", async () => {
    const message = "there is no unique or exclusion constraint matching the ON CONFLICT specification";
    expect(await errorOn(postgres(400, "42P10", message))).toMatchObject({
      stops: true,
      message: 'The column "import_key" needs a unique constraint, so that a row is not imported twice.',
    });
  });

  test.each([
    [401, "PGRST301"],
    [403, "42501"],
  ])("%i keeps its status, on which the import stops", async (status, code) => {
    expect(await errorOn(postgres(status, code))).toMatchObject({ status, code });
  });

  test("pages of proxies are no words for people, and nobody reads a thousand letters", async () => {
    expect((await errorOn(failure(502, "\n<html><body>Bad Gateway</body></html>"))).message).toBe(
      "The server answered 502.",
    );
    expect((await errorOn(failure(400, "x".repeat(10_000)))).message).toHaveLength(500);
    expect((await errorOn(failure(400, '"just text"'))).message).toBe("just text");
    expect((await errorOn(failure(400, "[]"))).message).toBe("The server answered 400.");
  });

  test("a lost connection is an answer that was lost", async () => {
    const error = await errorOn("lost");
    expect(error).toMatchObject({ status: 0, message: "TypeError: Failed to fetch" });
    expect(error.sent).toBeUndefined();
    expect(await verdictOn(error)).toEqual({ verdict: "transient" });
  });

  test("so is a success that does not say which rows", async () => {
    for (const answer of [{ status: 201 }, { status: 200, body: "null" }, { status: 200, body: "<html>" }]) {
      expect(await errorOn(answer)).toMatchObject({ status: 0 });
    }
  });

  test("a 404 without a body, which postgrest-js calls a success, is a 404", async () => {
    expect(await errorOn(failure(404))).toMatchObject({ status: 404, message: "The server answered 404." });
  });

  test("what JSON cannot hold is refused for its content, not retried as a lost connection", async () => {
    const cyclic: Record<string, unknown> = {};
    cyclic.self = cyclic;
    const { fetch, sender } = bench([created(ADA)], { map: () => cyclic });
    const error = await thrownBy(sender, batchOf([ADA]));
    expect(error).toMatchObject({
      status: 400,
      sent: false,
      message: expect.stringContaining("cannot be written as JSON"),
    });
    expect(await verdictOn(error)).toEqual({ verdict: "permanent" });
    expect(fetch.requests).toHaveLength(0);
  });

  test("what map throws is the same object, and known not to have been sent", async () => {
    const error = new Error("no such company");
    const { fetch, sender } = bench([created(ADA)], { map: () => Promise.reject(error) });
    expect(await thrownBy(sender, batchOf([ADA]))).toBe(error);
    expect(error).toMatchObject({ sent: false });
    expect(fetch.requests).toHaveLength(0);
  });

  test.each([[null], [17], ["Ada"], [[ADA]], [undefined]])("a map that makes %j of a row", async (record) => {
    const { sender } = bench([created(ADA)], { map: () => record as never });
    expect(await thrownBy(sender, batchOf([ADA]))).toMatchObject({
      message: "map: expected an object, the record of a row.",
    });
  });
});

describe("the signal", () => {
  test("ends the request, with its reason", async () => {
    const controller = new AbortController();
    const reason = new Error("cancelled");
    const hanging = (_: unknown, init?: RequestInit) =>
      new Promise<Response>((_resolve, reject) => {
        init?.signal?.addEventListener("abort", () => reject(new DOMException("aborted", "AbortError")));
        controller.abort(reason);
      });
    const sender = supabaseSender(clientOver(hanging as typeof fetch), "contacts", {
      idColumn: "import_key",
    });
    expect(await thrownBy(sender, batchOf([ADA], controller.signal))).toBe(reason);
  });

  test("aborted before: nothing is sent", async () => {
    const { fetch, sender } = bench([created(ADA)]);
    const reason = new Error("cancelled");
    expect(await thrownBy(sender, batchOf([ADA], AbortSignal.abort(reason)))).toBe(reason);
    expect(fetch.requests).toHaveLength(0);
  });

  test("a timeout of the client's own is no abort of ours: the answer was lost, and less may pass", async () => {
    const slow = (_: unknown, init?: RequestInit) =>
      new Promise<Response>((_resolve, reject) => {
        init?.signal?.addEventListener("abort", () => reject(new DOMException("aborted", "AbortError")));
      });
    const sender = supabaseSender(clientOver(slow as typeof fetch, { timeout: 1 }), "contacts", {
      idColumn: "import_key",
    });
    const error = await thrownBy(sender, batchOf<Record<string, unknown>>([ADA, BEA]));
    expect(error).toMatchObject({ status: 0, tooLarge: true });
    expect(await verdictOn(error)).toEqual({ verdict: "transient" });
    expect(await thrownBy(sender, batchOf([ADA]))).toMatchObject({ status: 0, tooLarge: undefined });
  });

  test("reaches fetch as it is, and is known as an import's", async () => {
    const signals: unknown[] = [];
    const fetch = async (_: unknown, init?: RequestInit) => {
      signals.push(init?.signal);
      return Response.json([], { status: 201 });
    };
    const sender = supabaseSender(clientOver(fetch as typeof globalThis.fetch), "contacts", {
      idColumn: "import_key",
    });
    const batch = batchOf<Record<string, unknown>>([ADA]);
    expect(isDirect(batch.signal)).toBe(false);
    await sender(batch);
    expect(signals).toEqual([batch.signal]);
    expect(isDirect(signals[0] as AbortSignal)).toBe(true);
    expect(isDirect(undefined)).toBe(false);
  });
});

describe("a POST of which a redirection made a GET", () => {
  const none = { status: 200, body: [] };

  test("is answered with the rows of others: nothing was inserted, and nothing will be", async () => {
    const error = await errorOn({ status: 200, body: [{ import_key: itemOf(BEA).id }] });
    expect(error).toMatchObject({ status: 0, stops: true });
    expect(error.message).toContain("redirected");
  });

  test("is answered with no rows, of an empty table, also where nothing is asked for", async () => {
    expect(await errorOn(none, none)).toMatchObject({ status: 0, stops: true });
  });

  test("is none where nothing is answered then: the rows were there, and it is asked once", async () => {
    const { fetch, sender } = bench([none, { status: 200 }, none]);
    const batch = batchOf([ADA, BEA]);
    const ignored = [ADA, BEA].map((row) => ({ outcome: "ignored", id: itemOf(row).id }));
    expect(await sender(batch)).toEqual(ignored);
    expect(await sender(batch)).toEqual(ignored);
    expect(fetch.requests).toHaveLength(3);
    const { method, headers, body } = await sentIn(fetch, 1);
    expect([method, headers.get("prefer"), body.length]).toEqual([
      "POST",
      "resolution=ignore-duplicates, missing=default",
      1,
    ]);
  });

  test.each([
    ["a row is new", created(ADA)],
    ["the status is that of a creation", { status: 201, body: [] }],
  ])("is none where %s", async (_, answer) => {
    const { fetch, sender } = bench([answer]);
    await sender(batchOf([ADA]));
    expect(fetch.requests).toHaveLength(1);
  });

  test("may still be one where that was refused: the next batch is asked about", async () => {
    const { fetch, sender } = bench([none, 429, none, { status: 200 }]);
    await sender(batchOf([ADA]));
    await sender(batchOf([ADA]));
    expect(fetch.requests).toHaveLength(4);
  });
});

describe("verify", () => {
  const look = (...answers: Answers) => {
    const { fetch, sender } = bench(answers);
    const item = itemOf<Contact>(ADA);
    return { fetch, found: sender.verify?.(ADA, item, new AbortController().signal) };
  };

  test("asks for the id, once", async () => {
    const { fetch, found } = look({ status: 200, body: [{ import_key: itemOf(ADA).id }] });
    await expect(found).resolves.toEqual({ outcome: "ignored", id: itemOf(ADA).id });
    const { method, query } = await sentIn(fetch);
    expect([method, query]).toEqual([
      "GET",
      { select: "import_key", import_key: `eq.${itemOf(ADA).id}`, limit: "1" },
    ]);
  });

  test("nothing is certain too", async () => {
    await expect(look({ status: 200, body: [] }).found).resolves.toBeUndefined();
  });

  test.each<Answers[number]>(["lost", failure(503), failure(429, { message: "slow down" }), failure(404)])(
    "%j is not, and nobody repeats it",
    async (answer) => {
      const { fetch, found } = look(answer);
      await expect(found).rejects.toBeInstanceOf(SupabaseSendError);
      expect(fetch.requests).toHaveLength(1);
    },
  );
});

describe("behind resilientFetch", () => {
  const POLICY = { "RateLimit-Policy": '"burst";q=100;w=60', RateLimit: '"burst";r=12;t=30' };
  const REFUSED = { status: 429, headers: { "Retry-After": "30" }, body: { message: "slow down" } };

  function guardedBench(answers: Answers, config: Parameters<typeof serviceOf>[0] = {}) {
    const { service, host } = serviceOf(config);
    const fetch = scriptedFetch(...answers);
    const client = clientOver(resilientFetch(service, { fetch }));
    const sender = supabaseSender<Contact>(client, "contacts", { idColumn: "import_key" });
    return { service, host, fetch, sender };
  }

  /** Somebody else's call is refused, and gives up. */
  function refuseOthers(service: ReturnType<typeof serviceOf>["service"]) {
    const refusal = Object.assign(new Error("429"), { status: 429 });
    return service.executeWithRetry(() => Promise.reject(refusal), { maxRetries: 0 }).catch(() => {});
  }

  test("a refusal is the import's business: sent once, counted nowhere, told with its headers", async () => {
    const { service, fetch, sender } = guardedBench([REFUSED], { maxRetryAfterMs: 1_000 });
    const error = await thrownBy(sender, batchOf([ADA]));
    expect(error).toMatchObject({ status: 429, message: "slow down", code: undefined, sent: undefined });
    expect((error as SupabaseSendError).headers?.get("retry-after")).toBe("30");
    expect(await verdictOn(error)).toEqual({ verdict: "throttled", hintMs: 30_000 });
    expect(fetch.requests).toHaveLength(1);
    expect(service.getMetrics()).toMatchObject({ calls: 0, throttled: 0 });
    expect(service.getCircuitState().consecutiveFailures).toBe(0);
  });

  test("what the server says about its limit is heard when all is well too", async () => {
    const { sender } = guardedBench([{ ...created(ADA), headers: POLICY }]);
    const heard: (Response | Headers)[] = [];
    const answer = await sender({ ...batchOf<Contact>([ADA]), heard: (said) => heard.push(said) });
    expect(answer).toMatchObject([{ outcome: "imported" }]);
    expect(heard).toHaveLength(1);
    expect((heard[0] as Headers).get("ratelimit")).toBe(POLICY.RateLimit);
  });

  test("each batch hears its own answer, though they overlap", async () => {
    const { sender } = guardedBench([
      { ...created(ADA), headers: { RateLimit: "first" } },
      { ...created(BEA), headers: { RateLimit: "second" } },
    ]);
    const heard: string[] = [];
    const hear = (name: string) => (said: Response | Headers) =>
      heard.push(`${name} ${(said as Headers).get("ratelimit")}`);
    await Promise.all([
      sender({ ...batchOf<Contact>([ADA]), heard: hear("ada") }),
      sender({ ...batchOf<Contact>([BEA]), heard: hear("bea") }),
    ]);
    expect(heard).toEqual(["ada first", "bea second"]);
  });

  test("an answer that is lost has no headers, also after one that had", async () => {
    const { sender } = guardedBench([{ ...created(ADA), headers: POLICY }, "lost"]);
    const batch = { ...batchOf<Contact>([ADA]), heard: () => {} };
    await sender(batch);
    expect(await thrownBy(sender, batch)).toMatchObject({ status: 0, headers: undefined });
  });

  test("a look-up passes as well, and its refusal has headers", async () => {
    const { service, sender } = guardedBench([REFUSED]);
    const looked = sender.verify?.(ADA, itemOf(ADA), new AbortController().signal);
    const error = (await looked?.catch((error: unknown) => error)) as SupabaseSendError;
    expect(error.headers?.get("retry-after")).toBe("30");
    expect(service.getMetrics().calls).toBe(0);
  });

  test("a cooldown of others does not hold it", async () => {
    const { service, fetch, sender } = guardedBench([created(ADA)]);
    await refuseOthers(service);
    expect(await sender(batchOf([ADA]))).toMatchObject([{ outcome: "imported" }]);
    expect(fetch.requests).toHaveLength(1);
  });

  test("a circuit that others opened does: nothing is sent, and the refusal says when to come back", async () => {
    const { service, host, fetch, sender } = guardedBench([created(ADA)], { circuitBreakerThreshold: 1 });
    await refuseOthers(service);
    const error = await thrownBy(sender, batchOf([ADA]));
    expect(error).toMatchObject({
      status: 429,
      code: "RATE_LIMIT_CIRCUIT_OPEN",
      retryAfterMs: 60_000,
      sent: false,
    });
    expect(await verdictOn(error)).toMatchObject({ verdict: "ignored" });
    expect(fetch.requests).toHaveLength(0);

    await host.advance(60_000);
    expect(await sender(batchOf([ADA]))).toMatchObject([{ outcome: "imported" }]);
    expect(service.getCircuitState()).toMatchObject({ state: "half-open", retryAfterMs: 0 });
  });

  test("isolated there is no time to come back at", async () => {
    const { service, sender } = guardedBench([200]);
    service.isolateCircuit();
    const error = await thrownBy(sender, batchOf([ADA]));
    expect(error).toMatchObject({ code: "RATE_LIMIT_CIRCUIT_OPEN", sent: false });
    expect((error as SupabaseSendError).retryAfterMs).toBeUndefined();
  });

  test("others are guarded as ever", async () => {
    const { service, fetch } = guardedBench([200]);
    const resilient = resilientFetch(service, { fetch });
    await resilient(`${URL_OF_PROJECT}/rest/v1/contacts`, { signal: new AbortController().signal });
    expect(service.getMetrics().calls).toBe(1);
  });
});

describe("bad input", () => {
  const client = clientOver(scriptedFetch());
  const make =
    (...given: unknown[]) =>
    () =>
      Reflect.apply(supabaseSender, undefined, given) as unknown;

  test.each<[name: string, given: unknown[], field: string]>([
    ["no client", [undefined, "contacts", { idColumn: "id" }], "client"],
    ["a string for a client", ["https://x", "contacts", { idColumn: "id" }], "client"],
    ["no table", [client, "", { idColumn: "id" }], "table"],
    ["no options", [client, "contacts"], "options"],
    ["no column", [client, "contacts", {}], "idColumn"],
    ["an empty column", [client, "contacts", { idColumn: "" }], "idColumn"],
    ["no rows at all", [client, "contacts", { idColumn: "id", maxBatch: 0 }], "maxBatch"],
    ["more rows than are answered", [client, "contacts", { idColumn: "id", maxBatch: 1_001 }], "maxBatch"],
    ["a map that is none", [client, "contacts", { idColumn: "id", map: {} }], "map"],
    ["an unknown option", [client, "contacts", { idColumn: "id", batchSize: 3 }], "batchSize"],
  ])("%s", (_, given, field) => {
    expect(make(...given)).toThrow(RateLimitConfigError);
    expect(make(...given)).toThrow(expect.objectContaining({ field }));
  });
});
