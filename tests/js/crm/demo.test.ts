import { describe, expect, it } from "vitest";
import { checkContacts } from "../../../examples/crm/demo/check.mjs";
import { readOptions } from "../../../examples/crm/demo/options.mjs";
import { table } from "../../../examples/crm/demo/table.mjs";
import { UsageError } from "../../../examples/crm/flags.mjs";
import { keyOf } from "../../../examples/crm/import/contact.mjs";
import { rowId } from "../../../js/import/ids.ts";

describe("the demo's command line", () => {
  it.each([
    ["--rows -5", "--rows must be a whole number from 1 to 100000"],
    ["--rows 1.5", "--rows must be a whole number"],
    ["--rows 1e9", "--rows"],
    ["--rows=", "--rows"],
    ["--rows ten", 'not "ten"'],
    [
      "--gateway foo",
      "--gateway must be one of bucket, fixed, sliding, concurrency, cloudflare, supabase-420",
    ],
    ["--rate 0", "--rate"],
    ["--window -1", "--window"],
    ["--limit 0", "--limit"],
    ["--seed -1", "--seed"],
    ["--port 70000", "--port"],
    ["--faults 503=1.5", "--faults 503 must be"],
    ["--faults 503", "--faults 503 must be"],
    ["--faults flood=0.5", "--faults must be one of"],
    ["--faults 503=0.6,slow=0.6", "--faults: the shares of faults add up to 1.2"],
    ["--headless --again never", "--again must be one of same, corrected"],
    ["--headless --twice --again same", "--twice"],
    ["--headless --file x.csv --again corrected", "--file"],
    ["--without-tidegate", "needs --headless"],
    ["--in-batches", "needs --headless"],
    ["--headless --in-batches --without-tidegate", "--in-batches"],
    ["--concurrency 0", "--concurrency must be a whole number from 1 to 1000"],
    ["--bogus", "Unknown option '--bogus'"],
    ["rows", "Unexpected argument 'rows'"],
  ])("refuses %s in one line", (line, message) => {
    const read = () => readOptions(line.split(" "));
    expect(read).toThrow(UsageError);
    expect(read).toThrow(message);
    expect(read).not.toThrow("\n");
  });

  it("has the defaults that the issue names", () => {
    expect(readOptions(["--headless"])).toMatchObject({
      people: { rows: 300, seed: 1, duplicates: 0 },
      withTidegate: true,
      way: "one by one",
      concurrency: undefined,
      gateway: { mode: "bucket", limits: {}, faults: {}, exposeHeaders: false, corsOnRefusals: true },
    });
  });

  it("runs the long windows short unless told otherwise", () => {
    const limits = (line: string) => readOptions(`--headless ${line}`.split(" ")).gateway.limits;
    expect(limits("--gateway supabase-420")).toEqual({ windowMs: 10_000 });
    expect(limits("--gateway supabase-420 --window 300")).toEqual({ windowMs: 300_000 });
    expect(limits("--gateway cloudflare --window 2.5")).toEqual({ windowMs: 2500, retryAfterSeconds: 3 });
    expect(limits("--gateway cloudflare --retry-after 30")).toEqual({
      windowMs: 10_000,
      retryAfterSeconds: 30,
    });
    expect(limits("--gateway fixed --rate 5 --limit 7")).toEqual({ rate: 5, limit: 7 });
  });

  it("sends in batches when asked, and no more at once than asked", () => {
    expect(readOptions(["--headless", "--in-batches", "--concurrency", "3"])).toMatchObject({
      way: "in batches",
      concurrency: 3,
    });
  });

  it("reads faults by their names, with the seed of the run", () => {
    const { gateway } = readOptions(["--seed", "4", "--faults", "503=0.1,drop-after=0.2"]);
    expect(gateway.faults).toEqual({ seed: 4, unavailable: 0.1, dropAfter: 0.2 });
  });
});

describe("the check in Postgres", () => {
  const rows = [
    { first_name: "Ann", email_work: "ann@example.com" },
    { first_name: "Bob", linkedin_url: "https://linkedin.com/in/bob" },
    { first_name: "Cid", last_name: "Lee", company: "Acme" },
    { first_name: "Dot", phone_work: "1" },
  ];
  const stored = [
    { first_name: "Ann", email_jsonb: [{ email: "ANN@example.com", type: "Work" }] },
    { first_name: "Bob", linkedin_url: "https://linkedin.com/in/bob" },
    { first_name: "Cid", last_name: "Lee", company: "ACME" },
    { first_name: "Dot", import_key: rowId({ origin: "crm", table: "contacts" }, keyOf(rows[3] as never)) },
  ];

  /** Postgres with these contacts; other tables hold two names that are the same. */
  function backend(contacts: object[], names = ["a", "b"]) {
    return {
      sql: async (text: string) =>
        (/ from contacts/s.test(text) ? contacts : names.map((name) => ({ name }))) as never,
      count: async () => contacts.length,
    };
  }

  it("finds everybody, whatever they are known by", async () => {
    expect(await checkContacts(backend(stored), rows, "crm")).toEqual({
      contacts: 4,
      expected: 4,
      present: 4,
      missing: [],
      doubled: [],
      doubledCompanies: 0,
      doubledTags: 0,
    });
  });

  it.each(stored.map((_, index) => index))("sees that contact %i is missing", async (index) => {
    const findings = await checkContacts(backend(stored.filter((_, other) => other !== index)), rows, "crm");
    expect(findings).toMatchObject({ present: 3, missing: [keyOf(rows[index] as never)], doubled: [] });
  });

  it.each(stored.map((_, index) => index))("sees that contact %i is there twice", async (index) => {
    const findings = await checkContacts(backend([...stored, stored[index] as object]), rows, "crm");
    expect(findings).toMatchObject({
      missing: [],
      doubled: [{ key: keyOf(rows[index] as never), times: 2 }],
    });
  });

  it("sees doubled companies and tags, and does not mind other people", async () => {
    const contacts = [...stored, { first_name: "Eve" }, { first_name: "Eve" }];
    const findings = await checkContacts(backend(contacts, ["Acme", "ACME", "b"]), rows, "crm");
    expect(findings).toMatchObject({ missing: [], doubled: [], doubledCompanies: 1, doubledTags: 1 });
  });
});

it("aligns a table", () => {
  expect(
    table(
      ["first", "again"],
      [
        ["rows", 300, 5],
        ["429s met", 1, 12345],
      ],
    ),
  ).toBe(["           first   again", "rows         300       5", "429s met       1   12345"].join("\n"));
});
