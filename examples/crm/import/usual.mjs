import { companyOf, tagsOf, toContact } from "./contact.mjs";

/**
 * @typedef {import("../csv/columns.mjs").Row} Row
 *
 * @typedef {object} UsualReport
 * @property {number} total
 * @property {number} imported rows of batches that succeeded
 * @property {number} failed rows of batches in which anything failed, also those of them that the server has written
 * @property {number} durationMs
 * @property {string[]} errors one message per failed batch
 */

const BATCH = 10;

/**
 * The importer that most CRMs have, for comparison: batches of ten, one after the other, all ten at once, and a batch
 * counts as failed when one of its requests did. Modelled on Atomic CRM's. It has no key for a row, does not repeat a
 * refused request, and looks companies and tags up by their exact names.
 *
 * @param {object} options
 * @param {Row[]} options.rows
 * @param {Pick<import("ra-core").DataProvider, "getList" | "create">} options.dataProvider
 * @param {(progress: { total: number; imported: number; failed: number }) => void} [options.onProgress] after each batch
 * @returns {Promise<UsualReport>} never rejects
 */
export async function usualImport({ rows, dataProvider, onProgress }) {
  const startedAt = Date.now();
  const related = createRelated(dataProvider);
  const counts = { total: rows.length, imported: 0, failed: 0 };
  /** @type {string[]} */
  const errors = [];

  for (let start = 0; start < rows.length; start += BATCH) {
    const batch = rows.slice(start, start + BATCH);
    try {
      await importBatch(batch, dataProvider, related);
      counts.imported += batch.length;
    } catch (error) {
      counts.failed += batch.length;
      errors.push(error instanceof Error ? error.message : String(error));
    }
    onProgress?.({ ...counts });
  }
  return { ...counts, durationMs: Date.now() - startedAt, errors };
}

/**
 * @param {Row[]} batch
 * @param {Pick<import("ra-core").DataProvider, "create">} dataProvider
 * @param {ReturnType<typeof createRelated>} related
 */
async function importBatch(batch, dataProvider, related) {
  const companies = await related(
    "companies",
    batch.map(companyOf).filter((name) => name !== null),
    {},
  );
  const tags = await related("tags", batch.flatMap(tagsOf), { color: "#eddcd2" });
  await Promise.all(
    batch.map(async (row) => {
      const contact = toContact(row, new Date());
      contact.company_id = companies.get(companyOf(row) ?? "") ?? null;
      contact.tags = tagsOf(row).flatMap((name) => tags.get(name) ?? []);
      return dataProvider.create("contacts", { data: contact });
    }),
  );
}

/** @param {Pick<import("ra-core").DataProvider, "getList" | "create">} dataProvider */
function createRelated(dataProvider) {
  /** @type {Record<string, Map<string, number>>} */
  const cache = { companies: new Map(), tags: new Map() };

  /** @param {"companies" | "tags"} resource @param {string[]} names @param {object} rest */
  return async (resource, names, rest) => {
    const known = cache[resource] ?? new Map();
    const wanted = [...new Set(names)].filter((name) => !known.has(name));
    if (wanted.length === 0) return known;
    const { data } = await dataProvider.getList(resource, {
      pagination: { page: 1, perPage: wanted.length },
      sort: { field: "id", order: "ASC" },
      filter: { "name@in": `(${wanted.map(quoted).join(",")})` },
    });
    for (const { id, name } of data) known.set(name, Number(id));
    await Promise.all(
      wanted
        .filter((name) => !known.has(name))
        .map(async (name) => {
          const created = await dataProvider.create(resource, { data: { name, ...rest } });
          known.set(name, Number(created.data.id));
        }),
    );
    return known;
  };
}

/** @param {string} name */
function quoted(name) {
  return `"${name.replace(/["\\]/g, "\\$&")}"`;
}
