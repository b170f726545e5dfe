// What replaces the import hook of Crispy CRM, with the result that its panel shows: node examples/crispy-import.mjs
import { crispyContacts, readCsv } from "tidegate/csv";
import { createImport, normalisedEmail } from "tidegate/import";
import { relatedRecords } from "tidegate/react-admin";
import { supabaseSender } from "tidegate/supabase";
import { crispyFile, crispySchema } from "./crm/demo/crispy.mjs";
import { startSmallCrm } from "./crm/demo/small.mjs";

async function importContacts(file, { supabase, dataProvider, onProgress }) {
  const organizations = relatedRecords(dataProvider, "organizations"); // ACME is Acme
  const validate = (row) => (row.last_name ? [] : [{ field: "last_name", message: "Required" }]); // or their schema
  const map = async ({ row }) => ({
    first_name: row.first_name,
    last_name: row.last_name,
    email: [{ value: row.email_work, type: "work" }],
    organization_id: await organizations.id(row.organization_name),
  });
  const job = createImport({
    rows: readCsv(file, { columns: crispyContacts, shortRows: "fill", maxRows: 10_000, validate }),
    name: file.name,
    key: ({ row }) => normalisedEmail(row.email_work),
    send: supabaseSender(supabase, "contacts", { idColumn: "import_key", map, maxBatch: 25 }),
  });
  job.on("progress", onProgress);
  const report = await job.start();
  const errors = report.rows({ outcome: ["failed", "unknown", "skipped"] }).map(({ index, row, message }) => {
    return { row: row?.line ?? index + 1, data: row?.row, errors: row?.errors ?? [{ field: null, message }] };
  });
  const { total, imported, duplicate, durationMs } = report;
  const counts = { totalProcessed: total, successCount: imported, skippedCount: duplicate };
  return { ...counts, failedCount: errors.length, errors, duration: durationMs };
}

const crm = await startSmallCrm(crispySchema);
const { errors, duration, ...counts } = await importContacts(crispyFile(120), { ...crm, onProgress() {} });
console.log(`${JSON.stringify(counts)}; the first error: line ${errors[0].row},`, errors[0].errors);
console.log(
  `Postgres: ${await crm.count("contacts")} contacts, ${await crm.count("organizations")} organizations`,
);
await crm.close();
