import fc from "fast-check";
import { beforeAll, describe, expect, it, vi } from "vitest";
import { Judgement } from "../../js/codes.ts";
import { RateLimitService } from "../../js/index.ts";
import { isPlainSuccess } from "../../js/judge.ts";
import type { CallContext } from "../../js/types.ts";
import * as glue from "../../pkg/core.js";
import { refusal, script } from "./support/service.ts";

/** A call that succeeds costs next to nothing: what it does not use is not made. */

describe("a plain call that succeeds", () => {
  function expenses() {
    const Controller = vi.fn(AbortController);
    vi.stubGlobal("AbortController", Controller);
    return {
      setTimeout: vi.spyOn(globalThis, "setTimeout"),
      setInterval: vi.spyOn(globalThis, "setInterval"),
      queueMicrotask: vi.spyOn(globalThis, "queueMicrotask"),
      performanceNow: vi.spyOn(performance, "now"),
      randomUUID: vi.spyOn(crypto, "randomUUID"),
      AbortController: Controller,
    };
  }

  const contexts: Record<string, CallContext | undefined> = {
    "without a context": undefined,
    "with names": { resourceName: "contacts", operation: "create", idempotent: true },
  };

  it.each(Object.entries(contexts))("%s sets no timer and makes no signal and no key", async (_, context) => {
    const service = new RateLimitService({ logLevel: "silent" });
    await service.executeWithRetry(async () => "warm", context);
    const spies = expenses();
    for (let call = 0; call < 100; call++) {
      expect(
        await service.executeWithRetry(async () => ({ data: [], error: null, status: 200 }), context),
      ).toBeDefined();
    }
    for (const [name, spy] of Object.entries(spies)) expect(spy, name).not.toHaveBeenCalled();
  });

  it("begins in the same turn in which it is called", () => {
    const service = new RateLimitService({ logLevel: "silent" });
    const operation = vi.fn(async () => 1);
    void service.executeWithRetry(operation);
    expect(operation).toHaveBeenCalledTimes(1);
  });

  it("reads the clock twice", async () => {
    const service = new RateLimitService({ logLevel: "silent" });
    const now = vi.spyOn(Date, "now");
    await service.executeWithRetry(async () => 1);
    expect(now).toHaveBeenCalledTimes(2);
  });

  it("makes its signal and its key when they are read, once each", async () => {
    const service = new RateLimitService({ logLevel: "silent" });
    const spies = expenses();
    await service.executeWithRetry(async (attempt) => [attempt.signal, attempt.signal]);
    expect(spies.AbortController).toHaveBeenCalledTimes(1);
    await service.executeWithRetry(async (attempt) => [attempt.idempotencyKey, attempt.idempotencyKey]);
    expect(spies.randomUUID).toHaveBeenCalledTimes(1);
  });

  it("makes no key over its retries either", async () => {
    vi.useFakeTimers();
    const service = new RateLimitService({ logLevel: "silent" });
    const randomUUID = vi.spyOn(crypto, "randomUUID");
    const call = service.executeWithRetry(script(refusal(), refusal(), "done"));
    await vi.advanceTimersByTimeAsync(1_000);
    vi.useRealTimers();
    expect(await call).toBe("done");
    expect(randomUUID).not.toHaveBeenCalled();
  });

  it("leaves nothing behind: a hundred thousand calls need no more memory of the core than a hundred", async () => {
    const service = new RateLimitService({ logLevel: "silent" });
    const memory = glue.initSync({ module: new Uint8Array() }).memory;
    const calls = async (count: number): Promise<void> => {
      for (let call = 0; call < count; call++) await service.executeWithRetry(() => call);
    };
    await calls(100);
    const before = memory.buffer.byteLength;
    await calls(100_000);
    expect(memory.buffer.byteLength).toBe(before);
  });
});

describe("isPlainSuccess()", () => {
  beforeAll(() => {
    new RateLimitService().getCircuitState();
  });

  /** What the core makes of a value that was returned. */
  function coreSays(value: unknown): number {
    const service = glue.create({});
    try {
      return glue.judge(service, value, false, Date.UTC(2026, 0, 1), undefined);
    } finally {
      glue.free(service);
    }
  }

  const status = fc.oneof(
    fc.constantFrom<unknown>(
      0,
      200,
      204,
      301,
      399,
      400,
      404,
      420,
      429,
      500,
      503,
      "200",
      "429",
      " 429 ",
      "420",
      null,
    ),
    fc.constantFrom<unknown>(Number.NaN, 429.5, 1e300, -1, true, {}, [], 429n),
    fc.integer({ min: 100, max: 600 }),
    fc.anything(),
  );
  const words = fc.constantFrom(
    ...["rate limit exceeded", "Too many requests", "429", "error code: 1015", "", "AbortError: aborted"],
    ...["over_request_rate_limit", "RATE_LIMIT_CIRCUIT_OPEN", "SlowDown", "TypeError: Failed to fetch"],
  );
  const headers = fc.oneof(
    fc.constantFrom<unknown>(
      { "retry-after": "3" },
      { "x-tidegate-code": "RATE_LIMIT_CIRCUIT_OPEN" },
      { "x-sb-error-code": "over_email_send_rate_limit" },
    ),
    fc.constant(new Headers({ "x-tidegate-code": "RATE_LIMIT_CIRCUIT_OPEN" })),
    fc.anything(),
  );
  const flag = fc.constantFrom<unknown>(true, false, "true", 1, null, undefined);
  /** Results such as clients return, each with some of the keys that mean something somewhere. */
  const { result } = fc.letrec((tie) => {
    const inner = fc.oneof({ depthSize: "small" }, fc.anything(), words, status, tie("result"));
    return {
      result: fc.oneof(
        { depthSize: "small" },
        fc.record(
          {
            ...{
              status,
              statusCode: status,
              code: fc.oneof(status, words),
              error_code: fc.oneof(status, words),
            },
            ...{ error: inner, data: inner, body: inner, cause: inner, response: inner, context: inner },
            ...{
              originalError: inner,
              details: inner,
              hint: inner,
              message: words,
              statusText: words,
              name: words,
            },
            ...{ rateLimitExceeded: flag, ok: flag, success: flag, headers, count: status },
          },
          { requiredKeys: [] },
        ),
        fc
          .record({
            status: fc.integer({ min: 200, max: 599 }),
            headers: fc.constantFrom({}, { "retry-after": "3" }),
          })
          .filter(({ status }) => ![204, 205, 304].includes(status))
          .map((init) => new Response("rate limit", init)),
      ),
    };
  });

  it.each<[string, fc.Arbitrary<unknown>]>([
    ["anything", fc.anything({ withBigInt: true, withDate: true, withMap: true, withNullPrototype: true })],
    ["what clients return", result],
  ])("never says so of what the core judges otherwise: %s", (_, arbitrary) => {
    fc.assert(
      fc.property(arbitrary, (value) => {
        if (isPlainSuccess(value)) expect(coreSays(value)).toBe(Judgement.success);
      }),
      { numRuns: 3_000 },
    );
  });

  it.each<[string, unknown]>([
    ["undefined", undefined],
    ["null", null],
    ["a text about limits", "too many requests"],
    ["a row", { id: 1, name: "Rate Limit Inc" }],
    ["rows", [{ id: 1 }, { id: 2 }]],
    ["of supabase-js", { data: [{ id: 1 }], error: null, count: null, status: 201, statusText: "Created" }],
    ["of ra-core", { data: { id: 1 } }],
    ["a good Response", new Response("{}", { status: 200 })],
  ])("says so of what is common: %s", (_, value) => {
    expect(isPlainSuccess(value)).toBe(true);
  });

  it.each<[string, unknown]>([
    ["a refused Response", new Response(null, { status: 429 })],
    ["a refusal of supabase-js", { data: null, error: { message: "" }, status: 429 }],
    ["one that says success", { success: true, error: null, data: null, status: 429 }],
    ["the flag", { rateLimitExceeded: true }],
    ["the flag in the data", { data: { rateLimitExceeded: true } }],
  ])("does not say so of %s", (_, value) => {
    expect(isPlainSuccess(value)).toBe(false);
  });
});
