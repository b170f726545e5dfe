import { describe, expect, it } from "vitest";
import { Judgement } from "../../js/codes.ts";
import { isPlainSuccess, judgedAs, outcomeOf, verdictName } from "../../js/judge.ts";
import type { Verdict } from "../../js/types.ts";
import { bench, ended } from "./support/service.ts";

const NO_HINT = Number.NaN;

describe("the verdict of an application", () => {
  it.each([
    ["with a delay of nothing", { throttled: true, retryAfterMs: 0 }, Judgement.throttled, 0],
    ["with a delay", { throttled: true, retryAfterMs: 700 }, Judgement.throttled, 700],
    ["with a delay below nothing", { throttled: true, retryAfterMs: -1 }, Judgement.throttled, 5_000],
    ["with a delay that is no number", { throttled: true, retryAfterMs: "9" }, Judgement.throttled, 5_000],
    ["with NaN", { throttled: true, retryAfterMs: NO_HINT }, Judgement.throttled, 5_000],
    ["without a delay", { throttled: true }, Judgement.throttled, 5_000],
    ["of this call", { throttled: true, scope: "call" }, Judgement.throttledCall, 5_000],
    ["of the service", { throttled: true, scope: "service" }, Judgement.throttled, 5_000],
  ])("a refusal %s: the server's delay where it has none of its own", (_, verdict, code, hintMs) => {
    expect(judgedAs(verdict as Verdict, 5_000)).toEqual({ code, hintMs });
  });

  it.each(["success", "transient", "permanent", "ignored"] as const)("%s has no delay", (verdict) => {
    expect(judgedAs(verdict, 5_000)).toEqual({ code: Judgement[verdict], hintMs: NO_HINT });
  });

  it.each([["throttled"], [null], [{ throttled: false }], [{ throttled: 1 }], [7]])(
    "%j is none, and says what would be",
    (verdict) => {
      expect(() => judgedAs(verdict as unknown as Verdict, NO_HINT)).toThrow(
        new TypeError(
          'classify: expected "success", "transient", "permanent", "ignored", { throttled: true } or undefined.',
        ),
      );
    },
  );
});

describe("the name of a judgement", () => {
  it.each([
    [Judgement.success, "success"],
    [Judgement.throttled, "throttled"],
    [Judgement.throttledCall, "throttled"],
    [Judgement.transient, "transient"],
    [Judgement.silent, "transient"],
    [Judgement.permanent, "permanent"],
    [Judgement.ignored, "ignored"],
  ])("%d: %s", (code, name) => {
    expect(verdictName(code)).toBe(name);
  });
});

describe("the facts for an application's classify", () => {
  const factsOf = (value: unknown, hintMs = NO_HINT) => outcomeOf({ thrown: true, value }, 12, hintMs);

  it.each([
    ["of the value", { status: 429, code: "busy", message: "Slow down" }],
    ["of its error", { error: { status: 429, code: "busy", message: "Slow down" } }],
    ["of its cause", { cause: { status: 429, code: "busy", message: "Slow down" } }],
    ["of its response", { response: { status: 429, code: "busy", message: "Slow down" } }],
    [
      "of several, each where it is found",
      { code: "busy", error: { statusCode: 429 }, cause: { message: "Slow down" } },
    ],
  ])("are those %s", (_, value) => {
    expect(factsOf(value)).toEqual({
      ...{ error: value, status: 429, code: "busy", message: "Slow down", durationMs: 12 },
    });
  });

  it("are the first that are found, the value's own before those around it", () => {
    const value = { status: 503, error: { status: 429 }, statusCode: 500 };
    expect(factsOf(value).status).toBe(503);
    expect(factsOf({ statusCode: 500, error: { status: 429 } }).status).toBe(500);
  });

  it.each([
    ["429", 429],
    ["4290", undefined],
    ["4e2", undefined],
    ["", undefined],
    [" 429", undefined],
    [Number.NaN, undefined],
    [Number.POSITIVE_INFINITY, undefined],
    [{}, undefined],
  ])("take %j for the status %s", (status, expected) => {
    const facts = factsOf({ status });
    expect(facts.status).toBe(expected);
    expect("status" in facts).toBe(expected !== undefined);
  });

  it("have a code as text and no code that is neither text nor a number", () => {
    expect(factsOf({ code: 1_015 }).code).toBe("1015");
    expect(factsOf({ code: "" }).code).toBe("");
    expect(factsOf({ code: true })).not.toHaveProperty("code");
    expect(factsOf({ message: ["no"] })).not.toHaveProperty("message");
  });

  it("say whether it was thrown, and the delay only where the server named one", () => {
    expect(outcomeOf({ thrown: false, value: "x" }, 0, 300)).toEqual({
      ...{ value: "x", retryAfterMs: 300, durationMs: 0 },
    });
    expect(outcomeOf({ thrown: true, value: null }, 0, NO_HINT)).toEqual({ error: null, durationMs: 0 });
    expect(factsOf({}, 0).retryAfterMs).toBe(0);
  });

  it("leave out what cannot be read", () => {
    const value = {
      get status(): number {
        throw new Error("no");
      },
      code: "busy",
    };
    expect(factsOf(value)).toEqual({ error: value, code: "busy", durationMs: 12 });
  });
});

describe("a value that is plainly a success", () => {
  const revoked = Proxy.revocable({}, {});
  revoked.revoke();

  it.each([
    ["nothing", undefined, true],
    ["null", null, true],
    ["text", "429", true],
    ["a record", { id: 1 }, true],
    ["an answer of 200", { status: 200, error: null }, true],
    ["an answer of 399", { status: 399 }, true],
    ["rows", { data: [{ id: 1 }] }, true],
    ["no rows", { data: null }, true],
  ])("%s is one", (_, value, expected) => {
    expect(isPlainSuccess(value)).toBe(expected);
  });

  it.each([
    ["an answer of 199", { status: 199 }],
    ["an answer of 400", { status: 400 }],
    ["a status in words", { status: "200" }],
    ["an error", { error: "busy" }],
    ["an error that is false", { error: false }],
    ["a flag", { rateLimitExceeded: false }],
    ["a flag on its data", { data: { rateLimitExceeded: undefined } }],
    ["a function", () => {}],
    ["what cannot be read", revoked.proxy],
  ])("of %s that is not sure", (_, value) => {
    expect(isPlainSuccess(value)).toBe(false);
  });
});

describe("the explanation of a refusal", () => {
  it("is not waited for any more when the call is aborted", async () => {
    const { service, host } = bench();
    const controller = new AbortController();
    const answer = new Response(new ReadableStream(), { status: 429 });
    const call = ended(service.executeWithRetry(async () => answer, { signal: controller.signal }));
    await host.advance(0);
    expect(host.sleeping).toBe(1);
    controller.abort(new Error("left the page"));
    await host.advance(0);
    expect(host.sleeping).toBe(0);
    expect(await call).toEqual({ error: new Error("left the page") });
  });
});
