import { createClient } from "@supabase/supabase-js";
import { combineDataProviders, type DataProvider, HttpError, withLifecycleCallbacks } from "ra-core";
import { supabaseDataProvider } from "ra-supabase-core";
import { describe, expect, test, vi } from "vitest";
import WebSocket from "ws";
import { RateLimitConfigError } from "../../js/index.ts";
import { type DataProviderSenderOptions, dataProviderSender } from "../../js/react-admin/sender.ts";
import { resilientDataProvider } from "../../js/react-admin.ts";
import { scriptedFetch } from "../../js/testing.ts";
import { serviceOf } from "./react-admin.support.ts";
import { batchOf, itemOf, thrownBy, verdictOn } from "./senders.support.ts";

type Answers = Parameters<typeof scriptedFetch>;
type Contact = Record<string, unknown>;

const PROJECT = "https://project.supabase.co";
const ADA: Contact = { first_name: "Ada", last_name: "Lovelace", email: "Ada@example.com" };
const BEA: Contact = { first_name: "Bea", last_name: "Arthur", email: "bea@example.com" };

/** ra-supabase over a scripted server, and what that saw. */
function supabase(...answers: Answers) {
  const fetch = scriptedFetch(...answers);
  vi.stubGlobal("fetch", fetch);
  const provider = supabaseDataProvider({
    instanceUrl: PROJECT,
    apiKey: "key",
    supabaseClient: createClient(PROJECT, "key", {
      auth: { persistSession: false, autoRefreshToken: false },
      // Node 20 has no WebSocket of its own.
      realtime: { transport: WebSocket as never },
    }),
  });
  return { fetch, provider };
}

const page = (...records: object[]) => ({
  status: 200,
  headers: { "content-range": `0-${records.length}/${records.length}` },
  body: records,
});

const queryOf = ({ url }: Request) => Object.fromEntries(new URL(url).searchParams);
const conflict = {
  status: 409,
  body: { code: "23505", message: "duplicate key value violates unique constraint" },
};

/** A provider that is only what a test needs of one. */
function provided(methods: object): DataProvider {
  return {
    create: vi.fn(),
    getList: vi.fn(async () => ({ data: [], total: 0 })),
    ...methods,
  } as unknown as DataProvider;
}

describe("create", () => {
  test("one record, and its id", async () => {
    const { fetch, provider } = supabase({ status: 201, body: { id: 7, ...ADA } });
    const sender = dataProviderSender(provider, "contacts");
    expect(await sender(batchOf([ADA]))).toEqual([{ outcome: "imported", id: 7 }]);
    const [request] = fetch.requests as [Request];
    expect([request.method, new URL(request.url).pathname]).toEqual(["POST", "/rest/v1/contacts"]);
    expect(await request.json()).toEqual(ADA);
  });

  test("mapped, with the meta of the options", async () => {
    const create = vi.fn(async (_resource: string, _params: object) => ({ data: { id: "a1" } }));
    const map = async (row: Contact, { index }: { index: number }) => ({ name: row.first_name, index });
    const sender = dataProviderSender(provided({ create }), "contacts", { map, meta: { columns: "id" } });
    expect(await sender(batchOf([ADA]))).toEqual([{ outcome: "imported", id: "a1" }]);
    expect(create.mock.calls[0]?.[0]).toBe("contacts");
    expect(create.mock.calls[0]?.[1]).toMatchObject({
      data: { name: "Ada", index: 0 },
      meta: { columns: "id" },
    });
  });

  test.each([[undefined], [null], [{}], [{ data: {} }], [{ data: null }]])(
    "imported, though %j does not say its id",
    async (answer) => {
      const sender = dataProviderSender(provided({ create: async () => answer }), "contacts");
      expect(await sender(batchOf([ADA]))).toEqual([{ outcome: "imported" }]);
    },
  );

  test("each call gets a record of its own: callbacks write into it", async () => {
    const seen: object[] = [];
    const create = async (_: string, { data }: { data: Contact }) => {
      seen.push({ ...data });
      data.created_at = "now";
      return { data: { id: 1 } };
    };
    const sender = dataProviderSender(provided({ create }), "contacts");
    const batch = batchOf([ADA]);
    await sender(batch);
    await sender(batch);
    expect(seen).toEqual([ADA, ADA]);
  });

  test("its lifecycle callbacks run", async () => {
    const { fetch, provider } = supabase({ status: 201, body: { id: 7 } });
    const beforeCreate = async (params: object) => ({ ...params, data: { ...ADA, stamped: true } });
    const outside = withLifecycleCallbacks(provider, [
      { resource: "contacts", beforeCreate: beforeCreate as never },
    ]);
    await dataProviderSender(outside, "contacts")(batchOf([ADA]));
    expect(await (fetch.requests[0] as Request).json()).toEqual({ ...ADA, stamped: true });
  });

  test("what the engine reads off it", () => {
    const { provider } = supabase();
    const sender = { ...dataProviderSender(provider, "contacts") };
    expect(sender).toMatchObject({ idempotent: false, maxBatch: 1, table: "contacts" });
    expect(sender).not.toHaveProperty("origin");
    expect({
      ...dataProviderSender(provider, "contacts", { origin: PROJECT, verifyBy: null }),
    }).toMatchObject({ origin: PROJECT });
    expect({ ...dataProviderSender(provider, "contacts", { verifyBy: null }) }).not.toHaveProperty("verify");
  });

  test("a batch of several is not halfway done", async () => {
    const create = vi.fn();
    const error = await thrownBy(dataProviderSender(provided({ create }), "contacts"), batchOf([ADA, BEA]));
    expect(error).toBeInstanceOf(TypeError);
    expect(create).not.toHaveBeenCalled();
  });
});

describe("what is thrown is the same object", () => {
  test.each([
    ["a refusal", new HttpError("Slow down", 429, { code: "PT429" }), "throttled"],
    ["a validation error", new HttpError("invalid", 400, { code: "23514" }), "permanent"],
    ["a conflict", new HttpError("duplicate key", 409, { code: "23505" }), "permanent"],
    ["a failing server", new HttpError("Bad Gateway", 502), "transient"],
    ["a lost connection", new TypeError("Failed to fetch"), "transient"],
  ])("%s", async (_, error, verdict) => {
    const sender = dataProviderSender(provided({ create: () => Promise.reject(error) }), "contacts");
    expect(await thrownBy(sender, batchOf([ADA]))).toBe(error);
    expect(error).not.toHaveProperty("sent");
    expect((await verdictOn(error)).verdict).toBe(verdict);
  });

  test("also when it is thrown at once", async () => {
    const error = new TypeError("no such resource");
    const create = () => {
      throw error;
    };
    expect(await thrownBy(dataProviderSender(provided({ create }), "contacts"), batchOf([ADA]))).toBe(error);
  });

  test("of map, known not to have been sent", async () => {
    const error = new HttpError("Slow down", 429);
    const create = vi.fn();
    const sender = dataProviderSender(provided({ create }), "contacts", { map: () => Promise.reject(error) });
    expect(await thrownBy(sender, batchOf([ADA]))).toBe(error);
    expect(error).toMatchObject({ sent: false });
    expect(create).not.toHaveBeenCalled();
  });

  test("the reason of the signal, when it aborted before", async () => {
    const create = vi.fn();
    const reason = new Error("cancelled");
    const sender = dataProviderSender(provided({ create }), "contacts");
    expect(await thrownBy(sender, batchOf([ADA], AbortSignal.abort(reason)))).toBe(reason);
    expect(create).not.toHaveBeenCalled();
  });
});

describe("guards of ours let it through", () => {
  const refused = new HttpError("Slow down", 429);
  const guardedTwice = (provider: DataProvider) => {
    const { service } = serviceOf();
    const { service: outer } = serviceOf();
    const methods = ["create", "getList"] as const;
    const inner = resilientDataProvider(provider, { service, methods });
    return {
      inner,
      services: [service, outer],
      outer: (of: DataProvider) => resilientDataProvider(of, { service: outer, methods }),
    };
  };

  test.each<[name: string, around: (guarded: DataProvider) => DataProvider]>([
    ["by itself", (guarded) => guarded],
    ["spread", (guarded) => ({ ...guarded })],
    ["inside withLifecycleCallbacks", (guarded) => withLifecycleCallbacks(guarded, [])],
    ["inside combineDataProviders", (guarded) => combineDataProviders(() => guarded)],
  ])("%s", async (_, around) => {
    const create = vi.fn(() => Promise.reject(refused));
    const { inner, outer, services } = guardedTwice(provided({ create }));
    const sender = dataProviderSender(outer(around(inner)), "contacts");
    expect(await thrownBy(sender, batchOf([ADA]))).toBe(refused);
    expect(create).toHaveBeenCalledTimes(1);
    for (const service of services) {
      expect(service.getMetrics().calls).toBe(0);
      expect(service.getCircuitState().consecutiveFailures).toBe(0);
    }
  });

  test("also with an open circuit, and to verify", async () => {
    const getList = vi.fn(async () => ({ data: [], total: 0 }));
    const { inner, services } = guardedTwice(
      provided({ create: async () => ({ data: { id: 1 } }), getList }),
    );
    for (const service of services) service.isolateCircuit();
    const sender = dataProviderSender(inner, "contacts");
    expect(await sender(batchOf([ADA]))).toEqual([{ outcome: "imported", id: 1 }]);
    await expect(sender.verify?.(ADA, itemOf(ADA), new AbortController().signal)).resolves.toBeUndefined();
  });

  test("everybody else is guarded as before", async () => {
    const { host, service } = serviceOf();
    const create = vi.fn(async () => ({ data: { id: 1 } }));
    create.mockRejectedValueOnce(refused);
    const guarded = resilientDataProvider(provided({ create }), { service });
    await expect(host.drive(guarded.create("contacts", { data: {} }))).resolves.toEqual({ data: { id: 1 } });
    expect(create).toHaveBeenCalledTimes(2);
  });

  test("the mark is nothing that is serialised", async () => {
    const create = vi.fn(async (_resource: string, _params: object) => ({ data: { id: 1 } }));
    await dataProviderSender(provided({ create }), "contacts")(batchOf([ADA]));
    const params = create.mock.calls[0]?.[1] ?? {};
    expect(Object.keys(params)).toEqual(["data"]);
    expect(JSON.parse(JSON.stringify(params))).toEqual({ data: ADA });
  });
});

describe("createMany", () => {
  const manyOf = (answer: unknown, options: DataProviderSenderOptions<Contact> = {}) => {
    const createMany = vi.fn(async (_resource: string, _params: object) => answer);
    return { createMany, sender: dataProviderSender<Contact>(provided({ createMany }), "contacts", options) };
  };
  const two = batchOf([ADA, BEA]);

  test("is called once with all records", async () => {
    const { createMany, sender } = manyOf(undefined, { meta: { columns: "id" } });
    expect({ ...sender }).toMatchObject({ maxBatch: 100 });
    await sender(two);
    expect(createMany).toHaveBeenCalledTimes(1);
    expect(createMany.mock.calls[0]?.[1]).toMatchObject({ data: [ADA, BEA], meta: { columns: "id" } });
  });

  test.each<[name: string, answer: unknown]>([
    ["records as data", { data: [{ id: 1 }, { id: 2 }] }],
    ["ids as data", { data: [1, 2] }],
    ["records", [{ id: 1 }, { id: 2 }]],
    ["answers of create", [{ data: { id: 1 } }, { data: { id: 2 } }]],
    ["answers of create as data", { data: [{ data: { id: 1 } }, { data: { id: 2 } }] }],
    ["settled promises", [1, 2].map((id) => ({ status: "fulfilled", value: { data: { id } } }))],
  ])("%s", async (_, answer) => {
    expect(await manyOf(answer).sender(two)).toEqual([
      { outcome: "imported", id: 1 },
      { outcome: "imported", id: 2 },
    ]);
  });

  test.each([[undefined], [null], [{}], [{ data: null }], ["ok"]])(
    "%j: all are imported, without ids",
    async (answer) => {
      expect(await manyOf(answer).sender(two)).toEqual({ outcome: "imported" });
    },
  );

  test("a promise that was rejected is a row that failed", async () => {
    const reason = new HttpError("invalid e-mail", 400, { code: "23514" });
    const { sender } = manyOf([
      { status: "fulfilled", value: { data: { id: 1 } } },
      { status: "rejected", reason },
    ]);
    expect(await sender(two)).toEqual([
      { outcome: "imported", id: 1 },
      { outcome: "failed", message: "invalid e-mail", code: "23514" },
    ]);
  });

  test.each([[{ data: [] }], [{ data: [{ id: 1 }] }], [[1, 2, 3]]])(
    "%j are too few or too many: the answer is lost",
    async (answer) => {
      const error = await thrownBy(manyOf(answer).sender, two);
      expect(error).toMatchObject({ status: 0, message: expect.stringContaining("for 2 records") });
      expect((await verdictOn(error)).verdict).toBe("transient");
    },
  );

  test("not where only a Proxy pretends to have one, and not when it is not wanted", async () => {
    const create = vi.fn(async () => ({ data: { id: 1 } }));
    const combined = combineDataProviders(() => provided({ create }));
    expect(typeof combined.createMany).toBe("function");
    expect(await dataProviderSender(combined, "contacts")(batchOf([ADA]))).toEqual([
      { outcome: "imported", id: 1 },
    ]);
    const createMany = vi.fn();
    const sender = dataProviderSender(provided({ create, createMany }), "contacts", { createMany: false });
    await sender(batchOf([ADA]));
    expect(createMany).not.toHaveBeenCalled();
  });

  test("through a guard too", async () => {
    const createMany = vi.fn(async () => undefined);
    const guarded = resilientDataProvider(provided({ createMany }), { service: serviceOf().service });
    expect(await dataProviderSender(guarded, "contacts")(two)).toEqual({ outcome: "imported" });
  });
});

describe("withIds", () => {
  const itsId = itemOf(ADA).id;

  test("the record has our id, and the sender is idempotent", async () => {
    const { fetch, provider } = supabase({ status: 201, body: { id: itsId } });
    const sender = dataProviderSender(provider, "contacts", { withIds: true });
    expect(sender.idempotent).toBe(true);
    expect(await sender(batchOf([ADA]))).toEqual([{ outcome: "imported", id: itsId }]);
    expect(await (fetch.requests[0] as Request).json()).toEqual({ ...ADA, id: itsId });
  });

  test("one that is there already is ignored", async () => {
    const { fetch, provider } = supabase(conflict, page({ id: 7, import_key: itsId }));
    const sender = dataProviderSender(provider, "contacts", { withIds: true, idField: "import_key" });
    expect(await sender(batchOf([ADA]))).toEqual([{ outcome: "ignored", id: 7 }]);
    expect(queryOf(fetch.requests[1] as Request)).toMatchObject({ import_key: `eq.${itsId}` });
  });

  test("where it is not, another constraint refused it: the error of create", async () => {
    const { provider } = supabase(conflict, page());
    const error = await thrownBy(dataProviderSender(provider, "contacts", { withIds: true }), batchOf([ADA]));
    expect(error).toMatchObject({ name: "HttpError", status: 409 });
  });

  test("where that cannot be found out, the error of the lookup: it will be sent again", async () => {
    const { provider } = supabase(conflict, { status: 429, body: { message: "slow down" } });
    const error = await thrownBy(dataProviderSender(provider, "contacts", { withIds: true }), batchOf([ADA]));
    expect(error).toMatchObject({ status: 429 });
  });

  test("without, a conflict is the row's own failure", async () => {
    const { fetch, provider } = supabase(conflict, page({ id: 7 }));
    expect(await thrownBy(dataProviderSender(provider, "contacts"), batchOf([ADA]))).toMatchObject({
      status: 409,
    });
    expect(fetch.requests).toHaveLength(1);
  });

  test("a batch in conflict is thrown, and halved by the import", async () => {
    const refused = new HttpError("duplicate key", 409);
    const getList = vi.fn();
    const provider = provided({ createMany: () => Promise.reject(refused), getList });
    expect(
      await thrownBy(dataProviderSender(provider, "contacts", { withIds: true }), batchOf([ADA, BEA])),
    ).toBe(refused);
    expect(getList).not.toHaveBeenCalled();
  });

  test("verified by the id", async () => {
    const { fetch, provider } = supabase(page({ id: itsId }));
    const sender = dataProviderSender(provider, "contacts", { withIds: true });
    await expect(sender.verify?.(ADA, itemOf(ADA), new AbortController().signal)).resolves.toEqual({
      outcome: "ignored",
      id: itsId,
    });
    expect(queryOf(fetch.requests[0] as Request)).toMatchObject({ id: `eq.${itsId}` });
  });
});

describe("verify", () => {
  /** Looks for a record that was sent as `row` (mapped by `options`) on a server that answers so. */
  const look = (row: Contact, answers: Answers, options: DataProviderSenderOptions<Contact> = {}) => {
    const { fetch, provider } = supabase(...answers);
    const sender = dataProviderSender<Contact>(provider, "contacts", options);
    const found = sender.verify?.(row, itemOf(row), new AbortController().signal);
    const asked = () => fetch.requests.map((request) => queryOf(request));
    return { found, asked };
  };

  test("an e-mail field, as it was sent and in small letters", async () => {
    const { found, asked } = look(ADA, [page(), page({ id: 7, ...ADA, email: "ada@example.com" })]);
    await expect(found).resolves.toEqual({ outcome: "ignored", id: 7 });
    expect(asked()).toMatchObject([{ email: "eq.Ada@example.com" }, { email: "eq.ada@example.com" }]);
  });

  test("Atomic CRM: email_jsonb with { email, type }", async () => {
    const row = { first_name: "Ada", email_jsonb: [{ email: "ada@example.com", type: "Work" }] };
    const { found, asked } = look(row, [page({ id: 7, ...row, tags: [] })]);
    await expect(found).resolves.toEqual({ outcome: "ignored", id: 7 });
    expect(asked()).toMatchObject([{ email_jsonb: 'cs.[{"email":"ada@example.com"}]' }]);
  });

  test("Crispy CRM: email with { value, type }, among several", async () => {
    const row = { first_name: "Ada", email: [{ value: "ada@example.com", type: "work" }] };
    const stored = {
      id: 7,
      first_name: "Ada",
      email: [{ value: "other@example.com" }, { value: "ADA@example.com" }],
    };
    const { found, asked } = look(row, [page(stored)]);
    await expect(found).resolves.toEqual({ outcome: "ignored", id: 7 });
    expect(asked()).toMatchObject([{ email: 'cs.[{"value":"ada@example.com"}]' }]);
  });

  test("what is asked for is the mapped record", async () => {
    const map = ({ email }: Contact) => ({ email: String(email).toLowerCase() });
    const { found, asked } = look(ADA, [page()], { map });
    await expect(found).resolves.toBeUndefined();
    expect(asked()).toMatchObject([{ email: "eq.ada@example.com" }]);
  });

  test("an address may have quotes, commas and brackets", async () => {
    const email = 'a"b,(c)@example.com';
    const { found, asked } = look({ email_jsonb: [{ email }] }, [page()]);
    await expect(found).resolves.toBeUndefined();
    expect(JSON.parse((asked()[0]?.email_jsonb ?? "").slice(3))).toEqual([{ email }]);
  });

  test("nobody: it is not there", async () => {
    await expect(look(ADA, [page()]).found).resolves.toBeUndefined();
  });

  test("somebody else of the same address is somebody else", async () => {
    await expect(look(BEA, [page({ id: 8, ...BEA, first_name: "Carl" })]).found).resolves.toBeUndefined();
    const both = page({ id: 8, ...BEA, first_name: "Carl" }, { id: 9, ...BEA, first_name: " bea " });
    await expect(look(BEA, [both]).found).resolves.toEqual({ outcome: "ignored", id: 9 });
  });

  test("a provider that does not understand the filter cannot tell", async () => {
    await expect(look(BEA, [page({ id: 1, ...ADA })]).found).rejects.toThrow("did not find by");
    await expect(look(BEA, [page({ id: 1, first_name: "Bea" })]).found).rejects.toThrow("did not find by");
  });

  test("nor can a page that is full of others", async () => {
    const others = Array.from({ length: 100 }, (_, id) => ({ id, ...BEA, first_name: `Carl ${id}` }));
    await expect(look(BEA, [page(...others)]).found).rejects.toThrow("did not find by");
  });

  test.each([
    [{ first_name: "Ada" }],
    [{ email: "" }],
    [{ email: null }],
    [{ email_jsonb: [] }],
    [{ email_jsonb: [{ type: "Work" }] }],
    [{ email: 17 }],
  ])("%j has nothing to be found by", async (row) => {
    await expect(look(row, [page()]).found).rejects.toThrow("There is nothing to find this record by.");
  });

  test.each<Answers[number]>(["lost", { status: 429, body: { message: "slow down" } }, { status: 500 }])(
    "%j tells nothing",
    async (answer) => {
      await expect(look(BEA, [answer]).found).rejects.toThrow();
    },
  );

  test("by a field of one's own", async () => {
    const { found, asked } = look({ customer: "C-17" }, [page({ id: 7, customer: "C-17" })], {
      verifyBy: "customer",
    });
    await expect(found).resolves.toEqual({ outcome: "ignored", id: 7 });
    expect(asked()).toMatchObject([{ customer: "eq.C-17" }]);
    await expect(look({}, [page()], { verifyBy: "customer" }).found).rejects.toThrow("nothing to find");
  });

  test("by a filter of one's own", async () => {
    const verifyBy = (record: Readonly<Contact>) => (record.email ? { "email@ilike": record.email } : null);
    await expect(look(BEA, [page({ id: 7 })], { verifyBy }).found).resolves.toEqual({
      outcome: "ignored",
      id: 7,
    });
    await expect(look(BEA, [page()], { verifyBy }).found).resolves.toBeUndefined();
    await expect(look({}, [page()], { verifyBy }).found).rejects.toThrow("nothing to find");
  });

  test("the provider gets the signal", async () => {
    const getList = vi.fn(async (_resource: string, _params: object) => ({ data: [], total: 0 }));
    const { signal } = new AbortController();
    await dataProviderSender(provided({ getList }), "contacts").verify?.(BEA, itemOf(BEA), signal);
    expect(getList.mock.calls[0]?.[1]).toMatchObject({
      signal,
      pagination: { page: 1 },
      sort: { field: "id" },
    });
  });

  test.each([[undefined], [{}], [{ data: null }]])("a list that is %j tells nothing", async (answer) => {
    const sender = dataProviderSender(provided({ getList: async () => answer }), "contacts");
    await expect(sender.verify?.(BEA, itemOf(BEA), new AbortController().signal)).rejects.toThrow(
      "without data",
    );
  });
});

describe("bad input", () => {
  const provider = provided({});
  const make =
    (...given: unknown[]) =>
    () =>
      Reflect.apply(dataProviderSender, undefined, given) as unknown;

  test.each<[name: string, given: unknown[], field: string]>([
    ["no provider", [undefined, "contacts"], "dataProvider"],
    ["a promise of one", [Promise.resolve(provider), "contacts"], "dataProvider"],
    ["one that cannot create", [{ getList: () => {} }, "contacts"], "dataProvider"],
    ["no resource", [provider, ""], "resource"],
    ["no function", [provider, "contacts", { map: "name" }], "map"],
    ["more than one at a time", [provider, "contacts", { maxBatch: 10 }], "maxBatch"],
    ["createMany without one", [provider, "contacts", { createMany: true }], "createMany"],
    ["to verify by a number", [provider, "contacts", { verifyBy: 17 }], "verifyBy"],
    ["withIds that is no boolean", [provider, "contacts", { withIds: "id" }], "withIds"],
    ["an unknown option", [provider, "contacts", { idColumn: "id" }], "idColumn"],
  ])("%s", (_, given, field) => {
    expect(make(...given)).toThrow(RateLimitConfigError);
    expect(make(...given)).toThrow(expect.objectContaining({ field }));
  });
});

describe("a success whose body is no JSON, over which ra-data-postgrest stumbles", () => {
  const gibberish = { status: 201, body: "<html>Welcome</html>" };
  const contact = { email: "ada@example.com" };

  test("the record is looked for, and was created", async () => {
    const { provider, fetch } = supabase(gibberish, page({ id: 7, ...contact }));
    const sender = dataProviderSender(provider, "contacts");
    expect(await sender(batchOf([contact]))).toEqual([{ outcome: "imported", id: 7 }]);
    expect(fetch.requests.map(({ method }) => method)).toEqual(["POST", "GET"]);
  });

  test("a record that is not there fails with what the provider threw", async () => {
    const { provider } = supabase(gibberish, page());
    const error = await thrownBy(dataProviderSender(provider, "contacts"), batchOf([contact]));
    expect(error).toBeInstanceOf(TypeError);
    expect(error).not.toHaveProperty("status");
  });

  test.each([
    ["cannot be looked for now", "email"],
    ["is never looked for", null],
  ])("a record that %s counts as lost", async (_, verifyBy) => {
    const { provider } = supabase(gibberish, { status: 503, body: {} });
    const error = await thrownBy(dataProviderSender(provider, "contacts", { verifyBy }), batchOf([contact]));
    expect(error).toMatchObject({ status: 0, cause: expect.any(TypeError) });
    expect(await verdictOn(error)).toEqual({ verdict: "transient" });
  });

  test("of several records the answer counts as lost", async () => {
    const thrown = new SyntaxError("Unexpected end of JSON input");
    const createMany = vi.fn().mockRejectedValue(thrown);
    const sender = dataProviderSender(provided({ createMany }), "contacts");
    const error = await thrownBy(sender, batchOf([contact, contact]));
    expect(error).toMatchObject({ status: 0, cause: thrown });
    expect(await verdictOn(error)).toEqual({ verdict: "transient" });
  });

  test("a connection that was lost is nobody's misreading", async () => {
    const lost = new TypeError("Failed to fetch");
    const getList = vi.fn();
    const create = vi.fn().mockRejectedValue(lost);
    const sender = dataProviderSender(provided({ create, getList }), "contacts");
    expect(await thrownBy(sender, batchOf([contact]))).toBe(lost);
    expect(getList).not.toHaveBeenCalled();
  });
});
