import vm from "node:vm";
import { describe, expect, it, vi } from "vitest";
import { userMessage, windowInWords } from "../../js/errors.ts";
import {
  isRateLimitError,
  RateLimitConfigError,
  RateLimitError,
  type RateLimitService,
} from "../../js/index.ts";
import { HttpRateLimitError } from "../../js/react-admin.ts";
import * as supabase from "../../js/supabase.ts";
import type { RateLimitConfig } from "../../js/types.ts";
import { type Bench, bench, ended, freshPackage, refusal, rejection, script } from "./support/service.ts";

const TEXTS = {
  RATE_LIMIT_MAX_RETRIES_EXCEEDED: "The system is temporarily overloaded. Please try again in a few moments.",
  RATE_LIMIT_CIRCUIT_OPEN: "Too many requests. Please wait 1-2 minutes before trying again.",
  RATE_LIMIT_DEADLINE_EXCEEDED: "This is taking longer than expected. Please try again.",
  RATE_LIMIT_BUDGET_EXHAUSTED: "Many requests are failing at the moment. Please try again in a minute.",
};

const NAMES = { resourceName: "contacts", operation: "create" };

interface Row {
  config: Partial<RateLimitConfig>;
  /** Brings the service to where the call fails. */
  arrange?: (bench: Bench) => Promise<unknown> | unknown;
  /** What is done while the call waits. */
  meanwhile?: (service: RateLimitService) => void;
  context?: object;
  expected: object;
  /** Attempts really made. */
  attempts: number;
}

const rows: Record<string, Row> = {
  "still refused after the last retry": {
    config: { maxRetries: 2 },
    attempts: 3,
    expected: {
      code: "RATE_LIMIT_MAX_RETRIES_EXCEEDED",
      message: `Rate limit error persisted after 2 retries. ${TEXTS.RATE_LIMIT_MAX_RETRIES_EXCEEDED}`,
      userMessage: TEXTS.RATE_LIMIT_MAX_RETRIES_EXCEEDED,
    },
  },
  "no retries at all": {
    config: { maxRetries: 0 },
    attempts: 1,
    expected: {
      code: "RATE_LIMIT_MAX_RETRIES_EXCEEDED",
      message: `Rate limit error persisted after 0 retries. ${TEXTS.RATE_LIMIT_MAX_RETRIES_EXCEEDED}`,
    },
  },
  "the circuit is open": {
    config: { circuitBreakerThreshold: 1 },
    arrange: ({ service }) => rejection(service.executeWithRetry(script(refusal()))),
    attempts: 0,
    expected: {
      code: "RATE_LIMIT_CIRCUIT_OPEN",
      message: `Rate limit circuit breaker is open. ${TEXTS.RATE_LIMIT_CIRCUIT_OPEN}`,
      userMessage: TEXTS.RATE_LIMIT_CIRCUIT_OPEN,
      retryAfterMs: 60_000,
    },
  },
  "the circuit opens by this attempt": {
    config: { circuitBreakerThreshold: 2 },
    attempts: 2,
    expected: {
      code: "RATE_LIMIT_CIRCUIT_OPEN",
      message: `Rate limit circuit breaker opened. ${TEXTS.RATE_LIMIT_CIRCUIT_OPEN}`,
      retryAfterMs: 60_000,
    },
  },
  "the circuit opens while it waits for a retry": {
    config: {},
    meanwhile: (service) => service.isolateCircuit(),
    attempts: 1,
    expected: {
      code: "RATE_LIMIT_CIRCUIT_OPEN",
      message: `Rate limit circuit breaker is open. ${TEXTS.RATE_LIMIT_CIRCUIT_OPEN}`,
    },
  },
  "a retry does not fit in the deadline": {
    config: { callDeadlineMs: 250 },
    attempts: 2,
    expected: { code: "RATE_LIMIT_DEADLINE_EXCEEDED", userMessage: TEXTS.RATE_LIMIT_DEADLINE_EXCEEDED },
  },
  "the deadline passes while others go first": {
    config: {},
    context: { deadlineMs: 150 },
    // A hint for another call that lasts longer than this one's own backoff.
    meanwhile: (service) => void ended(service.executeWithRetry(script(refusal(5)), { priority: 9 })),
    attempts: 1,
    expected: { code: "RATE_LIMIT_DEADLINE_EXCEEDED" },
  },
  "the budget is spent": {
    config: { retryBudget: { ratio: 0, minPerSecond: 0.1, windowMs: 10_000 } },
    attempts: 2,
    expected: {
      code: "RATE_LIMIT_BUDGET_EXHAUSTED",
      userMessage: TEXTS.RATE_LIMIT_BUDGET_EXHAUSTED,
    },
  },
};

describe("the error of a call that ends because", () => {
  it.each(Object.entries(rows))(
    "%s",
    async (_, { config, arrange, meanwhile, context, expected, attempts }) => {
      const stage = bench(config);
      await arrange?.(stage);
      const cause = refusal();
      const operation = script(cause);
      const call = rejection(stage.service.executeWithRetry(operation, { ...NAMES, ...context }));
      await stage.host.advance(50);
      meanwhile?.(stage.service);
      await stage.host.advance(60_000);
      const error = (await call) as RateLimitError;
      expect(error).toBeInstanceOf(RateLimitError);
      expect(error).toMatchObject({ name: "RateLimitError", status: 429, ...NAMES, ...expected });
      expect(operation.times).toBe(attempts);
      expect(error.attempts).toBe(attempts);
      expect(error.originalError).toBe(attempts > 0 ? cause : undefined);
      expect(error.cause).toBe(error.originalError);
    },
  );

  it("the server asks for too long a wait, and it says until when, by the clock on the wall", async () => {
    const { service, host } = bench({ maxRetryAfterMs: 10_000 });
    const error = (await host.drive(
      rejection(service.executeWithRetry(script(refusal(90)))),
    )) as RateLimitError;
    const time = new Date(host.now() + 90_000).toLocaleTimeString(undefined, {
      hour: "2-digit",
      minute: "2-digit",
      second: "2-digit",
    });
    expect(error).toMatchObject({
      code: "RATE_LIMIT_RETRY_AFTER_TOO_LONG",
      userMessage: `The service asks to wait until ${time}.`,
      retryAfterMs: 90_000,
      attempts: 1,
    });
  });

  it("the server asks for a wait of days, and it says which day", async () => {
    const { service, host } = bench();
    const error = await host.drive(rejection(service.executeWithRetry(script(refusal(3 * 86_400)))));
    const day = new Date(host.now() + 3 * 86_400_000).toLocaleDateString();
    expect((error as RateLimitError).userMessage).toContain(day);
  });

  it("is logged as it is promised", async () => {
    const { service, host, log } = bench({ maxRetries: 2, logLevel: "warn" });
    await host.drive(rejection(service.executeWithRetry(script(refusal()))));
    expect(log.lines).toEqual([
      "warn: [RateLimit] Rate limit detected. Retrying in 100ms (attempt 1/2)",
      "warn: [RateLimit] Rate limit detected. Retrying in 200ms (attempt 2/2)",
      "error: [RateLimit] Max retries exceeded",
    ]);
  });

  it("the circuit opened is logged with the number of refusals", async () => {
    const { service, host, log } = bench({ maxRetries: 9, logLevel: "error" });
    await host.drive(rejection(service.executeWithRetry(script(refusal()))));
    expect(log.lines).toEqual(["error: [RateLimit] Circuit breaker opened after 5 consecutive failures"]);
  });
});

describe("messages", () => {
  it("translate the words for people", async () => {
    const messages = vi.fn((code: string) => `[${code}]`);
    const { service, host } = bench({ maxRetries: 0, messages });
    const error = await host.drive(rejection(service.executeWithRetry(script(refusal(7)), NAMES)));
    expect(error).toMatchObject({
      userMessage: "[RATE_LIMIT_MAX_RETRIES_EXCEEDED]",
      message: "Rate limit error persisted after 0 retries. [RATE_LIMIT_MAX_RETRIES_EXCEEDED]",
    });
    expect(messages).toHaveBeenCalledExactlyOnceWith("RATE_LIMIT_MAX_RETRIES_EXCEEDED", {
      retryAfterMs: 7_000,
      retryTime: host.now() + 7_000,
      ...NAMES,
    });
  });

  it.each([
    ["undefined", () => undefined],
    ["null", () => null],
    ["no string", () => 5],
    [
      "an exception",
      () => {
        throw new Error("boom");
      },
    ],
  ])("that are %s leave the English ones", async (_, messages) => {
    const { service, host } = bench({ maxRetries: 0, logLevel: "silent", messages: messages as never });
    const error = await host.drive(rejection(service.executeWithRetry(script(refusal()))));
    expect(error).toMatchObject({ userMessage: TEXTS.RATE_LIMIT_MAX_RETRIES_EXCEEDED });
  });
});

describe("HttpRateLimitError", () => {
  const details = {
    code: "RATE_LIMIT_CIRCUIT_OPEN",
    userMessage: "Please wait.",
    attempts: 2,
    ...NAMES,
    originalError: refusal(),
  } as const;
  const http = (retryAfterMs?: number): HttpRateLimitError =>
    new HttpRateLimitError(new RateLimitError({ ...details, summary: "For the log. ", retryAfterMs }));

  it("is the error of the call with the user message alone, and a body", () => {
    const error = http(0);
    expect(error).toBeInstanceOf(RateLimitError);
    expect(error).toMatchObject({ ...details, name: "RateLimitError", message: "Please wait.", status: 429 });
    expect(error.cause).toBe(details.originalError);
    expect(error.body).toStrictEqual({ code: details.code, retryAfterMs: 0 });
    expect(http().body).toStrictEqual({ code: details.code });
    const limit = { maxRequests: 2, windowMs: 1_000 };
    expect(new HttpRateLimitError(new RateLimitError({ ...details, summary: "", limit })).limit).toEqual(
      limit,
    );
  });

  it("is one class, whichever entry it comes from", () => {
    expect(supabase.HttpRateLimitError).toBe(HttpRateLimitError);
  });
});

describe("the words of a full quota", () => {
  const words = (windowMs: number | undefined, retryTime?: number): string =>
    userMessage("RATE_LIMIT_QUOTA_EXHAUSTED", {
      ...(windowMs !== undefined && {
        limit: { maxRequests: 60, windowMs },
        window: windowInWords(windowMs),
      }),
      retryTime,
    });

  it.each([
    [1_000, "second"],
    [60_000, "minute"],
    [3_600_000, "hour"],
    [86_400_000, "day"],
    [10_000, "10 seconds"],
    [300_000, "5 minutes"],
    [90_000, "90 seconds"],
    [172_800_000, "2 days"],
    [250, "250 ms"],
    [1, "1 ms"],
    [1_500, "1500 ms"],
  ])("%d ms are %s", (windowMs, window) => {
    expect(words(windowMs)).toBe(`The limit of 60 per ${window} is reached. Next one later.`);
  });

  it("tell the time of day, as the user's platform writes it", () => {
    const time = new Date(2026, 0, 1, 14, 5, 10);
    const written = time.toLocaleTimeString(undefined, {
      hour: "2-digit",
      minute: "2-digit",
      second: "2-digit",
    });
    expect(words(60_000, time.getTime())).toBe(
      `The limit of 60 per minute is reached. Next one at ${written}.`,
    );
  });

  it("leave out a window that there is not", () => {
    expect(words(undefined, 0)).toMatch(/^The limit is reached\. Next one at .+\.$/);
  });

  it("do not touch braces in other values", () => {
    const info = { limit: { maxRequests: 1, windowMs: 1 }, window: "{time} $& {n}" };
    expect(userMessage("RATE_LIMIT_QUOTA_EXHAUSTED", info)).toContain("per {time} $& {n} is");
  });
});

describe("isRateLimitError", () => {
  const details = { code: "RATE_LIMIT_CIRCUIT_OPEN", summary: "", userMessage: "x", attempts: 1 } as const;

  it("knows ours, those of another copy, of another realm, and those that were cloned", async () => {
    const error = new RateLimitError(details);
    const copy = await freshPackage();
    expect(copy.RateLimitError).not.toBe(RateLimitError);
    expect(isRateLimitError(error)).toBe(true);
    expect(copy.isRateLimitError(error)).toBe(true);
    expect(isRateLimitError(new copy.RateLimitError(details))).toBe(true);
    const foreign = vm.runInNewContext(
      "Object.assign(new Error('x'), { name: 'RateLimitError', code: 'RATE_LIMIT_CIRCUIT_OPEN' })",
    );
    expect(isRateLimitError(foreign)).toBe(true);
  });

  it.each([
    undefined,
    null,
    "RateLimitError",
    429,
    Symbol("RateLimitError"),
    {},
    new Error("x"),
    { name: "RateLimitError" },
    { name: "RateLimitError", code: "42" },
    { name: "RateLimitError", code: "toString" },
    { code: "RATE_LIMIT_CIRCUIT_OPEN" },
    new RateLimitConfigError("x", 1, "y"),
    Proxy.revocable({}, {}),
  ])("says no to %s", (value) => {
    expect(isRateLimitError(value)).toBe(false);
  });

  it("never throws", () => {
    const { proxy, revoke } = Proxy.revocable({}, {});
    revoke();
    expect(isRateLimitError(proxy)).toBe(false);
  });

  it("is the same after a structured clone, which keeps no name of ours, as the platform allows", () => {
    // The algorithm keeps neither our name nor our fields; a clone is an ordinary error and is not taken for ours.
    expect(isRateLimitError(structuredClone(new RateLimitError(details)))).toBe(false);
  });
});
