import postgrestDataProvider, {
  defaultPrimaryKeys,
  defaultSchema,
  type IDataProviderConfig,
} from "@raphiniert/ra-data-postgrest";
import { type DataProvider, HttpError } from "ra-core";
import { describe, expect, test, vi } from "vitest";
import { RateLimitConfigError, RateLimitService } from "../../js/index.ts";
import { RelatedRecords, type RelatedRecordsOptions, relatedRecords } from "../../js/react-admin/related.ts";
import { resilientDataProvider } from "../../js/react-admin.ts";
import { serviceOf } from "./react-admin.support.ts";
import { rejection } from "./support/service.ts";

interface Named {
  id: number;
  name: string;
}

/** A table of names behind the real ra-data-postgrest, and the requests that reached it. */
class Table {
  readonly requests: { method: string; query: URLSearchParams; body: { name?: string } | undefined }[] = [];
  /** Each request ends with the next of these, until there is none; `undefined`: as it should. */
  readonly failures: (Error | (() => Error) | undefined)[] = [];
  /** No request is answered before. */
  opened: Promise<void> = Promise.resolve();
  records: Named[];
  readonly provider: DataProvider;

  constructor(...names: string[]) {
    this.records = names.map((name, i) => ({ id: i + 1, name }));
    const httpClient = async (url: string, { method = "GET", body }: RequestInit = {}) => {
      const query = new URL(url).searchParams;
      this.requests.push({ method, query, body: body ? JSON.parse(String(body)) : undefined });
      await this.opened;
      const failure = this.failures.shift();
      if (failure) throw typeof failure === "function" ? failure() : failure;
      const json = method === "POST" ? this.#insert(JSON.parse(String(body))) : this.#select(query);
      return { status: 200, headers: new Headers({ "content-range": "0-9/10" }), body: "", json };
    };
    this.provider = postgrestDataProvider({
      apiUrl: "https://db.example.com",
      httpClient: httpClient as IDataProviderConfig["httpClient"],
      defaultListOp: "eq",
      primaryKeys: defaultPrimaryKeys,
      schema: defaultSchema,
    });
  }

  related(options?: RelatedRecordsOptions): RelatedRecords {
    return relatedRecords(this.provider, "companies", options);
  }

  /** POST and GET, one after the other. */
  get methods(): string[] {
    return this.requests.map(({ method }) => method);
  }

  #insert({ name }: { name: string }): Named {
    const record = { id: this.records.length + 1, name };
    this.records.push(record);
    return record;
  }

  #select(query: URLSearchParams): Named[] {
    const pattern = /^imatch\.(.*)$/s.exec(query.get("name") ?? "")?.[1] ?? "(?!)";
    return this.records.filter(({ name }) => new RegExp(pattern, "i").test(name));
  }
}

function heldBack() {
  let resolve = () => {};
  const promise = new Promise<void>((open) => {
    resolve = open;
  });
  return { promise, resolve };
}

const conflict = () => new HttpError("duplicate key value", 409, { code: "23505" });

describe("finding", () => {
  test.each([["Acme"], ["acme"], ["ACME"], ["  Acme "]])("%j is Acme", async (name) => {
    const table = new Table("Acme", "Acme Holding");
    expect(await table.related().id(name)).toBe(1);
    expect(table.methods).toEqual(["GET"]);
  });

  test.each([
    "A.C.M.E. (US) [old] {x} ^$ *+? a|b \\d",
    "100 % Müller & Söhne",
    'the "best", really',
    "Ärzte/Zürich",
    "a#b=c?d",
  ])("%j is nobody else", async (name) => {
    const table = new Table("Acme", "d", "b", name);
    expect(await table.related().id(name.toUpperCase().toLowerCase())).toBe(4);
    expect(table.methods).toEqual(["GET"]);
  });

  test("white space within a name counts once", async () => {
    const table = new Table("Acme\u00a0 Holding");
    expect(await table.related().id("acme holding")).toBe(1);
  });

  test("of several of one name the first created", async () => {
    const table = new Table("Other", "ACME", "Acme");
    expect(await table.related().id("Acme")).toBe(2);
  });

  test("with a filter and a meta of one's own", async () => {
    const table = new Table("Acme");
    await table.related({ filter: { "deleted_at@is": null }, meta: { columns: ["id", "name"] } }).id("Acme");
    expect(Object.fromEntries(table.requests[0]?.query ?? [])).toMatchObject({
      deleted_at: "is.null",
      select: "id,name",
    });
  });

  test("with a lookup of one's own", async () => {
    const getList = vi.fn(async (_resource: string, _params: { filter: object }) => ({
      data: [{ id: "t1", title: "VIP" }],
    }));
    const related = new RelatedRecords({ create: vi.fn(), getList }, "tags", {
      field: "title",
      lookup: (names) => ({ q: names.join(" ") }),
    });
    expect(await related.id("vip")).toBe("t1");
    expect(getList.mock.calls[0]?.[1].filter).toEqual({ q: "vip" });
  });
});

describe("creating", () => {
  test("what is missing, with the name as it was written", async () => {
    const table = new Table();
    expect(await table.related().id(" Acme  Inc ")).toBe(1);
    expect(table.methods).toEqual(["GET", "POST"]);
    expect(table.requests[1]?.body).toEqual({ name: "Acme Inc" });
  });

  test("with data of one's own", async () => {
    const table = new Table();
    await table.related({ data: async (name) => ({ name, sales_id: 1 }) }).id("Acme");
    expect(table.requests[1]?.body).toEqual({ name: "Acme", sales_id: 1 });
  });

  test.each<[name: string, error: Error]>([
    ["409", new HttpError("Conflict", 409)],
    ["23505 in the body", new HttpError("nope", 400, { code: "23505" })],
    ["23505 as the code", Object.assign(new Error("nope"), { code: "23505" })],
    ["only words", new HttpError('duplicate key value violates unique constraint "companies_name"', 400)],
    ["in the cause", new Error("Validation failed", { cause: { code: 23505 } })],
  ])("somebody was faster (%s): read again", async (_, error) => {
    const table = new Table();
    table.failures.push(undefined, () => {
      table.records.push({ id: 17, name: "ACME" });
      return error;
    });
    expect(await table.related().id("Acme")).toBe(17);
    expect(table.methods).toEqual(["GET", "POST", "GET"]);
  });

  test("a conflict with something else is the error", async () => {
    const table = new Table();
    const error = conflict();
    table.failures.push(undefined, error);
    expect(await rejection(table.related().id("Acme"))).toBe(error);
    expect(table.methods).toEqual(["GET", "POST", "GET"]);
  });

  test("what answers without an id is an error", async () => {
    const provider = { create: async () => ({ data: {} }), getList: async () => ({ data: [] }) };
    await expect(new RelatedRecords(provider, "tags").id("VIP")).rejects.toThrow("has no id");
  });
});

describe("asking once", () => {
  test("whoever asks at once or later", async () => {
    const table = new Table();
    const related = table.related();
    const ids = await Promise.all(["Acme", "acme", "ACME "].map((name) => related.id(name)));
    expect(ids).toEqual([1, 1, 1]);
    expect(await related.id("acme")).toBe(1);
    expect(table.methods).toEqual(["GET", "POST"]);
  });

  test("while the first is still under way", async () => {
    const table = new Table();
    const related = table.related();
    const { promise, resolve } = heldBack();
    table.opened = promise;
    const first = related.id("Acme");
    await vi.waitFor(() => expect(table.methods).toEqual(["GET"]));
    const second = related.id("ACME");
    resolve();
    expect(await Promise.all([first, second])).toEqual([1, 1]);
    expect(table.methods).toEqual(["GET", "POST"]);
  });

  test("different names at once are looked up together", async () => {
    const table = new Table("Acme", "Beta");
    expect(await table.related().ids(["beta", "acme", "Gamma", "BETA", "", null])).toEqual([2, 1, 3]);
    expect(table.methods).toEqual(["GET", "POST"]);
  });

  test("not more together than fit in an address", async () => {
    const names = Array.from({ length: 1_000 }, (_, i) => `Müller & Söhne ${i}`);
    const table = new Table(...names);
    expect(await table.related().ids(names)).toEqual(names.map((_, i) => i + 1));
    expect(table.methods.length).toBeLessThan(40);
    for (const { query } of table.requests) expect(query.toString().length).toBeLessThan(6_000);
  });

  test("until it is told to forget", async () => {
    const table = new Table("Acme");
    const related = table.related();
    await related.id("Acme");
    table.records = [{ id: 9, name: "Acme" }];
    related.clear();
    expect(await related.id("Acme")).toBe(9);
  });
});

describe("failing", () => {
  test("is not kept, and finds what was created although the answer was lost", async () => {
    const table = new Table();
    const related = table.related();
    const lost = new TypeError("Failed to fetch");
    table.failures.push(undefined, lost);
    expect(await rejection(related.id("Acme"))).toBe(lost);
    table.records.push({ id: 5, name: "Acme" });
    expect(await related.id("Acme")).toBe(5);
    expect(table.methods).toEqual(["GET", "POST", "GET"]);
  });

  test("a refusal that is not waited out ends all that wait, and nothing more is sent; what was created stays", async () => {
    const table = new Table();
    const related = table.related({ service: impatient() });
    const refused = new HttpError("Slow down", 429);
    table.failures.push(undefined, undefined, refused);
    const settled = await Promise.allSettled(["A", "B", "C", "D"].map((name) => related.id(name)));
    expect(settled).toEqual([
      { status: "fulfilled", value: 1 },
      ...Array(3).fill({ status: "rejected", reason: refused }),
    ]);
    expect(table.methods).toEqual(["GET", "POST", "POST"]);
    expect(await related.ids(["A", "B", "C", "D"])).toEqual([1, 2, 3, 4]);
    expect(table.records.map(({ name }) => name)).toEqual(["A", "B", "C", "D"]);
  });

  test("for its content is that name's own", async () => {
    const table = new Table();
    const invalid = new HttpError("name too long", 400, { code: "22001" });
    table.failures.push(undefined, invalid);
    const related = table.related();
    const settled = await Promise.allSettled(["A", "B"].map((name) => related.id(name)));
    expect(settled).toMatchObject([{ status: "rejected", reason: invalid }, { status: "fulfilled" }]);
  });

  test("of the lookup creates nothing", async () => {
    const table = new Table();
    table.failures.push(new HttpError("Bad Gateway", 502));
    expect(await rejection(table.related({ service: impatient() }).id("A"))).toMatchObject({ status: 502 });
    expect(table.methods).toEqual(["GET"]);
  });

  test("unobserved by others: nobody else hears of it", async () => {
    const unhandled = vi.fn();
    process.on("unhandledRejection", unhandled);
    const table = new Table();
    table.failures.push(new HttpError("Bad Gateway", 502));
    await rejection(table.related({ service: impatient() }).id("A"));
    await new Promise((resolve) => setImmediate(resolve));
    process.off("unhandledRejection", unhandled);
    expect(unhandled).not.toHaveBeenCalled();
  });
});

describe("a signal", () => {
  test("ends the waiting of who gave it, and of nobody else", async () => {
    const table = new Table();
    const related = table.related();
    const controller = new AbortController();
    const [mine, others] = [related.id("Acme", controller.signal), related.id("Acme")];
    controller.abort(new Error("cancelled"));
    expect(await rejection(mine)).toMatchObject({ message: "cancelled" });
    expect(await others).toBe(1);
  });

  test("aborted before: nothing is asked", async () => {
    const table = new Table();
    expect(await rejection(table.related().id("Acme", AbortSignal.abort()))).toMatchObject({
      name: "AbortError",
    });
  });
});

test.each([[undefined], [null], [""], ["  "]])("%j is no name", async (name) => {
  const table = new Table();
  expect(await table.related().id(name)).toBeNull();
  expect(table.requests).toEqual([]);
});

test("a number is one: CSV parsers make them", async () => {
  const table = new Table("2020");
  expect(await table.related().id(2020)).toBe(1);
});

test.each([[{}], [["Acme"]], [true]])("%j is an error", async (name) => {
  await expect(new Table().related().id(name)).rejects.toBeInstanceOf(TypeError);
});

/** Passes everything through. */
function impatient(): RateLimitService {
  return new RateLimitService({ enabled: false });
}

describe("refusals", () => {
  const refused = () => new HttpError("Slow down", 429);

  test("are waited out, of lookups and of creations", async () => {
    const table = new Table();
    table.failures.push(refused(), new HttpError("Bad Gateway", 502), undefined, refused(), undefined);
    expect(await table.related().id("Acme")).toBe(1);
    expect(table.methods).toEqual(["GET", "GET", "GET", "POST", "POST"]);
    expect(table.records.length).toBe(1);
  });

  test("are the service's business that is given", async () => {
    const table = new Table();
    const { service } = serviceOf({ maxRetries: 0 });
    table.failures.push(refused());
    expect(await rejection(table.related({ service }).id("Acme"))).toMatchObject({
      code: "RATE_LIMIT_MAX_RETRIES_EXCEEDED",
    });
    expect(service.getMetrics().calls).toBe(1);
  });

  test("do not reach the guards of a provider: nobody waits twice", async () => {
    const table = new Table();
    const { service } = serviceOf();
    table.failures.push(refused());
    const guarded = resilientDataProvider(table.provider, { service, methods: ["getList", "create"] });
    expect(await relatedRecords(guarded, "companies").id("Acme")).toBe(1);
    expect(table.methods).toEqual(["GET", "GET", "POST"]);
    expect(service.getMetrics().calls).toBe(0);
  });
});

describe("bad input", () => {
  const { provider } = new Table();
  test.each<[name: string, given: unknown[], field: string]>([
    ["no provider", [null, "companies"], "dataProvider"],
    ["no resource", [provider, undefined], "resource"],
    ["no field", [provider, "companies", { field: "" }], "field"],
    ["no function", [provider, "companies", { data: {} }], "data"],
    ["no filter", [provider, "companies", { filter: "x" }], "filter"],
    ["an unknown option", [provider, "companies", { cache: true }], "cache"],
  ])("%s", (_, given, field) => {
    const make = () => Reflect.construct(RelatedRecords, given) as unknown;
    expect(make).toThrow(RateLimitConfigError);
    expect(make).toThrow(expect.objectContaining({ field }));
  });
});
