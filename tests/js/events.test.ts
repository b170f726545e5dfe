import { afterEach, describe, expect, it, vi } from "vitest";
import { RateLimitService } from "../../js/index.ts";
import { ManualHost } from "../../js/testing.ts";
import type { ServiceEvents } from "../../js/types.ts";
import { bench, ended, Log, refusal, rejection, script } from "./support/service.ts";

afterEach(() => {
  vi.unstubAllGlobals();
});

describe("events", () => {
  it("tell of each attempt, each retry, the circuit and the end, in this order", async () => {
    const { service, host } = bench({ maxRetries: 1, circuitBreakerThreshold: 2 });
    const told: unknown[] = [];
    const listen = <E extends keyof ServiceEvents>(event: E): void => {
      service.on(event, (detail) => told.push([event, detail]));
    };
    for (const event of ["attempt", "retry", "giveUp", "circuit", "cooldown"] as const) listen(event);
    const cause = refusal();
    const call = rejection(
      service.executeWithRetry(script(cause), { resourceName: "contacts", operation: "create" }),
    );
    const error = await host.drive(call);
    const names = { resourceName: "contacts", operation: "create" };
    const untilTime = Date.UTC(2026, 0, 1) + 100;
    expect(told).toEqual([
      ["attempt", { attempt: 1, durationMs: 0, verdict: "throttled", ...names }],
      ["cooldown", { state: "began", untilTime }],
      ["retry", { attempt: 1, delayMs: 100, untilTime, cause, ...names }],
      ["attempt", { attempt: 2, durationMs: 0, verdict: "throttled", ...names }],
      ["circuit", { from: "closed", to: "open" }],
      ["cooldown", { state: "began", untilTime: expect.any(Number) }],
      ["giveUp", { error }],
    ]);
  });

  it("a listener hears until it leaves, and as often as it came", async () => {
    const { service } = bench();
    const listener = vi.fn();
    const offs = [service.on("attempt", listener), service.on("attempt", listener)];
    await service.executeWithRetry(async () => 1);
    expect(listener).toHaveBeenCalledTimes(2);
    offs[0]?.();
    offs[0]?.();
    await service.executeWithRetry(async () => 1);
    expect(listener).toHaveBeenCalledTimes(3);
    offs[1]?.();
    await service.executeWithRetry(async () => 1);
    expect(listener).toHaveBeenCalledTimes(3);
  });

  it("a listener that throws is reported and changes nothing", async () => {
    const { service, host, log } = bench();
    const boom = new Error("boom");
    for (const event of ["attempt", "retry", "giveUp", "circuit", "cooldown"] as const) {
      service.on(event, () => {
        throw boom;
      });
    }
    const onWait = (): void => {
      throw boom;
    };
    expect(await host.drive(service.executeWithRetry(script(refusal(), "done"), { onWait }))).toBe("done");
    const reports = log.lines.filter((line) => line === "error: [RateLimit] A listener threw");
    expect(reports.length).toBeGreaterThanOrEqual(4);
    expect(log.details.flat()).toContain(boom);
  });

  it("an asynchronous listener that fails is reported like any other", async () => {
    const { service, log } = bench();
    const boom = new Error("boom");
    service.on("attempt", async () => {
      throw boom;
    });
    await service.executeWithRetry(async () => 1);
    await Promise.resolve();
    expect(log.details.flat()).toContain(boom);
  });

  it("a logger that throws changes nothing", async () => {
    const fail = (): never => {
      throw new Error("no disk");
    };
    const logger = { error: fail, warn: fail, info: fail, debug: fail };
    const { service, host } = bench({ logger, logLevel: "debug", maxRetries: 1 });
    const error = await host.drive(rejection(service.executeWithRetry(script(refusal()))));
    expect(error).toMatchObject({ code: "RATE_LIMIT_MAX_RETRIES_EXCEEDED" });
  });

  it("core calls back at once with the state when that is not ready, and not when it is", async () => {
    vi.resetModules();
    vi.stubGlobal("WebAssembly", undefined);
    const without = await import("../../js/index.ts");
    const told: unknown[] = [];
    new without.RateLimitService({ logLevel: "silent" }).on("core", (event) => told.push(event));
    expect(told).toEqual([{ state: "no-wasm" }]);
    vi.unstubAllGlobals();
    const ready = vi.fn();
    bench().service.on("core", ready);
    expect(ready).not.toHaveBeenCalled();
  });
});

/** Whatever is done to the service while it tells of something: the call that it tells of ends. */
describe("what a listener does to the service", () => {
  const deeds: Record<string, (service: RateLimitService) => void> = {
    "isolates the circuit": (service) => service.isolateCircuit(),
    "resets the circuit": (service) => service.resetCircuit(),
    "disposes of the service": (service) => service.dispose(),
    "changes the configuration": (service) => service.updateConfig({ maxRetries: 0, sharedCooldown: false }),
    "switches it off": (service) => service.updateConfig({ enabled: false }),
    "begins another call": (service) => void ended(service.executeWithRetry(async () => 1)),
    "reads everything": (service) => void [service.getCircuitState(), service.getMetrics()],
  };
  const tellers: Record<string, (service: () => RateLimitService, deed: () => void) => object> = {
    attempt: (service, deed) => ({ event: service().on("attempt", deed) }),
    retry: (service, deed) => ({ event: service().on("retry", deed) }),
    cooldown: (service, deed) => ({ event: service().on("cooldown", deed) }),
    circuit: (service, deed) => ({ event: service().on("circuit", deed) }),
    giveUp: (service, deed) => ({ event: service().on("giveUp", deed) }),
  };
  const places = [...Object.keys(tellers), "onWait", "logger", "classify", "operation", "messages"];

  it.each(places.flatMap((place) => Object.keys(deeds).map((deed) => [place, deed] as const)))(
    "%s %s",
    async (place, name) => {
      const log = new Log();
      const host = new ManualHost();
      let done = false;
      const deed = (): undefined => {
        if (done) return;
        done = true;
        deeds[name]?.(service);
      };
      const say = place === "logger" ? deed : () => {};
      const service: RateLimitService = new RateLimitService(
        {
          maxRetries: 2,
          circuitBreakerThreshold: 2,
          circuitResetMs: 1_000,
          jitter: "none",
          logger: { error: say, warn: say, info: say, debug: say },
          ...(place === "classify" && { classify: deed }),
          ...(place === "messages" && { messages: deed }),
        },
        host,
      );
      tellers[place]?.(() => service, deed);
      const answers = script(refusal(), refusal(), "done");
      const operation = (): Promise<unknown> => {
        if (place === "operation") deed();
        return answers({} as never);
      };
      const context = place === "onWait" ? { onWait: deed } : {};
      const call = ended(service.executeWithRetry(operation, context));
      let pending = true;
      call.finally(() => {
        pending = false;
      });
      await host.advance(600_000);
      expect(done, "it was told").toBe(true);
      expect(pending, "the call has ended").toBe(false);
      expect(log.lines).toEqual([]);
    },
  );
});
