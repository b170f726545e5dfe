import { AsyncLocalStorage } from "node:async_hooks";
import fc from "fast-check";
import { afterEach, describe, expect, it, vi } from "vitest";
import "../../js/index.ts";
import { RateLimitConfigError, RateLimitError } from "../../js/errors.ts";
import { type JobInfo, Pool, type PoolOptions, type SubmitOptions } from "../../js/pool.ts";
import { ManualHost } from "../../js/testing.ts";
import { deferred, ended, rejection } from "./support/service.ts";

afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
  vi.unstubAllGlobals();
});

const FULL = { code: "RATE_LIMIT_QUEUE_FULL" };
const CLOSED = { code: "RATE_LIMIT_POOL_CLOSED" };

/** Lets everything happen that needs no time. */
async function settled(): Promise<void> {
  for (let turn = 0; turn < 30; turn++) await null;
}

/** A pool whose jobs end when they are told to, by the name that they were submitted under. */
class Stage {
  readonly host = new ManualHost();
  readonly pool: Pool;
  /** The jobs that have begun, in that order. */
  readonly begun: string[] = [];
  readonly infos = new Map<string, JobInfo>();
  readonly #ends = new Map<string, ReturnType<typeof deferred>>();

  constructor(options: PoolOptions = {}) {
    this.pool = new Pool({ host: this.host, ...options });
  }

  submit(name: string, options?: SubmitOptions): Promise<unknown> {
    const outcome = this.pool.submit((info) => {
      this.begun.push(name);
      this.infos.set(name, info);
      const end = deferred();
      this.#ends.set(name, end);
      return end.promise;
    }, options);
    outcome.catch(() => {});
    return outcome;
  }

  /** Ends a job that runs. */
  async end(name: string, error?: unknown): Promise<void> {
    const end = this.#ends.get(name);
    if (!end) throw new Error(`${name} does not run.`);
    this.#ends.delete(name);
    if (error === undefined) end.resolve(name);
    else end.reject(error);
    await settled();
  }

  /** Ends all jobs, one after the other in the order in which they began. */
  async endAll(): Promise<void> {
    while (this.#ends.size > 0) {
      for (const name of this.#ends.keys()) await this.end(name);
    }
  }
}

describe("a pool", () => {
  it("20 jobs through 5 workers: never more than 5 at a time, and each is done", async () => {
    const pool = new Pool({ workers: 5 });
    let running = 0;
    let most = 0;
    const job = async (i: number): Promise<number> => {
      running++;
      most = Math.max(most, running);
      expect(pool.activeWorkers).toBeGreaterThanOrEqual(running);
      await new Promise(setImmediate);
      running--;
      return i;
    };
    const all = Array.from({ length: 20 }, (_, i) => pool.submit(() => job(i)));
    expect(pool.activeWorkers).toBe(5);
    expect(pool.queueDepth).toBe(15);
    expect(await Promise.all(all)).toEqual(Array.from({ length: 20 }, (_, i) => i));
    expect(most).toBe(5);
    expect(pool.activeWorkers).toBe(0);
    expect(pool.queueDepth).toBe(0);
  });

  it("with 5 at work and 100 queued the next one is refused, and there is room when one has ended", async () => {
    const stage = new Stage({ workers: 5, queue: 100 });
    for (let i = 0; i < 105; i++) void stage.submit(`job ${i}`);
    const error = await rejection(stage.submit("one too many"));
    expect(error).toBeInstanceOf(RateLimitError);
    expect(error).toMatchObject({
      ...FULL,
      status: 429,
      attempts: 0,
      userMessage: "Too many operations are waiting. Please try again later.",
    });
    expect(stage.pool.queueDepth).toBe(100);
    await stage.end("job 0");
    void stage.submit("in time");
    expect(stage.pool.queueDepth).toBe(100);
    await stage.endAll();
    expect(stage.begun).toEqual([...Array.from({ length: 105 }, (_, i) => `job ${i}`), "in time"]);
  });

  it("has 5 workers and room for 100 by default", async () => {
    const stage = new Stage();
    for (let i = 0; i < 105; i++) void stage.submit(`job ${i}`);
    expect(stage.pool.activeWorkers).toBe(5);
    expect(await rejection(stage.submit("one too many"))).toMatchObject(FULL);
  });

  it("without a queue refuses whoever finds no worker", async () => {
    const stage = new Stage({ workers: 1, queue: 0 });
    void stage.submit("first");
    expect(await rejection(stage.submit("second"))).toMatchObject(FULL);
    await stage.end("first");
    void stage.submit("third");
    expect(stage.begun).toEqual(["first", "third"]);
  });

  it("begins a job before submit returns when a worker is free", () => {
    const pool = new Pool();
    const job = vi.fn();
    void pool.submit(job);
    expect(job).toHaveBeenCalledOnce();
  });

  it.each(["at once", "from the queue"])("gives what a job brings, unchanged, %s", async (way) => {
    const pool = new Pool({ workers: 1 });
    const first = deferred();
    if (way === "from the queue") void pool.submit(() => first.promise);
    const value = { any: "thing" };
    const error = new Error("of its own");
    const outcomes = [
      ended(pool.submit(() => value)),
      ended(pool.submit(async () => value)),
      ended(pool.submit(() => Promise.reject(error))),
      ended(
        pool.submit(() => {
          throw error;
        }),
      ),
      ended(pool.submit(() => Promise.reject(undefined))),
      ended(pool.submit(() => {})),
    ];
    first.resolve(0);
    const [plain, asynchronous, rejected, thrown, nothingThrown, nothing] = await Promise.all(outcomes);
    expect(plain?.value).toBe(value);
    expect(asynchronous?.value).toBe(value);
    expect(rejected?.error).toBe(error);
    expect(thrown?.error).toBe(error);
    expect(nothingThrown).toEqual({ error: undefined });
    expect(nothing).toEqual({ value: undefined });
    expect(pool.activeWorkers).toBe(0);
  });

  it.each(["at once", "from the queue"])("awaits a thenable exactly once, %s", async (way) => {
    const pool = new Pool({ workers: 1 });
    const first = deferred();
    if (way === "from the queue") void pool.submit(() => first.promise);
    // biome-ignore lint/suspicious/noThenProperty: a thenable, as query builders are
    const thenable = { then: vi.fn((resolve: (value: string) => void) => resolve("done")) };
    const outcome = pool.submit(() => thenable as unknown as PromiseLike<string>);
    first.resolve(0);
    expect(await outcome).toBe("done");
    expect(thenable.then).toHaveBeenCalledOnce();
  });

  it("one failing job harms no other", async () => {
    const pool = new Pool({ workers: 3 });
    const outcomes = await Promise.all(
      Array.from({ length: 60 }, (_, i) =>
        ended(
          pool.submit(() => {
            if (i % 3 === 0) throw new Error(`at once ${i}`);
            return i % 3 === 1 ? Promise.reject(new Error(`later ${i}`)) : Promise.resolve(i);
          }),
        ),
      ),
    );
    for (const [i, { value, error }] of outcomes.entries()) {
      if (i % 3 === 2) expect(value).toBe(i);
      else expect((error as Error).message).toBe(`${i % 3 === 0 ? "at once" : "later"} ${i}`);
    }
    expect([pool.activeWorkers, pool.queueDepth]).toEqual([0, 0]);
  });

  it("a job may submit another one, which gets a worker when there is one", async () => {
    const pool = new Pool({ workers: 2 });
    const inner = vi.fn(() => "inner");
    expect(await pool.submit(() => pool.submit(inner))).toBe("inner");
    expect(pool.activeWorkers).toBe(0);
  });

  it("a job runs in the asynchronous context of its own submitter", async () => {
    const context = new AsyncLocalStorage<string>();
    const pool = new Pool({ workers: 1 });
    const end = deferred();
    const seen = ["a", "b", "c"].map((name) =>
      context.run(name, () =>
        pool.submit(async () => {
          const before = context.getStore();
          await end.promise;
          return [before, context.getStore()];
        }),
      ),
    );
    end.resolve(0);
    expect(await Promise.all(seen)).toEqual([
      ["a", "a"],
      ["b", "b"],
      ["c", "c"],
    ]);
  });

  it("rejects what is no function", async () => {
    const pool = new Pool();
    expect(await rejection(pool.submit("job" as never))).toBeInstanceOf(TypeError);
    expect(pool.activeWorkers).toBe(0);
  });
});

describe("the order", () => {
  it("is that of arrival", async () => {
    const stage = new Stage({ workers: 1 });
    const names = Array.from({ length: 20 }, (_, i) => `job ${i}`);
    for (const name of names) void stage.submit(name);
    await stage.endAll();
    expect(stage.begun).toEqual(names);
  });

  it("is that of priority, then of arrival", async () => {
    const stage = new Stage({ workers: 1 });
    void stage.submit("running");
    for (const [name, priority] of [
      ["c", 0],
      ["e", -1],
      ["a", 7],
      ["d", 0],
      ["b", 7],
      ["f", Number.NEGATIVE_INFINITY],
      ["0", Number.POSITIVE_INFINITY],
    ] as const) {
      void stage.submit(name, { priority });
    }
    await stage.endAll();
    expect(stage.begun).toEqual(["running", "0", "a", "b", "c", "d", "e", "f"]);
  });

  it("counts ten seconds of waiting as one step", async () => {
    const stage = new Stage({ workers: 1 });
    void stage.submit("running");
    void stage.submit("patient");
    await stage.host.advance(9_999);
    void stage.submit("urgent", { priority: 1 });
    await stage.host.advance(2);
    void stage.submit("as urgent, but too late", { priority: 1 });
    await stage.endAll();
    expect(stage.begun).toEqual(["running", "urgent", "patient", "as urgent, but too late"]);
  });

  it("lets nobody starve, however many come who are more urgent", async () => {
    const stage = new Stage({ workers: 1, queue: 1_000 });
    void stage.submit("urgent");
    void stage.submit("patient");
    let turns = 0;
    while (!stage.begun.includes("patient")) {
      turns++;
      await stage.host.advance(1_000);
      void stage.submit("urgent", { priority: 5 });
      void stage.submit("urgent", { priority: 5 });
      await stage.end("urgent");
    }
    expect(turns).toBeGreaterThan(50);
    expect(turns).toBeLessThan(110);
  });

  it.each([
    ["a day forward", 86_400_000],
    ["an hour back", -3_600_000],
  ])("holds when the clock jumps %s", async (_, ms) => {
    vi.useFakeTimers();
    const stage = new Stage({ workers: 1, host: {} });
    void stage.submit("running");
    void stage.submit("before");
    vi.setSystemTime(Date.now() + ms);
    void stage.submit("after");
    void stage.submit("long after");
    await stage.endAll();
    expect(stage.begun).toEqual(["running", "before", "after", "long after"]);
  });
});

describe("a large queue", () => {
  it("a million queued jobs are done, in order", { timeout: 120_000 }, async () => {
    const pool = new Pool({ workers: 5, queue: 1_000_000 });
    let last = -1;
    let misplaced = 0;
    const end = deferred();
    for (let i = 0; i < 5; i++) void pool.submit(() => end.promise);
    const jobs = 1_000_000;
    for (let i = 0; i < jobs; i++) {
      void pool.submit(() => {
        if (i !== last + 1) misplaced++;
        last = i;
      });
    }
    expect(pool.queueDepth).toBe(jobs);
    expect(await rejection(pool.submit(() => 1))).toMatchObject(FULL);
    end.resolve(0);
    await pool.wait();
    expect(last).toBe(jobs - 1);
    expect(misplaced).toBe(0);
  });

  it("priorities in a sorted array (p-queue): rising ones cost no more than equal ones", {
    timeout: 60_000,
  }, async () => {
    // 200,000 would be minutes where each is inserted into an array.
    const pool = new Pool({ workers: 1, queue: 1_000_000 });
    const end = deferred();
    void pool.submit(() => end.promise);
    let next = 199_999;
    let misplaced = 0;
    for (let i = 0; i < 200_000; i++) {
      const job = (): void => {
        if (i !== next--) misplaced++;
      };
      void pool.submit(job, { priority: i });
    }
    end.resolve(0);
    await pool.wait();
    expect(misplaced).toBe(0);
    expect(next).toBe(-1);
  });

  it("many aborts at a time: none looks through the queue", { timeout: 60_000 }, async () => {
    const pool = new Pool({ workers: 1, queue: 1_000_000 });
    const end = deferred();
    void pool.submit(() => end.promise);
    const controllers = Array.from({ length: 50_000 }, () => new AbortController());
    const job = vi.fn();
    const outcomes = controllers.map(({ signal }) => ended(pool.submit(job, { signal })));
    for (const controller of controllers) controller.abort();
    expect(pool.queueDepth).toBe(0);
    expect((await Promise.all(outcomes)).filter(({ error }) => error).length).toBe(50_000);
    end.resolve(0);
    await pool.wait();
    expect(job).not.toHaveBeenCalled();
  });

  it("many who wait for room come in one after the other", { timeout: 60_000 }, async () => {
    const pool = new Pool({ workers: 2, queue: 3, onFull: "wait" });
    const order: number[] = [];
    for (let i = 0; i < 200_000; i++) void pool.submit(() => void order.push(i));
    expect(pool.queueDepth).toBe(3);
    await pool.wait();
    expect(order).toEqual(Array.from({ length: 200_000 }, (_, i) => i));
  });
});

describe("an abort", () => {
  it("of a queued job rejects at once and not when its turn comes (cockatiel), and gives its place back", async () => {
    const stage = new Stage({ workers: 1, queue: 1 });
    void stage.submit("running");
    const controller = new AbortController();
    const queued = stage.submit("queued", { signal: controller.signal });
    const reason = new Error("no longer wanted");
    controller.abort(reason);
    expect(stage.pool.queueDepth).toBe(0);
    void stage.submit("in its place");
    expect(stage.pool.queueDepth).toBe(1);
    expect(await rejection(queued)).toBe(reason);
    await stage.endAll();
    expect(stage.begun).toEqual(["running", "in its place"]);
  });

  it("of a running job rejects at once; the job is told, and keeps its worker until it settles", async () => {
    const stage = new Stage({ workers: 1 });
    const controller = new AbortController();
    const running = stage.submit("running", { signal: controller.signal });
    void stage.submit("queued");
    const { signal } = stage.infos.get("running") as JobInfo;
    expect(signal.aborted).toBe(false);
    controller.abort();
    expect(signal.aborted).toBe(true);
    expect(signal.reason).toBe(controller.signal.reason);
    expect(await rejection(running)).toBe(controller.signal.reason);
    expect(controller.signal.reason).toMatchObject({ name: "AbortError" });
    expect(stage.pool.activeWorkers).toBe(1);
    expect(stage.begun).toEqual(["running"]);
    await stage.end("running", new Error("late, and heard by nobody"));
    expect(stage.begun).toEqual(["running", "queued"]);
  });

  it("is seen by a job that asks for its signal only then", async () => {
    const stage = new Stage();
    const controller = new AbortController();
    void stage.submit("running", { signal: controller.signal });
    const reason = new Error("stop");
    controller.abort(reason);
    expect(stage.infos.get("running")?.signal).toMatchObject({ aborted: true, reason });
  });

  it("by the job itself, before its first await, is one too", async () => {
    const pool = new Pool();
    const controller = new AbortController();
    const job = ({ signal }: JobInfo): boolean => {
      controller.abort();
      return signal.aborted;
    };
    expect(await rejection(pool.submit(job, { signal: controller.signal }))).toBe(controller.signal.reason);
    await pool.wait();
    expect(pool.activeWorkers).toBe(0);
  });

  it("in the same turn in which a worker was found: the job does not begin, and the next one does", async () => {
    const stage = new Stage({ workers: 1 });
    const controller = new AbortController();
    const first = deferred();
    const running = stage.pool.submit(() => first.promise);
    const queued = stage.submit("queued", { signal: controller.signal });
    void stage.submit("next");
    // Told of the end of the first job together with the pool, and before the worker has begun with another.
    void first.promise.then(() => controller.abort());
    first.resolve(0);
    await running;
    expect(await rejection(queued)).toBe(controller.signal.reason);
    await settled();
    expect(stage.begun).toEqual(["next"]);
    expect(stage.pool.activeWorkers).toBe(1);
  });

  it("of a running job that was queued before takes nobody else out of the queue", async () => {
    const stage = new Stage({ workers: 1 });
    const controller = new AbortController();
    void stage.submit("first");
    void stage.submit("second", { signal: controller.signal });
    await stage.end("first");
    void stage.submit("third, in the place that the second had");
    controller.abort();
    expect(stage.pool.queueDepth).toBe(1);
    await stage.endAll();
    expect(stage.begun).toEqual(["first", "second", "third, in the place that the second had"]);
  });

  it("that came before: the job is neither queued nor run", async () => {
    const stage = new Stage({ workers: 1 });
    const signal = AbortSignal.abort();
    expect(await rejection(stage.submit("never", { signal }))).toBe(signal.reason);
    expect([stage.begun, stage.pool.activeWorkers, stage.pool.queueDepth]).toEqual([[], 0, 0]);
  });

  it("that comes after the end changes nothing", async () => {
    const stage = new Stage();
    const controller = new AbortController();
    const outcome = stage.submit("done", { signal: controller.signal });
    const { signal } = stage.infos.get("done") as JobInfo;
    await stage.end("done");
    controller.abort();
    expect(await outcome).toBe("done");
    expect(signal.aborted).toBe(false);
  });

  it("of many jobs by one signal: it has one listener, and none when they have ended", async () => {
    const pool = new Pool({ workers: 2 });
    const controller = new AbortController();
    const { signal } = controller;
    const added = vi.spyOn(signal, "addEventListener");
    const removed = vi.spyOn(signal, "removeEventListener");
    const end = deferred();
    const all = Array.from({ length: 50 }, () => pool.submit(() => end.promise, { signal }));
    expect(added).toHaveBeenCalledOnce();
    end.resolve(0);
    await Promise.all(all);
    expect(removed).toHaveBeenCalledOnce();
  });

  it("costs nothing where nobody asks: no job has a signal before it is read", async () => {
    const made = vi.fn();
    const Real = AbortController;
    vi.stubGlobal(
      "AbortController",
      class extends Real {
        constructor() {
          super();
          made();
        }
      },
    );
    const pool = new Pool({ workers: 1 });
    const { signal } = new Real();
    await Promise.all([pool.submit(() => 1), pool.submit(() => 2, { signal }), pool.submit(() => 3)]);
    expect(made).not.toHaveBeenCalled();
    await pool.submit((info) => expect(info.signal).toBe(info.signal));
    expect(made).toHaveBeenCalledOnce();
  });
});

describe("jobs with a key", () => {
  it.each([
    ["queued", 1],
    ["running", 0],
  ])("one that is %s is joined: it runs once, and all get what it brings", async (_, others) => {
    const stage = new Stage({ workers: 1 });
    if (others) void stage.submit("other");
    const outcomes = [1, 2, 3].map(() => stage.submit("job", { dedupeKey: "k" }));
    expect(stage.pool.activeWorkers + stage.pool.queueDepth).toBe(1 + others);
    expect(stage.pool.isDuplicate("k")).toBe(true);
    await stage.endAll();
    expect(await Promise.all(outcomes)).toEqual(["job", "job", "job"]);
    expect(stage.begun.filter((name) => name === "job").length).toBe(1);
  });

  it("one that is done is not done again in the same batch: its value is that of all", async () => {
    const pool = new Pool();
    const value = { any: "thing" };
    const job = vi.fn(async () => value);
    expect(await pool.submit(job, { dedupeKey: "k" })).toBe(value);
    expect(await pool.submit(job, { dedupeKey: "k" })).toBe(value);
    expect(await pool.submit(job, { dedupeKey: "k", signal: new AbortController().signal })).toBe(value);
    expect(job).toHaveBeenCalledOnce();
    pool.clearSeen();
    expect(pool.isDuplicate("k")).toBe(false);
    expect(await pool.submit(job, { dedupeKey: "k" })).toBe(value);
    expect(job).toHaveBeenCalledTimes(2);
  });

  it("one that failed has failed for all who joined it, and the next one runs", async () => {
    const pool = new Pool();
    const error = new Error("failed");
    const job = vi.fn(async () => "done");
    job.mockRejectedValueOnce(error);
    const outcomes = [1, 2].map(() => pool.submit(job, { dedupeKey: "k" }));
    // One that is handled must not hide that the other is not.
    expect(outcomes[0]).not.toBe(outcomes[1]);
    expect(await Promise.all(outcomes.map(rejection))).toEqual([error, error]);
    expect(pool.isDuplicate("k")).toBe(false);
    expect(await pool.submit(job, { dedupeKey: "k" })).toBe("done");
    expect(job).toHaveBeenCalledTimes(2);
  });

  it("other keys, and none, are other jobs", async () => {
    const pool = new Pool();
    const job = vi.fn(async () => 1);
    const submit = (dedupeKey?: string): Promise<number> => pool.submit(job, { dedupeKey });
    await Promise.all([submit("a"), submit("b"), submit(""), submit(), submit()]);
    expect(job).toHaveBeenCalledTimes(5);
  });

  it.each(["first", "second"])("an abort by the %s of two ends the wait of that one alone", async (who) => {
    const stage = new Stage();
    const controllers = { first: new AbortController(), second: new AbortController() };
    const outcomes = {
      first: stage.submit("job", { dedupeKey: "k", signal: controllers.first.signal }),
      second: stage.submit("job", { dedupeKey: "k", signal: controllers.second.signal }),
    };
    const gone = who as "first" | "second";
    const other = gone === "first" ? "second" : "first";
    controllers[gone].abort();
    expect(await rejection(outcomes[gone])).toBe(controllers[gone].signal.reason);
    expect(stage.infos.get("job")?.signal.aborted).toBe(false);
    await stage.end("job");
    expect(await outcomes[other]).toBe("job");
  });

  it("one that all have left is aborted, and the next one of its key runs", async () => {
    const stage = new Stage({ workers: 2 });
    const controllers = [new AbortController(), new AbortController()];
    const outcomes = controllers.map(({ signal }) => stage.submit("job", { dedupeKey: "k", signal }));
    for (const controller of controllers) controller.abort("left");
    expect(await Promise.all(outcomes.map(rejection))).toEqual(["left", "left"]);
    expect(stage.infos.get("job")?.signal.aborted).toBe(true);
    expect(stage.pool.isDuplicate("k")).toBe(false);
    const again = stage.submit("again", { dedupeKey: "k" });
    // What the one that was left brings is nobody's, and does not make its key a duplicate.
    await stage.end("job");
    await stage.end("again");
    expect(await again).toBe("again");
    expect(stage.begun).toEqual(["job", "again"]);
  });

  it("one that is queued and that all have left leaves its place", async () => {
    const stage = new Stage({ workers: 1, queue: 1 });
    void stage.submit("running");
    const controllers = [new AbortController(), new AbortController()];
    const outcomes = controllers.map(({ signal }) => stage.submit("job", { dedupeKey: "k", signal }));
    controllers[0]?.abort();
    expect(stage.pool.queueDepth).toBe(1);
    controllers[1]?.abort();
    expect(stage.pool.queueDepth).toBe(0);
    await Promise.all(outcomes.map(rejection));
    await stage.endAll();
    expect(stage.begun).toEqual(["running"]);
  });

  it("one without a signal never leaves", async () => {
    const stage = new Stage();
    const controller = new AbortController();
    const joined = stage.submit("job", { dedupeKey: "k" });
    void stage.submit("job", { dedupeKey: "k", signal: controller.signal });
    controller.abort();
    expect(stage.infos.get("job")?.signal.aborted).toBe(false);
    await stage.end("job");
    expect(await joined).toBe("job");
  });

  it("is known to itself while it begins", async () => {
    const pool = new Pool();
    const known = await pool.submit(() => pool.isDuplicate("k"), { dedupeKey: "k" });
    expect(known).toBe(true);
  });

  it("one that is refused leaves no trace, and no mark is lost", async () => {
    const stage = new Stage({ workers: 1, queue: 0 });
    void stage.submit("running");
    stage.pool.markSeen("marked");
    for (const dedupeKey of ["new", "marked"]) {
      expect(await rejection(stage.submit("job", { dedupeKey }))).toMatchObject(FULL);
    }
    expect(stage.pool.isDuplicate("new")).toBe(false);
    expect(stage.pool.isDuplicate("marked")).toBe(true);
  });

  it("by hand: a key is a duplicate when it was marked; what is submitted under it runs all the same", async () => {
    const pool = new Pool();
    expect(pool.isDuplicate("k")).toBe(false);
    pool.markSeen("k");
    expect(pool.isDuplicate("k")).toBe(true);
    const job = vi.fn(async () => "done");
    expect(await pool.submit(job, { dedupeKey: "k" })).toBe("done");
    pool.markSeen("k");
    expect(await pool.submit(job, { dedupeKey: "k" })).toBe("done");
    expect(job).toHaveBeenCalledOnce();
    pool.clearSeen();
    expect(pool.isDuplicate("k")).toBe(false);
  });

  it("a new batch does not join what the last one has running", async () => {
    const stage = new Stage();
    void stage.submit("old", { dedupeKey: "k" });
    stage.pool.clearSeen();
    void stage.submit("new", { dedupeKey: "k" });
    await stage.end("old");
    expect(stage.pool.isDuplicate("k")).toBe(true);
    await stage.end("new");
    expect(stage.begun).toEqual(["old", "new"]);
  });

  it("and what the last one has running may fail without the new batch forgetting its own", async () => {
    const stage = new Stage();
    void stage.submit("old", { dedupeKey: "k" });
    stage.pool.clearSeen();
    void stage.submit("new", { dedupeKey: "k" });
    await stage.end("old", new Error("failed"));
    expect(stage.pool.isDuplicate("k")).toBe(true);
    await stage.end("new");
  });
});

describe("wait()", () => {
  it("resolves when all that were submitted so far have ended, however they did", async () => {
    const stage = new Stage({ workers: 2 });
    for (const name of ["a", "b", "c"]) void stage.submit(name);
    const told = vi.fn();
    void stage.pool.wait().then(told);
    await stage.end("a");
    await stage.end("b", new Error("failed"));
    expect(told).not.toHaveBeenCalled();
    await stage.end("c");
    expect(told).toHaveBeenCalledOnce();
  });

  it("does not wait for those that come later, although they go first", async () => {
    const stage = new Stage({ workers: 1 });
    void stage.submit("a");
    void stage.submit("b");
    const first = vi.fn();
    void stage.pool.wait().then(first);
    void stage.submit("urgent", { priority: 1 });
    void stage.submit("later");
    const second = vi.fn();
    void stage.pool.wait().then(second);
    await stage.end("a");
    await stage.end("urgent");
    expect(stage.begun.at(-1)).toBe("b");
    expect(first).not.toHaveBeenCalled();
    await stage.end("b");
    expect(first).toHaveBeenCalledOnce();
    expect(second).not.toHaveBeenCalled();
    await stage.end("later");
    expect(second).toHaveBeenCalledOnce();
  });

  it("does not resolve early when those that come later end first", async () => {
    const stage = new Stage({ workers: 2 });
    void stage.submit("slow");
    const first = vi.fn();
    void stage.pool.wait().then(first);
    void stage.submit("fast");
    const second = vi.fn();
    void stage.pool.wait().then(second);
    await stage.end("fast");
    expect(first).not.toHaveBeenCalled();
    expect(second).not.toHaveBeenCalled();
    await stage.end("slow");
    expect(first).toHaveBeenCalledOnce();
    expect(second).toHaveBeenCalledOnce();
  });

  it("resolves after the submitters have heard, whatever way their jobs took", async () => {
    const pool = new Pool({ workers: 2 });
    const heard: string[] = [];
    const { signal } = new AbortController();
    for (const [name, options] of Object.entries({
      "at once": undefined,
      "with a signal, at once": { signal },
      queued: undefined,
      "with a signal": { signal },
      "with a key": { dedupeKey: "k" },
      "with both": { dedupeKey: "l", signal },
    })) {
      void pool.submit(async () => name, options).then((value) => heard.push(value));
    }
    await pool.wait();
    expect(heard.length).toBe(6);
  });

  it("may be called after every submit", async () => {
    const stage = new Stage({ workers: 3, queue: 1_000 });
    const ended: number[] = [];
    for (let i = 0; i < 300; i++) {
      void stage.submit(`job ${i}`, { priority: i % 7 });
      void stage.pool.wait().then(() => ended.push(i));
    }
    await stage.endAll();
    expect(ended).toEqual(Array.from({ length: 300 }, (_, i) => i));
  });

  it("waits for a job that was taken back until it has settled", async () => {
    const stage = new Stage();
    const controller = new AbortController();
    void stage.submit("stubborn", { signal: controller.signal });
    controller.abort();
    const told = vi.fn();
    void stage.pool.wait().then(told);
    await settled();
    expect(told).not.toHaveBeenCalled();
    await stage.end("stubborn");
    expect(told).toHaveBeenCalledOnce();
  });

  it("resolves when nothing was submitted, when all have ended, and when the last one was taken back", async () => {
    const stage = new Stage({ workers: 1 });
    await stage.pool.wait();
    void stage.submit("a");
    const controller = new AbortController();
    void stage.submit("b", { signal: controller.signal });
    const waiting = stage.pool.wait();
    await stage.end("a");
    controller.abort();
    await stage.end("b");
    await waiting;
    await stage.pool.wait();
  });

  it("rejects with the signal's reason, at once, and leaves the jobs alone", async () => {
    const stage = new Stage();
    void stage.submit("a");
    const controller = new AbortController();
    const waiting = stage.pool.wait({ signal: controller.signal });
    controller.abort("enough");
    expect(await rejection(waiting)).toBe("enough");
    expect(await rejection(stage.pool.wait({ signal: controller.signal }))).toBe("enough");
    expect(stage.infos.get("a")?.signal.aborted).toBe(false);
    await stage.end("a");
    await stage.pool.wait();
  });
});

describe("close()", () => {
  it("runs what is queued, takes no more, and resolves when all have ended", async () => {
    const stage = new Stage({ workers: 1 });
    for (const name of ["a", "b"]) void stage.submit(name);
    const closed = vi.fn();
    const closing = stage.pool.close().then(closed);
    const error = await rejection(stage.submit("late"));
    expect(error).toMatchObject({ ...CLOSED, userMessage: "This operation was stopped.", attempts: 0 });
    await stage.end("a");
    expect(closed).not.toHaveBeenCalled();
    await stage.end("b");
    await closing;
    expect(stage.begun).toEqual(["a", "b"]);
    expect(await rejection(stage.submit("later still"))).toMatchObject(CLOSED);
    expect([stage.pool.activeWorkers, stage.pool.queueDepth]).toEqual([0, 0]);
  });

  it("is the same twice", async () => {
    const pool = new Pool();
    expect(pool.close()).toBe(pool.close());
    await pool.close();
    await pool.wait();
  });

  it("rejects those who wait for room", async () => {
    const stage = new Stage({ workers: 1, queue: 1, onFull: "wait" });
    for (const name of ["a", "b"]) void stage.submit(name);
    const outside = stage.submit("c");
    const closing = stage.pool.close();
    expect(await rejection(outside)).toMatchObject(CLOSED);
    await stage.endAll();
    await closing;
    expect(stage.begun).toEqual(["a", "b"]);
  });

  it("waits for jobs that were taken back and have not settled", async () => {
    const stage = new Stage();
    const controller = new AbortController();
    void stage.submit("stubborn", { signal: controller.signal });
    controller.abort();
    const closed = vi.fn();
    void stage.pool.close().then(closed);
    await settled();
    expect(closed).not.toHaveBeenCalled();
    await stage.end("stubborn");
    expect(closed).toHaveBeenCalledOnce();
  });
});

describe('with onFull: "wait"', () => {
  it("whoever finds no room comes in when there is, first come, first served", async () => {
    const stage = new Stage({ workers: 1, queue: 1, onFull: "wait" });
    void stage.submit("running");
    void stage.submit("queued");
    void stage.submit("first outside");
    void stage.submit("second outside, urgent", { priority: 100 });
    expect(stage.pool.queueDepth).toBe(1);
    await stage.endAll();
    expect(stage.begun).toEqual(["running", "queued", "first outside", "second outside, urgent"]);
  });

  it("nobody comes in past those who wait", async () => {
    const stage = new Stage({ workers: 1, queue: 0, onFull: "wait" });
    void stage.submit("running");
    void stage.submit("first outside");
    void stage.submit("second outside");
    await stage.end("running");
    void stage.submit("newcomer");
    await stage.endAll();
    expect(stage.begun).toEqual(["running", "first outside", "second outside", "newcomer"]);
  });

  it("one who has come in has the rank of when it was submitted", async () => {
    const stage = new Stage({ workers: 1, queue: 2, onFull: "wait" });
    void stage.submit("running");
    void stage.submit("queued");
    void stage.submit("queued too");
    void stage.submit("outside");
    await stage.host.advance(20_000);
    await stage.end("running");
    const controller = new AbortController();
    void stage.submit("waits for its place", { signal: controller.signal });
    await stage.end("queued");
    void stage.submit("urgent, 20 s later", { priority: 1 });
    controller.abort();
    await stage.endAll();
    expect(stage.begun.slice(2)).toEqual(["queued too", "outside", "urgent, 20 s later"]);
  });

  it("an abort there rejects at once, and one in the queue makes room", async () => {
    const stage = new Stage({ workers: 1, queue: 1, onFull: "wait" });
    const controllers = { queued: new AbortController(), outside: new AbortController() };
    void stage.submit("running");
    void stage.submit("queued", { signal: controllers.queued.signal });
    const outside = stage.submit("outside", { signal: controllers.outside.signal });
    void stage.submit("outside too");
    controllers.outside.abort();
    expect(await rejection(outside)).toBe(controllers.outside.signal.reason);
    controllers.queued.abort();
    expect(stage.pool.queueDepth).toBe(1);
    await stage.endAll();
    expect(stage.begun).toEqual(["running", "outside too"]);
  });

  it("wait() waits for them", async () => {
    const stage = new Stage({ workers: 1, queue: 0, onFull: "wait" });
    void stage.submit("running");
    void stage.submit("outside");
    const told = vi.fn();
    void stage.pool.wait().then(told);
    await stage.end("running");
    expect(told).not.toHaveBeenCalled();
    await stage.end("outside");
    expect(told).toHaveBeenCalledOnce();
  });
});

describe("updateLimits()", () => {
  it("more workers begin at once, the most urgent job first", async () => {
    const stage = new Stage({ workers: 1 });
    for (const name of ["a", "b", "c", "d"]) void stage.submit(name);
    void stage.submit("urgent", { priority: 1 });
    stage.pool.updateLimits({ workers: 3 });
    await settled();
    expect(stage.begun).toEqual(["a", "urgent", "b"]);
    expect(stage.pool.activeWorkers).toBe(3);
  });

  it("fewer workers disturb nobody who runs", async () => {
    const stage = new Stage({ workers: 3 });
    for (const name of ["a", "b", "c", "d", "e"]) void stage.submit(name);
    stage.pool.updateLimits({ workers: 1 });
    expect(stage.pool.activeWorkers).toBe(3);
    await stage.end("a");
    await stage.end("b");
    expect(stage.begun).toEqual(["a", "b", "c"]);
    await stage.end("c");
    expect(stage.begun).toEqual(["a", "b", "c", "d"]);
    expect(stage.pool.activeWorkers).toBe(1);
  });

  it("a shorter queue keeps who is in it, and a longer one lets in who waits for room", async () => {
    const stage = new Stage({ workers: 1, queue: 2, onFull: "wait" });
    for (const name of ["a", "b", "c", "d"]) void stage.submit(name);
    stage.pool.updateLimits({ queue: 0 });
    expect(stage.pool.queueDepth).toBe(2);
    await stage.end("a");
    expect(stage.pool.queueDepth).toBe(1);
    stage.pool.updateLimits({ queue: 5 });
    expect(stage.pool.queueDepth).toBe(2);
    await stage.endAll();
    expect(stage.begun).toEqual(["a", "b", "c", "d"]);
  });

  it("before anything was submitted is what counts then", async () => {
    const stage = new Stage();
    stage.pool.updateLimits({ workers: 1, queue: 1 });
    void stage.submit("a");
    void stage.submit("b");
    expect(await rejection(stage.submit("c"))).toMatchObject(FULL);
  });

  it("changes nothing when something in it is illegal", async () => {
    const stage = new Stage({ workers: 1, queue: 1 });
    expect(() => stage.pool.updateLimits({ workers: 5, queue: -1 })).toThrow(RateLimitConfigError);
    void stage.submit("a");
    void stage.submit("b");
    expect(stage.begun).toEqual(["a"]);
    expect(await rejection(stage.submit("c"))).toMatchObject(FULL);
  });
});

describe("bad input", () => {
  it.each([
    [{ workers: 0 }, "workers"],
    [{ workers: -1 }, "workers"],
    [{ workers: 1.5 }, "workers"],
    [{ workers: Number.NaN }, "workers"],
    [{ workers: Number.POSITIVE_INFINITY }, "workers"],
    [{ workers: "5" }, "workers"],
    [{ workers: 1_000_001 }, "workers"],
    [{ queue: -1 }, "queue"],
    [{ queue: Number.POSITIVE_INFINITY }, "queue"],
    [{ queue: null }, "queue"],
    [{ onFull: "drop" }, "onFull"],
    [{ onCoreUnavailable: true }, "onCoreUnavailable"],
    [{ host: 1 }, "host"],
    [{ concurrency: 5 }, "concurrency"],
  ])("in the options: %o", (options, field) => {
    expect(() => new Pool(options as never)).toThrow(RateLimitConfigError);
    expect(() => new Pool(options as never)).toThrow(expect.objectContaining({ field }));
  });

  it.each([null, 5, "workers", []])("options that are none: %o", (options) => {
    expect(() => new Pool(options as never)).toThrow(expect.objectContaining({ field: "options" }));
  });

  it.each([
    [{ priority: Number.NaN }, "priority"],
    [{ priority: "1" }, "priority"],
    [{ dedupeKey: 7 }, "dedupeKey"],
    [{ signal: {} }, "signal"],
    [{ prioriy: 1 }, "prioriy"],
    [null, "options"],
  ])("of a job: %o; it is not run", async (options, field) => {
    const pool = new Pool();
    const job = vi.fn();
    const error = await rejection(pool.submit(job, options as never));
    expect(error).toBeInstanceOf(RateLimitConfigError);
    expect(error).toMatchObject({ field });
    expect(job).not.toHaveBeenCalled();
  });

  it.each([
    [{ signal: {} }, "signal"],
    [{ sinal: null }, "sinal"],
    [null, "options"],
  ])("of a wait: %o", async (options, field) => {
    expect(await rejection(new Pool().wait(options as never))).toMatchObject({ field });
  });

  it("what is undefined, or a signal that is null, was left out", async () => {
    const options = { priority: undefined, dedupeKey: undefined, signal: null };
    expect(await new Pool({ workers: undefined }).submit(() => 1, options)).toBe(1);
  });
});

describe("with fake timers", () => {
  it("lives by them", async () => {
    vi.useFakeTimers();
    const pool = new Pool({ workers: 2 });
    const job = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 1_000));
    const all = Promise.all(Array.from({ length: 6 }, () => pool.submit(job)));
    await vi.advanceTimersByTimeAsync(2_999);
    expect(pool.activeWorkers).toBe(2);
    await vi.advanceTimersByTimeAsync(1);
    await all;
    expect(vi.getTimerCount()).toBe(0);
  });
});

/** A job of the model: what it was submitted with, and where it is. */
interface Modelled {
  id: number;
  rank: number;
  place: "outside" | "queued" | "running" | "over";
}

describe("whatever is done with it", () => {
  const step = fc.oneof(
    {
      weight: 6,
      arbitrary: fc.record({ do: fc.constant("submit" as const), priority: fc.integer({ min: -3, max: 3 }) }),
    },
    {
      weight: 4,
      arbitrary: fc.record({ do: fc.constant("end" as const), which: fc.nat(), fails: fc.boolean() }),
    },
    { weight: 3, arbitrary: fc.record({ do: fc.constant("abort" as const), which: fc.nat() }) },
    {
      weight: 2,
      arbitrary: fc.record({ do: fc.constant("advance" as const), ms: fc.integer({ min: 0, max: 15_000 }) }),
    },
    {
      weight: 1,
      arbitrary: fc.record({
        do: fc.constant("limits" as const),
        workers: fc.integer({ min: 1, max: 4 }),
        queue: fc.integer({ min: 0, max: 6 }),
      }),
    },
  );
  const steps = fc.array(step, { maxLength: 80 });

  it.each(["reject", "wait"] as const)(
    "each job that got in runs once or was taken back, in the order of its rank; onFull: %s",
    async (onFull) => {
      await fc.assert(
        fc.asyncProperty(steps, async (script) => {
          const host = new ManualHost();
          const limits = { workers: 2, queue: 3 };
          const pool = new Pool({ ...limits, onFull, host });
          const model: Modelled[] = [];
          const begun: number[] = [];
          const controllers: AbortController[] = [];
          const ends: ReturnType<typeof deferred>[] = [];
          const outcomes: Promise<{ value?: unknown; error?: unknown }>[] = [];
          const at = (place: Modelled["place"]): Modelled[] => model.filter((job) => job.place === place);
          const first = (): Modelled | undefined =>
            at("queued").sort((a, b) => a.rank - b.rank || a.id - b.id)[0];
          /** What the pool has to do when something has changed. */
          const advance = (): void => {
            for (;;) {
              const next = first();
              const [outside] = at("outside");
              if (next && at("running").length < limits.workers) next.place = "running";
              else if (outside && at("queued").length < limits.queue) outside.place = "queued";
              else if (outside && !next && at("running").length < limits.workers) outside.place = "running";
              else return;
            }
          };
          for (const now of script) {
            if (now.do === "submit") {
              const id = model.length;
              const controller = new AbortController();
              controllers.push(controller);
              const end = deferred();
              ends.push(end);
              const job = (): Promise<unknown> => {
                begun.push(id);
                return end.promise;
              };
              const isFull =
                at("outside").length > 0 ||
                (at("queued").length >= limits.queue &&
                  !(at("queued").length === 0 && at("running").length < limits.workers));
              const place = isFull && onFull === "reject" ? "over" : "outside";
              model.push({ id, rank: host.now() - now.priority * 10_000, place });
              const options = { priority: now.priority, signal: controller.signal };
              outcomes.push(ended(pool.submit(job, options)));
            } else if (now.do === "end") {
              const running = at("running");
              const job = running[now.which % running.length];
              if (job) {
                job.place = "over";
                if (now.fails) ends[job.id]?.reject(new Error("failed"));
                else ends[job.id]?.resolve(job.id);
              }
            } else if (now.do === "abort") {
              controllers[now.which % controllers.length]?.abort();
              const job = model[now.which % model.length];
              if (job && job.place !== "running") job.place = "over";
            } else if (now.do === "advance") {
              await host.advance(now.ms);
            } else {
              Object.assign(limits, { workers: now.workers, queue: now.queue });
              pool.updateLimits(limits);
            }
            advance();
            await settled();
            expect(pool.activeWorkers).toBe(at("running").length);
            expect(pool.queueDepth).toBe(at("queued").length);
            expect(begun.slice().sort((a, b) => a - b)).toEqual([...new Set(begun)].sort((a, b) => a - b));
            for (const { id } of at("running")) expect(begun).toContain(id);
            for (const place of ["queued", "outside"] as const) {
              for (const { id } of at(place)) expect(begun).not.toContain(id);
            }
          }
          for (const end of ends) end.resolve("over");
          await pool.close();
          expect((await Promise.all(outcomes)).length).toBe(model.length);
          expect([pool.activeWorkers, pool.queueDepth]).toEqual([0, 0]);
        }),
        { numRuns: 150 },
      );
    },
    30_000,
  );
});
