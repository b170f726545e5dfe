import { describe, expect, it } from "vitest";
import { ServicePlan } from "../../js/plan.ts";
import { presetServices, presets } from "../../js/presets.ts";
import { RateLimiterRegistry } from "../../js/registry.ts";
import { ManualHost } from "../../js/testing.ts";
import { ended } from "./support/service.ts";

const MINUTE = 60_000;
const HOUR = 3_600_000;
const DAY = 86_400_000;

const SERVICES = ["supabase", "twilio", "quickbase", "database", "powerDialer", "telephony", "webScraper"];

describe("the presets", () => {
  it("are the services of the shared registry, and telephony in two other sizes", () => {
    expect(Object.keys(presetServices())).toEqual(SERVICES);
    expect(Object.keys(presets).sort()).toEqual([...SERVICES, "telephonyStage", "telephonyDev"].sort());
  });

  it("make a registry as they are", () => {
    const registry = new RateLimiterRegistry(presets);
    expect(registry.services()).toEqual(Object.keys(presets));
    expect(new RateLimiterRegistry({ ...presets }).services()).toEqual(Object.keys(presets));
  });

  it.each([...SERVICES, "telephonyStage", "telephonyDev"])("%s is legal", (name) => {
    expect(() => ServicePlan.of(name, Reflect.get(presets, name), {})).not.toThrow();
  });

  it("are frozen to the last", () => {
    const check = (part: object): void => {
      expect(Object.isFrozen(part)).toBe(true);
      for (const inner of Object.values(part)) if (typeof inner === "object") check(inner);
    };
    check(presets);
    check(presets.powerDialerSessions);
  });

  const second = (maxRequests: number) => ({ maxRequests, windowMs: 1_000 });

  it("twilio: voice 1/s, sms 1/s, taskrouter and the rest 100/s, 10 at once", () => {
    expect(presets.twilio).toEqual({
      concurrency: 10,
      rateLimit: { voice: second(1), sms: second(1), taskrouter: second(100), default: second(100) },
    });
  });

  it("quickbase: queries 10/s, records 5/s, reports 2/s, 5 at once", () => {
    expect(presets.quickbase).toEqual({
      concurrency: 5,
      rateLimit: { queries: second(10), records: second(5), reports: second(2) },
    });
  });

  it("database: 100/s, 20 at once", () => {
    expect(presets.database).toEqual({ concurrency: 20, rateLimit: { default: second(100) } });
  });

  it("powerDialer: by user, agent and session, 2 s apart, 30 s a call", () => {
    const calls = (perHour: number) => [
      { maxRequests: perHour, windowMs: HOUR, per: "agent" },
      { maxRequests: 800, windowMs: DAY, per: "session" },
    ];
    expect(presets.powerDialer).toEqual({
      rateLimit: {
        default: [
          { maxRequests: 60, windowMs: MINUTE, per: "user" },
          { maxRequests: 500, windowMs: HOUR, per: "user" },
        ],
        call: calls(100),
        power: calls(100),
        preview: calls(40),
        predictive: calls(150),
      },
      minIntervalMs: 2_000,
      attemptTimeoutMs: 30_000,
    });
    expect(presets.powerDialerSessions).toEqual({ perGroup: 5, leaseMs: 8 * HOUR, onLimit: "reject" });
  });

  it.each([
    ["telephony", 10_000, 100, 200],
    ["telephonyStage", 1_000, 10, 20],
    ["telephonyDev", 100, 1, 2],
  ] as const)(
    "%s: %i in all, %i of a campaign, %i in this process, leases of 600 s",
    (name, all, key, call) => {
      expect(presets[name]).toEqual({
        concurrency: all,
        concurrencyPerKey: key,
        concurrencyPerOperation: { call },
        leaseMs: 600_000,
      });
    },
  );

  it("webScraper: 1 s apart, 5 at a time, 100 in line", () => {
    expect(presets.webScraper).toEqual({ minIntervalMs: 1_000, concurrency: 5, maxQueue: 100 });
  });

  it("supabase: what Auth documents, and no number for the data API", () => {
    const of = (maxRequests: number, windowMs: number) => ({ maxRequests, windowMs });
    expect(presets.supabase).toEqual({
      rateLimit: {
        token_refresh: [of(150, 5 * MINUTE), of(30, MINUTE)],
        verify: of(30, 5 * MINUTE),
        otp: of(30, 5 * MINUTE),
        anonymous: of(30, HOUR),
        mfa: of(15, MINUTE),
        sso: of(30, 5 * MINUTE),
        saml: of(15, 5 * MINUTE),
        email: of(30, HOUR),
        sms: of(30, HOUR),
        resend: { ...of(1, MINUTE), per: "address" },
        default: [],
      },
    });
  });
});

describe("in use", () => {
  async function startsOf(
    make: (registry: RateLimiterRegistry, noted: () => number) => void,
    forMs: number,
  ): Promise<number[]> {
    const host = new ManualHost();
    const began = host.now();
    const registry = new RateLimiterRegistry(presetServices(), { host });
    const starts: number[] = [];
    make(registry, () => {
      starts.push(host.now() - began);
      return host.now() - began;
    });
    await host.advance(forMs);
    return starts;
  }

  it("a page of a host is read each second, the first at once", async () => {
    const starts = await startsOf((registry, noted) => {
      for (let page = 0; page < 5; page++) void registry.withRateLimit("webScraper", "page", noted);
    }, 10_000);
    expect(starts).toEqual([0, 1_000, 2_000, 3_000, 4_000]);
  });

  it("a user's requests start 2 s apart; another user does not wait for him", async () => {
    const starts: Record<string, number[]> = { a: [], b: [] };
    await startsOf((registry, now) => {
      for (const user of ["a", "b"]) {
        for (let n = 0; n < 3; n++) {
          void registry.withRateLimit("powerDialer", "list", () => starts[user]?.push(now()), {
            limitKey: { user },
          });
        }
      }
    }, 20_000);
    expect(starts).toEqual({ a: [0, 2_000, 4_000], b: [0, 2_000, 4_000] });
  });

  it("an agent's hundredth call in an hour is the last, in whichever session", async () => {
    const host = new ManualHost();
    const registry = new RateLimiterRegistry(presetServices(), { host });
    registry.updateServiceLimits("powerDialer", { onLimit: "reject", minIntervalMs: 0 });
    let refused = 0;
    for (let n = 0; n < 120; n++) {
      const limitKey = { agent: "a", session: `s${n % 3}` };
      const end = await ended(registry.withRateLimit("powerDialer", "call", () => n, { limitKey }));
      if (end.error) refused++;
    }
    expect(refused).toBe(20);
  });

  it("hosted Auth's bucket of 30 never overflows, at any start of 5 minutes", async () => {
    const starts = await startsOf((registry, noted) => {
      for (let n = 0; n < 200; n++) void registry.withRateLimit("supabase", "token_refresh", noted);
    }, 10 * MINUTE);
    expect(starts).toHaveLength(200);
    let tokens = 30;
    let last = 0;
    for (const start of starts) {
      tokens = Math.min(30, tokens + ((start - last) * 150) / (5 * MINUTE)) - 1;
      last = start;
      expect(tokens).toBeGreaterThanOrEqual(-1e-9);
    }
  });

  it("the data API of Supabase waits for nothing", async () => {
    const starts = await startsOf((registry, noted) => {
      for (let n = 0; n < 500; n++) void registry.withRateLimit("supabase", "contacts", noted);
    }, 0);
    expect(starts).toHaveLength(500);
  });
});
