import { getEventListeners } from "node:events";
import { afterEach, describe, expect, it, vi } from "vitest";
import { RateLimitError, RateLimitService } from "../../js/index.ts";
import { ManualHost } from "../../js/testing.ts";
import type {
  AttemptInfo,
  CallContext,
  Outcome,
  RateLimitConfig,
  Verdict,
  WaitInfo,
} from "../../js/types.ts";
import { type Bench, bench, deferred, ended, Log, refusal, rejection, script } from "./support/service.ts";

afterEach(() => {
  vi.unstubAllGlobals();
});

/** The pauses that a service made. */
function pausesOf(service: RateLimitService): number[] {
  const pauses: number[] = [];
  service.on("retry", ({ delayMs }) => pauses.push(delayMs));
  return pauses;
}

/** How long a call waits after its first attempt has brought this. */
async function pauseAfter(
  answer: unknown,
  config: Partial<RateLimitConfig> = {},
): Promise<number | undefined> {
  const { service, host } = bench({ maxRetryAfterMs: 3_600_000, ...config });
  const pauses = pausesOf(service);
  await host.drive(ended(service.executeWithRetry(script(answer, "done"))));
  return pauses[0];
}

/** A service by a manual clock whose draws of randomness are all the same, with nothing configured but what is given. */
function drawing(draw: number, config: Partial<RateLimitConfig> = {}): Bench {
  const host = new ManualHost();
  const log = new Log();
  const given = { now: host.now, sleep: host.sleep, random: () => draw };
  return { service: new RateLimitService({ logger: log, ...config }, given), host, log };
}

describe("by default", () => {
  it.each([
    [0, [100, 200, 400]],
    [0.5, [110, 220, 440]],
    [1, [120, 240, 480]],
  ])(
    "a call has three retries after 100, 200, 400 ms and a fifth more at most (draw %d)",
    async (draw, pauses) => {
      const { service, host } = drawing(draw);
      const told = pausesOf(service);
      const operation = script(refusal());
      const error = await host.drive(rejection(service.executeWithRetry(operation)));
      expect(told).toEqual(pauses);
      expect(operation.times).toBe(4);
      expect(error).toMatchObject({ code: "RATE_LIMIT_MAX_RETRIES_EXCEEDED", attempts: 4 });
    },
  );

  it("pauses grow to ten seconds", async () => {
    const { service, host } = drawing(0, { maxRetries: 9, circuitBreakerThreshold: 100 });
    const told = pausesOf(service);
    await host.drive(rejection(service.executeWithRetry(script(refusal()))));
    expect(told).toEqual([100, 200, 400, 800, 1_600, 3_200, 6_400, 10_000, 10_000]);
  });

  it("a hint of a minute is waited for, a longer one ends the call", async () => {
    const { service, host } = drawing(0);
    const told = pausesOf(service);
    expect(await host.drive(service.executeWithRetry(script(refusal(60), "done")))).toBe("done");
    expect(told).toEqual([60_000]);
    const operation = script(refusal(61));
    expect(await rejection(service.executeWithRetry(operation))).toMatchObject({
      code: "RATE_LIMIT_RETRY_AFTER_TOO_LONG",
      retryAfterMs: 61_000,
    });
    expect(operation.times).toBe(1);
  });

  it("attempts and calls may take as long as they like", async () => {
    const { service, host } = drawing(0);
    const slow = deferred();
    const call = service.executeWithRetry(() => slow.promise);
    await host.advance(365 * 86_400_000);
    slow.resolve("done");
    expect(await call).toBe("done");
  });

  it("transient failures are not repeated, also for idempotent calls", async () => {
    const { service } = drawing(0);
    const operation = script(refusal(undefined, 503));
    await rejection(service.executeWithRetry(operation, { idempotent: true }));
    expect(operation.times).toBe(1);
  });

  it("a refusal holds the other callers", async () => {
    const { service, host } = drawing(0);
    const refused = service.executeWithRetry(script(refusal(2), "done"));
    await host.advance(10);
    const other = script("done");
    const held = service.executeWithRetry(other);
    await host.advance(1_900);
    expect(other.times).toBe(0);
    await host.drive(Promise.all([refused, held]));
  });

  it("fifty retries in ten seconds are allowed, and one more for every five calls", async () => {
    const { service, host } = drawing(0, { sharedCooldown: false, circuitBreakerThreshold: 1_000 });
    const calls = Array.from({ length: 100 }, () =>
      ended(service.executeWithRetry(script(refusal(), "done"))),
    );
    await host.advance(1_000);
    const ends = await Promise.all(calls);
    expect(ends.filter(({ value }) => value === "done")).toHaveLength(70);
    for (const { error } of ends.filter((end) => "error" in end))
      expect(error).toMatchObject({ code: "RATE_LIMIT_BUDGET_EXHAUSTED", attempts: 1 });
  });

  it("warnings are logged, and no news", async () => {
    const { service, host, log } = drawing(0);
    await host.drive(service.executeWithRetry(script(refusal(), "done")));
    service.isolateCircuit();
    service.resetCircuit();
    expect(log.lines).toEqual(["warn: [RateLimit] Rate limit detected. Retrying in 100ms (attempt 1/3)"]);
  });

  it("the log is the console, as it is when something is said", async () => {
    const host = new ManualHost();
    const service = new RateLimitService({ jitter: "none" }, host);
    const warn = vi.spyOn(console, "warn").mockImplementation(() => {});
    await host.drive(service.executeWithRetry(script(refusal(), "done")));
    expect(warn).toHaveBeenCalledExactlyOnceWith(
      "[RateLimit] Rate limit detected. Retrying in 100ms (attempt 1/3)",
    );
  });
});

describe("what an operation brings", () => {
  const values = {
    nothing: undefined,
    null: null,
    zero: 0,
    text: "x",
    object: { a: 1 },
    list: [1],
    map: new Map(),
  };

  it.each(Object.entries(values))("%s comes back the same", async (_, value) => {
    const { service } = bench();
    expect(await service.executeWithRetry(() => value)).toBe(value);
    expect(await service.executeWithRetry(async () => value, { deadlineMs: 1_000 })).toBe(value);
  });

  it.each([
    ["an Error", new Error("x")],
    ["a frozen error", Object.freeze(new Error("x"))],
    ["a 404", refusal(undefined, 404)],
    ["a string", "no"],
    ["undefined", undefined],
  ])("%s that is thrown comes through the same, at once", async (_, error) => {
    const { service, host } = bench();
    const operation = vi.fn(() => {
      throw error;
    });
    expect(await rejection(service.executeWithRetry(operation))).toBe(error);
    expect(await rejection(service.executeWithRetry(operation, { deadlineMs: 9 }))).toBe(error);
    expect(await rejection(service.executeWithRetry(() => Promise.reject(error)))).toBe(error);
    expect(operation).toHaveBeenCalledTimes(2);
    expect(host.sleeping).toBe(0);
  });

  it.each<[string, CallContext]>([
    ["", {}],
    [", bounded", { deadlineMs: 60_000 }],
  ])("a thenable is awaited exactly once%s", async (_, context) => {
    const { service, host } = bench();
    let reads = 0;
    let awaits = 0;
    const thenable = (answer: unknown): PromiseLike<unknown> =>
      ({
        // biome-ignore lint/suspicious/noThenProperty: it is what postgrest-js' builders are
        get then() {
          reads++;
          return (resolve: (value: unknown) => void) => {
            awaits++;
            resolve(answer);
          };
        },
      }) as PromiseLike<unknown>;
    const operation = ({ attempt }: AttemptInfo): PromiseLike<unknown> =>
      thenable(attempt === 1 ? { data: null, error: { message: "" }, status: 429 } : "done");
    expect(await host.drive(service.executeWithRetry(operation, context))).toBe("done");
    expect({ reads, awaits }).toEqual({ reads: 2, awaits: 2 });
  });

  it.each([undefined, null, "f", {}, Promise.resolve(1)])("%s is no operation", async (operation) => {
    const { service } = bench();
    expect(await rejection(service.executeWithRetry(operation as never))).toBeInstanceOf(TypeError);
    expect(service.getMetrics().calls).toBe(0);
  });

  it("the operation is told which attempt it is", async () => {
    const { service, host } = bench();
    const seen: unknown[] = [];
    const answers = script(refusal(), refusal(), "done");
    await host.drive(
      service.executeWithRetry((attempt) => {
        seen.push([attempt.attempt, attempt.retries]);
        return answers(attempt);
      }),
    );
    expect(seen).toEqual([
      [1, 0],
      [2, 1],
      [3, 2],
    ]);
  });
});

describe("a delay hint", () => {
  const fields: Record<string, [name: string, value: string, ms: number]> = {
    milliseconds: ["retry-after-ms", "1500", 1_500],
    seconds: ["Retry-After", "2", 2_000],
    "a date": ["Retry-After", "Thu, 01 Jan 2026 00:00:10 GMT", 10_000],
    "a date of RFC 850": ["Retry-After", "Thursday, 01-Jan-26 00:00:10 GMT", 10_000],
    "a date of asctime": ["Retry-After", "Thu Jan  1 00:00:10 2026", 10_000],
    "the draft's field": ["RateLimit", '"default";r=0;t=30', 30_000],
    "RateLimit-Reset": ["RateLimit-Reset", "30", 30_000],
    "X-RateLimit-Reset in seconds": ["X-RateLimit-Reset", "30", 30_000],
    "X-RateLimit-Reset as a time in seconds": [
      "X-RateLimit-Reset",
      String(Date.UTC(2026, 0, 1) / 1_000 + 5),
      5_000,
    ],
    "X-RateLimit-Reset as a time in ms": ["X-RateLimit-Reset", String(Date.UTC(2026, 0, 1) + 1_234), 1_234],
  };
  const containers: Record<string, (name: string, value: string) => object> = {
    Headers: (name, value) => ({ headers: new Headers({ [name]: value }) }),
    "a Map": (name, value) => ({ headers: new Map([[name, value]]) }),
    "a Map in lower case": (name, value) => ({ headers: new Map([[name.toLowerCase(), value]]) }),
    pairs: (name, value) => ({
      headers: [
        ["Content-Type", "text/plain"],
        [name, value],
      ],
    }),
    "an object": (name, value) => ({ headers: { [name]: value } }),
    "an object in lower case": (name, value) => ({ headers: { [name.toLowerCase()]: value } }),
    "an object in upper case": (name, value) => ({ headers: { [name.toUpperCase()]: value } }),
    "a property of its own": (name, value) => ({ [name]: value }),
  };

  it.each(
    Object.entries(fields).flatMap(([what, field]) =>
      Object.entries(containers).map(([where, container]) => [what, where, field, container] as const),
    ),
  )("%s in %s", async (_what, _where, [name, value, ms], container) => {
    expect(await pauseAfter(Object.assign(refusal(), container(name, value)))).toBe(ms);
  });

  it.each(["error", "cause", "originalError", "response", "context"])(
    "in the headers of its %s",
    async (place) => {
      const error = Object.assign(new Error("wrapped"), {
        [place]: { status: 429, headers: new Headers({ "retry-after": "7" }) },
      });
      expect(await pauseAfter(error)).toBe(7_000);
    },
  );

  it.each(["body", "data", "details", "hint"])("in its %s", async (place) => {
    expect(await pauseAfter(Object.assign(refusal(), { [place]: { retryAfterMs: 1_234 } }))).toBe(1_234);
    expect(await pauseAfter(Object.assign(refusal(), { [place]: { retryAfter: 3 } }))).toBe(3_000);
    expect(await pauseAfter(Object.assign(refusal(), { [place]: { retry_after: 4 } }))).toBe(4_000);
  });

  it.each([
    ["For security purposes, you can only request this after 13 seconds.", 13_000],
    ["Rate limit exceeded, try again in 5 minutes", 300_000],
    ["Too many requests. Retry after 20s", 20_000],
  ])("in prose: %s", async (message, ms) => {
    expect(await pauseAfter(Object.assign(refusal(), { message }))).toBe(ms);
  });

  it("in the headers comes before one in the body, and that before prose", async () => {
    const error = Object.assign(refusal(2), { body: { retryAfter: 3 }, message: "after 9 seconds" });
    expect(await pauseAfter(error)).toBe(2_000);
    const without = Object.assign(refusal(), { body: { retryAfter: 3 }, message: "after 9 seconds" });
    expect(await pauseAfter(without)).toBe(3_000);
  });

  it.each(["-5", "1e3", "0x10", "Infinity", "2026-01-01T00:00:10Z", "", "soon", "1.5", "NaN", "5, 5"])(
    "is none: Retry-After %j",
    async (value) => {
      expect(await pauseAfter(refusal(value))).toBe(100);
    },
  );

  it("is raised to the backoff and never shortens it", async () => {
    expect(await pauseAfter(refusal(0))).toBe(100);
    expect(await pauseAfter(refusal(0), { initialDelayMs: 5_000 })).toBe(5_000);
  });

  it("may be disregarded", async () => {
    expect(await pauseAfter(refusal(30), { respectRetryAfter: false })).toBe(100);
    expect(await pauseAfter(refusal(90_000), { respectRetryAfter: false })).toBe(100);
  });

  it.each([
    [10, 12_000],
    [25, 30_000],
    [50, 55_000],
  ])("of %d s gets jitter on top, a fifth or five seconds at most", async (seconds, ms) => {
    const { service, host } = drawing(1);
    const pauses = pausesOf(service);
    await host.drive(service.executeWithRetry(script(refusal(seconds), "done")));
    expect(pauses).toEqual([ms]);
  });
});

describe("the body of a refused Response without a hint in its headers", () => {
  const respond = (body: BodyInit | null, init: ResponseInit = {}): Response =>
    new Response(body, { status: 429, ...init });

  it.each([
    ["JSON", '{"retryAfter":3}', 3_000],
    ["JSON of the milliseconds", '{"retry_after":0,"retryAfterMs":2500}', 2_500],
    ["a text", "Too many requests, retry after 7 seconds.", 7_000],
    ["a page", `<html><h1>429</h1><p>Please try again in 2 minutes.</p>${" ".repeat(9_000)}</html>`, 120_000],
    ["nothing to the point", '{"message":"no"}', 100],
    ["nothing", "", 100],
    ["a hint beyond the first 4 kB", `${" ".repeat(4_096)}retry after 7 seconds`, 100],
  ])("%s", async (_, body, ms) => {
    expect(await pauseAfter(respond(body))).toBe(ms);
  });

  it.each(["context", "response"])("as %s of an error", async (place) => {
    const error = Object.assign(new Error("non-2xx"), { [place]: respond('{"retryAfter":3}') });
    expect(await pauseAfter(error)).toBe(3_000);
    expect(await pauseAfter({ data: null, error })).toBe(3_000);
  });

  it("where the global Response is another class than the platform's", async () => {
    const refused = respond('{"retryAfter":3}');
    vi.stubGlobal("Response", class {});
    try {
      expect(await pauseAfter(refused)).toBe(3_000);
    } finally {
      vi.unstubAllGlobals();
    }
  });

  it("can still be read afterwards by whoever gets the response", async () => {
    const { service, host } = bench({ maxRetries: 0 });
    const refused = respond('{"retryAfter":3}');
    const error = (await host.drive(
      rejection(service.executeWithRetry(async () => refused)),
    )) as RateLimitError;
    expect(error.originalError).toBe(refused);
    expect(refused.bodyUsed).toBe(false);
    expect(await refused.text()).toBe('{"retryAfter":3}');
  });

  it("is not asked for more than 4 kB", async () => {
    let sent = 0;
    const endless = new ReadableStream(
      {
        pull(controller) {
          sent += 1_024;
          controller.enqueue(new Uint8Array(1_024).fill(32));
        },
      },
      { highWaterMark: 0 },
    );
    expect(await pauseAfter(respond(endless))).toBe(100);
    expect(sent).toBeLessThanOrEqual(4_096 + 1_024);
  });

  it("is not read where there is a hint, where it was read, and where nothing was refused", async () => {
    const clone = vi.spyOn(Response.prototype, "clone");
    expect(await pauseAfter(respond("retry after 9 s", { headers: { "retry-after": "2" } }))).toBe(2_000);
    const used = respond("retry after 9 s");
    await used.text();
    expect(await pauseAfter(used)).toBe(100);
    await bench().service.executeWithRetry(async () => new Response("retry after 9 s", { status: 200 }));
    expect(clone).not.toHaveBeenCalled();
  });

  it("is not waited for longer than a second", async () => {
    const { service, host } = bench();
    const pauses = pausesOf(service);
    const call = service.executeWithRetry(script(respond(new ReadableStream()), "done"));
    await host.advance(999);
    expect(pauses).toEqual([]);
    await host.advance(1);
    expect(pauses).toEqual([100]);
    expect(await host.drive(call)).toBe("done");
  });

  it("that breaks off tells nothing", async () => {
    const broken = new ReadableStream({
      pull: (controller) => controller.error(new TypeError("terminated")),
    });
    expect(await pauseAfter(respond(broken))).toBe(100);
  });
});

describe("a refusal that came as a value", () => {
  const values: Record<string, () => object> = {
    "of supabase-js": () => ({ data: null, error: { message: "slow down", code: "PT429" }, status: 429 }),
    "that says success": () => ({
      success: true,
      error: null,
      data: null,
      count: null,
      status: 429,
      statusText: "",
    }),
    "with status 420": () => ({ data: null, error: null, status: 420 }),
    "by its flag": () => ({ rateLimitExceeded: true, retryAfterMs: 100 }),
    "as a Response": () => new Response(null, { status: 429 }),
    "of functions-js": () => ({
      data: null,
      error: Object.assign(new Error("non-2xx"), { context: new Response(null, { status: 429 }) }),
    }),
  };

  it.each(Object.entries(values))("%s is repeated", async (_, make) => {
    const { service, host } = bench();
    const operation = script(make(), make(), "done");
    expect(await host.drive(service.executeWithRetry(operation))).toBe("done");
    expect(operation.times).toBe(3);
  });

  it.each(Object.entries(values))("%s rejects when it outlasts the retries", async (_, make) => {
    const { service, host } = bench({ maxRetries: 1 });
    const last = make();
    const error = await host.drive(rejection(service.executeWithRetry(script(make(), last))));
    expect(error).toBeInstanceOf(RateLimitError);
    expect((error as RateLimitError).originalError).toBe(last);
  });

  it.each<[string, object]>([
    ["a record with a status", { id: 1, status: 429 }],
    ["a record with words", { message: "too many requests", notes: "429" }],
    ["rows about limits", { data: [{ status: 429, error: "rate limit" }], error: null, status: 200 }],
    ["a list", [{ status: 429, data: 1 }]],
  ])("%s is none, and comes back as it is", async (_, value) => {
    const { service } = bench();
    expect(await service.executeWithRetry(async () => value)).toBe(value);
    expect(service.getCircuitState().consecutiveFailures).toBe(0);
  });
});

describe("what was judged already", () => {
  const code = "RATE_LIMIT_MAX_RETRIES_EXCEEDED";

  it("an error of ours passes unchanged, and counts for nothing", async () => {
    const { service } = bench();
    const inner = new RateLimitError({ code, summary: "", userMessage: "x", attempts: 4, retryAfterMs: 1 });
    const operation = script(inner);
    expect(await rejection(service.executeWithRetry(operation))).toBe(inner);
    expect(operation.times).toBe(1);
    expect(service.getCircuitState().consecutiveFailures).toBe(0);
    expect(service.getMetrics()).toMatchObject({ throttled: 0, retries: 0 });
  });

  it("a wrapped call may be wrapped again", async () => {
    const { service: outer } = bench();
    const { service: inner, host } = bench({ maxRetries: 1 });
    const operation = script(refusal());
    const call = rejection(outer.executeWithRetry(() => inner.executeWithRetry(operation)));
    expect(await host.drive(call)).toMatchObject({ code, attempts: 2 });
    expect(operation.times).toBe(2);
  });

  it.each<[string, object]>([
    ["in the error of a result", { data: null, error: { code, message: "x" }, status: 429 }],
    ["in a header", new Response(null, { status: 429, headers: { "x-tidegate-code": code } })],
  ])("an answer with a code of ours %s comes back as it is", async (_, value) => {
    const { service } = bench();
    const operation = script(value);
    expect(await service.executeWithRetry(operation)).toBe(value);
    expect(operation.times).toBe(1);
  });

  it("a thrown error with a code of ours in its body passes", async () => {
    const { service } = bench();
    const error = Object.assign(refusal(), { body: { code, retryAfterMs: 5 } });
    expect(await rejection(service.executeWithRetry(script(error)))).toBe(error);
  });
});

describe("a deadline", () => {
  const LATE = { code: "RATE_LIMIT_DEADLINE_EXCEEDED" };

  it.each([0, -5])("that has passed when the call begins (%d): nothing is attempted", async (deadlineMs) => {
    const { service, host } = bench();
    const operation = script("never");
    expect(await rejection(service.executeWithRetry(operation, { deadlineMs }))).toMatchObject({
      ...LATE,
      attempts: 0,
    });
    expect(operation.times).toBe(0);
    expect(host.sleeping).toBe(0);
  });

  it("that a cooldown does not fit in ends the call before it begins, and says when to come back", async () => {
    const { service, host } = bench();
    const refused = service.executeWithRetry(script(refusal(5), "done"));
    await host.advance(0);
    const operation = script("never");
    expect(await rejection(service.executeWithRetry(operation, { deadlineMs: 4_999 }))).toMatchObject({
      ...LATE,
      attempts: 0,
      retryAfterMs: 5_000,
    });
    await host.drive(refused);
    expect(operation.times).toBe(0);
  });

  it("that passes while the call is held ends it then", async () => {
    const { service, host } = bench();
    const hanging = deferred();
    const refused = script(refusal(1));
    void ended(
      service.executeWithRetry((attempt) => (attempt.attempt === 1 ? refused(attempt) : hanging.promise)),
    );
    await host.advance(0);
    const begun = host.now();
    const operation = script("never");
    const held = rejection(service.executeWithRetry(operation, { deadlineMs: 2_000 })).then((error) => ({
      error,
      after: host.now() - begun,
    }));
    await host.advance(5_000);
    expect(await held).toMatchObject({ error: { ...LATE, attempts: 0 }, after: 2_000 });
    expect(operation.times).toBe(0);
  });

  it("that the backoff does not fit in ends the call at once", async () => {
    const { service, host } = bench();
    const cause = refusal(5);
    const call = rejection(service.executeWithRetry(script(cause), { deadlineMs: 4_000 }));
    await host.advance(0);
    expect(await call).toMatchObject({ ...LATE, attempts: 1, originalError: cause, retryAfterMs: 5_000 });
    expect(host.sleeping).toBe(0);
  });

  it("that passes in flight ends the call then, and aborts the attempt's signal", async () => {
    const { service, host } = bench();
    let signal: AbortSignal | undefined;
    const operation = (attempt: AttemptInfo): Promise<never> => {
      signal = attempt.signal;
      return new Promise(() => {});
    };
    const call = rejection(service.executeWithRetry(operation, { deadlineMs: 1_000 }));
    await host.advance(999);
    expect(signal?.aborted).toBe(false);
    await host.advance(1);
    expect(await call).toMatchObject({ ...LATE, attempts: 1 });
    expect(signal?.aborted).toBe(true);
    expect(host.sleeping).toBe(0);
  });

  it("counts all waits and attempts of the call together", async () => {
    const { service, host } = bench({ callDeadlineMs: 1_000 });
    const operation = async ({ attempt }: AttemptInfo): Promise<string> => {
      if (attempt < 3) throw refusal();
      await host.sleep(600);
      return "done";
    };
    const begun = host.now();
    expect(await host.drive(service.executeWithRetry(operation))).toBe("done");
    expect(host.now() - begun).toBe(900);
    const slower = async ({ attempt }: AttemptInfo): Promise<string> => {
      if (attempt < 3) throw refusal();
      await host.sleep(800);
      return "done";
    };
    expect(await host.drive(rejection(service.executeWithRetry(slower)))).toMatchObject(LATE);
  });

  it("of the call replaces that of the configuration, in both directions", async () => {
    const { service, host } = bench({ callDeadlineMs: 1_000 });
    const slow = (ms: number) => (): Promise<string> => host.sleep(ms).then(() => "done");
    expect(await host.drive(service.executeWithRetry(slow(5_000), { deadlineMs: 6_000 }))).toBe("done");
    expect(
      await host.drive(rejection(service.executeWithRetry(slow(900), { deadlineMs: 500 }))),
    ).toMatchObject(LATE);
    expect(await host.drive(service.executeWithRetry(slow(5_000), { deadlineMs: Infinity }))).toBe("done");
  });
});

describe("attemptTimeoutMs", () => {
  const hanging = (signals: AbortSignal[]) => (attempt: AttemptInfo) => {
    signals.push(attempt.signal);
    return new Promise<never>(() => {});
  };

  it("aborts the attempt and rejects with a TimeoutError", async () => {
    const { service, host } = bench({ attemptTimeoutMs: 2_000 });
    const signals: AbortSignal[] = [];
    const call = rejection(service.executeWithRetry(hanging(signals)));
    await host.advance(1_999);
    expect(signals.map(({ aborted }) => aborted)).toEqual([false]);
    await host.advance(1);
    const error = await call;
    expect(error).toBeInstanceOf(DOMException);
    expect(error).toMatchObject({ name: "TimeoutError" });
    expect(signals[0]?.reason).toBe(error);
    expect(host.sleeping).toBe(0);
  });

  it("counts as transient: it is repeated where those are, and the last one rejects", async () => {
    const { service, host } = bench({ attemptTimeoutMs: 2_000, retryTransient: "always", maxRetries: 2 });
    const signals: AbortSignal[] = [];
    const begun = host.now();
    const error = await host.drive(rejection(service.executeWithRetry(hanging(signals))));
    expect(error).toMatchObject({ name: "TimeoutError" });
    expect(host.now() - begun).toBe(3 * 2_000 + 100 + 200);
    expect(new Set(signals).size).toBe(3);
    expect(signals.every(({ aborted }) => aborted)).toBe(true);
    expect(service.getMetrics()).toMatchObject({ attempts: 3, failures: 3, throttled: 0 });
  });

  it("leaves an attempt alone that is done in time, and nothing behind", async () => {
    const { service, host } = bench({ attemptTimeoutMs: 2_000 });
    let signal: AbortSignal | undefined;
    const call = service.executeWithRetry(async (attempt) => {
      signal = attempt.signal;
      await host.sleep(1_999);
      return "done";
    });
    expect(await host.drive(call)).toBe("done");
    expect(host.sleeping).toBe(0);
    await host.advance(10_000);
    expect(signal?.aborted).toBe(false);
  });

  it("is a matter of each attempt, not of the call", async () => {
    const { service, host } = bench({ attemptTimeoutMs: 2_000 });
    const operation = async ({ attempt }: AttemptInfo): Promise<string> => {
      await host.sleep(1_500);
      if (attempt < 3) throw refusal();
      return "done";
    };
    expect(await host.drive(service.executeWithRetry(operation))).toBe("done");
  });
});

describe("an abort", () => {
  /** Brings a call to where it is aborted. */
  const moments: Record<string, (stage: Bench, context: CallContext) => Promise<{ call: Promise<unknown> }>> =
    {
      "in flight": async ({ service }, context) => ({
        call: rejection(service.executeWithRetry(() => new Promise(() => {}), context)),
      }),
      "in flight, with the signal handed on": async ({ service }, context) => ({
        call: rejection(
          service.executeWithRetry(
            ({ signal }) => new Promise((_, no) => signal.addEventListener("abort", () => no(signal.reason))),
            context,
          ),
        ),
      }),
      "in flight of a retry": async ({ service, host }, context) => {
        const operation = ({ attempt }: AttemptInfo): Promise<never> =>
          attempt === 1 ? Promise.reject(refusal()) : new Promise(() => {});
        const call = rejection(service.executeWithRetry(operation, context));
        await host.advance(150);
        return { call };
      },
      "in a backoff": async ({ service, host }, context) => {
        const call = rejection(service.executeWithRetry(script(refusal(5)), context));
        await host.advance(2_000);
        return { call };
      },
      "while it is held": async ({ service, host }, context) => {
        void ended(service.executeWithRetry(script(refusal(5), "done")));
        await host.advance(1_000);
        return { call: rejection(service.executeWithRetry(script("never"), context)) };
      },
    };
  const reasons: Record<string, unknown[]> = {
    "by default": [],
    "with an error": [new Error("navigated away")],
    "with a word": ["bye"],
  };

  it.each(
    Object.entries(moments).flatMap(([moment, bring]) =>
      Object.entries(reasons).map(([how, reason]) => [moment, how, bring, reason] as const),
    ),
  )("%s, %s, ends the call at once with the signal's reason", async (_, how, bring, reason) => {
    const stage = bench();
    const controller = new AbortController();
    const { call } = await bring(stage, { signal: controller.signal });
    await stage.host.advance(0);
    expect(getEventListeners(controller.signal, "abort").length).toBeGreaterThan(0);
    const begun = stage.host.now();
    controller.abort(...reason);
    expect(await call).toBe(controller.signal.reason);
    expect(stage.host.now()).toBe(begun);
    if (how === "by default") expect(controller.signal.reason).toMatchObject({ name: "AbortError" });
    expect(getEventListeners(controller.signal, "abort")).toHaveLength(0);
    await stage.host.advance(60_000);
    expect(stage.host.sleeping).toBe(0);
  });

  it("before the call: nothing is attempted, listened to or counted", async () => {
    const { service, host } = bench();
    const operation = script("never");
    const signal = AbortSignal.abort();
    expect(await rejection(service.executeWithRetry(operation, { signal }))).toBe(signal.reason);
    expect(operation.times).toBe(0);
    expect(getEventListeners(signal, "abort")).toHaveLength(0);
    expect(host.sleeping).toBe(0);
    expect(service.getMetrics()).toMatchObject({ attempts: 0, failures: 0 });
  });

  it("in the same turn as the call, before the attempt has begun, ends it as well", async () => {
    const { service, host } = bench();
    const controller = new AbortController();
    const call = rejection(
      service.executeWithRetry(() => new Promise(() => {}), { signal: controller.signal }),
    );
    controller.abort();
    expect(await call).toBe(controller.signal.reason);
    expect(getEventListeners(controller.signal, "abort")).toHaveLength(0);
    expect(host.sleeping).toBe(0);
  });

  it("decides nothing: neither the circuit nor the cooldown takes notice", async () => {
    const { service, host } = bench({ circuitBreakerThreshold: 1 });
    const controller = new AbortController();
    const call = rejection(
      service.executeWithRetry(() => new Promise(() => {}), { signal: controller.signal }),
    );
    controller.abort();
    await host.drive(call);
    expect(service.getCircuitState()).toMatchObject({ state: "closed", consecutiveFailures: 0 });
    expect(await service.executeWithRetry(async () => "done")).toBe("done");
  });

  it("of one that is held hands its place on", async () => {
    const { service, host } = bench();
    const refused = ended(service.executeWithRetry(script(refusal(5), "done")));
    await host.advance(0);
    const controller = new AbortController();
    const first = rejection(
      service.executeWithRetry(script("never"), { signal: controller.signal, priority: 9 }),
    );
    const second = service.executeWithRetry(async () => "second");
    controller.abort();
    await first;
    await host.advance(5_000);
    expect(await second).toBe("second");
    expect(await refused).toEqual({ value: "done" });
  });

  it("that comes after an attempt was stopped finds a late failure handled", async () => {
    const loose = vi.fn();
    process.on("unhandledRejection", loose);
    const { service, host } = bench();
    const controller = new AbortController();
    const late = deferred();
    const call = rejection(service.executeWithRetry(() => late.promise, { signal: controller.signal }));
    await host.advance(0);
    controller.abort();
    await call;
    late.reject(refusal(30));
    await host.advance(0);
    await new Promise(setImmediate);
    process.off("unhandledRejection", loose);
    expect(loose).not.toHaveBeenCalled();
    expect(await service.executeWithRetry(async () => "not held")).toBe("not held");
  });

  it("after the end changes nothing, and nobody listens any more", async () => {
    const { service, host } = bench();
    const controller = new AbortController();
    const signals: AbortSignal[] = [];
    const answers = script(refusal(), "done");
    const operation = (attempt: AttemptInfo): Promise<unknown> => {
      signals.push(attempt.signal);
      return answers(attempt);
    };
    expect(await host.drive(service.executeWithRetry(operation, { signal: controller.signal }))).toBe("done");
    expect(getEventListeners(controller.signal, "abort")).toHaveLength(0);
    controller.abort();
    expect(signals.map(({ aborted }) => aborted)).toEqual([false, false]);
  });

  it("a thousand calls with one signal leave no listener behind", async () => {
    const { service } = bench();
    const controller = new AbortController();
    for (let call = 0; call < 1_000; call++) {
      await service.executeWithRetry(async ({ signal }) => signal.aborted, { signal: controller.signal });
    }
    expect(getEventListeners(controller.signal, "abort")).toHaveLength(0);
  });
});

describe("the signal of an attempt", () => {
  it("is the same however often it is read, and another one for each attempt", async () => {
    const { service, host } = bench();
    const read: AbortSignal[][] = [];
    const answers = script(refusal(), "done");
    await host.drive(
      service.executeWithRetry((attempt) => {
        read.push([attempt.signal, attempt.signal]);
        return answers(attempt);
      }),
    );
    expect(read[0]?.[0]).toBe(read[0]?.[1]);
    expect(read[1]?.[0]).toBe(read[1]?.[1]);
    expect(read[0]?.[0]).not.toBe(read[1]?.[0]);
  });

  it("read only after the abort is aborted, with the reason", async () => {
    const { service, host } = bench();
    const controller = new AbortController();
    let seen: AttemptInfo | undefined;
    const call = rejection(
      service.executeWithRetry(
        (attempt) => {
          seen = attempt;
          return new Promise(() => {});
        },
        { signal: controller.signal },
      ),
    );
    await host.advance(0);
    controller.abort("bye");
    await call;
    expect(seen?.signal).toMatchObject({ aborted: true, reason: "bye" });
  });
});

describe("the idempotency key", () => {
  it("is a UUID, the same for all attempts of a call and another for the next", async () => {
    const { service, host } = bench();
    const keys: string[] = [];
    for (let call = 0; call < 2; call++) {
      const answers = script(refusal(), refusal(), "done");
      await host.drive(
        service.executeWithRetry((attempt) => {
          keys.push(attempt.idempotencyKey);
          return answers(attempt);
        }),
      );
    }
    expect(keys).toHaveLength(6);
    expect([...new Set(keys)]).toEqual([keys[0], keys[3]]);
    for (const key of new Set(keys)) {
      expect(key).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
    }
  });

  it("is a UUID also where the platform makes none", async () => {
    vi.stubGlobal("crypto", undefined);
    const { service } = bench();
    const key = await service.executeWithRetry(({ idempotencyKey }) => idempotencyKey);
    expect(key).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  });

  it("is the caller's where there is one, also an empty one", async () => {
    const { service } = bench();
    for (const idempotencyKey of ["row-17", ""]) {
      const key = await service.executeWithRetry((attempt) => attempt.idempotencyKey, { idempotencyKey });
      expect(key).toBe(idempotencyKey);
    }
  });
});

describe("a call's own options", () => {
  it.each([
    [0, 1],
    [1, 2],
    [4, 5],
  ])("maxRetries %d: %d attempts, whatever the service has", async (maxRetries, attempts) => {
    const { service, host } = bench({ maxRetries: 2, circuitBreakerThreshold: 100 });
    const operation = script(refusal());
    await host.drive(rejection(service.executeWithRetry(operation, { maxRetries })));
    expect(operation.times).toBe(attempts);
  });

  it("onWait is told why, until when and for which attempt the call waits", async () => {
    const { service, host } = bench();
    const waits: [string, WaitInfo][] = [];
    const onWait =
      (name: string) =>
      (wait: WaitInfo): void =>
        void waits.push([name, wait]);
    const begun = host.now();
    const refused = service.executeWithRetry(script(refusal(1), refusal(), "done"), {
      onWait: onWait("refused"),
    });
    await host.advance(500);
    const held = service.executeWithRetry(async () => "done", { onWait: onWait("held") });
    await host.drive(Promise.all([refused, held]));
    expect(waits).toEqual([
      ["refused", { reason: "backoff", untilTime: begun + 1_000, attempt: 2 }],
      ["held", { reason: "cooldown", untilTime: begun + 1_000, attempt: 1 }],
      ["refused", { reason: "backoff", untilTime: begun + 1_200, attempt: 3 }],
    ]);
  });

  it("onWait is not called where nobody waits", async () => {
    const { service } = bench();
    const onWait = vi.fn();
    await service.executeWithRetry(async () => 1, { onWait });
    await rejection(service.executeWithRetry(script(refusal()), { onWait, maxRetries: 0 }));
    expect(onWait).not.toHaveBeenCalled();
  });
});

describe("the retry budget", () => {
  const SPENT = { code: "RATE_LIMIT_BUDGET_EXHAUSTED", attempts: 1 };
  const alone = { sharedCooldown: false, circuitBreakerThreshold: 1_000 } as const;

  it("ends a call whose retry it does not cover, and recovers with time", async () => {
    const { service, host } = bench({
      ...alone,
      retryBudget: { ratio: 0, minPerSecond: 0.2, windowMs: 10_000 },
    });
    const one = (): Promise<unknown> =>
      host.drive(ended(service.executeWithRetry(script(refusal(), "done"))));
    expect(await one()).toEqual({ value: "done" });
    expect(await one()).toEqual({ value: "done" });
    expect(await one()).toMatchObject({ error: SPENT });
    await host.advance(10_001);
    expect(await one()).toEqual({ value: "done" });
  });

  it("null is no budget", async () => {
    const { service, host } = bench({ ...alone, retryBudget: null });
    const calls = Array.from({ length: 500 }, () => service.executeWithRetry(script(refusal(), "done")));
    await host.advance(1_000);
    expect(new Set(await Promise.all(calls))).toEqual(new Set(["done"]));
  });

  it("is spent by transient retries too, and then the failure passes through", async () => {
    const { service, host } = bench({
      ...alone,
      retryTransient: "always",
      retryBudget: { ratio: 0, minPerSecond: 0, windowMs: 10_000 },
    });
    const error = refusal(undefined, 503);
    const operation = script(error);
    const end = await host.drive(rejection(service.executeWithRetry(operation)));
    expect(operation.times).toBe(1);
    expect([error, (end as RateLimitError).originalError]).toContain(error);
  });
});

describe("retryTransient", () => {
  const transient: Record<string, () => unknown> = {
    ...Object.fromEntries(
      [408, 500, 502, 503, 504, 520, 522, 524, 529].map((status) => [
        status,
        () => refusal(undefined, status),
      ]),
    ),
    network: () => new TypeError("Failed to fetch"),
    "a status of 0": () => ({ status: 0 }),
  };
  const permanent: Record<string, () => unknown> = {
    400: () => refusal(undefined, 400),
    401: () => refusal(undefined, 401),
    404: () => refusal(undefined, 404),
    409: () => refusal(undefined, 409),
    501: () => refusal(undefined, 501),
    "a bug": () => new TypeError("x is not a function"),
    "an abort of the operation's own": () => new DOMException("no", "AbortError"),
  };
  const attempts = async (
    make: () => unknown,
    config: Partial<RateLimitConfig>,
    context: CallContext = {},
  ) => {
    const { service, host } = bench({ maxRetries: 2, ...config });
    let times = 0;
    const errors: unknown[] = [];
    const operation = (): never => {
      times++;
      errors.push(make());
      throw errors.at(-1);
    };
    const error = await host.drive(rejection(service.executeWithRetry(operation, context)));
    expect(error).toBe(errors.at(-1));
    return { times, service };
  };

  it.each(Object.entries(transient))("never: %s is not repeated", async (_, make) => {
    expect((await attempts(make, {}, { idempotent: true })).times).toBe(1);
  });

  it.each(Object.entries(transient))("idempotent: %s is repeated for calls marked so", async (_, make) => {
    const config = { retryTransient: "idempotent" } as const;
    expect((await attempts(make, config, { idempotent: true })).times).toBe(3);
    expect((await attempts(make, config, { idempotent: false })).times).toBe(1);
    expect((await attempts(make, config)).times).toBe(1);
  });

  it.each(Object.entries(transient))(
    "always: %s is repeated, and the last one passes through unchanged",
    async (_, make) => {
      const { times, service } = await attempts(make, { retryTransient: "always" });
      expect(times).toBe(3);
      expect(service.getMetrics()).toMatchObject({ throttled: 0, retries: 2, failures: 3 });
      expect(service.getCircuitState().state).toBe("closed");
    },
  );

  it.each(Object.entries(permanent))("always: %s is not repeated", async (_, make) => {
    expect((await attempts(make, { retryTransient: "always" }, { idempotent: true })).times).toBe(1);
  });

  it("a transient failure that came as a value comes back as the same value", async () => {
    const { service, host } = bench({ retryTransient: "always", maxRetries: 1 });
    const value = { data: null, error: { message: "" }, status: 503, statusText: "" };
    const operation = script(value);
    expect(await host.drive(service.executeWithRetry(operation))).toBe(value);
    expect(operation.times).toBe(2);
  });

  it("holds nobody else", async () => {
    const { service, host } = bench({ retryTransient: "always" });
    const call = service.executeWithRetry(script(refusal(5, 503), "done"));
    await host.advance(0);
    expect(await service.executeWithRetry(async () => "not held")).toBe("not held");
    await host.drive(call);
  });
});

describe("lost connections", () => {
  const lose = async ({ service }: Bench, text = "Failed to fetch"): Promise<void> => {
    await rejection(service.executeWithRetry(() => Promise.reject(new TypeError(text))));
  };
  const count = ({ service }: Bench): number => service.getCircuitState().consecutiveFailures;

  it.each([
    "Failed to fetch",
    "Load failed",
    "NetworkError when attempting to fetch resource.",
    "fetch failed",
  ])("%s: three within five seconds count as one refusal", async (text) => {
    const stage = bench({ sharedCooldown: false });
    for (const [number, counted] of [0, 0, 1, 1, 1, 2].entries()) {
      await lose(stage, text);
      expect(count(stage), `after ${number + 1}`).toBe(counted);
    }
  });

  it("they do not while the browser says that it is offline", async () => {
    vi.stubGlobal("navigator", { onLine: false });
    const stage = bench();
    for (let time = 0; time < 9; time++) await lose(stage);
    expect(count(stage)).toBe(0);
  });

  it("they do not over a longer time", async () => {
    const stage = bench();
    for (let time = 0; time < 9; time++) {
      await lose(stage);
      await stage.host.advance(2_500);
    }
    expect(count(stage)).toBe(0);
  });

  it("two leave the count of refusals as it is", async () => {
    const stage = bench({ sharedCooldown: false });
    await rejection(stage.service.executeWithRetry(script(refusal()), { maxRetries: 0 }));
    await lose(stage);
    await lose(stage);
    expect(count(stage)).toBe(1);
  });
});

describe("classify", () => {
  const judging = (verdict: unknown, config: Partial<RateLimitConfig> = {}): Bench =>
    bench({ classify: () => verdict as Verdict, ...config });

  it("is told the facts of an attempt", async () => {
    const seen: Outcome[] = [];
    const classify = (outcome: Outcome): undefined => void seen.push(outcome);
    const { service, host } = bench({ classify, maxRetries: 0 });
    const error = Object.assign(refusal(3), { code: "PT429" });
    const call = rejection(
      service.executeWithRetry(async () => {
        await host.sleep(40);
        throw error;
      }),
    );
    await host.drive(call);
    expect(seen).toEqual([
      { error, status: 429, code: "PT429", message: "HTTP 429", retryAfterMs: 3_000, durationMs: 40 },
    ]);
  });

  it("is told the facts of a value, also of one that succeeded", async () => {
    const seen: Outcome[] = [];
    const classify = (outcome: Outcome): undefined => void seen.push(outcome);
    const { service } = bench({ classify });
    const value = { data: [1], status: 200 };
    expect(await service.executeWithRetry(async () => value)).toBe(value);
    expect(seen).toEqual([{ value, status: 200, durationMs: 0 }]);
  });

  it("throttled: what it says is waited for", async () => {
    const { service, host } = bench({
      classify: ({ value }) => (value === "busy" ? { throttled: true, retryAfterMs: 700 } : undefined),
    });
    const pauses = pausesOf(service);
    expect(await host.drive(service.executeWithRetry(script("busy", "done")))).toBe("done");
    expect(pauses).toEqual([700]);
  });

  it("throttled for this call only: the circuit takes no notice", async () => {
    const { service } = judging({ throttled: true, scope: "call" }, { maxRetries: 0 });
    await rejection(service.executeWithRetry(async () => "busy"));
    expect(service.getCircuitState().consecutiveFailures).toBe(0);
  });

  it.each(["success", "permanent", "ignored"])("%s: a refusal is passed on", async (verdict) => {
    const { service } = judging(verdict);
    const error = refusal(5);
    const operation = script(error);
    expect(await rejection(service.executeWithRetry(operation))).toBe(error);
    expect(operation.times).toBe(1);
    expect(service.getCircuitState().consecutiveFailures).toBe(0);
  });

  it("transient: it is repeated where transient failures are", async () => {
    const { service, host } = judging("transient", { retryTransient: "always", maxRetries: 1 });
    const operation = script(new Error("hiccup"));
    await host.drive(rejection(service.executeWithRetry(operation)));
    expect(operation.times).toBe(2);
  });

  it.each([
    ["undefined", () => undefined],
    ["a word that is no verdict", () => "throttled" as never],
    ["null", () => null as never],
    [
      "an exception",
      () => {
        throw new Error("boom");
      },
    ],
  ])("%s leaves it to the built-in rules", async (what, classify) => {
    const { service, host, log } = bench({ classify });
    const operation = script(refusal(), "done");
    expect(await host.drive(service.executeWithRetry(operation))).toBe("done");
    expect(operation.times).toBe(2);
    const complaints = log.lines.filter((line) => line === "error: [RateLimit] classify failed");
    expect(complaints).toHaveLength(what === "undefined" ? 0 : 2);
  });
});

describe("enabled: false", () => {
  it("passes every call through, untouched and uncounted", async () => {
    const { service, host } = bench({ enabled: false });
    const error = refusal(1);
    const operation = script(error);
    expect(await rejection(service.executeWithRetry(operation, { deadlineMs: 5 }))).toBe(error);
    expect(operation.times).toBe(1);
    const value = { data: null, error: { message: "" }, status: 429 };
    expect(await service.executeWithRetry(async () => value)).toBe(value);
    expect(service.getMetrics()).toMatchObject({ calls: 0, attempts: 0 });
    expect(host.sleeping).toBe(0);
  });

  it("hands key and signal to the operation all the same", async () => {
    const { service } = bench({ enabled: false });
    const controller = new AbortController();
    const seen = await service.executeWithRetry((attempt) => attempt, {
      idempotencyKey: "mine",
      signal: controller.signal,
    });
    expect(seen).toMatchObject({ attempt: 1, retries: 0, idempotencyKey: "mine" });
  });

  it("can be switched at any time", async () => {
    const { service, host } = bench({ enabled: false });
    service.updateConfig({ enabled: true });
    const operation = script(refusal(), "done");
    expect(await host.drive(service.executeWithRetry(operation))).toBe("done");
    service.updateConfig({ enabled: false });
    expect(await rejection(service.executeWithRetry(script(refusal())))).toMatchObject({ status: 429 });
    expect(service.getMetrics().calls).toBe(1);
  });
});

describe("dispose()", () => {
  it("rejects whoever waits with an AbortError, and lets go of everything", async () => {
    const { service, host } = bench();
    const { signal } = new AbortController();
    const waiting = [
      rejection(service.executeWithRetry(script(refusal(5)), { signal, deadlineMs: 60_000 })),
      rejection(service.executeWithRetry(script(refusal(5)))),
    ];
    await host.advance(10);
    waiting.push(rejection(service.executeWithRetry(script("never"), { signal })));
    await host.advance(10);
    service.dispose();
    for (const call of waiting) {
      const error = await call;
      expect(error).toBeInstanceOf(DOMException);
      expect(error).toMatchObject({ name: "AbortError" });
    }
    await host.advance(0);
    expect(host.sleeping).toBe(0);
    expect(getEventListeners(signal, "abort")).toHaveLength(0);
  });

  it("leaves attempts in flight to their end", async () => {
    const { service, host } = bench();
    const late = { value: deferred(), error: deferred() };
    const calls = [
      ended(service.executeWithRetry(() => late.value.promise, { deadlineMs: 60_000 })),
      ended(service.executeWithRetry(() => late.error.promise)),
    ];
    service.dispose();
    const error = refusal(1);
    late.value.resolve("done");
    late.error.reject(error);
    await host.advance(0);
    expect(await Promise.all(calls)).toEqual([{ value: "done" }, { error }]);
  });

  it("later calls pass through, also where the circuit was isolated", async () => {
    const { service } = bench();
    service.isolateCircuit();
    service.dispose();
    service.dispose();
    expect(await service.executeWithRetry(async () => "done")).toBe("done");
    const operation = script(refusal());
    expect(await rejection(service.executeWithRetry(operation))).toMatchObject({ status: 429 });
    expect(operation.times).toBe(1);
  });

  it("everything may be asked afterwards", () => {
    const { service } = bench();
    service.dispose();
    expect(() => {
      service.getCircuitState();
      service.getMetrics();
      service.resetCircuit();
      service.isolateCircuit();
      service.updateConfig({ maxRetries: 1 });
      service.on("attempt", () => {})();
    }).not.toThrow();
  });

  it("is what `using` calls, where the platform has it", () => {
    const { dispose } = Symbol as { dispose?: symbol };
    if (!dispose) return;
    const { service } = bench();
    const spy = vi.spyOn(service, "dispose");
    (service as unknown as Record<symbol, () => void>)[dispose]?.();
    expect(spy).toHaveBeenCalledTimes(1);
  });
});
