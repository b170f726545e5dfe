import { afterEach, describe, expect, it, vi } from "vitest";
import { RateLimitConfigError } from "../../js/api.ts";
import {
  createImport,
  type ImportCounts,
  type ImportJob,
  type ImportOptions,
  type ImportProgress,
} from "../../js/import.ts";
import { RateLimitService } from "../../js/index.ts";
import { type Person, people, refusal, Server, type ServerOptions, VirtualHost } from "./support/import.ts";

const quiet = { debug() {}, info() {}, warn() {}, error() {} };

function set(options: ServerOptions = {}, seed = 1) {
  const host = new VirtualHost(seed);
  const server = new Server(host, options);
  const begin = (more: Partial<ImportOptions<Person>> = {}): ImportJob<Person> =>
    createImport({
      rows: people(300),
      send: server.sender(),
      key: ({ email }) => email,
      checkpoint: false,
      logger: quiet,
      host,
      ...more,
    });
  return { host, server, begin };
}

const outcomes = ({ imported, duplicate, failed, skipped, unknown }: ImportCounts) => ({
  imported,
  duplicate,
  failed,
  skipped,
  unknown,
});

const none = { imported: 0, duplicate: 0, failed: 0, skipped: 0, unknown: 0 };

describe("an import", () => {
  it("brings every row there once, behind a limit that nobody told it of", async () => {
    const { host, server, begin } = set({ rate: 20 });
    const report = await host.drive(begin({ batchSize: 1 }).start());
    expect(outcomes(report)).toEqual({ ...none, imported: 300 });
    expect(report).toMatchObject({ total: 300, stopped: null, storage: null });
    expect(server.rows).toBe(300);
    expect(report.throttled).toBe(server.refused);
    // 300 rows at 20 a second, of which 20 are there at once: 14 s is what the server allows.
    expect(report.durationMs).toBeLessThan(20_000);
    expect(server.refused).toBeLessThan(30);
  });

  it("sends batches where the sender takes them", async () => {
    const { host, server, begin } = set({ rate: 20 });
    const report = await host.drive(begin().start());
    expect(report.imported).toBe(300);
    expect(server.requests).toBeLessThan(60);
  });

  it("finds the one bad row of a batch, and imports the others", async () => {
    const { host, server, begin } = set({
      refuses: ({ email }) => (email === "p77@example.com" ? "violates check constraint" : undefined),
    });
    const report = await host.drive(begin({ batchSize: 50 }).start());
    expect(outcomes(report)).toEqual({ ...none, imported: 299, failed: 1 });
    expect(server.rows).toBe(299);
    const [row] = report.rows({ outcome: "failed" });
    expect(row).toMatchObject({
      index: 77,
      key: "p77@example.com",
      code: "23514",
      message: "violates check constraint",
    });
    expect(row?.row).toEqual({ email: "p77@example.com", name: "Person 77" });
  });

  it("finds duplicates in the file before it sends anything", async () => {
    const { host, server, begin } = set();
    const rows = [...people(10), ...people(5), ...people(3, 10)];
    const job = begin({ rows });
    expect(await host.drive(job.plan())).toEqual({
      total: 18,
      fresh: 13,
      duplicatesInFile: 5,
      invalid: 0,
      alreadyImported: 0,
    });
    expect(server.requests).toBe(0);
    const report = await host.drive(job.start());
    expect(outcomes(report)).toEqual({ ...none, imported: 13, duplicate: 5 });
    expect(server.people).toBe(13);
  });

  it("skips what validate finds something in, with its words", async () => {
    const { host, begin } = set();
    const validate = (row: Person) => (row.email.startsWith("p3@") ? "Nobody may be called p3." : undefined);
    const job = begin({ rows: people(5), validate });
    expect(await host.drive(job.plan())).toMatchObject({ total: 5, fresh: 4, invalid: 1 });
    const report = await host.drive(job.start());
    expect(outcomes(report)).toEqual({ ...none, imported: 4, skipped: 1 });
    expect(report.rows({ outcome: "skipped" })[0]).toMatchObject({
      index: 3,
      message: "Nobody may be called p3.",
      attempts: 0,
    });
  });

  it("counts a row that is no object as failed", async () => {
    const { host, begin } = set();
    const rows = [...people(2), null, "text", 7] as Person[];
    const report = await host.drive(begin({ rows, key: undefined }).start());
    expect(outcomes(report)).toEqual({ ...none, imported: 2, failed: 3 });
  });
});

describe("every row once, whatever is lost", () => {
  it.each([1, 2, 3, 4, 5])(
    "with an idempotent sender and 3 per cent of requests and answers lost (seed %i)",
    async (seed) => {
      const { host, server, begin } = set({ rate: 50, lossRatio: 0.06 }, seed);
      const report = await host.drive(begin({ rows: people(1_000), batchSize: 10 }).start());
      expect(outcomes(report)).toEqual({ ...none, imported: 1_000 });
      expect(server.rows).toBe(1_000);
      expect(report.retries).toBeGreaterThan(0);
    },
  );

  it.each([1, 2, 3, 4, 5])("with create and a lookup (seed %i)", async (seed) => {
    const { host, server, begin } = set({ rate: 50, lossRatio: 0.06 }, seed);
    const report = await host.drive(begin({ send: server.creator() }).start());
    expect(outcomes(report)).toEqual({ ...none, imported: 300 });
    expect(server.rows).toBe(300);
    expect(server.people).toBe(300);
  });

  it("ends as unknown what nobody can look up, and never sends it again", async () => {
    const { host, server, begin } = set({ lossRatio: 0.1 });
    const report = await host.drive(begin({ send: server.creator({ verifies: false }) }).start());
    expect(report.unknown).toBeGreaterThan(0);
    expect(report.imported + report.unknown).toBe(300);
    expect(Math.max(...server.copies.values())).toBe(1);
  });

  it("waits out a server that answers 503 for a while", async () => {
    const { host, server, begin } = set({
      answers: (_, now) =>
        now < Date.UTC(2026, 0, 1, 0, 0, 20) ? refusal(503, "Service Unavailable") : undefined,
    });
    const report = await host.drive(begin().start());
    expect(report.imported).toBe(300);
    expect(server.rows).toBe(300);
    expect(report.durationMs).toBeGreaterThan(19_000);
  });

  it("takes a row that was written before the answer failed for imported", async () => {
    const { host, server, begin } = set({
      answers: (requests) => (requests === 1 ? refusal(502, "Bad Gateway", { done: true }) : undefined),
    });
    const report = await host.drive(begin({ rows: people(5), batchSize: 5 }).start());
    expect(outcomes(report)).toEqual({ ...none, imported: 5 });
    expect(server.rows).toBe(5);
  });

  it("counts what the server had before as duplicate", async () => {
    const { host, server, begin } = set();
    await host.drive(begin({ rows: people(4) }).start());
    const report = await host.drive(begin({ rows: people(10) }).start());
    expect(outcomes(report)).toEqual({ ...none, imported: 6, duplicate: 4 });
    expect(server.rows).toBe(10);
  });
});

describe("an import ends early", () => {
  it("with one error for all when it may not write", async () => {
    const { host, server, begin } = set({ answers: () => refusal(401, "JWT expired", { code: "PGRST301" }) });
    const report = await host.drive(begin({ batchSize: 10 }).start());
    expect(outcomes(report)).toEqual({ ...none, skipped: 300 });
    expect(report.stopped).toMatchObject({ reason: "refused", status: 401, code: "PGRST301" });
    expect(report.stopped?.message).toContain("JWT expired");
    expect(server.requests).toBeLessThan(10);
  });

  it("when the first 200 of 200 failed", async () => {
    const { host, begin } = set({ refuses: () => "violates check constraint" });
    const report = await host.drive(begin({ batchSize: 1, rows: people(5_000) }).start());
    expect(report.stopped?.reason).toBe("failed-ratio");
    expect(report.stopped?.message).toContain("violates check constraint");
    expect(report.failed).toBeGreaterThanOrEqual(200);
    expect(report.failed).toBeLessThan(400);
    expect(report.failed + report.skipped).toBe(5_000);
  });

  it("when it is cancelled: what is on its way settles, nothing is left undecided", async () => {
    const { host, server, begin } = set({ rate: 20 });
    const job = begin({ batchSize: 1 });
    const running = job.start();
    await host.until(() => job.progress.total > 0);
    await host.advance(3_000);
    job.cancel();
    const report = await host.drive(running);
    expect(report.stopped?.reason).toBe("cancelled");
    expect(report.imported).toBe(server.rows);
    expect(report.imported + report.skipped).toBe(300);
    expect(job.progress).toMatchObject({ state: "cancelled", pending: 0, inFlight: 0 });
  });

  it("by the signal too, also before it began", async () => {
    const { host, server, begin } = set();
    const report = await host.drive(begin({ signal: AbortSignal.abort() }).start());
    expect(outcomes(report)).toEqual({ ...none, skipped: 300 });
    expect(server.requests).toBe(0);
  });
});

describe("a source that is another one the second time", () => {
  it("ends the import when rows are missing, and none is counted that is not there", async () => {
    const { host, server, begin } = set();
    let opened = 0;
    const rows = () => people(opened++ === 0 ? 50 : 30);
    const report = await host.drive(begin({ rows }).start());
    expect(report.stopped?.reason).toBe("source");
    expect(report.stopped?.message).toContain(
      ": there were 50 rows when they were looked through, and now there are 30.",
    );
    expect([report.total, report.imported + report.skipped]).toEqual([50, 50]);
    expect(server.rows).toBe(report.imported);
  });

  it("says once why it could not be read", async () => {
    const { host, begin } = set();
    let opened = 0;
    async function* rows() {
      yield* people(30);
      if (opened++ > 0) throw new Error("the disk is gone");
      yield* people(20, 30);
    }
    const report = await host.drive(begin({ rows: () => rows() }).start());
    expect(report.stopped?.message).toMatch(
      /^The rows could not be read any further[^:]*: the disk is gone\.$/,
    );
    expect(report.total).toBe(50);
  });
});

describe("an import tells how it goes", () => {
  it("in counts that always add up, at most ten times a second", async () => {
    const { host, begin } = set({
      rate: 20,
      refuses: ({ email }) => (email.startsWith("p1") ? "no" : undefined),
    });
    const job = begin({ batchSize: 1, stopWhen: null });
    const told: [number, ImportProgress][] = [];
    job.on("progress", (progress) => told.push([host.now(), progress]));
    await host.drive(job.start());
    expect(told.length).toBeGreaterThan(50);
    for (const [, { total, pending, isTotalKnown, ...counts }] of told) {
      const { imported, duplicate, failed, skipped, unknown } = counts;
      expect(imported + duplicate + failed + skipped + unknown + pending).toBe(total);
      expect([total, isTotalKnown]).toEqual([300, true]);
    }
    const gaps = told.slice(1, -1).map(([time], i) => time - (told[i]?.[0] ?? 0));
    expect(Math.min(...gaps)).toBeGreaterThanOrEqual(100);
    expect(told.at(-1)?.[1]).toMatchObject({ state: "done", pending: 0 });
  });

  it("why it waits, and until when", async () => {
    const { host, begin } = set({
      answers: (requests) =>
        requests === 3 ? refusal(429, "Slow down", { headers: { "retry-after": "30" } }) : undefined,
    });
    const job = begin({ batchSize: 1 });
    const running = job.start();
    await host.until(() => job.progress.total > 0);
    await host.advance(5_000);
    const { state, waiting } = job.progress;
    expect(state).toBe("waiting");
    expect(waiting?.reason).toBe("cooldown");
    expect(waiting?.untilTime).toBeGreaterThan(host.now() + 20_000);
    expect(waiting?.message).toMatch(/limit/);
    expect((await host.drive(running)).imported).toBe(300);
  });

  it("is paused and goes on", async () => {
    const { host, server, begin } = set({ rate: 20 });
    const job = begin({ batchSize: 1 });
    expect(job.progress.state).toBe("paused");
    const running = job.start();
    await host.until(() => job.progress.total > 0);
    await host.advance(2_000);
    job.pause();
    await host.advance(1_000);
    const before = server.requests;
    expect(job.progress).toMatchObject({ state: "paused", waiting: { reason: "paused" } });
    await host.advance(60_000);
    expect(server.requests).toBe(before);
    job.resume();
    expect((await host.drive(running)).imported).toBe(300);
  });
});

describe("a circuit that others opened", () => {
  it("pauses the import, which goes on when it has closed", async () => {
    const { host, server, begin } = set();
    const service = new RateLimitService({ logLevel: "silent" }, host);
    service.isolateCircuit();
    const job = begin({ service });
    const running = job.start();
    await host.until(() => job.progress.total > 0);
    await host.advance(30_000);
    expect(server.requests).toBe(0);
    expect(job.progress.waiting?.reason).toBe("circuit");
    service.resetCircuit();
    expect((await host.drive(running)).imported).toBe(300);
    service.dispose();
  });

  it("is not opened by the import's own refusals", async () => {
    const { host, begin } = set({ rate: 5, burst: 1 });
    const service = new RateLimitService({ logLevel: "silent" }, host);
    const report = await host.drive(begin({ service, rows: people(100), batchSize: 1 }).start());
    expect(report.throttled).toBeGreaterThan(0);
    expect(service.getCircuitState()).toMatchObject({ isOpen: false, consecutiveFailures: 0 });
    service.dispose();
  });
});

describe("senders that misbehave", () => {
  const run = async (send: ImportOptions<Person>["send"], more: Partial<ImportOptions<Person>> = {}) => {
    const { host, begin } = set();
    return host.drive(begin({ send, rows: people(20), batchSize: 5, stopWhen: null, ...more }).start());
  };

  it("throw at once", async () => {
    const report = await run(() => {
      throw new Error("I do not know how");
    });
    expect(outcomes(report)).toEqual({ ...none, failed: 20 });
    expect(report.rows()[0]?.message).toBe("I do not know how");
  });

  it("answer nonsense", async () => {
    const report = await run((() => [1, null, "x", {}, { outcome: "perhaps" }]) as never);
    expect(outcomes(report)).toEqual({ ...none, unknown: 20 });
  });

  it("answer for too few rows, or too many", async () => {
    expect(outcomes(await run((() => [{ outcome: "imported" }]) as never))).toEqual({
      ...none,
      imported: 4,
      unknown: 16,
    });
    expect(outcomes(await run((() => Array(9).fill({ outcome: "imported" })) as never))).toEqual({
      ...none,
      unknown: 20,
    });
  });

  it("never answer", async () => {
    const report = await run(() => new Promise(() => {}), { timeoutMs: 1_000 });
    expect(outcomes(report)).toEqual({ ...none, unknown: 20 });
    expect(report.rows()[0]?.message).toContain("No answer");
  });
});

describe("retryFailed", () => {
  it("is another import, of what failed", async () => {
    let isStrict = true;
    const { host, server, begin } = set({
      refuses: ({ email }) => (isStrict && email === "p3@example.com" ? "no" : undefined),
    });
    const job = begin({ rows: people(10) });
    expect(() => job.retryFailed()).toThrow(expect.objectContaining({ code: "IMPORT_NOT_DONE" }));
    expect((await host.drive(job.start())).failed).toBe(1);
    isStrict = false;
    const again = await host.drive(job.retryFailed().start());
    expect(outcomes(again)).toEqual({ ...none, imported: 1 });
    expect(server.rows).toBe(10);
    const nothing = await host.drive(
      job.retryFailed().retryFailed === undefined ? Promise.reject() : begin({ rows: people(1) }).start(),
    );
    expect(nothing.duplicate).toBe(1);
  });
});

describe("what cannot be imported", () => {
  it("no rows", async () => {
    const { host, begin } = set();
    await expect(host.drive(begin({ rows: [] }).start())).rejects.toMatchObject({ code: "IMPORT_EMPTY" });
  });

  it("more rows than are allowed", async () => {
    const { host, server, begin } = set();
    await expect(host.drive(begin({ maxRows: 299 }).start())).rejects.toMatchObject({
      code: "IMPORT_TOO_MANY_ROWS",
    });
    expect(server.requests).toBe(0);
  });

  it.each([
    ["rows", { rows: 7 }],
    ["rows", { rows: "a,b" }],
    ["send", { send: "nobody" }],
    ["batchSize", { batchSize: 0 }],
    ["batchSize", { batchSize: 101 }],
    ["concurrency", { concurrency: 1.5 }],
    ["rate", { rate: -1 }],
    ["timeoutMs", { timeoutMs: 1 }],
    ["stopWhen.after", { stopWhen: { failedRatio: 0.5 } }],
    ["service", { service: {} }],
    ["duplicates", { duplicates: "middle" }],
    ["checkpoint", { checkpoint: "disk" }],
    ["bacthSize", { bacthSize: 7 }],
  ])("a wrong %s", (field, wrong) => {
    const { begin } = set();
    expect(() => begin(wrong as never)).toThrow(RateLimitConfigError);
    expect(() => begin(wrong as never)).toThrow(field);
  });
});

afterEach(() => {
  vi.restoreAllMocks();
});
