import fc from "fast-check";
import { afterEach, describe, expect, it, test, vi } from "vitest";
import { readCsv } from "../../js/csv.ts";
import { ImportError } from "../../js/import/errors.ts";
import { normalisedEmail, rowKey } from "../../js/import/ids.ts";
import { keyHash } from "../../js/import/key-set.ts";
import type { ImportRows, RowVerdict } from "../../js/import/public.ts";
import { keyOf, type Look, Scan, type ScanOptions } from "../../js/import/scan.ts";
import { sourceOf } from "../../js/import/source.ts";
import { spyOnTurns } from "./turns.support.ts";

const hashes = vi.hoisted(() => ({ same: false }));

vi.mock(import("../../js/import/key-set.ts"), async (original) => {
  const module = await original();
  return {
    ...module,
    keyHash: (text: string): [number, number] => (hashes.same ? [5, 2 ** 32 - 1] : module.keyHash(text)),
  };
});

afterEach(() => {
  hashes.same = false;
  vi.unstubAllGlobals();
});

interface Person {
  name: string;
  email?: string;
}

const byEmail = (row: Person) => row.email;

function people(...emails: string[]): Person[] {
  return emails.map((email, index) => ({ name: `Person ${index}`, email }));
}

async function scanOf<Row>(rows: ImportRows<Row>, options: ScanOptions<Row> = {}): Promise<Scan<Row>> {
  const scan = new Scan<Row>(options);
  await scan.all(sourceOf(rows));
  return scan;
}

/** What becomes of each row, in short: `fresh`, `duplicate of 3`, `invalid: words`. */
function fates<Row>(scan: Scan<Row>, rows: readonly Row[]): string[] {
  return rows.map((row, index) => inShort(scan.look(row, index)));
}

function inShort(look: Look): string {
  if (look.verdict === "fresh") return "fresh";
  if (look.verdict === "duplicate") return `duplicate of ${look.of}`;
  return `${look.verdict}: ${look.code ? `${look.code} ` : ""}${look.message}`;
}

function sums({ plan, total }: Pick<Scan<never>, "plan" | "total">): void {
  expect(plan.fresh + plan.duplicates + plan.invalid).toBe(total);
}

describe("duplicates", () => {
  const rows = people("ada", "bea", "ada", "cid", "ada", "bea");
  const table: [NonNullable<ScanOptions<Person>["duplicates"]>, string[]][] = [
    ["first", ["fresh", "fresh", "duplicate of 0", "fresh", "duplicate of 0", "duplicate of 1"]],
    ["last", ["duplicate of 4", "duplicate of 5", "duplicate of 4", "fresh", "fresh", "fresh"]],
    [
      "report",
      ["Row 3", "Row 6", "Row 1", "", "Row 1", "Row 2"].map((other) =>
        other === "" ? "fresh" : `invalid: DUPLICATE_IN_FILE ${other} has the same key.`,
      ),
    ],
  ];

  describe.each(table)("%s", (duplicates, expected) => {
    test.each([
      ["in an array", () => rows],
      ["in what a function opens", () => () => rows],
      ["in a Set", () => new Set(rows)],
    ])("%s", async (_, make) => {
      const scan = await scanOf<Person>(make(), { key: byEmail, duplicates });
      expect(fates(scan, rows)).toEqual(expected);
      expect(expected.map((_, index) => scan.isFresh(index))).toEqual(
        expected.map((fate) => fate === "fresh"),
      );
      const count = (what: string) => expected.filter((fate) => fate.startsWith(what)).length;
      expect(scan.plan).toEqual({
        fresh: count("fresh"),
        duplicates: count("duplicate"),
        invalid: count("invalid"),
      });
      sums(scan);
    });
  });

  it("first is what counts where nothing is said", async () => {
    expect(fates(await scanOf(rows, { key: byEmail }), rows)).toEqual(table[0]?.[1]);
  });

  it("a row that is left out has no duplicates", async () => {
    const options = {
      key: byEmail,
      validate: (_: Person, index: number) => (index === 0 ? "No." : true),
    };
    expect(fates(await scanOf(rows, options), rows)).toEqual([
      "invalid: No.",
      "fresh",
      "fresh",
      "fresh",
      "duplicate of 2",
      "duplicate of 1",
    ]);
  });

  it("without a key, rows that are the same as JSON", async () => {
    const same = [{ a: 1, b: 2 }, { b: 2, a: 1 }, { a: 1 }];
    expect(fates(await scanOf<object>(same), same)).toEqual(["fresh", "duplicate of 0", "fresh"]);
  });

  it.each(["first", "last", "report"] as const)("%s: as a Map has it", async (duplicates) => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.constantFrom("a", "b", "c", "d", "!")), async (keys) => {
        const rows = keys.map((key) => ({ key }));
        const scan = await scanOf(rows, {
          key: (row) => row.key,
          validate: (row) => row.key !== "!",
          duplicates,
        });
        for (const [index, { key }] of rows.entries()) {
          const look = scan.look({ key }, index);
          expect(look.key).toBe(key);
          if (key === "!") expect(look.verdict).toBe("invalid");
          else expect(look).toMatchObject(expectedOf(keys, index, duplicates));
        }
        sums(scan);
      }),
    );
  });

  describe("whose hashes are the same, and whose keys differ", () => {
    const keys = people("ada", "bea", "ada", "cid", "bea", "cid");

    it.each([
      ["first", ["fresh", "fresh", "duplicate of 0", "fresh", "duplicate of 1", "duplicate of 3"]],
      ["last", ["duplicate of 2", "duplicate of 4", "fresh", "duplicate of 5", "fresh", "fresh"]],
    ] as const)("are told apart in an array: %s", async (duplicates, expected) => {
      hashes.same = true;
      expect(fates(await scanOf(keys, { key: byEmail, duplicates }), keys)).toEqual(expected);
    });

    it("are taken for one where the rows are not at hand", async () => {
      hashes.same = true;
      const scan = await scanOf(() => keys, { key: byEmail });
      expect(scan.plan).toEqual({ fresh: 1, duplicates: 5, invalid: 0 });
    });
  });
});

function expectedOf(keys: string[], index: number, duplicates: "first" | "last" | "report"): object {
  const key = keys[index] as string;
  const one = duplicates === "last" ? keys.lastIndexOf(key) : keys.indexOf(key);
  if (duplicates !== "report") {
    return one === index ? { verdict: "fresh" } : { verdict: "duplicate", of: one };
  }
  const other = one === index ? keys.indexOf(key, index + 1) : one;
  if (other < 0) return { verdict: "fresh" };
  return { verdict: "invalid", code: "DUPLICATE_IN_FILE", message: `Row ${other + 1} has the same key.` };
}

describe("rows that cannot be sent", () => {
  it.each([
    [null, "null"],
    [undefined, "undefined"],
    [5, "number"],
    ["ada", "string"],
    [() => 1, "function"],
  ])("%j", async (row, what) => {
    const rows = [row, { name: "Ada" }] as object[];
    const scan = await scanOf(rows);
    expect(scan.look(rows[0] as object, 0)).toEqual({
      verdict: "failed",
      key: "",
      code: "NOT_AN_OBJECT",
      message: `This row is no object, but ${what}.`,
    });
    expect(scan.plan).toEqual({ fresh: 1, duplicates: 0, invalid: 1 });
  });

  it("rows that are lists of cells can", async () => {
    const rows = [["ada"], ["bea"]];
    expect(fates(await scanOf(rows), rows)).toEqual(["fresh", "fresh"]);
  });

  const cyclic: Record<string, unknown> = {};
  cyclic.self = cyclic;

  it.each([
    [
      "a key that throws",
      {},
      () => nothing().toLowerCase(),
      /^The key of this row cannot be told: .*undefined/,
    ],
    ["a key that is none", {}, () => ({}), "key: expected a string or a number, got object."],
    ["a key that is promised", {}, async () => "ada", "key: expected a string or a number, got object."],
    ["no key, and no JSON", cyclic, undefined, "The row cannot be written as JSON."],
  ])("%s", async (_, row, key, words) => {
    const scan = await scanOf<object>([row], { key });
    const look = scan.look(row, 0) as Look & { verdict: "failed" };
    expect(look).toMatchObject({ verdict: "failed", key: "", code: "BAD_KEY" });
    if (typeof words === "string") expect(look.message).toBe(`The key of this row cannot be told: ${words}`);
    else expect(look.message).toMatch(words);
    expect(scan.hashOf(0)).toEqual([0, 0]);
  });

  it("two of them are no duplicates", async () => {
    const rows = [null, null] as unknown as object[];
    expect((await scanOf(rows)).plan).toEqual({ fresh: 0, duplicates: 0, invalid: 2 });
  });
});

describe("validate", () => {
  const good: RowVerdict[] = [undefined, null, true, "", []];

  it.each(good)("%j: the row is good", async (said) => {
    const rows = [{ n: 1 }];
    expect(fates(await scanOf(rows, { validate: () => said }), rows)).toEqual(["fresh"]);
  });

  it.each([
    [false, "This row is not valid."],
    ["No address.", "No address."],
    [[{ message: "Empty" }], "Empty"],
    [[{ field: null, message: "Empty." }], "Empty."],
    [[{ field: "email_work", message: "This is no address." }], "email_work: This is no address."],
    [
      [
        { field: "email_work", message: "This is no address." },
        {
          field: "phone",
          message: "too long",
          code: "LONG",
        },
        { field: "name", message: "missing", code: "MISSING" },
      ],
      "LONG email_work: This is no address. phone: too long; name: missing",
    ],
    [["Short", "and wrong"] as never, "Short; and wrong"],
    [{ message: "Alone." } as never, "Alone."],
  ])("%j: it is not", async (said: RowVerdict, words) => {
    const rows = [{ n: 1 }];
    expect(fates(await scanOf(rows, { validate: () => said }), rows)).toEqual([`invalid: ${words}`]);
  });

  it.each([[5], [{}], [[5]], [[null]], [Promise.resolve(true)], [() => "no"]])(
    "%j: it does not know what it says",
    async (said) => {
      const rows = [{ n: 1 }];
      expect(fates(await scanOf(rows, { validate: () => said as never, key: () => "k" }), rows)).toEqual([
        "failed: BAD_VALIDATE This row cannot be checked: validate: expected nothing, a message, or a list of { field, message }.",
      ]);
    },
  );

  it("that throws fails the row, which keeps its key", async () => {
    const validate = () => {
      throw new Error("no such field");
    };
    const scan = await scanOf([{ n: 1 }], { validate, key: (row) => row.n });
    expect(scan.look({ n: 1 }, 0)).toEqual({
      verdict: "failed",
      key: "1",
      code: "BAD_VALIDATE",
      message: "This row cannot be checked: no such field",
    });
  });

  it("is asked before a key that stumbles over the same", async () => {
    const rows = [{ name: "Ada" }] as Person[];
    const scan = await scanOf(rows, {
      key: (row) => row.email?.toLowerCase() ?? nothing(),
      validate: (row) => (row.email ? true : [{ field: "email", message: "is missing" }]),
    });
    expect(scan.look(rows[0] as Person, 0)).toEqual({
      verdict: "invalid",
      key: rowKey(rows[0]),
      message: "email: is missing",
      code: undefined,
    });
  });

  it("gets the row and its place, and what it said first stands", async () => {
    const seen: unknown[] = [];
    const rows = [{ n: 1 }, { n: 2 }];
    let says: RowVerdict = "First.";
    const scan = await scanOf(rows, {
      validate: (row, index) => {
        seen.push([row, index]);
        return index === 0 ? says : null;
      },
    });
    expect(seen).toEqual([
      [rows[0], 0],
      [rows[1], 1],
    ]);
    says = "Second.";
    expect(fates(scan, rows)).toEqual(["invalid: Second.", "fresh"]);
    says = true;
    expect(fates(scan, rows)[0]).toBe(
      "invalid: Something was wrong with this row when it was looked at first.",
    );
  });

  it("that counts what it has seen does not turn against a row", async () => {
    const emails = new Set<string>();
    const rows = people("ada", "bea");
    const scan = await scanOf(rows, {
      validate: ({ email = "" }) => (emails.has(email) ? "Seen." : !!emails.add(email)),
    });
    expect(fates(scan, rows)).toEqual(["fresh", "fresh"]);
  });
});

describe("readCsv", () => {
  const text =
    "name,email\nAda,ada@example.com\n\nBea,bea@example.com\nCid\nAda,ADA@example.com\nAda,ada@example.com\n";
  const csv = () => readCsv(text);

  async function itemsOf() {
    const items = [];
    for await (const item of csv()) items.push(item);
    return items;
  }

  it("rows with errors are left out, with the reader's words", async () => {
    const items = await itemsOf();
    const fate = fates(await scanOf(csv()), items)[2];
    expect(fate).toBe(`invalid: TOO_FEW_FIELDS ${items[2]?.errors?.[0]?.message}`);
  });

  it("a validate of one's own takes its place", async () => {
    const scan = await scanOf(csv(), { validate: () => null });
    expect(scan.plan.invalid).toBe(0);
  });

  it("without a key, the row counts and not the line", async () => {
    const items = await itemsOf();
    const scan = await scanOf(csv());
    expect(fates(scan, items)[4]).toBe("duplicate of 0");
    expect(scan.look(items[0] as (typeof items)[0], 0).key).toBe(
      rowKey({ name: "Ada", email: "ada@example.com" }),
    );
    expect(keyOf(items[0], (item) => item?.row.none)).toBe(rowKey(items[0]?.row));
  });

  it("a report names lines", async () => {
    const items = await itemsOf();
    const options = {
      key: (item: (typeof items)[0]) => normalisedEmail(item.row.email),
      duplicates: "report" as const,
    };
    for (const rows of [csv(), items]) {
      expect(fates(await scanOf(rows, options), items)).toEqual([
        "invalid: DUPLICATE_IN_FILE Line 6 has the same key.",
        "fresh",
        expect.stringContaining("TOO_FEW_FIELDS"),
        "invalid: DUPLICATE_IN_FILE Line 2 has the same key.",
        "invalid: DUPLICATE_IN_FILE Line 2 has the same key.",
      ]);
    }
  });

  it("a file that cannot be used is an error", async () => {
    const error = await errorOf(scanOf(readCsv("")));
    expect([error.code, error.message]).toEqual(["IMPORT_SOURCE_FAILED", "This file is empty."]);
  });
});

describe("the hashes of keys", () => {
  it("are given by segment, as far as rows were looked at", async () => {
    const rows = Array.from({ length: 10_000 }, (_, n) => ({ n }));
    const scan = await scanOf(rows, { key: ({ n }) => `key ${n}` });
    expect([0, 1, 2, 3].map((segment) => scan.hashes(segment).length)).toEqual([8_192, 8_192, 3_616, 0]);
    for (const index of [0, 1, 4_095, 4_096, 9_999]) {
      expect(scan.hashOf(index)).toEqual(keyHash(`key ${index}`));
      const at = 2 * (index % 4_096);
      expect([...scan.hashes(Math.floor(index / 4_096)).subarray(at, at + 2)]).toEqual(
        keyHash(`key ${index}`),
      );
    }
    expect(scan.hashOf(10_000)).toEqual([0, 0]);
  });

  it("of a duplicate are those of the one that counts", async () => {
    const scan = await scanOf(people("ada", "ada"), { key: byEmail });
    expect(scan.hashOf(1)).toEqual(scan.hashOf(0));
  });
});

describe("contentId", () => {
  const rows = [{ a: 1 }, { b: [2, "\n"] }];
  const idOf = async (rows: ImportRows<unknown>, key?: () => string) => {
    const scan = new Scan<unknown>({ key });
    expect(scan.contentId).toBe("");
    await scan.all(sourceOf(rows));
    return scan.contentId;
  };

  it.each([
    ["with a key", () => "k"],
    ["without one", undefined],
  ])("is the same for the same rows, and another for others: %s", async (_, key) => {
    const id = await idOf(rows, key);
    expect(id).toMatch(/^[0-9a-f]{32}$/);
    expect(await idOf(() => structuredClone(rows), key)).toBe(id);
    const others = [
      [],
      rows.slice(1),
      [...rows, {}],
      [...rows].reverse(),
      [{ a: 1 }, { b: [2, ""] }],
      [{ a: 1 }],
    ];
    const ids = await Promise.all(others.map((other) => idOf(other, key)));
    expect(new Set([id, ...ids]).size).toBe(others.length + 1);
  });

  it("takes rows that JSON cannot write by key and place", async () => {
    const cyclic: Record<string, unknown> = {};
    cyclic.self = cyclic;
    const of = (...rows: unknown[]) => idOf(rows, () => "k");
    const ids = [
      await of(cyclic),
      await of(1n, cyclic),
      await of(cyclic, cyclic),
      await of(undefined),
      await of("undefined"),
    ];
    expect(new Set(ids).size).toBe(ids.length);
    expect(await of(cyclic)).toBe(ids[0]);
  });

  it("is the same for long files too, however they are read", async () => {
    const long = Array.from({ length: 3_000 }, (_, n) => ({ n, text: "x".repeat(500) }));
    const id = await idOf(long, () => "k");
    expect(
      await idOf(
        () => long,
        () => "k",
      ),
    ).toBe(id);
    expect(await idOf([...long.slice(0, -1), { n: 0, text: "" }], () => "k")).not.toBe(id);
    expect(await idOf([{ n: -1, text: "x".repeat(500) }, ...long.slice(1)], () => "k")).not.toBe(id);
  });

  it("stays what it was: interrupted imports are found by it", async () => {
    expect(await idOf([{ a: 1 }, { b: "ü" }], () => "k")).toBe("0f7c62265f5a0e39e68edc2ac88060b8");
    const long = Array.from({ length: 3_000 }, (_, n) => ({ n, text: "x".repeat(500) }));
    expect(await idOf(long, () => "k")).toBe("b3faaf34c9c4f01831d863b6559e113b");
  });

  it("is left out where nobody wants it", async () => {
    const scan = new Scan<unknown>({});
    await scan.all(sourceOf(rows), { identify: false });
    expect([scan.contentId, scan.total]).toEqual(["", 2]);
  });
});

describe("a pass over all rows", () => {
  it("refuses more rows than it may have: an array before it is read, others on the way", async () => {
    const rows = people("a", "b", "c");
    const key = vi.fn(byEmail);
    for (const given of [rows, () => rows]) {
      const error = await errorOf(scanOf<Person>(given, { key, maxRows: 2 }));
      expect([error.code, error.message]).toEqual([
        "IMPORT_TOO_MANY_ROWS",
        "There are more than 2 rows. Please split them.",
      ]);
    }
    expect(key).toHaveBeenCalledTimes(2);
    expect((await scanOf(rows, { maxRows: 3 })).total).toBe(3);
    const million = { length: 1_000_001 } as ArrayLike<Person>;
    expect((await errorOf(scanOf<Person>(new Array(million.length)))).message).toContain("1,000,000");
  });

  it("closes what it reads, also when it fails", async () => {
    const closed = vi.fn();
    const rows = function* () {
      try {
        yield* people("a", "b", "c");
      } finally {
        closed();
      }
    };
    await errorOf(scanOf<Person>(rows, { maxRows: 2 }));
    expect(closed).toHaveBeenCalledTimes(1);
  });

  it("of no rows is one", async () => {
    const scan = await scanOf([]);
    expect([scan.total, scan.plan]).toEqual([0, { fresh: 0, duplicates: 0, invalid: 0 }]);
    expect(scan.contentId).not.toBe("");
  });

  it("ends with the signal's reason: before, between slices, and while it waits for rows", async () => {
    const open = vi.fn(() => people("a"));
    const before = new Scan<Person>({}).all(sourceOf(open), { signal: AbortSignal.abort("early") });
    await expect(before).rejects.toBe("early");
    expect(open).not.toHaveBeenCalled();

    const closed = vi.fn();
    const never = {
      [Symbol.asyncIterator]: () => ({ next: () => new Promise<never>(() => {}), return: closed }),
    };
    const stop = new AbortController();
    const waiting = new Scan<never>({}).all(sourceOf(never), { signal: stop.signal });
    stop.abort();
    await expect(waiting).rejects.toThrow(expect.objectContaining({ name: "AbortError" }));
    expect(closed).toHaveBeenCalledOnce();

    const clock = { now: 0 };
    vi.stubGlobal("performance", { now: () => clock.now });
    const between = new AbortController();
    const key = vi.fn((row: Person) => {
      clock.now += 1;
      return row.email;
    });
    const slices = new Scan<Person>({ key }).all(sourceOf(people(..."abcdefghijklmnopqrstuvwxyz")), {
      signal: between.signal,
      onProgress: () => between.abort(new Error("enough")),
    });
    await expect(slices).rejects.toThrow("enough");
    expect(key.mock.calls.length).toBeLessThan(10);
  });

  it.each(["first", "last"] as const)(
    "of 100,000 rows never holds the page for 50 ms, and tells how far it is: %s",
    async (duplicates) => {
      const clock = { now: 0 };
      vi.stubGlobal("performance", { now: () => clock.now });
      let since = 0;
      let longest = 0;
      const turns = spyOnTurns(() => {
        longest = Math.max(longest, clock.now - since);
        since = clock.now;
      });
      const told: number[] = [];
      const scan = new Scan<{ n: number }>({
        // As slow as a row is on a weak telephone.
        key: ({ n }) => {
          clock.now += 0.02;
          return n % 90_000;
        },
        duplicates,
      });
      const rows = function* () {
        for (let n = 0; n < 100_000; n++) {
          clock.now += 0.02;
          yield { n };
        }
      };
      await scan.all(sourceOf(rows), { onProgress: (rows) => void told.push(rows), identify: false });
      expect(Math.max(longest, clock.now - since)).toBeLessThan(20);
      expect(turns.count).toBeGreaterThan(200);
      expect(scan.plan).toEqual({ fresh: 90_000, duplicates: 10_000, invalid: 0 });
      expect(told).toEqual([...told].sort((a, b) => a - b));
      expect(told.length).toBeGreaterThan(100);
      expect(told.at(-1)).toBe(100_000);
    },
    20_000,
  );
});

describe("look", () => {
  it("finds out when the rows are others than before", async () => {
    const rows = people("ada", "bea");
    const scan = await scanOf(rows, { key: byEmail });
    for (const [row, index] of [
      [rows[1], 0],
      [rows[0], 2],
    ] as [Person, number][]) {
      const error = await errorOf((async () => scan.look(row, index))());
      expect(error.code).toBe("IMPORT_SOURCE_FAILED");
      expect(error.message).toContain(`Row ${index + 1} is not what it was`);
    }
    expect(inShort(scan.look({ name: "Ada", email: "ada" }, 0))).toBe("fresh");
  });

  it("goes through a stream in its order, and the first counts whatever was wished", () => {
    const rows = [...people("ada", "bea", "ada"), null as never, ...people("ada")];
    for (const duplicates of ["first", "last", "report"] as const) {
      const scan = new Scan<Person>({ key: byEmail, duplicates });
      const expected = [
        "fresh",
        "fresh",
        "duplicate of 0",
        "failed: NOT_AN_OBJECT This row is no object, but null.",
        "duplicate of 0",
      ];
      expect(fates(scan, rows)).toEqual(expected);
      expect(fates(scan, rows)).toEqual(expected);
      expect(scan.plan).toEqual({ fresh: 2, duplicates: 2, invalid: 1 });
      expect(scan.total).toBe(5);
      expect(scan.hashes(0)).toHaveLength(10);
    }
  });

  it("refuses one row too many of a stream", async () => {
    const rows = people("ada", "bea");
    const scan = new Scan<Person>({ maxRows: 1 });
    scan.look(rows[0] as Person, 0);
    expect((await errorOf((async () => scan.look(rows[1] as Person, 1))())).code).toBe(
      "IMPORT_TOO_MANY_ROWS",
    );
    expect(scan.total).toBe(1);
  });
});

async function errorOf(promise: Promise<unknown>): Promise<ImportError> {
  const error = await promise.then(
    () => expect.unreachable("it resolved"),
    (error: unknown) => error,
  );
  expect(error).toBeInstanceOf(ImportError);
  return error as ImportError;
}

/** As a field that a row lacks. */
function nothing(): string {
  return undefined as never;
}
