import { afterEach, describe, expect, it, vi } from "vitest";
import { registryFromEnv } from "../../js/env.ts";
import { RateLimitConfigError } from "../../js/errors.ts";
import { presetServices, presets } from "../../js/presets.ts";
import type { RateLimiterRegistry } from "../../js/registry.ts";
import { ManualHost } from "../../js/testing.ts";
import { ended } from "./support/service.ts";

afterEach(() => {
  vi.unstubAllEnvs();
  vi.unstubAllGlobals();
});

const all = (registry: RateLimiterRegistry) =>
  Object.fromEntries(registry.services().map((name) => [name, registry.limits(name)]));

const DEFAULTS = all(registryFromEnv({}));

describe("without variables", () => {
  it("the registry has the presets", () => {
    expect(Object.keys(DEFAULTS)).toEqual(Object.keys(presetServices()));
    expect(DEFAULTS.twilio).toMatchObject(presets.twilio);
    expect(DEFAULTS.telephony).toMatchObject(presets.telephony);
  });

  it("an empty one is not set, and neither is a blank one", () => {
    const names = ["RATE_LIMIT_ENABLED", "DEFAULT_CONCURRENCY_LIMIT", "TWILIO_CONCURRENCY_LIMIT"];
    const telephony = ["TELEPHONY_SEMAPHORE_TTL_SEC", "MAX_CONCURRENT_CALLS", "DEFAULT_RATE_LIMIT_WINDOW"];
    for (const value of ["", "  ", undefined]) {
      const env = Object.fromEntries([...names, ...telephony].map((name) => [name, value]));
      expect(all(registryFromEnv(env))).toEqual(DEFAULTS);
    }
  });

  it("those of others are left alone", () => {
    const env = { REDIS_CONCURRENCY_LIMIT: "many", PATH: "/bin", _CONCURRENCY_LIMIT: "x", NODE_ENV: "test" };
    expect(all(registryFromEnv(env))).toEqual(DEFAULTS);
  });
});

describe("variables", () => {
  it.each<[Record<string, string>, string, object]>([
    [{ TWILIO_CONCURRENCY_LIMIT: "3" }, "twilio", { concurrency: 3 }],
    [{ TWILIO_CONCURRENCY_LIMIT: " 007 " }, "twilio", { concurrency: 7 }],
    [{ POWER_DIALER_CONCURRENCY_LIMIT: "3" }, "powerDialer", { concurrency: 3 }],
    [{ POWERDIALER_CONCURRENCY_LIMIT: "4" }, "powerDialer", { concurrency: 4 }],
    [
      { POWERDIALER_CONCURRENCY_LIMIT: "4", POWER_DIALER_CONCURRENCY_LIMIT: "3" },
      "powerDialer",
      { concurrency: 3 },
    ],
    [{ WEB_SCRAPER_CONCURRENCY_LIMIT: "2" }, "webScraper", { concurrency: 2 }],
    [
      { DATABASE_RATE_LIMIT_WINDOW: "500" },
      "database",
      { rateLimit: { default: { maxRequests: 100, windowMs: 500 } } },
    ],
    [{ TELEPHONY_CONCURRENCY_LIMIT: "5" }, "telephony", { concurrency: 5 }],
    [{ TELEPHONY_GLOBAL_MAX_CONCURRENCY: "5000" }, "telephony", { concurrency: 5_000 }],
    [
      { TELEPHONY_GLOBAL_MAX_CONCURRENCY: "5000", TELEPHONY_CONCURRENCY_LIMIT: "5" },
      "telephony",
      { concurrency: 5_000 },
    ],
    [{ TELEPHONY_PER_CAMPAIGN_MAX_CONCURRENCY: "50" }, "telephony", { concurrencyPerKey: 50 }],
    [{ TELEPHONY_SEMAPHORE_TTL_SEC: "60" }, "telephony", { leaseMs: 60_000 }],
    [{ MAX_CONCURRENT_CALLS: "20" }, "telephony", { concurrencyPerOperation: { call: 20 } }],
  ])("%o set %s to %o, and nothing else", (env, service, expected) => {
    const limits = all(registryFromEnv(env));
    expect(limits[service]).toMatchObject(expected);
    expect(limits).toEqual({ ...DEFAULTS, [service]: { ...DEFAULTS[service], ...expected } });
  });

  it("DEFAULT_CONCURRENCY_LIMIT is for each service that has none of its own", () => {
    const limits = all(registryFromEnv({ DEFAULT_CONCURRENCY_LIMIT: "7", TWILIO_CONCURRENCY_LIMIT: "3" }));
    for (const [name, { concurrency }] of Object.entries(limits)) {
      expect([name, concurrency]).toEqual([name, name === "twilio" ? 3 : 7]);
    }
  });

  it("DEFAULT_RATE_LIMIT_WINDOW is for operations with one window, of services that have none of their own", () => {
    const env = { DEFAULT_RATE_LIMIT_WINDOW: "2500", QUICKBASE_RATE_LIMIT_WINDOW: "1500" };
    const limits = all(registryFromEnv(env));
    const windowOf = (service: string, operation: string) => limits[service]?.rateLimit?.[operation];
    expect(windowOf("twilio", "voice")).toEqual({ maxRequests: 1, windowMs: 2_500 });
    expect(windowOf("twilio", "default")).toEqual({ maxRequests: 100, windowMs: 2_500 });
    expect(windowOf("quickbase", "reports")).toEqual({ maxRequests: 2, windowMs: 1_500 });
    expect(windowOf("supabase", "resend")).toEqual({ maxRequests: 1, windowMs: 2_500, per: "address" });
    expect(windowOf("supabase", "default")).toEqual([]);
    expect(windowOf("supabase", "token_refresh")).toEqual(presets.supabase.rateLimit.token_refresh);
    expect(limits.powerDialer).toEqual(DEFAULTS.powerDialer);
    expect(limits.webScraper).toEqual(DEFAULTS.webScraper);
  });

  it("change the services that are given instead of the presets", () => {
    const services = {
      "my-crm": { concurrency: 1, rateLimit: { a: [{ maxRequests: 1, windowMs: 1 }] } },
      HTTPApi2B: {},
    };
    const env = { MY_CRM_CONCURRENCY_LIMIT: "4", MY_CRM_RATE_LIMIT_WINDOW: "9", MAX_CONCURRENT_CALLS: "2" };
    const limits = all(registryFromEnv({ ...env, HTTPAPI2_B_CONCURRENCY_LIMIT: "8" }, { services }));
    expect(Object.keys(limits)).toEqual(["my-crm", "HTTPApi2B"]);
    expect(limits["my-crm"]).toMatchObject({
      concurrency: 4,
      rateLimit: { a: { maxRequests: 1, windowMs: 9 } },
    });
    expect(limits.HTTPApi2B?.concurrency).toBe(8);
    expect(services["my-crm"].concurrency).toBe(1);
  });
});

describe("a value that is no positive integer in its range", () => {
  const names = [
    "DEFAULT_CONCURRENCY_LIMIT",
    "DEFAULT_RATE_LIMIT_WINDOW",
    "TWILIO_CONCURRENCY_LIMIT",
    "TWILIO_RATE_LIMIT_WINDOW",
    "WEBSCRAPER_RATE_LIMIT_WINDOW",
    "TELEPHONY_GLOBAL_MAX_CONCURRENCY",
    "TELEPHONY_PER_CAMPAIGN_MAX_CONCURRENCY",
    "TELEPHONY_SEMAPHORE_TTL_SEC",
    "MAX_CONCURRENT_CALLS",
  ];
  const values = [
    "0",
    "-1",
    "1.5",
    "5.0",
    "1e3",
    "0x10",
    "+5",
    "1_000",
    "ten",
    "NaN",
    "Infinity",
    "5 s",
    "99999999999999",
  ];
  const rows = names.flatMap((name) => values.map((value): [string, string] => [name, value]));

  it.each(rows)("%s=%s is an error that names the variable", (name, value) => {
    try {
      registryFromEnv({ [name]: value });
    } catch (error) {
      expect(error).toBeInstanceOf(RateLimitConfigError);
      expect(error).toMatchObject({ field: name, value });
      expect((error as RateLimitConfigError).expected).toContain("integer from 1");
      return;
    }
    throw new Error("nothing was thrown");
  });

  it("is an error also where another variable goes before it", () => {
    const env = { POWER_DIALER_CONCURRENCY_LIMIT: "3", POWERDIALER_CONCURRENCY_LIMIT: "x" };
    expect(() => registryFromEnv(env)).toThrow("POWERDIALER_CONCURRENCY_LIMIT");
  });
});

describe("RATE_LIMIT_ENABLED", () => {
  async function refusedOf(env: Record<string, string>, enabled?: boolean): Promise<number> {
    const host = new ManualHost();
    const registry = registryFromEnv(env, { host, ...(enabled !== undefined && { enabled }) });
    registry.updateServiceLimits("twilio", { onLimit: "reject" });
    const ends = await Promise.all(
      Array.from({ length: 5 }, () => ended(registry.withRateLimit("twilio", "voice", () => "said"))),
    );
    return ends.filter(({ error }) => error !== undefined).length;
  }

  it.each([
    [{ RATE_LIMIT_ENABLED: "true" }, undefined, 4],
    [{ RATE_LIMIT_ENABLED: "1" }, undefined, 4],
    [{}, undefined, 4],
    [{ RATE_LIMIT_ENABLED: "false" }, undefined, 0],
    [{ RATE_LIMIT_ENABLED: "0" }, undefined, 0],
    [{}, false, 0],
    [{ RATE_LIMIT_ENABLED: "true" }, false, 4],
    [{ RATE_LIMIT_ENABLED: "false" }, true, 0],
  ])("%o, with the option %o: %i of 5 refused", async (env, enabled, refused) => {
    expect(await refusedOf(env as Record<string, string>, enabled)).toBe(refused);
  });

  it.each(["yes", "TRUE", "2", "off"])("%s is an error", (value) => {
    expect(() => registryFromEnv({ RATE_LIMIT_ENABLED: value })).toThrow(
      expect.objectContaining({ field: "RATE_LIMIT_ENABLED", value }),
    );
  });
});

describe("what is no environment, and no options", () => {
  it.each<[string, () => unknown]>([
    ["env", () => registryFromEnv(null as never)],
    ["env", () => registryFromEnv("TWILIO_CONCURRENCY_LIMIT=5" as never)],
    ["options", () => registryFromEnv({}, null as never)],
    ["options.bogus", () => registryFromEnv({}, { bogus: 1 } as never)],
    ["services", () => registryFromEnv({}, { services: 5 as never })],
    ["services", () => registryFromEnv({}, { services: null as never })],
    ["services", () => registryFromEnv({}, { services: [presets.twilio] as never })],
    ["crm", () => registryFromEnv({}, { services: { crm: null as never } })],
    ["crm", () => registryFromEnv({}, { services: { crm: -1 as never } })],
    ["crm.rateLimit", () => registryFromEnv(WINDOW, { services: { crm: { rateLimit: 5 as never } } })],
    [
      "crm.rateLimit.a",
      () => registryFromEnv(WINDOW, { services: { crm: { rateLimit: { a: null as never } } } }),
    ],
    [
      "crm.rateLimit.a.maxRequests",
      () => registryFromEnv(WINDOW, { services: { crm: { rateLimit: { a: {} as never } } } }),
    ],
  ])("is an error of %s", (field, make) => {
    expect(make).toThrow(expect.objectContaining({ name: "RateLimitConfigError", field }));
  });
});

const WINDOW = { DEFAULT_RATE_LIMIT_WINDOW: "5" };

describe("the environment", () => {
  it("is that of the process when none is given", () => {
    vi.stubEnv("QUICKBASE_CONCURRENCY_LIMIT", "2");
    expect(registryFromEnv().limits("quickbase").concurrency).toBe(2);
    expect(registryFromEnv({}).limits("quickbase").concurrency).toBe(5);
  });

  it.each([undefined, {}, { env: undefined }])("is empty where process is %o", (process) => {
    vi.stubGlobal("process", process);
    expect(all(registryFromEnv())).toEqual(DEFAULTS);
  });

  it("is not asked for anything but the variables when it is given", () => {
    vi.stubGlobal("process", {
      get env() {
        throw new Error("touched");
      },
    }); // prettier-ignore
    expect(() => registryFromEnv({})).not.toThrow();
  });
});
