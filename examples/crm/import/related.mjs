import { fold } from "./contact.mjs";

/**
 * Companies and tags by name: found whatever their letter case, created when they are not there.
 *
 * One lookup per name and import: callers that ask for the same name at the same time share it. Atomic CRM's tables
 * have no unique constraint on names, so a creation is never repeated blindly: it is sent at most once per lookup, and
 * who asks again after a failure begins with another lookup, which finds what an answer that was lost has created.
 *
 * @param {object} options
 * @param {Pick<import("ra-core").DataProvider, "getList" | "create">} options.dataProvider
 * @param {<T>(call: () => Promise<T>, about: { resourceName: string; operation: string; idempotent: boolean }) => Promise<T>} options.guarded
 *   makes a call through the rate limit service
 */
export function createRelated({ dataProvider, guarded }) {
  /** @type {Map<string, Promise<number>>} */
  const known = new Map();

  return {
    /** @param {string} name @returns {Promise<number>} its id */
    company: (name) => once("companies", name, {}),
    /** @param {string} name @returns {Promise<number>} its id */
    tag: (name) => once("tags", name, { color: TAG_COLOR }),
  };

  /** @param {"companies" | "tags"} resource @param {string} name @param {object} rest */
  function once(resource, name, rest) {
    const key = `${resource}/${fold(name)}`;
    const present = known.get(key);
    if (present !== undefined) return present;
    const id = findOrCreate(resource, name, rest);
    known.set(key, id);
    id.catch(() => known.delete(key));
    return id;
  }

  /** @param {"companies" | "tags"} resource @param {string} name @param {object} rest */
  async function findOrCreate(resource, name, rest) {
    const found = await find(resource, name);
    if (found !== undefined) return found;
    const data = { name: name.normalize("NFC").trim(), ...rest };
    const created = await guarded(() => dataProvider.create(resource, { data }), {
      resourceName: resource,
      operation: "create",
      idempotent: false,
    });
    return Number(created.data.id);
  }

  /** @param {"companies" | "tags"} resource @param {string} name @returns {Promise<number | undefined>} the oldest one's id */
  async function find(resource, name) {
    const { data } = await guarded(
      () =>
        dataProvider.getList(resource, {
          pagination: { page: 1, perPage: 50 },
          sort: { field: "id", order: "ASC" },
          filter: { "name@imatch": samePattern(name) },
        }),
      { resourceName: resource, operation: "getList", idempotent: true },
    );
    const match = data.find((record) => fold(record.name) === fold(name));
    return match === undefined ? undefined : Number(match.id);
  }
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

/** Atomic CRM's default. */
const TAG_COLOR = "#eddcd2";
