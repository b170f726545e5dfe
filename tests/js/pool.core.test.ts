import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { afterEach, describe, expect, it, vi } from "vitest";
import type { Pool, PoolOptions } from "../../js/pool.ts";
import { ManualHost } from "../../js/testing.ts";
import { type Sabotage, sabotageCore } from "./support/broken-core.ts";
import { deferred, freshPackage, rejection } from "./support/service.ts";

/** What becomes of a pool and its jobs where there is no core, and when it fails. */

afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

const UNAVAILABLE = {
  code: "RATE_LIMIT_CORE_UNAVAILABLE",
  userMessage: "Limits cannot be checked on this device.",
};

async function settled(): Promise<void> {
  for (let turn = 0; turn < 50; turn++) await null;
}

/** A package of its own, whose core fails when it is told to. */
class Broken {
  readonly host = new ManualHost();
  readonly sabotage: Sabotage;
  readonly tidegate: Awaited<ReturnType<typeof freshPackage>>;
  readonly Pool: typeof Pool;
  readonly #core: typeof import("../../js/core.ts");
  /** The jobs that have begun, in that order. */
  readonly begun: string[] = [];
  readonly #ends = new Map<string, ReturnType<typeof deferred>>();

  private constructor(
    sabotage: Sabotage,
    tidegate: Broken["tidegate"],
    made: typeof Pool,
    core: typeof import("../../js/core.ts"),
  ) {
    this.sabotage = sabotage;
    this.tidegate = tidegate;
    this.Pool = made;
    this.#core = core;
  }

  static async make(): Promise<Broken> {
    const sabotage = sabotageCore();
    const tidegate = await freshPackage();
    const { Pool } = await import("../../js/pool.ts");
    return new Broken(sabotage, tidegate, Pool, await import("../../js/core.ts"));
  }

  pool(options: PoolOptions = {}): Pool {
    return new this.Pool({ host: this.host, ...options });
  }

  /** Submits a job that ends when it is told to. */
  submit(pool: Pool, name: string, priority = 0): Promise<unknown> {
    const outcome = pool.submit(
      () => {
        this.begun.push(name);
        const end = deferred();
        this.#ends.set(name, end);
        return end.promise;
      },
      { priority },
    );
    outcome.catch(() => {});
    return outcome;
  }

  async end(name: string): Promise<void> {
    this.#ends.get(name)?.resolve(name);
    this.#ends.delete(name);
    await settled();
  }

  async endAll(): Promise<void> {
    while (this.#ends.size > 0) {
      for (const name of this.#ends.keys()) await this.end(name);
    }
  }

  /** The next time that this function of the core is called, it traps. */
  trapOnceIn(where: string): void {
    let calls = 0;
    this.sabotage.trapIn = Object.assign(new Set<string>(), {
      has: (name: string) => name === where && calls++ === 0,
    });
  }

  /** The core traps now, on behalf of somebody else. */
  trap(): void {
    this.#core.trapped(this.host.now());
    expect(this.tidegate.coreState()).toBe("trap");
  }

  /** The core traps now, and the next one is not there before an alarm of the old one has run out. */
  trapFor(ms: number): Promise<void> {
    vi.useFakeTimers();
    void this.#core.alarm(ms);
    this.trap();
    return vi.advanceTimersByTimeAsync(ms - 1).then(() => {});
  }
}

describe("without a core", () => {
  it("jobs are rejected, and none is run", async () => {
    vi.stubGlobal("WebAssembly", undefined);
    await freshPackage();
    const { Pool } = await import("../../js/pool.ts");
    const pool = new Pool();
    const job = vi.fn();
    expect(await rejection(pool.submit(job))).toMatchObject({ ...UNAVAILABLE, attempts: 0, status: 429 });
    expect(await rejection(pool.submit(job, { dedupeKey: "k" }))).toMatchObject(UNAVAILABLE);
    expect(pool.isDuplicate("k")).toBe(false);
    expect(job).not.toHaveBeenCalled();
    await pool.wait();
    await pool.close();
  });

  it('or run at once, where that is wanted: onCoreUnavailable "pass"', async () => {
    vi.stubGlobal("WebAssembly", undefined);
    await freshPackage();
    const { Pool } = await import("../../js/pool.ts");
    const pool = new Pool({ workers: 1, queue: 0, onCoreUnavailable: "pass" });
    const end = deferred();
    const jobs = [1, 2, 3].map((i) => pool.submit(() => end.promise.then(() => i)));
    expect(pool.activeWorkers).toBe(3);
    end.resolve(0);
    expect(await Promise.all(jobs)).toEqual([1, 2, 3]);
    expect(pool.activeWorkers).toBe(0);
    await pool.close();
    expect(await rejection(pool.submit(() => 1))).toMatchObject({ code: "RATE_LIMIT_POOL_CLOSED" });
  });
});

describe("when the core traps", () => {
  it("jobs in the queue go on with the next one, in their order, and those that run are counted there", async () => {
    const broken = await Broken.make();
    const pool = broken.pool({ workers: 2, queue: 4 });
    for (const name of ["a", "b", "c", "d"]) void broken.submit(pool, name);
    await broken.host.advance(5_000);
    void broken.submit(pool, "urgent", 1);
    void broken.submit(pool, "slow", -1);
    broken.trap();
    expect(broken.tidegate.coreState()).toBe("trap");
    await settled();
    expect(broken.tidegate.coreState()).toBe("ready");
    expect([pool.activeWorkers, pool.queueDepth]).toEqual([2, 4]);
    expect(broken.begun).toEqual(["a", "b"]);
    expect(await rejection(broken.submit(pool, "full"))).toMatchObject({ code: "RATE_LIMIT_QUEUE_FULL" });
    await broken.end("a");
    // Five seconds of waiting are half a step of priority.
    expect(broken.begun).toEqual(["a", "b", "urgent"]);
    await broken.end("b");
    expect(broken.begun).toEqual(["a", "b", "urgent", "c"]);
    await broken.endAll();
    expect(broken.begun).toEqual(["a", "b", "urgent", "c", "d", "slow"]);
    expect([pool.activeWorkers, pool.queueDepth]).toEqual([0, 0]);
  });

  it("equals keep their order, whatever names they had", async () => {
    const broken = await Broken.make();
    const pool = broken.pool({ workers: 1, queue: 4 });
    for (const name of ["a", "b", "c"]) void broken.submit(pool, name);
    await broken.end("a");
    await broken.end("b");
    // The names of those who have left are given out again, the last one first.
    const names = ["d", "e", "f", "g"];
    for (const name of names) void broken.submit(pool, name);
    await broken.end("c");
    void broken.submit(pool, "h");
    broken.trap();
    await settled();
    await broken.endAll();
    expect(broken.begun).toEqual(["a", "b", "c", ...names, "h"]);
  });

  it("what waited before it keeps its head start over what comes after it", async () => {
    const broken = await Broken.make();
    const pool = broken.pool({ workers: 1 });
    void broken.submit(pool, "running");
    void broken.submit(pool, "patient");
    await broken.host.advance(10_001);
    broken.trap();
    await settled();
    void broken.submit(pool, "urgent, and late", 1);
    await broken.endAll();
    expect(broken.begun).toEqual(["running", "patient", "urgent, and late"]);
  });

  it("jobs that end meanwhile free their workers for the next core", async () => {
    const broken = await Broken.make();
    const pool = broken.pool({ workers: 2 });
    for (const name of ["a", "b", "c", "d", "e"]) void broken.submit(pool, name);
    await broken.trapFor(30_000);
    await broken.end("a");
    expect(broken.begun).toEqual(["a", "b"]);
    expect([pool.activeWorkers, pool.queueDepth]).toEqual([1, 3]);
    await vi.advanceTimersByTimeAsync(1);
    await settled();
    expect(broken.tidegate.coreState()).toBe("ready");
    expect(broken.begun).toEqual(["a", "b", "c"]);
    await broken.endAll();
    expect(broken.begun).toEqual(["a", "b", "c", "d", "e"]);
  });

  it("jobs that come meanwhile are queued, as far as there is room, and may be taken back", async () => {
    const broken = await Broken.make();
    const pool = broken.pool({ workers: 1, queue: 2 });
    void broken.submit(pool, "a");
    await broken.trapFor(30_000);
    const controller = new AbortController();
    const never = vi.fn();
    const takenBack = pool.submit(never, { signal: controller.signal });
    void broken.submit(pool, "b");
    expect(await rejection(broken.submit(pool, "full"))).toMatchObject({ code: "RATE_LIMIT_QUEUE_FULL" });
    controller.abort();
    await rejection(takenBack);
    void broken.submit(pool, "urgent", 1);
    expect(pool.queueDepth).toBe(2);
    await vi.advanceTimersByTimeAsync(1);
    await broken.endAll();
    expect(broken.begun).toEqual(["a", "urgent", "b"]);
    expect(never).not.toHaveBeenCalled();
  });

  it.each(["pool_enter", "pool_next", "pool_leave", "pool_configure"])(
    "in %s: nothing is lost, and nothing runs twice",
    async (where) => {
      const broken = await Broken.make();
      const pool = broken.pool({ workers: 1, queue: 10 });
      const controller = new AbortController();
      const outcomes = ["a", "b"].map((name) => broken.submit(pool, name));
      const leaves = pool.submit(() => broken.begun.push("left"), { signal: controller.signal });
      broken.trapOnceIn(where);
      if (where === "pool_enter") outcomes.push(broken.submit(pool, "c"));
      if (where === "pool_next") await broken.end("a");
      if (where === "pool_configure") pool.updateLimits({ workers: 2 });
      controller.abort();
      await rejection(leaves);
      expect(broken.sabotage.traps).toBe(1);
      outcomes.push(broken.submit(pool, "d"));
      await settled();
      expect(broken.tidegate.coreState()).toBe("ready");
      expect(pool.activeWorkers).toBe(where === "pool_configure" ? 2 : 1);
      await broken.endAll();
      const expected = where === "pool_enter" ? ["a", "b", "c", "d"] : ["a", "b", "d"];
      expect(await Promise.all(outcomes)).toEqual(expected);
      expect(broken.begun).toEqual(expected);
      expect([pool.activeWorkers, pool.queueDepth]).toEqual([0, 0]);
      await pool.close();
    },
  );

  it("those who wait for room come in with the next one", async () => {
    const broken = await Broken.make();
    const pool = broken.pool({ workers: 1, queue: 1, onFull: "wait" });
    for (const name of ["a", "b", "c", "d"]) void broken.submit(pool, name);
    broken.trap();
    void broken.submit(pool, "e");
    await settled();
    await broken.endAll();
    expect(broken.begun).toEqual(["a", "b", "c", "d", "e"]);
  });

  it("for the third time within a minute: who is queued, or waits for room, is rejected, and what runs goes on", async () => {
    const broken = await Broken.make();
    const pool = broken.pool({ workers: 1, queue: 2, onFull: "wait" });
    const running = broken.submit(pool, "a");
    const waiting = ["b", "c", "d"].map((name) => rejection(broken.submit(pool, name)));
    for (let i = 0; i < 3; i++) {
      broken.trap();
      await settled();
    }
    expect(broken.tidegate.coreState()).toBe("trap");
    for (const error of await Promise.all(waiting)) expect(error).toMatchObject(UNAVAILABLE);
    expect([pool.activeWorkers, pool.queueDepth]).toEqual([1, 0]);
    expect(await rejection(broken.submit(pool, "late"))).toMatchObject(UNAVAILABLE);
    const closing = pool.close();
    await broken.end("a");
    expect(await running).toBe("a");
    await closing;
    expect(broken.begun).toEqual(["a"]);
  });

  it('with "pass" everybody runs at once, and is counted by the next one', async () => {
    const broken = await Broken.make();
    const pool = broken.pool({ workers: 1, queue: 1, onFull: "wait", onCoreUnavailable: "pass" });
    for (const name of ["a", "b", "c"]) void broken.submit(pool, name);
    broken.trap();
    await settled();
    expect(broken.begun).toEqual(["a", "b", "c"]);
    expect(broken.tidegate.coreState()).toBe("ready");
    void broken.submit(pool, "d");
    expect([pool.activeWorkers, pool.queueDepth]).toEqual([3, 1]);
    await broken.end("a");
    await broken.end("b");
    expect(broken.begun).toEqual(["a", "b", "c"]);
    await broken.end("c");
    expect(broken.begun).toEqual(["a", "b", "c", "d"]);
    await broken.endAll();
  });

  it('in pool_enter with "pass": that job runs once, and those who wait do', async () => {
    const broken = await Broken.make();
    const pool = broken.pool({ workers: 1, queue: 1, onFull: "wait", onCoreUnavailable: "pass" });
    for (const name of ["a", "b", "c", "d"]) void broken.submit(pool, name);
    broken.trapOnceIn("pool_enter");
    await broken.end("a");
    await settled();
    expect(broken.begun).toEqual(["a", "b", "c", "d"]);
    expect(pool.activeWorkers).toBe(3);
    await broken.endAll();
    expect([pool.activeWorkers, pool.queueDepth]).toEqual([0, 0]);
  });
});

describe("a pool that nobody holds", () => {
  it("is collected", async () => {
    setFlagsFromString("--expose-gc");
    const collect = runInNewContext("gc") as () => void;
    await freshPackage();
    const { Pool } = await import("../../js/pool.ts");
    const glue = await import("../../pkg/core.js");
    const make = async (): Promise<WeakRef<Pool>[]> => {
      const made: WeakRef<Pool>[] = [];
      for (let i = 0; i < 200; i++) {
        const pool = new Pool();
        await pool.submit(() => i);
        made.push(new WeakRef(pool));
      }
      return made;
    };
    const pools = await make();
    for (let turn = 0; turn < 20 && pools.some((pool) => pool.deref()); turn++) {
      await new Promise((resolve) => setImmediate(resolve));
      collect();
    }
    await new Promise((resolve) => setImmediate(resolve));
    expect(pools.filter((pool) => pool.deref()).length).toBeLessThan(10);
    const handle = glue.pool(1, 1);
    glue.pool_free(handle);
    expect(handle).toBeLessThan(100);
  });

  it("that was closed has given its place back, once", async () => {
    await freshPackage();
    const { Pool } = await import("../../js/pool.ts");
    const glue = await import("../../pkg/core.js");
    const first = new Pool();
    await first.submit(() => 1);
    const mine = glue.pool(1, 1);
    await first.close();
    await first.close();
    const second = glue.pool(1, 1);
    expect(second).toBeLessThan(mine);
    expect(glue.pool(1, 1)).not.toBe(second);
  });
});
