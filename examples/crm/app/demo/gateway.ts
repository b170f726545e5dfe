/** The demo's gateway as the page sees it; server/gateway.mjs says what each setting does. */
export interface GatewayState extends GatewaySettings {
  counts: {
    requests: number;
    admitted: number;
    /** Refusals by HTTP status. */
    refused: Record<string, number>;
  };
  /** The limit that is in force, in words. */
  rule: string;
}

export interface GatewaySettings {
  mode: string;
  limits: Record<string, number>;
  faults: Record<string, number>;
  exposeHeaders: boolean;
  corsOnRefusals: boolean;
}

export type GatewayChanges = Partial<GatewaySettings> & { reset?: boolean };

export async function readGateway(url: string): Promise<GatewayState> {
  return answer(await fetch(url));
}

/** @throws Error with the gateway's reason when it refuses the settings; nothing has changed then. */
export async function changeGateway(url: string, changes: GatewayChanges): Promise<GatewayState> {
  return answer(await fetch(url, { method: "POST", body: JSON.stringify(changes) }));
}

async function answer(response: Response): Promise<GatewayState> {
  const body = await response.json();
  if (!response.ok) throw new Error(body.message);
  return body;
}

export function refusals({ counts }: GatewayState): number {
  return Object.values(counts.refused).reduce((sum, times) => sum + times, 0);
}

/** A way for the server to behave that a visitor may want to see. */
export interface Mood {
  id: string;
  label: string;
  explanation: string;
  settings: Partial<GatewaySettings> & Pick<GatewaySettings, "mode">;
}

export const moods: Mood[] = [
  {
    id: "roomy",
    label: "Roomy",
    explanation: "500 requests a second: no limit that this page could meet.",
    settings: { mode: "bucket", limits: { rate: 500, burst: 500 } },
  },
  {
    id: "bucket",
    label: "Token bucket",
    explanation: "20 requests a second, 20 at once, 429 with Retry-After. The usual API gateway.",
    settings: { mode: "bucket", limits: {} },
  },
  {
    id: "narrow",
    label: "Narrow",
    explanation: "5 requests a second.",
    settings: { mode: "bucket", limits: { rate: 5, burst: 5 } },
  },
  {
    id: "storm",
    label: "Storm",
    explanation: "One request every 10 seconds; everybody else is refused.",
    settings: { mode: "sliding", limits: { limit: 1, windowMs: 10_000 } },
  },
  {
    id: "concurrency",
    label: "Few at once",
    explanation: "At most 3 requests at a time.",
    settings: { mode: "concurrency", limits: { limit: 3 } },
  },
  {
    id: "cloudflare",
    label: "Cloudflare 1015",
    explanation: "100 requests in 10 seconds, then a block of 10 seconds with an HTML page.",
    settings: { mode: "cloudflare", limits: { limit: 100, windowMs: 10_000, retryAfterSeconds: 10 } },
  },
  {
    id: "supabase-420",
    label: "Supabase guide, 420",
    explanation: "100 writes in 20 seconds (5 minutes in the guide), status 420, no hint when to come back.",
    settings: { mode: "supabase-420", limits: { limit: 100, windowMs: 20_000 } },
  },
];

/** Which mood the gateway is in, if it is one of those above. */
export function moodOf(state: GatewayState): Mood | undefined {
  return moods.find(
    ({ settings }) =>
      settings.mode === state.mode && JSON.stringify(settings.limits) === JSON.stringify(state.limits),
  );
}
