import fc from "fast-check";
import { describe, expect, it } from "vitest";
import "../../js/index.ts";
import { coreDesk } from "../../js/import/core-desk.ts";
import type { Desk, DeskConfig, DeskCounts, Settled, Step } from "../../js/import/desk.ts";
import { SEGMENT_ROWS } from "../../js/import/journal/store.ts";
import { type PlainDesk, plainDesk } from "../../js/import/plain-desk.ts";
import type { ImportOutcome } from "../../js/import/public.ts";
import { ManualHost } from "../../js/testing.ts";

const CONFIG: DeskConfig = {
  idempotent: true,
  verifies: true,
  batch: { fixed: 1 },
  maxInFlight: 1,
  maxRate: null,
  stopWhen: null,
  known: null,
};

const COUNTS: DeskCounts = {
  open: 0,
  inFlight: 0,
  toVerify: 0,
  imported: 0,
  duplicate: 0,
  failed: 0,
  skipped: 0,
  unknown: 0,
};

/** How a request ends. */
type Ending =
  | { is: "settled"; outcome: Settled }
  | { is: "missing" }
  | { is: "throttled"; hintMs: number | null }
  | { is: "lost"; wasSent: boolean }
  | { is: "failed"; maybeApplied: boolean }
  | { is: "refused" }
  | { is: "too large" };

const settled = (outcome: Settled): Ending => ({ is: "settled", outcome });
const throttled = (hintMs: number | null = null): Ending => ({ is: "throttled", hintMs });
const lost = (wasSent = true): Ending => ({ is: "lost", wasSent });
const MISSING: Ending = { is: "missing" };
const IMPORTED = settled("imported");

function tell(desk: Desk, now: number, batch: number, rows: readonly number[], ending: Ending): void {
  switch (ending.is) {
    case "settled":
      desk.answered(now, batch, LATENCY);
      for (const row of rows) desk.settle(now, row, ending.outcome);
      break;
    case "missing":
      desk.answered(now, batch, LATENCY);
      for (const row of rows) desk.missing(now, row);
      break;
    case "throttled":
      desk.throttled(now, batch, ending.hintMs);
      break;
    case "lost":
      desk.lost(now, batch, ending.wasSent);
      break;
    case "failed":
      desk.failed(now, batch, ending.maybeApplied);
      break;
    case "refused":
      desk.refused(now, batch);
      break;
    case "too large":
      desk.tooLarge(now, batch);
  }
}

/** Milliseconds that an answer takes. */
const LATENCY = 20;

type Request = Extract<Step, { do: "send" | "verify" }>;

function rowsOf(request: Request): number[] {
  return request.do === "send" ? [...request.rows] : [request.row];
}

function totalOf(counts: DeskCounts): number {
  return Object.values(counts).reduce((sum, count) => sum + count);
}

function undecided({ open, inFlight, toVerify }: DeskCounts): number {
  return open + inFlight + toVerify;
}

function outcomesOf(desk: Desk): (ImportOutcome | null)[] {
  return Array.from({ length: totalOf(desk.counts()) }, (_, row) => desk.outcome(row));
}

/** By then nobody writes a row any more whose answer was lost. */
const SETTLED = 10_000;

/** A desk, and the time. */
class Run<D extends Desk = PlainDesk> {
  readonly desk: D;
  now = 1_000;

  constructor(desk: D) {
    this.desk = desk;
  }

  /** With so many rows, and no more to come. */
  static of(rows: number, config: Partial<DeskConfig> = {}): Run {
    const run = new Run(plainDesk({ ...CONFIG, ...config }));
    run.desk.add(rows);
    run.desk.close();
    return run;
  }

  next(): Step {
    return this.desk.next(this.now);
  }

  /** What is to be done next, after waits of any length that have an end. */
  later(): Step {
    for (;;) {
      const step = this.next();
      if ((step.do !== "wait" && step.do !== "hungry") || step.until === null) return step;
      expect(step.until).toBeGreaterThan(this.now);
      this.now = step.until;
    }
  }

  request(): Request {
    const step = this.later();
    if (step.do !== "send" && step.do !== "verify") throw new Error(`${JSON.stringify(step)} at ${this.now}`);
    return step;
  }

  end(request: Request, ending: Ending): number {
    const rows = rowsOf(request);
    this.now += LATENCY;
    tell(this.desk, this.now, request.batch, rows, ending);
    return rows[0] as number;
  }

  /** The next request ends so. Its first row. */
  one(ending = IMPORTED): number {
    return this.end(this.request(), ending);
  }

  /** The same, of a lookup. */
  lookUp(ending: Ending): number {
    const request = this.request();
    expect(request.do).toBe("verify");
    return this.end(request, ending);
  }

  /** How long the wait is that begins now, and why. */
  wait(): [ms: number, reason: string] {
    const step = this.next();
    if (step.do !== "wait" || step.until === null) throw new Error(JSON.stringify(step));
    return [step.until - this.now, step.reason];
  }

  outcomes(): (ImportOutcome | null)[] {
    return outcomesOf(this.desk);
  }
}

describe("one row after the other", () => {
  it("is done once it is closed, where there are no rows", () => {
    const desk = plainDesk(CONFIG);
    expect(desk.next(0)).toEqual({ do: "hungry", until: null });
    desk.close();
    expect(desk.next(0)).toEqual({ do: "done" });
    expect([desk.outcome(0), desk.decide(0, "skipped"), desk.counts()]).toEqual([null, false, COUNTS]);
  });

  it("sends one at a time, in their order, and leaves those that are decided", () => {
    const run = Run.of(4);
    expect(run.desk.decide(1, "duplicate")).toBe(true);
    expect(run.desk.decide(4, "skipped"), "there is none").toBe(false);
    const first = run.request();
    expect(first).toEqual({ do: "send", batch: first.batch, rows: Uint32Array.of(0) });
    expect(run.desk.decide(0, "skipped"), "it is on its way").toBe(false);
    expect(run.next()).toEqual({ do: "wait", until: null, reason: "in-flight" });
    expect(run.desk.counts()).toEqual({ ...COUNTS, open: 2, inFlight: 1, duplicate: 1 });
    run.end(first, IMPORTED);
    expect([run.one(settled("ignored")), run.one(settled("failed"))]).toEqual([2, 3]);
    expect(run.next()).toEqual({ do: "done" });
    expect(run.outcomes()).toEqual(["imported", "duplicate", "duplicate", "failed"]);
    expect(run.desk.stats()).toEqual({ requests: 3, throttled: 0, retries: 0 });
  });

  it("asks for two rows ahead of a stream, also while one is on its way", () => {
    const run = new Run(plainDesk(CONFIG));
    expect(run.desk.wants()).toBe(2);
    run.desk.add(2);
    expect(run.desk.wants()).toBe(0);
    run.one();
    expect(run.desk.wants()).toBe(1);
    const last = run.request();
    expect(run.next()).toEqual({ do: "hungry", until: null });
    run.end(last, IMPORTED);
    run.desk.close();
    expect([run.desk.wants(), run.next().do]).toEqual([0, "done"]);
  });

  it.each<[Ending, ImportOutcome]>([
    [lost(), "imported"],
    [lost(false), "duplicate"],
    [{ is: "failed", maybeApplied: true }, "imported"],
    [{ is: "failed", maybeApplied: false }, "duplicate"],
    [throttled(), "duplicate"],
  ])("takes what the server ignores for imported if it may be from us: after %o", (ending, expected) => {
    const run = Run.of(1);
    run.one(ending);
    run.one(settled("ignored"));
    expect(run.outcomes()).toEqual([expected]);
  });

  it.each(["refused", "too large"] as const)("lets a row fail that is %s", (is) => {
    const run = Run.of(2);
    run.one({ is });
    run.one();
    expect(run.outcomes()).toEqual(["failed", "imported"]);
    expect(run.desk.stats()).toEqual({ requests: 2, throttled: 0, retries: 0 });
  });

  it("ends each batch once, and settles only what is on its way", () => {
    const run = Run.of(2);
    const request = run.request();
    run.end(request, IMPORTED);
    const before = [run.desk.counts(), run.desk.stats()];
    for (const ending of [settled("failed"), throttled(), lost(), { is: "refused" } as const]) {
      run.end(request, ending);
    }
    run.desk.settle(run.now, 1, "failed");
    run.desk.missing(run.now, 1);
    expect([run.desk.counts(), run.desk.stats()]).toEqual(before);
    expect([run.one(), run.next().do]).toEqual([1, "done"]);
  });

  it("does not send a row that was decided while it waited to go again", () => {
    const run = Run.of(2);
    run.one(lost());
    expect(run.desk.decide(0, "skipped")).toBe(true);
    run.now += 10_000;
    expect([run.one(), run.next().do, run.outcomes()]).toEqual([1, "done", ["skipped", "imported"]]);
  });

  it("goes through many rows without looking at all of them each time", () => {
    const run = Run.of(200_000);
    run.one(lost(false));
    for (let i = 0; i < 200_000; i++) run.one();
    expect([run.next().do, run.desk.counts()]).toEqual(["done", { ...COUNTS, imported: 200_000 }]);
  });
});

describe("the pace", () => {
  it("waits for a second after a refusal, and twice as long each time, up to a minute", () => {
    const run = Run.of(3);
    for (const ms of [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000]) {
      expect(run.one(throttled()), "it goes first").toBe(0);
      expect(run.next()).toEqual({ do: "wait", until: run.now + ms, reason: "cooldown" });
      expect(run.desk.attempt(0), "a refusal because of a limit is no attempt").toBe(1);
    }
    run.one();
    run.one(throttled());
    expect(run.wait(), "one that is accepted ends the row of them").toEqual([1_000, "cooldown"]);
    expect(run.desk.stats()).toEqual({ requests: 10, throttled: 9, retries: 0 });
  });

  it.each<[hintMs: number, pauseMs: number]>([
    [5_000, 5_000],
    [250, 250],
    [3, 100],
    [90_000, 90_000],
    [86_400_000, 600_000],
    [Number.POSITIVE_INFINITY, 600_000],
  ])("waits as long as a hint of %d ms says, each time: %d ms", (hintMs, pauseMs) => {
    const run = Run.of(1);
    for (let i = 0; i < 3; i++) {
      run.one(throttled(hintMs));
      expect(run.wait()).toEqual([pauseMs, "cooldown"]);
    }
    run.one(throttled());
    expect(run.wait(), "those with a hint do not count among those without").toEqual([1_000, "cooldown"]);
  });

  it.each([0, -1, Number.NaN])("takes a hint of %d ms for none", (hintMs) => {
    const run = Run.of(1);
    run.one(throttled(hintMs));
    expect(run.wait()).toEqual([1_000, "cooldown"]);
    run.one(throttled(hintMs));
    expect(run.wait()).toEqual([2_000, "cooldown"]);
  });

  const wall = Date.UTC(2026, 0, 1);
  const dateIn = (ms: number): string => new Date(wall + ms).toUTCString();
  const hostile = Object.defineProperty({}, "headers", { get: () => expect.fail("read me not") });

  it.each<[string, unknown, number | null]>([
    ["a response", new Response(null, { status: 429, headers: { "retry-after": "7" } }), 7_000],
    ["headers", new Headers({ "Retry-After": "0.5" }), 500],
    ["an error with headers, a date", { headers: { "Retry-After": dateIn(9_000) } }, 9_000],
    ["an error with a response", { response: { headers: [["retry-after", "3"]] } }, 3_000],
    ["an error with a context", { context: new Response(null, { headers: { "retry-after": "3" } }) }, 3_000],
    ["an error with a cause", new Error("", { cause: { headers: { "retry-after": "4" } } }), 4_000],
    ["a date that has passed", { headers: { "Retry-After": dateIn(-9_000) } }, null],
    ["other words", { headers: { "retry-after": "soon" } }, null],
    ["what are no headers", { headers: 7, response: "none", cause: null }, null],
    ["nothing", undefined, null],
    ["an error that cannot be read", hostile, null],
  ])("hears the hint in %s", (_what, answer, expected) => {
    const run = Run.of(1);
    const request = run.request();
    run.desk.heard(answer, wall);
    // What the sender made of it.
    run.desk.heard(new Error("Too many requests"), wall);
    run.end(request, throttled());
    expect(run.wait()).toEqual([expected ?? 1_000, "cooldown"]);
    run.one(throttled());
    expect(run.wait(), "it was about that answer alone").toEqual([expected ? 1_000 : 2_000, "cooldown"]);
  });

  it("prefers the hint that it is told", () => {
    const run = Run.of(1);
    const request = run.request();
    run.desk.heard(new Headers({ "retry-after": "7" }), wall);
    run.end(request, throttled(2_000));
    expect(run.wait()).toEqual([2_000, "cooldown"]);
  });

  it("never sends faster than it may", () => {
    const run = Run.of(4, { maxRate: 4 });
    run.one();
    expect(run.wait()).toEqual([250 - LATENCY, "pace"]);
    run.now += 249 - LATENCY;
    expect(run.wait()).toEqual([1, "pace"]);
    run.now += 10_000;
    const late = run.now;
    for (let i = 0; i < 3; i++) {
      const request = run.request();
      expect(run.now, "a late one does not bring the next one forward").toBe(late + 250 * i);
      run.end(request, IMPORTED);
    }
  });

  it("sends what failed again, later and later, while others go on", () => {
    const run = Run.of(1_000);
    const pauses: number[] = [];
    let before = run.now;
    while (run.desk.outcome(0) === null) {
      const request = run.request();
      if (rowsOf(request)[0] === 0) {
        pauses.push(run.now - before);
        expect(run.desk.attempt(0)).toBe(pauses.length);
        before = run.now + LATENCY;
        run.end(request, lost(pauses.length < 3));
      } else {
        // Slow enough for the whole minute.
        run.now += 130;
        run.end(request, IMPORTED);
      }
    }
    const expected = [0, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000];
    expect(pauses).toHaveLength(expected.length);
    pauses.forEach((ms, i) => {
      expect(ms - (expected[i] as number), `${pauses}`).toBeGreaterThanOrEqual(0);
      expect(ms - (expected[i] as number), `${pauses}`).toBeLessThanOrEqual(150);
    });
    expect(run.desk.outcome(0)).toBe("unknown");
    expect(run.desk.counts().imported).toBeGreaterThan(400);
    expect(run.desk.stats().retries).toBe(8);
  });

  it.each([
    [true, "unknown"],
    [false, "failed"],
  ] as const)("gives up a row that fails each time (perhaps applied: %s)", (maybeApplied, expected) => {
    const run = Run.of(1);
    for (let i = 0; i < 8; i++) run.one({ is: "failed", maybeApplied });
    expect([run.next().do, run.outcomes()]).toEqual(["done", [expected]]);
    expect(run.now).toBeGreaterThan(60_000);
  });

  it("sends nothing for a while when one after the other fails, and gives up after ten minutes", () => {
    const run = Run.of(10_000);
    const pauses: number[] = [];
    while (run.desk.stopped() === null) {
      const before = run.now;
      run.one({ is: "failed", maybeApplied: false });
      pauses.push(run.now - LATENCY - before);
    }
    expect(pauses.slice(0, 10)).toEqual([0, 0, 0, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000]);
    expect([pauses.length, run.desk.stopped(), run.next().do]).toEqual([28, "trouble", "done"]);
    expect(run.now).toBeGreaterThan(10 * 60_000);
    expect(run.now).toBeLessThan(12 * 60_000);
    expect(run.desk.counts().failed, "an outage is not the rows' fault").toBeLessThan(8);
  });

  it.each([IMPORTED, throttled(), { is: "refused" } as const])("%o ends an outage", (ending) => {
    const run = Run.of(100);
    for (let i = 0; i < 40; i++) run.one(i % 8 === 7 ? ending : lost(false));
    expect(run.desk.stopped()).toBeNull();
  });

  it.each([100, 1_000])("begins nothing new while much has failed, and reads nothing: of %d rows", (rows) => {
    const run = new Run(plainDesk(CONFIG));
    run.desk.add(rows);
    for (let step = run.next(); step.do === "send"; step = run.next()) {
      const ending = run.desk.stats().requests % 2 === 0 ? IMPORTED : lost(false);
      tell(run.desk, run.now, step.batch, rowsOf(step), ending);
    }
    const hungry = { do: "hungry", until: run.now + 500 };
    if (rows === 100) expect([run.desk.stats().retries, run.next()]).toEqual([50, hungry]);
    else expect([run.desk.stats().retries, run.wait()]).toEqual([64, [500, "cooldown"]]);
  });
});

describe("where sending twice doubles", () => {
  const CAREFUL = { idempotent: false };

  it("looks up what was lost when nobody writes it any more; others go on meanwhile", () => {
    const run = Run.of(2, CAREFUL);
    run.one(lost());
    const since = run.now;
    expect(run.one()).toBe(1);
    expect(run.next()).toEqual({ do: "wait", until: since + SETTLED, reason: "cooldown" });
    expect(run.lookUp(MISSING)).toBe(0);
    expect(run.now).toBeGreaterThanOrEqual(since + SETTLED);
  });

  it("looks up what was lost before it sends anything else", () => {
    const run = Run.of(6, CAREFUL);
    run.one(lost());
    expect(run.desk.counts()).toEqual({ ...COUNTS, open: 5, toVerify: 1 });
    expect(run.desk.decide(0, "skipped"), "it is on its way").toBe(false);
    run.now += SETTLED;
    expect(run.lookUp(lost()), "nobody answered").toBe(0);
    run.now += SETTLED;
    expect(run.lookUp(throttled())).toBe(0);
    expect(run.lookUp(settled("ignored"))).toBe(0);
    run.one(lost());
    run.now += SETTLED;
    expect(run.lookUp(settled("unknown"))).toBe(1);
    run.one({ is: "failed", maybeApplied: true });
    run.now += SETTLED;
    expect(run.lookUp(MISSING)).toBe(2);
    expect(run.one(settled("ignored")), "certainly not from us").toBe(2);
    run.one(lost());
    run.now += SETTLED;
    expect(run.lookUp({ is: "refused" })).toBe(3);
    expect(run.one(lost(false)), "never sent").toBe(4);
    expect([run.one(), run.one()]).toEqual([5, 4]);
    const expected = ["imported", "unknown", "duplicate", "unknown", "imported", "imported"];
    expect([run.next().do, run.outcomes()]).toEqual(["done", expected]);
  });

  it("takes what nobody can look up for unknown", () => {
    const run = Run.of(2, { ...CAREFUL, verifies: false });
    run.one(lost());
    run.one(lost(false));
    run.one();
    expect([run.next().do, run.outcomes()]).toEqual(["done", ["unknown", "imported"]]);
  });

  it("gives up lookups that never succeed", () => {
    const run = Run.of(1, CAREFUL);
    run.one(lost());
    for (let i = 0; i < 7; i++) run.lookUp(lost());
    expect([run.next().do, run.outcomes()]).toEqual(["done", ["unknown"]]);
  });

  it("lets a row fail that is lost each time and never there", () => {
    const run = Run.of(1, CAREFUL);
    for (let i = 0; i < 8; i++) {
      run.one(lost());
      run.lookUp(MISSING);
    }
    expect([run.next().do, run.outcomes()]).toEqual(["done", ["failed"]]);
  });
});

describe("its life", () => {
  it("pauses, holds and goes on", () => {
    const run = Run.of(100);
    const request = run.request();
    run.desk.pause();
    expect(run.next()).toEqual({ do: "wait", until: null, reason: "paused" });
    run.end(request, IMPORTED);
    run.desk.hold(5_000);
    run.desk.resume();
    expect(run.next()).toEqual({ do: "wait", until: 5_000, reason: "held" });
    run.now = 5_000;
    run.one();
    run.desk.hold(null);
    run.now = 9_000_000;
    expect(run.next()).toEqual({ do: "wait", until: null, reason: "held" });
    expect(run.desk.progress(run.now).etaMs).toBeNull();
    run.desk.release();
    expect(run.one()).toBe(2);
  });

  it("settles what is on its way when it is stopped, and leaves nothing undecided", () => {
    const run = Run.of(6, { idempotent: false });
    run.one(lost());
    run.now += SETTLED;
    run.lookUp(MISSING);
    run.one({ is: "failed", maybeApplied: true });
    run.one(lost(false));
    const request = run.request();
    run.desk.pause();
    run.desk.stop("cancelled");
    run.desk.stop("refused");
    expect(run.desk.stopped(), "the first reason counts").toBe("cancelled");
    expect(run.next()).toEqual({ do: "wait", until: null, reason: "in-flight" });
    expect(run.desk.wants()).toBe(0);
    run.end(request, lost());
    run.desk.add(2);
    expect(run.next()).toEqual({ do: "done" });
    const { open, inFlight, toVerify, ...counts } = run.desk.counts();
    expect([open, inFlight, toVerify, run.outcomes().filter((outcome) => outcome === null)]).toEqual([
      0,
      0,
      0,
      [],
    ]);
    expect(counts).toEqual({ imported: 0, duplicate: 0, failed: 0, skipped: 6, unknown: 2 });
  });

  it.each<[Ending, ImportOutcome]>([
    [IMPORTED, "imported"],
    [throttled(), "skipped"],
    [lost(), "unknown"],
    [lost(false), "skipped"],
    [{ is: "refused" }, "failed"],
  ])("decides what was on its way by %o", (ending, expected) => {
    const run = Run.of(1);
    const request = run.request();
    run.desk.stop("refused");
    run.end(request, ending);
    expect([run.next().do, run.outcomes()]).toEqual(["done", [expected]]);
  });

  it.each([true, false])("takes what the server may have for unknown (idempotent: %s)", (idempotent) => {
    const run = Run.of(2, { idempotent });
    run.one(lost());
    run.desk.stop("cancelled");
    expect([run.outcomes(), run.next().do]).toEqual([["unknown", "skipped"], "done"]);
  });

  it("does not stop for a ratio of nothing before something fails", () => {
    const run = Run.of(9, { stopWhen: { failedRatio: 0, after: 0 } });
    for (let i = 0; i < 3; i++) run.one();
    expect(run.desk.stopped()).toBeNull();
    run.one(settled("failed"));
    expect(run.desk.stopped()).toBe("failed-ratio");
  });

  it.each([
    [0, null],
    [1, null],
    [2, "failed-ratio"],
  ] as const)("stops when too many fail: %d of 4", (failing, stopped) => {
    const run = Run.of(100, { stopWhen: { failedRatio: 0.5, after: 40 } });
    for (let step = run.later(); step.do === "send"; step = run.later()) {
      run.end(step, settled((rowsOf(step)[0] as number) % 4 < failing ? "failed" : "imported"));
    }
    expect(run.desk.stopped()).toBe(stopped);
    if (stopped) expect(run.desk.counts()).toEqual({ ...COUNTS, imported: 20, failed: 20, skipped: 60 });
  });

  it("tells how far it is", () => {
    const run = Run.of(2_000, { maxRate: 5 });
    expect(run.desk.progress(run.now)).toEqual({ rowsPerSecond: 0, etaMs: null });
    for (let i = 0; i < 300; i++) run.one();
    const { rowsPerSecond, etaMs } = run.desk.progress(run.now);
    expect(rowsPerSecond).toBeCloseTo(5, 0);
    const [low, high] = etaMs ?? [Number.NaN, Number.NaN];
    expect(low).toBeLessThanOrEqual(340_000);
    expect(low).toBeGreaterThan(320_000);
    expect(high).toBeGreaterThan(340_000);
    expect(high).toBeLessThan(430_000);
    const { requestsPerSecond, ...pace } = run.desk.pace();
    expect(requestsPerSecond).toBeCloseTo(5, 0);
    expect([pace, run.desk.learned()]).toEqual([{ cap: null, batchSize: 1 }, null]);
    // A wait is part of it.
    run.one(throttled(100_000));
    run.next();
    expect(run.desk.progress(run.now).etaMs?.[0]).toBeGreaterThan(low + 95_000);
    // An hour of pause says nothing about the pace.
    run.desk.pause();
    expect(run.desk.progress(run.now).etaMs).toBeNull();
    run.now += 3_600_000;
    run.desk.resume();
    for (let i = 0; i < 100; i++) run.one();
    expect(run.desk.progress(run.now).etaMs?.[1]).toBeLessThan(430_000);
  });
});

describe("the journal", () => {
  it("gets two bits a row of the segments that changed", () => {
    const run = Run.of(SEGMENT_ROWS + 6);
    expect(run.desk.changed()).toEqual([]);
    run.one(lost());
    run.one(settled("duplicate"));
    run.one({ is: "refused" });
    run.one();
    const request = run.request();
    run.desk.decide(SEGMENT_ROWS + 5, "skipped");
    expect([run.desk.changed(), run.desk.changed()]).toEqual([[0, 1], []]);
    run.desk.lost(run.now, request.batch, true);
    expect(run.desk.changed(), "an answer is due as before").toEqual([]);
    expect([...run.desk.bits(0).subarray(0, 3)]).toEqual([0b10_11_10_01, 0b00_00_00_01, 0]);
    expect([...run.desk.bits(1).subarray(0, 3)]).toEqual([0, 0b00_00_11_00, 0]);
    expect(run.desk.bits(1)).toHaveLength(SEGMENT_ROWS / 4);
    expect(run.desk.bits(9)).toEqual(new Uint8Array(SEGMENT_ROWS / 4));
  });

  it.each<[Partial<DeskConfig>, Request["do"] | "row 0", ImportOutcome]>([
    [{}, "send", "imported"],
    [{ idempotent: false }, "verify", "imported"],
    [{ idempotent: false, verifies: false }, "send", "unknown"],
  ])("is taken up: with %o by %s", (config, first, expected) => {
    const run = Run.of(7, config);
    run.desk.decide(4, "duplicate");
    run.desk.restore(0, Uint8Array.of(0b11_10_01_00, 0b11_11_00_01));
    const due = expected === "unknown" ? expected : null;
    expect(run.outcomes()).toEqual([null, due, "imported", "failed", "duplicate", null, "failed"]);
    expect(run.desk.changed(), "what is due has changed nothing, or all").toEqual([0]);
    const request = run.request();
    expect(request.do).toBe(first);
    run.end(request, settled("ignored"));
    while (run.desk.counts().open > 0) run.one(settled("ignored"));
    expect(run.next().do).toBe("done");
    const rest = ["imported", "failed", "duplicate", "duplicate", "failed"];
    expect(run.outcomes()).toEqual(["duplicate", expected, ...rest]);
  });

  it("is taken up segment by segment", () => {
    const run = Run.of(SEGMENT_ROWS + 2);
    run.desk.restore(1, new Uint8Array(SEGMENT_ROWS / 4).fill(0b10_10_10_10));
    run.desk.restore(2, new Uint8Array(SEGMENT_ROWS / 4).fill(0b10_10_10_10));
    expect(run.desk.counts()).toEqual({ ...COUNTS, open: SEGMENT_ROWS, imported: 2 });
  });
});

describe("for a desk that was lost", () => {
  it("waits for what was on its way, in batches of any size, before it sends anything", () => {
    const run = Run.of(10);
    run.desk.decide(0, "imported");
    const [first, second] = [run.desk.adopt(Uint32Array.of(0, 1, 2, 3)), run.desk.adopt(Uint32Array.of(6))];
    expect(run.next()).toEqual({ do: "wait", until: null, reason: "in-flight" });
    expect(run.desk.counts()).toEqual({ ...COUNTS, open: 5, inFlight: 4, imported: 1 });
    tell(run.desk, run.now, first, [0, 1, 2, 3], settled("ignored"));
    expect(run.next().do).toBe("wait");
    tell(run.desk, run.now, second, [6], IMPORTED);
    expect(run.outcomes().slice(0, 4)).toEqual(["imported", "duplicate", "duplicate", "duplicate"]);
    expect([4, 5, 7, 8, 9].map(() => run.one())).toEqual([4, 5, 7, 8, 9]);
    expect([run.next().do, run.desk.stats().requests]).toEqual(["done", 5]);
  });

  it("sends the rows of a batch one by one when it was refused for one of them, or was too much", () => {
    for (const is of ["refused", "too large"] as const) {
      const run = Run.of(5);
      const batch = run.desk.adopt(Uint32Array.of(1, 2, 3));
      tell(run.desk, run.now, batch, [1, 2, 3], { is });
      expect(run.desk.stats().retries).toBe(1);
      const bad = (): Ending => ({ is });
      expect([run.one(), run.one(), run.one(bad()), run.one(), run.one()]).toEqual([0, 1, 2, 3, 4]);
      expect(run.desk.counts()).toEqual({ ...COUNTS, imported: 4, failed: 1 });
    }
  });

  it("takes many that are refused at once for one event, and many that fail", () => {
    for (const [ending, pause] of [
      [throttled(), 1_000],
      [lost(false), 500],
    ] as const) {
      const run = Run.of(40);
      const batches = Array.from({ length: 40 }, (_, row) => run.desk.adopt(Uint32Array.of(row)));
      batches.forEach((batch, row) => {
        tell(run.desk, run.now, batch, [row], ending);
      });
      expect([run.wait(), run.desk.stopped()]).toEqual([[pause, "cooldown"], null]);
      run.one(throttled());
      expect(run.wait()).toEqual([ending.is === "throttled" ? 2_000 : 1_000, "cooldown"]);
    }
  });

  it("sends what was in doubt again, where that is harmless", () => {
    for (const sooner of [true, false]) {
      const run = Run.of(3);
      if (sooner) run.desk.doubt(1);
      const batch = run.desk.adopt(Uint32Array.of(1));
      if (!sooner) run.desk.doubt(1);
      run.desk.doubt(2);
      tell(run.desk, run.now, batch, [1], throttled());
      for (let i = 0; i < 3; i++) run.one(settled("ignored"));
      expect(run.outcomes()).toEqual(["duplicate", "imported", "imported"]);
    }
  });

  it("looks it up where sending twice doubles; what is in doubt and on its way was being looked up", () => {
    const table: [Ending, "verify" | "send", ImportOutcome][] = [
      [settled("ignored"), "send", "imported"],
      [{ is: "refused" }, "send", "unknown"],
      [throttled(), "verify", "imported"],
      [lost(), "send", "imported"],
      [MISSING, "send", "duplicate"],
    ];
    for (const sooner of [true, false]) {
      for (const [ending, next, expected] of table) {
        const run = Run.of(2, { idempotent: false });
        if (sooner) run.desk.doubt(0);
        const batch = run.desk.adopt(Uint32Array.of(0));
        if (!sooner) run.desk.doubt(0);
        tell(run.desk, run.now, batch, [0], ending);
        const request = run.request();
        expect(request.do, ending.is).toBe(next);
        run.end(request, settled("ignored"));
        if (undecided(run.desk.counts()) > 0) run.end(run.request(), settled("ignored"));
        expect(run.next().do).toBe("done");
        expect(run.outcomes(), ending.is).toEqual([expected, "duplicate"]);
      }
    }
  });

  it("leaves what has an outcome, or is not there, out of doubt", () => {
    const run = Run.of(2, { idempotent: false });
    run.desk.decide(0, "failed");
    run.desk.doubt(0);
    run.desk.doubt(2);
    expect(run.desk.counts()).toEqual({ ...COUNTS, open: 1, failed: 1 });
  });
});

// ---- by chance

const outcome = fc.constantFrom<Settled>("imported", "duplicate", "ignored", "failed", "unknown");
const hint = fc.option(fc.integer({ min: 0, max: 5_000 }), { nil: null });
/** What says nothing about when a row goes again. */
const prompt = fc.oneof(
  { weight: 3, arbitrary: outcome.map(settled) },
  { weight: 2, arbitrary: hint.map(throttled) },
  { weight: 1, arbitrary: fc.constantFrom<Ending>({ is: "refused" }, { is: "too large" }) },
);
const trouble = fc.oneof(
  fc.boolean().map(lost),
  fc.boolean().map((maybeApplied): Ending => ({ is: "failed", maybeApplied })),
);
/** What becomes of the requests of one row, in turn; then all is well. */
interface Script {
  sends: Ending[];
  lookups: Ending[];
}
const scripts = (ending: fc.Arbitrary<Ending>): fc.Arbitrary<Script[]> =>
  fc.array(
    fc.record({
      sends: fc.array(ending, { maxLength: 12 }),
      lookups: fc.array(fc.oneof(ending, fc.constant(MISSING)), { maxLength: 12 }),
    }),
    { maxLength: 30 },
  );
const ways = fc.constantFrom<Partial<DeskConfig>>(
  {},
  { idempotent: false },
  { idempotent: false, verifies: false },
);

interface End {
  outcome: ImportOutcome;
  attempt: number;
  requests: number;
  throttled: number;
}

/** What `src/bulk` says of one row. */
function expectedOf(script: Script, config: DeskConfig): End {
  const sends = [...script.sends];
  const lookups = [...script.lookups];
  const end = { attempt: 1, requests: 0, throttled: 0 };
  let wasSent = false;
  for (let isLookup = false; ; ) {
    const ending = (isLookup ? lookups.shift() : sends.shift()) ?? settled("ignored");
    const setbacks = end.attempt - 1;
    end.requests++;
    if (ending.is === "throttled") {
      end.throttled++;
    } else if (ending.is === "settled") {
      const ignored = wasSent ? "imported" : "duplicate";
      return { ...end, outcome: ending.outcome === "ignored" ? ignored : ending.outcome };
    } else if (ending.is === "refused" || ending.is === "too large") {
      return { ...end, outcome: isLookup ? "unknown" : "failed" };
    } else if (ending.is === "missing") {
      if (setbacks >= 8) return { ...end, outcome: "failed" };
      [wasSent, isLookup] = [false, false];
    } else {
      const maybeThere = !isLookup && (ending.is === "lost" ? ending.wasSent : ending.maybeApplied);
      end.attempt = Math.min(end.attempt + 1, 16);
      wasSent ||= maybeThere;
      if (maybeThere && !config.idempotent) {
        if (!config.verifies) return { ...end, outcome: "unknown" };
        isLookup = true;
      } else if (end.attempt > 8) {
        return { ...end, outcome: wasSent ? "unknown" : "failed" };
      }
    }
  }
}

/** Runs a desk by scripts, one for each row, handing it so many rows at a time. */
function follow<D extends Desk>(desk: D, given: readonly Script[], handful = 1_000): D {
  const left = given.map(({ sends, lookups }) => ({ send: [...sends], verify: [...lookups] }));
  const run = new Run(desk);
  for (let steps = 0; steps < 5_000; steps++) {
    const step = run.later();
    const known = totalOf(desk.counts());
    if (step.do === "done") return desk;
    if (step.do === "hungry") {
      desk.add(Math.min(handful, given.length - known));
      if (known === given.length) desk.close();
    } else if (step.do === "wait") {
      throw new Error(`It waits for nothing: ${step.reason}`);
    } else {
      const [row = Number.NaN] = rowsOf(step);
      run.end(step, left[row]?.[step.do].shift() ?? settled("ignored"));
    }
    const open = outcomesOf(desk).filter((outcome) => outcome === null);
    expect(undecided(desk.counts())).toBe(open.length);
  }
  throw new Error("It does not end.");
}

function attemptsOf(desk: Desk): number[] {
  return outcomesOf(desk).map((_, row) => desk.attempt(row));
}

function sum(numbers: number[]): number {
  return numbers.reduce((all, one) => all + one, 0);
}

describe("by chance", () => {
  it("makes of each row what the answers to it say", () => {
    fc.assert(
      fc.property(
        ways,
        scripts(fc.oneof({ weight: 3, arbitrary: prompt }, trouble)),
        fc.integer({ min: 1, max: 9 }),
        (way, given, handful) => {
          const config = { ...CONFIG, ...way };
          const desk = follow(plainDesk(config), given, handful);
          // Two dozen failures in a row and nothing else are another story.
          fc.pre(desk.stopped() === null);
          const expected = given.map((script) => expectedOf(script, config));
          // What gives a row up depends on what happens to the others: that is in tables.
          fc.pre(expected.every(({ attempt }) => attempt <= 8));
          expect(outcomesOf(desk)).toEqual(expected.map(({ outcome }) => outcome));
          // What is lost in an outage is nobody's own attempt.
          attemptsOf(desk).forEach((attempt, row) => {
            expect(attempt).toBeLessThanOrEqual(expected[row]?.attempt ?? 0);
          });
          const { requests, throttled, retries } = desk.stats();
          expect(requests).toBe(sum(expected.map((end) => end.requests)));
          expect(throttled).toBe(sum(expected.map((end) => end.throttled)));
          expect(retries).toBe(sum(expected.map(({ attempt }) => attempt - 1)));
        },
      ),
      { numRuns: 300 },
    );
  });

  it("ends every row once, and the server agrees", () => {
    fc.assert(
      fc.property(weathers, (weather) => {
        const server = new Server(weather);
        const shell = new Shell(plainDesk(configOf(weather)), server);
        shell.run(STEPS);
        agree(shell.desk, server);
      }),
      { numRuns: 100 },
    );
  });

  it("leaves nothing undecided when it is stopped at any moment", () => {
    fc.assert(
      fc.property(weathers, fc.integer({ min: 0, max: 200 }), (weather, steps) => {
        const server = new Server(weather);
        const shell = new Shell(plainDesk(configOf(weather)), server);
        shell.run(steps);
        const { requests } = shell.desk.stats();
        shell.desk.stop("cancelled");
        const { open, toVerify } = shell.desk.counts();
        expect(open + toVerify).toBe(0);
        shell.run(STEPS);
        expect(shell.desk.stats().requests, "nothing is sent any more").toBe(requests);
        agree(shell.desk, server);
      }),
      { numRuns: 100 },
    );
  });

  it("goes on after a crash at any moment without losing or doubling a row", () => {
    const crashes = fc.array(fc.integer({ min: 0, max: 200 }), { minLength: 1, maxLength: 3 });
    fc.assert(
      fc.property(weathers, crashes, (weather, steps) => {
        const server = new Server(weather);
        let journal = new Map<number, Uint8Array>();
        for (const most of [...steps, STEPS]) {
          const desk = plainDesk(configOf(weather));
          desk.add(journal.size > 0 ? weather.rows : 0);
          for (const [segment, bits] of journal) desk.restore(segment, bits);
          const shell = new Shell(desk, server, journal);
          shell.run(most);
          journal = shell.journal;
          // What the journal says is done otherwise may be unknown.
          if (most === STEPS) agree(desk, server, ["failed", "unknown"]);
        }
      }),
      { numRuns: 100 },
    );
  });

  it.each([
    ["the core", coreDesk],
    ["another", plainDesk],
  ])("goes on for %s that is lost at any moment, with all that was on its way", (_name, make) => {
    const flights = fc.record({
      most: fc.integer({ min: 1, max: 20 }),
      maxInFlight: fc.integer({ min: 1, max: 9 }),
    });
    fc.assert(
      fc.property(
        weathers,
        flights,
        fc.integer({ min: 0, max: 200 }),
        (weather, { most, maxInFlight }, steps) => {
          const server = new Server(weather);
          const config = configOf(weather);
          const desk = make({ ...config, batch: { most }, maxInFlight }, 1) as Desk;
          const lostOne = new Shell(desk, server);
          lostOne.run(steps);
          const shell = lostOne.takenOverBy(plainDesk(config));
          expect(totalOf(shell.desk.counts())).toBe(totalOf(desk.counts()));
          desk.free();
          shell.run(STEPS);
          agree(shell.desk, server);
        },
      ),
      { numRuns: 100 },
    );
  });
});

describe("beside the core", () => {
  it("comes to the same ends by the same answers", () => {
    fc.assert(
      fc.property(
        ways,
        scripts(fc.oneof({ weight: 3, arbitrary: prompt }, trouble)),
        fc.integer({ min: 1, max: 9 }),
        (way, given, handful) => {
          const config = { ...CONFIG, ...way };
          fc.pre(given.every((script) => expectedOf(script, config).attempt <= 8));
          const [core, plain] = both(config, (desk) => {
            // Pauses that differ a little change what fails in a row, and that is what attempts depend on.
            const { attempts: _, ...end } = endOf(follow(desk, given, handful));
            return end;
          });
          fc.pre(core.stopped === null && plain.stopped === null);
          expect(plain).toEqual(core);
        },
      ),
      { numRuns: 80 },
    );
  });

  it("stops where the core does", () => {
    const stopWhen = fc.record({
      failedRatio: fc.constantFrom(0, 0.2, 0.5, 1),
      after: fc.integer({ min: 0, max: 20 }),
    });
    fc.assert(
      fc.property(ways, stopWhen, scripts(prompt), (way, when, given) => {
        const config = { ...CONFIG, ...way, stopWhen: when };
        const [core, plain] = both(config, (desk) => endOf(follow(desk, given)));
        expect(plain).toEqual(core);
      }),
      { numRuns: 80 },
    );
  });

  it("takes up a journal as the core does, and what is decided", () => {
    const bits = fc.uint8Array({ minLength: 10, maxLength: 10 });
    const decided = fc.array(fc.tuple(fc.nat(40), outcome), { maxLength: 9 });
    fc.assert(
      fc.property(ways, bits, decided, scripts(prompt), (way, left, decisions, given) => {
        const [core, plain] = both({ ...CONFIG, ...way }, (desk) => {
          desk.add(36);
          for (const [row, said] of decisions) {
            if (said !== "ignored") desk.decide(row, said);
          }
          desk.restore(0, left);
          const taken = { outcomes: outcomesOf(desk), counts: desk.counts(), changed: desk.changed() };
          desk.add(1);
          desk.close();
          return { ...taken, end: endOf(follow(desk, given)) };
        });
        expect(plain).toEqual(core);
      }),
      { numRuns: 80 },
    );
  });

  it.each([
    ["while others get through", 3, 9],
    ["when it is the last one", 1, 9],
  ])("gives a row up %s as the core does", (_, others, failures) => {
    const sends = Array.from({ length: failures }, () => lost());
    const given = [
      { sends, lookups: [] },
      ...Array.from({ length: others }, () => ({ sends: [], lookups: [] })),
    ];
    const [core, plain] = both(CONFIG, (desk) => outcomesOf(follow(desk, given)));
    expect(plain).toEqual(core);
    expect(plain[0]).toBe("unknown");
  });

  it("gives no row up in an outage, as the core does not", () => {
    // Each row is lost six times, all in a row: many more than one row may be.
    const given = Array.from({ length: 3 }, () => ({
      sends: Array.from({ length: 6 }, () => lost()),
      lookups: [],
    }));
    const [core, plain] = both(CONFIG, (desk) => [...outcomesOf(follow(desk, given)), desk.stopped()]);
    expect(plain).toEqual(core);
    expect(plain).toEqual(["imported", "imported", "imported", null]);
  });

  it("gives up where the core does when there is nothing but trouble", () => {
    const sends = Array.from({ length: 100 }, () => lost());
    const given = Array.from({ length: 40 }, () => ({ sends, lookups: [] }));
    // The core asks more often in the first seconds.
    for (const [stopped, { requests }] of both(
      CONFIG,
      (desk) => [follow(desk, given).stopped(), desk.stats()] as const,
    )) {
      expect(stopped).toBe("trouble");
      expect(requests).toBeGreaterThanOrEqual(24);
      expect(requests).toBeLessThan(100);
    }
  });
});

/** What becomes of the same in the core and here. */
function both<T>(config: DeskConfig, act: (desk: Desk) => T): [core: T, plain: T] {
  const core = coreDesk(config, 1);
  if (!core) throw new Error("There is no core.");
  try {
    return [act(core), act(plainDesk(config))];
  } finally {
    core.free();
  }
}

function endOf(desk: Desk) {
  return {
    outcomes: outcomesOf(desk),
    attempts: attemptsOf(desk),
    counts: desk.counts(),
    stats: desk.stats(),
    stopped: desk.stopped(),
    changed: desk.changed(),
    bits: desk.bits(0),
  };
}

// ---- against a server

/** What goes wrong, as parts of 1, and what the server takes. */
interface Weather {
  seed: number;
  rows: number;
  idempotent: boolean;
  lostBefore: number;
  lostAfter: number;
  failed: number;
  throttled: number;
  /** Every so many rows one is bad; 0: none. */
  badEvery: number;
  /** It says so for each row, and takes the others; else it refuses the batch. */
  perItem: boolean;
  /** Rows in one request. */
  most: number;
  /** Part of the lookups that say nothing. */
  blind: number;
}

const part = (max: number): fc.Arbitrary<number> => fc.double({ min: 0, max, noNaN: true });
const weathers: fc.Arbitrary<Weather> = fc.record({
  seed: fc.integer(),
  rows: fc.integer({ min: 0, max: 120 }),
  idempotent: fc.boolean(),
  lostBefore: part(0.1),
  lostAfter: part(0.1),
  failed: part(0.1),
  throttled: part(0.2),
  badEvery: fc.integer({ min: 0, max: 40 }),
  perItem: fc.boolean(),
  most: fc.integer({ min: 1, max: 30 }),
  blind: part(0.3),
});

function configOf({ idempotent }: Weather): DeskConfig {
  return { ...CONFIG, idempotent };
}

/** More than any of these takes. */
const STEPS = 20_000;

/** What an answer says: of the batch, or of each row. */
type Reply = Ending | { is: "each"; outcomes: Settled[] };

/** Holds on to every row that it has written. */
class Server {
  readonly weather: Weather;
  readonly written: number[];
  readonly #random: () => number;

  constructor(weather: Weather) {
    this.weather = weather;
    this.written = Array.from({ length: weather.rows }, () => 0);
    this.#random = new ManualHost({ seed: weather.seed }).random;
  }

  happens(chance: number): boolean {
    return this.#random() < chance;
  }

  latency(): number {
    return 20 + Math.floor(this.#random() * 130);
  }

  take(rows: readonly number[]): Reply {
    const { weather } = this;
    if (this.happens(weather.lostBefore)) return lost();
    if (this.happens(weather.throttled)) return throttled(this.happens(0.5) ? 200 : null);
    if (rows.length > weather.most) return { is: "too large" };
    const fails = this.happens(weather.failed);
    if (fails && this.happens(0.5)) return { is: "failed", maybeApplied: this.happens(0.5) };
    if (!weather.perItem && rows.some((row) => this.#isBad(row))) return { is: "refused" };
    const outcomes = rows.map((row) => this.#write(row));
    if (fails) return { is: "failed", maybeApplied: true };
    return this.happens(weather.lostAfter) ? lost() : { is: "each", outcomes };
  }

  lookUp(row: number): Reply {
    if (this.happens(this.weather.lostAfter)) return lost();
    if (this.happens(this.weather.throttled)) return throttled();
    if (this.happens(this.weather.blind)) return settled("unknown");
    return this.written[row] ? settled("ignored") : MISSING;
  }

  #isBad(row: number): boolean {
    const { badEvery } = this.weather;
    return badEvery > 0 && row % badEvery === Math.floor(badEvery / 2);
  }

  #write(row: number): Settled {
    if (this.#isBad(row)) return "failed";
    if (this.weather.idempotent && this.written[row]) return "ignored";
    this.written[row] = (this.written[row] as number) + 1;
    return "imported";
  }
}

interface Flight {
  batch: number;
  rows: number[];
  arrives: number;
  reply: Reply;
  isLookup: boolean;
}

/** Sends, tells, keeps a journal, and remembers what it takes to let another desk go on. */
class Shell<D extends Desk> {
  readonly desk: D;
  readonly #server: Server;
  readonly journal: Map<number, Uint8Array>;
  #air: Flight[] = [];
  readonly #doubtful = new Set<number>();
  #isClosed = false;
  #now = 0;

  constructor(desk: D, server: Server, journal = new Map<number, Uint8Array>()) {
    this.desk = desk;
    this.#server = server;
    this.journal = journal;
  }

  /** Goes on until all is done, or for so many steps. */
  run(steps: number): void {
    for (let i = 0; i < steps; i++) {
      if (!this.#step()) return;
    }
    if (steps === STEPS) throw new Error("It does not end.");
  }

  #step(): boolean {
    const { desk } = this;
    const step = desk.next(this.#now);
    // What is about to be sent is on disk before.
    for (const segment of desk.changed()) this.journal.set(segment, desk.bits(segment));
    if (step.do === "done") return false;
    if (step.do === "send" || step.do === "verify") {
      const rows = rowsOf(step);
      const isLookup = step.do === "verify";
      const reply = isLookup ? this.#server.lookUp(rows[0] as number) : this.#server.take(rows);
      const arrives = this.#now + this.#server.latency();
      this.#air.push({ batch: step.batch, rows, arrives, reply, isLookup });
    } else if (step.do === "hungry" && !this.#isClosed) {
      const left = this.#server.weather.rows - totalOf(desk.counts());
      desk.add(Math.min(left, 7));
      this.#isClosed = left === 0;
      if (this.#isClosed) desk.close();
    } else {
      this.#wait(step.until);
    }
    return true;
  }

  #wait(until: number | null): void {
    if (until !== null) expect(until).toBeGreaterThan(this.#now);
    const flight = [...this.#air].sort((a, b) => a.arrives - b.arrives)[0];
    if (flight && flight.arrives <= (until ?? Number.POSITIVE_INFINITY)) {
      this.#now = Math.max(this.#now, flight.arrives);
      this.#air = this.#air.filter((other) => other !== flight);
      this.#tell(flight);
    } else if (until === null) {
      throw new Error("It waits for nothing.");
    } else {
      this.#now = until;
    }
  }

  #tell({ batch, rows, reply, isLookup }: Flight): void {
    if (reply.is === "each") {
      this.desk.answered(this.#now, batch, LATENCY);
      rows.forEach((row, i) => {
        this.desk.settle(this.#now, row, reply.outcomes[i] as Settled);
      });
      return;
    }
    const maybeThere =
      (reply.is === "lost" && reply.wasSent) || (reply.is === "failed" && reply.maybeApplied);
    for (const row of rows) {
      if (maybeThere && !isLookup) this.#doubtful.add(row);
      if (reply.is === "missing") this.#doubtful.delete(row);
    }
    tell(this.desk, this.#now, batch, rows, reply);
  }

  /** As the engine does it. */
  takenOverBy(desk: PlainDesk): Shell<PlainDesk> {
    const shell = new Shell(desk, this.#server, this.journal);
    desk.add(totalOf(this.desk.counts()));
    outcomesOf(this.desk).forEach((outcome, row) => {
      if (outcome !== null) desk.decide(row, outcome);
    });
    shell.#air = this.#air.map((flight) => ({ ...flight, batch: desk.adopt(Uint32Array.from(flight.rows)) }));
    for (const row of this.#doubtful) desk.doubt(row);
    shell.#isClosed = this.#isClosed;
    if (this.#isClosed) desk.close();
    const reason = this.desk.stopped();
    if (reason) desk.stop(reason);
    shell.#now = this.#now;
    return shell;
  }
}

/** Outcome by outcome, what the desk says is what the server holds. `vague`: those that say nothing of it. */
function agree(desk: Desk, { weather, written }: Server, vague: ImportOutcome[] = ["unknown"]): void {
  const counts = desk.counts();
  const outcomes = outcomesOf(desk);
  if (desk.stopped() === null) expect(outcomes).toHaveLength(weather.rows);
  expect(undecided(counts)).toBe(0);
  const recount: DeskCounts = { ...COUNTS };
  outcomes.forEach((outcome, row) => {
    if (outcome === null) return;
    recount[outcome]++;
    const times = written[row] as number;
    if (outcome === "imported") expect(times, `row ${row} is imported`).toBe(1);
    else if (vague.includes(outcome)) expect(times, `row ${row} is doubled`).toBeLessThanOrEqual(1);
    else expect(times, `row ${row} is ${outcome}`).toBe(0);
  });
  expect(recount).toEqual(counts);
}
