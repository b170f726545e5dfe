import { describe, expect, it } from "vitest";
import { CsvError, MAX_BYTES, parseContacts } from "../../../examples/crm/import/parse.mjs";

const bytes = (text: string) => new TextEncoder().encode(text);
const latin1 = (text: string) => Uint8Array.from(text, (letter) => letter.charCodeAt(0));

function refusal(input: string | Uint8Array) {
  try {
    parseContacts(input);
  } catch (error) {
    if (error instanceof CsvError) return { code: error.code, message: error.message };
    throw error;
  }
  return null;
}

describe("a file that is no contact list", () => {
  it.each<[string, string | Uint8Array, string, string]>([
    ["nothing", "", "EMPTY", "empty"],
    ["a byte order mark and blank lines", "\uFEFF\r\n \r\n", "EMPTY", "empty"],
    ["an Excel workbook", latin1("PK\x03\x04\x14\x00\x06\x00"), "BINARY", "Excel workbook"],
    ["an old Excel workbook", latin1("\xd0\xcf\x11\xe0\xa1\xb1"), "BINARY", "old Excel"],
    ["a PDF", latin1("%PDF-1.7\n"), "BINARY", "PDF"],
    ["a picture", latin1("\x89PNG\r\n"), "BINARY", "picture"],
    ["zeros", new Uint8Array(100), "BINARY", "binary"],
    ["text with zeros", "first_name\0", "BINARY", "binary"],
    ["a web page", "\n<!DOCTYPE html><html>", "NOT_CSV", "web page"],
    ["JSON", ' [{"first_name":"Ann"}]', "NOT_CSV", "JSON"],
    ["prose", "Dear Ann,\nhow are you?", "NO_HEADER", "Dear Ann"],
    [
      "rows without column names",
      "Ann,Smith,ann@example.com\nBob,Lee,bob@example.com",
      "NO_HEADER",
      "first_name",
    ],
    ["columns by which nobody is known", "title,company\nCEO,Acme", "MISSING_COLUMNS", "email_work"],
    ["column names alone", "first_name,last_name\r\n", "NO_ROWS", "no contacts"],
    ["a quote without its end", 'first_name,title\nAnn,"CEO\nBob,CFO', "BAD_QUOTES", "line 2"],
    ["a quote that ends too early", 'first_name,title\nAnn,CEO\nBob,"C"F"O"\n', "BAD_QUOTES", "line 3"],
  ])("%s", (_, input, code, words) => {
    expect(refusal(input)).toEqual({ code, message: expect.stringContaining(words) });
  });

  it("more bytes than a tab can hold", () => {
    expect(refusal(new Uint8Array(MAX_BYTES + 1))).toMatchObject({ code: "TOO_LARGE" });
  });
});

describe("a contact file", () => {
  it("has its columns in any order, under names as people write them", () => {
    const file = parseContacts("E-mail Work, LAST name ,Shoe size,first-name\na@x,Smith,43,Ann");
    expect(file.rows).toEqual([
      { email_work: "a@x", last_name: "Smith", "Shoe size": "43", first_name: "Ann" },
    ]);
    expect(file.headers).toEqual(["E-mail Work", "LAST name", "Shoe size", "first-name"]);
    expect(file.ignored).toEqual(["Shoe size"]);
    expect(file.missing).toContain("company");
  });

  it.each([",", ";", "\t", "|"])("is separated by %j", (separator) => {
    const text = [
      ["first_name", "title"],
      ["Ann", "a b"],
      ["Bob", "c"],
    ]
      .map((row) => row.join(separator))
      .join("\n");
    expect(parseContacts(text).rows).toEqual([
      { first_name: "Ann", title: "a b" },
      { first_name: "Bob", title: "c" },
    ]);
  });

  it.each([
    ["utf-8", bytes("\uFEFFfirst_name\nJürgen 🎉")],
    ["utf-16", utf16("first_name\nJürgen 🎉", true)],
    ["utf-16", utf16("first_name\nJürgen 🎉", false)],
  ])("is %s", (encoding, input) => {
    expect(parseContacts(input)).toMatchObject({ encoding, rows: [{ first_name: "Jürgen 🎉" }] });
  });

  it("is Windows-1252 when it is no UTF-8", () => {
    expect(parseContacts(latin1("first_name\nJ\xfcrgen \x80"))).toMatchObject({
      encoding: "windows-1252",
      rows: [{ first_name: "Jürgen €" }],
    });
  });

  it("knows the line on which each row begins, over blank lines and line breaks in cells", () => {
    const file = parseContacts('first_name,background\r\nAnn,"one\r\ntwo"\r\n\r\nBob,"x\ny\nz"\r\nCid,\r\n');
    expect(file.lines).toEqual([2, 5, 8]);
    expect(file.rows[1]).toEqual({ first_name: "Bob", background: "x\ny\nz" });
  });

  it("fills what a short row lacks and warns of a long one", () => {
    const file = parseContacts("first_name,title\nAnn\nBob,CEO,Acme");
    expect(file.rows).toEqual([
      { first_name: "Ann", title: "" },
      { first_name: "Bob", title: "CEO" },
    ]);
    expect(file.warnings).toEqual([{ line: 3, message: expect.stringContaining("3 cells for 2 columns") }]);
  });

  it("keeps a column that is there twice apart", () => {
    expect(parseContacts("first_name,first_name\nAnn,Bob").rows).toEqual([
      { first_name: "Ann", "first_name (2)": "Bob" },
    ]);
  });

  it("keeps numbers, spaces and formulas as they stand", () => {
    expect(parseContacts('first_name,title,company\n007," =1+1 ",1e5').rows).toEqual([
      { first_name: "007", title: " =1+1 ", company: "1e5" },
    ]);
  });
});

function utf16(text: string, littleEndian: boolean) {
  const view = new DataView(new ArrayBuffer(2 * text.length + 2));
  `\uFEFF${text}`.split("").forEach((letter, index) => {
    view.setUint16(2 * index, letter.charCodeAt(0), littleEndian);
  });
  return new Uint8Array(view.buffer);
}
