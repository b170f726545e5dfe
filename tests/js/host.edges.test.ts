import { afterEach, describe, expect, it, vi } from "vitest";
import { plainAlarm, platform, Waits } from "../../js/host.ts";
import { ManualHost } from "../../js/testing.ts";

afterEach(() => {
  vi.useRealTimers();
});

describe("an alarm without the core", () => {
  it("rings after its time, with a signal and without", async () => {
    vi.useFakeTimers();
    const rung = vi.fn();
    for (const signal of [undefined, new AbortController().signal]) void plainAlarm(1_000, signal).then(rung);
    await vi.advanceTimersByTimeAsync(999);
    expect(rung).not.toHaveBeenCalled();
    await vi.advanceTimersByTimeAsync(1);
    expect(rung).toHaveBeenCalledTimes(2);
  });

  it("rings at once when its signal aborts, or has, and leaves no timer", async () => {
    vi.useFakeTimers();
    await plainAlarm(1_000, AbortSignal.abort());
    const controller = new AbortController();
    const alarm = plainAlarm(1_000, controller.signal);
    controller.abort();
    await alarm;
    expect(vi.getTimerCount()).toBe(0);
  });
});

describe("those who wait", () => {
  it("wake in time although one of them has begun a longer wait as it woke", async () => {
    const host = new ManualHost();
    const waits = new Waits(platform(host, plainAlarm));
    const began = host.now();
    const woken: number[] = [];
    const at = (ms: number, then = (): void => {}): void => {
      waits.add(began + ms, () => {
        woken.push(host.now() - began);
        then();
      });
    };
    at(10, () => at(100));
    at(20);
    await host.advance(1_000);
    expect(woken).toEqual([10, 20, 100]);
  });
});
