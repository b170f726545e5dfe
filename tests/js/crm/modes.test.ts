import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { generatePeople } from "../../../examples/crm/csv/people.mjs";
import { keyOf } from "../../../examples/crm/import/contact.mjs";
import { createGateway, type GatewayOptions } from "../../../examples/crm/server/gateway.mjs";
import { FakeServer, httpError, imported } from "./support.ts";

/** The importer and the gateway, in virtual time: what the headless demo does with a real Postgres. */
beforeEach(() => {
  vi.useFakeTimers({ now: new Date("2026-01-05T14:00:00") });
});

afterEach(() => {
  vi.useRealTimers();
});

const { rows } = generatePeople({ rows: 120 });
const corrected = generatePeople({ rows: 120, corrected: true }).rows;
const everybody = new Set(rows.map(keyOf)).size;

/** A data provider whose requests go through the gateway, as ra-supabase's do: statuses without headers. */
function behind(options: Partial<GatewayOptions>) {
  const server = new FakeServer();
  server.latencyMs = 5;
  const direct = server.dataProvider;
  const gateway = createGateway({
    upstream: async (request) => answer(await request.json()),
    sleep: (ms) => new Promise((resolve) => setTimeout(resolve, ms)),
    ...options,
  });

  async function answer({
    method,
    resource,
    params,
  }: {
    method: "create" | "getList";
    resource: string;
    params: object;
  }) {
    try {
      return Response.json(await direct[method](resource, params));
    } catch (error) {
      const { status, body } = error as { status: number; body: object };
      return Response.json(body, { status });
    }
  }

  async function send(method: "create" | "getList", resource: string, params: object) {
    const request = new Request("http://gateway/", {
      method: "POST",
      body: JSON.stringify({ method, resource, params }),
    });
    const response = await gateway.handle(request);
    if (response === null) throw new TypeError("fetch failed");
    const body = await response.json().catch(() => null);
    if (!response.ok) throw httpError(response.status, body, body?.message ?? "");
    return body;
  }

  const dataProvider = {
    create: (resource: string, params: object) => send("create", resource, params),
    getList: (resource: string, params: object) => send("getList", resource, params),
    // biome-ignore lint/suspicious/noExplicitAny: the rest of a data provider is not used
  } as any;
  const upload = (file: typeof rows) => {
    gateway.resetCounters();
    return imported({ dataProvider, supabase: server.supabase }, file);
  };
  return { server, gateway, upload };
}

describe.each<[string, Partial<GatewayOptions>]>([
  ["bucket", {}],
  ["fixed", { mode: "fixed" }],
  ["sliding", { mode: "sliding", limits: { limit: 30, windowMs: 3000 } }],
  ["concurrency", { mode: "concurrency", limits: { limit: 2 } }],
  ["cloudflare", { mode: "cloudflare", limits: { limit: 40, windowMs: 5000 } }],
  ["supabase-420", { mode: "supabase-420", limits: { limit: 50, windowMs: 10_000 } }],
  [
    "everything breaks at times",
    { faults: { unavailable: 0.05, dropBefore: 0.03, dropAfter: 0.05, slow: 0.1 } },
  ],
])("behind a gateway: %s", { timeout: 30_000 }, (_, options) => {
  it("everybody is imported once, and nobody again with the same or a corrected file", async () => {
    const { server, upload } = behind(options);
    const first = await upload(rows);
    expect(first).toMatchObject({
      imported: everybody,
      duplicate: 120 - everybody,
      failed: 0,
      unknown: 0,
      skipped: 0,
    });
    for (const file of [rows, corrected]) {
      const again = await upload(file);
      expect(again.imported + again.duplicate).toBe(120);
      expect(again).toMatchObject({ failed: 0, unknown: 0, skipped: 0 });
    }
    expect(server.contacts).toHaveLength(everybody);
    expect(new Set(server.companies.map(({ name }) => String(name).toUpperCase())).size).toBe(
      server.companies.length,
    );
    expect(new Set(server.tags.map(({ name }) => name)).size).toBe(server.tags.length);
  });

  it("neither storms nor takes for ever", async () => {
    const { gateway, upload } = behind(options);
    const { durationMs } = await upload(rows);
    const { leastMs, counts } = gateway.state();
    expect(durationMs).toBeGreaterThanOrEqual(leastMs);
    expect(durationMs).toBeLessThan(3 * leastMs + 60_000);
    const refused = Object.values(counts.refused).reduce((sum, times) => sum + times, 0);
    expect(refused).toBeLessThan(rows.length / 2);
  });
});
