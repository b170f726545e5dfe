import { describe, expect, it, test, vi } from "vitest";
import { RateLimitConfigError } from "../../js/index.ts";
import { isConflict } from "../../js/react-admin/conflict.ts";
import { type RelatedRecords, relatedRecords } from "../../js/react-admin/related.ts";
import { resilientDataProvider } from "../../js/react-admin.ts";
import { serviceOf } from "./react-admin.support.ts";
import { freshPackage } from "./support/service.ts";

describe("the service of a data provider", () => {
  const provider = { create: async (_resource: string, _params: object) => ({ data: { id: 1 } }) };

  it("may be of another copy of the package", async () => {
    const { RateLimitService } = await freshPackage();
    const service = new RateLimitService({ logLevel: "silent" });
    const resilient = resilientDataProvider(provider, { service: service as never });
    expect(await resilient.create("contacts", { data: {} })).toEqual({ data: { id: 1 } });
    expect(service.getMetrics().calls).toBe(1);
  });

  it.each([{}, { executeWithRetry: true }, null])("is one: not %j", (service) => {
    expect(() => resilientDataProvider(provider, { service: service as never })).toThrow(
      RateLimitConfigError,
    );
  });
});

describe("a conflict", () => {
  const facts = {
    "a status": { status: 409 },
    "a code": { code: "23505" },
    words: { message: "duplicate key" },
  };

  test.each(Object.entries(facts))("is known by %s, wherever it is", (_, fact) => {
    for (const error of [fact, { body: fact }, { cause: fact }, { error: fact }]) {
      expect(isConflict(error)).toBe(true);
    }
  });

  test.each([null, "duplicate key", { details: facts["a code"] }, { status: 400 }])("is not %j", (error) => {
    expect(isConflict(error)).toBe(false);
  });
});

describe("names of related records", () => {
  /** All of them are there; how many are asked for in each request. */
  function known(...names: string[]): { related: RelatedRecords; asked: number[] } {
    const asked: number[] = [];
    const provider = {
      getList: async (_: string, { filter }: { filter: Record<string, string> }) => {
        asked.push(filter["name@imatch"]?.split("|").length ?? 0);
        return { data: names.map((name, index) => ({ id: index + 1, name })), total: names.length };
      },
      create: async () => ({ data: { id: 0 } }),
    };
    const { service } = serviceOf();
    return { related: relatedRecords(provider as never, "companies", { service }), asked };
  }

  /** What the address of one request takes, and what stands in it around each name. */
  const [ADDRESS, AROUND] = [4_000, encodeURIComponent("^\\s*()\\s*$").length];

  test.each([
    ["go together where they fill an address", 0, [2]],
    ["go one after the other where they are longer", 1, [1, 1]],
  ])("%s", async (_, longer, requests) => {
    const names = ["a".repeat(ADDRESS / 2 - AROUND), "b".repeat(ADDRESS / 2 - AROUND + longer)];
    const { related, asked } = known(...names);
    expect(await related.ids(names)).toEqual([1, 2]);
    expect(asked).toEqual(requests);
  });

  test("leave the signal of whoever asked when they are found", async () => {
    const { signal } = new AbortController();
    const [add, remove] = [vi.spyOn(signal, "addEventListener"), vi.spyOn(signal, "removeEventListener")];
    expect(await known("Acme").related.id("Acme", signal)).toBe(1);
    await Promise.resolve();
    const listeners = add.mock.calls.map(([type, listener]) => [type, listener]);
    expect(listeners).toHaveLength(1);
    expect(remove.mock.calls).toEqual(listeners);
  });
});
