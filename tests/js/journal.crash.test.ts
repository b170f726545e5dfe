import "fake-indexeddb/auto";
import { copyFile, readdir, readFile, truncate, writeFile } from "node:fs/promises";
import path from "node:path";
import { afterEach, describe, expect, it, vi } from "vitest";
import { fileStore } from "../../js/import/journal/file.ts";
import type { Journal, JournalChange } from "../../js/import/journal.ts";
import { ManualHost } from "../../js/testing.ts";
import { all, browser, COUNTS, cleared, folder, jobOf, noteOf, segmentOf } from "./support/journal.ts";

afterEach(async () => {
  vi.restoreAllMocks();
  await cleared();
  vi.unstubAllGlobals();
});

const RUNS = 30;
const WRITES = 40;

/** Write number n of a run: everything in it tells of n. */
function numbered(n: number): JournalChange {
  return {
    job: jobOf("a", { updatedAt: n, counts: { ...COUNTS, failed: n } }),
    segments: [
      segmentOf(
        "a",
        0,
        Array.from({ length: n }, () => 3),
      ),
      segmentOf("a", n, [2]),
    ],
    notes: [noteOf("a", n)],
  };
}

/** The number of the last write that is there: all of it, all before it and nothing else. */
async function numberOf(journal: Journal): Promise<number> {
  const job = await journal.open(jobOf("a", { updatedAt: 0 }));
  const n = job?.updatedAt ?? 0;
  const numbers = Array.from({ length: n }, (_, i) => i + 1);
  expect(job?.incomplete).toBeUndefined();
  expect(job?.counts.failed ?? 0).toBe(n);
  expect(await all(journal.notes("a"))).toEqual(numbers.map((i) => noteOf("a", i)));
  const segments = await all(journal.segments("a"));
  const rows = segmentOf(
    "a",
    0,
    Array.from({ length: n }, () => 3),
  );
  expect(segments).toEqual(n === 0 ? [] : [rows, ...numbers.map((i) => segmentOf("a", i, [2]))]);
  expect([journal.degraded, journal.damaged]).toEqual([null, null]);
  return n;
}

describe("after a crash", () => {
  it("a browser has what a write resolved for, and nothing by half", async () => {
    const { random } = new ManualHost({ seed: 4 });
    const ends = new Set<number>();
    for (let run = 0; run < RUNS; run++) {
      const ground = browser();
      const journal = await ground.page();
      await journal.open(jobOf("a", { updatedAt: 0 }));
      const kill = mortal(Math.ceil(random() * 25));
      let resolved = 0;
      for (let n = 1; n <= WRITES; n++) {
        const written = journal.write(numbered(n)).then(() => {
          if (journal.degraded === null) resolved = n;
        });
        if (random() < 0.6) await written;
      }
      await vi.waitFor(() => expect(journal.degraded !== null || resolved === WRITES).toBe(true));
      kill();
      const n = await numberOf(await ground.page());
      expect(n).toBeGreaterThanOrEqual(resolved);
      ends.add(n);
    }
    expect(ends.size).toBeGreaterThan(10);
  });

  /** From its nth transaction on, nothing of this page reaches the disk; that one is cut off at some point. */
  function mortal(last: number): () => void {
    const { transaction } = IDBDatabase.prototype;
    let begun = 0;
    const spy = vi.spyOn(IDBDatabase.prototype, "transaction").mockImplementation(function (
      this: IDBDatabase,
      ...args
    ) {
      if (++begun > last) throw new Error("the page is gone");
      const made = transaction.apply(this, args);
      if (begun === last) Promise.resolve().then(() => made.abort());
      return made;
    });
    return () => spy.mockRestore();
  }

  it("a folder has what a write resolved for, wherever its file was cut off", async () => {
    const { random } = new ManualHost({ seed: 5 });
    const ends = new Set<number>();
    for (let run = 0; run < RUNS; run++) {
      const ground = await folder();
      const journal = await ground.page();
      await journal.open(jobOf("a", { updatedAt: 0 }));
      const [name] = await readdir(ground.folder);
      const file = path.join(ground.folder, String(name));
      const sizes = [(await readFile(file)).length];
      for (let n = 1; n <= 6; n++) {
        await journal.write(numbered(n), { strict: n % 2 === 0 });
        sizes.push((await readFile(file)).length);
      }
      const cut = Math.floor(random() * (Number(sizes.at(-1)) + 1));
      await truncate(file, Math.max(cut, Number(sizes[0])));
      const next = await ground.page();
      const n = await numberOf(next);
      expect(n).toBe(sizes.filter((size) => size <= Math.max(cut, Number(sizes[0]))).length - 1);
      ends.add(n);
      // What was cut off does not stand in the way of what comes.
      await next.write(numbered(n + 1));
      expect(await numberOf(await ground.page())).toBe(n + 1);
      await cleared();
    }
    expect(ends.size).toBeGreaterThan(4);
  });

  it("a folder whose job had only begun has none", async () => {
    const ground = await folder();
    const journal = await ground.page();
    await journal.open(jobOf("a"));
    const [name] = await readdir(ground.folder);
    const file = path.join(ground.folder, String(name));
    for (const length of [0, 10, 30, (await readFile(file)).length - 1]) {
      await copyFile(file, `${file}.copy`);
      await truncate(file, length);
      const next = await ground.page();
      const torn = length < 25;
      expect(await next.open(jobOf("a"))).toEqual(torn ? jobOf("a", { incomplete: true }) : null);
      await copyFile(`${file}.copy`, file);
    }
  });
});

describe("a journal's file", () => {
  async function written(): Promise<{ file: string; open: () => Promise<Journal> }> {
    const ground = await folder();
    const journal = await ground.page();
    await journal.open(jobOf("a"));
    const [name] = await readdir(ground.folder);
    return { file: path.join(ground.folder, String(name)), open: () => ground.page() };
  }

  it("that is damaged in its middle says that the job is incomplete", async () => {
    const { file, open } = await written();
    const journal = await open();
    for (let n = 1; n <= 3; n++) await journal.write(numbered(n));
    const bytes = await readFile(file);
    const middle = bytes.length >> 1;
    bytes[middle] = (bytes[middle] ?? 0) ^ 1;
    await writeFile(file, bytes);
    expect(await (await open()).open(jobOf("a"))).toMatchObject({ incomplete: true });
  });

  it("that is somebody else's says so, and is ours from the first write on", async () => {
    const { file, open } = await written();
    await writeFile(file, "name,email\nAda,ada@example.com\n".repeat(10));
    const journal = await open();
    expect(await journal.open(jobOf("a"))).toEqual(jobOf("a", { incomplete: true }));
    expect(journal.damaged).not.toBeNull();
    await journal.write({ segments: [segmentOf("a", 0, [1])], job: jobOf("a") });
    const next = await open();
    expect(await next.open(jobOf("a"))).toEqual(jobOf("a", { incomplete: true }));
    expect(await all(next.segments("a"))).toEqual([segmentOf("a", 0, [1])]);
    await next.write({ job: jobOf("a", { incomplete: false }) });
    expect(await (await open()).open(jobOf("a"))).toEqual(jobOf("a"));
  });

  it("is written anew when most of it is stale", async () => {
    const { file, open } = await written();
    const journal = await open();
    await journal.open(jobOf("a"));
    const hashes = new Uint32Array(8_192).fill(7);
    await journal.write({ segments: [{ ...segmentOf("a", 0, [1]), hashes }], notes: [noteOf("a", 5)] });
    let most = 0;
    for (let n = 1; n <= 1_500; n++) {
      const writing = journal.write({ segments: [segmentOf("a", 0, [n & 3])] });
      if (n % 3 === 0) await writing;
      if (n % 50 === 0) most = Math.max(most, (await readFile(file)).length);
    }
    await journal.write({ segments: [segmentOf("a", 0, [2])] });
    expect(most).toBeLessThan(1.1 * 2 ** 20);
    const next = await open();
    expect(await next.open(jobOf("a"))).toEqual(jobOf("a"));
    expect(await all(next.segments("a"))).toEqual([{ ...segmentOf("a", 0, [2]), hashes }]);
    expect(await all(next.notes("a"))).toEqual([noteOf("a", 5)]);
  });

  it("that has no place is told, and the import goes on", async () => {
    const ground = await folder();
    const store = fileStore(path.join(ground.folder, "file", "below"));
    await writeFile(path.join(ground.folder, "file"), "");
    const journal = await ground.page({ store });
    expect(ground.told).toEqual([journal.degraded]);
    expect(await journal.open(jobOf("a"))).toBeNull();
    expect(journal.kind).toBe("memory");
  });
});
