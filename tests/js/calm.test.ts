import fc from "fast-check";
import { beforeAll, describe, expect, it, vi } from "vitest";
import { Judgement } from "../../js/codes.ts";
import { numbersOf } from "../../js/config.ts";
import { RateLimitService } from "../../js/index.ts";
import { isPlainSuccess } from "../../js/judge.ts";
import { ManualHost } from "../../js/testing.ts";
import type { CallContext } from "../../js/types.ts";
import * as glue from "../../pkg/core.js";
import { bench, ended, refusal, rejection, script } from "./support/service.ts";

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

/** Calls that need no leave are counted by the shell: nobody must be able to tell. */
describe("a service while all is calm", () => {
  it("counts each call when it begins and each success when it is there", async () => {
    const { service, host } = bench();
    await service.executeWithRetry(async () => 1, { resourceName: "tags" });
    const answers = [1, 2, 3].map((ms) => host.sleep(ms * 10));
    const calls = answers.map((answer) => service.executeWithRetry(() => answer, { resourceName: "tags" }));
    expect(service.getMetrics()).toMatchObject({ calls: 4, attempts: 1, successes: 1 });
    await host.advance(20);
    expect(service.getMetrics()).toMatchObject({
      calls: 4,
      successes: 3,
      groups: [{ calls: 4, successes: 3 }],
    });
    await host.drive(Promise.all(calls));
    const { attemptDurations, groups } = service.getMetrics();
    expect(attemptDurations).toMatchObject({ count: 4, maxMs: 30 });
    expect(groups).toMatchObject([{ resourceName: "tags", calls: 4, attempts: 4, successes: 4 }]);
  });

  it("lets calm calls earn retries, those still under way too", async () => {
    const retryBudget = { ratio: 1, minPerSecond: 0, windowMs: 10_000 };
    const config = {
      circuitBreakerThreshold: 100,
      sharedCooldown: false,
      maxRetries: 100,
      initialDelayMs: 0,
    };
    const { service, host } = bench({ ...config, retryBudget });
    for (let call = 0; call < 2; call++) await service.executeWithRetry(async () => 1);
    const pending = Array.from({ length: 3 }, () => service.executeWithRetry(() => host.sleep(1_000)));
    // Two that are done, three under way, and the one itself.
    const error = await host.drive(rejection(service.executeWithRetry(script(refusal()))));
    expect(error).toMatchObject({ code: "RATE_LIMIT_BUDGET_EXHAUSTED", attempts: 7 });
    await host.drive(Promise.all(pending));
  });

  it("takes refusals that were under way together for one event, and the next one for another", async () => {
    const { service, host } = bench({ maxRetries: 0, sharedCooldown: false });
    await service.executeWithRetry(async () => 1);
    const together = Array.from({ length: 10 }, () => ended(service.executeWithRetry(script(refusal()))));
    await host.drive(Promise.all(together));
    expect(service.getCircuitState().consecutiveFailures).toBe(1);
    await rejection(service.executeWithRetry(script(refusal())));
    expect(service.getCircuitState().consecutiveFailures).toBe(2);
    await service.executeWithRetry(async () => 1);
    await service.executeWithRetry(async () => 1);
    await rejection(service.executeWithRetry(script(refusal())));
    expect(service.getCircuitState().consecutiveFailures).toBe(1);
  });

  it("does not count what was sent before resetCircuit()", async () => {
    const { service, host } = bench({ circuitBreakerThreshold: 1, maxRetries: 0, sharedCooldown: false });
    await service.executeWithRetry(async () => 1);
    const late = ended(service.executeWithRetry(() => host.sleep(50).then(() => Promise.reject(refusal()))));
    service.resetCircuit();
    await host.drive(late);
    expect(service.getCircuitState()).toMatchObject({ state: "closed", consecutiveFailures: 0 });
  });

  it("holds its calls as soon as one is refused, isolated or reconfigured", async () => {
    const { service, host } = bench();
    await service.executeWithRetry(async () => 1);
    const refused = service.executeWithRetry(script(refusal(5), "done"));
    await host.advance(0);
    const held = service.executeWithRetry(async () => host.now());
    const before = host.now();
    expect(await host.drive(held)).toBeGreaterThanOrEqual(before + 5_000);
    await host.drive(refused);
    await service.executeWithRetry(async () => 1);
    service.isolateCircuit();
    expect(await rejection(service.executeWithRetry(async () => 1))).toMatchObject({
      code: "RATE_LIMIT_CIRCUIT_OPEN",
    });
    service.resetCircuit();
    await service.executeWithRetry(async () => 1);
    service.updateConfig({ enabled: false });
    await service.executeWithRetry(async () => 1);
    expect(service.getMetrics().rejected.circuitOpen).toBe(1);
  });

  const answer = fc.constantFrom("ok", "ok", "ok", "ok", "refused", "hinted", "lost", "missing", "silent");
  const step = fc.oneof(
    {
      weight: 8,
      arbitrary: fc.record({ kind: fc.constant("call" as const), answer, ms: fc.nat(40), group: fc.nat(2) }),
    },
    { weight: 4, arbitrary: fc.record({ kind: fc.constant("pass" as const), ms: fc.nat(200) }) },
    {
      weight: 1,
      arbitrary: fc.record({ kind: fc.constantFrom("reset", "isolate", "configure", "long" as const) }),
    },
  );

  /** Whether somebody asks the core before each step, which ends the calm, changes nothing that anybody sees. */
  it("is the same as one that asks the core each time", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 60 }), async (steps) => {
        const live = async (asks: boolean): Promise<unknown[]> => {
          const host = new ManualHost({ seed: 7 });
          const retryBudget = { ratio: 0.5, minPerSecond: 0.2, windowMs: 1_000 };
          const limits = {
            circuitBreakerThreshold: 2,
            circuitResetMs: 300,
            maxRetries: 2,
            initialDelayMs: 20,
          };
          const service = new RateLimitService({ ...limits, retryBudget, logLevel: "silent" }, host);
          const seen: unknown[] = [];
          const ends: Promise<unknown>[] = [];
          service.on("attempt", ({ attempt, verdict, durationMs }) =>
            seen.push([attempt, verdict, durationMs]),
          );
          service.on("circuit", ({ from, to }) => seen.push([from, to]));
          for (const [number, step] of steps.entries()) {
            if (asks) service.getMetrics();
            if (step.kind === "call") {
              const operation = async (): Promise<unknown> => {
                await host.sleep(step.ms);
                if (step.answer === "ok") return number;
                if (step.answer === "refused") throw refusal();
                if (step.answer === "hinted") throw refusal(1);
                if (step.answer === "missing") throw refusal(undefined, 404);
                throw step.answer === "lost" ? refusal(undefined, 503) : new TypeError("Failed to fetch");
              };
              const resourceName = step.group > 0 ? `r${step.group}` : undefined;
              const call = ended(service.executeWithRetry(operation, { resourceName }));
              ends.push(call.then((end) => seen.push([number, host.now(), String(end.error ?? end.value)])));
            } else if (step.kind === "pass") await host.advance(step.ms);
            else if (step.kind === "long") await host.advance(60_000);
            else if (step.kind === "reset") service.resetCircuit();
            else if (step.kind === "isolate") service.isolateCircuit();
            else service.updateConfig({ retryBudget: { ...retryBudget, ratio: 0.25 } });
          }
          await host.drive(Promise.all(ends));
          return [...seen, service.getMetrics(), service.getCircuitState()];
        };
        expect(await live(false)).toEqual(await live(true));
      }),
      { numRuns: 300 },
    );
  });
});

describe("isPlainSuccess()", () => {
  beforeAll(() => {
    new RateLimitService().getCircuitState();
  });

  /** What the core makes of a value that was returned. */
  function coreSays(value: unknown): number {
    const service = glue.create(numbersOf({}));
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
