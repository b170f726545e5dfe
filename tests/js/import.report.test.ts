import fc from "fast-check";
import { describe, expect, it, vi } from "vitest";
import { type CsvItem, type CsvOptions, readCsv, toCsv } from "../../js/csv.ts";
import { Ledger } from "../../js/import/ledger.ts";
import type { ImportOutcome, ImportProgress, ImportRow, ImportStop } from "../../js/import/public.ts";
import { type ProgressFacts, progressOf, type ReportFacts, reportOf } from "../../js/import/report.ts";
import { RateLimitConfigError } from "../../js/index.ts";

type Fate = Partial<ImportRow<unknown>> & { outcome: ImportOutcome };

/** What a report is made of, of rows that are at hand. */
function factsOf(
  rows: readonly unknown[],
  fates: readonly Fate[],
  more: Partial<ReportFacts<unknown>> = {},
): ReportFacts<unknown> {
  const ledger = new Ledger<unknown>({ job: "a", keepsRows: more.rows === null, spill: false });
  ledger.add(fates.length);
  fates.forEach((fate, index) => {
    ledger.note({ index, row: rows[index], key: `key ${index}`, attempts: 1, ...fate });
  });
  return {
    ...{ ledger, rows, headers: null, stopped: null, storage: null, durationMs: 1_500 },
    keyOf: (_row, index) => `made ${index}`,
    stats: { requests: 5, throttled: 2, retries: 1 },
    ...more,
  };
}

const failed = (message: string): Fate => ({ outcome: "failed", message });

async function itemsOf(csv: string, options?: CsvOptions): Promise<CsvItem[]> {
  const items: CsvItem[] = [];
  for await (const item of readCsv(csv, options)) items.push(item);
  return items;
}

const plain = async (csv: string, options?: CsvOptions) =>
  (await itemsOf(csv, options)).map(({ row }) => row);

describe("a report", () => {
  const people = ["Ada", "Ben", "Cem", "Dea", "Eva"].map((name) => ({ name }));
  const fates: Fate[] = [
    { outcome: "imported", id: 71 },
    { outcome: "duplicate", attempts: 0, message: "The same as row 1." },
    { outcome: "failed", code: "22P02", message: "No number", attempts: 3 },
    { outcome: "skipped", attempts: 0 },
    { outcome: "unknown" },
  ];

  it("has counts that add up, of the moment at which it was made", () => {
    const facts = factsOf(people, fates, { storage: "The disk is full." });
    const report = reportOf(facts);
    facts.ledger.note({ index: 4, key: "", outcome: "imported", attempts: 2 });
    expect(report).toMatchObject({
      ...{ imported: 1, duplicate: 1, failed: 1, skipped: 1, unknown: 1, total: 5 },
      ...{ retries: 1, throttled: 2, requests: 5, durationMs: 1_500 },
      ...{ stopped: null, storage: "The disk is full." },
    });
  });

  it("has the rows in their order, with all that is known of them", () => {
    const [ada, ben, cem, dea, eva] = people;
    expect(reportOf(factsOf(people, fates)).rows()).toEqual([
      { index: 0, row: ada, key: "made 0", outcome: "imported", id: 71, attempts: 1 },
      { index: 1, row: ben, key: "made 1", outcome: "duplicate", message: "The same as row 1.", attempts: 0 },
      {
        ...{ index: 2, row: cem, key: "made 2", outcome: "failed", attempts: 3 },
        ...{ code: "22P02", message: "No number" },
      },
      { index: 3, row: dea, key: "made 3", outcome: "skipped", message: "It was not sent.", attempts: 0 },
      {
        ...{ index: 4, row: eva, key: "made 4", outcome: "unknown", attempts: 1 },
        message: "It was sent, the answer was lost, and nobody can tell whether the server has it.",
      },
    ]);
  });

  it("has those that ended one way or another", () => {
    const { rows } = reportOf(factsOf(people, fates));
    const indexes = (outcome?: ImportOutcome | ImportOutcome[]) =>
      rows({ outcome }).map(({ index }) => index);
    expect(indexes("failed")).toEqual([2]);
    expect(indexes(["unknown", "imported"])).toEqual([0, 4]);
    expect(indexes([])).toEqual([]);
    expect(indexes(undefined)).toEqual([0, 1, 2, 3, 4]);
  });

  it("says of skipped rows why the import stopped", () => {
    const stopped: ImportStop = { reason: "refused", message: "The server refused the import (401)." };
    const [row] = reportOf(factsOf(people, fates, { stopped })).rows({ outcome: "skipped" });
    expect(row?.message).toBe("It was not sent. The server refused the import (401).");
  });

  it("says that a row failed where nobody said why", () => {
    const [row] = reportOf(factsOf(people, [{ outcome: "failed" }])).rows();
    expect(row?.message).toBe("The server did not accept it.");
  });

  it("has no key of a row that has none, and makes none for a file", () => {
    const keyOf = vi.fn(() => {
      throw new TypeError("no key");
    });
    const report = reportOf(factsOf(people, fates, { keyOf }));
    report.toCSV();
    expect(keyOf).not.toHaveBeenCalled();
    expect(report.rows({ outcome: "imported" })).toMatchObject([{ key: "", row: people[0] }]);
    expect(keyOf).toHaveBeenCalledWith(people[0], 0);
  });

  it("has of rows that are not at hand what the ledger kept", () => {
    const { rows } = reportOf(factsOf(people, fates, { rows: null }));
    expect(rows().map(({ row, key }) => [row, key])).toEqual([
      [undefined, ""],
      [undefined, "key 1"],
      [{ name: "Cem" }, "key 2"],
      [undefined, ""],
      [{ name: "Eva" }, "made 4"],
    ]);
  });
});

describe("the file of a report", () => {
  it("has the columns of all rows in the order met, and what failed or is unknown", () => {
    const rows = [{ name: "Ada", age: 36 }, { name: "Ben", tags: ["x", { y: 1 }] }, { phone: "+49 30 1" }];
    const facts = factsOf(rows, [
      { outcome: "imported" },
      failed('He said "no", twice\nor more'),
      { outcome: "unknown", message: "Lost" },
    ]);
    expect(reportOf(facts).toCSV()).toBe(
      "\uFEFFname,age,tags,phone,import_outcome,import_message\r\n" +
        'Ben,,"[""x"",{""y"":1}]",,failed,"He said ""no"", twice\nor more"\r\n' +
        ",,,+49 30 1,unknown,Lost\r\n",
    );
    expect(reportOf(facts).toCSV({ outcomes: ["imported"], delimiter: ";" })).toBe(
      "\uFEFFname;age;tags;phone;import_outcome;import_message\r\nAda;36;;;imported;\r\n",
    );
  });

  it("has its names alone when there is nothing to tell", () => {
    expect(reportOf(factsOf([{ a: 1 }], [{ outcome: "imported" }])).toCSV()).toBe(
      "\uFEFFa,import_outcome,import_message\r\n",
    );
    expect(reportOf(factsOf([], [])).toCSV()).toBe("\uFEFFimport_outcome,import_message\r\n");
  });

  it.each(["", "\n", '"', "\uFEFF"])("is not separated by %j", (delimiter) => {
    const { toCSV } = reportOf(factsOf([], []));
    expect(() => toCSV({ delimiter })).toThrow(RateLimitConfigError);
  });

  it("takes rows of any kind", () => {
    const cycle: Record<string, unknown> = { when: new Date(0), never: new Date(Number.NaN), big: 7n };
    cycle.self = cycle;
    const rows = ["text", null, 5, cycle, { constructor: "x" }];
    const csv = reportOf(
      factsOf(
        rows,
        rows.map(() => failed("No object")),
      ),
    ).toCSV();
    expect(csv).toBe(
      "\uFEFFwhen,never,big,self,constructor,import_outcome,import_message\r\n" +
        `${",,,,,failed,No object\r\n".repeat(3)}` +
        "1970-01-01T00:00:00.000Z,,7,[object Object],,failed,No object\r\n,,,,x,failed,No object\r\n",
    );
  });

  it("names rows whose data is gone by their place", () => {
    const csv = reportOf(factsOf([], [{ outcome: "imported" }, failed("No")], { rows: null })).toCSV();
    expect(csv).toBe("\uFEFFimport_outcome,import_message\r\nfailed,Row 2: No\r\n");
  });

  it("is what tidegate/csv would write, whatever is in the cells", async () => {
    const cell = fc.oneof(
      fc.string(),
      fc.string({ unit: "binary" }),
      fc.constantFrom(
        "=1+1",
        "+49 30 123",
        "-5",
        "-1e5",
        "'=x",
        "''@",
        "\t=1",
        " =1",
        "\uFEFF",
        "＝1",
        "-A1",
        "",
      ),
      fc.double(),
      fc.constantFrom(null, undefined, true, -3, 12n, Number.NEGATIVE_INFINITY),
      fc.record({ a: fc.string() }),
      fc.array(fc.integer()),
    );
    const names = fc.constantFrom("a", "b", "=c", " d", "e,f", "g;h", "__x");
    const rows = fc.array(fc.dictionary(names, cell, { noNullPrototype: true }), { maxLength: 6 });
    fc.assert(
      fc.property(rows, fc.constantFrom(",", ";", "\t", "|"), (rows, delimiter) => {
        const messages = rows.map((_, index) => (index % 2 ? "=HYPERLINK(1)" : 'a "b"'));
        const csv = reportOf(factsOf(rows, messages.map(failed))).toCSV({ delimiter });
        const columns = [...new Set(rows.flatMap((row) => Object.keys(row)))];
        const cells = rows.map((row, index) => [
          ...columns.map((name) => (Object.hasOwn(row, name) ? row[name] : "")),
          ...["failed", messages[index]],
        ]);
        expect(csv).toBe(toCsv(cells, [...columns, "import_outcome", "import_message"], { delimiter }));
      }),
      { numRuns: 150 },
    );
  });

  it("looks at the first rows for columns, and at those that it writes", () => {
    const rows: object[] = Array.from({ length: 10_003 }, () => ({ a: 1 }));
    Object.assign(rows[9_999] as object, { b: 1 });
    Object.assign(rows[10_001] as object, { c: 1 });
    rows[10_002] = { d: 4 };
    const fates: Fate[] = rows.map((_, index) => ({ outcome: index > 10_001 ? "failed" : "imported" }));
    expect(reportOf(factsOf(rows, fates)).toCSV()).toMatch(/^\uFEFFa,b,d,import_outcome/);
  });
});

describe("the file of a report about a file", () => {
  const file =
    "Name;E-mail (Work);Phone;;Name\r\n" +
    "Ada;ada@example.com;+49 30 123;x;L\r\n" +
    '\'=Ben;"b;e\n""n""";-1-555;;\r\n' +
    "Cem;  ; 007;y\r\n" +
    "Dea;d@example.com;1;2;3;=more\r\n";

  async function reported(csv: string, options?: CsvOptions, rows: "at hand" | null = "at hand") {
    const source = readCsv(csv, options);
    const { headers } = await source.head();
    const items = await itemsOf(csv, options);
    const fates = items.map(
      (_, index): Fate => (index === 0 ? { outcome: "imported" } : failed(`Bad: ${index}`)),
    );
    return { items, facts: factsOf(items, fates, { headers, ...(rows === null && { rows }) }) };
  }

  const ours = { import_outcome: null, import_message: null };

  it.each(["at hand", null] as const)("has its columns and cells as they are: rows %s", async (rows) => {
    const { items, facts } = await reported(file, {}, rows);
    const csv = reportOf(facts).toCSV();
    const again = readCsv(csv);
    expect((await again.head()).headers).toEqual([
      ...["Name", "E-mail (Work)", "Phone", "column 4", "Name (2)", "column 6"],
      ...["import_outcome", "import_message"],
    ]);
    const read = await itemsOf(csv, { shortRows: "fill" });
    expect(read.map(({ errors }) => errors)).toEqual([undefined, undefined, undefined]);
    const cells = items.slice(1).map((item) => Array.from({ length: 6 }, (_, at) => item.cells[at] ?? ""));
    expect(read.map((item) => item.cells.slice(0, 6))).toEqual(cells);
    expect(read.map(({ row }) => [row.import_outcome, row.import_message])).toEqual([
      ["failed", "Bad: 1"],
      ["failed", "Bad: 2"],
      ["failed", "Bad: 3"],
    ]);
    expect(csv).toContain("'=Ben");
    expect(csv).toContain("'=more");
  });

  it("can be corrected and imported again: the rows are those of the first file, its keys too", async () => {
    const columns = { name: ["Name"], email: ["E-mail (Work)"], phone: ["Phone"] };
    const tidy =
      "Name,E-mail (Work),Phone\r\nAda,ada@example.com,+49 30\r\nBen,ben(at)example,-5\r\n=Cem,c@x,+1\r\n";
    const { facts } = await reported(tidy, { columns });
    const csv = reportOf(facts).toCSV();
    const corrected = csv.replace("ben(at)example", "ben@example.com");
    expect(await plain(corrected, { columns, mapping: ours })).toEqual([
      { name: "Ben", email: "ben@example.com", phone: "-5" },
      { name: "=Cem", email: "c@x", phone: "+1" },
    ]);
  });

  it("has our columns once, also of a file that is a report itself", async () => {
    const first = reportOf((await reported(file)).facts).toCSV();
    const { facts } = await reported(first);
    const second = reportOf(facts).toCSV();
    const names = (await readCsv(second).head()).headers;
    expect(names.filter((name) => name.startsWith("import_"))).toEqual(["import_outcome", "import_message"]);
    expect((await plain(second)).map((row) => row.import_message)).toEqual(["Bad: 1", "Bad: 2"]);
    const objects = [{ import_message: "old", a: 1, import_outcome: "failed" }];
    expect(reportOf(factsOf(objects, [failed("new")])).toCSV()).toBe(
      "\uFEFFa,import_outcome,import_message\r\n1,failed,new\r\n",
    );
  });

  it("opens with semicolons as well", async () => {
    const { items, facts } = await reported(file);
    const read = await itemsOf(reportOf(facts).toCSV({ delimiter: ";" }), { shortRows: "fill" });
    expect(read[0]?.cells.slice(0, 3)).toEqual(items[1]?.cells.slice(0, 3));
  });
});

describe("progress", () => {
  const counts = { imported: 5, duplicate: 1, failed: 2, skipped: 0, unknown: 1 };
  const facts: ProgressFacts = {
    counts,
    ...{ total: 20, isTotalKnown: true, waiting: null, ended: null },
    desk: {
      counts: { inFlight: 4 },
      stats: { requests: 9, throttled: 2, retries: 1 },
      pace: { requestsPerSecond: 12.5, cap: null, batchSize: 3 },
      progress: { rowsPerSecond: 30, etaMs: [300, 500] },
    },
  };

  it("has counts that add up to the total", () => {
    expect(progressOf(facts)).toEqual({
      ...{ ...counts, total: 20, isTotalKnown: true, pending: 11, inFlight: 4 },
      ...{ ratePerSecond: 30, etaMs: [300, 500], state: "running", waiting: null },
      ...{ throttled: 2, retries: 1, requests: 9, requestsPerSecond: 12.5, batchSize: 3 },
    } satisfies ImportProgress);
  });

  it("is nothing yet before it begins", () => {
    expect(progressOf({ ...facts, desk: null, total: 9, counts })).toMatchObject({
      ...{ pending: 0, inFlight: 0, ratePerSecond: 0, etaMs: null, requests: 0, throttled: 0, retries: 0 },
      ...{ requestsPerSecond: 0, batchSize: 0 },
    });
  });

  it("says why it waits, and that it is paused", () => {
    const waiting = { reason: "offline" as const, message: "There is no connection." };
    expect(progressOf({ ...facts, waiting })).toMatchObject({ state: "waiting", waiting });
    const paused = { reason: "paused" as const, message: "Paused." };
    expect(progressOf({ ...facts, waiting: paused })).toMatchObject({ state: "paused", waiting: paused });
  });

  it("waits for nothing when it has ended", () => {
    const waiting = { reason: "pace" as const, message: "" };
    for (const ended of ["done", "cancelled"] as const) {
      expect(progressOf({ ...facts, waiting, ended })).toMatchObject({
        ...{ state: ended, waiting: null, etaMs: [0, 0] },
      });
    }
  });

  it("never has more on their way than are left", () => {
    expect(progressOf({ ...facts, total: 10 })).toMatchObject({ pending: 1, inFlight: 1 });
  });
});

describe("rows of somebody else's making", () => {
  it("have empty cells where they throw", () => {
    const { proxy, revoke } = Proxy.revocable({ name: "gone" }, {});
    revoke();
    const moody = {
      name: "Ann",
      get age(): number {
        throw new Error("Nobody asks that.");
      },
    };
    const report = reportOf(factsOf([moody, proxy], [failed("no"), failed("gone")]));
    expect(report.toCSV().split("\r\n").slice(0, 3)).toEqual([
      "\uFEFFname,age,import_outcome,import_message",
      "Ann,,failed,no",
      ",,failed,gone",
    ]);
  });
});
