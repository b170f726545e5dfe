import { readFileSync } from "node:fs";
import { afterAll, describe, expect, it } from "vitest";
import { answersOf, type Ending, endingOf } from "../../js/import/endings.ts";
import { RateLimitError, RateLimitService } from "../../js/index.ts";
import { decode } from "./support/decode.ts";
import { refusal } from "./support/import.ts";

const service = new RateLimitService({ logLevel: "silent" });
/** As a service judges where there is no core. */
const blind = { judgement: async () => null } as unknown as RateLimitService;

afterAll(() => service.dispose());

async function end(
  error: unknown,
  { by = service, idempotent = true, hasImported = false } = {},
): Promise<Ending> {
  return (await endingOf(error, { service: by, idempotent, hasImported, durationMs: 10 })).ending;
}

const wordsOf = async (error: unknown) =>
  (await endingOf(error, { service, idempotent: true, hasImported: false, durationMs: 10 })).problem;

interface Capture {
  id: string;
  settled: "thrown" | "resolved";
  value: unknown;
}

const read = (name: string) =>
  JSON.parse(readFileSync(new URL(`../vectors/fixtures/${name}.json`, import.meta.url), "utf8"));
const { captures } = read("supabase-errors") as { captures: Capture[] };
const expectations = read("expected") as Record<
  string,
  { verdict: string; hintMs?: number; answered?: boolean }
>;

describe("what real clients settled with", () => {
  it.each(captures.map((capture) => [capture.id, capture] as const))("%s", async (id, { value }) => {
    const { verdict, hintMs = null, answered } = expectations[id] ?? { verdict: "" };
    const ending = await end(decode(value), { idempotent: false });
    switch (verdict) {
      case "throttled":
        expect(ending).toEqual({ how: "throttled", hintMs });
        break;
      case "transient":
        expect(ending).toEqual(
          answered ? { how: "failed", maybeApplied: expect.any(Boolean) } : { how: "lost", wasSent: true },
        );
        break;
      case "ignored":
        expect(ending).toEqual({ how: "lost", wasSent: true });
        break;
      default:
        expect(["refused", "stops"]).toContain(ending.how);
    }
  });
});

const fetchFailed = new TypeError("fetch failed", {
  cause: Object.assign(new Error("read ECONNRESET"), { code: "ECONNRESET" }),
});

describe.each([
  ["the core", service],
  ["no core", blind],
])("an error judged by %s", (_, by) => {
  it.each<[string, unknown, Ending]>([
    ["429", refusal(429, "Slow down"), { how: "throttled", hintMs: null }],
    ["420", refusal(420, "Slow down"), { how: "throttled", hintMs: null }],
    ["429 with a hint", refusal(429, "", { retryAfterMs: 700 }), { how: "throttled", hintMs: 700 }],
    ["PT429 alone", Object.assign(new Error("limit"), { code: "PT429" }), { how: "throttled", hintMs: null }],
    ["408", refusal(408, "Timeout"), { how: "failed", maybeApplied: true }],
    ["500", refusal(500, "Oops"), { how: "failed", maybeApplied: true }],
    ["503", refusal(503, "Down"), { how: "failed", maybeApplied: true }],
    [
      "a 503 before anything was sent",
      refusal(503, "", { sent: false }),
      { how: "failed", maybeApplied: false },
    ],
    [
      "a statement that timed out",
      refusal(500, "", { code: "57014" }),
      { how: "failed", maybeApplied: false },
    ],
    ["a connection of class 08", refusal(503, "", { code: "08006" }), { how: "failed", maybeApplied: true }],
    [
      "no connection of the pool",
      refusal(504, "", { code: "PGRST003" }),
      { how: "failed", maybeApplied: false },
    ],
    [
      "a connection lost within",
      refusal(503, "", { code: "PGRST001" }),
      { how: "failed", maybeApplied: true },
    ],
    ["40003", refusal(500, "", { code: "40003" }), { how: "failed", maybeApplied: true }],
    ["status 0", refusal(0, "whatever"), { how: "lost", wasSent: true }],
    ["Failed to fetch", new TypeError("Failed to fetch"), { how: "lost", wasSent: true }],
    ["Load failed", new TypeError("Load failed"), { how: "lost", wasSent: true }],
    ["undici", fetchFailed, { how: "lost", wasSent: true }],
    [
      "not sent",
      Object.assign(new TypeError("fetch failed"), { sent: false }),
      { how: "lost", wasSent: false },
    ],
    ["an AbortError", new DOMException("The user aborted", "AbortError"), { how: "lost", wasSent: true }],
    ["a TimeoutError", new DOMException("Too late", "TimeoutError"), { how: "lost", wasSent: true }],
    ["400", refusal(400, "bad"), { how: "refused" }],
    ["409", refusal(409, "duplicate key", { code: "23505" }), { how: "refused" }],
    ["422", refusal(422, "unprocessable"), { how: "refused" }],
    ["an error without a status", new Error("I do not know how"), { how: "refused" }],
    ["a string", "nonsense", { how: "refused" }],
    ["nothing", undefined, { how: "refused" }],
    ["413", refusal(413, "large"), { how: "too large" }],
    ["401", refusal(401, "JWT expired", { code: "PGRST301" }), { how: "stops" }],
    ["403", refusal(403, "no"), { how: "stops" }],
    ["a policy before any row", refusal(403, "row-level security", { code: "42501" }), { how: "stops" }],
    ["stops", Object.assign(new Error("no table"), { status: 404, stops: true }), { how: "stops" }],
    [
      "a cause",
      new Error("wrapped", { cause: refusal(429, "Slow down") }),
      { how: "throttled", hintMs: null },
    ],
    ["a cause that stops", new Error("wrapped", { cause: refusal(401, "no") }), { how: "stops" }],
    ["an answer with an error", { error: { message: "no", code: "23514" }, status: 400 }, { how: "refused" }],
  ])("%s", async (_name, error, expected) => {
    expect(await end(error, { by })).toEqual(expected);
  });

  it("that cannot be read counts as a lost answer", async () => {
    const { proxy, revoke } = Proxy.revocable({}, {});
    revoke();
    expect(await end(proxy, { by })).toEqual({ how: "lost", wasSent: true });
    const throwing = Object.defineProperty(new Error("x"), "stops", {
      get: () => {
        throw new Error("a getter that throws");
      },
    });
    expect(await end(throwing, { by })).toEqual({ how: "lost", wasSent: true });
  });
});

describe("a policy of the database", () => {
  it("may refuse one row of many", async () => {
    const error = refusal(403, "row-level security", { code: "42501" });
    expect(await end(error, { hasImported: true })).toEqual({ how: "refused" });
  });
});

describe("an error of ours out of a client further in", () => {
  const ours = (code: string, more: object = {}) =>
    Object.assign(new Error("Please wait"), { code, ...more });

  it.each([
    "RATE_LIMIT_CIRCUIT_OPEN",
    "RATE_LIMIT_QUOTA_EXHAUSTED",
    "RATE_LIMIT_QUEUE_FULL",
    "RATE_LIMIT_MAX_RETRIES_EXCEEDED",
    "RATE_LIMIT_SOMETHING_NEW",
  ])("%s holds the import", async (code) => {
    expect(await end(ours(code))).toEqual({ how: "throttled", hintMs: null });
    expect(await end(ours(code, { retryAfterMs: 4_000 }))).toEqual({ how: "throttled", hintMs: 4_000 });
    // As react-admin gets it.
    expect(await end(refusal(429, "Please wait", { body: { code, retryAfterMs: 4_000 } }))).toEqual({
      how: "throttled",
      hintMs: 4_000,
    });
  });

  it("has no hint where nobody knows the end", async () => {
    const error = ours("RATE_LIMIT_CIRCUIT_OPEN", { retryAfterMs: Number.POSITIVE_INFINITY });
    expect(await end(error)).toEqual({ how: "throttled", hintMs: null });
  });

  it.each(["RATE_LIMIT_CORE_UNAVAILABLE", "RATE_LIMIT_POOL_CLOSED"])(
    "%s ends it, because no wait would",
    async (code) => {
      expect(await end(ours(code))).toEqual({ how: "stops" });
    },
  );

  it("after a deadline the rows may have been on their way", async () => {
    const details = { code: "RATE_LIMIT_DEADLINE_EXCEEDED", summary: "", userMessage: "Late" } as const;
    const lost = { how: "lost", wasSent: true };
    expect(await end(new RateLimitError({ ...details, attempts: 1 }))).toEqual(lost);
    expect(await end(ours(details.code))).toEqual(lost);
    const unsent = new RateLimitError({ ...details, attempts: 0 });
    expect(await end(unsent)).toEqual({ how: "throttled", hintMs: null });
  });
});

describe("too much at once", () => {
  const error = refusal(500, "statement timeout", { code: "57014", tooLarge: true });

  it("is halved where nothing was written, or does not matter", async () => {
    expect(await end(error, { idempotent: false })).toEqual({ how: "too large" });
    const unclear = refusal(504, "Gateway Timeout", { tooLarge: true });
    expect(await end(unclear)).toEqual({ how: "too large" });
    expect(await end(unclear, { idempotent: false })).toEqual({ how: "failed", maybeApplied: true });
  });
});

describe("the words for people", () => {
  it("are the server's, also from within", async () => {
    expect(await wordsOf({ error: { message: "violates check", code: "23514" }, status: 400 })).toEqual({
      message: "violates check",
      code: "23514",
      status: 400,
    });
    expect(await wordsOf(refusal(409, "duplicate", { body: { code: "23505" } }))).toMatchObject({
      code: "23505",
      status: 409,
    });
  });

  it("are not a proxy's page", async () => {
    expect((await wordsOf(refusal(502, "<html><body>Bad Gateway</body></html>"))).message).toBe(
      "The server answered 502.",
    );
    expect((await wordsOf(undefined)).message).toBe("No reason was given.");
  });
});

describe("answers that cannot be read", () => {
  it("are none, and never a reason to send the rows again", () => {
    const { proxy, revoke } = Proxy.revocable({}, {});
    revoke();
    const throwing = {
      get outcome() {
        throw new Error("a getter that throws");
      },
    };
    for (const answer of [proxy, throwing, [throwing, throwing], [proxy, { outcome: "imported" }]]) {
      expect(answersOf(answer, 2).map(({ outcome }) => outcome)).toEqual(["unknown", "unknown"]);
    }
  });
});

describe("answers row by row", () => {
  it.each<[string, unknown, object]>([
    ["an id that is a number", { outcome: "imported", id: 7 }, { outcome: "imported", id: 7 }],
    ["an id of nothing", { outcome: "duplicate", id: 0 }, { outcome: "duplicate", id: 0 }],
    ["an id that is text", { outcome: "ignored", id: "a7" }, { outcome: "ignored", id: "a7" }],
    ["an id that is neither", { outcome: "imported", id: { of: 7 } }, { outcome: "imported" }],
    ["no id", { outcome: "imported", id: null }, { outcome: "imported" }],
  ])("keep %s as it is", (_, answer, expected) => {
    expect(answersOf([answer], 1)).toStrictEqual([expected]);
    expect(answersOf(answer, 2)).toStrictEqual([expected, expected]);
  });
});
