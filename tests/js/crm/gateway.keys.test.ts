import { afterEach, describe, expect, it, vi } from "vitest";
import { createGateway, type GatewayOptions } from "../../../examples/crm/server/gateway.mjs";
import {
  both,
  concurrencyCap,
  type Limiter,
  minimumInterval,
  perKey,
  slidingLog,
} from "../../../examples/crm/server/limiters.mjs";
import { startStandIn } from "../../../examples/crm/server/stand-in.mjs";

/** What each arrival is told: null goes through, a number is a wait. */
function tell(limiter: Limiter, arrivals: [number, string][]) {
  return arrivals.map(([now, key]) => limiter.admit(now, { write: true, key }));
}

describe("minimum interval", () => {
  const rule = { intervalMs: 1000, blockMs: 5000 };

  it("blocks for its time, whatever is sent meanwhile", () => {
    const limiter = minimumInterval(rule);
    const times = [0, 1000, 1999, 3000, 6998, 6999, 7999];
    const told = times.map((now) => limiter.admit(now, { write: false }));
    expect(told).toEqual([null, null, 5000, 3999, 1, null, null]);
  });

  it("costs an interval for each request after the first", () => {
    const { leastMs } = minimumInterval(rule);
    expect([0, 1, 6].map((requests) => leastMs({ requests, writes: 0 }))).toEqual([0, 0, 5000]);
  });
});

describe("a rule per key", () => {
  it("gives each its own", () => {
    const limiter = perKey("agent", () => slidingLog({ limit: 1, windowMs: 1000 }));
    const arrivals: [number, string][] = [
      [0, "ann"],
      [0, "bob"],
      [1, "ann"],
      [500, "bob"],
      [1000, "ann"],
    ];
    expect(tell(limiter, arrivals)).toEqual([null, null, 999, 500, null]);
    expect(limiter.rule).toBe("1 request in any 1 s for each agent");
  });

  it("costs what the busiest key must take at least", () => {
    const limiter = perKey("agent", () => slidingLog({ limit: 10, windowMs: 1000 }));
    const least = () => limiter.leastMs({ requests: 60, writes: 60 });
    expect(least()).toBe(5000);
    tell(limiter, [
      [0, "ann"],
      [0, "bob"],
    ]);
    expect(least()).toBe(2000);
  });

  it("lets each leave its own", () => {
    const limiter = perKey("campaign", () => concurrencyCap({ limit: 1 }));
    const arrivals: [number, string][] = [
      [0, "spring"],
      [0, "autumn"],
    ];
    expect(tell(limiter, arrivals)).toEqual([null, null]);
    limiter.leave?.({ write: true, key: "spring" });
    expect(tell(limiter, arrivals)).toEqual([null, 1000]);
  });
});

describe("two rules", () => {
  it("must both be kept, and what the second refuses costs nothing with the first", () => {
    const total = slidingLog({ limit: 3, windowMs: 10_000 });
    const limiter = both(
      total,
      perKey("agent", () => slidingLog({ limit: 1, windowMs: 1000 })),
    );
    const arrivals: [number, string][] = [
      [0, "ann"],
      [1, "ann"],
      [2, "ann"],
      [3, "bob"],
      [4, "cid"],
      [5, "dot"],
    ];
    expect(tell(limiter, arrivals)).toEqual([null, 999, 998, null, null, 9995]);
    expect(limiter.leastMs({ requests: 4, writes: 4 })).toBe(10_000);
  });

  it("are left together", () => {
    const limiter = both(
      concurrencyCap({ limit: 2 }),
      perKey("campaign", () => concurrencyCap({ limit: 1 })),
    );
    const [spring, autumn, winter] = ["spring", "autumn", "winter"].map((key) => ({ write: true, key }));
    const admit = (arrival = spring) => limiter.admit(0, arrival as never);
    expect([admit(spring), admit(spring), admit(autumn), admit(winter)]).toEqual([null, 1000, null, 1000]);
    limiter.leave?.(spring as never);
    expect([admit(winter), admit(spring)]).toEqual([null, 1000]);
  });
});

describe("the modes that count apart", () => {
  /** A gateway on a clock of its own. */
  function gatewayWith(options: Partial<GatewayOptions>) {
    const clock = { now: 0 };
    const upstream = vi.fn(async (_: Request) => Response.json({ id: 1 }, { status: 201 }));
    const gateway = createGateway({ upstream, now: () => clock.now, ...options });
    const send = async (path: string, headers = {}) => {
      const response = await gateway.handle(
        new Request(`http://gateway${path}`, { method: "POST", headers }),
      );
      if (response === null) throw new Error("the gateway hung up");
      return response;
    };
    return { gateway, upstream, clock, send };
  }

  it("twilio: so many a second for each account and resource, refused in Twilio's words", async () => {
    const { send, clock, gateway } = gatewayWith({ mode: "twilio", limits: { rate: 2 } });
    const messages = "/2010-04-01/Accounts/AC1/Messages.json";
    const statuses: number[] = [];
    for (const path of [messages, messages, messages, messages.replace("AC1", "AC2")])
      statuses.push((await send(path)).status);
    expect(statuses).toEqual([201, 201, 429, 201]);
    expect((await send("/2010-04-01/Accounts/AC1/Calls.json")).status).toBe(201);

    const refused = await send(messages);
    expect(await refused.json()).toEqual({
      code: 20429,
      message: "Too Many Requests",
      more_info: "https://www.twilio.com/docs/errors/20429",
      status: 429,
    });
    expect(refused.headers.get("retry-after")).toBeNull();
    clock.now = 1000;
    expect((await send(messages)).status).toBe(201);
    expect(gateway.state().rule).toBe("2 requests in any 1 s for each account and resource");
  });

  it("per-agent: so many for each agent and for all together", async () => {
    const limits = { limit: 2, windowMs: 3_600_000, total: 3, totalWindowMs: 86_400_000 };
    const { send, clock } = gatewayWith({ mode: "per-agent", limits });
    const call = async (agent: string) => {
      const response = await send("/calls", { "x-agent": agent });
      return [response.status, response.headers.get("retry-after")];
    };
    expect(await call("ann")).toEqual([201, null]);
    expect(await call("ann")).toEqual([201, null]);
    expect(await call("ann")).toEqual([429, "3600"]);
    expect(await call("bob")).toEqual([201, null]);
    expect(await call("cid")).toEqual([429, "86400"]);
    clock.now = 86_400_000;
    expect(await call("ann")).toEqual([201, null]);
  });

  it("per-campaign: so many at once for each campaign and for all together", async () => {
    const { send, upstream } = gatewayWith({ mode: "per-campaign", limits: { limit: 1, total: 2 } });
    const ends: ((response: Response) => void)[] = [];
    upstream.mockImplementation(() => new Promise((resolve) => ends.push(resolve)));
    const call = (campaign: string) => send("/calls", { "x-campaign": campaign });
    const spring = call("spring");
    expect((await call("spring")).status).toBe(429);
    void call("autumn");
    expect((await call("winter")).status).toBe(429);
    ends[0]?.(new Response("ok"));
    expect((await spring).status).toBe(200);
    void call("winter");
    expect(upstream).toHaveBeenCalledTimes(3);
    expect((await call("spring")).status).toBe(429);
    for (const end of ends) end(new Response("ok"));
  });

  it("min-interval: shuts out who comes too soon", async () => {
    const { send, clock } = gatewayWith({ mode: "min-interval", limits: { windowMs: 500 } });
    const page = async (at: number) => {
      clock.now = at;
      const response = await send("/page");
      return [response.status, response.headers.get("retry-after")];
    };
    expect(await page(0)).toEqual([201, null]);
    expect(await page(500)).toEqual([201, null]);
    expect(await page(999)).toEqual([429, "5"]);
    expect(await page(5998)).toEqual([429, "1"]);
    expect(await page(5999)).toEqual([201, null]);
  });

  it.each([{ total: 0 }, { totalWindowMs: Number.NaN }])("refuse %j", (limits) => {
    expect(() => gatewayWith({ mode: "per-agent", limits })).toThrow(`${Object.keys(limits)[0]} must be`);
  });
});

describe("the API of the small examples", () => {
  const argument = process.argv[2];

  afterEach(() => {
    if (argument === undefined) process.argv.length = 2;
    else process.argv[2] = argument;
  });

  it("does as it is asked behind a gateway of its own", async () => {
    process.argv.length = 2;
    const api = await startStandIn({ mode: "fixed", limits: { limit: 1, windowMs: 60_000 } });
    try {
      const first = await fetch(`${api.url}/pages/1?lasts=1`);
      expect([first.status, await first.json()]).toEqual([201, { done: "/pages/1" }]);
      expect((await fetch(api.url)).status).toBe(429);
      expect(await api.counts()).toMatchObject({ requests: 2, admitted: 1, refused: { 429: 1 } });
    } finally {
      await api.close();
    }
    await expect(fetch(api.url)).rejects.toThrow(TypeError);
  });

  it("gives its rule to the gateway that the command line names, and leaves that open", async () => {
    const gateway = createGateway({ upstream: async () => new Response("ok"), control: true });
    const url = await gateway.listen();
    try {
      process.argv[2] = url;
      const api = await startStandIn({ mode: "twilio", limits: { rate: 3 } });
      expect(api.url).toBe(url);
      expect(gateway.state()).toMatchObject({ mode: "twilio", limits: { rate: 3 } });
      await api.close();
      expect((await fetch(url)).status).toBe(200);
    } finally {
      await gateway.close();
    }
  });

  it("passes on why a rule makes no sense, and is gone", async () => {
    process.argv.length = 2;
    await expect(startStandIn({ mode: "twilio", limits: { rate: -1 } })).rejects.toThrow("rate must be");
  });
});
