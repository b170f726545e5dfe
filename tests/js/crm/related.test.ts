import { describe, expect, it } from "vitest";
import { importKeyOf } from "../../../examples/crm/import/contact.mjs";
import { createRelated, samePattern } from "../../../examples/crm/import/related.mjs";
import { FakeServer, httpError, lost, refused } from "./support.ts";

function relatedOn(server: FakeServer) {
  const calls: { operation: string; idempotent: boolean }[] = [];
  function guarded<T>(call: () => Promise<T>, about: { operation: string; idempotent: boolean }) {
    calls.push(about);
    return call();
  }
  return { ...createRelated({ dataProvider: server.dataProvider, origin: "test", guarded }), calls };
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

  it.each(["company", "tag"] as const)(
    "are created once though the request arrives twice: %s",
    async (kind) => {
      const server = new FakeServer();
      const { create } = server.dataProvider;
      server.dataProvider.create = async (resource: string, params: { data: object }) => {
        await create(resource, params);
        return create(resource, params);
      };
      const related = relatedOn(server);
      expect(await related[kind](" Größe 1")).toBe(1);
      expect(related.calls.map(({ operation, idempotent }) => [operation, idempotent])).toEqual([
        ["getList", true],
        ["create", true],
        ["getList", true],
      ]);
      expect([...server.companies, ...server.tags]).toHaveLength(1);
    },
  );

  it("are the same ones when somebody else creates them between lookup and creation", async () => {
    const server = new FakeServer();
    server.latencyMs = 1;
    const ids = await Promise.all([relatedOn(server).company("Acme"), relatedOn(server).company("ACME ")]);
    expect(ids).toEqual([1, 1]);
    expect(server.companies).toHaveLength(1);
  });

  it("are recognised after somebody has renamed them", async () => {
    const server = new FakeServer();
    await relatedOn(server).company("Acme");
    Object.assign(server.companies[0] ?? {}, { name: "Acme Holding" });
    expect(await relatedOn(server).company("acme")).toBe(1);
    expect(server.companies).toHaveLength(1);
  });

  it("fail when the key is taken and nobody has it, and for another reason than the key", async () => {
    const server = new FakeServer();
    const taken = 'duplicate key value violates unique constraint "companies_import_key_key"';
    const other = 'duplicate key value violates unique constraint "companies_name"';
    for (const message of [taken, other]) {
      server.trouble = (resource) =>
        resource === "companies"
          ? { error: httpError(409, { code: "23505", message }, message), written: false }
          : undefined;
      await expect(relatedOn(server).company("Acme")).rejects.toThrow(message);
    }
  });

  it("have keys of their own: a tag is no company", async () => {
    const server = new FakeServer();
    const { company, tag } = relatedOn(server);
    await Promise.all([company("Acme"), tag("Acme"), company("Acme 2")]);
    const keys = [...server.companies, ...server.tags].map(({ import_key }) => import_key);
    expect(new Set(keys).size).toBe(3);
    expect(keys).toEqual(expect.arrayContaining([importKeyOf("test", "companies", "acme")]));
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
