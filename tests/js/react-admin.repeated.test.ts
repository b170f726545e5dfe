import { createClient } from "@supabase/supabase-js";
import { type DataProvider, HttpError } from "ra-core";
import { supabaseDataProvider } from "ra-supabase-core";
import { afterEach, describe, expect, test, vi } from "vitest";
import WebSocket from "ws";
import type { RateLimitService } from "../../js/index.ts";
import { resilientDataProvider } from "../../js/react-admin.ts";
import type { ManualHost } from "../../js/testing.ts";
import type { RateLimitConfig } from "../../js/types.ts";
import { serviceOf } from "./react-admin.support.ts";
import { rejection } from "./support/service.ts";

type Contact = Record<string, unknown>;

/** What becomes of a request: whether it is done, and what is heard of it. */
interface Fault {
  isDone: boolean;
  answer: () => Response | Promise<Response>;
}

const failed = (): never => {
  throw new TypeError("Failed to fetch");
};
const json = (status: number, body: unknown) => Response.json(body, { status });

/** A body that ends within its first record, with the connection. */
const cut = () => {
  const body = new ReadableStream({
    pull: (controller) => controller.error(new TypeError("terminated")),
  });
  return new Response(body, { status: 201 });
};

const NOT_DONE = { isDone: false };
const DONE = { isDone: true };

const LOST: Fault = { ...DONE, answer: failed };
const REFUSED: Fault = { ...NOT_DONE, answer: () => json(429, { message: "Slow down" }) };
const SILENT: Fault = { ...NOT_DONE, answer: failed };
const TIMED_OUT: Fault = { ...DONE, answer: () => new Promise(() => {}) };

/** A table of Postgres behind PostgREST, as `fetch` sees it: the next requests meet the faults, one each. */
class Table {
  readonly faults: (Fault | undefined)[] = [];
  readonly requests: string[] = [];
  contacts: Contact[];

  constructor(...contacts: Contact[]) {
    this.contacts = contacts;
    vi.stubGlobal("fetch", (input: RequestInfo | URL, init?: RequestInit) =>
      this.#handle(new Request(input, init)),
    );
  }

  async #handle(request: Request): Promise<Response> {
    const { pathname, searchParams } = new URL(request.url);
    this.requests.push(`${request.method} ${pathname.replace("/rest/v1/", "")}`);
    const fault = this.faults.shift();
    if (fault && !fault.isDone) return fault.answer();
    const answer = this.#answer(request.method, searchParams.get("id"), await request.text());
    return fault ? fault.answer() : answer;
  }

  #answer(method: string, filter: string | null, body: string): Response {
    const isMeant = ({ id }: Contact) => filter === `eq.${id}`;
    if (method === "POST") return this.#insert(JSON.parse(body));
    const [meant, ...others] = this.contacts.filter(isMeant);
    if (!meant || others.length > 0) return json(406, NONE);
    if (method === "DELETE") this.contacts = this.contacts.filter((contact) => contact !== meant);
    return json(200, meant);
  }

  #insert(sent: Contact): Response {
    if (this.contacts.some(({ id }) => id === sent.id)) return json(409, DUPLICATE);
    this.contacts.push(asStored(sent));
    return json(201, this.contacts.at(-1));
  }
}

/** As a trigger and the types of the columns have it. */
function asStored({ email, seen_at, ...contact }: Contact): Contact {
  return {
    created_at: "2026-01-02T03:04:05.678901+00:00",
    ...contact,
    ...(email !== undefined && { email: String(email).toLowerCase() }),
    ...(seen_at !== undefined && { seen_at: String(seen_at).replace("Z", "+00:00") }),
  };
}

const NONE = {
  code: "PGRST116",
  details: "The result contains 0 rows",
  hint: null,
  message: "Cannot coerce the result to a single JSON object",
};

const DUPLICATE = {
  code: "23505",
  details: "Key (id)=(7) already exists.",
  hint: null,
  message: 'duplicate key value violates unique constraint "contacts_pkey"',
};

const instanceUrl = "https://project.supabase.co";

/** ra-supabase as it is: over its own httpClient and fetchJson. */
function supabase(): DataProvider {
  return supabaseDataProvider({
    instanceUrl,
    apiKey: "key",
    supabaseClient: createClient(instanceUrl, "key", {
      auth: { persistSession: false, autoRefreshToken: false },
      // The client needs a socket to be made, and Node 20 has none; nothing is sent over it.
      realtime: { transport: WebSocket as never },
    }),
  });
}

function guarded(config: Partial<RateLimitConfig> = {}, provider: object = supabase()) {
  const { host, service } = serviceOf({ retryTransient: "idempotent", jitter: "none", ...config });
  const own = resilientDataProvider(provider as DataProvider, { service });
  const settle = <T>(call: Promise<T>) => settled(call, host);
  return { host, service, provider: own, settle };
}

/** Like `host.drive`, for answers that are read from a stream: that takes turns of the event loop, and no time. */
async function settled<T>(call: Promise<T>, host: ManualHost): Promise<T> {
  let pending = true;
  const done = () => {
    pending = false;
  };
  call.then(done, done);
  while (pending) {
    for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve));
    if (pending) await host.advance(100);
  }
  return call;
}

afterEach(() => {
  vi.unstubAllGlobals();
});

const ADA = { id: 7, first_name: "Ada", email: "Ada@Example.com", seen_at: "2026-11-22T10:00:00.500Z" };

/** What may have been done, and how a client hears of it. */
const UNKNOWN: [name: string, fault: Fault][] = [
  ["no answer", LOST],
  ["an answer that does not come whole", { ...DONE, answer: cut }],
  ["502, a page of a proxy", { ...DONE, answer: () => new Response("<html></html>", { status: 502 }) }],
  ["504", { ...DONE, answer: () => json(504, { message: "upstream request timeout" }) }],
  ["520", { ...DONE, answer: () => new Response("<html></html>", { status: 520 }) }],
  [
    "503 with a connection that was lost",
    { ...DONE, answer: () => json(503, { code: "08006", message: "connection failure" }) },
  ],
];

describe("create with an id of the client's", () => {
  test.each(UNKNOWN)("done, and then %s: the record", async (_, fault) => {
    const table = new Table();
    const { provider, settle } = guarded();
    table.faults.push(fault);
    const answer = await settle(provider.create("contacts", { data: ADA }));
    expect(answer.data).toEqual(table.contacts[0]);
    expect(answer.data).toMatchObject({ id: 7, email: "ada@example.com" });
    expect(table.requests).toEqual(["POST contacts", "POST contacts", "GET contacts"]);
    expect(table.contacts.length).toBe(1);
  });

  test("done, and then it took too long, without an end: the record", async () => {
    const table = new Table();
    const { provider, settle } = guarded({ attemptTimeoutMs: 2_000 });
    table.faults.push(TIMED_OUT);
    await expect(settle(provider.create("contacts", { data: ADA }))).resolves.toMatchObject({
      data: { id: 7 },
    });
    expect(table.requests).toEqual(["POST contacts", "POST contacts", "GET contacts"]);
  });

  test("however many attempts lie between, refusals too", async () => {
    const table = new Table();
    const { provider, settle, service } = guarded();
    table.faults.push(LOST, REFUSED);
    await expect(settle(provider.create("contacts", { data: ADA }))).resolves.toMatchObject({
      data: { id: 7 },
    });
    expect(table.requests).toEqual(["POST contacts", "POST contacts", "POST contacts", "GET contacts"]);
    expect(service.getMetrics()).toMatchObject({ calls: 1, attempts: 3, successes: 1 });
  });

  test("in the calm nobody looks", async () => {
    const table = new Table();
    const { provider, settle } = guarded();
    await settle(provider.create("contacts", { data: ADA }));
    table.faults.push(SILENT);
    await settle(provider.create("contacts", { data: { ...ADA, id: 8 } }));
    expect(table.requests).toEqual(["POST contacts", "POST contacts", "POST contacts"]);
  });

  test.each<[name: string, faults: Fault[]]>([
    ["at the first attempt", []],
    ["after refusals", [REFUSED, REFUSED]],
  ])("%s a duplicate is an error, and nobody looks", async (_, faults) => {
    const table = new Table(asStored(ADA));
    const { provider, settle } = guarded();
    table.faults.push(...faults);
    const error = await rejection(settle(provider.create("contacts", { data: ADA })));
    expect(error).toMatchObject({ name: "HttpError", status: 409, body: { code: "23505" } });
    expect(table.requests).toEqual(Array(faults.length + 1).fill("POST contacts"));
  });

  test.each<[name: string, theirs: Contact]>([
    ["another name", { ...ADA, first_name: "Bea" }],
    ["another time", { ...ADA, seen_at: "2026-11-22T10:00:00.501Z" }],
    ["nothing where we have something", { id: 7, first_name: "Ada", email: ADA.email }],
  ])("somebody else's record with that id and %s stays an error", async (_, theirs) => {
    const table = new Table(asStored(theirs));
    const { provider, settle } = guarded();
    table.faults.push(LOST);
    const error = await rejection(settle(provider.create("contacts", { data: ADA })));
    expect(error).toMatchObject({ status: 409, body: DUPLICATE });
    expect(table.requests).toEqual(["POST contacts", "POST contacts", "GET contacts"]);
  });

  test("a conflict with another record is the error: ours is not there", async () => {
    const table = new Table();
    const { provider, settle } = guarded();
    const email = { ...DUPLICATE, details: "Key (email)=(ada@example.com) already exists." };
    table.faults.push(SILENT, { ...NOT_DONE, answer: () => json(409, email) });
    const error = await rejection(settle(provider.create("contacts", { data: ADA })));
    expect(error).toMatchObject({ status: 409, body: email });
    expect(table.requests).toEqual(["POST contacts", "POST contacts", "GET contacts"]);
  });

  test.each([
    ["an id of the server's", { first_name: "Ada" }],
    ["an empty one", { id: "", first_name: "Ada" }],
  ])("with %s there is nothing to look for", async (_, data) => {
    const table = new Table();
    const { provider, settle } = guarded({ retryTransient: "always" });
    table.faults.push(LOST, { ...NOT_DONE, answer: () => json(409, DUPLICATE) });
    const error = await rejection(settle(provider.create("contacts", { data })));
    expect(error).toMatchObject({ status: 409 });
    expect(table.requests).toEqual(["POST contacts", "POST contacts"]);
  });
});

describe("the look-up", () => {
  const conflict = () => new HttpError("duplicate key", 409, { code: "23505" });
  const lost = () => new TypeError("Failed to fetch");

  /** A provider whose create fails with these; `getOne` answers. */
  function failing(getOne: (...args: unknown[]) => unknown, ...errors: unknown[]) {
    const create = vi.fn(async (..._args: unknown[]) => {
      if (errors.length > 0) throw errors.shift();
      return { data: { id: "new" } };
    });
    return { create, getOne: vi.fn(getOne) };
  }

  test("asks the provider itself, with the meta and the signal of the attempt, past a guard inside", async () => {
    const inner = serviceOf();
    const base = failing(async () => ({ data: { id: 7 } }), lost(), conflict());
    const provider = resilientDataProvider(base, { service: inner.service, methods: ["getOne"] });
    const outer = guarded({}, provider);
    const { signal } = new AbortController();
    const meta = { schema: "crm", resilience: { priority: 1 } };
    await outer.settle(outer.provider.create("posts", { data: { id: 7 }, meta, signal } as never));
    expect(base.getOne).toHaveBeenCalledTimes(1);
    const [resource, params] = base.getOne.mock.lastCall as [string, { signal: AbortSignal }];
    expect([resource, { ...params }]).toEqual([
      "posts",
      expect.objectContaining({ id: 7, meta: { schema: "crm" }, signal: expect.any(AbortSignal) }),
    ]);
    expect(params.signal).not.toBe(signal);
    expect(inner.service.getMetrics().calls).toBe(0);
  });

  test("without a meta and a signal gets none", async () => {
    const base = failing(async () => ({ data: { id: 7 } }), lost(), conflict());
    const { provider, settle } = guarded({}, base);
    await settle(provider.create("posts", { data: { id: 7 } }));
    expect(Object.keys(base.getOne.mock.lastCall?.[1] as object)).toEqual(["id"]);
  });

  test.each<[name: string, getOne: (() => unknown) | undefined]>([
    ["fails", () => Promise.reject(new HttpError("Bad Gateway", 502))],
    ["is refused", () => Promise.reject(new HttpError("Slow down", 429))],
    [
      "throws",
      () => {
        throw new Error("no");
      },
    ],
    ["finds nothing", async () => undefined],
    ["finds no data", async () => ({})],
    ["is answered with something else", async () => "<html>"],
    ["does not exist", undefined],
  ])("that %s leaves the error as it was, the same object", async (_, getOne) => {
    const error = conflict();
    const base = failing(getOne ?? (() => undefined), lost(), error);
    const { provider, settle } = guarded({}, getOne ? base : { create: base.create });
    expect(await rejection(settle(provider.create("posts", { data: { id: 7 } })))).toBe(error);
    expect(base.create).toHaveBeenCalledTimes(2);
  });

  test("of data that cannot be compared leaves the error as it was", async () => {
    const error = conflict();
    const data: Contact = { id: 7 };
    data.self = data;
    const base = failing(async () => ({ data }), lost(), error);
    const { provider, settle } = guarded({}, base);
    expect(await rejection(settle(provider.create("posts", { data })))).toBe(error);
  });

  test("ends with the signal of the call, at once", async () => {
    const base = failing(() => new Promise(() => {}), lost(), conflict());
    const { provider, host } = guarded({}, base);
    const controller = new AbortController();
    const params = { data: { id: 7 }, signal: controller.signal };
    const call = rejection(provider.create("posts", params as never));
    await host.advance(1_000);
    expect(base.getOne).toHaveBeenCalledTimes(1);
    controller.abort();
    expect(await call).toBe(controller.signal.reason);
  });

  test("ends with the deadline of the call", async () => {
    const base = failing(() => new Promise(() => {}), lost(), conflict());
    const { provider, settle, host } = guarded({}, base);
    const begun = host.now();
    const error = await rejection(settle(provider.create("posts", { data: { id: 7 } })));
    expect(error).toMatchObject({ code: "RATE_LIMIT_DEADLINE_EXCEEDED", status: 429 });
    expect(host.now() - begun).toBe(15_000);
  });

  test("that takes longer than an attempt may is not made again", async () => {
    const error = conflict();
    const base = failing(() => new Promise(() => {}), lost(), conflict(), error);
    const { provider, settle } = guarded({ attemptTimeoutMs: 1_000 }, base);
    expect(await rejection(settle(provider.create("posts", { data: { id: 7 } })))).toBe(error);
    expect([base.create.mock.calls.length, base.getOne.mock.calls.length]).toEqual([3, 1]);
  });

  test("is not made for an attempt that was given up", async () => {
    let fail: ((error: unknown) => void) | undefined;
    const pending = new Promise((_, reject) => {
      fail = reject;
    });
    const base = failing(async () => ({ data: { id: 7 } }));
    base.create.mockRejectedValueOnce(lost()).mockReturnValueOnce(pending as never);
    const { provider, settle } = guarded({ attemptTimeoutMs: 1_000 }, base);
    await expect(settle(provider.create("posts", { data: { id: 7 } }))).resolves.toEqual({
      data: { id: "new" },
    });
    fail?.(conflict());
    await new Promise((resolve) => setImmediate(resolve));
    expect(base.getOne).not.toHaveBeenCalled();
  });

  test("is made when an attempt that was given up failed later", async () => {
    const base = failing(async () => ({ data: { id: 7 } }));
    base.create
      .mockImplementationOnce(
        (_resource, params) =>
          new Promise((_, reject) => {
            const { signal } = params as { signal: AbortSignal };
            signal.addEventListener("abort", () => reject(signal.reason));
          }),
      )
      .mockRejectedValueOnce(conflict());
    const { provider, settle } = guarded({ attemptTimeoutMs: 1_000 }, base);
    const { signal } = new AbortController();
    const call = provider.create("posts", { data: { id: 7 }, signal } as never);
    await expect(settle(call)).resolves.toEqual({ data: { id: 7 } });
  });

  test("an error that cannot be read comes out as it is", async () => {
    const error = {
      get status() {
        throw new Error("not to be read");
      },
    };
    const base = failing(async () => ({ data: { id: 7 } }), lost(), error);
    const { provider, settle } = guarded({}, base);
    expect(await rejection(settle(provider.create("posts", { data: { id: 7 } })))).toBe(error);
  });

  test("with a service of somebody else's, which knows nothing of attempts, errors come out as they are", async () => {
    const error = conflict();
    const base = failing(async () => ({ data: { id: 7 } }), error);
    const service = { executeWithRetry: (operation: () => unknown) => operation() };
    const provider = resilientDataProvider(base as unknown as DataProvider, {
      service: service as unknown as RateLimitService,
    });
    expect(await rejection(provider.create("posts", { data: { id: 7 } }))).toBe(error);
  });

  test.each<[name: string, sent: unknown, found: unknown, isIt: boolean]>([
    ["white space", " Ada ", "Ada", true],
    ["case", "Ada@Example.com", "ada@example.com", true],
    ["digits", "12.50", 12.5, true],
    ["a date", new Date("2026-11-22T10:00:00Z"), "2026-11-22T10:00:00+00:00", true],
    ["a time without a zone", "2026-11-22T10:00:00.000Z", "2026-11-22T10:00:00", true],
    ["a time in another zone", "2026-11-22T12:00:00+02:00", "2026-11-22T10:00:00+00:00", true],
    ["a day", "2026-11-22", "2026-11-22", true],
    ["another day", "2026-11-22", "2026-11-23", false],
    ["nothing", "", null, true],
    ["what was not sent", undefined, "x", true],
    ["null where there is something", null, "x", false],
    ["something where there is null", "x", null, false],
    ["zero where there is nothing", 0, null, false],
    ["keys in another order", { a: 1, b: [{ c: 2 }] }, { b: [{ c: 2 }], a: 1 }, true],
    ["another entry", [{ email: "a@b.c" }], [{ email: "x@b.c" }], false],
    ["more entries", [1], [1, 2], false],
    ["a list for an object", [], {}, false],
    ["a text for an object", {}, "x", false],
    ["another text", "Ada", "Bea", false],
    ["another number", 1, 2, false],
    ["no number", "x", 0, false],
  ])("compares %s", async (_, sent, found, isIt) => {
    const error = conflict();
    const base = failing(async () => ({ data: { id: 7, field: found } }), lost(), error);
    const { provider, settle } = guarded({}, base);
    const call = settle(provider.create("posts", { data: { id: 7, field: sent } }));
    if (isIt) await expect(call).resolves.toEqual({ data: { id: 7, field: found } });
    else expect(await rejection(call)).toBe(error);
  });
});

describe("delete", () => {
  const there = () => new Table(asStored(ADA), asStored({ ...ADA, id: 8 }));

  test.each(UNKNOWN)("done, and then %s: it is done", async (_, fault) => {
    const table = there();
    const { provider, settle } = guarded();
    table.faults.push(fault);
    const previousData = { id: 7, first_name: "Ada" };
    const answer = await settle(provider.delete("contacts", { id: 7, previousData }));
    expect(answer).toEqual({ data: previousData });
    expect(table.requests).toEqual(["DELETE contacts", "DELETE contacts", "GET contacts"]);
    expect(table.contacts.map(({ id }) => id)).toEqual([8]);
  });

  test("without the previous data it answers with the id", async () => {
    const table = there();
    const { provider, settle } = guarded();
    table.faults.push(LOST);
    await expect(settle(provider.delete("contacts", { id: 7 } as never))).resolves.toEqual({
      data: { id: 7 },
    });
  });

  test.each<[name: string, faults: Fault[]]>([
    ["at the first attempt", []],
    ["after a refusal", [REFUSED]],
  ])("%s a record that is missing is an error, and nobody looks", async (_, faults) => {
    const table = new Table();
    const { provider, settle } = guarded();
    table.faults.push(...faults);
    const error = await rejection(settle(provider.delete("contacts", { id: 7 } as never)));
    expect(error).toMatchObject({ status: 406, body: { code: "PGRST116" } });
    expect(table.requests).toEqual(Array(faults.length + 1).fill("DELETE contacts"));
  });

  test("one that is there and may not be deleted is an error: to DELETE it is missing, too", async () => {
    const table = there();
    const { provider, settle } = guarded();
    table.faults.push(SILENT, { ...NOT_DONE, answer: () => json(406, NONE) });
    const error = await rejection(settle(provider.delete("contacts", { id: 7 } as never)));
    expect(error).toMatchObject({ status: 406, body: { code: "PGRST116" } });
    expect(table.requests.at(-1)).toBe("GET contacts");
  });

  const gone = (status: number, body: unknown) => new HttpError("gone", status, body);
  test.each<[name: string, error: unknown, isGone: boolean]>([
    ["404", gone(404, null), true],
    ["404 with words of its own", gone(404, { code: "CONTACT_NOT_FOUND" }), true],
    ["410", gone(410, {}), true],
    [
      "the code of PostgREST alone",
      { code: "PGRST116", details: "Results contain 0 rows", message: "x" },
      true,
    ],
    ["in the cause", new Error("no", { cause: NONE }), true],
    ["406 of several", gone(406, { ...NONE, details: "The result contains 3 rows" }), false],
    [
      "404, for there is no table",
      gone(404, { code: "PGRST205", message: "Could not find the table" }),
      false,
    ],
    [
      "404, for there is no relation",
      gone(404, { code: "42P01", message: "relation does not exist" }),
      false,
    ],
    ["406 for another reason", gone(406, { code: "PGRST107" }), false],
    ["403", gone(403, { code: "42501" }), false],
    ["nothing in particular", new Error("no"), false],
  ])("of another provider, answered %s", async (_, error, isGone) => {
    const base = { delete: vi.fn(), getOne: vi.fn().mockRejectedValue(error) };
    base.delete.mockRejectedValueOnce(new TypeError("Failed to fetch")).mockRejectedValueOnce(error);
    const { provider, settle } = guarded({}, base);
    const call = settle(provider.delete("posts", { id: 7 } as never));
    if (isGone) await expect(call).resolves.toEqual({ data: { id: 7 } });
    else expect(await rejection(call)).toBe(error);
  });
});

describe("deleteMany", () => {
  const missing = () => new HttpError("Not Found", 404);

  /** As providers are that send a DELETE for each. */
  function eachProvider(...left: object[]) {
    const deleteMany = vi.fn().mockRejectedValueOnce(new TypeError("Failed to fetch"));
    return { deleteMany, getMany: vi.fn(async (..._args: unknown[]): Promise<unknown> => ({ data: left })) };
  }

  test("is done when none of them is there any more", async () => {
    const base = eachProvider();
    base.deleteMany.mockRejectedValueOnce(missing());
    const { provider, settle } = guarded({}, base);
    const ids = [7, 8];
    await expect(settle(provider.deleteMany("posts", { ids }))).resolves.toEqual({ data: ids });
    expect(base.getMany.mock.calls).toEqual([["posts", expect.objectContaining({ ids })]]);
  });

  test.each<[name: string, answer: unknown]>([
    ["one is left", { data: [{ id: 8 }] }],
    ["nobody can tell", {}],
  ])("is an error when %s", async (_, answer) => {
    const base = eachProvider();
    const error = missing();
    base.deleteMany.mockRejectedValueOnce(error);
    base.getMany.mockResolvedValueOnce(answer);
    const { provider, settle } = guarded({}, base);
    expect(await rejection(settle(provider.deleteMany("posts", { ids: [7, 8] })))).toBe(error);
  });

  test("through ra-supabase the repetition finds nothing to do, and nobody looks", async () => {
    const table = new Table();
    const { provider, settle } = guarded();
    table.faults.push(LOST, { ...NOT_DONE, answer: () => json(200, []) });
    await expect(settle(provider.deleteMany("contacts", { ids: [7, 8] }))).resolves.toEqual({ data: [] });
    expect(table.requests).toEqual(["DELETE contacts", "DELETE contacts"]);
  });
});

test.each([
  ["update", { id: 7, data: { title: "Dr." }, previousData: { id: 7 } }],
  ["updateMany", { ids: [7], data: { title: "Dr." } }],
] as const)("a repeated %s that fails is an error: nobody looks", async (name, params) => {
  const error = new HttpError("Not Found", 404);
  const method = vi.fn().mockRejectedValueOnce(new TypeError("Failed to fetch")).mockRejectedValueOnce(error);
  const base = { [name]: method, getOne: vi.fn(), getMany: vi.fn() };
  const { provider, settle } = guarded({}, base);
  expect(await rejection(settle(provider[name]("posts", params as never)))).toBe(error);
  expect(base.getOne).not.toHaveBeenCalled();
  expect(base.getMany).not.toHaveBeenCalled();
});
