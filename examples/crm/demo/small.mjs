import { connect } from "./provider.mjs";
import { startStack } from "./stack.mjs";

/**
 * A CRM's server for the small examples: Postgres, and a gateway in front of it that lets 20 requests a second through and
 * hides from pages when to come back.
 *
 * @param {string[]} [migrations] statements that run before anybody asks
 */
export async function startSmallCrm(migrations = []) {
  const stack = await startStack({
    data: undefined,
    verbose: false,
    gateway: { mode: "bucket", limits: {}, faults: {}, exposeHeaders: false, corsOnRefusals: true },
  });
  for (const statement of migrations) await stack.backend.sql(statement);
  return {
    ...connect({ url: stack.url, key: stack.backend.key }),
    /** @param {string} table @returns {Promise<number>} its rows, as Postgres counts them */
    async count(table) {
      const [row] = await stack.backend.sql(`select count(*)::int as rows from ${table}`);
      return Number(row?.rows);
    },
    /** What the gateway has seen. */
    counts: () => stack.gateway.state().counts,
    close: stack.close,
  };
}
