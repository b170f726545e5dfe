import postgrestDataProvider, {
  defaultPrimaryKeys,
  defaultSchema,
  type IDataProviderConfig,
} from "@raphiniert/ra-data-postgrest";
import { createClient } from "@supabase/supabase-js";
import {
  combineDataProviders,
  type DataProvider,
  fetchUtils,
  HttpError,
  withLifecycleCallbacks,
} from "ra-core";
import { supabaseDataProvider } from "ra-supabase-core";
import { describe, expect, test, vi } from "vitest";
import WebSocket from "ws";
import { isRateLimitError } from "../../js/index.ts";
import { resilientDataProvider } from "../../js/react-admin.ts";
import { type ManualHost, scriptedFetch } from "../../js/testing.ts";
import { serviceOf } from "./react-admin.support.ts";
import { rejection } from "./support/service.ts";

const PROSE = { code: "PT429", message: "Slow down", details: null, hint: "Try again after 3 seconds" };

describe("combineDataProviders", () => {
  type Custom = DataProvider & { publish: (resource: string, id: number) => Promise<string>; then?: unknown };

  const combined = () => {
    const posts = {
      create: vi.fn(async () => ({ data: { id: 1 } })),
      publish: vi.fn(async () => "published"),
    };
    posts.create.mockRejectedValueOnce(new HttpError("Too Many Requests", 429));
    const others = { create: vi.fn(async () => ({ data: { id: 2 } })) };
    const provider = combineDataProviders((resource) =>
      Object.assign({} as DataProvider, resource === "posts" ? posts : others),
    );
    return { posts, others, provider: provider as Custom };
  };

  test("outside it: the provider of the resource is called, again when it is refused", async () => {
    const { host, service } = serviceOf();
    const { posts, others, provider } = combined();
    const guarded = resilientDataProvider(provider, { service });
    await expect(host.drive(guarded.create("posts", { data: {} }))).resolves.toEqual({ data: { id: 1 } });
    await expect(guarded.create("tags", { data: {} })).resolves.toEqual({ data: { id: 2 } });
    expect([posts.create.mock.calls.length, others.create.mock.calls.length]).toEqual([2, 1]);
  });

  test("inside it: each provider with a service of its own", async () => {
    const { host, service } = serviceOf();
    const { posts } = combined();
    const guarded = resilientDataProvider(posts as unknown as DataProvider, { service });
    const provider = combineDataProviders(() => guarded);
    await expect(host.drive(provider.create("posts", { data: {} }))).resolves.toEqual({ data: { id: 1 } });
    expect(posts.create).toHaveBeenCalledTimes(2);
  });

  test("methods keep their identity, although it answers each read with another function", () => {
    const { provider } = combined();
    const guarded = resilientDataProvider(provider);
    expect(provider.create).not.toBe(provider.create);
    expect(guarded.create).toBe(guarded.create);
    expect(guarded.publish).toBe(guarded.publish);
  });

  test("any name is a custom method, but for those by which the language asks", async () => {
    const { posts, provider } = combined();
    const guarded = resilientDataProvider(provider);
    expect(await guarded.publish("posts", 1)).toBe("published");
    expect(posts.publish).toHaveBeenCalledWith("posts", 1);
    expect(guarded.then).toBeUndefined();
    expect(await Promise.resolve(guarded)).toBe(guarded);
    expect(JSON.stringify(guarded)).toBe("{}");
    expect(String(guarded)).toBe("[object Object]");
    expect(guarded.constructor).toBe(Object);
    for (const symbol of [Symbol.iterator, Symbol.asyncIterator, Symbol.toPrimitive, Symbol.toStringTag]) {
      expect(Reflect.get(guarded, symbol)).toBeUndefined();
    }
  });

  test("spread, it still guards", async () => {
    const { host, service } = serviceOf();
    const { posts, provider } = combined();
    const spread: DataProvider = { ...resilientDataProvider(provider, { service }) };
    await expect(host.drive(spread.create("posts", { data: {} }))).resolves.toEqual({ data: { id: 1 } });
    expect(posts.create).toHaveBeenCalledTimes(2);
    expect(Object.keys(spread).sort()).toEqual(
      ["getList", "getOne", "getMany", "getManyReference"]
        .concat(["create", "update", "updateMany", "delete", "deleteMany"])
        .sort(),
    );
  });
});

describe("withLifecycleCallbacks", () => {
  const base = () => {
    const create = vi.fn(async (_resource: string, { data }: { data: object }) => ({
      data: { id: 1, ...data },
    }));
    create.mockRejectedValueOnce(new HttpError("Too Many Requests", 429));
    return { create, me: async () => "me", supportAbortSignal: true };
  };
  type Base = ReturnType<typeof base>;
  const provider = (own: Base) => own as unknown as DataProvider & Pick<Base, "me">;

  test("outside: its callbacks run once, whatever is repeated within", async () => {
    const { host, service } = serviceOf();
    const own = base();
    const beforeCreate = vi.fn(async (params) => ({ ...params, data: { ...params.data, stamped: true } }));
    const afterCreate = vi.fn(async (result) => result);
    const guarded = resilientDataProvider(provider(own), { service });
    const outside = withLifecycleCallbacks(guarded, [{ resource: "posts", beforeCreate, afterCreate }]);
    await expect(host.drive(outside.create("posts", { data: { name: "Ada" } }))).resolves.toEqual({
      data: { id: 1, name: "Ada", stamped: true },
    });
    expect(own.create).toHaveBeenCalledTimes(2);
    expect([beforeCreate.mock.calls.length, afterCreate.mock.calls.length]).toEqual([1, 1]);
    expect(outside.supportAbortSignal).toBe(true);
    expect(await outside.me()).toBe("me");
  });

  test("inside: they run at every attempt, which is why the guide says outside", async () => {
    const { host, service } = serviceOf();
    const beforeCreate = vi.fn(async (params) => params);
    const inside = withLifecycleCallbacks(provider(base()), [{ resource: "posts", beforeCreate }]);
    await host.drive(resilientDataProvider(inside, { service }).create("posts", { data: {} }));
    expect(beforeCreate).toHaveBeenCalledTimes(2);
  });
});

/** An httpClient that answers in this order: a record, or an error. */
function scriptedClient(...answers: (object | Error)[]) {
  return vi.fn(async (_url: string, _options: RequestInit & { user?: unknown }) => {
    const json = answers.length > 1 ? answers.shift() : answers[0];
    if (json instanceof Error) throw json;
    return { status: 200, headers: new Headers({ "content-range": "0-0/1" }), body: "", json };
  });
}

describe("ra-data-postgrest", () => {
  const postgrest = (httpClient: ReturnType<typeof scriptedClient>) =>
    postgrestDataProvider({
      apiUrl: "https://db.example.com",
      httpClient: httpClient as IDataProviderConfig["httpClient"],
      defaultListOp: "eq",
      primaryKeys: defaultPrimaryKeys,
      schema: defaultSchema,
    });
  const refused = () => new HttpError("Slow down", 429, PROSE);

  test("a refused create is sent again, the same request, when the server said", async () => {
    const { host, service } = serviceOf();
    const client = scriptedClient(refused(), { id: 7, name: "Ada" });
    const guarded = resilientDataProvider(postgrest(client), { service });
    const begun = host.now();
    const meta = { columns: ["id", "name"], headers: { Prefer: "return=representation" } };
    const params = { data: { name: "Ada" }, meta: { ...meta, resilience: { priority: 1 } } };
    await expect(host.drive(guarded.create("contacts", params))).resolves.toMatchObject({
      data: { id: 7, name: "Ada" },
    });
    expect(host.now() - begun).toBe(3_000);
    const sent = client.mock.calls.map(([url, { body, headers }]) => [url, body, [...(headers as Headers)]]);
    expect(sent[0]).toEqual(sent[1]);
    const unguarded = scriptedClient({ id: 7 });
    await postgrest(unguarded).create("contacts", { data: { name: "Ada" }, meta });
    const [[url, { body, headers }]] = unguarded.mock.calls as [(typeof unguarded.mock.calls)[number]];
    expect(sent[0]).toEqual([url, body, [...(headers as Headers)]]);
  });

  test.each([
    ["update", { id: 7, data: { name: "Bea" }, previousData: { id: 7, name: "Ada" } }, { data: { id: 7 } }],
    ["updateMany", { ids: [7], data: { name: "Bea" } }, { data: [7] }],
    ["delete", { id: 7, previousData: { id: 7 } }, { data: { id: 7 } }],
    ["deleteMany", { ids: [7] }, { data: [7] }],
    [
      "getList",
      { pagination: { page: 1, perPage: 10 }, sort: { field: "id", order: "ASC" }, filter: {} },
      { total: 1 },
    ],
    ["getOne", { id: 7 }, { data: { id: 7 } }],
    ["getMany", { ids: [7] }, { data: [{ id: 7 }] }],
  ] as const)("a refused %s too", async (name, params, answer) => {
    const { host, service } = serviceOf();
    const many = name.endsWith("Many") || name === "getList";
    const client = scriptedClient(refused(), many ? [{ id: 7 }] : { id: 7 });
    const guarded = resilientDataProvider(postgrest(client), { service, methods: [name] });
    const call = guarded[name]("contacts", params as never) as Promise<unknown>;
    await expect(host.drive(call)).resolves.toMatchObject(answer);
    expect(client).toHaveBeenCalledTimes(2);
  });

  test("an update without changes sends nothing, guarded or not", async () => {
    const { service } = serviceOf();
    const client = scriptedClient({});
    const guarded = resilientDataProvider(postgrest(client), { service });
    const record = { id: 7, name: "Ada" };
    const params = { id: 7, data: { name: "Ada" }, previousData: record };
    await expect(guarded.update("contacts", params)).resolves.toEqual({ data: record });
    expect(client).not.toHaveBeenCalled();
  });

  test("a synchronous TypeError of its own is a rejection", async () => {
    const { service } = serviceOf();
    const guarded = resilientDataProvider(postgrest(scriptedClient({})), { service });
    const params = { id: 7, data: { name: "Ada" }, previousData: undefined as never };
    const call = guarded.update("contacts", params);
    await expect(call).rejects.toBeInstanceOf(TypeError);
  });

  test.each([
    ["a row that exists", new HttpError("duplicate key", 409, { code: "23505" })],
    ["an expired token", new HttpError("JWT expired", 401, { code: "PGRST301" })],
    ["a validation error", new HttpError("invalid", 400, { errors: { name: "required" } })],
  ])("%s is the same HttpError, at once", async (_, error) => {
    const { service } = serviceOf();
    const client = scriptedClient(error);
    const guarded = resilientDataProvider(postgrest(client), { service });
    expect(await rejection(guarded.create("contacts", { data: {} }))).toBe(error);
    expect(client).toHaveBeenCalledTimes(1);
  });
});

describe("ra-supabase", () => {
  const instanceUrl = "https://project.supabase.co";
  type Supabase = DataProvider & {
    getSchema: () => Promise<unknown>;
    supabaseClient: (url: string, options?: object) => Promise<unknown>;
  };
  const supabase = (options: object = {}) =>
    supabaseDataProvider({
      instanceUrl,
      apiKey: "key",
      supabaseClient: createClient(instanceUrl, "key", {
        auth: { persistSession: false, autoRefreshToken: false },
        // The client needs a socket to be made, and Node 20 has none; nothing is sent over it.
        realtime: { transport: WebSocket as never },
      }),
      ...options,
    }) as Supabase;

  test("its custom methods stay", async () => {
    const client = scriptedClient({ swagger: "2.0" });
    const guarded = resilientDataProvider(supabase({ httpClient: client }));
    await expect(guarded.getSchema()).resolves.toEqual({ swagger: "2.0" });
    await guarded.supabaseClient("contacts?select=id", { method: "GET" });
    expect(client.mock.calls.map(([url]) => url)).toEqual([
      `${instanceUrl}/rest/v1/`,
      `${instanceUrl}/rest/v1/contacts?select=id`,
    ]);
  });

  test("over its own httpClient and fetch: 429, Cloudflare's page, and then the row", async () => {
    const { host, service } = serviceOf();
    const fetch = scriptedFetch(
      { status: 429, body: PROSE },
      { status: 429, statusText: "Too Many Requests", body: "<!DOCTYPE html><title>Error 1015</title>" },
      { status: 201, body: { id: 7, name: "Ada" } },
    );
    vi.stubGlobal("fetch", fetch);
    const guarded = resilientDataProvider(supabase(), { service });
    const begun = host.now();
    const call = guarded.create("contacts", { data: { name: "Ada" } });
    await settledAfter(call, host);
    await expect(call).resolves.toMatchObject({ data: { id: 7, name: "Ada" } });
    expect(host.now() - begun).toBe(3_200);
    const bodies = await Promise.all(fetch.requests.map((request) => request.text()));
    expect(bodies).toEqual(Array(3).fill('{"name":"Ada"}'));
  });

  test("over its own httpClient and fetch: refused to the end", async () => {
    const { host, service } = serviceOf();
    vi.stubGlobal("fetch", scriptedFetch({ status: 420, body: { message: "Rate limit exceeded" } }));
    const call = resilientDataProvider(supabase(), { service }).create("contacts", { data: {} });
    await settledAfter(call, host);
    const error = await rejection(call);
    expect(isRateLimitError(error)).toBe(true);
    expect(error).toMatchObject({
      message: "The system is temporarily overloaded. Please try again in a few moments.",
      status: 429,
      attempts: 4,
      originalError: { name: "HttpError", status: 420, message: "Rate limit exceeded" },
    });
  });

  /** Like `host.drive`, for answers that are read from a stream: that takes turns of the event loop, and no time. */
  async function settledAfter(call: Promise<unknown>, host: ManualHost): Promise<void> {
    let pending = true;
    const done = () => {
      pending = false;
    };
    call.then(done, done);
    while (pending) {
      for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve));
      if (pending) await host.advance(100);
    }
  }
});

test("fetchJson's errors are what the tests above take them for", async () => {
  vi.stubGlobal("fetch", scriptedFetch({ status: 429, headers: { "retry-after": "7" }, body: PROSE }));
  const error = await rejection(fetchUtils.fetchJson("https://db.example.com/x"));
  expect(error).toBeInstanceOf(HttpError);
  expect(error).toMatchObject({ name: "HttpError", message: "Slow down", status: 429, body: PROSE });
  expect(error).not.toHaveProperty("headers");
});
