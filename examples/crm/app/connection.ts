/**
 * Everything tidegate does for this CRM, in one place: the lines to copy into another one.
 *
 * One service stands for one server, and whoever talks to that server shares it: a circuit that the pages found open
 * pauses an import, too.
 */
import { createClient, type SupabaseClient } from "@supabase/supabase-js";
import { QueryClient } from "@tanstack/react-query";
import { supabaseDataProvider } from "ra-supabase";
import type { DataProvider } from "react-admin";
import { isRateLimitError, RateLimitService } from "tidegate";
import { resilientDataProvider } from "tidegate/react-admin";
import { resilientFetch } from "tidegate/supabase";
import type { CrmConfig } from "./config.ts";
import { withContactSearch } from "./contacts/search.ts";

export interface Connection {
  config: CrmConfig;
  service: RateLimitService;
  /** For auth, storage, functions and rpc, and for imports in batches; ra-supabase does its reading and writing beside it. */
  supabase: SupabaseClient;
  /** For the pages: somebody looks at a spinner, so writes wait a while and then say when to come back. */
  dataProvider: DataProvider;
  /** For the import, which does its own waiting, at a pace that it learns. */
  importProvider: DataProvider;
  queryClient: QueryClient;
}

export function connect(config: CrmConfig): Connection {
  const service = new RateLimitService({
    // What the pages read and change may be asked for twice. Contacts are created by forms, once.
    retryTransient: "idempotent",
    // The page shows every refusal; a line in the console for each of hundreds helps nobody.
    logLevel: "error",
  });
  const supabase = createClient(config.supabaseUrl, config.supabaseKey, {
    global: { fetch: resilientFetch(service) },
  });
  const importProvider = supabaseDataProvider({
    instanceUrl: config.supabaseUrl,
    apiKey: config.supabaseKey,
    supabaseClient: supabase,
  });
  return {
    config,
    service,
    supabase,
    dataProvider: withContactSearch(
      resilientDataProvider(importProvider, { service, methods: [...reads, ...writes] }),
    ),
    importProvider,
    queryClient: new QueryClient({ defaultOptions: { queries: { retry: retryUnlessRateLimited } } }),
  };
}

/**
 * Writes alone are the default. Reads too, because react-admin's own pages switch the QueryClient's retries off: a list
 * that is refused once, say at the end of an import, would stay empty.
 */
const reads = ["getList", "getOne", "getMany", "getManyReference"] as const;
const writes = ["create", "update", "updateMany", "delete", "deleteMany"] as const;

/** A rate limit error was waited for already; asking again at once would only be one more refusal. */
function retryUnlessRateLimited(failures: number, error: unknown): boolean {
  return !isRateLimitError(error) && failures < 3;
}
