import { describe, expect, it } from "vitest";
import {
  blockAfter,
  concurrencyCap,
  fixedWindow,
  slidingLog,
  tokenBucket,
  writesOnly,
} from "../../../examples/crm/server/limiters.mjs";

/** What each arrival is told: null goes through, a number is a wait. */
function tell(limiter: ReturnType<typeof tokenBucket>, arrivals: number[], write = true) {
  return arrivals.map((now) => limiter.admit(now, { write }));
}

describe("token bucket", () => {
  it.each<[string, number[], (number | null)[]]>([
    ["lets a burst through, then says when there is the next token", [0, 0, 0, 0], [null, null, null, 100]],
    ["fills at its rate", [0, 0, 0, 100, 100, 350, 350], [null, null, null, null, 100, null, null]],
    ["never holds more than the burst", [0, 60_000, 60_000, 60_000, 60_000], [null, null, null, null, 100]],
    ["charges nothing for a refusal", [0, 0, 0, 0, 50, 100], [null, null, null, 100, 50, null]],
  ])("%s", (_, arrivals, told) => {
    expect(tell(tokenBucket({ rate: 10, burst: 3 }), arrivals)).toEqual(told);
  });

  it("costs what does not fit the burst", () => {
    const { leastMs } = tokenBucket({ rate: 20, burst: 20 });
    expect([20, 21, 420].map((requests) => leastMs({ requests, writes: 0 }))).toEqual([0, 50, 20_000]);
  });
});

describe("fixed window", () => {
  it.each<[string, number[], (number | null)[]]>([
    ["counts anew when the window ends", [0, 10, 20, 999, 1000], [null, null, 980, 1, null]],
    ["opens the next window with the next request", [0, 5000, 5001, 5002], [null, null, null, 998]],
    ["lets twice the limit through around its edge", [998, 999, 1998, 1999], [null, null, null, null]],
  ])("%s", (_, arrivals, told) => {
    expect(tell(fixedWindow({ limit: 2, windowMs: 1000 }), arrivals)).toEqual(told);
  });
});

describe("sliding log", () => {
  it.each<[string, number[], (number | null)[]]>([
    ["waits for the oldest to leave", [0, 400, 500, 999, 1000, 1399], [null, null, 500, 1, null, 1]],
    ["does not let twice the limit through around an edge", [998, 999, 1998, 1999], [null, null, null, null]],
    ["does not let more through in any span", [0, 999, 1000, 1001, 1998], [null, null, null, 998, 1]],
  ])("%s", (_, arrivals, told) => {
    expect(tell(slidingLog({ limit: 2, windowMs: 1000 }), arrivals)).toEqual(told);
  });

  it("costs a window per full limit", () => {
    const { leastMs } = slidingLog({ limit: 100, windowMs: 10_000 });
    expect([100, 101, 350].map((requests) => leastMs({ requests, writes: 0 }))).toEqual([0, 10_000, 30_000]);
  });
});

describe("concurrency cap", () => {
  it("lets the next in when one leaves", () => {
    const limiter = concurrencyCap({ limit: 2 });
    expect(tell(limiter, [0, 0, 0])).toEqual([null, null, 1000]);
    limiter.leave?.();
    expect(tell(limiter, [0, 0])).toEqual([null, 1000]);
  });
});

describe("block after too many", () => {
  const rule = { limit: 2, windowMs: 1000, blockMs: 5000 };

  it("blocks for its time, whatever is sent meanwhile, and starts anew", () => {
    const arrivals = [0, 1, 2, 3000, 5001, 5002, 5003, 5004];
    expect(tell(blockAfter(rule), arrivals)).toEqual([null, null, 5000, 2002, 1, null, null, 5000]);
  });

  it("does not block who stays within the period's limit", () => {
    expect(tell(blockAfter(rule), [0, 500, 1000, 1500, 2000])).toEqual([null, null, null, null, null]);
  });
});

describe("writes only", () => {
  it("neither counts nor refuses reads", () => {
    const limiter = writesOnly(slidingLog({ limit: 1, windowMs: 1000 }));
    expect(tell(limiter, [0, 0, 0], false)).toEqual([null, null, null]);
    expect(tell(limiter, [0, 0])).toEqual([null, 1000]);
    expect(tell(limiter, [0], false)).toEqual([null]);
    expect(limiter.leastMs({ requests: 500, writes: 2 })).toBe(1000);
  });
});

it("says its rule in words, one of a thing too", () => {
  const rules = [1, 2].flatMap((limit) => [
    tokenBucket({ rate: limit, burst: 5 }).rule,
    slidingLog({ limit, windowMs: 10_000 }).rule,
    concurrencyCap({ limit }).rule,
  ]);
  expect(rules).toEqual([
    "1 request/s, burst 5",
    "1 request in any 10 s",
    "1 request at once",
    "2 requests/s, burst 5",
    "2 requests in any 10 s",
    "2 requests at once",
  ]);
});
