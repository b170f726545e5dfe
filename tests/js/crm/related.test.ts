import { describe, expect, it } from "vitest";
import { createRelated, samePattern } from "../../../examples/crm/import/related.mjs";
import { FakeServer, lost, refused } from "./support.ts";

function relatedOn(server: FakeServer) {
  const calls: { operation: string; idempotent: boolean }[] = [];
  function guarded<T>(call: () => Promise<T>, about: { operation: string; idempotent: boolean }) {
    calls.push(about);
    return call();
  }
  return { ...createRelated({ dataProvider: server.dataProvider, guarded }), calls };
}

describe("companies and tags", () => {
  it("are found whatever their letter case, the oldest first", async () => {
    const server = new FakeServer();
    server.companies.push({ id: 7, name: "Acme Ltd" }, { id: 9, name: "ACME  LTD" });
    const { company } = relatedOn(server);
    expect(await company("acme ltd")).toBe(7);
    expect(server.companies).toHaveLength(2);
  });

  it("are not taken for others whose names contain theirs", async () => {
    const server = new FakeServer();
    server.companies.push({ id: 7, name: "Acme Ltd" }, { id: 8, name: "The Acme" });
    expect(await relatedOn(server).company("Acme")).toBe(3);
  });

  it("are looked up once for all who ask, also at the same time", async () => {
    const server = new FakeServer();
    const { company, tag, calls } = relatedOn(server);
    const ids = await Promise.all([company("Acme"), company(" ACME"), company("acme"), tag("acme")]);
    expect(ids).toEqual([1, 1, 1, 1]);
    expect([server.companies.length, server.tags.length]).toEqual([1, 1]);
    expect(calls).toHaveLength(4);
    expect(server.tags[0]).toMatchObject({ name: "acme", color: "#eddcd2" });
  });

  it("are looked up again after a failure, and found when the lost answer had created them", async () => {
    const server = new FakeServer();
    server.trouble = (resource, _, nth) => (resource === "companies" && nth === 1 ? lost(true) : undefined);
    const { company } = relatedOn(server);
    await expect(company("Acme")).rejects.toThrow("fetch failed");
    expect(await company("Acme")).toBe(1);
    expect(server.companies).toHaveLength(1);
  });

  it("fail for all who share the lookup", async () => {
    const server = new FakeServer();
    server.trouble = (resource, _, nth) => (resource === "companies?" && nth === 1 ? refused() : undefined);
    const { company } = relatedOn(server);
    const results = await Promise.allSettled([company("Acme"), company("Acme")]);
    expect(results.map(({ status }) => status)).toEqual(["rejected", "rejected"]);
    expect(await company("Acme")).toBe(1);
  });

  it("are never created blindly twice: only the lookup counts as idempotent", async () => {
    const { company, calls } = relatedOn(new FakeServer());
    await company("Acme");
    expect(calls.map(({ operation, idempotent }) => [operation, idempotent])).toEqual([
      ["getList", true],
      ["create", false],
    ]);
  });
});

describe("the pattern of a name", () => {
  it.each([
    ["Acme", "ACME", true],
    ["Acme", "Acme 2", false],
    ["Müller & Söhne", "MÜLLER & SÖHNE", true],
    ["Straße 7", "STRASSE 7", true],
    ["Strasse 7", "straße 7", true],
    ["C++ (Consulting)", "c++ (consulting)", true],
    ["a.b", "axb", false],
    ["[x]^$|\\?*{}", "[X]^$|\\?*{}", true],
    ["株式会社", "株式会社", true],
    ["two  words", "two words", true],
    ["🚀 x", "🚀 X", true],
  ])("%s finds %s: %s", (name, other, found) => {
    expect(new RegExp(samePattern(name), "iu").test(other)).toBe(found);
  });
});
