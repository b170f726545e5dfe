import { describe, expect, it } from "vitest";
import { limitedFetch, ManualHost } from "../../js/testing.ts";
import { ended } from "./support/service.ts";

const URL = "https://crm.example/rest/v1/contacts";

/** What each of so many requests, one every `everyMs`, was answered with. */
async function statuses(
  counting: "window" | "sliding" | "bucket",
  count: number,
  everyMs: number,
): Promise<number[]> {
  const host = new ManualHost();
  const fetch = limitedFetch({ host, maxRequests: 3, windowMs: 1_000, counting, latencyMs: 0 });
  const seen: number[] = [];
  for (let i = 0; i < count; i++) {
    seen.push((await host.drive(fetch(URL))).status);
    await host.advance(everyMs);
  }
  return seen;
}

describe("limitedFetch", () => {
  const [Y, N] = [200, 429];

  it.each([
    ["window", 300, [Y, Y, Y, N, Y, Y, Y, Y, Y, Y, Y, Y]],
    ["sliding", 300, [Y, Y, Y, N, Y, Y, Y, N, Y, Y, Y, N]],
    ["bucket", 200, [Y, Y, Y, Y, Y, Y, N, Y, N, Y, Y, N]],
  ] as const)("counts by %s", async (counting, everyMs, expected) => {
    expect(await statuses(counting, expected.length, everyMs)).toEqual(expected);
  });

  it.each(["window", "sliding", "bucket"] as const)(
    "lets through what it says, in the long run, by %s",
    async (counting) => {
      const seen = await statuses(counting, 1_000, 100);
      const accepted = seen.filter((status) => status === 200).length;
      expect(Math.abs(accepted - 300)).toBeLessThanOrEqual(3);
    },
  );

  it("says how long to wait, in whole seconds, or nothing", async () => {
    const host = new ManualHost();
    const refused = async (hint: "retry-after" | "none") => {
      const fetch = limitedFetch({ host, maxRequests: 1, windowMs: 60_000, hint });
      await host.drive(fetch(URL));
      return host.drive(fetch(URL));
    };
    const told = await refused("retry-after");
    expect(told.headers.get("retry-after")).toBe("60");
    expect(told).toMatchObject({ status: 429, statusText: "Too Many Requests" });
    expect(await told.json()).toEqual({ message: "Too many requests" });
    expect((await refused("none")).headers.get("retry-after")).toBeNull();
  });

  it("takes the time that the way takes, and counts when the request arrives", async () => {
    const host = new ManualHost({ now: 0 });
    const fetch = limitedFetch({ host, maxRequests: 5, windowMs: 1_000, latencyMs: 300 });
    const answer = fetch(URL);
    await host.advance(149);
    expect(fetch.accepted).toBe(0);
    await host.advance(1);
    expect(fetch.accepted).toBe(1);
    await host.drive(answer);
    expect(host.now()).toBe(300);
  });

  it("has other limits from one moment to the next", async () => {
    const host = new ManualHost();
    const fetch = limitedFetch({ host, maxRequests: 10, windowMs: 1_000, latencyMs: 0 });
    const rush = async () => {
      for (let i = 0; i < 20; i++) await host.drive(fetch(URL));
      return fetch.accepted;
    };
    expect(await rush()).toBe(10);
    fetch.limit({ maxRequests: 5, windowMs: 1_000 });
    await host.advance(1_000);
    expect(await rush()).toBe(15);
    expect(fetch.refused).toBe(25);
    expect(() => fetch.limit({ maxRequests: 0, windowMs: 1_000 })).toThrow("maxRequests");
  });

  it("lets go of a request whose signal aborts; what has arrived is counted", async () => {
    const host = new ManualHost();
    const fetch = limitedFetch({ host, maxRequests: 1, windowMs: 60_000 });
    const abort = async (afterMs: number) => {
      const stop = new AbortController();
      const request = ended(fetch(URL, { signal: stop.signal }));
      await host.advance(afterMs);
      stop.abort();
      expect((await request).error).toMatchObject({ name: "AbortError" });
    };
    await abort(0);
    await abort(10);
    expect(fetch.accepted).toBe(0);
    await abort(30);
    expect(fetch.accepted).toBe(1);
    expect((await ended(fetch(new Request(URL, { signal: AbortSignal.abort() })))).error).toBeDefined();
    expect(host.sleeping).toBe(0);
  });

  it.each([
    ["host", { host: {} }],
    ["maxRequests", { maxRequests: 0 }],
    ["windowMs", { windowMs: -1 }],
    ["counting", { counting: "leaky" }],
    ["status", { status: 200 }],
  ])("refuses an illegal %s", (field, wrong) => {
    const options = { host: new ManualHost(), maxRequests: 1, windowMs: 1, ...wrong };
    expect(() => limitedFetch(options as never)).toThrow(expect.objectContaining({ field }));
  });
});
