// biome-ignore-all lint/correctness/useHookAtTopLevel: these are fake timers, no hooks of React

import { ModernFakeTimers } from "@jest/fake-timers";
import sinon from "sinon";
import { afterEach, describe, expect, it, vi } from "vitest";
import { RateLimitService } from "../../js/index.ts";
import { ended, freshPackage, refusal, script } from "./support/service.ts";

/** Applications test with the fake timers that they have: a service without a host of its own lives by them. */

const QUIET = { logLevel: "silent", jitter: "none" } as const;

/** What the test runner itself needs to talk to its worker; Vitest's own timers leave it alone as well. */
const RUNNERS = ["nextTick"] as const;

interface FakeTimers {
  /** Everything that the library fakes by default. */
  install(): void;
  /** The clock alone: timers are the real ones. */
  installDate(): void;
  advance(ms: number): Promise<unknown>;
  pending(): number;
  uninstall(): void;
}

const libraries: Record<string, () => FakeTimers> = {
  Vitest: () => ({
    install: () => void vi.useFakeTimers(),
    installDate: () => void vi.useFakeTimers({ toFake: ["Date"] }),
    advance: (ms) => vi.advanceTimersByTimeAsync(ms),
    pending: () => vi.getTimerCount(),
    uninstall: () => void vi.useRealTimers(),
  }),
  Jest: () => {
    const timers = new ModernFakeTimers({ config: { rootDir: "." } as never, global: globalThis });
    const others = ["hrtime", "nextTick", "performance", "queueMicrotask", "setImmediate", "clearImmediate"];
    const stillReal = [...others, "setInterval", "clearInterval", "setTimeout", "clearTimeout"];
    return {
      install: () => timers.useFakeTimers({ doNotFake: [...RUNNERS] }),
      installDate: () => timers.useFakeTimers({ doNotFake: stillReal as never }),
      advance: (ms) => timers.advanceTimersByTimeAsync(ms),
      pending: () => timers.getTimerCount(),
      uninstall: () => timers.useRealTimers(),
    };
  },
  sinon: () => {
    let clock: sinon.SinonFakeTimers | undefined;
    return {
      install: () => {
        clock = sinon.useFakeTimers({ now: Date.now(), toNotFake: [...RUNNERS] });
      },
      installDate: () => {
        clock = sinon.useFakeTimers({ now: Date.now(), toFake: ["Date"] });
      },
      advance: async (ms) => clock?.tickAsync(ms),
      pending: () => clock?.countTimers() ?? 0,
      uninstall: () => clock?.restore(),
    };
  },
};

let installed: FakeTimers | undefined;
afterEach(() => {
  installed?.uninstall();
  installed = undefined;
  vi.restoreAllMocks();
});

function using(make: () => FakeTimers): FakeTimers {
  installed = make();
  return installed;
}

describe.each(Object.entries(libraries))("with %s's timers", (_, make) => {
  it.each(["before", "after"])("everything faked, %s the service was made: retries finish", async (order) => {
    const timers = using(make);
    if (order === "before") timers.install();
    const service = new RateLimitService(QUIET);
    if (order === "after") timers.install();
    const operation = script(refusal(), refusal(3), refusal(), "done");
    const call = service.executeWithRetry(operation);
    await timers.advance(99);
    expect(operation.times).toBe(1);
    await timers.advance(1);
    expect(operation.times).toBe(2);
    await timers.advance(2_999);
    expect(operation.times).toBe(2);
    await timers.advance(1);
    expect(operation.times).toBe(3);
    await timers.advance(400);
    expect(await call).toBe("done");
    expect(timers.pending()).toBe(0);
  });

  it("everything faked: the core is compiled under them", async () => {
    const tidegate = await freshPackage();
    const timers = using(make);
    timers.install();
    const service = new tidegate.RateLimitService(QUIET);
    const call = service.executeWithRetry(script(refusal(1), "done"));
    await timers.advance(1_000);
    expect(await call).toBe("done");
    expect(tidegate.coreState()).toBe("ready");
  });

  it("everything faked: held callers, deadlines, timeouts and the circuit follow", async () => {
    const timers = using(make);
    timers.install();
    const service = new RateLimitService({ ...QUIET, circuitBreakerThreshold: 1, attemptTimeoutMs: 5_000 });
    const timeout = ended(service.executeWithRetry(() => new Promise(() => {})));
    const deadline = ended(service.executeWithRetry(() => new Promise(() => {}), { deadlineMs: 2_000 }));
    await timers.advance(5_000);
    expect((await timeout).error).toMatchObject({ name: "TimeoutError" });
    expect((await deadline).error).toMatchObject({ code: "RATE_LIMIT_DEADLINE_EXCEEDED" });
    await ended(service.executeWithRetry(script(refusal())));
    expect(service.getCircuitState()).toMatchObject({ state: "open", retryAfterMs: 60_000 });
    await timers.advance(60_000);
    expect(service.getCircuitState()).toMatchObject({ isOpen: false, state: "half-open" });
    expect(await service.executeWithRetry(async () => "done")).toBe("done");
    expect(timers.pending()).toBe(0);
  });

  it("everything faked: a wait of days takes none", async () => {
    const timers = using(make);
    timers.install();
    const service = new RateLimitService({ ...QUIET, maxRetryAfterMs: 40 * DAY });
    const operation = script(refusal(30 * 86_400), "done");
    const call = service.executeWithRetry(operation);
    await timers.advance(30 * DAY - 1);
    expect(operation.times).toBe(1);
    await timers.advance(1);
    expect(await call).toBe("done");
  });

  it("put away while somebody waits: the wait still ends", async () => {
    const timers = using(make);
    timers.install();
    const service = new RateLimitService({ ...QUIET, initialDelayMs: 20 });
    const call = service.executeWithRetry(script(refusal(), "done"));
    await timers.advance(20);
    timers.uninstall();
    installed = undefined;
    expect(await call).toBe("done");
    expect(await service.executeWithRetry(script(refusal(), "done"))).toBe("done");
  });

  it("Date alone faked, and so frozen: retries finish by the real timers", async () => {
    const timers = using(make);
    timers.installDate();
    const service = new RateLimitService({ ...QUIET, initialDelayMs: 10 });
    const frozen = Date.now();
    expect(await service.executeWithRetry(script(refusal(), refusal(), "done"))).toBe("done");
    expect(Date.now()).toBe(frozen);
  });

  it("Date alone faked: held callers go as well, and a deadline passes", async () => {
    const timers = using(make);
    timers.installDate();
    const service = new RateLimitService({ ...QUIET, initialDelayMs: 10 });
    const refused = service.executeWithRetry(script(refusal(), "done"));
    const held = service.executeWithRetry(async () => "held");
    expect(await Promise.all([refused, held])).toEqual(["done", "held"]);
    const { error } = await ended(service.executeWithRetry(() => new Promise(() => {}), { deadlineMs: 20 }));
    expect(error).toMatchObject({ code: "RATE_LIMIT_DEADLINE_EXCEEDED" });
  });

  it("Date alone faked, and moved by the test: that is time that passed", async () => {
    const timers = using(make);
    timers.installDate();
    const service = new RateLimitService({ ...QUIET, circuitBreakerThreshold: 1 });
    await ended(service.executeWithRetry(script(refusal())));
    expect(service.getCircuitState().isOpen).toBe(true);
    await timers.advance(60_000);
    expect(service.getCircuitState().isOpen).toBe(false);
  });
});

const DAY = 86_400_000;

describe("a Date that a test has frozen by itself", () => {
  it("with Vitest's setSystemTime() and real timers: retries finish", async () => {
    vi.setSystemTime(new Date("2026-01-01T00:00:00Z"));
    installed = libraries.Vitest?.();
    const service = new RateLimitService({ ...QUIET, initialDelayMs: 10 });
    expect(await service.executeWithRetry(script(refusal(), "done"))).toBe("done");
  });

  it("by a spy on Date.now(): retries finish", async () => {
    vi.spyOn(Date, "now").mockReturnValue(Date.UTC(2026, 0, 1));
    const service = new RateLimitService({ ...QUIET, initialDelayMs: 10 });
    expect(await service.executeWithRetry(script(refusal(), refusal(), "done"))).toBe("done");
  });

  it("in 1970: retries finish, and the circuit tells of its time", async () => {
    vi.useFakeTimers({ now: 0 });
    installed = libraries.Vitest?.();
    const service = new RateLimitService({ ...QUIET, circuitBreakerThreshold: 2 });
    const call = service.executeWithRetry(script(refusal(2), "done"));
    await vi.advanceTimersByTimeAsync(2_000);
    expect(await call).toBe("done");
  });
});
