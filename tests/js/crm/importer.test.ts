import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { type ImportProgress, startImport } from "../../../examples/crm/import/importer.mjs";
import {
  broken,
  FakeServer,
  finish,
  lost,
  people,
  plainService,
  rateLimitError,
  refused,
  rejected,
  runImport,
} from "./support.ts";

let server: FakeServer;

beforeEach(() => {
  vi.useFakeTimers({ now: new Date("2026-01-05T14:00:00") });
  server = new FakeServer();
});

afterEach(() => {
  vi.useRealTimers();
});

describe("an import in good weather", () => {
  it("creates every row once, with its key and the ids of its company and tags", async () => {
    const rows = [
      { first_name: "Ann", email_work: "ann@example.com", company: "Acme", tags: "vip, Partner" },
      { first_name: "Bob", email_home: "bob@example.com", company: "ACME", tags: "partner" },
    ];
    const report = await runImport(server, { rows, concurrency: 1 });
    expect(report).toMatchObject({
      total: 2,
      imported: 2,
      duplicate: 0,
      failed: 0,
      skipped: 0,
      unknown: 0,
      retries: 0,
    });
    expect(server.companies).toHaveLength(1);
    expect(server.tags.map(({ name }) => name)).toEqual(["vip", "Partner"]);
    expect(server.contacts).toMatchObject([
      { company_id: 1, tags: [1, 2], email_jsonb: [{ email: "ann@example.com", type: "Work" }] },
      { company_id: 1, tags: [2], import_key: expect.stringMatching(/^[0-9a-f]{8}-[0-9a-f]{4}-5/) },
    ]);
    expect(report.rows().map(({ id, attempts }) => [id, attempts])).toEqual([
      [1, 1],
      [2, 1],
    ]);
  });

  it("keeps at most `concurrency` requests in flight, lookups included", async () => {
    server.latencyMs = 20;
    const rows = people(30).map((row, index) => ({ ...row, company: `C${index}`, tags: "a,b,c" }));
    await runImport(server, { rows, concurrency: 4 });
    expect(server.mostInFlight).toBe(4);
  });

  it("is done at once when there is nothing to do", async () => {
    expect(await runImport(server, { rows: [] })).toMatchObject({ total: 0, imported: 0 });
  });

  it("counts a row that repeats another as a duplicate without sending it; the first wins", async () => {
    const [ann] = people(1);
    const again = { ...ann, email_work: " P1@EXAMPLE.com", title: "CEO" };
    const report = await runImport(server, { rows: [{ ...ann }, again], lines: [2, 7] });
    expect(server.sent).toEqual(["P1"]);
    expect(report.rows({ outcome: "duplicate" })).toMatchObject([
      { index: 1, attempts: 0, code: "DUPLICATE_IN_FILE", message: "The same person as in line 2." },
    ]);
  });

  it("fails a row that is no contact without sending it, and takes its valid repetition", async () => {
    const rows = [
      { first_name: "Ann", email_work: "ann@example.com", first_seen: "soon" },
      { first_name: "Ann", email_work: "ann@example.com" },
      { title: "CEO" },
    ];
    const report = await runImport(server, { rows });
    expect(report.rows().map(({ outcome }) => outcome)).toEqual(["failed", "imported", "failed"]);
    expect(report.rows()[0]).toMatchObject({
      code: "INVALID_ROW",
      attempts: 0,
      message: expect.stringContaining("soon"),
    });
  });
});

describe("a refused row", () => {
  it("goes back to the front of the line, is sent again and never counts as failed", async () => {
    server.trouble = (_, { first_name }, nth) => (first_name === "P2" && nth <= 3 ? refused() : undefined);
    const report = await runImport(server, { rows: people(5), concurrency: 1 });
    expect(server.sent).toEqual(["P1", "P2", "P2", "P2", "P2", "P3", "P4", "P5"]);
    expect(report).toMatchObject({ imported: 5, failed: 0, retries: 3, throttled: 3 });
  });

  it("holds everybody, longer from refusal to refusal, until one gets through", async () => {
    const until = Date.now() + 20_000;
    server.trouble = () => (Date.now() < until ? refused() : undefined);
    const report = await runImport(server, { rows: people(50) });
    expect(report.imported).toBe(50);
    // Ten at the start, then one by one after 1, 2, 4 … seconds.
    expect(report.throttled).toBeLessThanOrEqual(10 + 6);
  });

  it("is patient anew after every success", async () => {
    const storms = [0, 60_000].map((start) => Date.now() + start);
    server.latencyMs = 1000;
    server.trouble = () =>
      storms.some((start) => Date.now() >= start && Date.now() < start + 15_000) ? refused() : undefined;
    const job = startImport({
      rows: people(60),
      dataProvider: server.dataProvider,
      service: plainService(),
      origin: "test",
      concurrency: 1,
    });
    await vi.advanceTimersByTimeAsync(62_100);
    const { waiting } = job.progress;
    expect((waiting?.untilTime ?? 0) - Date.now()).toBeLessThan(2000);
    await finish(job);
  });

  it("waits for a hint that is too long for the service", async () => {
    const service = plainService();
    service.executeWithRetry.mockRejectedValueOnce(
      rateLimitError("RATE_LIMIT_RETRY_AFTER_TOO_LONG", 120_000),
    );
    const job = startImport({ rows: people(1), dataProvider: server.dataProvider, service, origin: "test" });
    await vi.advanceTimersByTimeAsync(119_900);
    expect(job.progress).toMatchObject({ state: "waiting", processed: 0, waiting: { reason: "cooldown" } });
    expect((await finish(job)).imported).toBe(1);
  });

  it.each(["RATE_LIMIT_BUDGET_EXHAUSTED", "RATE_LIMIT_DEADLINE_EXCEEDED", "RATE_LIMIT_QUEUE_FULL"])(
    "waits after %s as well",
    async (code) => {
      const service = plainService();
      service.executeWithRetry.mockRejectedValueOnce(rateLimitError(code));
      expect(await runImport(server, { rows: people(2), service })).toMatchObject({ imported: 2, failed: 0 });
    },
  );

  it("may be refused while its company is looked up", async () => {
    server.trouble = (resource, _, nth) => (resource === "companies?" && nth === 1 ? refused() : undefined);
    const report = await runImport(server, { rows: [{ first_name: "Ann", company: "Acme" }] });
    expect(report).toMatchObject({ imported: 1, throttled: 1 });
    expect(server.companies).toHaveLength(1);
  });
});

describe("an open circuit", () => {
  it("is waited out, and says so in words", async () => {
    const service = plainService();
    Object.assign(service.circuit, { isOpen: true, retryAfterMs: 30_000 });
    const job = startImport({ rows: people(3), dataProvider: server.dataProvider, service, origin: "test" });
    await vi.advanceTimersByTimeAsync(1000);
    expect(job.progress).toMatchObject({
      state: "waiting",
      waiting: {
        reason: "circuit",
        untilTime: Date.parse("2026-01-05T14:00:30"),
        message: "The server needs a break; trying again at 14:00:30. Nothing is lost.",
      },
    });
    Object.assign(service.circuit, { isOpen: false, retryAfterMs: 0 });
    expect((await finish(job)).imported).toBe(3);
  });

  it("that somebody holds open is waited for without end", async () => {
    const service = plainService();
    Object.assign(service.circuit, { isOpen: true, retryAfterMs: Number.POSITIVE_INFINITY });
    const job = startImport({ rows: people(1), dataProvider: server.dataProvider, service, origin: "test" });
    await vi.advanceTimersByTimeAsync(7_200_000);
    expect(job.progress.waiting).toEqual({
      reason: "circuit",
      message: expect.stringContaining("as soon as possible"),
    });
    Object.assign(service.circuit, { isOpen: false, retryAfterMs: 0 });
    await vi.advanceTimersByTimeAsync(200);
    expect((await job.done).imported).toBe(1);
  });

  it("is tried with one row, then two, then more", async () => {
    server.latencyMs = 50;
    const until = Date.now() + 3000;
    server.trouble = () => (Date.now() < until ? refused() : undefined);
    const job = startImport({
      rows: people(40),
      dataProvider: server.dataProvider,
      service: plainService(),
      origin: "test",
    });
    await vi.advanceTimersByTimeAsync(2900);
    server.mostInFlight = 0;
    const most: number[] = [];
    while (job.progress.imported < 8) {
      await vi.advanceTimersByTimeAsync(10);
      most.push(server.inFlight);
    }
    expect(most.filter((now, index) => now > 0 && now !== most[index - 1]).slice(0, 3)).toEqual([1, 2, 4]);
    await finish(job);
  });
});

describe("a lost answer", () => {
  it.each([
    ["connection", lost(true)],
    ["502", broken(502, true)],
    ["503", broken(503, true)],
    ["504", broken(504, true)],
  ])("of a row that was written (%s) ends as imported, once", async (_, trouble) => {
    server.trouble = (_resource, { first_name }, nth) =>
      first_name === "P1" && nth === 1 ? trouble : undefined;
    const report = await runImport(server, { rows: people(3) });
    expect(report).toMatchObject({ imported: 3, duplicate: 0, failed: 0, retries: 1 });
    expect(server.contacts).toHaveLength(3);
  });

  it("of a row that was not written ends as imported, once", async () => {
    server.trouble = (_, { first_name }, nth) => (first_name === "P1" && nth <= 2 ? lost(false) : undefined);
    const report = await runImport(server, { rows: people(3) });
    expect(report).toMatchObject({ imported: 3, retries: 2 });
    expect(server.contacts).toHaveLength(3);
  });

  it("of a company does not create it twice", async () => {
    server.trouble = (resource, _, nth) => (resource === "companies" && nth === 1 ? lost(true) : undefined);
    const rows = people(12).map((row) => ({ ...row, company: "Acme" }));
    expect((await runImport(server, { rows })).imported).toBe(12);
    expect(server.companies).toHaveLength(1);
  });

  it("again and again, while others are answered, ends as unknown", async () => {
    server.trouble = (_, { first_name }) => (first_name === "P2" ? lost(false) : undefined);
    const report = await runImport(server, { rows: people(30), concurrency: 2 });
    expect(report).toMatchObject({ imported: 29, unknown: 1 });
    expect(report.rows({ outcome: "unknown" })[0]).toMatchObject({ index: 1, message: "fetch failed" });
  });

  it("of its company, again and again, leaves a row unsent", async () => {
    server.trouble = (resource) => (resource === "companies" ? lost(false) : undefined);
    const rows = people(30).map((row, index) => (index === 1 ? { ...row, company: "Acme" } : row));
    const report = await runImport(server, { rows, concurrency: 2 });
    expect(report).toMatchObject({ imported: 29, skipped: 1, unknown: 0 });
    expect(report.rows({ outcome: "skipped" })).toMatchObject([
      { index: 1, attempts: 0, message: "fetch failed" },
    ]);
  });

  it("of everybody is an outage: waited out without blaming a row", async () => {
    const until = Date.now() + 600_000;
    server.trouble = () => (Date.now() < until ? lost(false) : undefined);
    const job = startImport({
      rows: people(5),
      dataProvider: server.dataProvider,
      service: plainService(),
      origin: "test",
    });
    await vi.advanceTimersByTimeAsync(60_000);
    expect(job.progress).toMatchObject({ state: "waiting", waiting: { reason: "offline" } });
    expect(await finish(job)).toMatchObject({ imported: 5, unknown: 0 });
  });

  it("of everybody for longer than giveUpAfterMs ends the import, with every row accounted for", async () => {
    server.trouble = () => lost(false);
    const report = await runImport(server, { rows: people(30), concurrency: 5, giveUpAfterMs: 300_000 });
    expect(report.unknown + report.skipped).toBe(30);
    expect(report.unknown).toBeGreaterThan(0);
    expect(report.rows({ outcome: "skipped" })[0]).toMatchObject({
      attempts: 0,
      code: "NO_ANSWER",
      message: "The server could not be reached for 5 min.",
    });
  });
});

describe("an answer that is final", () => {
  it("fails a row that the server rejects, with its message", async () => {
    server.trouble = (_, { first_name }) => (first_name === "P2" ? rejected("bad tag") : undefined);
    const report = await runImport(server, { rows: people(3) });
    expect(report).toMatchObject({ imported: 2, failed: 1, retries: 0 });
    expect(report.rows({ outcome: "failed" })).toMatchObject([
      { index: 1, code: "22001", message: "bad tag" },
    ]);
  });

  it("fails a row on which the server keeps breaking, having written nothing", async () => {
    server.trouble = (_, { first_name }) => (first_name === "P2" ? broken(500) : undefined);
    const report = await runImport(server, { rows: people(3) });
    expect(report).toMatchObject({ imported: 2, failed: 1 });
    expect(report.rows({ outcome: "failed" })[0]?.attempts).toBe(10);
  });

  it("calls a row a duplicate that an earlier import brought", async () => {
    await runImport(server, { rows: people(3) });
    const corrected = people(3).map((row) => ({ ...row, title: "CEO" }));
    expect(await runImport(server, { rows: corrected })).toMatchObject({
      imported: 0,
      duplicate: 3,
      failed: 0,
    });
    expect(await runImport(server, { rows: people(3), origin: "other" })).toMatchObject({ imported: 3 });
  });

  it("fails a row that violates another unique constraint", async () => {
    const message = 'duplicate key value violates unique constraint "contacts_email"';
    const error = Object.assign(new Error(message), { status: 409, body: { code: "23505", message } });
    server.trouble = () => ({ error, written: false });
    expect(await runImport(server, { rows: people(1) })).toMatchObject({ failed: 1, duplicate: 0 });
  });

  it("never shows a page of HTML as a reason", async () => {
    server.trouble = () => ({
      error: Object.assign(new Error("<html>no</html>"), { status: 403 }),
      written: false,
    });
    const report = await runImport(server, { rows: people(1) });
    expect(report.rows()[0]?.message).toBe("The server answered with error 403.");
  });
});

describe("pause, cancel, offline", () => {
  it("pauses: what is in flight ends, nothing else is sent until it goes on", async () => {
    server.latencyMs = 100;
    const job = startImport({
      rows: people(30),
      dataProvider: server.dataProvider,
      service: plainService(),
      origin: "test",
    });
    await vi.advanceTimersByTimeAsync(50);
    job.pause();
    await vi.advanceTimersByTimeAsync(60_000);
    expect(job.progress).toMatchObject({ state: "paused", imported: 10, waiting: { reason: "paused" } });
    job.resume();
    expect((await finish(job)).imported).toBe(30);
  });

  it("does not take a long pause for a server that is gone", async () => {
    server.latencyMs = 100;
    server.trouble = (_, _data, nth) => (nth <= 3 ? lost(false) : undefined);
    const job = startImport({
      rows: people(3),
      dataProvider: server.dataProvider,
      service: plainService(),
      origin: "test",
      concurrency: 1,
      giveUpAfterMs: 600_000,
    });
    await vi.advanceTimersByTimeAsync(150);
    job.pause();
    await vi.advanceTimersByTimeAsync(3_600_000);
    job.resume();
    expect(await finish(job)).toMatchObject({ imported: 3 });
  });

  it("does not take the sleep of a laptop for a server that is gone", async () => {
    const until = Date.now() + 5 * 3_600_000 + 60_000;
    server.trouble = () => (Date.now() < until ? lost(false) : undefined);
    const job = startImport({
      rows: people(20),
      dataProvider: server.dataProvider,
      service: plainService(),
      origin: "test",
    });
    await vi.advanceTimersByTimeAsync(20_000);
    vi.setSystemTime(Date.now() + 5 * 3_600_000);
    expect(await finish(job)).toMatchObject({ imported: 20 });
  });

  it("cancels: what is in flight keeps its answer, the rest is skipped, nobody is left undecided", async () => {
    server.latencyMs = 100;
    const job = startImport({
      rows: people(30),
      dataProvider: server.dataProvider,
      service: plainService(),
      origin: "test",
    });
    await vi.advanceTimersByTimeAsync(150);
    job.cancel();
    const report = await finish(job);
    expect(report).toMatchObject({ imported: 20, skipped: 10, unknown: 0 });
    expect(server.contacts).toHaveLength(20);
    expect(job.progress).toMatchObject({ state: "cancelled", processed: 30 });
  });

  it("cancels: a request that is not answered in time is unknown", async () => {
    server.latencyMs = 60_000;
    const job = startImport({
      rows: people(12),
      dataProvider: server.dataProvider,
      service: plainService(),
      origin: "test",
    });
    await vi.advanceTimersByTimeAsync(50);
    job.cancel();
    await vi.advanceTimersByTimeAsync(3100);
    expect(await job.done).toMatchObject({ unknown: 10, skipped: 2 });
  });

  it("cancels: a row whose answer was lost before is unknown, a refused one is skipped", async () => {
    server.trouble = (_, { first_name }) => (first_name === "P1" ? lost(false) : refused());
    const job = startImport({
      rows: people(2),
      dataProvider: server.dataProvider,
      service: plainService(),
      origin: "test",
    });
    await vi.advanceTimersByTimeAsync(50);
    job.cancel();
    const report = await finish(job);
    expect(report.rows().map(({ outcome }) => outcome)).toEqual(["unknown", "skipped"]);
  });

  it("cancels when its signal aborts, also one that had aborted before", async () => {
    const controller = new AbortController();
    const job = startImport({
      rows: people(3),
      dataProvider: server.dataProvider,
      service: plainService(),
      origin: "test",
      signal: controller.signal,
    });
    job.pause();
    controller.abort();
    expect(await finish(job)).toMatchObject({ skipped: 3 });
    expect(await runImport(server, { rows: people(3), signal: AbortSignal.abort() })).toMatchObject({
      skipped: 3,
    });
    expect(server.sent).toEqual([]);
  });

  it("sends nothing while the browser is offline", async () => {
    const navigator = { onLine: false };
    vi.stubGlobal("navigator", navigator);
    const job = startImport({
      rows: people(3),
      dataProvider: server.dataProvider,
      service: plainService(),
      origin: "test",
    });
    await vi.advanceTimersByTimeAsync(3_600_000);
    expect(job.progress).toMatchObject({ state: "waiting", waiting: { reason: "offline" } });
    expect(server.sent).toEqual([]);
    navigator.onLine = true;
    expect((await finish(job)).imported).toBe(3);
  });
});

describe("progress and report", () => {
  it("tells rate and time left from the last seconds, and ends with a last word", async () => {
    server.latencyMs = 1000;
    const seen: ImportProgress[] = [];
    const job = startImport({
      rows: people(100),
      dataProvider: server.dataProvider,
      service: plainService(),
      origin: "test",
      onProgress: (progress) => seen.push(progress),
    });
    expect(job.progress).toMatchObject({ state: "running", total: 100, processed: 0, etaMs: null });
    await vi.advanceTimersByTimeAsync(5050);
    expect(job.progress.ratePerSecond).toBeCloseTo(10, 0);
    expect(job.progress.etaMs).toBeGreaterThan(4000);
    expect(job.progress.etaMs).toBeLessThan(6000);
    await finish(job);
    expect(seen.at(-1)).toMatchObject({
      state: "done",
      processed: 100,
      imported: 100,
      etaMs: 0,
      waiting: null,
    });
  });

  it("goes on when a listener throws", async () => {
    const error = vi.spyOn(console, "error").mockImplementation(() => {});
    const onProgress = () => {
      throw new Error("listener");
    };
    expect((await runImport(server, { rows: people(3), onProgress })).imported).toBe(3);
    expect(error).toHaveBeenCalled();
  });

  it("shows that the service holds everybody", async () => {
    const untilTime = Date.parse("2026-01-05T14:03:20");
    const service = plainService();
    service.executeWithRetry.mockImplementation(
      (_: unknown, { onWait }: { onWait(wait: object): void }) =>
        new Promise(() => onWait({ reason: "cooldown", untilTime, attempt: 2 })),
    );
    const job = startImport({ rows: people(3), dataProvider: server.dataProvider, service, origin: "test" });
    await vi.advanceTimersByTimeAsync(100);
    expect(job.progress).toMatchObject({
      state: "waiting",
      waiting: { reason: "cooldown", message: "The server asks us to slow down; going on at 14:03:20." },
    });
  });

  it("exports failed and unknown rows with all their cells, the line and the reason; nothing is altered", async () => {
    server.trouble = (_, { first_name }) => (first_name === "Ann" ? rejected("no such tag") : undefined);
    const rows = [
      { first_name: "Ann", phone_work: "+49 221 1", email_work: "ann@example.com", "Lucky number": '=7 "x"' },
      { first_name: "Bob", phone_work: "", email_work: "bob@example.com", "Lucky number": "" },
    ];
    const report = await runImport(server, { rows, lines: [2, 5] });
    expect(report.toCSV()).toBe(
      "\uFEFFfirst_name,phone_work,email_work,Lucky number,import_line,import_outcome,import_reason\r\n" +
        'Ann,+49 221 1,ann@example.com,"=7 ""x""",2,failed,no such tag\r\n',
    );
    expect(report.toCSV({ outcomes: ["imported"] })).toContain("Bob,,bob@example.com,,5,imported,");
  });

  it.each([
    ["rows", { rows: "x" }],
    ["origin", { origin: "" }],
    ["concurrency", { concurrency: 0 }],
    ["service", { service: {} }],
    ["dataProvider", { dataProvider: null }],
  ])("refuses an impossible %s at once", (name, wrong) => {
    const right = { rows: [], dataProvider: server.dataProvider, service: plainService(), origin: "test" };
    expect(() => startImport({ ...right, ...(wrong as object) })).toThrow(new RegExp(`^${name} must`));
  });
});
