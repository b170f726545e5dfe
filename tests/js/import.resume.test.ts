import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { plainAlarm } from "../../js/host.ts";
import { MemoryStore } from "../../js/import/journal/memory.ts";
import type { JobRecord } from "../../js/import/journal.ts";
import {
  createImport,
  findImports,
  forgetImport,
  type ImportBatch,
  type ImportJob,
  type ImportOptions,
  normalisedEmail,
} from "../../js/import.ts";
import { fileStore } from "../../js/import-node.ts";
import { type Person, people, Server, type ServerOptions, VirtualHost } from "./support/import.ts";

const quiet = { debug() {}, info() {}, warn() {}, error() {} };

let folder: string;
let checkpoint: ReturnType<typeof fileStore>;

beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), "tidegate-import-"));
  checkpoint = fileStore(folder);
});

afterEach(() => rm(folder, { recursive: true, force: true }));

/** A page: it has its own clock, and can be closed at any moment. */
class Page {
  readonly host: VirtualHost;
  constructor(seed: number, startMs = 0) {
    this.host = new VirtualHost(seed);
    this.host.jump(startMs);
  }

  import(server: Server, more: Partial<ImportOptions<Person>> = {}): ImportJob<Person> {
    return createImport({
      rows: people(300),
      send: server.sender(),
      key: ({ email }) => normalisedEmail(email),
      name: "contacts.csv",
      checkpoint,
      logger: quiet,
      host: this.host,
      ...more,
    });
  }

  /** Works until so many rows are there, and is then never heard of again. */
  async closeAfter(job: ImportJob<Person>, rows: number): Promise<void> {
    job.start().catch(() => {});
    await this.host.until(() => job.progress.total > 0);
    while (job.progress.total - job.progress.pending < rows) await this.host.advance(20);
    // The disk works in real time, in which all of this took none.
    for (let look = 0; look < 5; look++) {
      await new Promise((resolve) => setTimeout(resolve, 20));
      await this.host.advance(5);
    }
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

function set(seed: number, options: ServerOptions = {}) {
  const page = new Page(seed);
  const server = new Server(page.host, options);
  return { page, server };
}

/** The same server, seen by a page that was opened an hour later. */
function later(server: Server, seed: number): { page: Page; server: Server } {
  const page = new Page(seed + 1_000, 3_600_000);
  server.moveTo(page.host);
  return { page, server };
}

describe("an import that was interrupted", () => {
  it.each([1, 2, 3, 4, 5, 6])(
    "goes on with the same rows, and nobody is there twice (seed %i)",
    async (seed) => {
      const { page, server } = set(seed, { rate: 20, lossRatio: 0.02 });
      await page.closeAfter(page.import(server, { batchSize: 5 }), 20 + 37 * seed);
      const before = server.rows;
      expect(before).toBeLessThan(300);
      const { page: next } = later(server, seed);
      const [found] = await findImports({ checkpoint });
      expect(found).toMatchObject({ name: "contacts.csv", total: 300 });
      expect(found?.done).toBeGreaterThan(0);
      const job = next.import(server, { batchSize: 5 });
      const report = await next.host.drive(job.start());
      expect(report.imported).toBe(300);
      expect(job.id).toBe(found?.id);
      expect(server.rows).toBe(300);
      expect(await findImports({ checkpoint })).toEqual([]);
    },
  );

  it.each([1, 2, 3, 4, 5, 6])("with create and a lookup, too (seed %i)", async (seed) => {
    const { page, server } = set(seed, { rate: 20, lossRatio: 0.02 });
    await page.closeAfter(page.import(server, { send: server.creator() }), 20 + 37 * seed);
    const { page: next } = later(server, seed);
    const report = await next.host.drive(next.import(server, { send: server.creator() }).start());
    expect([report.imported, server.rows, server.people]).toEqual([300, 300, 300]);
  });

  it("remembers which rows were duplicates, and what failed with which words", async () => {
    const { page, server } = set(1, {
      rate: 20,
      refuses: ({ email }) => (email === "p3@example.com" ? "no" : undefined),
    });
    await page.host.drive(page.import(server, { rows: people(2), checkpoint: false }).start());
    await page.closeAfter(page.import(server, { batchSize: 1 }), 60);
    const { page: next } = later(server, 1);
    const report = await next.host.drive(next.import(server, { batchSize: 1 }).start());
    expect(report.imported + report.duplicate).toBe(299);
    expect(report.duplicate).toBeLessThan(10);
    const duplicates = report.rows({ outcome: "duplicate" }).map(({ index }) => index);
    expect(duplicates.slice(0, 2)).toEqual([0, 1]);
    expect(report.rows({ outcome: "failed" })).toMatchObject([
      { index: 3, message: "no", key: "p3@example.com" },
    ]);
  });

  it("plans with what is done already", async () => {
    const { page, server } = set(1, { rate: 20 });
    await page.closeAfter(page.import(server, { batchSize: 1 }), 100);
    const { page: next } = later(server, 1);
    const plan = await next.host.drive(next.import(server).plan());
    expect(plan.alreadyImported).toBeGreaterThanOrEqual(90);
    expect(plan.fresh + plan.alreadyImported).toBe(300);
  });

  it("gives a corrected row another chance, and leaves alone what is there", async () => {
    const refuses = ({ name }: Person) => (name === "Person 3" ? "no" : undefined);
    const { page, server } = set(1, { rate: 20, refuses });
    await page.closeAfter(page.import(server, { batchSize: 1 }), 60);
    const { page: next } = later(server, 1);
    const rows = people(300).map((row) => (row.name === "Person 3" ? { ...row, name: "Corrected" } : row));
    const report = await next.host.drive(next.import(server, { batchSize: 1, rows }).start());
    expect(report.failed).toBe(0);
    expect(report.imported + report.duplicate).toBe(300);
    expect(server.rows).toBe(300);
  });

  it("never sends again what was on its way, wherever it stands in the file by now", async () => {
    const { page, server } = set(1, { rate: 20 });
    const send = server.creator({ verifies: false });
    const neverAnswers = Object.assign(
      async (batch: ImportBatch<Person>) => {
        const answer = await send(batch);
        return server.rows < 20 ? answer : new Promise<never>(() => {});
      },
      { origin: send.origin, table: send.table },
    );
    const id = "contacts";
    await page.closeAfter(page.import(server, { send: neverAnswers, id, rows: people(100) }), 10);
    const { page: next } = later(server, 1);
    const rows = [...people(3, 500), ...people(100)];
    const report = await next.host.drive(next.import(server, { send, id, rows }).start());
    expect(report.unknown).toBeGreaterThan(0);
    expect(report.imported + report.duplicate + report.unknown).toBe(103);
    expect(server.rows).toBe(server.people);
  });

  it("sends a row that failed and was corrected also where nobody can look it up", async () => {
    const refuses = ({ name }: Person) => (name === "Person 3" ? "no" : undefined);
    const { page, server } = set(1, { rate: 20, refuses });
    const send = server.creator({ verifies: false });
    await page.closeAfter(page.import(server, { send, id: "contacts" }), 60);
    const { page: next } = later(server, 1);
    const rows = people(300).map((row) => (row.name === "Person 3" ? { ...row, name: "Corrected" } : row));
    await next.host.drive(next.import(server, { send, id: "contacts", rows }).start());
    expect(server.copies.get("p3@example.com")).toBe(1);
    expect(server.rows).toBe(server.people);
  });

  it("takes rows for sent of which the journal has lost the keys", async () => {
    const { page, server } = set(1, { rate: 20 });
    const store = new MemoryStore();
    const send = server.creator({ verifies: false });
    const job = page.import(server, { send, checkpoint: async () => store });
    await page.closeAfter(job, 60);
    for await (const { index } of store.segments(job.id)) {
      const damaged = { job: job.id, index, bits: new Uint8Array(1_024).fill(0b01_01_01_01) };
      const record = (await store.find(job.id))?.record as JobRecord;
      await store.create(record);
      await store.write([{ job: job.id, segments: new Map([[index, damaged]]), notes: new Map() }]);
    }
    const { page: next } = later(server, 1);
    const report = await next.host.drive(
      next.import(server, { send, checkpoint: async () => store }).start(),
    );
    expect(report.unknown).toBe(300);
    expect(server.rows).toBe(server.people);
  });

  it("is forgotten when it is told to be", async () => {
    const { page, server } = set(1, { rate: 20 });
    await page.closeAfter(page.import(server, { batchSize: 1 }), 10);
    const [found] = await findImports({ checkpoint });
    await forgetImport(found?.id ?? "", { checkpoint });
    expect(await findImports({ checkpoint })).toEqual([]);
  });
});

describe("a file that comes again", () => {
  it("finds its people, through a sender that is not idempotent, too", async () => {
    const { page, server } = set(1);
    await page.host.drive(page.import(server, { rows: people(50), send: server.creator() }).start());
    const { page: next } = later(server, 1);
    const job = next.import(server, { rows: people(60), send: server.creator() });
    expect(await next.host.drive(job.plan())).toMatchObject({ total: 60, fresh: 10, alreadyImported: 50 });
    const report = await next.host.drive(job.start());
    expect(report).toMatchObject({ imported: 10, duplicate: 50 });
    expect(server.rows).toBe(60);
  });

  it("brings back who was deleted in the meantime, because it asks", async () => {
    const { page, server } = set(1);
    await page.host.drive(page.import(server, { rows: people(50), send: server.creator() }).start());
    server.copies.delete("p7@example.com");
    const { page: next } = later(server, 1);
    const report = await next.host.drive(
      next.import(server, { rows: people(50), send: server.creator() }).start(),
    );
    expect(report).toMatchObject({ imported: 1, duplicate: 49 });
    expect(server.rows).toBe(50);
  });

  it("was not sent where it was cancelled before anybody had asked", async () => {
    const { page, server } = set(1, { rate: 20 });
    await page.host.drive(page.import(server, { rows: people(100), send: server.creator() }).start());
    const { page: next } = later(server, 1);
    const job = next.import(server, { rows: people(120), send: server.creator() });
    const running = job.start();
    await next.host.until(() => job.progress.total > 0);
    await next.host.advance(1_000);
    job.cancel();
    const report = await next.host.drive(running);
    expect(report.unknown).toBe(0);
    expect(report.skipped).toBeGreaterThan(50);
    expect(server.rows).toBe(server.people);
  });

  it("asks nobody with known: skip", async () => {
    const { page, server } = set(1);
    await page.host.drive(page.import(server, { rows: people(50), send: server.creator() }).start());
    const { page: next } = later(server, 1);
    const requests = server.requests;
    const rows = people(50);
    const report = await next.host.drive(
      next.import(server, { rows, send: server.creator(), known: "skip" }).start(),
    );
    expect(report).toMatchObject({ imported: 0, duplicate: 50 });
    expect(server.requests).toBe(requests);
  });
});

describe("rows that can be read only once", () => {
  async function* stream(count: number) {
    yield* people(count);
  }

  it("are imported as they come", async () => {
    const { page, server } = set(1, { rate: 50 });
    const job = page.import(server, { rows: stream(300), batchSize: 10 });
    await expect(page.host.drive(job.plan())).rejects.toMatchObject({ code: "IMPORT_SOURCE_USED" });
    const report = await page.host.drive(job.start());
    expect(report).toMatchObject({ total: 300, imported: 300 });
    expect(await findImports({ checkpoint })).toEqual([]);
  });

  it("go on where they stopped when they have an id", async () => {
    const { page, server } = set(1, { rate: 20 });
    const id = "the stream of Tuesday";
    await page.closeAfter(page.import(server, { rows: stream(300), id, batchSize: 1 }), 100);
    const { page: next } = later(server, 1);
    const requests = server.requests;
    const report = await next.host.drive(
      next.import(server, { rows: stream(300), id, batchSize: 1 }).start(),
    );
    expect(report.imported + report.duplicate).toBe(300);
    expect(server.rows).toBe(300);
    expect(server.requests - requests).toBeLessThan(250);
  });

  it("end the import when they break off, and what was read is settled", async () => {
    const { page, server } = set(1, { rate: 50 });
    async function* broken() {
      yield* people(120);
      throw new Error("The disk is gone");
    }
    const report = await page.host.drive(page.import(server, { rows: broken(), batchSize: 10 }).start());
    expect(report.stopped).toMatchObject({ reason: "source" });
    expect(report.stopped?.message).toContain("The disk is gone");
    expect(report.imported + report.skipped).toBe(report.total);
    expect(server.rows).toBe(report.imported);
  });

  it("cannot be looked through first", async () => {
    const { page, server } = set(1);
    const job = page.import(server, { rows: stream(3), duplicates: "last" });
    await expect(page.host.drive(job.start())).rejects.toMatchObject({ code: "IMPORT_SOURCE_USED" });
  });
});

describe("two tabs", () => {
  it("never run the same import: the second one waits, and finds everything done", async () => {
    // In real time: beats are files, and in time that runs away from the disk whoever writes them is taken for dead.
    const host = Object.assign(new VirtualHost(1), {
      now: () => Date.now(),
      sleep: (ms: number, signal?: AbortSignal) => plainAlarm(ms, signal),
    });
    const server = new Server(host, { rate: 40, burst: 1, latencyMs: 20 });
    const begin = () => new Page(1).import(server, { rows: people(60), batchSize: 1, host });
    const [first, second] = [begin(), begin()];
    const one = first.start();
    await host.until(() => first.progress.requests > 0);
    const other = second.start();
    await vi.waitUntil(() => second.progress.waiting?.reason === "other-tab", { timeout: 10_000 });
    expect(second.progress.state).toBe("waiting");
    expect((await one).imported).toBe(60);
    const report = await other;
    expect(report.imported + report.duplicate).toBe(60);
    expect(server.rows).toBe(60);
  }, 30_000);
});
