// What the snippets of the documentation find around them: the reader's own application, and imports of an earlier snippet.

declare const RateLimitService: typeof import("tidegate").RateLimitService;
declare const resilientFetch: typeof import("tidegate/supabase").resilientFetch;
declare const resilientHttpClient: typeof import("tidegate/supabase").resilientHttpClient;
declare const QueryClient: typeof import("@tanstack/react-query").QueryClient;
declare const createClient: typeof import("@supabase/supabase-js").createClient;
declare const supabaseDataProvider: typeof import("ra-supabase-core").supabaseDataProvider;
declare const supabaseHttpClient: typeof import("ra-supabase-core").supabaseHttpClient;

declare const service: import("tidegate").RateLimitService;
declare const dataProvider: import("ra-core").DataProvider;
declare const supabase: import("@supabase/supabase-js").SupabaseClient;
declare const supabaseClient: import("@supabase/supabase-js").SupabaseClient;

declare const url: string;
declare const key: string;
declare const instanceUrl: string;
declare const apiKey: string;

declare const data: { first_name: string };
declare const rows: { first_name: string }[];
declare const winner: number;
declare const loser: number;

declare function showMessage(text: string): void;
declare function sendMessage(to: string, options: { signal: AbortSignal }): Promise<void>;
declare function dial(number: string): Promise<void>;
declare const phone: string;
declare function showWaiting(untilTime: number): void;
declare function notifyThatItTakesLonger(untilTime: number): void;
