import { afterEach, describe, expect, it, vi } from "vitest";
import { createGateway, forwardTo, type GatewayOptions } from "../../../examples/crm/server/gateway.mjs";
import { MODE_NAMES } from "../../../examples/crm/server/modes.mjs";

const closing: (() => Promise<void>)[] = [];

afterEach(async () => {
  for (const close of closing.splice(0)) await close();
});

/** A gateway on a clock of its own in front of an API that says yes. */
function gatewayWith(options: Partial<GatewayOptions>) {
  const clock = { now: 0 };
  const upstream = vi.fn(async (_: Request) => Response.json({ id: 1 }, { status: 201 }));
  const sleep = vi.fn(async () => {});
  const gateway = createGateway({ upstream, now: () => clock.now, sleep, ...options });
  const send = (method = "POST", headers = {}) =>
    gateway.handle(new Request("http://gateway/rest/v1/contacts", { method, headers }));
  return { gateway, upstream, sleep, clock, send };
}

describe("refusals", () => {
  it("are 429 with whole seconds in Retry-After, and never reach the API", async () => {
    const { send, upstream, clock, gateway } = gatewayWith({ limits: { rate: 1, burst: 1 } });
    expect((await send())?.status).toBe(201);
    clock.now = 1;
    const response = await send();
    expect(response?.status).toBe(429);
    expect(response?.headers.get("retry-after")).toBe("1");
    expect(await response?.json()).toEqual({ message: "API rate limit exceeded" });
    expect(upstream).toHaveBeenCalledTimes(1);
    expect(gateway.state()).toMatchObject({
      counts: { requests: 2, admitted: 1, writes: 1, refused: { 429: 1 } },
    });
  });

  it("by Supabase's guide are 420, only for writes, without a code and without a hint", async () => {
    const { send } = gatewayWith({ mode: "supabase-420", limits: { limit: 1, windowMs: 300_000 } });
    await send();
    const response = await send();
    expect([response?.status, response?.statusText]).toEqual([420, "Enhance Your Calm"]);
    expect(response?.headers.get("retry-after")).toBeNull();
    expect(await response?.json()).toEqual({ message: "Rate limit exceeded, try again after a while" });
    expect((await send("GET"))?.status).toBe(201);
    expect((await send("HEAD"))?.status).toBe(201);
    expect((await send("PATCH"))?.status).toBe(420);
  });

  it.each([
    ["*/*", "text/html; charset=UTF-8", "You are being rate limited"],
    ["application/vnd.pgrst.object+json", "text/html; charset=UTF-8", "Error 1015"],
    ["text/plain", "text/plain; charset=UTF-8", "error code: 1015"],
    ["application/json", "application/problem+json", '"error_code":1015'],
    ["application/problem+json", "application/problem+json", '"retry_after":30'],
  ])("by Cloudflare suit Accept: %s", async (accept, type, text) => {
    const { send } = gatewayWith({ mode: "cloudflare", limits: { limit: 1 } });
    await send();
    const response = await send("POST", { accept });
    expect(response?.status).toBe(429);
    expect(response?.headers.get("content-type")).toBe(type);
    expect(response?.headers.get("retry-after")).toBe("30");
    expect(await response?.text()).toContain(text);
  });

  it("by Cloudflare last as long as the block, whatever Retry-After says", async () => {
    const limits = { limit: 1, windowMs: 1000, blockMs: 2000, retryAfterSeconds: 7 };
    const { send, clock } = gatewayWith({ mode: "cloudflare", limits });
    await send();
    expect((await send())?.headers.get("retry-after")).toBe("7");
    clock.now = 1999;
    expect((await send())?.status).toBe(429);
    clock.now = 2000;
    expect((await send())?.status).toBe(201);
  });

  it("by a concurrency cap end when a request does, also when the API fails", async () => {
    const { send, upstream } = gatewayWith({ mode: "concurrency", limits: { limit: 1 } });
    let fail = (_: Error) => {};
    upstream.mockReturnValueOnce(
      new Promise((_, reject) => {
        fail = reject;
      }),
    );
    const first = send();
    expect((await send())?.status).toBe(429);
    fail(new Error("gone"));
    await expect(first).rejects.toThrow("gone");
    expect((await send())?.status).toBe(201);
  });
});

describe("CORS", () => {
  it("answers preflights, counts none of them, and allows what was asked for", async () => {
    const { send, upstream, gateway } = gatewayWith({ limits: { rate: 1, burst: 1 } });
    for (let times = 0; times < 5; times += 1) {
      const response = await send("OPTIONS", { "access-control-request-headers": "apikey,prefer" });
      expect(response?.status).toBe(200);
      expect(response?.headers.get("access-control-allow-headers")).toBe("apikey,prefer");
    }
    expect(upstream).not.toHaveBeenCalled();
    expect(gateway.state().counts.requests).toBe(0);
  });

  it.each([
    [false, false],
    [true, true],
  ])(
    "hides Retry-After from pages unless told otherwise (exposeHeaders: %s)",
    async (exposeHeaders, listed) => {
      const { send } = gatewayWith({ exposeHeaders, limits: { rate: 1, burst: 1 } });
      for (const response of [await send(), await send()]) {
        const exposed = response?.headers.get("access-control-expose-headers") ?? "";
        expect(exposed).toContain("Content-Range");
        expect(exposed.includes("Retry-After")).toBe(listed);
        expect(response?.headers.get("access-control-allow-origin")).toBe("*");
      }
    },
  );

  it("leaves refusals unreadable when told so", async () => {
    const { send } = gatewayWith({ corsOnRefusals: false, mode: "cloudflare", limits: { limit: 1 } });
    expect((await send())?.headers.get("access-control-allow-origin")).toBe("*");
    expect((await send())?.headers.get("access-control-allow-origin")).toBeNull();
  });
});

describe("faults", () => {
  it.each([
    ["unavailable", 503, 0],
    ["dropBefore", undefined, 0],
    ["dropAfter", undefined, 1],
    ["slow", 201, 1],
  ] as const)("%s", async (fault, status, reached) => {
    const { send, upstream, sleep, gateway } = gatewayWith({ faults: { [fault]: 1, slowMs: 700 } });
    expect((await send())?.status).toBe(status);
    expect(upstream).toHaveBeenCalledTimes(reached);
    expect(sleep.mock.calls).toEqual(fault === "slow" ? [[700]] : []);
    expect(gateway.state().counts.faults).toEqual({ [fault]: 1 });
  });

  it("strike their share of requests, the same ones for the same seed", async () => {
    const strike = async (seed: number) => {
      const { send } = gatewayWith({ limits: { rate: 1e6 }, faults: { unavailable: 0.3, seed } });
      const statuses: (number | undefined)[] = [];
      for (let nth = 0; nth < 500; nth += 1) statuses.push((await send())?.status);
      return statuses;
    };
    const statuses = await strike(1);
    expect(statuses.filter((status) => status === 503).length).toBeGreaterThan(110);
    expect(statuses.filter((status) => status === 503).length).toBeLessThan(190);
    expect(await strike(1)).toEqual(statuses);
    expect(await strike(2)).not.toEqual(statuses);
  });
});

describe("counters and settings", () => {
  it("know the worst second and what the limit alone costs", async () => {
    const { send, clock, gateway } = gatewayWith({ limits: { rate: 2, burst: 2 } });
    for (clock.now of [0, 400, 800, 999, 2500]) await send();
    expect(gateway.state()).toMatchObject({ counts: { worstSecond: 4, admitted: 4 }, leastMs: 1000 });
    gateway.resetCounters();
    expect(gateway.state().counts).toEqual({
      requests: 0,
      admitted: 0,
      writes: 0,
      refused: {},
      faults: {},
      worstSecond: 0,
    });
  });

  it("change while it runs; another mode starts with its own limits, unspent", async () => {
    const { send, gateway } = gatewayWith({ limits: { rate: 1, burst: 1 } });
    await send();
    gateway.configure({ mode: "sliding", limits: { limit: 1, windowMs: 1000 } });
    expect((await send())?.status).toBe(201);
    expect((await send())?.status).toBe(429);
    gateway.configure({ mode: "bucket" });
    expect(gateway.state()).toMatchObject({ mode: "bucket", limits: {}, rule: "20 requests/s, burst 20" });
  });

  it.each([
    [{ mode: "foo" }, "mode must be one of"],
    [{ limits: { rate: 0 } }, "rate must be"],
    [{ limits: { limit: Number.NaN } }, "limit must be"],
    [{ limits: { windowMs: "1" } }, "windowMs must be"],
    [{ faults: { slow: 2 } }, "faults.slow must be"],
    [{ faults: { slow: 0.6, dropAfter: 0.6 } }, "add up to"],
    [{ color: "red" }, "no setting named color"],
  ])("refuse %j and stay as they are", (changes, message) => {
    const { gateway } = gatewayWith({});
    expect(() => gateway.configure(changes as never)).toThrow(message);
    expect(gateway.state()).toMatchObject({ mode: "bucket", limits: {}, faults: {} });
  });

  it.each(MODE_NAMES)("have defaults for %s", async (mode) => {
    const { send, gateway } = gatewayWith({ mode });
    expect((await send())?.status).toBe(201);
    expect(gateway.state().rule).toMatch(/\d/);
  });
});

describe("over HTTP", () => {
  /** An API on loopback behind a gateway on loopback. */
  async function serve(options: Partial<GatewayOptions> = {}) {
    const arrived: string[] = [];
    const api = createGateway({
      upstream: async (request) => {
        arrived.push(
          `${request.method} ${new URL(request.url).pathname}?${new URL(request.url).searchParams} ${await request.text()}`,
        );
        return Response.json({ id: 1 }, { status: 201, headers: { "content-range": "0-0/1" } });
      },
      limits: { rate: 1e6 },
    });
    const gateway = createGateway({ upstream: forwardTo(await api.listen()), control: true, ...options });
    const url = await gateway.listen();
    closing.push(gateway.close, api.close);
    return { url, arrived, api };
  }

  it("forwards method, path, query, body and answer", async () => {
    const { url, arrived } = await serve();
    const response = await fetch(`${url}/rest/v1/contacts?a=1`, { method: "POST", body: "ü🎉" });
    expect([response.status, response.headers.get("content-range")]).toEqual([201, "0-0/1"]);
    expect(await response.json()).toEqual({ id: 1 });
    expect(arrived).toEqual(["POST /rest/v1/contacts?a=1 ü🎉"]);
  });

  it.each(["dropBefore", "dropAfter"])("ends the connection without an answer (%s)", async (fault) => {
    const { url, arrived } = await serve({ faults: { [fault]: 1 } });
    await expect(fetch(url, { method: "POST", body: "x" })).rejects.toThrow(TypeError);
    expect(arrived).toHaveLength(fault === "dropAfter" ? 1 : 0);
  });

  it("answers 502 when nobody is behind it", async () => {
    const { url, api } = await serve();
    await api.close();
    expect((await fetch(url)).status).toBe(502);
  });

  it("is read and told at /__gateway, which counts for nothing", async () => {
    const { url } = await serve();
    const control = `${url}/__gateway`;
    const changes = { mode: "fixed", limits: { limit: 1, windowMs: 60_000 } };
    await fetch(control, { method: "POST", body: JSON.stringify(changes) });
    await fetch(url);
    await fetch(url);
    const state = await (await fetch(control)).json();
    expect(state).toMatchObject({ ...changes, counts: { requests: 2, refused: { 429: 1 } } });
    const reset = await fetch(control, { method: "POST", body: JSON.stringify({ reset: true }) });
    expect(await reset.json()).toMatchObject({ counts: { requests: 0 } });
    const wrong = await fetch(control, { method: "POST", body: '{"mode":"foo"}' });
    expect([wrong.status, (await wrong.json()).message]).toEqual([400, expect.stringContaining("foo")]);
  });

  it("frees its port, also with connections open, and twice does no harm", async () => {
    const gateway = createGateway({ upstream: async () => new Response("ok") });
    const url = await gateway.listen();
    await (await fetch(url)).text();
    await gateway.close();
    await gateway.close();
    await expect(fetch(url)).rejects.toThrow(TypeError);
  });
});
