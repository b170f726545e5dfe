import { atomicContacts, readCsv } from "tidegate/csv";
import { RowError, toContact } from "./contact.mjs";

/**
 * @typedef {import("../csv/columns.mjs").Row} Row
 * @typedef {import("tidegate/csv").CsvItem} ContactItem a row of the file, the line that it stands on, what is wrong with it
 * @typedef {import("tidegate/csv").CsvSource} ContactFile
 */

/**
 * A contact file as people have them. Rows of which no contact can be made come with their errors by column.
 *
 * @param {import("tidegate/csv").CsvInput} input
 * @returns {ContactFile} nothing is read before somebody asks; what cannot be used ends the reading with a `CsvError`
 */
export function readContacts(input) {
  return readCsv(input, { columns, required: [IDENTIFYING], shortRows: "fill", validate: problemsOf });
}

/** @param {ContactFile} file @returns {Promise<ContactItem[]>} all of it, for files that fit into memory */
export async function itemsOf(file) {
  const items = [];
  for await (const item of file) items.push(item);
  return items;
}

/** @param {Row} row */
function problemsOf(row) {
  try {
    toContact(row, NOW);
    return [];
  } catch (error) {
    if (!(error instanceof RowError)) throw error;
    return [{ field: error.field, message: error.message }];
  }
}

/** This CRM keeps no pictures. */
const { avatar: _, ...columns } = atomicContacts;

/** One of them at least must be there, or nobody can be told apart. */
const IDENTIFYING = ["first_name", "last_name", "email_work", "email_home", "email_other"];

/** Any will do where the contact itself is thrown away. */
const NOW = new Date(0);
