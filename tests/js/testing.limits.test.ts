import { describe, expect, it, vi } from "vitest";
import {
  limitedFetch,
  ManualHost,
  type RateLimitFindings,
  type RateLimitTestOptions,
  testRateLimits,
} from "../../js/testing.ts";
import { ended, refusal } from "./support/service.ts";

const URL = "https://crm.example/rest/v1/contacts";

const COUNTING = ["window", "sliding", "bucket"] as const;

/** A server with a limit, and what is found out about it by somebody who begins so late in a window. */
async function found(
  server: Omit<Parameters<typeof limitedFetch>[0], "host">,
  options: Partial<RateLimitTestOptions> = {},
  lateMs = 1_234,
) {
  const host = new ManualHost();
  const fetch = limitedFetch({ host, ...server });
  await host.advance(lateMs);
  const findings = await testRateLimits({ host, send: ({ signal }) => fetch(URL, { signal }), ...options });
  return { findings, fetch };
}

/** Whether the rate is one of those that the findings leave possible. */
function isWithin({ limit }: RateLimitFindings, perMs: number): boolean {
  if (!limit) return false;
  const { maxRequests, windowMs, uncertaintyMs } = limit;
  const least = maxRequests / (windowMs + uncertaintyMs);
  const most = windowMs > uncertaintyMs ? maxRequests / (windowMs - uncertaintyMs) : Number.POSITIVE_INFINITY;
  return least <= perMs && perMs <= most;
}

describe("testRateLimits", () => {
  describe.each(COUNTING)("in front of a server that counts by %s", (counting) => {
    it.each([
      [5, 1_000],
      [20, 10_000],
      [60, 60_000],
    ])("finds %i in %i ms from its hints, within what it says", async (maxRequests, windowMs) => {
      const { findings, fetch } = await found({ counting, maxRequests, windowMs });
      expect(findings.stopped).toBe("found");
      expect(isWithin(findings, maxRequests / windowMs)).toBe(true);
      // Hints are whole seconds.
      expect(findings.limit?.uncertaintyMs).toBeLessThanOrEqual(1_100);
      expect(findings.refused).toBeLessThanOrEqual(3);
      expect([fetch.accepted, fetch.refused]).toEqual([findings.accepted, findings.refused]);
    });

    it.each([0, 3_000, 9_000])("finds it blindly, %i ms into a window", async (late) => {
      const { findings } = await found(
        { counting, maxRequests: 20, windowMs: 10_000, hint: "none" },
        {},
        late,
      );
      expect(findings.stopped).toBe("found");
      expect(isWithin(findings, 20 / 10_000)).toBe(true);
      expect(findings.refused).toBeLessThanOrEqual(10);
    });
  });

  it("finds a minute to the second, where a server counts in windows and says when", async () => {
    const { findings } = await found({ maxRequests: 60, windowMs: 60_000 });
    expect(findings).toMatchObject({
      accepted: 121,
      refused: 2,
      limit: { maxRequests: 60, windowMs: 60_050, uncertaintyMs: 1_000 },
      atFirst: { accepted: 60, durationMs: 6_000 },
    });
  });

  it("is not misled by a window that ends soon after it began", async () => {
    const { findings } = await found({ maxRequests: 60, windowMs: 60_000 }, {}, 53_000);
    expect(findings.reopenedAfterMs).toBeLessThan(2_000);
    expect(findings.limit).toMatchObject({ maxRequests: 60 });
    expect(Math.abs((findings.limit?.windowMs ?? 0) - 60_000)).toBeLessThan(1_100);
  });

  it("shows a burst beside the rate of a bucket", async () => {
    const { findings } = await found({ counting: "bucket", maxRequests: 60, windowMs: 60_000 });
    expect(findings.atFirst.accepted).toBe(66);
    expect(findings.limit?.maxRequests).toBeLessThan(5);
  });

  it("shows what a refusal looks like, and what a service reads from it", async () => {
    const { findings } = await found({ maxRequests: 3, windowMs: 10_000 });
    expect(findings.refusal).toEqual({
      thrown: false,
      status: 429,
      code: undefined,
      message: undefined,
      retryAfterMs: 9_000,
      headers: { "retry-after": "9" },
      body: '{"message":"Too many requests"}',
      understood: true,
    });
  });

  it("says that a server gives no hint", async () => {
    const { findings } = await found({ maxRequests: 3, windowMs: 10_000, hint: "none" });
    expect(findings.refusal).toMatchObject({ retryAfterMs: undefined, headers: {}, understood: true });
  });

  it("sees refusals that are thrown, and hints in bodies", async () => {
    const host = new ManualHost();
    let sent = 0;
    const send = () => {
      if (++sent % 5 === 0) throw Object.assign(refusal(), { code: "23", body: { retry_after: 2 } });
      return { data: [], error: null };
    };
    const findings = await testRateLimits({ host, send });
    expect(findings.refusal).toMatchObject({
      thrown: true,
      status: 429,
      code: "23",
      message: "HTTP 429",
      retryAfterMs: 2_000,
    });
    expect(findings).toMatchObject({ stopped: "found", limit: { maxRequests: 4 } });
  });

  it("shows the headers of answers that tell of limits", async () => {
    const host = new ManualHost();
    const headers = {
      "X-RateLimit-Limit": "100",
      "RateLimit-Policy": '"a";q=100;w=60',
      "Content-Type": "text/plain",
    };
    const send = () => new Response("x", { headers });
    const findings = await testRateLimits({ host, send, maxRequests: 3 });
    expect(findings.headers).toEqual({ "x-ratelimit-limit": "100", "ratelimit-policy": '"a";q=100;w=60' });
  });

  it("takes for a refusal what it is told to, and says that a service would not", async () => {
    const host = new ManualHost();
    const fetch = limitedFetch({ host, maxRequests: 5, windowMs: 10_000, status: 403 });
    const options = { host, send: () => fetch(URL) };
    expect(await testRateLimits(options)).toMatchObject({
      stopped: "failure",
      accepted: 5,
      refused: 0,
      limit: null,
    });
    await host.advance(20_000);
    const findings = await testRateLimits({ ...options, isRefusal: ({ status }) => status === 403 });
    expect(findings).toMatchObject({
      stopped: "found",
      refusal: { status: 403, understood: false },
      limit: { maxRequests: 5 },
    });
  });

  it("ends at what is neither success nor refusal, and says what it was", async () => {
    const host = new ManualHost();
    const failure = new TypeError("Failed to fetch");
    const findings = await testRateLimits({ host, send: () => Promise.reject(failure) });
    expect(findings).toMatchObject({
      stopped: "failure",
      requests: 1,
      accepted: 0,
      limit: null,
      refusal: null,
    });
    expect(findings.failure).toBe(failure);
  });

  it("ends at an answer that does not come", async () => {
    const host = new ManualHost();
    const findings = await testRateLimits({ host, send: () => new Promise(() => {}), timeoutMs: 2_000 });
    expect(findings).toMatchObject({ stopped: "failure", requests: 1, durationMs: 2_000 });
    expect(findings.failure).toMatchObject({ name: "TimeoutError" });
  });

  it("reads no body for ever", async () => {
    const host = new ManualHost();
    const endless = () =>
      new Response(new ReadableStream(), { status: 429, headers: { "Retry-After": "1" } });
    const findings = await testRateLimits({ host, send: endless, maxRefusals: 1 });
    expect(findings.refusal).toMatchObject({ status: 429, body: undefined });
  });

  describe("never hammers:", () => {
    it("it keeps the pace", async () => {
      const host = new ManualHost();
      const times: number[] = [];
      await testRateLimits({ host, send: () => times.push(host.now()), ratePerSecond: 4, maxRequests: 20 });
      expect(times.slice(1).every((time, i) => time - (times[i] ?? 0) === 250)).toBe(true);
      expect(times).toHaveLength(20);
    });

    it("it makes no more requests than it may", async () => {
      const { findings } = await found({ maxRequests: 1_000, windowMs: 1_000 }, { maxRequests: 50 });
      expect(findings).toMatchObject({ stopped: "requests", requests: 50, refused: 0, limit: null });
    });

    it("it takes no more refusals than it may", async () => {
      const host = new ManualHost();
      const times: number[] = [];
      const send = () => {
        times.push(host.now());
        throw refusal();
      };
      const findings = await testRateLimits({ host, send, maxRefusals: 5 });
      expect(findings).toMatchObject({ stopped: "refusals", requests: 5, refused: 5, reopenedAfterMs: null });
      expect(times.slice(1).map((time, i) => time - (times[i] ?? 0))).toEqual([1_000, 2_000, 4_000, 8_000]);
    });

    it("it does not believe a hint of 0", async () => {
      const host = new ManualHost();
      const findings = await testRateLimits({ host, send: () => Promise.reject(refusal(0)), maxRefusals: 3 });
      expect(findings).toMatchObject({
        requests: 3,
        durationMs: 3_000,
        refusal: { retryAfterMs: undefined },
      });
    });

    it("it does not wait for a hint beyond its time", async () => {
      const host = new ManualHost();
      const findings = await testRateLimits({ host, send: () => Promise.reject(refusal(3_600)) });
      expect(findings).toMatchObject({
        stopped: "time",
        requests: 1,
        durationMs: 0,
        refusal: { retryAfterMs: 3_600_000 },
      });
    });

    it("with several under way, a refusal holds back all that are not", async () => {
      const { findings } = await found(
        { maxRequests: 50, windowMs: 10_000, latencyMs: 400 },
        { ratePerSecond: 40, concurrency: 20, maxRefusals: 60 },
      );
      expect(findings.limit?.maxRequests).toBe(50);
      // Those that were on their way when the first refusal came back.
      expect(findings.refused).toBeLessThanOrEqual(2 * 20);
    });

    it("it stops when it is told to", async () => {
      const host = new ManualHost();
      const stop = new AbortController();
      void host.sleep(450).then(() => stop.abort());
      const findings = await testRateLimits({ host, send: () => 1, signal: stop.signal });
      expect(findings).toMatchObject({ stopped: "aborted", requests: 5, durationMs: 450 });
    });
  });

  it.each([
    ["send", { send: 1 }],
    ["ratePerSecond", { ratePerSecond: 0 }],
    ["maxRefusals", { maxRefusals: 101 }],
    ["retries", { retries: 1 }],
  ])("refuses an illegal %s", async (field, wrong) => {
    const { error } = await ended(testRateLimits({ send: () => 1, ...(wrong as object) }));
    expect(error).toMatchObject({ name: "RateLimitConfigError", field });
  });

  it("sends nothing where the core is missing: nobody would know a refusal", async () => {
    vi.resetModules();
    vi.stubGlobal("WebAssembly", undefined);
    const { testRateLimits } = await import("../../js/testing.ts");
    const send = vi.fn();
    const { error } = await ended(testRateLimits({ send }));
    expect(error).toMatchObject({ message: 'testRateLimits needs the core, which is "no-wasm" here.' });
    expect(send).not.toHaveBeenCalled();
  });
});
