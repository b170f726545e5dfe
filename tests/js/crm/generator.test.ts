import { describe, expect, it } from "vitest";
import { COLUMNS } from "../../../examples/crm/csv/columns.mjs";
import { generateCSV } from "../../../examples/crm/csv/generate.mjs";
import { generatePeople } from "../../../examples/crm/csv/people.mjs";
import { keyOf } from "../../../examples/crm/import/contact.mjs";
import { itemsOf, readContacts } from "../../../examples/crm/import/file.mjs";

const seeds = Array.from({ length: 25 }, (_, seed) => seed);

describe("generated contacts", () => {
  it("are the same for the same seed and others for another", () => {
    expect(generateCSV({ rows: 200, seed: 7 })).toBe(generateCSV({ rows: 200, seed: 7 }));
    expect(generateCSV({ rows: 200, seed: 8 })).not.toBe(generateCSV({ rows: 200, seed: 7 }));
  });

  it.each(seeds)("survive the way through a file (seed %i)", async (seed) => {
    const { rows } = generatePeople({ rows: 60, seed });
    const file = readContacts(generateCSV({ rows: 60, seed }));
    const items = await itemsOf(file);
    expect(items.map(({ row }) => row)).toEqual(rows);
    expect(items.filter(({ errors }) => errors)).toEqual([]);
    expect(await file.head()).toMatchObject({ columns: [...COLUMNS], missing: [], unknown: [] });
  });

  it.each(seeds)("repeat exactly as many people as asked for (seed %i)", (seed) => {
    const { rows, duplicates } = generatePeople({ rows: 200, seed, duplicates: 0.1 });
    const keys = rows.map(keyOf);
    expect(duplicates).toHaveLength(20);
    expect(new Set(keys).size).toBe(180);
    for (const index of duplicates) expect(keys.indexOf(keys[index] ?? "")).toBeLessThan(index);
  });

  it.each(seeds)("are the same people after a correction (seed %i)", (seed) => {
    const before = generatePeople({ rows: 200, seed }).rows;
    const after = generatePeople({ rows: 200, seed, corrected: true }).rows;
    expect(after.map(keyOf)).toEqual(before.map(keyOf));
    const changed = COLUMNS.filter((column) =>
      after.some((row, index) => row[column] !== before[index]?.[column]),
    );
    expect(changed).toEqual(["title", "background", "phone_work"]);
  });

  it("hold everything that makes an import stumble", () => {
    const csv = generateCSV({ rows: 300 });
    const { rows } = generatePeople({ rows: 300 });
    expect(csv.startsWith("\uFEFFfirst_name,")).toBe(true);
    expect(csv.endsWith("\r\n")).toBe(true);
    for (const awkward of [
      '""',
      '"Fjällräven Tools, AB"',
      "🎉",
      "ö",
      "short.\r\nCall",
      "lines:\nsecond",
      "株式会社",
    ]) {
      expect(csv).toContain(awkward);
    }
    const without = rows.filter(
      ({ email_work, email_home, email_other }) => !`${email_work}${email_home}${email_other}`,
    );
    expect(without.length).toBeGreaterThan(3);
    for (const column of COLUMNS.slice(2)) expect(rows.some((row) => row[column] === "")).toBe(true);
  });

  it.each([
    [0, 0],
    [1, 1],
    [2, 1],
  ])("of which there are %i", (rows, people) => {
    const made = generatePeople({ rows, duplicates: 1 });
    expect([made.rows.length, new Set(made.rows.map(keyOf)).size]).toEqual([rows, people]);
  });
});
