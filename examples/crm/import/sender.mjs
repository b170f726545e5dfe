import { dataProviderSender } from "tidegate/react-admin";
import { supabaseSender } from "tidegate/supabase";
import { tagsOf, toContact } from "./contact.mjs";
import { relatedByName } from "./related.mjs";

/**
 * @typedef {import("./file.mjs").ContactItem} ContactItem
 *
 * @typedef {"one by one" | "in batches"} Way how rows get to the server: a `create` of react-admin's data provider for
 *   each, or an upsert through supabase-js for as many as the server takes well
 *
 * @typedef {object} Connection
 * @property {import("./related.mjs").Provider} dataProvider
 * @property {import("tidegate/supabase").SupabaseTables} supabase a client of supabase-js
 */

/** @type {readonly Way[]} */
export const WAYS = ["one by one", "in batches"];

/**
 * What the rows' keys belong to. It must stay the same for ever, or people who are there are not recognised: the demo's
 * server has another address each time, so that is not what to take.
 */
export const ORIGIN = "tidegate-crm";

/**
 * What sends contacts. Both ways write the id that tidegate makes of a row's key into `import_key`, which is unique: the
 * same person is never there twice, whichever way, and however often the row is sent.
 *
 * @param {Way} way
 * @param {Connection} connection
 * @param {string} [origin]
 * @returns {import("tidegate/import").Sender<ContactItem>}
 */
export function contactSender(way, { dataProvider, supabase }, origin = ORIGIN) {
  const companies = relatedByName(dataProvider, "companies", origin);
  const tags = relatedByName(dataProvider, "tags", origin, { color: TAG_COLOR });
  const now = new Date();

  /** @param {ContactItem} item */
  const map = async ({ row }) => {
    const [company_id, tagIds] = await Promise.all([companies.id(row.company), tags.ids(tagsOf(row))]);
    return { ...toContact(row, now), company_id, tags: tagIds };
  };
  return way === "in batches"
    ? supabaseSender(supabase, "contacts", { idColumn: KEY, origin, map })
    : dataProviderSender(dataProvider, "contacts", { withIds: true, idField: KEY, origin, map });
}

/** `alter table contacts add column import_key uuid unique`: see server/schema.sql. */
const KEY = "import_key";

/** Atomic CRM's default. */
const TAG_COLOR = "#eddcd2";
