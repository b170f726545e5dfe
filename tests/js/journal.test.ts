import "fake-indexeddb/auto";
import { afterEach, describe, expect, it, vi } from "vitest";
import { MemoryStore } from "../../js/import/journal/memory.ts";
import type { Journal } from "../../js/import/journal.ts";
import {
  all,
  browser,
  COUNTS,
  cleared,
  DAY,
  duplicatesOf,
  folder,
  type Ground,
  jobOf,
  noteOf,
  segmentOf,
} from "./support/journal.ts";

afterEach(async () => {
  await cleared();
  vi.unstubAllGlobals();
});

async function memory(): Promise<Ground> {
  const store = new MemoryStore();
  const ground = browser();
  return { ...ground, kind: "memory", page: (more) => ground.page({ store: async () => store, ...more }) };
}

const grounds: Record<string, () => Ground | Promise<Ground>> = { browser, folder, memory };

describe.each(Object.entries(grounds))("a journal in the %s", (_name, make) => {
  async function begun(): Promise<{ ground: Ground; journal: Journal }> {
    const ground = await make();
    return { ground, journal: await ground.page() };
  }

  it("keeps a job, its segments and its notes for the next page", async () => {
    const { ground, journal } = await begun();
    expect(await journal.open(jobOf("a"))).toBeNull();
    const job = jobOf("a", { counts: { ...COUNTS, imported: 2 }, updatedAt: 7, name: "contacts.csv" });
    const hashes = Uint32Array.of(1, 2, 3, 4);
    await journal.write({
      job,
      segments: [segmentOf("a", 3, [1]), { ...segmentOf("a", 0, [2, 2, 3]), hashes }],
      notes: [
        noteOf("a", 9_000),
        noteOf("a", 2, { code: "22P02", message: "Not a number", row: { age: "x" } }),
      ],
    });
    await journal.close();
    const next = await ground.page();
    expect(await next.open(jobOf("a"))).toEqual(job);
    expect(await all(next.segments("a"))).toEqual([
      { ...segmentOf("a", 0, [2, 2, 3]), hashes },
      segmentOf("a", 3, [1]),
    ]);
    expect(await all(next.notes("a"))).toEqual([
      noteOf("a", 2, { code: "22P02", message: "Not a number", row: { age: "x" } }),
      noteOf("a", 9_000),
    ]);
    expect([next.kind, next.degraded, next.damaged, ground.told]).toEqual([ground.kind, null, null, []]);
  });

  it("reads in the order of the rows, over many pages of records", async () => {
    const { journal } = await begun();
    await journal.open(jobOf("a"));
    const indexes = Array.from({ length: 600 }, (_, i) => i * 7);
    await journal.write({ notes: [...indexes].reverse().map((index) => noteOf("a", index)) });
    await journal.write({ segments: indexes.slice(0, 40).map((index) => segmentOf("a", index, [2])) });
    expect((await all(journal.notes("a"))).map(({ index }) => index)).toEqual(indexes);
    expect((await all(journal.segments("a"))).map(({ index }) => index)).toEqual(indexes.slice(0, 40));
  });

  it("keeps hashes when a segment comes again without them", async () => {
    const { journal } = await begun();
    await journal.open(jobOf("a"));
    const hashes = Uint32Array.of(1, 2);
    await Promise.all([
      journal.write({ segments: [{ ...segmentOf("a", 0, [1]), hashes }] }),
      journal.write({ segments: [segmentOf("a", 0, [2])] }),
    ]);
    await journal.write({ segments: [segmentOf("a", 0, [3])] });
    expect(await all(journal.segments("a"))).toEqual([{ ...segmentOf("a", 0, [3]), hashes }]);
  });

  it("keeps which rows are duplicates as long as the bits that it came with", async () => {
    const { ground, journal } = await begun();
    const states = [2, 2, 3, 2];
    const hashes = Uint32Array.of(1, 1, 2, 2, 3, 3, 4, 4);
    const duplicates = duplicatesOf(1, 3, 4_095);
    await journal.open(jobOf("a"));
    await journal.write({
      segments: [
        { ...segmentOf("a", 0, states), duplicates, hashes },
        { ...segmentOf("a", 1, states), duplicates },
        { ...segmentOf("a", 2, states), duplicates: duplicatesOf() },
      ],
    });
    await journal.write({ segments: [segmentOf("a", 1, [2])] });
    await journal.close();
    const next = await ground.page();
    await next.open(jobOf("a"));
    expect(await all(next.segments("a"))).toEqual([
      { ...segmentOf("a", 0, states), duplicates, hashes },
      segmentOf("a", 1, [2]),
      segmentOf("a", 2, states),
    ]);
    await next.finish("a");
    expect(await all(next.knownKeys("https://a.example", "contacts"))).toEqual([
      Uint32Array.of(1, 1, 2, 2, 4, 4),
    ]);
    expect(next.damaged).toBeNull();
  });

  it("writes what it was given, not what that became", async () => {
    const { journal } = await begun();
    const job = jobOf("a", { counts: { ...COUNTS } });
    const segment = segmentOf("a", 0, [2]);
    const other = { ...segmentOf("a", 1, [2]), duplicates: duplicatesOf(0) };
    await journal.open(job);
    const written = journal.write({ job, segments: [segment, other] });
    job.counts.imported = 99;
    for (const bytes of [segment.bits, other.bits, other.duplicates]) bytes.fill(255);
    await written;
    expect(await all(journal.segments("a"))).toEqual([
      segmentOf("a", 0, [2]),
      { ...segmentOf("a", 1, [2]), duplicates: duplicatesOf(0) },
    ]);
    expect(await journal.list()).toEqual([jobOf("a")]);
  });

  it("keeps jobs apart, and lists the last one that changed first", async () => {
    const { journal } = await begun();
    await journal.open(jobOf("a", { updatedAt: 1 }));
    await journal.open(jobOf("b", { updatedAt: 3 }));
    await journal.open(jobOf("c", { updatedAt: 2 }));
    await journal.write({ notes: [noteOf("a", 0)], segments: [segmentOf("b", 0, [2])] });
    expect((await journal.list()).map(({ id }) => id)).toEqual(["b", "c", "a"]);
    expect([await all(journal.notes("b")), await all(journal.segments("a"))]).toEqual([[], []]);
  });

  it("leaves of a finished job only the hashes of what is done well, for 30 days", async () => {
    const { ground, journal } = await begun();
    await journal.open(jobOf("a"));
    const hashes = Uint32Array.of(10, 11, 20, 21, 30, 31, 40, 41);
    await journal.write({
      segments: [{ ...segmentOf("a", 0, [2, 3, 0, 2]), hashes }],
      notes: [noteOf("a", 1, { row: { name: "Ada" } })],
    });
    await journal.finish("a");
    const known = async (page: Journal): Promise<number[]> =>
      (await all(page.knownKeys("https://a.example", "contacts"))).flatMap((keys) => [...keys]);
    expect(await known(journal)).toEqual([10, 11, 40, 41]);
    expect(await all(journal.knownKeys("https://a.example", "companies"))).toEqual([]);
    expect([await journal.list(), await all(journal.notes("a")), await all(journal.segments("a"))]).toEqual([
      [],
      [],
      [],
    ]);
    expect(await journal.open(jobOf("a"))).toBeNull();
    await journal.finish("a");
    await ground.host.advance(30 * DAY);
    expect(await known(await ground.page())).toEqual([10, 11, 40, 41]);
    await ground.host.advance(1);
    expect(await known(await ground.page())).toEqual([]);
  });

  it("knows the keys of jobs that are under way too, but for the one that asks", async () => {
    const { journal } = await begun();
    await journal.open(jobOf("a"));
    await journal.write({ segments: [{ ...segmentOf("a", 0, [1, 2]), hashes: Uint32Array.of(1, 1, 2, 2) }] });
    expect(await all(journal.knownKeys("https://a.example", "contacts"))).toEqual([Uint32Array.of(2, 2)]);
    expect(await all(journal.knownKeys("https://a.example", "contacts", "a"))).toEqual([]);
  });

  it("forgets a job with all that it left", async () => {
    const { journal } = await begun();
    const segments = [{ ...segmentOf("a", 0, [2]), hashes: Uint32Array.of(1, 2) }];
    await journal.open(jobOf("a"));
    await journal.write({ segments });
    await journal.finish("a");
    await journal.open(jobOf("a"));
    await journal.write({ segments, notes: [noteOf("a", 0)] });
    await journal.forget("a");
    expect(await journal.list()).toEqual([]);
    expect(await all(journal.knownKeys("https://a.example", "contacts"))).toEqual([]);
    expect(await journal.open(jobOf("a"))).toBeNull();
    expect(await all(journal.segments("a"))).toEqual([]);
  });

  it("finds nothing of what was written under an id before its job began", async () => {
    const { journal } = await begun();
    await journal.write({ segments: [segmentOf("a", 0, [2])], notes: [noteOf("a", 0)] });
    expect(await journal.open(jobOf("a"))).toBeNull();
    expect([await all(journal.segments("a")), await all(journal.notes("a"))]).toEqual([[], []]);
  });

  it("takes any id, and rows of any kind", async () => {
    const { journal } = await begun();
    const row = { at: new Date(5), tags: ["ä", undefined], deep: { n: 1n } };
    const id = "../ä\n\u0000 contacts.csv";
    await journal.open(jobOf(id));
    await journal.write({ notes: [noteOf(id, 0, { row }), noteOf(id, 1, { row: { act: Math.max } })] });
    expect((await all(journal.notes(id))).map((note) => note.row)).toEqual([row, { act: Math.max }]);
    expect((await journal.list()).map((job) => job.id)).toEqual([id]);
    expect(journal.degraded).toBeNull();
  });

  it("closes after all that was to be written, and takes nothing more", async () => {
    const { ground, journal } = await begun();
    await journal.open(jobOf("a"));
    const written = journal.write({ notes: [noteOf("a", 0)] });
    await Promise.all([journal.close(), written]);
    await expect(journal.write({ notes: [noteOf("a", 1)] })).rejects.toThrow("closed");
    await expect(journal.open(jobOf("a"))).rejects.toThrow("closed");
    expect(await all((await ground.page()).notes("a"))).toEqual([noteOf("a", 0)]);
  });
});
