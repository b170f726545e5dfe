import { afterEach, describe, expect, it, vi } from "vitest";
import { RateLimitConfigError, RateLimitService } from "../../js/index.ts";
import { bench, ended, refusal, rejection, script } from "./support/service.ts";

afterEach(() => {
  vi.useRealTimers();
});

describe("priorities", () => {
  it("decide who of the held goes first, whatever their size", async () => {
    const { service, host } = bench();
    const order: string[] = [];
    const first = ended(service.executeWithRetry(script(refusal(1), "done"), { priority: 100 }));
    await host.advance(10);
    const priorities = { lowest: -Infinity, low: -3e9, normal: 0, some: 1, high: 3e9, highest: Infinity };
    for (const [name, priority] of Object.entries(priorities)) {
      void ended(service.executeWithRetry(async () => order.push(name), { priority }));
    }
    await host.advance(10_000);
    await first;
    expect(order.slice(0, 2).sort()).toEqual(["high", "highest"]);
    expect(order.slice(2, 4)).toEqual(["some", "normal"]);
    expect(order.slice(4).sort()).toEqual(["low", "lowest"]);
  });
});

describe("an option of a call that is not legal", () => {
  it.each([
    ["maxRetries", -1],
    ["maxRetries", 1_001],
    ["maxRetries", 1.5],
    ["maxRetries", "3"],
    ["maxRetries", null],
    ["deadlineMs", Number.NaN],
    ["deadlineMs", "100"],
    ["priority", Number.NaN],
    ["priority", "high"],
    ["signal", {}],
    ["signal", "abort"],
    ["onWait", "call me"],
  ])("%s: %s rejects with its name, and nothing is left behind", async (field, value) => {
    const { service, host } = bench();
    const operation = script("never");
    const error = await rejection(service.executeWithRetry(operation, { deadlineMs: 1_000, [field]: value }));
    expect(error).toBeInstanceOf(RateLimitConfigError);
    expect(error).toMatchObject({ field, value });
    expect(operation.times).toBe(0);
    expect(host.sleeping).toBe(0);
  });

  it("context null is like none", async () => {
    const { service } = bench();
    expect(await service.executeWithRetry(async () => "done", null as never)).toBe("done");
  });

  it("signal null is like none, as in fetch", async () => {
    const { service } = bench();
    expect(await service.executeWithRetry(async () => "done", { signal: null as never })).toBe("done");
  });
});

describe("an abort", () => {
  it("ends the call at once also while the body of the refusal is read", async () => {
    vi.useFakeTimers();
    const service = new RateLimitService({ logLevel: "silent" });
    const controller = new AbortController();
    const dawdling = new ReadableStream({ pull: () => new Promise(() => {}) });
    const call = rejection(
      service.executeWithRetry(async () => new Response(dawdling, { status: 429 }), {
        signal: controller.signal,
      }),
    );
    let over = false;
    void call.then(() => {
      over = true;
    });
    await vi.advanceTimersByTimeAsync(10);
    controller.abort();
    await vi.advanceTimersByTimeAsync(10);
    expect(over).toBe(true);
    expect(await call).toBe(controller.signal.reason);
  });
});

describe("a refused Response whose body carries one of our codes", () => {
  it("has been judged already, and is passed on unchanged", async () => {
    const { service, host } = bench();
    const answers: Response[] = [];
    const operation = async (): Promise<Response> => {
      const body = JSON.stringify({ code: "RATE_LIMIT_CIRCUIT_OPEN", message: "Too many requests." });
      answers.push(new Response(body, { status: 429, headers: { "content-type": "application/json" } }));
      return answers.at(-1) as Response;
    };
    const end = await host.drive(ended(service.executeWithRetry(operation)));
    expect(answers.length).toBe(1);
    expect(end.value).toBe(answers[0]);
    expect(service.getCircuitState().consecutiveFailures).toBe(0);
  });
});
