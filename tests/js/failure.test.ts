import { describe, expect, it } from "vitest";
import { Reason } from "../../js/codes.ts";
import { failure, NO_CORE } from "../../js/failure.ts";
import type { MessageInfo } from "../../js/types.ts";
import { type Answer, answerFor } from "../../js/waiters.ts";

const CIRCUMSTANCES = { attempts: 3, retries: 2, now: 1_000_000 };

describe("the error that ends a call", () => {
  it.each([
    [Reason.circuitOpen, "RATE_LIMIT_CIRCUIT_OPEN", /^Rate limit circuit breaker is open\. /],
    [Reason.circuitOpened, "RATE_LIMIT_CIRCUIT_OPEN", /^Rate limit circuit breaker opened\. /],
    [Reason.retryAfterTooLong, "RATE_LIMIT_RETRY_AFTER_TOO_LONG", /than maxRetryAfterMs allows\. /],
    [Reason.deadline, "RATE_LIMIT_DEADLINE_EXCEEDED", /by its deadline\. /],
    [Reason.budget, "RATE_LIMIT_BUDGET_EXHAUSTED", /budget is spent\. /],
    [Reason.quota, "RATE_LIMIT_QUOTA_EXHAUSTED", /quota is used up\. /],
    [Reason.keys, "RATE_LIMIT_QUOTA_EXHAUSTED", /Too many keys are in use\. /],
    [Reason.slots, "RATE_LIMIT_CONCURRENCY_EXCEEDED", /slots are taken\. /],
    [Reason.queueFull, "RATE_LIMIT_QUEUE_FULL", /line is full\. /],
    [NO_CORE, "RATE_LIMIT_CORE_UNAVAILABLE", /core is not there\. /],
    [Reason.maxRetries, "RATE_LIMIT_MAX_RETRIES_EXCEEDED", /persisted after 2 retries\. /],
  ])("of reason %d is %s, and its message says first what it was", (reason, code, said) => {
    const error = failure(answerFor(reason), CIRCUMSTANCES);
    expect(error.code).toBe(code);
    expect(error.message).toMatch(said);
    expect(error.message.endsWith(error.userMessage)).toBe(true);
    expect(error.userMessage).not.toBe("");
    expect(error.attempts).toBe(3);
  });

  it("names the window that is full, and none where an interval or the keys are in the way", () => {
    const full: Answer = { ...answerFor(Reason.quota, 400), limit: 60, windowMs: 60_000 };
    expect(failure(full, CIRCUMSTANCES).limit).toEqual({ maxRequests: 60, windowMs: 60_000 });
    expect(failure(full, CIRCUMSTANCES).userMessage).toContain("60 per minute");
    const interval: Answer = { ...full, limit: 0, windowMs: 0 };
    expect(failure(interval, CIRCUMSTANCES).limit).toBeUndefined();
    expect(failure(interval, CIRCUMSTANCES).userMessage).not.toContain("per");
  });

  it("tells when to come back only where that is known, a delay of nothing included", () => {
    expect(failure(answerFor(Reason.quota), CIRCUMSTANCES).retryAfterMs).toBeUndefined();
    expect(failure(answerFor(Reason.quota, 0), CIRCUMSTANCES).retryAfterMs).toBe(0);
    expect(failure(answerFor(Reason.quota, 250), CIRCUMSTANCES).retryAfterMs).toBe(250);
  });

  it("asks for other words with all that is known, and takes its own where there are none", () => {
    const seen: [string, MessageInfo][] = [];
    const named = { ...CIRCUMSTANCES, resourceName: "contacts", operation: "update" };
    const full: Answer = { ...answerFor(Reason.quota, 400), limit: 5, windowMs: 2_000 };
    const translated = failure(full, named, (code, info) => {
      seen.push([code, info]);
      return "Zu viel.";
    });
    expect(seen).toEqual([
      [
        "RATE_LIMIT_QUOTA_EXHAUSTED",
        {
          ...{ retryAfterMs: 400, retryTime: 1_000_400, resourceName: "contacts", operation: "update" },
          ...{ limit: { maxRequests: 5, windowMs: 2_000 }, window: "2 seconds" },
        },
      ],
    ]);
    expect(translated.userMessage).toBe("Zu viel.");
    expect(translated.message).toBe("The quota is used up. Zu viel.");
    expect(failure(full, named, () => undefined).userMessage).toBe(failure(full, named).userMessage);
    expect(failure(full, named, () => "").userMessage).toBe("");
  });

  it("knows no time of return where nobody knows one", () => {
    let known: MessageInfo | undefined;
    failure(answerFor(Reason.circuitOpen), CIRCUMSTANCES, (_, info) => {
      known = info;
      return undefined;
    });
    expect(known).toMatchObject({ retryAfterMs: undefined, retryTime: undefined });
    expect(known).not.toHaveProperty("limit");
    expect(known).not.toHaveProperty("window");
  });
});
