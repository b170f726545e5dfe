import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { keyOf } from "../../../examples/crm/import/contact.mjs";
import { WAYS } from "../../../examples/crm/import/sender.mjs";
import { rowId } from "../../../js/import/ids.ts";
import { FakeServer, finish, imported, importOf, lost, people, rejected } from "./support.ts";

/** How the engine copes with trouble is tested beside it; this is what the CRM tells it of contacts. */
let server: FakeServer;

beforeEach(() => {
  vi.useFakeTimers({ now: new Date("2026-01-05T14:00:00") });
  server = new FakeServer();
  server.latencyMs = 5;
});

afterEach(() => {
  vi.useRealTimers();
});

describe.each(WAYS)("an import %s", (way) => {
  it("creates every contact once, with its key and the ids of its company and tags", async () => {
    const ann = { first_name: "Ann", email_work: "Ann@example.com", company: "Acme", tags: "vip, Partner" };
    const bob = { first_name: "Bob", email_home: "bob@example.com", company: "ACME", tags: "partner" };
    const report = await imported(server, [ann, bob], way);
    expect(report).toMatchObject({ total: 2, imported: 2, duplicate: 0, failed: 0, skipped: 0, unknown: 0 });
    expect(server.companies).toHaveLength(1);
    expect(server.tags).toMatchObject([{ color: "#eddcd2" }, { color: "#eddcd2" }]);
    const byName = Object.fromEntries(server.contacts.map((contact) => [contact.first_name, contact]));
    expect(byName).toMatchObject({
      Ann: { company_id: 1, email_jsonb: [{ email: "Ann@example.com", type: "Work" }] },
      Bob: { company_id: 1, import_key: rowId({ origin: "test", table: "contacts" }, keyOf(bob)) },
    });
    expect([byName.Ann?.tags, byName.Bob?.tags]).toMatchObject([{ length: 2 }, { length: 1 }]);
  });

  it("adds nobody with the same or a corrected file, and says who was there", async () => {
    await imported(server, people(30), way);
    const corrected = people(30).map((row) => ({ ...row, title: "CEO" }));
    const report = await imported(server, [...corrected, ...people(3)], way);
    expect(report).toMatchObject({ total: 33, imported: 0, duplicate: 33, failed: 0 });
    expect(server.contacts).toHaveLength(30);
    // By this the page tells who was there from who is in the file twice.
    const sent = report.rows({ outcome: "duplicate" }).filter(({ attempts }) => attempts > 0);
    expect(sent).toHaveLength(30);
  });

  it("leaves rows out of which no contact can be made, and gives them back as they were", async () => {
    const file = "First name;First seen;Shoe size\nAnn;2024-01-31;37\nBob;soon;44\n;;41\n";
    const report = await imported(server, file, way);
    expect(report).toMatchObject({ imported: 1, skipped: 2 });
    expect(report.rows({ outcome: "skipped" }).map(({ row, message }) => [row?.line, message])).toEqual([
      [3, 'first_seen: "soon" is not a date (use 2025-12-31).'],
      [4, "This row has neither a name nor an e-mail address."],
    ]);
    expect(report.toCSV({ outcomes: ["skipped"] })).toMatch(
      /^\uFEFFFirst name,First seen,Shoe size,import_outcome,/,
    );
  });
});

it("plans before anything is sent", async () => {
  const file = [...people(5), ...people(2), { title: "CEO" }];
  expect(await importOf(server, file).plan()).toMatchObject({
    total: 8,
    fresh: 5,
    duplicatesInFile: 2,
    invalid: 1,
  });
  expect([server.sent, server.batches]).toEqual([[], []]);
});

it("goes in batches only where it is told to", async () => {
  await imported(server, people(60), "in batches");
  expect(server.batches.reduce((sum, rows) => sum + rows, 0)).toBeGreaterThanOrEqual(60);
  expect(server.batches.length).toBeLessThan(60);
  await imported(server, people(60), "one by one");
  expect([server.sent.length, server.contacts.length]).toEqual([60, 60]);
});

it("fails a row in the server's words, and sends a row again whose answer was lost", async () => {
  server.trouble = (resource, { first_name }, nth) => {
    if (resource !== "contacts" || nth > 1) return undefined;
    return first_name === "P2" ? rejected("value too long") : first_name === "P3" ? lost(true) : undefined;
  };
  const job = importOf(server, people(4));
  await job.plan();
  const report = await finish(job.start());
  expect(report).toMatchObject({ imported: 3, failed: 1, unknown: 0 });
  expect(report.rows({ outcome: "failed" })).toMatchObject([
    { index: 1, code: "22001", message: "value too long", row: { row: { first_name: "P2" } } },
  ]);
  expect(server.contacts).toHaveLength(3);
  const again = job.retryFailed();
  await again.plan();
  expect(await finish(again.start())).toMatchObject({ total: 1, imported: 1 });
  expect(server.contacts).toHaveLength(4);
});
