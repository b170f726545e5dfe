import { toCsv } from "tidegate/csv";
import { COLUMNS } from "../../csv/columns.mjs";
import { generatePeople } from "../../csv/people.mjs";

/** A file of made-up people, some of them twice, as a spreadsheet would write it. The same size gives the same people. */
export function sampleFile(rows: number): File {
  const csv = toCsv(generatePeople({ rows }).rows, COLUMNS);
  return new File([csv], `sample-${rows}.csv`, { type: "text/csv" });
}
