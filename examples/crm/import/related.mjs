import { rowId } from "tidegate/import";
import { relatedRecords } from "tidegate/react-admin";
import { fold } from "./contact.mjs";

/** @typedef {Pick<import("ra-core").DataProvider, "getList" | "create">} Provider */

/**
 * Companies or tags by name: found whatever their letter case, created when they are not there, each once.
 *
 * `relatedRecords` does it. What is ours: names are not unique in Atomic CRM, so that what is created carries an
 * `import_key` made from its name, which is. For a creation may arrive twice without anybody's doing: browsers send a
 * request again when a connection that was kept alive ends before the answer.
 *
 * @param {Provider} dataProvider
 * @param {"companies" | "tags"} resource
 * @param {string} origin what the keys belong to, as for contacts
 * @param {object} [rest] what else a new one has
 */
export function relatedByName(dataProvider, resource, origin, rest = {}) {
  return relatedRecords(creatingOnce(dataProvider), resource, {
    lookup: (names) => ({ "name@imatch": names.map(samePattern).join("|") }),
    data: (name) => ({ ...rest, name, import_key: rowId({ origin, table: resource }, fold(name)) }),
  });
}

/**
 * A provider whose `create` answers with the record that has this `import_key` already. By its key and not by its name:
 * whoever works in the CRM may have given it another name since. It hands on what a provider knows and nothing else, so
 * that the mark is gone by which an import's own requests pass all guards.
 *
 * @param {Provider} dataProvider
 */
function creatingOnce(dataProvider) {
  return {
    /** @param {string} resource @param {any} params */
    getList: (resource, { pagination, sort, filter }) =>
      dataProvider.getList(resource, { pagination, sort, filter }),
    /** @param {string} resource @param {any} params */
    async create(resource, { data }) {
      try {
        return await dataProvider.create(resource, { data });
      } catch (error) {
        if (!isConflict(error)) throw error;
        const found = await dataProvider.getList(resource, {
          pagination: { page: 1, perPage: 1 },
          sort: { field: "id", order: "ASC" },
          filter: { "import_key@eq": data.import_key },
        });
        if (found.data[0] === undefined) throw error;
        return { data: found.data[0] };
      }
    },
  };
}

/** @param {unknown} error `HttpError` of react-admin */
function isConflict(error) {
  const { status, body } = /** @type {Record<string, any>} */ (error ?? {});
  return status === 409 || body?.code === UNIQUE_VIOLATION;
}

/**
 * A POSIX pattern for names that fold to the same. Letters outside ASCII are spelt in both cases, because whether
 * Postgres knows their other case depends on how the database was created.
 *
 * @param {string} name
 */
export function samePattern(name) {
  const letters = [...fold(name)].map((letter) => {
    if (letter === " ") return "\\s+";
    if (/[.*+?^$|(){}[\]\\]/.test(letter)) return `\\${letter}`;
    return /[\x20-\x7e]/.test(letter) || letter === letter.toUpperCase()
      ? letter
      : `(?:${letter}|${letter.toUpperCase()})`;
  });
  return `^\\s*${letters.join("").replaceAll("ss", "(?:ss|ß)")}\\s*$`;
}

/** Postgres' SQLSTATE. */
const UNIQUE_VIOLATION = "23505";
