import { createClient } from "@supabase/supabase-js";
import { supabaseDataProvider } from "ra-supabase-core";
import { WebSocket } from "ws";

/**
 * The data provider of the CRM's page, in Node.
 *
 * @param {{ url: string; key: string }} options
 * @returns {import("ra-core").DataProvider}
 */
export function createDataProvider({ url, key }) {
  /** @type {any} Its CommonJS and ESM declarations have different private members. */
  const supabaseClient = createClient(url, key, {
    auth: { persistSession: false, autoRefreshToken: false, detectSessionInUrl: false },
    // Node 20 has no WebSocket of its own, and the client refuses to start without one.
    realtime: { transport: /** @type {any} */ (WebSocket) },
  });
  return supabaseDataProvider({ instanceUrl: url, apiKey: key, supabaseClient });
}
