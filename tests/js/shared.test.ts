import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { freshPackage, refusal, rejection, script } from "./support/service.ts";

const KEY = Symbol.for("tidegate/1");
const holder = globalThis as { [KEY]?: { service?: unknown } };

beforeEach(() => {
  delete holder[KEY];
});
afterEach(() => {
  delete holder[KEY];
});

describe("the shared service", () => {
  it("is not made by importing the package", async () => {
    const tidegate = await freshPackage();
    expect(holder[KEY]).toBeUndefined();
    expect(tidegate.coreState()).toBe("idle");
    expect(tidegate.rateLimitService).toBeInstanceOf(tidegate.RateLimitService);
    expect(holder[KEY]).toBeUndefined();
    expect(tidegate.rateLimitService.getCircuitState().isOpen).toBe(false);
    expect(holder[KEY]?.service).toBeInstanceOf(tidegate.RateLimitService);
  });

  it("is one for two copies of the package", async () => {
    const first = await freshPackage();
    const second = await freshPackage();
    expect(first.RateLimitService).not.toBe(second.RateLimitService);
    first.rateLimitService.isolateCircuit();
    expect(second.rateLimitService.getCircuitState().state).toBe("isolated");
    const error = await rejection(second.rateLimitService.executeWithRetry(script("never")));
    expect(second.isRateLimitError(error)).toBe(true);
    expect(first.isRateLimitError(error)).toBe(true);
  });

  it("works without a receiver, as destructured", async () => {
    const { rateLimitService } = await freshPackage();
    const { executeWithRetry, getMetrics } = rateLimitService;
    expect(await executeWithRetry(async () => "done")).toBe("done");
    expect(getMetrics().calls).toBe(1);
  });

  it("gives the same function each time it is asked for a method", async () => {
    const { rateLimitService } = await freshPackage();
    expect(rateLimitService.executeWithRetry).toBe(rateLimitService.executeWithRetry);
  });

  it("is the new one after the old one was put away", async () => {
    const { rateLimitService } = await freshPackage();
    rateLimitService.isolateCircuit();
    rateLimitService.getCircuitState();
    delete holder[KEY];
    expect(rateLimitService.getCircuitState().state).toBe("closed");
  });

  it("can be spied on and mocked by the tests of an application", async () => {
    const { rateLimitService } = await freshPackage();
    const spy = vi.spyOn(rateLimitService, "executeWithRetry").mockRejectedValue(refusal());
    await rejection(rateLimitService.executeWithRetry(async () => "real"));
    expect(spy).toHaveBeenCalledTimes(1);
    spy.mockRestore();
    expect(await rateLimitService.executeWithRetry(async () => "real")).toBe("real");
  });
});
