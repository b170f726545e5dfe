import { describe, expect, it } from "vitest";
import {
  atomicContacts,
  type CsvColumns,
  type CsvInput,
  type CsvOptions,
  crispyContacts,
  readCsv,
} from "../../js/csv.ts";
import { itemsOf, latin1, refusal, rowsOf, streamOf, utf8, utf16 } from "./csv.support.ts";

const contacts = { columns: atomicContacts };

describe("a file that cannot be used", () => {
  it.each<[string, CsvInput, CsvOptions, string, string]>([
    ["nothing", "", {}, "EMPTY", "empty"],
    ["an empty Blob", new Blob([]), {}, "EMPTY", "empty"],
    ["a byte order mark and blank lines", "\uFEFF\r\n \r\n", {}, "EMPTY", "empty"],
    [
      "an Excel file",
      latin1("PK\x03\x04\x14\x00\x06\x00"),
      {},
      "BINARY",
      "Open it in Excel and save it as CSV",
    ],
    ["an old Excel file", latin1("\xd0\xcf\x11\xe0\xa1\xb1"), {}, "BINARY", "old Excel"],
    ["a PDF", latin1("%PDF-1.7\n"), {}, "BINARY", "PDF"],
    ["a picture", new Blob([latin1("\x89PNG\r\n\x1a\n") as BlobPart]), {}, "BINARY", "picture"],
    ["a gzip archive", latin1("\x1f\x8b\x08"), {}, "BINARY", "Unpack"],
    ["zeros", new Uint8Array(100), {}, "BINARY", "binary"],
    ["UTF-16 without a mark", utf16("a,b\n1,2", true).subarray(2), {}, "BINARY", "give its encoding"],
    ["a web page", "\n<!DOCTYPE html><html>", {}, "NOT_CSV", "web page"],
    ["JSON", ' [{"first_name":"Ann"}]', {}, "NOT_CSV", "JSON"],
    ["prose", "Dear Ann,\nhow are you?", contacts, "NO_HEADER", "It says: Dear Ann"],
    ["rows without names of columns", "Ann,Smith,a@x\nBob,Lee,b@x", contacts, "NO_HEADER", "first_name"],
    ["separators alone", ",,\n,,\n", {}, "NO_HEADER", "blank"],
    ["fewer rows than instructions", "a,b\n1,2", { headerRow: 5 }, "NO_HEADER", "Row 5"],
    [
      "a column too few",
      "first_name\nAnn",
      { ...contacts, required: ["email_work"] },
      "MISSING_COLUMNS",
      '"email_work" (or "E-mail"). It has first_name.',
    ],
    [
      "all of several",
      "title\nCEO",
      { ...contacts, required: [["first_name", "last_name"]] },
      "MISSING_COLUMNS",
      " or ",
    ],
    [
      "a required column of a file without known ones",
      "a,b\n1,2",
      { required: ["c"] },
      "MISSING_COLUMNS",
      '"c"',
    ],
    ["names alone", "first_name,last_name\r\n", contacts, "NO_ROWS", "nothing under"],
    ["names and blank rows", "first_name,last_name\r\n,\r\n \r\n", contacts, "NO_ROWS", "nothing under"],
    ["a row too many", "a\n1\n2\n3", { maxRows: 2 }, "TOO_MANY_ROWS", "more than 2 rows"],
    ["a quote without its end", 'a,b\n1,"2\n3,4', {}, "BAD_QUOTES", "line 2"],
    [
      "a quote without its end, in a long file",
      `a,b\n1,"2\n${"3,4\n".repeat(1_500_000)}`,
      {},
      "BAD_QUOTES",
      "line 2",
    ],
  ])("%s", async (_, input, options, code, words) => {
    expect(await refusal(input, options)).toMatchObject({
      name: "CsvError",
      code,
      message: expect.stringContaining(words),
    });
  });

  it("is known by the first rows already", async () => {
    await expect(readCsv(latin1("PK\x03\x04")).head()).rejects.toMatchObject({ code: "BINARY" });
    await expect(readCsv("first_name\n", contacts).head()).resolves.toMatchObject({ line: 1 });
  });

  it("may be one line without an end", async () => {
    const error = await refusal(`a,b\n${"1,".repeat(3_000_000)}`);
    expect(error).toMatchObject({
      code: "BAD_QUOTES",
      line: 2,
      message: expect.stringContaining("does not end"),
    });
  });

  it("says which line a quote, or a row too many, is in", async () => {
    expect((await refusal('a,b\n1,"2\n3,4'))?.line).toBe(2);
    expect((await refusal('a\n"1\n1"\n2\n', { maxRows: 1 }))?.line).toBe(4);
  });

  it("takes as many rows as it is told, and a million by default", async () => {
    expect(await refusal("a\n1\n2", { maxRows: 2 })).toBeNull();
    expect(await refusal(`a\n${"1\n".repeat(1_000_001)}`)).toMatchObject({
      code: "TOO_MANY_ROWS",
      message: expect.stringContaining("1,000,000"),
    });
  }, 30_000);
});

it.each<[string, CsvOptions]>([
  ["headerRow: 0", { headerRow: 0 }],
  ["headerRow: 1.5", { headerRow: 1.5 }],
  ["delimiter", { delimiter: '"' }],
  ["delimiter", { delimiter: "" }],
  ["encoding", { encoding: "utf-7" }],
  ["maxRows", { maxRows: 0 }],
  ["maxCellLength", { maxCellLength: Number.NaN }],
])("an option outside its range is refused at once: %s", (name, options) => {
  expect(() => readCsv("a\n1", options)).toThrow(
    expect.objectContaining({ code: "BAD_OPTION", message: expect.stringContaining(name) }),
  );
});

describe("encodings", () => {
  it.each<[string, Uint8Array, string]>([
    ["UTF-8", utf8("name\nJürgen 🎉"), "utf-8"],
    ["UTF-8 with a mark", utf8("\uFEFFname\nJürgen 🎉"), "utf-8"],
    ["UTF-16, little end first", utf16("name\nJürgen 🎉", true), "utf-16le"],
    ["UTF-16, big end first", utf16("name\nJürgen 🎉", false), "utf-16be"],
  ])("%s", async (_, bytes, encoding) => {
    const source = readCsv(bytes);
    expect(await source.head()).toMatchObject({ headers: ["name"], encoding });
    expect(await rowsOf(bytes)).toEqual([{ name: "Jürgen 🎉" }]);
  });

  it("Windows-1252 where the bytes are no UTF-8", async () => {
    expect(await rowsOf(latin1("name\nJ\xfcrgen \x80\x93"))).toEqual([{ name: "Jürgen €“" }]);
  });

  it("Windows-1252 whose first umlaut comes late, and at the edge of a chunk", async () => {
    const { stream } = streamOf([latin1("name\nAnn\n"), latin1("Bob\nZo\xeb"), latin1("\nJ\xfcrgen")]);
    const source = readCsv(stream);
    expect((await source.head()).encoding).toBe("windows-1252");
    const names = [];
    for await (const { row } of source) names.push(row.name);
    expect(names).toEqual(["Ann", "Bob", "Zoë", "Jürgen"]);
  });

  it("a file becomes Windows-1252 in its middle, when that is where it ceases to be ASCII", async () => {
    const file = new Blob([latin1(`name\n${"Ann\n".repeat(50_000)}J\xfcrgen`) as BlobPart]);
    const source = readCsv(file);
    expect((await source.head()).encoding).toBe("utf-8");
    const items = await itemsOf(file);
    expect(items.at(-1)).toMatchObject({ row: { name: "Jürgen" }, index: 50_000, line: 50_002 });
  });

  it("the head tells the encoding as far as was read", async () => {
    const source = readCsv(new Blob([latin1(`name\n${"Ann\n".repeat(50_000)}J\xfcrgen`) as BlobPart]));
    const head = await source.head();
    for await (const _ of source);
    expect(head.encoding).toBe("windows-1252");
  });

  it("damage in UTF-8 is an error of its row, and only there", async () => {
    const items = await itemsOf(
      latin1("name,city\nJ\xc3\xbcrgen,K\xc3\xb6ln\nAnn,\xff\nBj\xc3\xb6rn,\xc3\x85s"),
    );
    expect(items.map(({ row }) => row.name)).toEqual(["Jürgen", "Ann", "Björn"]);
    expect(items.map(({ errors }) => errors?.map(({ field, code }) => [field, code]))).toEqual([
      undefined,
      [["city", "UNREADABLE_TEXT"]],
      undefined,
    ]);
  });

  it("a NUL further down is an error of its row, not only in a long file", async () => {
    const items = await itemsOf(`name\n${"Ann\n".repeat(50_000)}B\0b`);
    expect(items.at(-1)?.errors).toMatchObject([{ field: "name", code: "UNREADABLE_TEXT" }]);
    expect(items.filter(({ errors }) => errors)).toHaveLength(1);
    expect((await itemsOf("name\nAnn\nB\0b\nCid, of course"))[1]?.errors).toHaveLength(1);
  });

  it("the one that is asked for", async () => {
    expect(await rowsOf(latin1("name\n\xc4\xe5"), { encoding: "windows-1251" })).toEqual([{ name: "Де" }]);
    expect(await rowsOf(utf16("name\nJürgen", true).subarray(2), { encoding: "utf-16le" })).toEqual([
      { name: "Jürgen" },
    ]);
  });

  it.each([1, 2, 3, 5, 7])("characters cut in two by chunks of %i bytes", async (size) => {
    for (const bytes of [
      utf8("\uFEFFname,x\nJürgen 🎉,ñ\nZoë,€"),
      utf16("name,x\nJürgen 🎉,ñ\nZoë,€", true),
      utf8("name,x\nJürgen 🎉,ñ\nZoë,€"),
    ]) {
      const chunks = Array.from({ length: Math.ceil(bytes.length / size) }, (_, i) =>
        bytes.subarray(i * size, (i + 1) * size),
      );
      expect(await rowsOf(streamOf(chunks).stream)).toEqual([
        { name: "Jürgen 🎉", x: "ñ" },
        { name: "Zoë", x: "€" },
      ]);
    }
  });
});

describe("kinds of input", () => {
  const text = "name\nAnn\nBob";
  async function* generated() {
    yield "name\nA";
    yield utf8("nn\nBob");
  }
  it.each<[string, () => CsvInput]>([
    ["text", () => text],
    ["bytes", () => utf8(text)],
    ["an ArrayBuffer", () => utf8(text).buffer as ArrayBuffer],
    ["a Blob", () => new Blob([text])],
    ["a stream of text", () => streamOf(["na", "me\nAnn", "\nBob", ""]).stream],
    ["a stream of bytes", () => new Blob([text]).stream()],
    ["an async iterable", generated],
  ])("%s", async (_, input) => {
    expect(await rowsOf(input())).toEqual([{ name: "Ann" }, { name: "Bob" }]);
  });

  it("all but streams can be read again", async () => {
    const source = readCsv(new Blob([text]));
    for (let pass = 0; pass < 2; pass++) {
      let count = 0;
      for await (const _ of source) count++;
      expect(count).toBe(2);
    }
  });

  it("a stream can be read once, head and rows together", async () => {
    const source = readCsv(streamOf([text]).stream);
    expect((await source.head()).headers).toEqual(["name"]);
    let count = 0;
    for await (const _ of source) count++;
    expect(count).toBe(2);
    expect((await source.head()).headers).toEqual(["name"]);
    expect([source.isRepeatable, readCsv("a\n1").isRepeatable]).toEqual([false, true]);
    await expect(source[Symbol.asyncIterator]().next()).rejects.toMatchObject({ code: "STREAM_USED" });
  });

  it("a stream's own failure passes unchanged", async () => {
    const broken = new Error("the disk is gone");
    const stream = new ReadableStream({ pull: () => Promise.reject(broken) });
    await expect(itemsOf(stream)).rejects.toBe(broken);
  });
});

describe("separators and quotes", () => {
  it.each([",", ";", "\t", "|"])("%j is found out", async (separator) => {
    const text = ["first_name@title", "Ann@a b", "Bob@c"].join("\n").replaceAll("@", separator);
    for (const options of [{}, contacts])
      expect((await itemsOf(text, options)).map(({ cells }) => cells)).toEqual([
        ["Ann", "a b"],
        ["Bob", "c"],
      ]);
  });

  it("the known columns decide where the rows mislead", async () => {
    expect(
      (await itemsOf("first_name;tags\nAnn;a,b,c\nBob;d,e,f", contacts)).map(({ row }) => row.tags),
    ).toEqual(["a,b,c", "d,e,f"]);
    expect((await itemsOf("tags\na;b\nc;d", contacts)).map(({ row }) => row.tags)).toEqual(["a;b", "c;d"]);
  });

  it("two columns in a few rows are enough, with a blank row or a line break at the end", async () => {
    for (const rest of ["", "\n", "\n\nAnn;Rom\n"]) {
      const { delimiter, headers } = await readCsv(`name;town\nJörg;Köln${rest}`).head();
      expect({ delimiter, headers }).toEqual({ delimiter: ";", headers: ["name", "town"] });
    }
  });

  it("one column without a separator is a file, too", async () => {
    expect(await rowsOf("mail\na@x\nb@x")).toEqual([{ mail: "a@x" }, { mail: "b@x" }]);
    expect((await readCsv("tag\na;b;c\nd;e;f").head()).delimiter).toBe(",");
  });

  it("`sep=;` of Excel tells, and is no row", async () => {
    const source = readCsv("sep=;\r\na,b;c\r\n1;2", {});
    expect(await source.head()).toMatchObject({ headers: ["a,b", "c"], delimiter: ";", line: 2 });
    expect(await itemsOf("sep=;\na,b;c\n1;2")).toMatchObject([{ line: 3, cells: ["1", "2"] }]);
  });

  it("the one that is asked for, of several characters too", async () => {
    expect(await rowsOf("a::b\n1,2::3", { delimiter: "::" })).toEqual([{ a: "1,2", b: "3" }]);
  });

  it.each(["\n", "\r\n", "\r"])("lines end with %j, also inside quotes", async (end) => {
    const items = await itemsOf(["a,b", '1,"x', 'y"', "", '2,"q"', "3,z", ""].join(end));
    expect(items.map(({ cells, line }) => [line, ...cells])).toEqual([
      [2, "1", `x${end}y`],
      [5, "2", "q"],
      [6, "3", "z"],
    ]);
  });

  it("lines may end differently in one file", async () => {
    const items = await itemsOf('a,b\r\n1,2\n3,4\r\n5,"6"\r\n7,"8\r"\r\n');
    expect(items.map(({ cells, line }) => [line, ...cells])).toEqual([
      [2, "1", "2"],
      [3, "3", "4"],
      [4, "5", "6"],
      [5, "7", "8\r"],
    ]);
  });

  it("a carriage return in quotes stays, also where it ends the lines", async () => {
    expect((await itemsOf('a,b\r1,"x\r"\r2,y\r')).map(({ cells }) => cells)).toEqual([
      ["1", "x\r"],
      ["2", "y"],
    ]);
  });

  it("a quote in the middle of a cell is a quote; one in the wrong place an error of its row", async () => {
    const items = await itemsOf('a,b\n5" pipe,x\n1,"C"F"O"\n2,y');
    expect(items.map(({ cells }) => cells)).toEqual([
      ['5" pipe', "x"],
      ["1", 'C"F"O'],
      ["2", "y"],
    ]);
    expect(items.map(({ errors }) => errors?.[0]?.code)).toEqual([undefined, "BAD_QUOTES", undefined]);
  });

  it("a second file that was appended brings its mark along", async () => {
    expect(await rowsOf(`a\n${"1\n".repeat(40_000)}\uFEFF2\n`)).toHaveLength(40_001);
    const marks = await itemsOf(`a,b\n${"\uFEFF1,2\n".repeat(30_000)}`);
    expect(marks.every(({ cells, line, index }) => cells[1] === "2" && line === index + 2)).toBe(true);
  });
});

describe("names of columns", () => {
  it("differ in letter case, accents, spaces and punctuation; aliases count; the rest keeps its name", async () => {
    const text = "E-MAIL (work), Prenom ,NACHNAME,Shoe size,Téléphone\na@x,Ann,Smith,43,1";
    const head = await readCsv(text, contacts).head();
    expect(head).toMatchObject({
      headers: ["E-MAIL (work)", "Prenom", "NACHNAME", "Shoe size", "Téléphone"],
      columns: ["email_work", "first_name", "last_name", "Shoe size", "phone_work"],
      unknown: ["Shoe size"],
      repeated: [],
    });
    expect(head.missing).toContain("company");
    expect(await rowsOf(text, contacts)).toEqual([
      expect.objectContaining({
        email_work: "a@x",
        first_name: "Ann",
        last_name: "Smith",
        "Shoe size": "43",
        company: "",
      }),
    ]);
  });

  it("a name goes before an alias, wherever it stands", async () => {
    const head = await readCsv("E-mail,email_work\na@x,b@x", contacts).head();
    expect(head).toMatchObject({
      columns: ["E-mail", "email_work"],
      unknown: ["E-mail"],
      repeated: ["E-mail"],
    });
  });

  it("the user's choice goes before both, and may leave a column out", async () => {
    const mapping = { Contact: "email_work", "E-mail": null, email_work: "email_home" };
    const text = "Contact,E-mail,email_work\na@x,b@x,c@x";
    expect(await readCsv(text, { ...contacts, mapping }).head()).toMatchObject({
      columns: ["email_work", null, "email_home"],
      unknown: [],
    });
    const [row] = await rowsOf(text, { ...contacts, mapping });
    expect(row).toMatchObject({ email_work: "a@x", email_home: "c@x" });
    expect(Object.values(row ?? {})).not.toContain("b@x");
  });

  it("that are there twice, or not at all, stay apart", async () => {
    expect(await readCsv("a,a,,a (2),\n1,2,3,4,5").head()).toMatchObject({
      headers: ["a", "a (3)", "column 3", "a (2)", "column 5"],
      repeated: ["a (3)"],
    });
    expect(await rowsOf("a,a,,a (2),\n1,2,3,4,5")).toEqual([
      { a: "1", "a (3)": "2", "column 3": "3", "a (2)": "4", "column 5": "5" },
    ]);
  });

  it("a column that lost its name to the user's choice keeps out of its way", async () => {
    const options = { ...contacts, mapping: { Firma: "company" } };
    expect((await readCsv("company,Firma\nx,y", options).head()).columns).toEqual(["company (2)", "company"]);
    expect((await rowsOf("company,Firma\nx,y", options))[0]).toMatchObject({
      company: "y",
      "company (2)": "x",
    });
  });

  it("`__proto__` and `constructor` are names like others", async () => {
    const [row] = await rowsOf("__proto__,constructor,toString\nx,y,z");
    expect(Object.entries(row ?? {})).toEqual([
      ["column 1", "x"],
      ["constructor", "y"],
      ["toString", "z"],
    ]);
    expect(Object.getPrototypeOf(row)).toBe(Object.prototype);
  });

  it.each([
    [
      "Google Contacts",
      "First Name,Last Name,Organization Name,Organization Title,E-mail 1 - Value,Phone 1 - Value,Labels",
      ["first_name", "last_name", "company", "title", "email_work", "phone_work", "tags"],
    ],
    [
      "Outlook",
      "First Name,Last Name,Company,Job Title,E-mail Address,E-mail 2 Address,Business Phone,Home Phone,Mobile Phone",
      [
        "first_name",
        "last_name",
        "company",
        "title",
        "email_work",
        "email_home",
        "phone_work",
        "phone_home",
        "phone_other",
      ],
    ],
    [
      "LinkedIn",
      "First Name,Last Name,URL,Email Address,Company,Position",
      ["first_name", "last_name", "linkedin_url", "email_work", "company", "title"],
    ],
    [
      "HubSpot",
      "First Name,Last Name,Email,Phone Number,Lead Status,Company name",
      ["first_name", "last_name", "email_work", "phone_work", "status", "company"],
    ],
  ])("%s are understood", async (_, header, columns) => {
    expect((await readCsv(`${header}\n`, contacts).head()).columns).toEqual(columns);
  });

  it.each(Object.entries<CsvColumns>({ atomicContacts, crispyContacts }))(
    "of %s mean one column each",
    async (_, columns) => {
      for (const [column, aliases] of Object.entries(columns))
        for (const name of [column, ...aliases])
          expect((await readCsv(`"${name}"\n`, { columns }).head()).columns, name).toEqual([column]);
    },
  );
});

describe("instructions above the names", () => {
  const text =
    '"Fill in, please, one person per row",,\n\n"First name","E-mail (Work)",Firma\nAnn,a@x,Acme\n';
  it.each<[string, CsvOptions]>([
    ["found", contacts],
    ["given", { ...contacts, headerRow: 3 }],
  ])("are left out: %s", async (_, options) => {
    expect(await readCsv(text, options).head()).toMatchObject({
      line: 3,
      columns: ["first_name", "email_work", "company"],
    });
    expect(await itemsOf(text, options)).toMatchObject([
      { index: 0, line: 4, row: { first_name: "Ann", company: "Acme" } },
    ]);
  });

  it("are not the people whose job is called like a column", async () => {
    const text = "Wert,Name des Menschen,Sonstiges\n1,Ann,x\n2,Bob,Company\n";
    expect(await refusal(text, contacts)).toMatchObject({
      code: "NO_HEADER",
      message: expect.stringContaining("Wert"),
    });
    expect((await readCsv(`first_name${text.slice(4)}`, contacts).head()).line).toBe(1);
  });

  it("may be written with another end of line", async () => {
    const text = "Please read\n\nfirst_name,company\r\nAnn,Acme\r\nBob,\r\n";
    expect(await itemsOf(text, contacts)).toMatchObject([
      { line: 4, cells: ["Ann", "Acme"] },
      { line: 5, cells: ["Bob", ""] },
    ]);
  });

  it("with commas do not mislead about a semicolon", async () => {
    const german = "Bitte, liebe Leute, so:\n\nVorname;Firma\nAnn;Acme\n";
    expect(await readCsv(german, contacts).head()).toMatchObject({
      line: 3,
      delimiter: ";",
      columns: ["first_name", "company"],
    });
  });

  it("of several lines in one cell count as one row", async () => {
    const text = '"one\ntwo\nthree",\nname,mail\nAnn,a@x\n';
    expect(await readCsv(text, { headerRow: 2 }).head()).toMatchObject({
      line: 4,
      headers: ["name", "mail"],
    });
  });

  it("are as good as names where no columns are known: the first row that is not blank", async () => {
    expect(await readCsv("\n,\nname,mail\nAnn,a@x").head()).toMatchObject({
      line: 3,
      headers: ["name", "mail"],
    });
  });
});

describe("rows", () => {
  it("are text as it stands: no numbers, no dates, no trimming", async () => {
    expect(await rowsOf('a,b,c,d\n007, x ,1e5,2025-01-01\ntrue,"",null,-5')).toEqual([
      { a: "007", b: " x ", c: "1e5", d: "2025-01-01" },
      { a: "true", b: "", c: "null", d: "-5" },
    ]);
  });

  it("too short or too long have an error, and the rows around them none", async () => {
    const items = await itemsOf("a,b\n1\n1,2,3\n1,2,,\n1,2");
    expect(items.map(({ errors }) => errors?.map(({ code }) => code))).toEqual([
      ["TOO_FEW_FIELDS"],
      ["TOO_MANY_FIELDS"],
      undefined,
      undefined,
    ]);
    expect(items[1]?.errors?.[0]?.message).toBe(
      "Line 3 has 3 cells for 2 columns; is a separator not in quotes?",
    );
    expect(items[0]?.row).toEqual({ a: "1", b: "" });
    expect(items[1]?.cells).toEqual(["1", "2", "3"]);
  });

  it("too short are filled on request", async () => {
    expect(await itemsOf("a,b\n1", { shortRows: "fill" })).toEqual([
      { row: { a: "1", b: "" }, index: 0, line: 2, cells: ["1", ""] },
    ]);
  });

  it("with a cell too long have an error that names the column", async () => {
    const items = await itemsOf(`a,b\n1,${"x".repeat(100_001)}\n1,${"x".repeat(100_000)}`);
    expect(items[0]?.errors).toMatchObject([
      { field: "b", code: "CELL_TOO_LONG", message: expect.stringContaining("100001") },
    ]);
    expect(items[1]?.errors).toBeUndefined();
    expect((await itemsOf("a\nabc", { maxCellLength: 2 }))[0]?.errors).toHaveLength(1);
  });

  it("without content are none, and do not count", async () => {
    expect((await itemsOf("a,b\n\n1,2\n , \n,\n3,4\n\n")).map(({ index, line }) => [index, line])).toEqual([
      [0, 3],
      [1, 6],
    ]);
  });

  it("are validated, with the line, when their form is good", async () => {
    const asked: unknown[] = [];
    const items = await itemsOf("mail,name\na@x,Ann\nnope,Bob\nshort\n", {
      validate(row, line) {
        asked.push([line, row.mail]);
        return row.mail?.includes("@")
          ? undefined
          : [
              { field: "mail", message: "is no address" },
              { message: "no", code: "X" },
            ];
      },
    });
    expect(asked).toEqual([
      [2, "a@x"],
      [3, "nope"],
    ]);
    expect(items.map(({ errors }) => errors)).toEqual([
      undefined,
      [
        { field: "mail", message: "is no address" },
        { field: null, message: "no", code: "X" },
      ],
      [expect.objectContaining({ code: "TOO_FEW_FIELDS" })],
    ]);
  });

  it("survive a validation that throws, or answers with nothing", async () => {
    const [thrown] = await itemsOf("a\n1", {
      validate: () => {
        throw new Error("out of order");
      },
    });
    expect(thrown?.errors).toEqual([{ field: null, message: "out of order" }]);
    for (const answer of [undefined, null, []])
      expect((await itemsOf("a\n1", { validate: () => answer }))[0]).not.toHaveProperty("errors");
  });
});

describe("the id", () => {
  it("is made from the content, not from the name, and stays", async () => {
    const id = await readCsv("a\n1").id();
    expect(id).toMatch(/^[0-9a-f]{32}$/);
    expect(await readCsv(new Blob(["a\n1"])).id()).toBe(id);
    expect(await readCsv(utf8("a\n1")).id()).toBe(id);
    expect(await readCsv("a\n2").id()).not.toBe(id);
  });

  it("covers all of a long file, and the options that move rows", async () => {
    const long = "a\n".repeat(3_000_000);
    expect(await readCsv(long).id()).not.toBe(await readCsv(`${long.slice(0, -2)}b\n`).id());
    expect(await readCsv(new Blob([long])).id()).toBe(await readCsv(long).id());
    expect(await readCsv("a\n1", { headerRow: 2 }).id()).not.toBe(await readCsv("a\n1").id());
    expect(await readCsv("a\n1", contacts).id()).toBe(await readCsv("a\n1").id());
  });

  it("of a stream is the one that is given, or none", async () => {
    expect(await readCsv(streamOf(["a\n1"]).stream).id()).toBeNull();
    expect(await readCsv(streamOf(["a\n1"]).stream, { id: "monday" }).id()).toBe("monday");
  });
});
