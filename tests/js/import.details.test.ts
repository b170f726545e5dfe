/** What is easily changed in an import without anybody noticing. */

import { describe, expect, it } from "vitest";
import type { DeskConfig } from "../../js/import/desk.ts";
import { MemoryStore } from "../../js/import/journal/memory.ts";
import type { Change } from "../../js/import/journal/store.ts";
import { plainDesk } from "../../js/import/plain-desk.ts";
import { createImport, type ImportJob, type ImportOptions } from "../../js/import.ts";
import { RateLimitConfigError } from "../../js/index.ts";
import { type Person, people, refusal, Server, type ServerOptions, VirtualHost } from "./support/import.ts";

function set(options: ServerOptions = {}) {
  const host = new VirtualHost();
  const server = new Server(host, options);
  const begin = (more: Partial<ImportOptions<Person>> = {}): ImportJob<Person> =>
    createImport({
      rows: people(20),
      send: server.sender(),
      key: ({ email }) => email,
      checkpoint: false,
      host,
      ...more,
    });
  return { host, server, begin };
}

/** A store in memory that notes which writes had to be on the disk before anybody went on. */
class Noted extends MemoryStore {
  readonly strict: boolean[] = [];

  override write(changes: readonly Change[], strict = false): Promise<void> {
    this.strict.push(strict);
    return super.write(changes);
  }
}

describe("the journal of an import", () => {
  it("is written at leisure where sending twice is sending once", async () => {
    const { host, begin } = set();
    const store = new Noted();
    await host.drive(begin({ checkpoint: async () => store }).start());
    expect(store.strict.length).toBeGreaterThan(0);
    expect(new Set(store.strict)).toEqual(new Set([false]));
  });

  it("is on the disk before anything is sent where it is not", async () => {
    const { host, server, begin } = set();
    const store = new Noted();
    const creator = server.creator();
    const before: number[] = [];
    const send = Object.assign((batch: Parameters<typeof creator>[0]) => {
      before.push(store.strict.filter(Boolean).length);
      return creator(batch);
    }, creator);
    await host.drive(begin({ rows: people(3), send, checkpoint: async () => store }).start());
    expect(before[0]).toBeGreaterThan(0);
  });

  it("knows every row that an earlier import brought there", async () => {
    const { host, server, begin } = set();
    const store = new MemoryStore();
    const more = { send: server.creator({ verifies: false }), checkpoint: async () => store };
    await host.drive(begin({ ...more, rows: people(20) }).start());
    const report = await host.drive(begin({ ...more, rows: people(25) }).start());
    expect(report).toMatchObject({ duplicate: 20, imported: 5 });
    expect(server.rows).toBe(25);
  });
});

describe("the report", () => {
  it("counts no row that was refused for its content as one that was sent again", async () => {
    const refuses = ({ email }: Person) => (email.startsWith("p3@") ? "no such company" : undefined);
    const { host, begin } = set({ refuses });
    const report = await host.drive(begin({ batchSize: 1 }).start());
    expect(report).toMatchObject({ imported: 19, failed: 1, retries: 0 });
  });

  it("says what the server said when it fails for minutes", async () => {
    const { host, begin } = set({ answers: () => refusal(503, "The database is full of bees") });
    const report = await host.drive(
      begin({ batchSize: 1, stopWhen: { failedRatio: 0.5, after: 200 } }).start(),
    );
    expect(report.stopped?.reason).toBe("trouble");
    expect(report.stopped?.message).toContain("The database is full of bees");
  });

  it("says that it was cancelled before anything was sent", async () => {
    const { host, begin } = set();
    const job = begin();
    job.cancel();
    const { stopped } = await host.drive(job.start());
    expect(stopped).toEqual({ reason: "cancelled", message: "Cancelled. Nothing was sent." });
  });
});

describe("the progress", () => {
  it("knows the total of a stream when it is read", async () => {
    const { host, begin } = set();
    const rows = (async function* () {
      yield* people(3_000);
    })();
    const job = begin({ rows, id: "stream", batchSize: 1 });
    const known: boolean[] = [];
    job.on("row", () => known.push(job.progress.isTotalKnown));
    await host.drive(job.start());
    expect([known[0], known.at(-1)]).toEqual([false, true]);
    expect(job.progress).toMatchObject({ total: 3_000, isTotalKnown: true });
  });

  it("tells a shorter time by the better of two paces, and a longer by the worse", () => {
    const config: DeskConfig = {
      ...{ idempotent: true, verifies: true, batch: { fixed: 1 }, maxInFlight: 1, maxRate: null },
      ...{ stopWhen: null, known: null },
    };
    const desk = plainDesk(config);
    desk.add(1_000);
    desk.close();
    let now = 1_000;
    // Slow at first: the pace of late is ten times that of the whole.
    for (let row = 0; row < 150; row++) {
      let step = desk.next(now);
      for (; step.do === "wait"; step = desk.next(now)) now = step.until ?? now;
      if (step.do !== "send") throw new Error(`${step.do} is to be done`);
      now += row < 20 ? 10_000 : 100;
      desk.answered(now, step.batch, 100);
      for (const index of step.rows) desk.settle(now, index, "imported");
    }
    const [soonest, latest] = desk.progress(now).etaMs ?? [0, 0];
    expect(latest).toBeGreaterThan(5 * soonest);
  });
});

describe("an option", () => {
  it.each([0, -1, Number.NaN, 100_001])("rate: %d is none", (rate) => {
    expect(() => set().begin({ rate })).toThrow(RateLimitConfigError);
  });

  it("batchSize: `auto` finds out how much is taken at a time where the sender does not say", async () => {
    const { host, server, begin } = set();
    const { idempotent, table, origin, ...rest } = server.sender();
    const sizes: number[] = [];
    const send = Object.assign(
      (batch: Parameters<ReturnType<Server["sender"]>>[0]) => {
        sizes.push(batch.items.length);
        return server.sender()(batch);
      },
      { idempotent, table, origin },
    );
    expect(rest).toHaveProperty("maxBatch");
    const report = await host.drive(begin({ rows: people(2_000), send, batchSize: "auto" }).start());
    expect(report.imported).toBe(2_000);
    expect(Math.max(...sizes)).toBeGreaterThan(1);
  });

  it("send: without an origin and a table it is one that has them empty", async () => {
    const { host, server, begin } = set();
    const { origin: _origin, table: _table, idempotent } = server.sender();
    const bare = () => Object.assign(server.sender().bind(null), { idempotent });
    const ids = [bare(), Object.assign(bare(), { origin: "", table: "" })].map(async (send) => {
      const job = begin({ send });
      await host.drive(job.start());
      return job.id;
    });
    expect(await ids[0]).toBe(await ids[1]);
  });
});
