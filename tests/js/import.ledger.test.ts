import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { MemoryStore } from "../../js/import/journal/memory.ts";
import { openJournal, SEGMENT_ROWS } from "../../js/import/journal.ts";
import { Ledger, type LedgerOptions } from "../../js/import/ledger.ts";
import type { ImportOutcome, ImportRow } from "../../js/import/public.ts";
import { ManualHost } from "../../js/testing.ts";
import { all, duplicatesOf, jobOf, segmentOf } from "./support/journal.ts";

interface Person {
  name: string;
}

const OUTCOMES: readonly ImportOutcome[] = ["imported", "duplicate", "failed", "skipped", "unknown"];
const NONE = { imported: 0, duplicate: 0, failed: 0, skipped: 0, unknown: 0 };

function ledgerOf(rows: number, options: Partial<LedgerOptions> = {}): Ledger<Person> {
  const ledger = new Ledger<Person>({ job: "a", keepsRows: true, spill: false, ...options });
  ledger.add(rows);
  return ledger;
}

function rowOf(index: number, outcome: ImportOutcome, more: Partial<ImportRow<Person>> = {}) {
  return { index, key: `key ${index}`, outcome, attempts: 1, row: { name: `No ${index}` }, ...more };
}

describe("a ledger", () => {
  it("has one outcome for each row, and counts that are those", () => {
    const outcome = fc.constantFrom(...OUTCOMES);
    const notes = fc.array(fc.tuple(fc.nat(60), outcome), { maxLength: 200 });
    fc.assert(
      fc.property(notes, (notes) => {
        const ledger = ledgerOf(61);
        const model = new Map<number, ImportOutcome>();
        for (const [index, outcome] of notes) {
          ledger.note(rowOf(index, outcome));
          model.set(index, outcome);
        }
        const counts = { ...NONE };
        for (const outcome of model.values()) counts[outcome]++;
        expect(ledger.counts).toEqual(counts);
        const decided = [...model.keys()].sort((a, b) => a - b);
        expect([...ledger.find()]).toEqual(decided);
        for (const outcome of OUTCOMES) {
          expect([...ledger.find([outcome])]).toEqual(decided.filter((row) => model.get(row) === outcome));
        }
        for (const index of decided) expect(ledger.outcome(index)).toBe(model.get(index));
      }),
      { numRuns: 50 },
    );
  });

  it("grows, and keeps what it has", () => {
    const ledger = ledgerOf(0);
    for (let index = 0; index < 3 * SEGMENT_ROWS; index++) {
      ledger.add(1);
      ledger.note(rowOf(index, OUTCOMES[index % 5] as ImportOutcome, { attempts: index % 300 }));
    }
    expect([ledger.total, ledger.counts.unknown]).toEqual([12_288, 2_457]);
    for (const index of [0, 4_095, 4_096, 12_287]) {
      expect(ledger.entry(index)).toMatchObject({ outcome: OUTCOMES[index % 5] });
      expect(ledger.entry(index)?.attempts).toBe(Math.min(index % 300, 255));
    }
  });

  it("knows nothing of rows without an outcome, and takes none that are not there", () => {
    const ledger = ledgerOf(2);
    expect([ledger.outcome(0), ledger.entry(0), ledger.outcome(-1), ledger.outcome(9)]).toEqual([
      null,
      null,
      null,
      null,
    ]);
    for (const index of [2, 4_096, -1, Number.NaN]) {
      expect(() => ledger.note(rowOf(index, "failed"))).toThrow("2 were added");
    }
    expect([ledger.counts, ledger.notes()]).toEqual([NONE, []]);
  });

  it("forgets what was said of an earlier outcome", () => {
    const ledger = ledgerOf(2);
    ledger.note(rowOf(0, "failed", { id: 7, code: "22P02", message: "No number", attempts: 3 }));
    expect(ledger.entry(0)).toEqual({
      ...{ index: 0, row: { name: "No 0" }, key: "key 0", outcome: "failed", attempts: 3 },
      ...{ id: 7, code: "22P02", message: "No number" },
    });
    ledger.note(rowOf(0, "imported"));
    expect(ledger.entry(0)).toEqual({ index: 0, outcome: "imported", attempts: 1 });
    expect(ledger.notes()).toEqual([]);
  });

  it("says of each row its own, whatever was said of the one before", () => {
    const ledger = ledgerOf(5, { keepsRows: false });
    const said = [
      { message: "No", code: "1" },
      { message: "No", code: "2" },
      { message: "No" },
      { code: "2" },
      {},
    ];
    said.forEach((words, index) => {
      ledger.note(rowOf(index, "failed", words));
    });
    said.forEach((words, index) => {
      expect(ledger.entry(index)).toEqual({ index, outcome: "failed", attempts: 1, ...words });
    });
  });

  it("tells the last row that was sent", () => {
    const ledger = ledgerOf(6);
    expect(ledger.lastSent()).toBe(0);
    ledger.note(rowOf(0, "imported"));
    ledger.note(rowOf(3, "failed"));
    ledger.note(rowOf(5, "skipped", { attempts: 0 }));
    expect(ledger.lastSent()).toBe(4);
  });
});

describe("what a ledger keeps of rows", () => {
  const kept = (ledger: Ledger<Person>, index: number) => ledger.entry(index)?.row !== undefined;

  it("is the data of those to correct, where the source will not have it", () => {
    const ledger = ledgerOf(6);
    ledger.note(rowOf(0, "imported"));
    ledger.note(rowOf(1, "duplicate", { message: "The same as row 1." }));
    ledger.note(rowOf(2, "failed"));
    ledger.note(rowOf(3, "unknown"));
    ledger.note(rowOf(4, "skipped", { message: "This is no address." }));
    ledger.note(rowOf(5, "skipped"));
    expect([0, 1, 2, 3, 4, 5].map((index) => kept(ledger, index))).toEqual([
      false,
      false,
      true,
      true,
      true,
      false,
    ]);
    const atHand = ledgerOf(1, { keepsRows: false });
    atHand.note(rowOf(0, "failed", { message: "No" }));
    expect(atHand.entry(0)).toEqual({ index: 0, outcome: "failed", message: "No", attempts: 1 });
  });

  it("is bounded, and what is said of those that failed is not", () => {
    const ledger = ledgerOf(25_000);
    for (let index = 0; index < 10_005; index++) ledger.note(rowOf(index, "failed", { message: "No" }));
    for (let index = 10_005; index < 25_000; index++) {
      ledger.note(rowOf(index, "duplicate", { id: index, message: "The same" }));
    }
    expect([kept(ledger, 9_999), kept(ledger, 10_000)]).toEqual([true, false]);
    expect(ledger.entry(10_004)).toMatchObject({ key: "key 10004", message: "No" });
    expect(ledger.entry(10_005)).toEqual({ index: 10_005, outcome: "duplicate", id: 10_005, attempts: 1 });
    expect([ledger.entry(20_004)?.id, ledger.entry(20_005)?.id]).toEqual([20_004, undefined]);
  });
});

describe("what a ledger has for the journal", () => {
  it("are notes of what failed and of what is unknown, once each", () => {
    const ledger = ledgerOf(5);
    for (const [index, outcome] of OUTCOMES.entries()) ledger.note(rowOf(index, outcome, { message: "so" }));
    ledger.note(rowOf(2, "failed", { code: "23514", message: "later", attempts: 2 }));
    expect(ledger.notes()).toEqual([
      { job: "a", index: 4, key: "key 4", outcome: "unknown", message: "so", attempts: 1 },
      { job: "a", index: 2, key: "key 2", outcome: "failed", code: "23514", message: "later", attempts: 2 },
    ]);
    expect(ledger.notes()).toEqual([]);
  });

  it("has rows in its notes only where that is wanted, and then all of them", () => {
    const spilling = ledgerOf(10_002, { spill: true });
    for (let index = 0; index < 10_002; index++) spilling.note(rowOf(index, "failed"));
    const notes = spilling.notes();
    expect([notes.length, notes.at(-1)?.row]).toEqual([10_002, { name: "No 10001" }]);
    const silent = ledgerOf(1);
    silent.note(rowOf(0, "failed"));
    expect(Object.hasOwn(silent.notes()[0] as object, "row")).toBe(false);
  });

  it("are the desk's bits, without rows that nobody sent, and which of them are duplicates", () => {
    const ledger = ledgerOf(2 * SEGMENT_ROWS);
    const first = SEGMENT_ROWS;
    const states = [2, 2, 3, 3, 3, 1, 0];
    OUTCOMES.forEach((outcome, row) => {
      ledger.note(rowOf(first + row, outcome));
    });
    const { bits } = segmentOf("a", 1, states);
    expect(ledger.segment(1, bits)).toEqual({
      ...segmentOf("a", 1, [2, 2, 3, 0, 3, 1, 0]),
      duplicates: duplicatesOf(1),
    });
    expect(bits).toEqual(segmentOf("a", 1, states).bits);
    expect(ledger.segment(0, segmentOf("a", 0, [2]).bits)).toEqual(segmentOf("a", 0, [2]));
    expect(ledger.segment(7, segmentOf("a", 7, [2]).bits)).toEqual(segmentOf("a", 7, [2]));
  });

  /** What a desk has for its bits. */
  const BITS: Readonly<Record<ImportOutcome, number>> = {
    imported: 2,
    duplicate: 2,
    failed: 3,
    skipped: 3,
    unknown: 3,
  };

  it("tells the next page each outcome again, but for what it may send itself", async () => {
    const rows = 2 * SEGMENT_ROWS + 100;
    const { random } = new ManualHost({ seed: 3 });
    const ledger = ledgerOf(rows, { spill: true });
    const states = new Map<number, number>();
    for (let index = 0; index < rows; index++) {
      const outcome = OUTCOMES[Math.floor(random() * 7)];
      if (!outcome) continue;
      ledger.note(rowOf(index, outcome, { message: `because of ${index}` }));
      states.set(index, BITS[outcome]);
    }
    const store = new MemoryStore();
    const page = () => openJournal({ host: new ManualHost(), store: async () => store });
    const journal = await page();
    await journal.open(jobOf("a"));
    const segments = [0, 1, 2].map((segment) => {
      const own = Array.from({ length: SEGMENT_ROWS }, (_, i) => states.get(segment * SEGMENT_ROWS + i) ?? 0);
      return ledger.segment(segment, segmentOf("a", segment, own).bits);
    });
    const counts = { ...ledger.counts };
    await journal.write({ job: jobOf("a", { counts }), segments, notes: ledger.notes() });

    const next = await page();
    const found = await next.open(jobOf("a"));
    const again = ledgerOf(rows, { spill: true });
    for await (const note of next.notes("a")) again.remember(note);
    for (const { index: segment, bits, duplicates } of await all(next.segments("a"))) {
      for (let row = 0; row < SEGMENT_ROWS; row++) {
        if ((((bits[row >> 2] ?? 0) >> (2 * (row & 3))) & 3) !== 2) continue;
        const isDuplicate = (((duplicates?.[row >> 3] ?? 0) >> (row & 7)) & 1) === 1;
        again.note(rowOf(segment * SEGMENT_ROWS + row, isDuplicate ? "duplicate" : "imported"));
      }
    }
    expect(again.counts).toEqual({ ...found?.counts, skipped: 0 });
    for (let index = 0; index < rows; index++) {
      const before = ledger.outcome(index);
      expect(again.outcome(index)).toBe(before === "skipped" ? null : before);
      const entry = ledger.entry(index);
      if (before === "failed" || before === "unknown") expect(again.entry(index)).toEqual(entry);
    }
    // It is on disk already.
    expect(again.notes()).toEqual([]);
  });

  it("takes no notes that say nothing", () => {
    const ledger = ledgerOf(1);
    ledger.remember({ job: "a", index: 0, key: "k", outcome: "constructor", attempts: 1 });
    expect([ledger.outcome(0), ledger.counts]).toEqual([null, NONE]);
  });
});
