import type { ImportOutcome } from "tidegate/import";
import type { ContactReport } from "../../import/job.mjs";

/** How a row ended, as a person asks: a duplicate is somebody whom the CRM knew, or a line that came twice. */
export type PersonalOutcome = ImportOutcome | "alreadyThere";

export function countOutcomes(report: ContactReport): Record<PersonalOutcome, number> {
  const { imported, duplicate, failed, skipped, unknown } = report;
  // What is twice in the file is never sent; that somebody is there already, only the server can tell.
  const alreadyThere = report.rows({ outcome: "duplicate" }).filter(({ attempts }) => attempts > 0).length;
  return { imported, alreadyThere, duplicate: duplicate - alreadyThere, failed, skipped, unknown };
}
