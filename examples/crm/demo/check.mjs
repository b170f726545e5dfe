import { rowId } from "tidegate/import";
import { fold, keyOf } from "../import/contact.mjs";

/**
 * @typedef {import("../csv/columns.mjs").Row} Row
 *
 * @typedef {object} Findings what Postgres holds, compared with what was to be imported
 * @property {number} contacts rows in the table, by its own count
 * @property {number} expected different people in the files
 * @property {number} present of those: there at least once
 * @property {string[]} missing keys of those who are not there
 * @property {{ key: string; times: number }[]} doubled those who are there more than once
 * @property {number} doubledCompanies names that more than one company has
 * @property {number} doubledTags
 */

/**
 * Looks every person of a file up in Postgres, past the gateway and without trusting `import_key`: the key of a person
 * is made anew from what is stored. Only rows that say too little for that are looked up by their `import_key`.
 *
 * @param {Pick<import("../server/backend.mjs").Backend, "sql" | "count">} backend
 * @param {Row[]} rows of all uploaded files
 * @param {string} origin
 * @returns {Promise<Findings>}
 */
export async function checkContacts(backend, rows, origin) {
  const expected = [...new Set(rows.map(keyOf))];
  const vague = expected.filter((key) => key.startsWith("row:"));
  const vagueKeys = new Map(vague.map((key) => [rowId({ origin, table: "contacts" }, key), key]));
  const stored = await storedContacts(backend);
  const times = countBy(stored.map((contact) => vagueKeys.get(contact.import_key) ?? keyOf(asRow(contact))));
  return {
    contacts: await backend.count("contacts"),
    expected: expected.length,
    present: expected.filter((key) => times.has(key)).length,
    missing: expected.filter((key) => !times.has(key)),
    doubled: expected.flatMap((key) =>
      (times.get(key) ?? 0) > 1 ? [{ key, times: times.get(key) ?? 0 }] : [],
    ),
    doubledCompanies: doubles(await names(backend, "companies")),
    doubledTags: doubles(await names(backend, "tags")),
  };
}

/**
 * @typedef {object} Stored
 * @property {string} import_key
 * @property {string | null} first_name
 * @property {string | null} last_name
 * @property {string | null} linkedin_url
 * @property {string | null} company
 * @property {{ email: string; type: string }[] | null} email_jsonb
 */

/** @param {Pick<import("../server/backend.mjs").Backend, "sql">} backend @returns {Promise<Stored[]>} */
async function storedContacts(backend) {
  const contacts = await backend.sql(`
    select contacts.import_key, first_name, last_name, contacts.linkedin_url, companies.name as company, email_jsonb
    from contacts left join companies on companies.id = contacts.company_id`);
  return /** @type {any[]} */ (contacts);
}

/** A stored contact as the row it came from, as far as its key goes. @param {Stored} contact @returns {Row} */
function asRow({ first_name, last_name, linkedin_url, company, email_jsonb }) {
  return {
    first_name: first_name ?? "",
    last_name: last_name ?? "",
    linkedin_url: linkedin_url ?? "",
    company: company ?? "",
    ...Object.fromEntries(
      (email_jsonb ?? []).map(({ email, type }) => [`email_${type.toLowerCase()}`, email]),
    ),
  };
}

/** @param {Pick<import("../server/backend.mjs").Backend, "sql">} backend @param {"companies" | "tags"} table */
async function names(backend, table) {
  const found = await backend.sql(`select name from ${table}`);
  return found.map(({ name }) => fold(String(name)));
}

/** @param {string[]} values */
function doubles(values) {
  return [...countBy(values).values()].filter((times) => times > 1).length;
}

/** @param {string[]} values */
function countBy(values) {
  /** @type {Map<string, number>} */
  const times = new Map();
  for (const value of values) times.set(value, (times.get(value) ?? 0) + 1);
  return times;
}
