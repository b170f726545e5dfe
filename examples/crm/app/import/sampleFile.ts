import Papa from "papaparse";
import { COLUMNS } from "../../csv/columns.mjs";
import { generatePeople } from "../../csv/people.mjs";

/** A file of made-up people, some of them twice, as a spreadsheet would write it. The same size gives the same people. */
export function sampleFile(rows: number): File {
  const people = generatePeople({ rows }).rows;
  const csv = Papa.unparse({
    fields: [...COLUMNS],
    data: people.map((row) => COLUMNS.map((column) => row[column])),
  });
  return new File(["\uFEFF", csv], `sample-${rows}.csv`, { type: "text/csv" });
}
