import { afterEach, describe, expect, it, vi } from "vitest";
import { CircuitBreaker, type CircuitBreakerOptions } from "../../js/breaker.ts";
import { RateLimitConfigError, RateLimitError } from "../../js/errors.ts";
import { RateLimitService } from "../../js/index.ts";
import { ManualHost } from "../../js/testing.ts";
import type { Outcome, Verdict } from "../../js/types.ts";
import { sabotageCore } from "./support/broken-core.ts";
import { deferred, ended, freshPackage, Log, refusal, rejection } from "./support/service.ts";

afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
  vi.unstubAllGlobals();
});

const OPEN = { code: "RATE_LIMIT_CIRCUIT_OPEN" };
const FAILED = new Error("failed");

interface Bench {
  breaker: CircuitBreaker;
  host: ManualHost;
  log: Log;
  /** So many calls, one after the other, that fail. Returns how many were made. */
  fail(times: number, error?: unknown): Promise<number>;
  succeed(times: number, value?: unknown): Promise<number>;
}

function bench(options: CircuitBreakerOptions = {}, Breaker = CircuitBreaker): Bench {
  const host = new ManualHost();
  const log = new Log();
  const breaker = new Breaker({ host, logger: log, ...options });
  const run = async (times: number, operation: () => unknown): Promise<number> => {
    const counted = vi.fn(operation);
    for (let i = 0; i < times; i++) await ended(breaker.execute(counted));
    return counted.mock.calls.length;
  };
  return {
    breaker,
    host,
    log,
    fail: (times, error = FAILED) => run(times, () => Promise.reject(error)),
    succeed: (times, value = "done") => run(times, () => value),
  };
}

/** A breaker that has just opened by one failure. */
async function opened(options: CircuitBreakerOptions = {}): Promise<Bench> {
  const stage = bench({ failureThreshold: 1, ...options });
  await stage.fail(1);
  expect(stage.breaker.state).toBe("open");
  return stage;
}

function thrower(): never {
  throw new Error("a bug");
}

describe("a call", () => {
  it("brings what the operation brings, the same object", async () => {
    const { breaker } = bench();
    const value = { status: 429 };
    expect(await breaker.execute(() => value)).toBe(value);
    expect(await breaker.execute(async () => value)).toBe(value);
    const error = refusal();
    expect(await rejection(breaker.execute(async () => Promise.reject(error)))).toBe(error);
    expect(await rejection(breaker.execute(thrower))).toMatchObject({ message: "a bug" });
    expect(await ended(breaker.execute(() => Promise.reject(undefined)))).toEqual({ error: undefined });
  });

  it("awaits a thenable exactly once, with and without a timeout", async () => {
    for (const timeout of [null, 1_000]) {
      // biome-ignore lint/suspicious/noThenProperty: a thenable, as query builders are
      const thenable = { then: vi.fn((resolve: (value: string) => void) => resolve("done")) };
      const { breaker } = bench({ timeout });
      expect(await breaker.execute(() => thenable as unknown as PromiseLike<string>)).toBe("done");
      expect(thenable.then).toHaveBeenCalledOnce();
    }
  });

  it("wants a function, and legal options", async () => {
    const { breaker } = bench();
    const operation = vi.fn();
    expect(await rejection(breaker.execute("call" as never))).toBeInstanceOf(TypeError);
    for (const options of [{ signal: {} }, { signl: null }, null]) {
      expect(await rejection(breaker.execute(operation, options as never))).toBeInstanceOf(
        RateLimitConfigError,
      );
    }
    expect(await rejection(breaker.execute(operation, 5 as never))).toMatchObject({ field: "options" });
    expect(operation).not.toHaveBeenCalled();
    expect(await breaker.execute(() => 1, { signal: null })).toBe(1);
  });
});

describe("failures in a row", () => {
  it("five open it by default, and nobody is called for a minute", async () => {
    const { breaker, host, fail } = bench();
    expect(await fail(4)).toBe(4);
    expect(breaker.state).toBe("closed");
    expect(await fail(10)).toBe(1);
    expect(breaker.getState()).toEqual({
      isOpen: true,
      state: "open",
      consecutiveFailures: 5,
      lastFailureTime: host.now(),
      timeSinceLastFailure: 0,
      retryAfterMs: 60_000,
    });
    await host.advance(59_999);
    const error = await rejection(breaker.execute(() => "never"));
    expect(error).toBeInstanceOf(RateLimitError);
    expect(error).toMatchObject({ ...OPEN, attempts: 0, retryAfterMs: 1, status: 429 });
    await host.advance(1);
    expect(breaker.state).toBe("half-open");
    expect(await breaker.execute(() => "done")).toBe("done");
    expect(breaker.state).toBe("closed");
  });

  it("a success begins the count anew", async () => {
    const { breaker, fail, succeed } = bench({ failureThreshold: 3 });
    for (let round = 0; round < 5; round++) {
      await fail(2);
      await succeed(1);
    }
    expect(breaker.getState()).toMatchObject({ state: "closed", consecutiveFailures: 0 });
  });

  it("each counts, also of calls that are under way together", async () => {
    const { breaker } = bench({ failureThreshold: 5 });
    const end = deferred();
    const calls = Array.from({ length: 5 }, () => rejection(breaker.execute(() => end.promise)));
    end.reject(FAILED);
    expect(await Promise.all(calls)).toEqual(Array(5).fill(FAILED));
    expect(breaker.state).toBe("open");
  });

  it("what ends later than the opening changes nothing: a success does not close it, a failure does not prolong it", async () => {
    const { breaker, host, fail } = bench({ failureThreshold: 2 });
    const [success, failure] = [deferred(), deferred()];
    const late = [breaker.execute(() => success.promise), ended(breaker.execute(() => failure.promise))];
    await fail(2);
    await host.advance(30_000);
    success.resolve("done");
    failure.reject(FAILED);
    await Promise.all(late);
    expect(breaker.getState()).toMatchObject({ state: "open", retryAfterMs: 30_000, consecutiveFailures: 2 });
  });
});

describe("half-open", () => {
  it("a failed probe opens it again for the whole time", async () => {
    const { breaker, host, fail } = await opened({ failureThreshold: 1, resetTimeout: 5_000 });
    await host.advance(5_000);
    expect(await fail(2)).toBe(1);
    expect(breaker.getState()).toMatchObject({ state: "open", retryAfterMs: 5_000 });
  });

  it("50 callers while a probe is out, and after it (cockatiel): none is called before it has succeeded", async () => {
    const { breaker, host } = await opened();
    await host.advance(60_000);
    const probe = deferred();
    const probing = breaker.execute(() => probe.promise);
    const operation = vi.fn(async () => "done");
    const callers = await Promise.all(
      Array.from({ length: 50 }, () => rejection(breaker.execute(operation))),
    );
    for (const error of callers) expect(error).toMatchObject(OPEN);
    probe.resolve("done");
    await probing;
    expect(operation).not.toHaveBeenCalled();
    expect(await breaker.execute(operation)).toBe("done");
  });

  it("with several probes: so many at a time, and as many successes close it", async () => {
    const { breaker, host } = await opened({ halfOpenProbes: 3 });
    await host.advance(60_000);
    const probes = [deferred(), deferred(), deferred()];
    const probing = probes.map(({ promise }) => breaker.execute(() => promise));
    expect(await rejection(breaker.execute(() => "never"))).toMatchObject(OPEN);
    for (const [i, probe] of probes.entries()) {
      expect(breaker.state).toBe("half-open");
      probe.resolve("done");
      await probing[i];
    }
    expect(breaker.state).toBe("closed");
  });

  it("a probe that hangs (opossum, cockatiel) gives its place to another after probeTimeoutMs", async () => {
    const { breaker, host } = await opened({ probeTimeoutMs: 5_000 });
    await host.advance(60_000);
    const hung = deferred();
    const hanging = ended(breaker.execute(() => hung.promise));
    expect(await rejection(breaker.execute(() => "never"))).toMatchObject({ ...OPEN, retryAfterMs: 5_000 });
    await host.advance(5_000);
    expect(await breaker.execute(() => "done")).toBe("done");
    expect(breaker.state).toBe("closed");
    hung.reject(FAILED);
    await hanging;
    expect(breaker.getState()).toMatchObject({ state: "closed", consecutiveFailures: 0 });
  });

  it.each(["aborted by the caller", "of no interest"])(
    "a probe that is %s gives its place back",
    async (way) => {
      const { breaker, host } = await opened({
        classify: ({ value }) => (value === 0 ? "ignored" : undefined),
      });
      await host.advance(60_000);
      const controller = new AbortController();
      const probe = deferred();
      const probing = ended(breaker.execute(() => probe.promise, { signal: controller.signal }));
      if (way === "of no interest") probe.resolve(0);
      else controller.abort();
      await probing;
      expect(breaker.getState()).toMatchObject({ state: "half-open", retryAfterMs: 0 });
      expect(await breaker.execute(() => 1)).toBe(1);
      expect(breaker.state).toBe("closed");
    },
  );
});

describe("a timeout", () => {
  it("rejects with a TimeoutError, tells the operation, and counts", async () => {
    const { breaker, host } = bench({ timeout: 1_000, failureThreshold: 1 });
    let seen: AbortSignal | undefined;
    const call = rejection(
      breaker.execute(({ signal }) => {
        seen = signal;
        return new Promise(() => {});
      }),
    );
    await host.advance(999);
    expect(seen?.aborted).toBe(false);
    await host.advance(1);
    const error = await call;
    expect(error).toBeInstanceOf(DOMException);
    expect(error).toMatchObject({ name: "TimeoutError" });
    expect(seen).toMatchObject({ aborted: true, reason: error });
    expect(breaker.state).toBe("open");
  });

  it("aborts one call and not all of them (opossum)", async () => {
    const { breaker, host } = bench({ timeout: 1_000 });
    const signals: AbortSignal[] = [];
    const second = deferred();
    const operation = ({ signal }: { signal: AbortSignal }): Promise<unknown> => {
      signals.push(signal);
      return signals.length === 1 ? new Promise(() => {}) : second.promise;
    };
    const slow = rejection(breaker.execute(operation));
    await host.advance(500);
    const quick = breaker.execute(operation);
    await host.advance(500);
    await slow;
    expect(signals.map(({ aborted }) => aborted)).toEqual([true, false]);
    second.resolve("done");
    expect(await quick).toBe("done");
  });

  it("counts whatever classify would say, and what the operation brings later does not", async () => {
    const { breaker, host } = bench({ timeout: 1_000, failureThreshold: 2, classify: () => "success" });
    const late = deferred();
    const call = rejection(breaker.execute(() => late.promise));
    await host.advance(1_000);
    await call;
    late.reject(FAILED);
    await host.advance(0);
    expect(breaker.getState()).toMatchObject({ state: "closed", consecutiveFailures: 1 });
  });

  it("leaves nothing behind after a call in time: neither an alarm nor a listener (cockatiel)", async () => {
    const { breaker, host } = bench({ timeout: 1_000 });
    const { signal } = new AbortController();
    const added = vi.spyOn(signal, "addEventListener");
    const removed = vi.spyOn(signal, "removeEventListener");
    for (let i = 0; i < 20; i++) await breaker.execute(async () => 1, { signal });
    await host.advance(0);
    expect(host.sleeping).toBe(0);
    expect(removed.mock.calls.length).toBe(added.mock.calls.length);
  });

  it("of 2^31 ms and more is one of that length, and so is a resetTimeout (opossum)", async () => {
    vi.useFakeTimers();
    const breaker = new CircuitBreaker({
      failureThreshold: 1,
      timeout: 2 ** 31,
      resetTimeout: 2 ** 31,
      logLevel: "silent",
    });
    const told = vi.fn();
    const slow = ended(breaker.execute(() => new Promise(() => {}))).then(told);
    await vi.advanceTimersByTimeAsync(2 ** 31 - 1);
    expect(told).not.toHaveBeenCalled();
    expect(breaker.state).toBe("closed");
    await vi.advanceTimersByTimeAsync(1);
    await slow;
    expect(breaker.getState()).toMatchObject({ state: "open", retryAfterMs: 2 ** 31 });
    await vi.advanceTimersByTimeAsync(2 ** 31 - 1);
    expect(breaker.state).toBe("open");
    await vi.advanceTimersByTimeAsync(1);
    expect(breaker.state).toBe("half-open");
    expect(vi.getTimerCount()).toBe(0);
  });
});

describe("an abort by the caller", () => {
  it("rejects at once with the reason, tells the operation, and counts nothing", async () => {
    const { breaker, host } = bench({ failureThreshold: 1 });
    const controller = new AbortController();
    let seen: AbortSignal | undefined;
    const call = rejection(
      breaker.execute(
        ({ signal }) => {
          seen = signal;
          return new Promise(() => {});
        },
        { signal: controller.signal },
      ),
    );
    const reason = new Error("no longer wanted");
    controller.abort(reason);
    expect(await call).toBe(reason);
    expect(seen).toMatchObject({ aborted: true, reason });
    expect(breaker.getState()).toMatchObject({ state: "closed", consecutiveFailures: 0, lastFailureTime: 0 });
    expect(host.sleeping).toBe(0);
  });

  it("that came before: nothing is called, and no probe's place is taken", async () => {
    const { breaker, host } = await opened();
    const operation = vi.fn();
    const signal = AbortSignal.abort();
    expect(await rejection(breaker.execute(operation, { signal }))).toBe(signal.reason);
    await host.advance(60_000);
    const told = vi.fn();
    breaker.on("circuit", told);
    expect(await rejection(breaker.execute(operation, { signal }))).toBe(signal.reason);
    expect(operation).not.toHaveBeenCalled();
    expect(told).not.toHaveBeenCalled();
  });

  it("by a signal of its own, which ends as an AbortError, counts nothing either", async () => {
    const { breaker, fail } = bench({ failureThreshold: 1 });
    const abort = new DOMException("aborted", "AbortError");
    expect(await fail(3, abort)).toBe(3);
    expect(breaker.state).toBe("closed");
  });
});

describe("what counts", () => {
  it("20 resolved { status: 429 } are successes, until classify says otherwise (opossum)", async () => {
    const answer = { status: 429, statusText: "Too Many Requests" };
    const plain = bench();
    expect(await plain.succeed(20, answer)).toBe(20);
    expect(plain.breaker.state).toBe("closed");
    const told: Outcome[] = [];
    const classify = (outcome: Outcome): Verdict | undefined => {
      told.push(outcome);
      return outcome.status === 429 ? { throttled: true } : undefined;
    };
    const classified = bench({ classify });
    expect(await classified.succeed(20, answer)).toBe(5);
    expect(classified.breaker.state).toBe("open");
    expect(told[0]).toEqual({ value: answer, status: 429, durationMs: 0 });
  });

  it.each<[Verdict | undefined, "counts" | "is none" | "says nothing"]>([
    ["transient", "counts"],
    [{ throttled: true }, "counts"],
    [{ throttled: true, retryAfterMs: 5_000 }, "counts"],
    [{ throttled: true, scope: "call" }, "says nothing"],
    ["permanent", "is none"],
    ["success", "is none"],
    ["ignored", "says nothing"],
    [undefined, "counts"],
  ])("a throw that is %j for classify: %s", async (verdict, what) => {
    const { breaker, fail } = bench({
      failureThreshold: 3,
      classify: ({ error }) => (error === FAILED ? verdict : undefined),
    });
    await fail(2, new Error("another"));
    await fail(1);
    expect(breaker.getState()).toMatchObject(
      {
        counts: { state: "open", consecutiveFailures: 3 },
        "is none": { state: "closed", consecutiveFailures: 0 },
        "says nothing": { state: "closed", consecutiveFailures: 2 },
      }[what],
    );
  });

  it.each([
    ["throws", thrower],
    ["gives no verdict", () => "yes" as never],
  ])("a classify that %s leaves it to the rule, and the log tells", async (_, classify) => {
    const { breaker, fail, log } = bench({ failureThreshold: 1, classify });
    await fail(1);
    expect(breaker.state).toBe("open");
    expect(log.lines[0]).toBe("error: [RateLimit] classify failed");
  });

  it("an error of ours from before any attempt says nothing about what was to be called (opossum's full semaphore)", async () => {
    const { breaker, fail } = bench({ failureThreshold: 2 });
    const error = (attempts: number): RateLimitError =>
      new RateLimitError({ code: "RATE_LIMIT_QUEUE_FULL", summary: "", userMessage: "", attempts });
    await fail(5, error(0));
    expect(breaker.getState()).toMatchObject({ state: "closed", consecutiveFailures: 0 });
    await fail(2, error(1));
    expect(breaker.state).toBe("open");
  });

  it("around a service: what outlasts its retries counts once a call", async () => {
    const { breaker, host } = bench({ failureThreshold: 2 });
    const service = new RateLimitService({ maxRetries: 2, jitter: "none", logLevel: "silent" }, host);
    const call = (): Promise<unknown> =>
      breaker.execute(() => service.executeWithRetry(() => Promise.reject(refusal())));
    await host.drive(rejection(call()));
    expect(breaker.getState()).toMatchObject({ state: "closed", consecutiveFailures: 1 });
  });

  it("whatever is thrown, also what cannot be looked at", async () => {
    const { breaker, fail } = bench({ failureThreshold: 3 });
    const { proxy, revoke } = Proxy.revocable({}, {});
    revoke();
    expect(await fail(1, proxy)).toBe(1);
    expect(await fail(1, null)).toBe(1);
    expect(await fail(1, "text")).toBe(1);
    expect(breaker.state).toBe("open");
  });
});

describe("a ratio", () => {
  it("of the last calls opens it, with enough of them, and not before (opossum opens at the first)", async () => {
    const { breaker, fail, succeed } = bench({ failureRatio: 0.5, lastCalls: 20 });
    await fail(9);
    expect(breaker.state).toBe("closed");
    await fail(1);
    expect(breaker.state).toBe("open");
    const other = bench({ failureRatio: 0.5, lastCalls: 20, minimumCalls: 4 });
    await other.fail(3);
    expect(other.breaker.state).toBe("closed");
    await other.succeed(1);
    expect(other.breaker.state).toBe("open");
    expect(await succeed(1)).toBe(0);
  });

  it("forgets what is not among the last calls", async () => {
    const { breaker, fail, succeed } = bench({ failureRatio: 0.5, lastCalls: 10 });
    await succeed(10);
    await fail(4);
    await succeed(10);
    await fail(4);
    expect(breaker.state).toBe("closed");
    await fail(1);
    expect(breaker.state).toBe("open");
  });

  it("of fewer calls than ten wants no more than there are", async () => {
    const { breaker, fail } = bench({ failureRatio: 1, lastCalls: 3 });
    await fail(3);
    expect(breaker.state).toBe("open");
  });

  it("of a stretch of time: 99 failures an hour ago do not count (cockatiel)", async () => {
    const { breaker, host, fail, succeed } = bench({
      failureRatio: 0.99,
      windowMs: 10_000,
      minimumCalls: 100,
    });
    await fail(99);
    expect(breaker.state).toBe("closed");
    await host.advance(3_600_000);
    await fail(1);
    expect(breaker.state).toBe("closed");
    await succeed(1);
    await fail(98);
    expect(breaker.state).toBe("open");
  });

  it("of a stretch of time counts what is in it", async () => {
    const { breaker, host, fail, succeed } = bench({ failureRatio: 0.5, windowMs: 10_000 });
    await succeed(5);
    await host.advance(8_000);
    await fail(4);
    expect(breaker.state).toBe("closed");
    await fail(1);
    expect(breaker.state).toBe("open");
  });

  it("begins anew when the circuit has closed", async () => {
    const { breaker, host, fail, succeed } = bench({ failureRatio: 0.5, lastCalls: 20, minimumCalls: 4 });
    await fail(4);
    await host.advance(60_000);
    await succeed(1);
    await fail(3);
    expect(breaker.state).toBe("closed");
    await fail(1);
    expect(breaker.state).toBe("open");
  });
});

describe("by hand", () => {
  it("isolate() holds it open until reset(), however long", async () => {
    const { breaker, host } = bench();
    breaker.isolate();
    await host.advance(1_000 * 86_400_000);
    expect(breaker.state).toBe("isolated");
    expect(breaker.getState()).toMatchObject({ isOpen: true, retryAfterMs: Number.POSITIVE_INFINITY });
    const operation = vi.fn(() => "done");
    const error = (await rejection(breaker.execute(operation))) as RateLimitError;
    expect(error).toMatchObject(OPEN);
    expect(error.retryAfterMs).toBeUndefined();
    expect(operation).not.toHaveBeenCalled();
    breaker.reset();
    expect(await breaker.execute(operation)).toBe("done");
  });

  it("reset() closes it and forgets, also what is still under way", async () => {
    const { breaker, fail } = bench({ failureThreshold: 2 });
    const late = deferred();
    const call = ended(breaker.execute(() => late.promise));
    await fail(2);
    breaker.reset();
    expect(breaker.getState()).toMatchObject({ state: "closed", consecutiveFailures: 0, lastFailureTime: 0 });
    late.reject(FAILED);
    await call;
    expect(breaker.getState().consecutiveFailures).toBe(0);
    await fail(1);
    expect(breaker.state).toBe("closed");
  });

  it("reading the state changes nothing, and tells nobody", async () => {
    const { breaker, host } = await opened();
    const told = vi.fn();
    breaker.on("circuit", told);
    await host.advance(60_000);
    for (let i = 0; i < 5; i++) expect(breaker.state).toBe("half-open");
    expect(told).not.toHaveBeenCalled();
    // Had a reading taken the place of the probe, this one would be rejected.
    expect(await breaker.execute(() => "done")).toBe("done");
  });
});

describe("events", () => {
  it("each change is told once, and logged", async () => {
    const { breaker, host, fail, log } = bench({ failureThreshold: 1, logLevel: "info" });
    const told: unknown[] = [];
    const off = breaker.on("circuit", (event) => told.push(event));
    await fail(1);
    await host.advance(60_000);
    await breaker.execute(() => expect(told.at(-1)).toEqual({ from: "open", to: "half-open" }));
    breaker.isolate();
    breaker.isolate();
    breaker.reset();
    off();
    breaker.isolate();
    expect(told).toEqual([
      { from: "closed", to: "open" },
      { from: "open", to: "half-open" },
      { from: "half-open", to: "closed" },
      { from: "closed", to: "isolated" },
      { from: "isolated", to: "closed" },
    ]);
    expect(log.lines.slice(0, 2)).toEqual([
      "error: [RateLimit] Circuit breaker is open",
      "info: [RateLimit] Circuit breaker is half-open",
    ]);
  });

  it("a listener that throws changes nothing, and is reported", async () => {
    const { breaker, fail, log } = bench({ failureThreshold: 1 });
    breaker.on("circuit", thrower);
    expect(await fail(1)).toBe(1);
    expect(breaker.state).toBe("open");
    expect(log.lines).toContain("error: [RateLimit] A listener threw");
  });
});

describe("time", () => {
  it("fake timers move it", async () => {
    vi.useFakeTimers();
    const breaker = new CircuitBreaker({
      failureThreshold: 1,
      timeout: 1_000,
      resetTimeout: 5_000,
      logLevel: "silent",
    });
    const slow = rejection(breaker.execute(() => new Promise(() => {})));
    await vi.advanceTimersByTimeAsync(1_000);
    expect(await slow).toMatchObject({ name: "TimeoutError" });
    expect(breaker.state).toBe("open");
    await vi.advanceTimersByTimeAsync(5_000);
    expect(breaker.state).toBe("half-open");
    expect(vi.getTimerCount()).toBe(0);
  });

  it("a clock that jumps a day forward is time that passed", async () => {
    vi.useFakeTimers();
    const breaker = new CircuitBreaker({ failureThreshold: 1, logLevel: "silent" });
    await ended(breaker.execute(() => Promise.reject(FAILED)));
    vi.setSystemTime(Date.now() + 86_400_000);
    expect(breaker.state).toBe("half-open");
  });

  it("a clock that is set back an hour does not keep it open for longer", async () => {
    vi.useFakeTimers();
    const breaker = new CircuitBreaker({ failureThreshold: 1, logLevel: "silent" });
    await ended(breaker.execute(() => Promise.reject(FAILED)));
    vi.setSystemTime(Date.now() - 3_600_000);
    expect(breaker.getState()).toMatchObject({ state: "open", retryAfterMs: 60_000 });
    await vi.advanceTimersByTimeAsync(60_000);
    expect(breaker.state).toBe("half-open");
  });
});

describe("without the core", () => {
  it("calls pass through, with their timeout; isolate() holds even then", async () => {
    vi.stubGlobal("WebAssembly", undefined);
    await freshPackage();
    const { CircuitBreaker: Breaker } = await import("../../js/breaker.ts");
    const { breaker, host, fail } = bench({ failureThreshold: 1, timeout: 1_000 }, Breaker as never);
    expect(await fail(5)).toBe(5);
    expect(breaker.getState()).toMatchObject({ isOpen: false, state: "closed" });
    const slow = rejection(breaker.execute(() => new Promise(() => {})));
    await host.advance(1_000);
    expect(await slow).toMatchObject({ name: "TimeoutError" });
    breaker.isolate();
    expect(breaker.state).toBe("isolated");
    expect(await fail(1)).toBe(0);
    expect(await rejection(breaker.execute(() => 1))).toMatchObject(OPEN);
    breaker.reset();
    expect(await breaker.execute(() => 1)).toBe(1);
  });

  it.each(["begin", "record"])(
    "a trap in %s: that call passes through, and the next core guards again",
    async (where) => {
      const sabotage = sabotageCore();
      const tidegate = await freshPackage();
      const { CircuitBreaker: Breaker } = await import("../../js/breaker.ts");
      const { breaker, host, fail, log } = bench({ failureThreshold: 2 }, Breaker as never);
      await fail(1);
      sabotage.trapIn = new Set([where]);
      const value = { any: "thing" };
      expect(await breaker.execute(() => value)).toEqual(value);
      sabotage.trapIn = new Set();
      await host.advance(0);
      expect(tidegate.coreState()).toBe("ready");
      expect(log.lines).toEqual(["error: [RateLimit] The core failed; calls pass through"]);
      expect(breaker.getState()).toMatchObject({ state: "closed", consecutiveFailures: 0 });
      expect(await fail(5)).toBe(2);
    },
  );

  it("an isolated circuit is one in the next core too, and a timeout under way is kept", async () => {
    const sabotage = sabotageCore();
    const tidegate = await freshPackage();
    const { CircuitBreaker: Breaker } = await import("../../js/breaker.ts");
    const { breaker, host } = bench({ timeout: 1_000 }, Breaker as never);
    const slow = rejection(breaker.execute(() => new Promise(() => {})));
    breaker.isolate();
    sabotage.trapIn = new Set(["begin"]);
    expect(await rejection(breaker.execute(() => "never"))).toMatchObject(OPEN);
    sabotage.trapIn = new Set();
    await host.advance(1_000);
    expect(await slow).toMatchObject({ name: "TimeoutError" });
    expect(tidegate.coreState()).toBe("ready");
    expect(breaker.state).toBe("isolated");
  });

  it("what was under way when it trapped is not held against the next one", async () => {
    const sabotage = sabotageCore();
    await freshPackage();
    const { CircuitBreaker: Breaker } = await import("../../js/breaker.ts");
    const { breaker, host, fail } = bench({ failureThreshold: 1 }, Breaker as never);
    const end = deferred();
    const underWay = ended(breaker.execute(() => end.promise));
    sabotage.trapIn = new Set(["begin"]);
    await breaker.execute(() => 1);
    sabotage.trapIn = new Set();
    await host.advance(0);
    // A call of the next core, which gives out its permits from the first one on again.
    const later = deferred();
    const other = breaker.execute(() => later.promise);
    end.reject(FAILED);
    await underWay;
    expect(breaker.getState()).toMatchObject({ state: "closed", consecutiveFailures: 0 });
    later.resolve(0);
    await other;
    await fail(1);
    expect(breaker.state).toBe("open");
  });

  it("after dispose() calls pass through", async () => {
    const { breaker, fail } = await opened();
    breaker.isolate();
    breaker.dispose();
    breaker.dispose();
    expect(breaker.state).toBe("closed");
    expect(await fail(3)).toBe(3);
  });
});

describe("bad input", () => {
  it.each<[object, string]>([
    [{ failureThreshold: 0 }, "failureThreshold"],
    [{ failureThreshold: 1.5 }, "failureThreshold"],
    [{ failureThreshold: "5" }, "failureThreshold"],
    [{ timeout: 0 }, "timeout"],
    [{ timeout: -1 }, "timeout"],
    [{ timeout: false }, "timeout"],
    [{ timeout: Number.POSITIVE_INFINITY }, "timeout"],
    [{ resetTimeout: -1 }, "resetTimeout"],
    [{ resetTimeout: Number.NaN }, "resetTimeout"],
    [{ halfOpenProbes: 0 }, "halfOpenProbes"],
    [{ probeTimeoutMs: 0 }, "probeTimeoutMs"],
    [{ failureRatio: 0, lastCalls: 10 }, "failureRatio"],
    [{ failureRatio: 1.01, lastCalls: 10 }, "failureRatio"],
    [{ failureRatio: 50, lastCalls: 10 }, "failureRatio"],
    [{ failureRatio: 0.5, lastCalls: 10_001 }, "lastCalls"],
    [{ failureRatio: 0.5, windowMs: 9 }, "windowMs"],
    [{ failureRatio: 0.5, lastCalls: 10, minimumCalls: 1 }, "minimumCalls"],
    [{ classify: "none" }, "classify"],
    [{ logger: {} }, "logger"],
    [{ logLevel: "loud" }, "logLevel"],
    [{ host: 5 }, "host"],
    [{ threshold: 5 }, "threshold"],
    [{ failureRatio: 0.5 }, "failureRatio"],
    [{ failureRatio: 0.5, lastCalls: 10, windowMs: 1_000 }, "windowMs"],
    [{ failureRatio: 0.5, lastCalls: 10, failureThreshold: 5 }, "failureThreshold"],
    [{ failureRatio: 0.5, lastCalls: 10, minimumCalls: 11 }, "minimumCalls"],
    [{ lastCalls: 10 }, "lastCalls"],
    [{ windowMs: 1_000 }, "windowMs"],
    [{ minimumCalls: 10 }, "minimumCalls"],
  ])("%j", (options, field) => {
    expect(() => new CircuitBreaker(options)).toThrow(RateLimitConfigError);
    expect(() => new CircuitBreaker(options)).toThrow(expect.objectContaining({ field }));
  });

  it("what is undefined was left out", () => {
    expect(new CircuitBreaker({ failureThreshold: undefined, timeout: undefined }).state).toBe("closed");
  });
});
