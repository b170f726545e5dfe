import { describe, expect, it } from "vitest";
import { RateLimiterRegistry, RateLimitService } from "../../js/index.ts";
import { limitedFetch, loadTest, ManualHost } from "../../js/testing.ts";
import { ended, refusal } from "./support/service.ts";

const URL = "https://crm.example/rest/v1/contacts";

/** A load of ten a second, like clockwork, for ten seconds. */
function load(more: Partial<Parameters<typeof loadTest>[0]> = {}): Parameters<typeof loadTest>[0] {
  return {
    send: () => "done",
    ratePerSecond: 10,
    durationMs: 10_000,
    arrivals: "even",
    host: new ManualHost(),
    ...more,
  };
}

describe("loadTest", () => {
  it("makes calls at the rate, for the time, and counts them by the second", async () => {
    const host = new ManualHost();
    const report = await loadTest(load({ host, send: () => host.sleep(200) }));
    expect(report).toMatchObject({
      calls: 100,
      succeeded: 100,
      late: 0,
      failed: 0,
      attempts: 100,
      refused: 0,
    });
    expect(report.durationMs).toBe(10_100);
    expect(report.goodputPerSecond).toBeCloseTo(100 / 10.1);
    expect(report.latencyMs).toEqual({ p50: 200, p95: 200, p99: 200, max: 200 });
    expect(report.worstSecond).toEqual({ atMs: 0, attempts: 10 });
    expect(report.seconds).toHaveLength(11);
    expect(report.seconds[0]).toEqual({ attempts: 10, refused: 0, succeeded: 8, late: 0, failed: 0 });
    expect(report.seconds[10]).toEqual({ attempts: 0, refused: 0, succeeded: 2, late: 0, failed: 0 });
  });

  it("waits for nobody: a slow server gets the same rate", async () => {
    const host = new ManualHost();
    const report = await loadTest(load({ host, send: () => host.sleep(60_000) }));
    expect(report.attempts).toBe(100);
    expect(report.durationMs).toBe(69_900);
  });

  it("comes at random by default, the same for the same seed, at the rate in the mean", async () => {
    const of = (seed: number) =>
      loadTest({ send: () => 1, ratePerSecond: 20, durationMs: 600_000, host: new ManualHost({ seed }) });
    const report = await of(1);
    expect(report.calls).toBeGreaterThan(11_500);
    expect(report.calls).toBeLessThan(12_500);
    expect(report.worstSecond.attempts).toBeGreaterThan(30);
    expect(await of(1)).toEqual(report);
    expect(await of(2)).not.toEqual(report);
  });

  it("gives the clients their turns, and each a service of its own where it makes one", async () => {
    const clients: number[] = [];
    const made: RateLimitService[] = [];
    const host = new ManualHost();
    await loadTest(
      load({
        host,
        clients: 4,
        durationMs: 800,
        send: ({ client, call }) => clients.push(client * 10 + call),
        service: (client) => {
          made[client] = new RateLimitService({ logLevel: "silent" }, host);
          return made[client];
        },
      }),
    );
    expect(clients).toEqual([0, 11, 22, 33, 4, 15, 26, 37]);
    expect(made.map((service) => service.getMetrics().calls)).toEqual([2, 2, 2, 2]);
  });

  it("counts the retries of a service as attempts, and refusals apart from failures", async () => {
    const host = new ManualHost();
    const service = new RateLimitService({ logLevel: "silent" }, host);
    let sent = 0;
    const send = async () => {
      if (sent++ % 4 === 0) throw refusal(1);
      return 1;
    };
    const report = await loadTest(load({ host, service, send }));
    expect(report.succeeded).toBe(100);
    expect(report.attempts).toBe(100 + report.refused);
    expect(report.refused).toBe(service.getMetrics().throttled);
    expect(report.refused).toBeGreaterThan(10);
    expect(report.latencyMs.max).toBeGreaterThanOrEqual(1_000);
  });

  it("tells by name why calls failed", async () => {
    const host = new ManualHost();
    let call = 0;
    const answers = [
      () => Promise.reject(refusal()),
      () => Promise.reject(new TypeError("Failed to fetch")),
      () => new Response(null, { status: 503 }),
      () => ({ data: null, error: { message: "no", status: 429 } }),
      () => Promise.reject("gone"),
    ];
    const report = await loadTest(load({ host, send: () => answers[call++ % answers.length]?.() }));
    expect(report.failed).toBe(100);
    expect(report.refused).toBe(40);
    expect(report.failures).toEqual({ "status 429": 40, TypeError: 20, "status 503": 20, gone: 20 });
    expect(report.goodputPerSecond).toBe(0);
    expect(report.latencyMs).toEqual({ p50: 0, p95: 0, p99: 0, max: 0 });
  });

  it("tells our errors by their code, and does not count a rejected call as an attempt", async () => {
    const host = new ManualHost();
    const service = new RateLimitService({ logLevel: "silent" }, host);
    service.isolateCircuit();
    const report = await loadTest(load({ host, service }));
    expect(report.failures).toEqual({ RATE_LIMIT_CIRCUIT_OPEN: 100 });
    expect(report).toMatchObject({ attempts: 0, refused: 0, worstSecond: { atMs: 0, attempts: 0 } });
  });

  it("takes no late success for goodput", async () => {
    const host = new ManualHost();
    const send = ({ call }: { call: number }) => host.sleep(call % 2 ? 100 : 3_000);
    const report = await loadTest(load({ host, send, usefulWithinMs: 1_000 }));
    expect(report).toMatchObject({ succeeded: 100, late: 50 });
    expect(report.goodputPerSecond).toBeCloseTo(50 / (report.durationMs / 1_000));
  });

  it("goes through whatever makes the calls", async () => {
    const host = new ManualHost();
    const limits = { rateLimit: { default: { maxRequests: 5, windowMs: 1_000 } } };
    const registry = new RateLimiterRegistry({ crm: limits }, { host, config: { logLevel: "silent" } });
    const fetch = limitedFetch({ host, maxRequests: 5, windowMs: 1_000, latencyMs: 0, counting: "sliding" });
    const report = await loadTest(
      load({
        host,
        send: ({ signal }) => fetch(URL, { signal }),
        call: (send) => registry.withRateLimit("crm", "default", send),
      }),
    );
    expect(report).toMatchObject({ succeeded: 100, refused: 0, attempts: 100 });
    expect(report.durationMs).toBeGreaterThan(19_000);
    expect([fetch.accepted, fetch.refused]).toEqual([100, 0]);
  });

  it("lets the application say what a success is", async () => {
    const report = await loadTest(load({ isSuccess: (value) => value !== "done" }));
    expect(report).toMatchObject({ succeeded: 0, failed: 100, failures: { done: 100 } });
  });

  it("lets no more calls begin when its signal aborts, and tells those under way", async () => {
    const host = new ManualHost();
    const stop = new AbortController();
    void host.sleep(2_050).then(() => stop.abort());
    const send = async ({ signal }: { signal: AbortSignal }) => {
      await host.sleep(500, signal);
      signal.throwIfAborted();
    };
    const report = await loadTest(load({ host, signal: stop.signal, send }));
    expect(report).toMatchObject({ calls: 21, failures: { AbortError: 5 }, durationMs: 2_050 });
  });

  it("gives each request a signal of its own: many listeners on one would look like a leak", async () => {
    const host = new ManualHost();
    const signals = new Set<AbortSignal>();
    await loadTest(load({ host, send: ({ signal }) => signals.add(signal) && host.sleep(5_000, signal) }));
    expect(signals.size).toBe(100);
  });

  it.each([
    [false, 160],
    [true, 5],
  ])(
    "shows what the guide says of it: guarded %s, %i of 2477 calls fail at most",
    async (isGuarded, most) => {
      const host = new ManualHost();
      const fetch = limitedFetch({ host, maxRequests: 10, windowMs: 1_000 });
      const service = () => new RateLimitService({ callDeadlineMs: 10_000, logLevel: "silent" }, host);
      const report = await loadTest({
        ...{ host, clients: 5, ratePerSecond: 8, durationMs: 300_000, usefulWithinMs: 10_000 },
        send: ({ signal }) => fetch(URL, { signal }),
        ...(isGuarded && { service }),
      });
      expect(report.failed).toBeLessThanOrEqual(most);
      if (!isGuarded) expect(report).toMatchObject({ calls: 2_477, failed: 160, refused: 160 });
      else expect(report.refused).toBeGreaterThan(160);
    },
  );

  it("runs beside another one of the same host", async () => {
    const host = new ManualHost();
    const [background, peak] = await Promise.all([
      loadTest(load({ host, send: () => host.sleep(50) })),
      loadTest(load({ host, send: () => host.sleep(70), ratePerSecond: 40, durationMs: 2_000 })),
    ]);
    expect(background).toMatchObject({ succeeded: 100, durationMs: 10_000 });
    expect(peak).toMatchObject({ succeeded: 80 });
    expect(peak?.durationMs).toBeLessThan(2_100);
  });

  it("goes by real time without a host", async () => {
    const report = await loadTest({ send: () => 1, ratePerSecond: 200, durationMs: 100, arrivals: "even" });
    expect(report.calls).toBe(20);
    expect(report.durationMs).toBeGreaterThanOrEqual(90);
  });

  it.each([
    ["send", { send: undefined }],
    ["ratePerSecond", { ratePerSecond: 0 }],
    ["durationMs", { durationMs: Number.NaN }],
    ["clients", { clients: 1.5 }],
    ["service", { service: {} }],
    ["speed", { speed: 1 }],
  ])("refuses an illegal %s", async (field, wrong) => {
    const { error } = await ended(loadTest(load(wrong as object)));
    expect(error).toMatchObject({ name: "RateLimitConfigError", field });
  });
});
