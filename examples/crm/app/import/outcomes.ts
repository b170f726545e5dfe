import type { ImportReport, RowOutcome } from "../../import/importer.mjs";

/** How a row ended, as a person asks: a duplicate is somebody whom the CRM knew, or a line that came twice. */
export type PersonalOutcome = RowOutcome | "alreadyThere";

export function countOutcomes(report: ImportReport): Record<PersonalOutcome, number> {
  const { imported, failed, skipped, unknown } = report;
  const duplicates = report.rows({ outcome: "duplicate" });
  const alreadyThere = duplicates.filter(({ code }) => code === "ALREADY_THERE").length;
  return { imported, alreadyThere, duplicate: duplicates.length - alreadyThere, failed, skipped, unknown };
}
