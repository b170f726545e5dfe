import { describe, expect, it } from "vitest";
import { itemsOf, readContacts } from "../../../examples/crm/import/file.mjs";

/** What files in general are like is `tidegate/csv`'s business; these are contact files. */
describe("a contact file", () => {
  it.each([
    ["prose", "Dear Ann,\nhow are you?", "NO_HEADER"],
    ["columns by which nobody is known", "title,company\nCEO,Acme", "MISSING_COLUMNS"],
    ["the names of columns alone", "first_name,last_name\r\n", "NO_ROWS"],
    ["nothing", "", "EMPTY"],
  ])("is none when it is %s", async (_, text, code) => {
    await expect(itemsOf(readContacts(text))).rejects.toMatchObject({ name: "CsvError", code });
  });

  it("has its columns under names as people write them, and says which nobody knows", async () => {
    const file = readContacts("E-mail (work);Vorname;Shoe size\na@x;Ann;43");
    expect(await file.head()).toMatchObject({
      columns: ["email_work", "first_name", "Shoe size"],
      unknown: ["Shoe size"],
      missing: expect.arrayContaining(["company"]),
    });
    expect(await itemsOf(file)).toMatchObject([
      { row: { email_work: "a@x", first_name: "Ann", company: "" } },
    ]);
  });

  it("tells which rows make no contact, and why, by column", async () => {
    const rows = ["first_name,company,first_seen", "Ann,Acme,2024-01-31", ",Acme,", "Bob,Acme,soon", "Cid"];
    const items = await itemsOf(readContacts(rows.join("\n")));
    expect(items.map(({ line, errors }) => [line, errors])).toEqual([
      [2, undefined],
      [3, [{ field: null, message: "This row has neither a name nor an e-mail address." }]],
      [4, [{ field: "first_seen", message: '"soon" is not a date (use 2025-12-31).' }]],
      [5, undefined],
    ]);
  });

  it("does not guess where a comma is not quoted", async () => {
    const [item] = await itemsOf(readContacts("first_name,title\nBob,CEO,Acme"));
    expect(item?.errors).toMatchObject([{ code: "TOO_MANY_FIELDS" }]);
  });
});
