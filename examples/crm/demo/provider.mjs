import { createClient } from "@supabase/supabase-js";
import { supabaseDataProvider } from "ra-supabase-core";
import { WebSocket } from "ws";

/**
 * What the CRM's page talks to its server by, in Node: the data provider, and the client under it.
 *
 * @param {{ url: string; key: string }} options
 * @returns {{ dataProvider: import("ra-core").DataProvider; supabase: import("tidegate/supabase").SupabaseTables }}
 */
export function connect({ url, key }) {
  /** @type {any} Its CommonJS and ESM declarations have different private members. */
  const supabase = createClient(url, key, {
    auth: { persistSession: false, autoRefreshToken: false, detectSessionInUrl: false },
    // Node 20 has no WebSocket of its own, and the client refuses to start without one.
    realtime: { transport: /** @type {any} */ (WebSocket) },
  });
  const dataProvider = supabaseDataProvider({ instanceUrl: url, apiKey: key, supabaseClient: supabase });
  return { dataProvider, supabase };
}
