import { createImport } from "tidegate/import";
import { keyOf } from "./contact.mjs";

/**
 * @typedef {import("./file.mjs").ContactItem} ContactItem
 * @typedef {import("tidegate/import").ImportJob<ContactItem>} ContactJob
 * @typedef {import("tidegate/import").ImportReport<ContactItem>} ContactReport
 * @typedef {import("tidegate/import").ImportOptions<ContactItem>} Options
 */

/**
 * The import of a contact file, in the page as without one.
 *
 * @param {import("./file.mjs").ContactFile} file
 * @param {Pick<Options, "send"> & Partial<Options>} options
 * @returns {ContactJob}
 */
export function contactImport(file, options) {
  return createImport({ ...options, rows: file, key: ({ row }) => keyOf(row) });
}
