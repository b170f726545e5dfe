import { describe, expect, it } from "vitest";
import { companyOf, keyOf, RowError, tagsOf, toContact } from "../../../examples/crm/import/contact.mjs";

const now = new Date("2026-01-05T12:00:00Z");

describe("a row as a contact", () => {
  it("has Atomic CRM's columns", () => {
    const row = {
      first_name: " Ann ",
      last_name: "Smith",
      gender: "female",
      title: "CEO",
      background: "Met\nat the fair",
      first_seen: "2024-02-29",
      last_seen: "2024-03-01T10:00:00+02:00",
      has_newsletter: "TRUE",
      status: "hot",
      linkedin_url: "https://linkedin.com/in/ann",
      email_work: "ann@example.com",
      email_other: "a@example.org",
      phone_home: "+49 221 1",
    };
    expect(toContact(row, now)).toEqual({
      first_name: "Ann",
      last_name: "Smith",
      gender: "female",
      title: "CEO",
      background: "Met\nat the fair",
      first_seen: "2024-02-29T00:00:00.000Z",
      last_seen: "2024-03-01T08:00:00.000Z",
      has_newsletter: true,
      status: "hot",
      tags: [],
      company_id: null,
      linkedin_url: "https://linkedin.com/in/ann",
      email_jsonb: [
        { email: "ann@example.com", type: "Work" },
        { email: "a@example.org", type: "Other" },
      ],
      phone_jsonb: [{ number: "+49 221 1", type: "Home" }],
    });
  });

  it("is empty where the row is, and was seen now", () => {
    expect(toContact({ last_name: "Smith", title: " " }, now)).toMatchObject({
      first_name: null,
      title: null,
      has_newsletter: false,
      first_seen: now.toISOString(),
      email_jsonb: [],
    });
  });

  it.each([
    ["neither name nor address", { title: "CEO", company: "Acme" }, "neither a name nor"],
    ["a date in words", { first_name: "Ann", first_seen: "yesterday" }, '"yesterday" is not a date'],
    ["a word that Date.parse takes for a day", { first_name: "Ann", last_seen: "foo 1" }, '"foo 1"'],
    ["a day that does not exist", { first_name: "Ann", last_seen: "2024-13-45" }, "2024-13-45"],
  ])("cannot be made of %s", (_, row, message) => {
    expect(() => toContact(row as never, now)).toThrow(RowError);
    expect(() => toContact(row as never, now)).toThrow(message);
  });

  it("names its company and its tags, each tag once", () => {
    expect(companyOf({ company: " Acme " })).toBe("Acme");
    expect(companyOf({})).toBeNull();
    expect(tagsOf({ tags: "vip, ,Partner,VIP,, 🚀 launch " })).toEqual(["vip", "Partner", "🚀 launch"]);
  });
});

describe("the key of a row", () => {
  it.each([
    ["its work address", { email_work: " Ann@Example.COM ", email_home: "b@x" }, "email:ann@example.com"],
    ["else its home address", { email_work: " ", email_home: "b@x", email_other: "c@x" }, "email:b@x"],
    ["else its other address", { email_other: "c@x", linkedin_url: "l" }, "email:c@x"],
    [
      "else its LinkedIn page",
      { first_name: "Ann", linkedin_url: "https://www.LinkedIn.com/in/ann/" },
      "linkedin:linkedin.com/in/ann",
    ],
    [
      "else name and company",
      { first_name: "Ann", last_name: "Löwe", company: "ACME " },
      'person:["ann löwe","acme"]',
    ],
  ])("is %s", (_, row, key) => {
    expect(keyOf(row as never)).toBe(key);
  });

  it("is everything the row says when it has only a name", () => {
    const ann = { first_name: "Ann", phone_work: "1" };
    expect(keyOf(ann)).toBe(keyOf({ ...ann, title: "", "Shoe size": "43" }));
    expect(keyOf(ann)).not.toBe(keyOf({ ...ann, phone_work: "2" }));
  });

  it("is the same for the two ways to write an umlaut, and for ß and SS", () => {
    const key = (first_name: string) => keyOf({ first_name, company: "x" });
    expect(key("Jo\u0308rg")).toBe(key("J\u00f6rg"));
    expect(key("Weiß")).toBe(key("WEISS"));
  });
});
