import { describe, expect, test } from "vitest";
import { RateLimitConfigError, RateLimitService, rateLimitService } from "../../js/index.ts";
import { OutgoingRequest } from "../../js/supabase/request.ts";
import { absolute, resourceOf, routeOf } from "../../js/supabase/route.ts";
import { resilientFetch, resilientHttpClient } from "../../js/supabase.ts";

const service = new RateLimitService({ logLevel: "silent" });

describe("illegal options", () => {
  test.each([
    ["resilientFetch", "service", () => resilientFetch(undefined as never)],
    ["resilientFetch", "service", () => resilientFetch({} as never)],
    ["resilientFetch", "options", () => resilientFetch(service, null as never)],
    ["resilientFetch", "options", () => resilientFetch(service, [] as never)],
    ["resilientFetch", "fetch", () => resilientFetch(service, { fetch: "window.fetch" as never })],
    ["resilientFetch", "refreshWaitMs", () => resilientFetch(service, { refreshWaitMs: -1 })],
    ["resilientFetch", "refreshWaitMs", () => resilientFetch(service, { refreshWaitMs: Number.NaN })],
    ["resilientFetch", "refreshWaitMs", () => resilientFetch(service, { refreshWaitMs: 600_001 })],
    ["resilientFetch", "refreshWaitMs", () => resilientFetch(service, { refreshWaitMs: "30" as never })],
    ["resilientFetch", "ownRetries", () => resilientFetch(service, { ownRetries: 1 as never })],
    ["resilientFetch", "onService", () => resilientFetch(service, { onService: {} as never })],
    ["resilientFetch", "host", () => resilientFetch(service, { host: 1 as never })],
    ["resilientFetch", "refreshWait", () => resilientFetch(service, { refreshWait: 1 } as never)],
    ["resilientFetch", "toString", () => resilientFetch(service, { toString: 1 } as never)],
    ["resilientHttpClient", "service", () => resilientHttpClient(null as never)],
    ["resilientHttpClient", "options", () => resilientHttpClient(service, null as never)],
    ["resilientHttpClient", "httpClient", () => resilientHttpClient(service, { httpClient: {} as never })],
    ["resilientHttpClient", "headers", () => resilientHttpClient(service, { headers: {} as never })],
    ["resilientHttpClient", "fetch", () => resilientHttpClient(service, { httpClient: asked, fetch })],
    ["resilientHttpClient", "ownRetries", () => resilientHttpClient(service, { ownRetries: true } as never)],
  ])("%s names %s", (_, field, make) => {
    expect(make).toThrow(RateLimitConfigError);
    expect(make).toThrow(expect.objectContaining({ field }));
  });

  test.each([
    ["refreshWait", { refreshWait: 1 }, 1],
    ["refreshWaitMs", { refreshWaitMs: "30" }, "30"],
    ["options", 5, 5],
  ])("%s: the error says what was given", (field, options, value) => {
    expect(() => resilientFetch(service, options as never)).toThrow(
      expect.objectContaining({ field, value }),
    );
  });

  test("undefined is the default, and the shared service will do", () => {
    const options = { fetch: undefined, refreshWaitMs: undefined, ownRetries: undefined };
    expect(resilientFetch(rateLimitService, options).services.size).toBe(1);
  });
});

async function asked(): Promise<never> {
  throw new Error("nobody asks");
}

test.each([
  ["https://p.supabase.co/rest/v1/contacts?id=eq.1", "rest", "rest", "contacts"],
  ["https://p.supabase.co/rest/v1/", "rest", "rest", "rest"],
  ["https://p.supabase.co/rest/v1", "rest", "rest", "rest"],
  ["https://p.supabase.co/rest/v1/rpc/merge_contacts", "rest", "rest", "rpc/merge_contacts"],
  ["https://p.supabase.co/rest/v1/my%20table", "rest", "rest", "my table"],
  ["https://p.supabase.co/rest/v1/%E0%A4%A", "rest", "rest", "%E0%A4%A"],
  ["https://example.com/supabase/rest/v1/contacts", "rest", "rest", "contacts"],
  ["https://p.supabase.co/graphql/v1", "graphql", "rest", "graphql"],
  ["https://p.supabase.co/functions/v1/merge", "functions", "functions/merge", "merge"],
  ["https://p.supabase.co/functions/v1/merge/deep?x=1", "functions", "functions/merge", "merge"],
  ["https://p.supabase.co/storage/v1/object/avatars/rest/v1/a.png", "storage", "storage", "avatars"],
  ["https://p.supabase.co/storage/v1/object/public/avatars/a.png", "storage", "storage", "avatars"],
  ["https://p.supabase.co/storage/v1/object/upload/sign/avatars/a.png", "storage", "storage", "avatars"],
  ["https://p.supabase.co/storage/v1/object/list/avatars", "storage", "storage", "avatars"],
  ["https://p.supabase.co/storage/v1/render/image/public/avatars/a.png", "storage", "storage", "avatars"],
  ["https://p.supabase.co/storage/v1/bucket", "storage", "storage", "bucket"],
  ["https://p.supabase.co/storage/v1/bucket/avatars", "storage", "storage", "avatars"],
  ["https://p.supabase.co/auth/v1/token", "auth", "", "auth"],
  ["https://p.supabase.co/realtime/v1/api/broadcast", "other", "", ""],
  ["https://p.supabase.co/forrest/v1/x", "other", "", ""],
  ["https://p.supabase.co/rest/v10/x", "other", "", ""],
  ["nonsense", "other", "", ""],
])("%s is %s, under the limits %j", (url, api, limits, resourceName) => {
  expect(routeOf(absolute(url))).toEqual({ api, limits, resourceName });
});

test("a long name is cut", () => {
  expect(resourceOf(absolute(`https://p.supabase.co/rest/v1/${"a".repeat(500)}`))).toHaveLength(100);
});

test.each([
  ["https://api.example.com/contacts?limit=1", "contacts"],
  ["https://api.example.com/v2/rpc/merge", "rpc/merge"],
  ["https://api.example.com/", "rest"],
  ["https://p.supabase.co/rest/v1/contacts", "contacts"],
])("a PostgREST anywhere: %s is about %s", (url, name) => {
  expect(resourceOf(absolute(url))).toBe(name);
});

describe("what can be sent again", () => {
  const post = (body: unknown, headers = {}): OutgoingRequest =>
    new OutgoingRequest("https://p.supabase.co/rest/v1/x", {
      method: "POST",
      body: body as BodyInit,
      headers,
    });
  const formOfNode = Object.assign(Object.create({ [Symbol.toStringTag]: "FormData" }), { pipe: () => {} });

  test.each([
    ["nothing", null, true],
    ["a string", "", true],
    ["a view", new DataView(new ArrayBuffer(1)), true],
    ["a file", new File(["a"], "a.txt"), true],
    ["a form", new FormData(), true],
    ["parameters", new URLSearchParams(), true],
    ["a stream", new Blob(["a"]).stream(), false],
    ["a generator", (async function* () {})(), false],
    ["the FormData of Node's packages, a stream", formOfNode, false],
    ["an object that nobody knows", {}, false],
  ])("%s", (_, body, isRepeatable) => {
    expect(post(body).isRepeatable).toBe(isRepeatable);
  });

  test.each([
    ["application/json", true],
    ["application/vnd.pgrst.object+json; charset=utf-8", true],
    ["text/csv", true],
    ["application/x-www-form-urlencoded", true],
    ["application/octet-stream", false],
    ["multipart/form-data; boundary=x", false],
  ])("a Request with %s", (type, isRepeatable) => {
    const init = { method: "POST", body: "a", headers: { "content-type": type } };
    expect(new OutgoingRequest(new Request("https://p.supabase.co", init)).isRepeatable).toBe(isRepeatable);
  });

  test("the body of the init goes before that of the Request", () => {
    const request = new Request("https://p.supabase.co", { method: "POST", body: new Uint8Array(1) });
    expect(new OutgoingRequest(request).isRepeatable).toBe(false);
    expect(new OutgoingRequest(request, { body: "a" }).isRepeatable).toBe(true);
  });
});

describe("what is idempotent", () => {
  const upsert = { prefer: "return=minimal,resolution=merge-duplicates" };
  test.each([
    ["GET", "", {}, null, true],
    ["head", "", {}, null, true],
    ["PUT", "", {}, "{}", true],
    ["DELETE", "", {}, null, true],
    ["PATCH", "", {}, "{}", false],
    ["POST", "", {}, '{"id":1}', false],
    ["POST", "", upsert, '{"id":1}', true],
    ["POST", "", { Prefer: "resolution=ignore-duplicates" }, '[{"id":0},{"id":"b"}]', true],
    ["POST", "", { prefer: "resolution=something" }, '{"id":1}', false],
    ["POST", "", upsert, '{"name":"x"}', false],
    ["POST", "", upsert, '[{"id":1},{"id":null}]', false],
    ["POST", "?on_conflict=a,%22b%22", upsert, '{"a":1,"b":2}', true],
    ["POST", "?on_conflict=a,b", upsert, '{"a":1}', false],
    ["POST", "", upsert, "[null]", false],
    ["POST", "", upsert, "a,b", false],
    ["POST", "", upsert, new Blob(['{"id":1}']), false],
    ["POST", "", { "bad header": "x" }, '{"id":1}', false],
  ])("%s %s %j %s: %s", (method, query, headers, body, isIdempotent) => {
    const request = new OutgoingRequest(`https://p.supabase.co/rest/v1/x${query}`, {
      method,
      headers: headers as HeadersInit,
      body,
    });
    expect(request.isIdempotent).toBe(isIdempotent);
  });
});
