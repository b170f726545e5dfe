import { describe, expect, it } from "vitest";
import { relatedByName, samePattern } from "../../../examples/crm/import/related.mjs";
import { rowId } from "../../../js/import/ids.ts";
import { FakeServer, httpError, lost, refused } from "./support.ts";

/** Finding, sharing and creating is `relatedRecords`' business; this is about names that are not unique, and keys that are. */
function relatedOn(server: FakeServer) {
  return relatedByName(server.dataProvider, "companies", "test", { sector: "sea" });
}

describe("companies and tags", () => {
  it("are found whatever their letter case, the oldest first", async () => {
    const server = new FakeServer();
    server.companies.push({ id: 7, name: "Acme Ltd" }, { id: 9, name: "ACME  LTD" });
    expect(await relatedOn(server).id("acme ltd")).toBe(7);
    expect(server.companies).toHaveLength(2);
  });

  it("are created with a key made from their name, once for all who ask", async () => {
    const server = new FakeServer();
    const related = relatedOn(server);
    expect(await related.ids(["Acme", " ACME", "acme"])).toEqual([1]);
    const import_key = rowId({ origin: "test", table: "companies" }, "acme");
    expect(server.companies).toEqual([{ id: 1, name: "Acme", sector: "sea", import_key }]);
  });

  it("are created once though the request arrives twice", async () => {
    const server = new FakeServer();
    const { create } = server.dataProvider;
    server.dataProvider.create = async (resource: string, params: { data: object }) => {
      await create(resource, params);
      return create(resource, params);
    };
    expect(await relatedOn(server).id(" Größe 1")).toBe(1);
    expect(server.companies).toHaveLength(1);
  });

  it("wait refusals out", async () => {
    const server = new FakeServer();
    server.trouble = (_resource, _body, nth) => (nth > 1 ? undefined : refused());
    expect(await relatedOn(server).id("Acme")).toBe(1);
    expect(server.companies).toHaveLength(1);
  });

  it("are found when the answer to their creation was lost: the row is sent again", async () => {
    const server = new FakeServer();
    const related = relatedOn(server);
    server.trouble = (resource) => (resource === "companies" ? lost(true) : undefined);
    await expect(related.id("Acme")).rejects.toThrow();
    server.trouble = () => undefined;
    expect(await related.id("Acme")).toBe(1);
    expect(server.companies).toHaveLength(1);
  });

  it("are recognised after somebody has renamed them, and under the other spelling of ß", async () => {
    const server = new FakeServer();
    await relatedOn(server).ids(["Acme", "Straße 7"]);
    Object.assign(server.companies[0] ?? {}, { name: "Acme Holding" });
    expect(await relatedOn(server).ids(["acme", "STRASSE 7"])).toEqual([1, 2]);
    expect(server.companies).toHaveLength(2);
  });

  it("fail when the key is taken and nobody has it", async () => {
    const server = new FakeServer();
    const taken = 'duplicate key value violates unique constraint "companies_import_key_key"';
    server.trouble = (resource) =>
      resource === "companies"
        ? { error: httpError(409, { code: "23505", message: taken }, taken), written: false }
        : undefined;
    await expect(relatedOn(server).id("Acme")).rejects.toThrow(taken);
  });
});

describe("the pattern of a name", () => {
  it.each([
    ["Acme", "ACME", true],
    ["Acme", "Acme 2", false],
    ["Acme", "The Acme", false],
    ["Müller & Söhne", "MÜLLER & SÖHNE", true],
    ["Straße 7", "STRASSE 7", true],
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
