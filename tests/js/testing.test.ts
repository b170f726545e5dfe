import { describe, expect, it, vi } from "vitest";
import { RateLimitService } from "../../js/index.ts";
import { ManualHost, scriptedFetch } from "../../js/testing.ts";
import { ended, refusal, script } from "./support/service.ts";

describe("ManualHost", () => {
  it("begins in 2026, or when it is told to, and stands still", async () => {
    expect(new ManualHost().now()).toBe(Date.UTC(2026, 0, 1));
    const host = new ManualHost({ now: 5 });
    await Promise.resolve();
    expect(host.now()).toBe(5);
  });

  it("wakes sleepers in the order of their times, each at its own", async () => {
    const host = new ManualHost({ now: 0 });
    const woken: [string, number][] = [];
    for (const [name, ms] of [
      ["c", 300],
      ["a", 100],
      ["b", 200],
      ["d", 500],
    ] as const) {
      void host.sleep(ms).then(() => woken.push([name, host.now()]));
    }
    expect(host.sleeping).toBe(4);
    await host.advance(400);
    expect(woken).toEqual([
      ["a", 100],
      ["b", 200],
      ["c", 300],
    ]);
    expect(host.now()).toBe(400);
    expect(host.sleeping).toBe(1);
  });

  it("lets what follows from a waking happen before the next one wakes", async () => {
    const host = new ManualHost({ now: 0 });
    const times: number[] = [];
    const twice = async (): Promise<void> => {
      await host.sleep(100);
      times.push(host.now());
      await host.sleep(100);
      times.push(host.now());
    };
    const done = Promise.all([twice(), host.sleep(150).then(() => times.push(host.now()))]);
    await host.advance(1_000);
    await done;
    expect(times).toEqual([100, 150, 200]);
  });

  it("ends a sleep when its signal aborts, without an error", async () => {
    const host = new ManualHost();
    const controller = new AbortController();
    const sleep = host.sleep(1_000, controller.signal);
    controller.abort();
    await expect(sleep).resolves.toBeUndefined();
    expect(host.sleeping).toBe(0);
    await expect(host.sleep(1_000, AbortSignal.abort())).resolves.toBeUndefined();
    expect(host.sleeping).toBe(0);
  });

  it("drives a promise to its end, from sleeper to sleeper", async () => {
    const host = new ManualHost({ now: 0 });
    const slept = async (): Promise<string> => {
      for (let time = 0; time < 5; time++) await host.sleep(3_600_000);
      return "awake";
    };
    expect(await host.drive(slept())).toBe("awake");
    expect(host.now()).toBe(5 * 3_600_000);
    await expect(host.drive(Promise.reject(new Error("x")))).rejects.toThrow("x");
  });

  it("says so when a promise is pending and nobody sleeps", async () => {
    await expect(new ManualHost().drive(new Promise(() => {}))).rejects.toThrow("Nobody sleeps");
  });

  it("draws the same numbers for the same seed, from 0 to 1, evenly", () => {
    const draw = (seed?: number): number[] => {
      const { random } = new ManualHost(seed === undefined ? {} : { seed });
      return Array.from({ length: 1_000 }, random);
    };
    expect(draw(7)).toEqual(draw(7));
    expect(draw()).toEqual(draw(1));
    expect(draw(7)).not.toEqual(draw(8));
    const numbers = draw(42);
    expect(Math.min(...numbers)).toBeGreaterThanOrEqual(0);
    expect(Math.max(...numbers)).toBeLessThan(1);
    expect(numbers.reduce((sum, number) => sum + number, 0) / 1_000).toBeCloseTo(0.5, 1);
  });

  it("makes a service's time a matter of the test", async () => {
    const tell = async (): Promise<number[]> => {
      const host = new ManualHost({ seed: 3 });
      const service = new RateLimitService({ logLevel: "silent" }, host);
      const pauses: number[] = [];
      service.on("retry", ({ delayMs }) => pauses.push(delayMs));
      await host.drive(ended(service.executeWithRetry(script(refusal()))));
      return pauses;
    };
    expect(await tell()).toEqual(await tell());
  });

  it("touches neither the platform's clock nor its timers", async () => {
    const spies = [vi.spyOn(globalThis, "setTimeout"), vi.spyOn(Date, "now"), vi.spyOn(performance, "now")];
    const host = new ManualHost();
    await host.drive(host.sleep(60_000));
    host.random();
    for (const spy of spies) expect(spy).not.toHaveBeenCalled();
  });
});

describe("scriptedFetch", () => {
  const URL = "https://crm.example/rest/v1/contacts";

  it("gives its answers one after the other, and the last one from then on", async () => {
    const fetch = scriptedFetch(429, { status: 201, body: { id: 1 } });
    const statuses = [];
    for (let request = 0; request < 4; request++) statuses.push((await fetch(URL)).status);
    expect(statuses).toEqual([429, 201, 201, 201]);
  });

  it("answers 200 where it has no script", async () => {
    expect((await scriptedFetch()(URL)).status).toBe(200);
  });

  it("makes real responses: status, text, headers, body", async () => {
    const fetch = scriptedFetch(
      { status: 429, statusText: "Too Many Requests", headers: { "Retry-After": "3" }, body: "slow down" },
      { status: 200, body: { rows: [1] } },
      { status: 204 },
    );
    const refused = await fetch(URL);
    expect(refused).toBeInstanceOf(Response);
    expect(refused).toMatchObject({ status: 429, statusText: "Too Many Requests", ok: false });
    expect(refused.headers.get("retry-after")).toBe("3");
    expect(await refused.text()).toBe("slow down");
    expect(await (await fetch(URL)).json()).toEqual({ rows: [1] });
    expect((await fetch(URL)).body).toBeNull();
  });

  it("gives a response of its own each time", async () => {
    const fetch = scriptedFetch({ status: 200, body: "x" });
    expect(await (await fetch(URL)).text()).toBe("x");
    expect(await (await fetch(URL)).text()).toBe("x");
  });

  it("loses a connection as a browser does", async () => {
    const { error } = await ended(scriptedFetch("lost")(URL));
    expect(error).toBeInstanceOf(TypeError);
    expect(error).toMatchObject({ message: "Failed to fetch" });
  });

  it("keeps the requests as they were sent", async () => {
    const fetch = scriptedFetch(200);
    await fetch(URL, { method: "POST", body: '{"name":"Ada"}', headers: { prefer: "return=minimal" } });
    await fetch(new Request(`${URL}?id=eq.1`));
    expect(fetch.requests.map(({ method, url }) => [method, url])).toEqual([
      ["POST", URL],
      ["GET", `${URL}?id=eq.1`],
    ]);
    expect(await fetch.requests[0]?.json()).toEqual({ name: "Ada" });
    expect(fetch.requests[0]?.headers.get("prefer")).toBe("return=minimal");
  });

  it("rejects a request whose signal has aborted, as fetch does", async () => {
    const fetch = scriptedFetch(200);
    const { error } = await ended(fetch(URL, { signal: AbortSignal.abort() }));
    expect(error).toMatchObject({ name: "AbortError" });
  });

  it("is what a service retries over", async () => {
    const host = new ManualHost();
    const service = new RateLimitService({ logLevel: "silent", retryTransient: "always" }, host);
    const fetch = scriptedFetch(429, "lost", 503, { status: 200, body: "done" });
    const call = service.executeWithRetry(async () => {
      const response = await fetch(URL);
      if (!response.ok) throw response;
      return response.text();
    });
    expect(await host.drive(call)).toBe("done");
    expect(fetch.requests).toHaveLength(4);
  });
});
