import { answerOf } from "./answers.mjs";
import { fold, importKeyOf } from "./contact.mjs";

/**
 * Companies and tags by name: found whatever their letter case, created when they are not there.
 *
 * One lookup per name and import: callers that ask for the same name at the same time share it. Names are not unique
 * in Atomic CRM, so what is created carries an `import_key` made from its name, which is. A creation may thus arrive
 * twice, and it does without our doing: browsers send a request again when a connection that was kept alive ends before
 * the answer. Whoever is refused for that key was not the first, and takes what is there.
 *
 * @param {object} options
 * @param {Pick<import("ra-core").DataProvider, "getList" | "create">} options.dataProvider
 * @param {string} options.origin what the keys belong to, as for contacts
 * @param {<T>(call: () => Promise<T>, about: { resourceName: string; operation: string; idempotent: boolean }) => Promise<T>} options.guarded
 *   makes a call through the rate limit service
 */
export function createRelated({ dataProvider, origin, guarded }) {
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
    const named = await list(resource, { "name@imatch": samePattern(name) });
    const match = named.find((record) => fold(record.name) === fold(name));
    return match === undefined ? createOnce(resource, name, rest) : Number(match.id);
  }

  /** @param {"companies" | "tags"} resource @param {string} name @param {object} rest */
  async function createOnce(resource, name, rest) {
    const import_key = importKeyOf(origin, resource, fold(name));
    const data = { name: name.normalize("NFC").trim(), ...rest, import_key };
    try {
      const created = await guarded(() => dataProvider.create(resource, { data }), {
        resourceName: resource,
        operation: "create",
        idempotent: true,
      });
      return Number(created.data.id);
    } catch (error) {
      if (answerOf(error).kind !== "there") throw error;
      // By its key: whoever works in the CRM may have given it another name since.
      const [present] = await list(resource, { "import_key@eq": import_key });
      if (present === undefined) throw error;
      return Number(present.id);
    }
  }

  /** @param {"companies" | "tags"} resource @param {Record<string, string>} filter @returns the oldest first */
  async function list(resource, filter) {
    const { data } = await guarded(
      () =>
        dataProvider.getList(resource, {
          pagination: { page: 1, perPage: 50 },
          sort: { field: "id", order: "ASC" },
          filter,
        }),
      { resourceName: resource, operation: "getList", idempotent: true },
    );
    return data;
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
