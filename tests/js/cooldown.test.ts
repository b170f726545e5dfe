import { describe, expect, it } from "vitest";
import { isRateLimitError } from "../../js/index.ts";
import type { ManualHost } from "../../js/testing.ts";
import type { AttemptInfo, RateLimitConfig } from "../../js/types.ts";
import { type Bench, bench, deferred, ended, refusal, rejection, script } from "./support/service.ts";

/** Calls that are in flight until they are told to end, in the order in which they went. */
class Flights {
  readonly gone: string[] = [];
  readonly #ends = new Map<string, ReturnType<typeof deferred>>();

  operation(name: string): () => Promise<unknown> {
    return () => {
      const end = deferred();
      this.gone.push(name);
      this.#ends.set(name, end);
      return end.promise;
    };
  }

  land(name: string, error?: unknown): void {
    const end = this.#ends.get(name);
    if (!end) throw new Error(`${name} has not gone`);
    this.#ends.delete(name);
    if (error === undefined) end.resolve(name);
    else end.reject(error);
  }

  inFlight(): string[] {
    return [...this.#ends.keys()];
  }
}

/** A cooldown of so many seconds that nobody but those who come later waits for. */
async function cooling(seconds: number, config: Partial<RateLimitConfig> = {}): Promise<Bench> {
  const stage = bench({ circuitBreakerThreshold: 1_000, ...config });
  await rejection(stage.service.executeWithRetry(script(refusal(seconds)), { maxRetries: 0 }));
  return stage;
}

describe("after a refusal", () => {
  it("callers that come later wait for the hint", async () => {
    const { service, host } = await cooling(3);
    const begun = host.now();
    const went = await host.drive(service.executeWithRetry(async () => host.now() - begun));
    expect(went).toBe(3_000);
  });

  it("without a hint they wait for the refused call's own backoff", async () => {
    const { service, host } = bench({ initialDelayMs: 700 });
    void ended(service.executeWithRetry(script(refusal(), "done")));
    await host.advance(0);
    const begun = host.now();
    expect(await host.drive(service.executeWithRetry(async () => host.now() - begun))).toBe(700);
  });

  it("those who are held leave one, two, four …, and not as a herd", async () => {
    const { service, host } = await cooling(1);
    const flights = new Flights();
    const names = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"];
    const calls = names.map((name) => service.executeWithRetry(flights.operation(name)));
    await host.advance(1_000);
    const waves: string[] = [];
    while (flights.inFlight().length > 0) {
      const wave = flights.inFlight();
      waves.push(wave.join(""));
      for (const name of wave) flights.land(name);
      await host.advance(0);
    }
    expect(waves).toEqual(["a", "bc", "defg", "hij"]);
    expect(await Promise.all(calls)).toEqual(names);
  });

  it("each success lets two more go, at once", async () => {
    const { service, host } = await cooling(1);
    const flights = new Flights();
    for (const name of ["a", "b", "c", "d", "e", "f"]) {
      void ended(service.executeWithRetry(flights.operation(name)));
    }
    await host.advance(1_000);
    flights.land("a");
    await host.advance(0);
    expect(flights.inFlight()).toEqual(["b", "c"]);
    flights.land("b");
    await host.advance(0);
    expect(flights.inFlight()).toEqual(["c", "d", "e"]);
  });

  it("a refusal of the one that went begins a new cooldown for all", async () => {
    const { service, host } = await cooling(1);
    const flights = new Flights();
    for (const name of ["a", "b", "c"]) void ended(service.executeWithRetry(flights.operation(name)));
    await host.advance(1_000);
    flights.land("a", refusal(2));
    await host.advance(1_999);
    expect(flights.gone).toEqual(["a"]);
    await host.advance(1);
    expect(flights.gone).toHaveLength(2);
  });

  it("the next one goes when the first has not answered for probeTimeoutMs", async () => {
    const { service, host } = await cooling(1, { probeTimeoutMs: 4_000 });
    const flights = new Flights();
    for (const name of ["a", "b"]) void ended(service.executeWithRetry(flights.operation(name)));
    await host.advance(4_999);
    expect(flights.gone).toEqual(["a"]);
    await host.advance(1);
    expect(flights.gone).toEqual(["a", "b"]);
  });

  it("who is held spends no retry", async () => {
    const { service, host } = await cooling(1);
    const operation = script(refusal(), refusal(), "done");
    expect(await host.drive(service.executeWithRetry(operation, { maxRetries: 2 }))).toBe("done");
    expect(service.getMetrics()).toMatchObject({ retries: 2, throttled: 3 });
  });

  it("a success of somebody who had been sent before it does not end it", async () => {
    const { service, host } = bench();
    const early = deferred();
    const inFlight = service.executeWithRetry(() => early.promise);
    await rejection(service.executeWithRetry(script(refusal(5)), { maxRetries: 0 }));
    early.resolve("done");
    expect(await inFlight).toBe("done");
    const operation = script("done");
    const held = service.executeWithRetry(operation);
    await host.advance(4_999);
    expect(operation.times).toBe(0);
    expect(await host.drive(held)).toBe("done");
  });

  it("nobody is held where the cooldown is not shared", async () => {
    const { service } = await cooling(5, { sharedCooldown: false });
    expect(await service.executeWithRetry(async () => "at once")).toBe("at once");
  });

  it("of scope call nobody else is held", async () => {
    const { service } = bench();
    const error = Object.assign(refusal(60), { code: "over_email_send_rate_limit" });
    await rejection(service.executeWithRetry(script(error), { maxRetries: 0 }));
    expect(await service.executeWithRetry(async () => "at once")).toBe("at once");
  });

  it("whose hint is too long nobody is held, but rejected at once until it ends", async () => {
    const { service, host } = bench({ maxRetryAfterMs: 10_000 });
    await rejection(service.executeWithRetry(script(refusal(20))));
    const operation = script("done");
    await host.advance(19_000);
    expect(await rejection(service.executeWithRetry(operation))).toMatchObject({
      code: "RATE_LIMIT_RETRY_AFTER_TOO_LONG",
      attempts: 0,
      retryAfterMs: 1_000,
    });
    await host.advance(1_000);
    expect(await host.drive(service.executeWithRetry(operation))).toBe("done");
    expect(operation.times).toBe(1);
  });
});

describe("ten parallel refusals", () => {
  it("are one event: for the count, for the cooldown and for who listens", async () => {
    const { service, host } = bench({ circuitBreakerThreshold: 2 });
    const told: unknown[] = [];
    service.on("cooldown", ({ state }) => told.push(state));
    const flights = new Flights();
    for (let call = 0; call < 10; call++) {
      const land = flights.operation(String(call));
      void ended(
        service.executeWithRetry(({ attempt }) => (attempt === 1 ? land() : Promise.resolve("done"))),
      );
    }
    for (const name of flights.inFlight()) flights.land(name, refusal(2));
    await host.advance(0);
    expect(service.getCircuitState()).toMatchObject({ state: "closed", consecutiveFailures: 1 });
    expect(told).toEqual(["began"]);
    await host.advance(2_000);
    expect(service.getCircuitState()).toMatchObject({ state: "closed", consecutiveFailures: 0 });
    expect(service.getMetrics()).toMatchObject({ throttled: 10, successes: 10, retries: 10 });
    expect(told).toEqual(["began", "ended"]);
  });
});

describe("the line", () => {
  /** In which order calls go that came at these seconds with these priorities, one by one. */
  async function orderOf(calls: [name: string, second: number, priority: number][]): Promise<string> {
    const { service, host } = await cooling(50);
    const order: string[] = [];
    let now = 0;
    for (const [name, second, priority] of calls) {
      await host.advance((second - now) * 1_000);
      now = second;
      const operation = async (): Promise<void> => {
        order.push(name);
        await host.sleep(1);
      };
      void ended(service.executeWithRetry(operation, { priority }));
    }
    await host.advance((60 - now) * 1_000);
    return order.join(" ");
  }

  it.each<[string, [string, number, number][], string]>([
    [
      "first come, first go",
      [
        ["a", 0, 0],
        ["b", 1, 0],
        ["c", 2, 0],
      ],
      "a b c",
    ],
    [
      "higher first",
      [
        ["low", 0, -1],
        ["normal", 1, 0],
        ["high", 2, 1],
      ],
      "high normal low",
    ],
    [
      "ten seconds of waiting are worth one step",
      [
        ["old", 0, 0],
        ["new", 11, 1],
      ],
      "old new",
    ],
    [
      "less are not",
      [
        ["old", 0, 0],
        ["new", 9, 1],
      ],
      "new old",
    ],
  ])("%s", async (_, calls, order) => {
    expect(await orderOf(calls)).toBe(order);
  });
});

/** A server with a token bucket, whose answers take a while. */
class Bucket {
  served: number[] = [];
  refused = 0;
  attemptTimes: number[] = [];
  #tokens: number;
  #at: number;
  readonly #host: ManualHost;
  readonly #rate: number;
  readonly #burst: number;
  readonly #retryAfter: boolean;

  constructor(
    host: ManualHost,
    limits: { rate: number; burst: number; tokens: number; retryAfter: boolean },
  ) {
    this.#host = host;
    this.#rate = limits.rate;
    this.#burst = limits.burst;
    this.#tokens = limits.tokens;
    this.#retryAfter = limits.retryAfter;
    this.#at = host.now();
  }

  async insert(row: number): Promise<string> {
    const now = this.#host.now();
    this.#tokens = Math.min(this.#burst, this.#tokens + ((now - this.#at) / 1_000) * this.#rate);
    this.#at = now;
    this.attemptTimes.push(now);
    const granted = this.#tokens >= 1;
    if (granted) {
      this.#tokens--;
      this.served.push(row);
    } else {
      this.refused++;
    }
    await this.#host.sleep(20);
    if (!granted) throw refusal(this.#retryAfter ? 1 : undefined);
    return "inserted";
  }

  /** The longest time in which nobody asked for anything. */
  longestSilenceMs(): number {
    return Math.max(
      ...this.attemptTimes.slice(1).map((time, index) => time - (this.attemptTimes[index] ?? 0)),
    );
  }
}

describe("an import with ten in flight", () => {
  const ROWS = 300;

  /** A loop of bounded concurrency: a refused row goes back in the line, an open circuit is waited out. */
  async function importRows({ service, host }: Bench, bucket: Bucket): Promise<void> {
    const line = Array.from({ length: ROWS }, (_, row) => row);
    const worker = async (): Promise<void> => {
      for (let row = line.shift(); row !== undefined; row = line.shift()) {
        const sent = row;
        try {
          await service.executeWithRetry((_: AttemptInfo) => bucket.insert(sent), { idempotent: true });
        } catch (error) {
          if (!isRateLimitError(error)) throw error;
          line.push(sent);
          await host.sleep(error.retryAfterMs ?? 1_000);
        }
      }
    };
    await host.drive(Promise.all(Array.from({ length: 10 }, worker)));
  }

  it.each([
    { tokens: 20, retryAfter: true },
    { tokens: 20, retryAfter: false },
    { tokens: 0, retryAfter: true },
    { tokens: 0, retryAfter: false },
  ])(
    "does not stall: bucket with $tokens tokens, Retry-After: $retryAfter",
    async ({ tokens, retryAfter }) => {
      const stage = bench({ jitter: "proportional", logLevel: "silent" });
      const bucket = new Bucket(stage.host, { rate: 20, burst: 20, tokens, retryAfter });
      const begun = stage.host.now();
      await importRows(stage, bucket);
      const seconds = (stage.host.now() - begun) / 1_000;
      expect([...bucket.served].sort((a, b) => a - b)).toEqual(Array.from({ length: ROWS }, (_, row) => row));
      expect(bucket.longestSilenceMs()).toBeLessThan(5_000);
      // The limit alone costs (300 - tokens) / 20.
      expect(seconds).toBeGreaterThanOrEqual((ROWS - tokens) / 20 - 1);
      expect(seconds).toBeLessThan(60);
      // Without a hint the refusals come at the pace of the backoff.
      expect(bucket.refused).toBeLessThan(retryAfter ? ROWS : 2 * ROWS);
      expect(stage.service.getMetrics().rejected.circuitOpen).toBe(0);
    },
  );
});
