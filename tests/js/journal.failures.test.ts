import "fake-indexeddb/auto";
import { forceCloseDatabase } from "fake-indexeddb";
import { deleteDB, openDB } from "idb";
import { afterEach, describe, expect, it, vi } from "vitest";
import { indexedDbStore, type UpgradeStep } from "../../js/import/journal/indexeddb.ts";
import { suspect } from "../../js/import/journal/store.ts";
import { type JobRecord, openJournal } from "../../js/import/journal.ts";
import { ManualHost } from "../../js/testing.ts";
import { all, browser, COUNTS, cleared, duplicatesOf, jobOf, noteOf, segmentOf } from "./support/journal.ts";

const NAME = "tidegate-import";
const PLACE = ["https://a.example", "contacts"] as const;

afterEach(async () => {
  vi.restoreAllMocks();
  await cleared();
  vi.unstubAllGlobals();
});

/** From now on the storage takes only what needs no room. Returns the way to end that. */
function fill(): () => void {
  const put = vi.spyOn(IDBObjectStore.prototype, "put").mockImplementation(function (this: IDBObjectStore) {
    this.transaction.abort();
    throw new DOMException("full", "QuotaExceededError");
  });
  return () => put.mockRestore();
}

/** What somebody else does to the database. */
async function meddle(
  act: (database: Awaited<ReturnType<typeof openDB>>) => Promise<unknown>,
): Promise<void> {
  const database = await openDB(NAME);
  await act(database);
  database.close();
}

describe("a storage that is full", () => {
  it("is told once, and all goes on in memory, before what lies on disk", async () => {
    const ground = browser();
    const journal = await ground.page();
    await journal.open(jobOf("a"));
    const hashes = Uint32Array.of(1, 1, 2, 2);
    const duplicates = duplicatesOf(1);
    await journal.write({
      segments: [{ ...segmentOf("a", 0, [2, 1]), hashes }, segmentOf("a", 2, [3])],
      notes: [noteOf("a", 1), noteOf("a", 8_192)],
    });
    fill();
    await journal.write({
      segments: [{ ...segmentOf("a", 0, [2, 2]), duplicates }, segmentOf("a", 1, [1])],
    });
    await journal.write({ notes: [noteOf("a", 1, { outcome: "unknown" }), noteOf("a", 5_000)] });
    expect(ground.told).toEqual([journal.degraded]);
    expect(journal.degraded).toMatch(/^The browser's storage is full\. .*while this page is open\.$/);
    expect(journal.kind).toBe("memory");
    expect(await all(journal.segments("a"))).toEqual([
      { ...segmentOf("a", 0, [2, 2]), duplicates, hashes },
      segmentOf("a", 1, [1]),
      segmentOf("a", 2, [3]),
    ]);
    expect(await all(journal.notes("a"))).toEqual([
      noteOf("a", 1, { outcome: "unknown" }),
      noteOf("a", 5_000),
      noteOf("a", 8_192),
    ]);
    await journal.write({ job: jobOf("a", { updatedAt: 9 }) });
    expect((await journal.list()).map(({ id, updatedAt }) => [id, updatedAt])).toEqual([["a", 9]]);
  });

  it("tells the next page that the job is incomplete, until that is settled", async () => {
    const ground = browser();
    const first = await ground.page();
    await first.open(jobOf("a"));
    await first.write({ segments: [segmentOf("a", 0, [2])] });
    const empty = fill();
    await first.write({ segments: [segmentOf("a", 0, [2, 2])] });
    await first.close();
    empty();
    const second = await ground.page();
    expect(await second.open(jobOf("a"))).toEqual(jobOf("a", { incomplete: true }));
    expect(await all(second.segments("a"))).toEqual([segmentOf("a", 0, [2])]);
    await second.write({ job: jobOf("a", { incomplete: true }) });
    expect(await (await ground.page()).open(jobOf("a"))).toMatchObject({ incomplete: true });
    await second.write({
      job: jobOf("a", { incomplete: false }),
      segments: [segmentOf("a", 0, [2, 1, 1, 1])],
    });
    expect(await (await ground.page()).open(jobOf("a"))).toEqual(jobOf("a"));
  });

  it("says of a job that it finds on such a disk that it is incomplete", async () => {
    const ground = browser();
    const first = await ground.page();
    await first.open(jobOf("a"));
    await first.write({ segments: [segmentOf("a", 0, [2])] });
    fill();
    const second = await ground.page();
    expect(await second.open(jobOf("new"))).toBeNull();
    expect(await second.open(jobOf("a"))).toMatchObject({ incomplete: true });
    await second.write({ segments: [segmentOf("a", 0, [2, 1])] });
    expect(await all(second.segments("a"))).toEqual([segmentOf("a", 0, [2, 1])]);
    expect(await (await ground.page()).open(jobOf("a"))).toMatchObject({ incomplete: true });
  });

  it("lets go of a job that is finished all the same", async () => {
    const ground = browser();
    const first = await ground.page();
    await first.open(jobOf("a"));
    const empty = fill();
    await first.write({ segments: [{ ...segmentOf("a", 0, [2]), hashes: Uint32Array.of(1, 2) }] });
    await first.finish("a");
    expect(await all(first.knownKeys(...PLACE))).toEqual([Uint32Array.of(1, 2)]);
    empty();
    expect(await (await ground.page()).list()).toEqual([]);
  });

  it("is told although the listener fails", async () => {
    const journal = await openJournal({
      host: new ManualHost(),
      store: () => Promise.reject(new Error("No.")),
      onDegraded: () => {
        throw new Error("the listener's own");
      },
    });
    expect(journal.degraded).toMatch(/^No\. /);
  });
});

describe("a browser without a database", () => {
  const refusals: Record<string, [() => void, RegExp]> = {
    "that has none": [() => vi.stubGlobal("indexedDB", undefined), /no IndexedDB/],
    "in private mode": [() => failOpening("InvalidStateError"), /does not let this page/],
    "that forbids it": [() => failOpening("SecurityError"), /does not allow/],
    "whose files are damaged": [() => failOpening("UnknownError"), /is damaged/],
  };

  function failOpening(name: string): void {
    vi.spyOn(IDBFactory.prototype, "open").mockImplementation(() => {
      throw new DOMException("", name);
    });
  }

  it.each(Object.entries(refusals))(
    "%s is worth a word, and a journal in memory",
    async (_name, [refuse, words]) => {
      const ground = browser();
      refuse();
      const journal = await ground.page();
      expect(ground.told).toEqual([expect.stringMatching(words)]);
      expect(await journal.open(jobOf("a"))).toBeNull();
      await journal.write({ segments: [segmentOf("a", 0, [1])] }, { strict: true });
      expect(await all(journal.segments("a"))).toEqual([segmentOf("a", 0, [1])]);
      const claim = await journal.claim("a");
      expect(await journal.claim("a")).toBeNull();
      await claim?.release();
      expect(await journal.claim("a")).not.toBeNull();
      await journal.close();
    },
  );
});

describe("versions of the database", () => {
  const first: UpgradeStep = (database) => void database.createObjectStore("old").put("kept", "key");
  const more: UpgradeStep = (_database, transaction) =>
    void transaction.objectStore("old").put("new", "later");

  async function opened(steps: readonly UpgradeStep[], host = new ManualHost()) {
    return indexedDbStore({ name: "versions", steps })(host as never, () => {});
  }

  it("lead from one to the next, each step once, and keep what is there", async () => {
    browser();
    const host = { wall: Date.now, sleep: () => new Promise<void>(() => {}) };
    const seen: string[] = [];
    const steps = [first, more].map(
      (step, i): UpgradeStep =>
        (...args) => {
          seen.push(`from ${i}`);
          step(...args);
        },
    );
    await (await opened(steps.slice(0, 1), host as never)).close();
    await (await opened(steps, host as never)).close();
    expect(seen).toEqual(["from 0", "from 1"]);
    const database = await openDB("versions");
    expect([database.version, await database.getAll("old")]).toEqual([2, ["kept", "new"]]);
    database.close();
  });

  it("that are newer than this one are left alone", async () => {
    const ground = browser();
    (await openDB(NAME, 7)).close();
    expect((await ground.page()).degraded).toMatch(/newer version/);
    expect((await openDB(NAME)).version).toBe(7);
  });

  it("give way to a newer page, and say so, with the mark on disk", async () => {
    const ground = browser();
    const old = await ground.page();
    await old.open(jobOf("a"));
    await old.write({ segments: [segmentOf("a", 0, [2])] });
    const newer = await openDB(NAME, 2);
    expect(await newer.getAllKeys("whole")).toEqual([]);
    newer.close();
    expect(ground.told).toEqual([expect.stringMatching(/Another tab/)]);
    await old.write({ segments: [segmentOf("a", 1, [1])] });
    await expect(all(old.segments("a"))).rejects.toThrow("cannot be read any more");
    expect(await all(old.knownKeys(...PLACE))).toEqual([]);
  });

  it("that another tab does not let go of are waited for ten seconds, and then not held up", async () => {
    const ground = browser();
    const holder = await openDB(NAME, 1, { upgrade: () => {} });
    const longer: UpgradeStep[] = [() => {}, () => {}];
    const opening = ground.page({ store: indexedDbStore({ steps: longer }) });
    await vi.waitFor(() => expect(ground.host.sleeping).toBe(1));
    // The request has to have met the other tab before the time is up.
    await new Promise((resolve) => setTimeout(resolve, 20));
    await ground.host.advance(10_000);
    expect((await opening).degraded).toMatch(/older version of this page/);
    holder.close();
    await deleteDB(NAME);
    expect(ground.told).toHaveLength(1);
  });
});

describe("a database that goes away underneath", () => {
  it("by deletion is not waited for", async () => {
    const ground = browser();
    const journal = await ground.page();
    await journal.open(jobOf("a"));
    await deleteDB(NAME);
    await journal.write({ segments: [segmentOf("a", 0, [1])], job: jobOf("a") });
    expect(ground.told).toEqual([expect.stringMatching(/deleted/)]);
    expect((await journal.list()).map(({ id }) => id)).toEqual(["a"]);
    await journal.finish("a");
    await expect(journal.forget("a")).rejects.toThrow();
  });

  it("by the browser's hand is told at once", async () => {
    let database: IDBDatabase | undefined;
    const ground = browser();
    const { open } = IDBFactory.prototype;
    vi.spyOn(IDBFactory.prototype, "open").mockImplementation(function (this: IDBFactory, ...args) {
      const request = open.apply(this, args);
      request.addEventListener("success", () => {
        database = request.result;
      });
      return request;
    });
    const journal = await ground.page();
    forceCloseDatabase(database as never);
    expect(ground.told).toEqual([expect.stringMatching(/has closed/)]);
    expect(await journal.open(jobOf("a"))).toBeNull();
  });

  it("in the middle of a write loses none of what waits", async () => {
    const ground = browser();
    const journal = await ground.page();
    await journal.open(jobOf("a"));
    const { transaction } = IDBDatabase.prototype;
    vi.spyOn(IDBDatabase.prototype, "transaction").mockImplementation(function (this: IDBDatabase, ...args) {
      const begun = transaction.apply(this, args);
      // After the requests were made.
      Promise.resolve().then(() => begun.abort());
      return begun;
    });
    await Promise.all([0, 1, 2].map((index) => journal.write({ segments: [segmentOf("a", index, [1])] })));
    vi.restoreAllMocks();
    expect((await all(journal.segments("a"))).map(({ index }) => index)).toEqual([0, 1, 2]);
    expect(ground.told).toHaveLength(1);
  });
});

describe("records that are not ours", () => {
  it("make rows count as sent, not as untouched, and are told once", async () => {
    const ground = browser();
    const first = await ground.page();
    await first.open(jobOf("a"));
    await first.write({
      segments: [0, 1, 2].map((index) => segmentOf("a", index, [2])),
      notes: [noteOf("a", 0), noteOf("a", 1)],
    });
    await first.close();
    await meddle(async (database) => {
      await database.put("segments", "nonsense", ["a", 1]);
      await database.put("segments", new Uint8Array(3), ["a", 2]);
      await database.put("hashes", [1, 2], ["a", 0]);
      await database.put("notes", { job: "a", index: 0 }, ["a", 0]);
    });
    const journal = await ground.page();
    expect(await journal.open(jobOf("a"))).toEqual(jobOf("a"));
    expect(await all(journal.segments("a"))).toEqual([
      segmentOf("a", 0, [2]),
      suspect("a", 1),
      segmentOf(
        "a",
        2,
        Array.from({ length: 4_096 }, () => 1),
      ),
    ]);
    expect(await all(journal.notes("a"))).toEqual([noteOf("a", 1)]);
    expect(ground.told).toEqual([journal.damaged]);
    expect([journal.degraded, journal.kind]).toEqual([null, "indexeddb"]);
  });

  it("are told from those of before duplicates were kept by their length", async () => {
    const ground = browser();
    const first = await ground.page();
    await first.open(jobOf("a"));
    await first.write({ segments: [0, 1].map((index) => segmentOf("a", index, [2])) });
    await first.close();
    const older = new Uint8Array(1_024).fill(0b10_10_10_10);
    await meddle(async (database) => {
      expect(await database.get("segments", ["a", 0])).toHaveLength(1_024);
      await database.put("segments", older, ["a", 0]);
      await database.put("segments", new Uint8Array(1_024 + 511), ["a", 1]);
    });
    const journal = await ground.page();
    await journal.open(jobOf("a"));
    expect(await all(journal.segments("a"))).toEqual([{ job: "a", index: 0, bits: older }, suspect("a", 1)]);
  });

  const nonsense: Record<string, unknown> = {
    "a job of another version": { ...jobOf("a"), version: 2 },
    "a job under another's id": jobOf("b"),
    "a job with counts that are none": jobOf("a", { counts: { ...COUNTS, failed: -1 } }),
    "a job without a state": jobOf("a", { state: undefined as unknown as JobRecord["state"] }),
    "a word": "job",
  };

  it.each(Object.entries(nonsense))("%s says that there was one", async (_name, record) => {
    const ground = browser();
    await (await ground.page()).close();
    await meddle((database) => database.put("jobs", record, "a"));
    const journal = await ground.page();
    expect((await journal.list()).filter(({ id }) => id === "a")).toEqual([]);
    expect(await journal.open(jobOf("a"))).toEqual(jobOf("a", { incomplete: true }));
    expect(journal.damaged).not.toBeNull();
  });

  it("among the hashes are left out", async () => {
    const ground = browser();
    await (await ground.page()).close();
    const [origin, table] = PLACE;
    await meddle((database) => database.put("known", { origin, table, at: Date.now(), hashes: "none" }));
    const journal = await ground.page();
    expect(await all(journal.knownKeys(...PLACE))).toEqual([]);
    expect(journal.damaged).not.toBeNull();
  });

  it("in a database of our name that has nothing of ours are left alone", async () => {
    const ground = browser();
    (await openDB(NAME, 1, { upgrade: (database) => void database.createObjectStore("theirs") })).close();
    expect((await ground.page()).degraded).toMatch(/not one of ours/);
    await meddle(async (database) => expect([...database.objectStoreNames]).toEqual(["theirs"]));
  });
});

describe("transactions", () => {
  it("are one at a time, each with all that waits, strict if any of it is", async () => {
    const ground = browser();
    const journal = await ground.page();
    await journal.open(jobOf("a"));
    const { transaction } = IDBDatabase.prototype;
    const begun: string[] = [];
    let running = 0;
    vi.spyOn(IDBDatabase.prototype, "transaction").mockImplementation(function (
      this: IDBDatabase,
      names,
      mode,
      options,
    ) {
      begun.push(String(options?.durability));
      expect(++running).toBe(1);
      const made = transaction.call(this, names, mode, options);
      made.addEventListener("complete", () => running--);
      return made;
    });
    const writes = [journal.write({ segments: [segmentOf("a", 0, [1])] })];
    // The first one is on its way by then.
    await vi.waitFor(() => expect(begun).toHaveLength(1));
    for (let i = 1; i < 100; i++) {
      writes.push(journal.write({ segments: [segmentOf("a", i, [1])] }, { strict: i === 50 }));
    }
    await Promise.all(writes);
    expect(begun).toEqual(["relaxed", "strict"]);
    vi.restoreAllMocks();
    expect(await all(journal.segments("a"))).toHaveLength(100);
  });

  it("have completed when a write resolves", async () => {
    const ground = browser();
    const journal = await ground.page();
    await journal.open(jobOf("a"));
    await journal.write({ segments: [segmentOf("a", 0, [1])] }, { strict: true });
    expect(await all((await ground.page()).segments("a"))).toEqual([segmentOf("a", 0, [1])]);
  });
});
