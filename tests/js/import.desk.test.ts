import { readFileSync } from "node:fs";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { Desk, DeskConfig, DeskCounts, Known, Settled, Step } from "../../js/import/desk.ts";
import type { ImportOutcome } from "../../js/import/public.ts";
import { ManualHost } from "../../js/testing.ts";
import { sabotageCore } from "./support/broken-core.ts";
import { freshPackage } from "./support/service.ts";

/** The desk of the core: that what the core's job decides comes across whole. What it decides is in `tests/bulk.rs`. */

afterEach(() => {
  vi.unstubAllGlobals();
});

let coreDesk: typeof import("../../js/import/core-desk.ts").coreDesk;
let DeskLostError: typeof import("../../js/import/desk.ts").DeskLostError;

async function fresh(): Promise<void> {
  await freshPackage();
  ({ coreDesk } = await import("../../js/import/core-desk.ts"));
  ({ DeskLostError } = await import("../../js/import/desk.ts"));
}

beforeEach(fresh);

/** A server of which is known that nothing gets into the way of a table. */
const QUICK: Known = { rate: 1000, cap: null, bans: false, cost: 0 };

const CONFIG: DeskConfig = {
  idempotent: true,
  verifies: true,
  batch: { fixed: 4 },
  maxInFlight: 100,
  maxRate: null,
  stopWhen: null,
  known: QUICK,
};

/** An import of so many rows, and the time. */
class Stage {
  readonly desk: Desk;
  now: number;

  constructor(config: Partial<DeskConfig> = {}, rows = 8, now = 1_000) {
    const desk = coreDesk({ ...CONFIG, ...config }, 7);
    if (desk === null) throw new Error("There is no core.");
    this.desk = desk;
    this.now = now;
    desk.add(rows);
    desk.close();
  }

  /** What is to be done next, after whatever has to be waited for. */
  step(): Step {
    for (;;) {
      const step = this.desk.next(this.now);
      if (step.do !== "wait" || step.until === null || step.until > this.now + 60_000) return step;
      this.now = step.until;
    }
  }

  send(): { batch: number; rows: number[] } {
    const step = this.step();
    if (step.do !== "send") throw new Error(`${step.do} is to be done`);
    expect(step.rows).toBeInstanceOf(Uint32Array);
    return { batch: step.batch, rows: [...step.rows] };
  }

  verify(): { batch: number; row: number } {
    const step = this.step();
    if (step.do !== "verify") throw new Error(`${step.do} is to be done`);
    return step;
  }

  answer({ batch, rows }: { batch: number; rows: number[] }, outcome: Settled = "imported", took = 50): void {
    this.now += took;
    this.desk.answered(this.now, batch, took);
    for (const row of rows) this.desk.settle(this.now, row, outcome);
  }

  outcomes(): (ImportOutcome | null)[] {
    return Array.from({ length: total(this.desk.counts()) }, (_, row) => this.desk.outcome(row));
  }
}

function total(counts: DeskCounts): number {
  return Object.values(counts).reduce((sum, count) => sum + count);
}

describe("without a core", () => {
  it("there is no desk", async () => {
    vi.stubGlobal("WebAssembly", undefined);
    await fresh();
    expect(coreDesk(CONFIG)).toBeNull();
    vi.unstubAllGlobals();
    expect(coreDesk(CONFIG)).toBeNull();
  });
});

describe("what is to be done", () => {
  it("crosses whole: rows, times and reasons", () => {
    const { desk } = new Stage();
    expect(desk.next(1_000)).toEqual({ do: "send", batch: 0, rows: Uint32Array.of(0, 1, 2, 3) });
    expect(desk.next(1_000)).toEqual({ do: "wait", until: expect.any(Number), reason: "pace" });
    expect(desk.next(1_100)).toEqual({ do: "send", batch: 1, rows: Uint32Array.of(4, 5, 6, 7) });
    expect(desk.next(1_200)).toEqual({ do: "wait", until: null, reason: "in-flight" });
    desk.throttled(1_300, 0, 4_000);
    const held = desk.next(1_300);
    expect(held).toMatchObject({ do: "wait", reason: "cooldown" });
    expect(held.do === "wait" && held.until).toBeGreaterThanOrEqual(5_300);
    desk.pause();
    expect(desk.next(9_000)).toEqual({ do: "wait", until: null, reason: "paused" });
    desk.resume();
    // By the clock of the wall a time has more than 32 bits.
    const late = Date.UTC(2026, 0, 1);
    desk.hold(late + 0.5);
    expect(desk.next(9_000)).toEqual({ do: "wait", until: late, reason: "held" });
    desk.hold(null);
    expect(desk.next(late + 1)).toEqual({ do: "wait", until: null, reason: "held" });
    desk.release();
    // A long delay: one request at a time finds out whether it is over.
    expect(desk.next(late + 1)).toEqual({ do: "wait", until: null, reason: "cooldown" });
    desk.answered(late + 1, 1, 100);
    expect(desk.next(late + 1)).toEqual({ do: "send", batch: 0, rows: Uint32Array.of(0, 1, 2, 3) });
  });

  it("is more rows until there are no more, then nothing", () => {
    const desk = coreDesk(CONFIG) as Desk;
    expect(desk.next(0)).toEqual({ do: "hungry", until: null });
    expect(desk.wants()).toBe(8);
    desk.add(3);
    expect(desk.wants()).toBe(5);
    const step = desk.next(0);
    expect(step).toEqual({ do: "send", batch: 0, rows: Uint32Array.of(0, 1, 2) });
    desk.failed(100, 0, true);
    const hungry = desk.next(100);
    expect(hungry).toMatchObject({ do: "hungry" });
    expect(hungry.do === "hungry" && hungry.until).toBeGreaterThan(100);
    desk.close();
    expect(desk.wants()).toBe(0);
    expect(desk.next(100)).toMatchObject({ do: "wait", reason: "cooldown" });
    desk.stop("cancelled");
    expect(desk.next(100)).toEqual({ do: "done" });
  });

  it("is the same again for the same seed", () => {
    const pauses = (seed: number): (number | null)[] => {
      const desk = coreDesk(CONFIG, seed) as Desk;
      desk.add(1);
      desk.close();
      return Array.from({ length: 7 }, (_, i) => {
        const now = i * 100_000;
        const step = desk.next(now);
        if (step.do === "send") desk.lost(now, step.batch, false);
        const after = desk.next(now);
        return after.do === "wait" ? after.until : null;
      });
    };
    expect(pauses(5)).toEqual(pauses(5));
    expect(pauses(5)).not.toEqual(pauses(6));
  });

  it("gives out rows that stay as they are while the core's memory grows", () => {
    const { desk } = new Stage({ batch: { fixed: 10_000 } }, 10_000);
    const step = desk.next(1_000);
    if (step.do !== "send") throw new Error(step.do);
    desk.add(4_000_000);
    expect(step.rows).toHaveLength(10_000);
    expect(step.rows.every((row, i) => row === i)).toBe(true);
  });
});

describe("how a batch ends", () => {
  it("answered: each row has the outcome that it is given", () => {
    const stage = new Stage({ batch: { fixed: 8 } });
    stage.answer({ ...stage.send(), rows: [] });
    const given: Settled[] = ["imported", "duplicate", "failed", "skipped", "unknown", "ignored"];
    for (const [row, outcome] of given.entries()) stage.desk.settle(stage.now, row, outcome);
    expect(stage.outcomes()).toEqual([
      ...["imported", "duplicate", "failed", "skipped", "unknown", "duplicate"],
      ...[null, null],
    ]);
    // What has an outcome keeps it.
    stage.desk.settle(stage.now, 2, "imported");
    expect(stage.desk.outcome(2)).toBe("failed");
    expect(stage.desk.counts()).toEqual({
      ...{ imported: 1, duplicate: 2, failed: 1, skipped: 1, unknown: 1 },
      ...{ open: 0, inFlight: 2, toVerify: 0 },
    });
    expect(stage.desk.outcome(8)).toBeNull();
  });

  it("ignored is imported where the server may have the row from this import", () => {
    const stage = new Stage({}, 4);
    stage.desk.lost(stage.now, stage.send().batch, true);
    expect(stage.desk.attempt(0)).toBe(2);
    stage.answer(stage.send(), "ignored");
    expect(stage.outcomes()).toEqual(Array(4).fill("imported"));
  });

  it("throttled: the same rows, later, and it is no attempt", () => {
    const stage = new Stage({}, 4);
    stage.desk.throttled(stage.now, stage.send().batch, 2_000);
    const before = stage.now;
    expect(stage.send().rows).toEqual([0, 1, 2, 3]);
    expect(stage.now - before).toBeGreaterThanOrEqual(2_000);
    expect(stage.desk.attempt(0)).toBe(1);
    expect(stage.desk.stats()).toEqual({ requests: 2, throttled: 1, retries: 0 });
  });

  it.each([true, false])(
    "lost or failed: looked up if that doubles (%s: it may have been written)",
    (maybe) => {
      for (const end of ["lost", "failed"] as const) {
        const stage = new Stage({ idempotent: false }, 2);
        stage.desk[end](stage.now, stage.send().batch, maybe);
        if (!maybe) {
          expect(stage.send().rows).toEqual([0, 1]);
          continue;
        }
        expect(stage.desk.counts().toVerify).toBe(2);
        const first = stage.verify();
        expect(first.row).toBe(0);
        stage.answer({ batch: first.batch, rows: [0] }, "ignored");
        const second = stage.verify();
        stage.desk.answered(stage.now, second.batch, 50);
        stage.desk.missing(stage.now, second.row);
        expect(stage.send().rows).toEqual([1]);
        expect(stage.desk.outcome(0)).toBe("imported");
      }
    },
  );

  it("refused and too large: halved until a row is alone", () => {
    for (const end of ["refused", "tooLarge"] as const) {
      const stage = new Stage({}, 4);
      for (let step = stage.step(); step.do === "send"; step = stage.step()) {
        if (step.rows.includes(2)) stage.desk[end](stage.now, step.batch);
        else stage.answer({ batch: step.batch, rows: [...step.rows] });
      }
      expect(stage.outcomes()).toEqual(["imported", "imported", "failed", "imported"]);
    }
  });

  it("once: what is told of a batch that has ended changes nothing", () => {
    const stage = new Stage({}, 4);
    const sent = stage.send();
    stage.answer(sent);
    const { counts, stats } = { counts: stage.desk.counts(), stats: stage.desk.stats() };
    for (const batch of [sent.batch, 5, 0xffff_ffff]) {
      stage.desk.answered(stage.now, batch, 1);
      stage.desk.throttled(stage.now, batch, null);
      stage.desk.lost(stage.now, batch, true);
      stage.desk.failed(stage.now, batch, true);
      stage.desk.refused(stage.now, batch);
      stage.desk.tooLarge(stage.now, batch);
    }
    stage.desk.settle(stage.now, 99, "imported");
    stage.desk.missing(stage.now, 0);
    expect(stage.desk.counts()).toEqual(counts);
    expect(stage.desk.stats()).toEqual(stats);
    expect(stage.desk.next(stage.now)).toEqual({ do: "done" });
  });

  it.each([1, 2, 3, 4, 5, 6, 7, 8])(
    "whatever happens, each row has exactly one outcome (seed %i)",
    (seed) => {
      const { random } = new ManualHost({ seed });
      const idempotent = seed % 2 === 0;
      const batch = seed % 3 === 0 ? { most: 50 } : { fixed: 1 + (seed % 7) };
      const stage = new Stage({ idempotent, verifies: seed % 4 !== 3, batch, known: null }, 700);
      const { desk } = stage;
      const flights = new Map<number, { rows: number[]; lookup: boolean }>();
      const written = new Map<number, number>();
      const begin = (name: number, rows: number[], lookup: boolean): void => {
        expect(flights.has(name)).toBe(false);
        expect(rows).toEqual([...new Set(rows)].sort((a, b) => a - b));
        for (const row of rows) {
          expect(desk.outcome(row)).toBeNull();
          for (const other of flights.values()) expect(other.rows).not.toContain(row);
        }
        flights.set(name, { rows, lookup });
      };
      const isBad = (rows: number[]): boolean => rows.some((row) => row % 97 === 13);
      const write = (rows: number[]): void => {
        for (const row of rows) written.set(row, (written.get(row) ?? 0) + 1);
      };
      const end = (name: number): void => {
        const { rows, lookup } = flights.get(name) as { rows: number[]; lookup: boolean };
        flights.delete(name);
        const chance = random();
        if (chance < 0.1) desk.throttled(stage.now, name, random() < 0.5 ? 200 : null);
        else if (chance < 0.15) {
          if (random() < 0.5 && !lookup && !isBad(rows)) write(rows);
          desk.lost(stage.now, name, true);
        } else if (chance < 0.2) desk.failed(stage.now, name, false);
        else if (lookup) {
          desk.answered(stage.now, name, 40);
          for (const row of rows) {
            if (written.has(row)) desk.settle(stage.now, row, "ignored");
            else desk.missing(stage.now, row);
          }
        } else if (isBad(rows)) desk.refused(stage.now, name);
        else {
          write(rows);
          desk.answered(stage.now, name, 40);
          for (const row of rows) desk.settle(stage.now, row, "imported");
        }
      };
      for (let steps = 0; ; steps++) {
        expect(steps).toBeLessThan(50_000);
        expect(total(desk.counts())).toBe(700);
        const step = desk.next(stage.now);
        if (step.do === "done") break;
        if (step.do === "send") begin(step.batch, [...step.rows], false);
        else if (step.do === "verify") begin(step.batch, [step.row], true);
        else {
          const names = [...flights.keys()];
          const until = step.until ?? Number.POSITIVE_INFINITY;
          stage.now = Math.min(until, names.length > 0 ? stage.now + Math.ceil(random() * 60) : until);
          const name = names[Math.floor(random() * names.length)];
          if (name !== undefined && stage.now < until) end(name);
        }
      }
      expect(flights.size).toBe(0);
      const { open, inFlight, toVerify, ...ended } = desk.counts();
      expect([open, inFlight, toVerify]).toEqual([0, 0, 0]);
      const outcomes = stage.outcomes();
      for (const [outcome, count] of Object.entries(ended)) {
        expect(outcomes.filter((one) => one === outcome)).toHaveLength(count);
      }
      for (const [row, outcome] of outcomes.entries()) {
        const times = written.get(row) ?? 0;
        if (outcome === "imported") expect(times).toBeGreaterThan(0);
        else if (outcome === "failed") expect(times).toBe(0);
        if (!idempotent) expect(times).toBeLessThanOrEqual(1);
      }
    },
  );
});

describe("what a server says about its limit", () => {
  const headers = { "RateLimit-Policy": '"a";q=20;w=10', RateLimit: '"a";r=19;t=1' };

  const answers: Record<string, () => unknown> = {
    "a Response": () => new Response(null, { status: 201, headers }),
    Headers: () => new Headers(headers),
    "an error": () => Object.assign(new Error("Too Many Requests"), { status: 429, headers }),
    "an error with a Response": () =>
      Object.assign(new Error("no"), { response: new Response(null, { headers }) }),
  };

  it.each(Object.entries(answers))("in %s is the pace", (_, make) => {
    const stage = new Stage();
    const sent = stage.send();
    stage.desk.heard(make(), Date.now());
    stage.answer(sent);
    const { requestsPerSecond } = stage.desk.pace();
    expect(requestsPerSecond).toBeGreaterThan(1.5);
    expect(requestsPerSecond).toBeLessThanOrEqual(2);
  });

  it("counts for the answer that is told of next, and for no other", () => {
    const stage = new Stage();
    stage.desk.heard(new Headers(headers), Date.now());
    stage.desk.heard(undefined, Date.now());
    stage.answer(stage.send());
    expect(stage.desk.pace().requestsPerSecond).toBeGreaterThan(500);
    stage.desk.heard(new Headers(headers), Date.now());
    stage.desk.refused(stage.now, stage.send().batch);
    stage.answer(stage.send());
    expect(stage.desk.pace().requestsPerSecond).toBeGreaterThan(500);
  });

  it("may be anything at all", () => {
    const { proxy, revoke } = Proxy.revocable({}, {});
    revoke();
    const throws = () => {
      throw new Error("boom");
    };
    const stage = new Stage();
    const hostile = [
      ...[null, undefined, 1, "x", 1n, Symbol("s"), true, () => {}, [], new Map(), new ArrayBuffer(8), proxy],
      ...[
        { headers: proxy },
        { headers: null },
        { headers: throws },
        { get: throws },
        { headers: { get: throws } },
      ],
      Object.defineProperty({}, "headers", { get: throws }),
      new Proxy({}, { get: throws, has: throws, ownKeys: throws }),
      // Somebody who calls in again.
      Object.defineProperty({}, "headers", { get: () => stage.desk.counts() }),
      { headers: { "ratelimit-policy": { toString: throws } } },
    ];
    for (const answer of hostile) stage.desk.heard(answer, Date.now());
    stage.answer(stage.send());
  });
});

describe("what is learned", () => {
  it("batches grow while answers are quick, and shrink when they are late or too much", () => {
    const stage = new Stage({ batch: { most: 100 } }, 10_000);
    expect(stage.desk.pace().batchSize).toBe(10);
    for (let i = 0; i < 10; i++) stage.answer(stage.send());
    expect(stage.desk.pace().batchSize).toBe(100);
    const { batch, rows } = stage.send();
    expect(rows).toHaveLength(100);
    stage.answer({ batch, rows }, "imported", 1_600);
    expect(stage.desk.pace().batchSize).toBe(50);
    stage.desk.tooLarge(stage.now, stage.send().batch);
    expect(stage.desk.pace().batchSize).toBe(25);
  });

  it("a limit that was met is known to the next import", () => {
    const stage = new Stage({ batch: { fixed: 1 }, known: null }, 100_000);
    expect(stage.desk.learned()).toBeNull();
    // 20 a second.
    for (let allowed = 5, before = stage.now, i = 0; i < 2_000; i++) {
      const { batch, rows } = stage.send();
      allowed = Math.min(5, allowed + ((stage.now - before) / 1e3) * 20);
      before = stage.now;
      if (allowed >= 1) {
        allowed--;
        stage.desk.answered(stage.now, batch, 1);
        for (const row of rows) stage.desk.settle(stage.now, row, "imported");
      } else stage.desk.throttled(stage.now, batch, null);
    }
    const known = stage.desk.learned() as Known;
    expect(known).toEqual({ rate: expect.any(Number), cap: null, bans: false, cost: expect.any(Number) });
    expect(known.rate).toBeGreaterThan(17);
    expect(known.rate).toBeLessThan(23);
    expect(new Stage({ known }).desk.learned()).toEqual(known);
    const pace = new Stage({ known }).desk.pace().requestsPerSecond;
    expect(pace).toBeGreaterThan(0.9 * known.rate);
    expect(pace).toBeLessThan(known.rate);
  });

  it("a cap and a ban too", () => {
    const known = { rate: 12.5, cap: 5, bans: true, cost: 10.25 };
    const { desk } = new Stage({ known });
    expect(desk.learned()).toEqual(known);
    expect(desk.pace().cap).toBe(5);
    expect(new Stage().desk.pace().cap).toBeNull();
  });

  it("is never faster, and never more at once, than is configured", () => {
    const stage = new Stage({ maxRate: 2, maxInFlight: 3, batch: { fixed: 1 } }, 100);
    const begun = stage.now;
    for (let i = 0; i < 3; i++) stage.send();
    expect(stage.now - begun).toBeGreaterThanOrEqual(900);
    expect(stage.step()).toEqual({ do: "wait", until: null, reason: "in-flight" });
    expect(stage.desk.pace().requestsPerSecond).toBeLessThanOrEqual(2);
  });
});

describe("what the journal keeps", () => {
  it("is told by segment, and once", () => {
    const stage = new Stage({}, 10_000);
    expect(stage.desk.changed()).toEqual([]);
    stage.send();
    expect(stage.desk.changed()).toEqual([0]);
    expect(stage.desk.changed()).toEqual([]);
    expect(stage.desk.decide(5_000, "duplicate")).toBe(true);
    expect(stage.desk.decide(9_000, "failed")).toBe(true);
    expect(stage.desk.changed()).toEqual([1, 2]);
    expect(stage.desk.decide(0, "failed")).toBe(false);
    expect(stage.desk.decide(10_000, "failed")).toBe(false);
    expect(stage.desk.bits(0)).toHaveLength(1_024);
    expect(stage.desk.bits(0).slice(0, 2)).toEqual(Uint8Array.of(0b01010101, 0));
    expect(stage.desk.bits(9)).toEqual(new Uint8Array(1_024));
  });

  it("is taken up by another desk, and what was on its way goes again or is looked up", () => {
    const before = new Stage({}, 5_000);
    before.answer(before.send());
    before.desk.decide(4_999, "failed");
    before.send();
    const segments = [0, 1].map((segment) => before.desk.bits(segment));
    for (const idempotent of [true, false]) {
      const desk = coreDesk({ ...CONFIG, idempotent }) as Desk;
      desk.add(5_000);
      desk.decide(0, "duplicate");
      for (const [segment, bits] of segments.entries()) desk.restore(segment, bits);
      desk.close();
      expect(desk.outcome(0)).toBe("duplicate");
      expect(desk.outcome(3)).toBe("imported");
      expect(desk.outcome(4_999)).toBe("failed");
      expect(desk.counts()).toMatchObject({
        imported: 3,
        duplicate: 1,
        failed: 1,
        toVerify: idempotent ? 0 : 4,
      });
      const step = desk.next(0);
      if (idempotent) expect(step).toEqual({ do: "send", batch: 0, rows: Uint32Array.of(4, 5, 6, 7) });
      else expect(step).toEqual({ do: "verify", batch: 0, row: 4 });
    }
  });

  it("may be torn", () => {
    const { desk } = new Stage({}, 10);
    for (const bits of [new Uint8Array(0), new Uint8Array(1), new Uint8Array(9_999).fill(255)])
      desk.restore(0, bits);
    desk.restore(0xffff_ffff, new Uint8Array(1_024).fill(0xaa));
    expect(desk.counts()).toMatchObject({ failed: 10, open: 0 });
  });
});

describe("how it ends early", () => {
  it.each(["cancelled", "refused", "failed-ratio", "trouble"] as const)("%s", (reason) => {
    const stage = new Stage();
    const sent = stage.send();
    expect(stage.desk.stopped()).toBeNull();
    stage.desk.stop(reason);
    stage.desk.stop(reason === "trouble" ? "cancelled" : "trouble");
    expect(stage.desk.stopped()).toBe(reason);
    expect(stage.desk.next(stage.now)).toEqual({ do: "wait", until: null, reason: "in-flight" });
    stage.answer(sent);
    expect(stage.desk.next(stage.now)).toEqual({ do: "done" });
    stage.desk.add(2);
    expect(stage.outcomes()).toEqual([...Array(4).fill("imported"), ...Array(6).fill("skipped")]);
  });

  it("by itself, when too many have failed", () => {
    const stage = new Stage({ stopWhen: { failedRatio: 0.5, after: 6 } }, 40);
    stage.answer(stage.send(), "failed");
    expect(stage.desk.stopped()).toBeNull();
    stage.answer(stage.send(), "failed");
    expect(stage.desk.stopped()).toBe("failed-ratio");
    expect(stage.desk.counts()).toMatchObject({ failed: 8, skipped: 32 });
  });

  it("by itself, when nothing but trouble comes", () => {
    const stage = new Stage({}, 400);
    const begun = stage.now;
    for (let step = stage.step(); step.do === "send"; step = stage.step()) {
      stage.now += 100;
      stage.desk.failed(stage.now, step.batch, false);
    }
    expect(stage.desk.stopped()).toBe("trouble");
    expect(stage.now - begun).toBeGreaterThan(300_000);
    expect(stage.desk.counts()).toMatchObject({ open: 0, imported: 0 });
  });
});

describe("how far it is", () => {
  it("rows a second, and the time that is left", () => {
    const stage = new Stage({ batch: { fixed: 10 } }, 2_000);
    expect(stage.desk.progress(stage.now)).toEqual({ rowsPerSecond: 0, etaMs: null });
    for (let i = 0; i < 100; i++) stage.answer(stage.send(), "imported", 100);
    const { rowsPerSecond, etaMs } = stage.desk.progress(stage.now);
    expect(rowsPerSecond).toBeGreaterThan(90);
    expect(rowsPerSecond).toBeLessThan(110);
    const [from, to] = etaMs as [number, number];
    expect(from).toBeGreaterThan(8_000);
    expect(from).toBeLessThan(11_000);
    expect(to).toBeGreaterThan(from);
    expect(stage.desk.stats()).toEqual({ requests: 100, throttled: 0, retries: 0 });
  });
});

describe("a core that fails", () => {
  /** Everything that a desk can be asked, but `free`. */
  const questions: Record<string, (desk: Desk) => unknown> = {
    add: (desk) => desk.add(1),
    close: (desk) => desk.close(),
    wants: (desk) => desk.wants(),
    decide: (desk) => desk.decide(7, "failed"),
    restore: (desk) => desk.restore(0, new Uint8Array(1_024)),
    next: (desk) => desk.next(2_000),
    attempt: (desk) => desk.attempt(0),
    outcome: (desk) => desk.outcome(0),
    heard: (desk) => desk.heard(new Headers(), 0),
    answered: (desk) => desk.answered(2_000, 0, 5),
    settle: (desk) => desk.settle(2_000, 0, "imported"),
    missing: (desk) => desk.missing(2_000, 0),
    throttled: (desk) => desk.throttled(2_000, 0, null),
    lost: (desk) => desk.lost(2_000, 0, true),
    failed: (desk) => desk.failed(2_000, 0, true),
    refused: (desk) => desk.refused(2_000, 0),
    tooLarge: (desk) => desk.tooLarge(2_000, 0),
    pause: (desk) => desk.pause(),
    resume: (desk) => desk.resume(),
    hold: (desk) => desk.hold(null),
    release: (desk) => desk.release(),
    stop: (desk) => desk.stop("cancelled"),
    stopped: (desk) => desk.stopped(),
    changed: (desk) => desk.changed(),
    bits: (desk) => desk.bits(0),
    counts: (desk) => desk.counts(),
    stats: (desk) => desk.stats(),
    progress: (desk) => desk.progress(2_000),
    pace: (desk) => desk.pace(),
    learned: (desk) => desk.learned(),
  };

  it("is asked for everything below", () => {
    const { free, ...rest } = new Stage().desk;
    expect(Object.keys(questions).sort()).toEqual(Object.keys(rest).sort());
    free();
  });

  it.each(Object.entries(questions))("in `%s` is lost, and stays so", async (_, question) => {
    const sabotage = sabotageCore();
    await fresh();
    const { desk } = new Stage();
    sabotage.trapIn = true;
    expect(() => question(desk)).toThrow(DeskLostError);
    expect(sabotage.traps).toBeGreaterThan(0);
    sabotage.trapIn = new Set();
    for (const other of Object.values(questions)) expect(() => other(desk)).toThrow(DeskLostError);
    expect(() => desk.free()).not.toThrow();
    const next = new Stage();
    expect(next.send().rows).toEqual([0, 1, 2, 3]);
    // In the new core the old number is that of another desk.
    for (const other of Object.values(questions)) expect(() => other(desk)).toThrow(DeskLostError);
    desk.free();
    expect(next.desk.counts().inFlight).toBe(4);
  });

  it("while a desk is given back harms nobody", async () => {
    const sabotage = sabotageCore();
    await fresh();
    const { desk } = new Stage();
    sabotage.trapIn = new Set(["job_free"]);
    expect(() => desk.free()).not.toThrow();
    expect(() => desk.next(0)).toThrow(DeskLostError);
    expect(new Stage().send().rows).toEqual([0, 1, 2, 3]);
  });

  it("is started anew twice, and then left alone", async () => {
    const sabotage = sabotageCore();
    await fresh();
    for (let life = 0; life < 3; life++) {
      sabotage.trapIn = new Set();
      const { desk } = new Stage();
      sabotage.trapIn = true;
      expect(() => desk.next(0)).toThrow(DeskLostError);
    }
    sabotage.trapIn = new Set();
    expect(coreDesk(CONFIG)).toBeNull();
  });

  it("while a desk is made gives none", async () => {
    const sabotage = sabotageCore();
    await fresh();
    sabotage.trapIn = new Set(["job"]);
    expect(coreDesk(CONFIG)).toBeNull();
    sabotage.trapIn = new Set();
    expect(coreDesk(CONFIG)).not.toBeNull();
  });

  it("says what happened", async () => {
    const sabotage = sabotageCore();
    await fresh();
    const { desk } = new Stage();
    sabotage.trapIn = new Set(["job_next"]);
    const caught = vi.fn();
    try {
      desk.next(0);
    } catch (error) {
      caught(error);
    }
    expect(caught).toHaveBeenCalledWith(
      expect.objectContaining({ message: "The core that kept the import failed.", cause: expect.any(Error) }),
    );
  });
});

describe("the core's memory", () => {
  it("is given back with the desk", () => {
    // A byte a row: without `free` these would be 400 MB.
    for (let i = 0; i < 100; i++) {
      const desk = coreDesk(CONFIG) as Desk;
      desk.add(4_000_000);
      expect(desk.counts().open).toBe(4_000_000);
      desk.free();
    }
  });
});

describe("the numbers of the core", () => {
  it("have the order of its enums", () => {
    const rust = readFileSync("src/bulk/mod.rs", "utf8");
    const variants = (name: string): string[] =>
      [
        ...(new RegExp(`pub enum ${name} \\{(.*?)\\n\\}`, "s").exec(rust)?.[1] ?? "").matchAll(
          /^ {4}(\w+),$/gm,
        ),
      ].map(([, variant]) => variant as string);
    expect(variants("Outcome")).toEqual(["Imported", "Duplicate", "Ignored", "Failed", "Skipped", "Unknown"]);
    expect(variants("Reason")).toEqual(["Pace", "Cooldown", "InFlight", "Paused", "Held"]);
    expect(variants("Stop")).toEqual(["Cancelled", "Refused", "FailedRatio", "Trouble"]);
  });
});
