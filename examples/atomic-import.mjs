// What replaces useContactImport and usePapaParse of Atomic CRM, under its dialog: node examples/atomic-import.mjs
import { atomicContacts, readCsv } from "tidegate/csv";
import { createImport, normalisedEmail } from "tidegate/import";
import { dataProviderSender, relatedRecords } from "tidegate/react-admin";
import { generateCSV } from "./crm/csv/generate.mjs";
import { startSmallCrm } from "./crm/demo/small.mjs";
import { tagsOf, toContact } from "./crm/import/contact.mjs"; // their mapping of columns, as it was

/** `setImporter` gets what the dialog shows: rowCount, importCount, errorCount, remainingTime. */
function contactImport(file, dataProvider, setImporter) {
  const companies = relatedRecords(dataProvider, "companies");
  const tags = relatedRecords(dataProvider, "tags", { data: (name) => ({ name, color: "#eddcd2" }) });
  const map = async ({ row }) => {
    const [company_id, tagIds] = await Promise.all([companies.id(row.company), tags.ids(tagsOf(row))]);
    return { ...toContact(row, new Date()), company_id, tags: tagIds };
  };
  const job = createImport({
    rows: readCsv(file, { columns: atomicContacts, shortRows: "fill" }),
    name: file.name,
    key: ({ row }) => normalisedEmail(row.email_work || row.email_home), // who has none is known by all of the row
    send: dataProviderSender(dataProvider, "contacts", { map }), // a lost answer: looked for by e-mail, not sent again
  });
  job.on("progress", ({ state, total, pending, imported, duplicate, etaMs }) => {
    const [importCount, remainingTime] = [imported + duplicate, etaMs?.[1] ?? null];
    const errorCount = total - pending - importCount;
    setImporter({ state, rowCount: total, importCount, errorCount, remainingTime });
  });
  return job; // start(), pause(), resume(), cancel(), and at the end a report
}

const crm = await startSmallCrm();
const file = new File([generateCSV({ rows: 100, duplicates: 0.1 })], "contacts.csv");
const shown = {};
const job = contactImport(file, crm.dataProvider, (importer) => Object.assign(shown, importer));
const { imported, duplicate, failed } = await job.start();
console.log("the dialog:", JSON.stringify(shown));
console.log(`${imported} imported, ${duplicate} duplicates, ${failed} failed`);
console.log(`Postgres: ${await crm.count("contacts")} contacts, ${await crm.count("companies")} companies`);
await crm.close();
