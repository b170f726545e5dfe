import { describe, expect, it, vi } from "vitest";
import { CircuitBreaker } from "../../js/breaker.ts";
import { RateLimiterRegistry, RateLimitService } from "../../js/index.ts";
import { RateLimiter } from "../../js/limiter.ts";
import { Slots } from "../../js/slots.ts";
import { ManualHost } from "../../js/testing.ts";

const host = new ManualHost();

describe("what `using` ends", () => {
  it.each([
    ["a service", () => new RateLimitService({ logLevel: "silent" }, host)],
    ["a circuit breaker", () => new CircuitBreaker({ host })],
    ["a limiter", () => new RateLimiter({ host, minIntervalMs: 1 })],
    ["slots", () => new Slots({ host, global: 1 })],
    ["a registry", () => new RateLimiterRegistry({ crm: {} }, { host })],
  ])("%s is disposed, once for each", (_, make) => {
    const { dispose } = Symbol as { dispose?: symbol };
    if (dispose === undefined) throw new Error("this platform has no Symbol.dispose");
    const [ended, other] = [make(), make()];
    const [end, others] = [vi.spyOn(ended, "dispose"), vi.spyOn(other, "dispose")];
    (ended as unknown as Record<symbol, () => void>)[dispose]?.();
    expect(end).toHaveBeenCalledTimes(1);
    expect(others).not.toHaveBeenCalled();
    other.dispose();
  });

  it("is not among what an object lists", () => {
    const { dispose } = Symbol as { dispose?: symbol };
    const breaker = new CircuitBreaker({ host });
    expect(Object.getOwnPropertySymbols(breaker)).not.toContain(dispose);
    expect(Object.prototype.propertyIsEnumerable.call(CircuitBreaker.prototype, dispose as symbol)).toBe(
      false,
    );
  });
});
