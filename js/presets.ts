import type { ServiceLimits } from "./types.ts";

const SECOND_MS = 1_000;
const MINUTE_MS = 60 * SECOND_MS;
const HOUR_MS = 60 * MINUTE_MS;
const DAY_MS = 24 * HOUR_MS;

/** A session of one mode: so many calls an hour for the agent, and so many a day for the session. */
const dialing = (callsPerHour: number) => [
  { maxRequests: callsPerHour, windowMs: HOUR_MS, per: "agent" },
  { maxRequests: 800, windowMs: DAY_MS, per: "session" },
];

/** Capacity in the sizes of production, stage and dev. */
const lines = (share: number) => ({
  concurrency: 10_000 * share,
  concurrencyPerKey: 100 * share,
  concurrencyPerOperation: { call: 200 * share },
  leaseMs: 10 * MINUTE_MS,
});

/**
 * Limits to begin with: each says where its numbers come from. They are frozen; `{ ...presets.twilio, concurrency: 5 }`
 * makes another one. Limits are the account's and change: where yours differ, yours count.
 */
export const presets = /* @__PURE__ */ frozen({
  /**
   * Auth of hosted Supabase, which counts by IP address: everybody behind one router shares it. The numbers are the
   * defaults of Supabase Auth: a bucket of 30 for each endpoint, refilled at the documented rate, so no window here lets
   * more than 30 go at once. `otp` is for magic links, sign-up and recovery too; `resend` is the minute between two
   * e-mails to one address, which is the `limitKey`. The built-in mail server sends far fewer than `email`: 2 to 4 an hour.
   *
   * There is no number for the data API, because Supabase publishes none: every other operation counts under `default`,
   * which has no window.
   */
  supabase: {
    rateLimit: {
      token_refresh: [
        { maxRequests: 150, windowMs: 5 * MINUTE_MS },
        { maxRequests: 30, windowMs: MINUTE_MS },
      ],
      verify: { maxRequests: 30, windowMs: 5 * MINUTE_MS },
      otp: { maxRequests: 30, windowMs: 5 * MINUTE_MS },
      anonymous: { maxRequests: 30, windowMs: HOUR_MS },
      mfa: { maxRequests: 15, windowMs: MINUTE_MS },
      sso: { maxRequests: 30, windowMs: 5 * MINUTE_MS },
      saml: { maxRequests: 15, windowMs: 5 * MINUTE_MS },
      email: { maxRequests: 30, windowMs: HOUR_MS },
      sms: { maxRequests: 30, windowMs: HOUR_MS },
      resend: { maxRequests: 1, windowMs: MINUTE_MS, per: "address" },
      default: [],
    },
  },

  /**
   * One account and one long-code number. Documented by Twilio: one outgoing call a second for an account, and one message
   * segment a second for a long-code number. Twilio shows the limits of TaskRouter in its console, an endpoint at a time,
   * and limits how many requests are under way at a time by account: 100 a second for `taskrouter` and for everything else,
   * and 10 at once, are defaults of this project.
   */
  twilio: {
    concurrency: 10,
    rateLimit: {
      voice: { maxRequests: 1, windowMs: SECOND_MS },
      sms: { maxRequests: 1, windowMs: SECOND_MS },
      taskrouter: { maxRequests: 100, windowMs: SECOND_MS },
      default: { maxRequests: 100, windowMs: SECOND_MS },
    },
  },

  /**
   * Quickbase documents that an application generally allows 10 to 15 requests a second; that is `queries`. The lower
   * numbers for `records` and `reports`, which cost the server more, and 5 at once are defaults of this project.
   */
  quickbase: {
    concurrency: 5,
    rateLimit: {
      queries: { maxRequests: 10, windowMs: SECOND_MS },
      records: { maxRequests: 5, windowMs: SECOND_MS },
      reports: { maxRequests: 2, windowMs: SECOND_MS },
    },
  },

  /** A database behind a small connection pool. Defaults of this project: a pool has no such number of its own. */
  database: {
    concurrency: 20,
    rateLimit: { default: { maxRequests: 100, windowMs: SECOND_MS } },
  },

  /**
   * A dialer: `limitKey: { user }` for requests, `limitKey: { agent, session }` for the calls. `call` is for one that was
   * dialled by hand; `power`, `preview` and `predictive` are the modes of a session, each counted for itself. Starts of one
   * key are 2 s apart and a call may take 30 s to be set up. All of these are defaults of this project: they keep an agent
   * at a human rate, and no vendor states them.
   */
  powerDialer: {
    rateLimit: {
      default: [
        { maxRequests: 60, windowMs: MINUTE_MS, per: "user" },
        { maxRequests: 500, windowMs: HOUR_MS, per: "user" },
      ],
      call: /* @__PURE__ */ dialing(100),
      power: /* @__PURE__ */ dialing(100),
      preview: /* @__PURE__ */ dialing(40),
      predictive: /* @__PURE__ */ dialing(150),
    },
    minIntervalMs: 2 * SECOND_MS,
    attemptTimeoutMs: 30 * SECOND_MS,
  },

  /**
   * Options of `Slots` for the sessions of a dialer, a tenant being the group: 5 at a time, each for 8 hours, and the sixth
   * is refused. A session that is paused keeps its lease. Defaults of this project. It is no service of a registry, and not
   * enumerable: `new RateLimiterRegistry(presets)` has a service for each of the others.
   */
  powerDialerSessions: { perGroup: 5, leaseMs: 8 * HOUR_MS, onLimit: "reject" },

  /**
   * Calls in progress, the campaign being the `limitKey`: 10,000 in all and 100 of a campaign. `call` has a guard: 200 in
   * flight from this one process, whatever the rest allows. A call that is not given back frees its place after 600 s.
   * Defaults of this project.
   */
  telephony: /* @__PURE__ */ lines(1),

  /** `telephony` for a stage environment. The numbers are this project's: a tenth. */
  telephonyStage: /* @__PURE__ */ lines(1 / 10),

  /** `telephony` for a developer's machine. The numbers are this project's: a hundredth. */
  telephonyDev: /* @__PURE__ */ lines(1 / 100),

  /**
   * A polite reader of pages, the host being the `limitKey`: a second between two starts, 5 at a time, 100 in line.
   * Defaults of this project: a site's `Crawl-delay` counts for more, and so does its 429.
   */
  webScraper: { minIntervalMs: SECOND_MS, concurrency: 5, maxQueue: 100 },
} satisfies Record<string, ServiceLimits | { perGroup: number; leaseMs: number; onLimit: "reject" }>);

export type PresetService =
  | "supabase"
  | "twilio"
  | "quickbase"
  | "database"
  | "powerDialer"
  | "telephony"
  | "webScraper";

/** The services that the shared registry and `registryFromEnv` begin with. */
export function presetServices(): Record<PresetService, ServiceLimits> {
  const { supabase, twilio, quickbase, database, powerDialer, telephony, webScraper } = presets;
  return { supabase, twilio, quickbase, database, powerDialer, telephony, webScraper };
}

function frozen<T extends { powerDialerSessions: object }>(all: T): T {
  for (const preset of Object.values(all)) deepFrozen(preset);
  Object.defineProperty(all, "powerDialerSessions", { enumerable: false });
  return Object.freeze(all);
}

function deepFrozen(value: object): void {
  for (const part of Object.values(value)) if (typeof part === "object") deepFrozen(part);
  Object.freeze(value);
}
