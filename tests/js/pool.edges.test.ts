import { afterEach, describe, expect, it, vi } from "vitest";
import "../../js/index.ts";
import { Pool, type PoolOptions } from "../../js/pool.ts";
import { ManualHost } from "../../js/testing.ts";
import { sabotageCore } from "./support/broken-core.ts";
import { deferred, freshPackage, rejection } from "./support/service.ts";

afterEach(() => {
  vi.unstubAllGlobals();
});

async function settled(): Promise<void> {
  for (let turn = 0; turn < 30; turn++) await null;
}

/** A job that ends when it is told to. */
function job(pool: Pool, options?: Parameters<Pool["submit"]>[1]) {
  const end = deferred<void>();
  const run = vi.fn((_info: { signal: AbortSignal }) => end.promise);
  const outcome = pool.submit(run, options);
  outcome.catch(() => {});
  return { run, end: () => end.resolve(), outcome };
}

const poolOf = (options: PoolOptions): Pool => new Pool({ host: new ManualHost(), ...options });

describe("a refusal", () => {
  it("says why", async () => {
    const pool = poolOf({ workers: 1, queue: 0, onFull: "reject" });
    const first = job(pool);
    const full = (await rejection(job(pool).outcome)) as Error;
    expect(full.message).toMatch(/^The queue of the pool is full\. \S/);
    first.end();
    await pool.close();
    const closed = (await rejection(job(pool).outcome)) as Error;
    expect(closed.message).toMatch(/^The pool is closed\. \S/);
  });

  it("says why to those who still waited for room", async () => {
    const pool = poolOf({ workers: 1, queue: 0, onFull: "wait" });
    const [first, outside] = [job(pool), job(pool)];
    const closing = pool.close();
    const closed = (await rejection(outside.outcome)) as Error;
    expect(closed.message).toMatch(/^The pool is closed\. \S/);
    first.end();
    await closing;
  });
});

describe("who waits for room", () => {
  it("and goes away is not waited for", async () => {
    const pool = poolOf({ workers: 1, queue: 0, onFull: "wait" });
    const controller = new AbortController();
    const [first] = [job(pool), job(pool, { signal: controller.signal })];
    controller.abort();
    const ended = vi.fn();
    void pool.wait().then(ended);
    first.end();
    await settled();
    expect(ended).toHaveBeenCalledOnce();
  });

  it("keeps its turn, also in a pool that is older than a month", async () => {
    const host = new ManualHost();
    const pool = poolOf({ host, workers: 1, queue: 2, onFull: "wait" });
    await host.advance(30 * 86_400_000);
    const order: number[] = [];
    const jobs = [0, 1, 2, 3, 4].map((number) => pool.submit(async () => void order.push(number)));
    await Promise.all(jobs);
    expect(order).toEqual([0, 1, 2, 3, 4]);
  });
});

describe("a core that is lost and does not come back", () => {
  it("lets nobody wait for it", async () => {
    const sabotage = sabotageCore();
    await freshPackage();
    const { Pool: Fresh } = await import("../../js/pool.ts");
    const pool = new Fresh({ host: new ManualHost(), workers: 1 });
    const first = job(pool);
    vi.stubGlobal("WebAssembly", undefined);
    sabotage.trapIn = true;
    const unavailable = { code: "RATE_LIMIT_CORE_UNAVAILABLE" };
    expect(await rejection(job(pool).outcome)).toMatchObject(unavailable);
    expect(await rejection(job(pool).outcome)).toMatchObject(unavailable);
    first.end();
    await first.outcome;
  });
});

describe("a job that was queued when the core was lost", () => {
  it("is stopped by its signal once it runs, like any other", async () => {
    const sabotage = sabotageCore();
    await freshPackage();
    const { Pool: Fresh } = await import("../../js/pool.ts");
    const pool = new Fresh({ host: new ManualHost(), workers: 1, onCoreUnavailable: "pass" });
    const controller = new AbortController();
    const [first, queued] = [job(pool), job(pool, { signal: controller.signal })];
    sabotage.trapIn = true;
    const third = job(pool);
    await settled();
    expect(queued.run).toHaveBeenCalledOnce();
    controller.abort();
    expect(queued.run.mock.calls[0]?.[0].signal.aborted).toBe(true);
    const ended = vi.fn();
    void pool.wait().then(ended);
    first.end();
    third.end();
    await settled();
    expect(ended).not.toHaveBeenCalled();
    queued.end();
    await settled();
    expect(ended).toHaveBeenCalledOnce();
  });
});
