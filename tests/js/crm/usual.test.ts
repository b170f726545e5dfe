import { describe, expect, it } from "vitest";
import { usualImport } from "../../../examples/crm/import/usual.mjs";
import { FakeServer, people, refused } from "./support.ts";

/** Finds by exact name, as the usual importer asks: `name@in`. */
class ExactServer extends FakeServer {
  constructor() {
    super();
    this.dataProvider.getList = async (
      resource: "companies" | "tags",
      { filter }: { filter: Record<string, string> },
    ) => {
      const names = JSON.parse(`[${filter["name@in"]?.slice(1, -1)}]`);
      const data = this[resource].filter(({ name }) => names.includes(name));
      return { data, total: data.length };
    };
  }
}

describe("the usual importer", () => {
  it("imports in batches of ten", async () => {
    const server = new ExactServer();
    server.latencyMs = 1;
    const rows = people(25).map((row) => ({ ...row, company: 'A "b", c', tags: "x, y" }));
    const report = await usualImport({ rows, dataProvider: server.dataProvider });
    expect(report).toMatchObject({ total: 25, imported: 25, failed: 0, errors: [] });
    expect(server.mostInFlight).toBe(10);
    expect([server.contacts.length, server.companies.length, server.tags.length]).toEqual([25, 1, 2]);
    expect(server.contacts[0]).toMatchObject({ company_id: 1, tags: [1, 2] });
    expect(server.contacts[0]).not.toHaveProperty("import_key");
  });

  it("counts a whole batch as failed for one refusal, though the others were written", async () => {
    const server = new ExactServer();
    server.trouble = (_, { first_name }) => (first_name === "P12" ? refused() : undefined);
    const seen: number[] = [];
    const report = await usualImport({
      rows: people(25),
      dataProvider: server.dataProvider,
      onProgress: ({ imported, failed }) => seen.push(imported + failed),
    });
    expect(report).toMatchObject({ imported: 15, failed: 10, errors: ["status 429"] });
    expect(server.contacts).toHaveLength(24);
    expect(seen).toEqual([10, 20, 25]);
  });

  it("doubles people when a file is uploaded again, and companies written in two ways", async () => {
    const server = new ExactServer();
    const rows = people(2).map((row, index) => ({ ...row, company: index === 0 ? "Acme" : "ACME" }));
    for (let times = 0; times < 2; times += 1) await usualImport({ rows, dataProvider: server.dataProvider });
    expect([server.contacts.length, server.companies.length]).toEqual([4, 2]);
  });

  it("fails a batch with a row that is no contact", async () => {
    const server = new ExactServer();
    const report = await usualImport({
      rows: [...people(3), { title: "CEO" }],
      dataProvider: server.dataProvider,
    });
    expect(report).toMatchObject({ imported: 0, failed: 4 });
  });
});
