import type { DataProvider, GetListParams } from "react-admin";
import { withLifecycleCallbacks } from "react-admin";

/** Lets the list search over several columns: `filter.q` becomes a filter that PostgREST understands. */
export function withContactSearch(dataProvider: DataProvider): DataProvider {
  return withLifecycleCallbacks(dataProvider, [
    {
      resource: "contacts",
      beforeGetList: async (params: GetListParams) => ({ ...params, filter: searchFilter(params.filter) }),
    },
  ]);
}

/**
 * Each word must be found in one of the columns.
 *
 * `and@` with nothing behind the @ is how ra-data-postgrest passes a PostgREST expression on as it is.
 */
export function searchFilter({ q, ...filter }: Record<string, unknown>): Record<string, unknown> {
  const words = typeof q === "string" ? q.split(/\s+/).map(literal).filter(Boolean) : [];
  if (words.length === 0) return filter;
  const oneOf = (word: string) => `or(${columns.map((column) => `${column}.ilike.*${word}*`).join(",")})`;
  return { ...filter, "and@": `(${words.map(oneOf).join(",")})` };
}

/** Characters with a meaning to PostgREST or to LIKE become LIKE's "any one character". */
function literal(word: string): string {
  return word.replace(/[,():"\\*%]/g, "_");
}

const columns = ["first_name", "last_name", "title", "email_jsonb->0->>email"];
