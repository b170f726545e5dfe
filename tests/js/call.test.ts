import { describe, expect, it, vi } from "vitest";
import { onAbort } from "../../js/call.ts";
import { RateLimitService } from "../../js/index.ts";
import { ManualHost } from "../../js/testing.ts";

describe("a signal that many calls share", () => {
  it("has one listener, and none when nobody waits for it any more", async () => {
    const { signal } = new AbortController();
    const added = vi.spyOn(signal, "addEventListener");
    const removed = vi.spyOn(signal, "removeEventListener");
    const host = new ManualHost();
    const service = new RateLimitService({ logLevel: "silent", maxRetries: 20, retryBudget: null }, host);
    const calls = Array.from({ length: 50 }, () =>
      service.executeWithRetry(({ attempt }) => (attempt < 2 ? Promise.reject({ status: 429 }) : "done"), {
        signal,
      }),
    );
    expect(await host.drive(Promise.all(calls))).toEqual(Array(50).fill("done"));
    expect(removed).toHaveBeenCalledTimes(added.mock.calls.length);
    expect(added.mock.calls.length).toBeLessThan(50);
  });

  it("tells all of them, once, and also those who come while it tells", () => {
    const controller = new AbortController();
    const told: string[] = [];
    onAbort(controller.signal, () => {
      told.push("first");
      onAbort(controller.signal, () => told.push("late"));
    });
    const leave = onAbort(controller.signal, () => told.push("gone"));
    onAbort(controller.signal, () => told.push("second"));
    leave();
    leave();
    controller.abort();
    expect(told).toEqual(["first", "late", "second"]);
  });
});
