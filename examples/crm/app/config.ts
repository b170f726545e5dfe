/** Where the CRM's server is. The demo serves it beside the page; `vite` alone takes it from the environment. */
export interface CrmConfig {
  supabaseUrl: string;
  /** The publishable key: it lets a page in and guards nothing by itself. */
  supabaseKey: string;
  /** Where the demo's gateway is asked and told; null in front of a real Supabase project. */
  gatewayUrl: string | null;
}

/** @throws Error with a sentence for the developer when neither source says where the server is. */
export async function loadConfig(): Promise<CrmConfig> {
  const config = (await servedConfig()) ?? environmentConfig();
  if (config === null) {
    throw new Error(
      "No server to talk to. Start the demo with `npm run demo`, or set VITE_SUPABASE_URL and VITE_SUPABASE_KEY.",
    );
  }
  return config;
}

async function servedConfig(): Promise<CrmConfig | null> {
  const response = await fetch("/config.json").catch(() => null);
  if (!response?.ok || !response.headers.get("content-type")?.includes("json")) return null;
  const { supabaseUrl, supabaseKey, gatewayUrl = null } = await response.json();
  return { supabaseUrl, supabaseKey, gatewayUrl };
}

function environmentConfig(): CrmConfig | null {
  const { VITE_SUPABASE_URL, VITE_SUPABASE_KEY, VITE_GATEWAY_URL } = import.meta.env;
  if (!VITE_SUPABASE_URL || !VITE_SUPABASE_KEY) return null;
  return {
    supabaseUrl: VITE_SUPABASE_URL,
    supabaseKey: VITE_SUPABASE_KEY,
    gatewayUrl: VITE_GATEWAY_URL || null,
  };
}
