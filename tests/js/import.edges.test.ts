/** What people do with an import that nobody thought of. */

import { afterEach, describe, expect, it, vi } from "vitest";
import { readCsv } from "../../js/csv.ts";
import { MemoryStore } from "../../js/import/journal/memory.ts";
import { ClaimLostError } from "../../js/import/journal/store.ts";
import {
  createImport,
  type ImportBatch,
  type ImportJob,
  type ImportOptions,
  rowKey,
} from "../../js/import.ts";
import { RateLimitService } from "../../js/index.ts";
import { sabotageCore } from "./support/broken-core.ts";
import { type Person, people, refusal, Server, type ServerOptions, VirtualHost } from "./support/import.ts";

function set(options: ServerOptions = {}, seed = 1) {
  const host = new VirtualHost(seed);
  const server = new Server(host, options);
  const said: string[] = [];
  const logger = { debug() {}, info() {}, warn: (words: string) => void said.push(words), error() {} };
  const begin = (more: Partial<ImportOptions<Person>> = {}): ImportJob<Person> =>
    createImport({
      rows: people(50),
      send: server.sender(),
      key: ({ email }) => email,
      checkpoint: false,
      logger,
      host,
      ...more,
    });
  return { host, server, begin, said };
}

async function* stream(rows: readonly Person[]): AsyncIterable<Person> {
  yield* rows;
}

afterEach(() => {
  vi.unstubAllGlobals();
});

describe("a listener that ends the import", () => {
  it.each([
    ["an array", (rows: Person[]) => rows],
    ["a stream", stream],
  ])("while the rows of %s come: each of them has its outcome", async (_, source) => {
    const { host, server, begin } = set();
    const bad = [null, "text"] as never[];
    const rows = [...people(3), ...bad, ...people(3), ...people(20, 10), ...bad];
    const job = begin({ rows: source(rows), id: "listener" });
    const told: number[] = [];
    job.on("row", ({ index }) => {
      told.push(index);
      job.cancel();
    });
    const report = await host.drive(job.start());
    expect(report.rows()).toHaveLength(report.total);
    expect(job.progress).toMatchObject({ pending: 0, state: "cancelled" });
    expect(new Set(told).size).toBe(told.length);
    expect(report).toMatchObject({ imported: server.rows, stopped: { reason: "cancelled" } });
  });

  it("is one of many that throws", async () => {
    const { host, begin } = set();
    const job = begin();
    for (const event of ["progress", "row", "done"] as const) {
      job.on(event, () => {
        throw new Error("A listener that throws");
      });
    }
    expect((await host.drive(job.start())).imported).toBe(50);
  });

  it("hears nothing after it has left", async () => {
    const { host, begin } = set();
    const job = begin();
    let heard = 0;
    const off = job.on("row", () => {
      if (++heard === 7) off();
    });
    await host.drive(job.start());
    expect(heard).toBe(7);
  });
});

describe("a source that", () => {
  it("has more rows than are allowed ends the import, and what was read is settled", async () => {
    const { host, server, begin } = set();
    const report = await host.drive(begin({ rows: stream(people(60)), maxRows: 40, batchSize: 1 }).start());
    expect(report.stopped).toMatchObject({ reason: "source", message: expect.stringContaining("40") });
    expect(report.imported + report.skipped).toBe(report.total);
    expect(server.rows).toBe(report.imported);
  });

  it("hangs does not keep a cancelled import from ending", async () => {
    const { host, begin } = set();
    async function* hanging() {
      yield* people(5);
      await new Promise(() => {});
    }
    const job = begin({ rows: hanging(), batchSize: 1 });
    const running = job.start();
    await host.until(() => job.progress.total > 0);
    await host.advance(5_000);
    expect(job.progress.imported).toBe(5);
    job.cancel();
    expect(await host.drive(running)).toMatchObject({ imported: 5, total: 5 });
  });
});

describe("an import that has ended", () => {
  it("stays as it is, whatever it is told", async () => {
    const { host, begin, said } = set();
    const job = begin();
    const controller = new AbortController();
    const report = await host.drive(job.start());
    const before = job.progress;
    job.cancel();
    job.pause();
    job.resume();
    job.cancel();
    controller.abort();
    expect(said).toEqual([]);
    expect(job.progress).toEqual(before);
    expect(await job.start()).toBe(report);
    expect(report.stopped).toBeNull();
  });

  it("still has its plan", async () => {
    const { host, begin } = set();
    const job = begin();
    await host.drive(job.start());
    expect(await host.drive(job.plan())).toMatchObject({ total: 50, fresh: 50 });
  });

  it("has nothing to try again where nothing failed, as often as it is asked", async () => {
    const { host, begin } = set();
    const job = begin();
    await host.drive(job.start());
    for (const again of [job.retryFailed(), job.retryFailed()]) {
      expect(await host.drive(again.start())).toMatchObject({ total: 0, imported: 0, stopped: null });
      expect(again.progress.state).toBe("done");
    }
  });

  it("leaves no wait and no listener behind", async () => {
    const { host, begin } = set({ rate: 20 });
    const controller = new AbortController();
    const listeners = { added: 0, removed: 0 };
    const page = new EventTarget();
    vi.stubGlobal("addEventListener", (...args: Parameters<EventTarget["addEventListener"]>) => {
      listeners.added++;
      page.addEventListener(...args);
    });
    vi.stubGlobal("removeEventListener", (...args: Parameters<EventTarget["removeEventListener"]>) => {
      listeners.removed++;
      page.removeEventListener(...args);
    });
    const service = new RateLimitService({ logLevel: "silent" }, host);
    const off = vi.spyOn(controller.signal, "removeEventListener");
    await host.drive(begin({ signal: controller.signal, service }).start());
    service.dispose();
    expect(off).toHaveBeenCalled();
    expect(listeners.added).toBeGreaterThan(0);
    expect(listeners.removed).toBe(listeners.added);
    // The last progress event that was due.
    await host.advance(200);
    expect(host.sleeping).toBe(0);
  });
});

describe("before it starts", () => {
  it("can be paused, cancelled, and cancelled again", async () => {
    const { host, server, begin } = set();
    const job = begin();
    job.pause();
    expect(job.progress.state).toBe("paused");
    job.cancel();
    job.cancel();
    const report = await host.drive(job.start());
    expect(report).toMatchObject({ skipped: 50, total: 50, stopped: { reason: "cancelled" } });
    expect(server.requests).toBe(0);
  });

  it("can be paused, and sends nothing until it is resumed", async () => {
    const { host, server, begin } = set();
    const job = begin();
    job.pause();
    const running = job.start();
    await host.until(() => job.progress.total > 0);
    await host.advance(10_000);
    expect(server.requests).toBe(0);
    job.resume();
    job.resume();
    expect((await host.drive(running)).imported).toBe(50);
  });

  it("leaves nothing on the page when it never does", () => {
    const page = new EventTarget();
    const added = vi.spyOn(page, "addEventListener");
    vi.stubGlobal("document", page);
    createImport({ rows: people(1), send: () => {} });
    expect(added).not.toHaveBeenCalled();
  });

  it("tells its plan, which fails as the start does", async () => {
    const { host, begin } = set();
    const job = begin({ rows: [] });
    expect(await host.drive(job.plan())).toMatchObject({ total: 0 });
    await expect(host.drive(job.start())).rejects.toMatchObject({ code: "IMPORT_EMPTY" });
    expect(await host.drive(job.plan())).toMatchObject({ total: 0 });
  });
});

describe("rows of all kinds", () => {
  class Contact implements Person {
    readonly #email: string;
    readonly name: string;
    constructor(email: string, name: string) {
      this.#email = email;
      this.name = name;
    }
    get email(): string {
      return this.#email;
    }
  }

  it("are imported: frozen ones, proxies, instances", async () => {
    const { host, server, begin } = set();
    const [one, two] = people(2) as [Person, Person];
    const rows = [Object.freeze(one), new Proxy(two, {}), new Contact("c@example.com", "C")];
    expect((await host.drive(begin({ rows }).start())).imported).toBe(3);
    expect([...server.copies.keys()]).toContain("c@example.com");
  });

  it("fail alone when they cannot be read", async () => {
    const { host, server, begin } = set();
    const throwing = Object.defineProperty({ name: "No" }, "email", {
      enumerable: true,
      get: () => {
        throw new Error("a getter that throws");
      },
    }) as Person;
    const { proxy, revoke } = Proxy.revocable({ email: "r@example.com", name: "R" }, {});
    revoke();
    const report = await host.drive(begin({ rows: [...people(3), throwing, proxy], stopWhen: null }).start());
    expect(report).toMatchObject({ imported: 3, failed: 2 });
    expect(server.rows).toBe(3);
    expect(report.rows({ outcome: "failed" }).map(({ index }) => index)).toEqual([3, 4]);
  });

  it("whose key can be told only once fail before they are sent", async () => {
    const { host, server, begin } = set();
    const asked = new Map<Person, number>();
    const key = (row: Person): string => {
      const times = (asked.get(row) ?? 0) + 1;
      asked.set(row, times);
      if (row.name === "Person 3" && times > 2) throw new Error("I have forgotten");
      return row.email;
    };
    const report = await host.drive(begin({ key, rows: people(10), batchSize: 10 }).start());
    expect(report).toMatchObject({ imported: 9, failed: 1 });
    expect(report.rows({ outcome: "failed" })[0]).toMatchObject({ index: 3, message: "I have forgotten" });
    expect(server.rows).toBe(9);
  });

  it("have keys with halves of surrogate pairs, which are different people", async () => {
    const { host, server, begin } = set();
    const rows = ["\ud83d", "\ude00", "\ud83d\ude00", "\ufffd"].map((email) => ({ email, name: email }));
    expect((await host.drive(begin({ rows }).start())).imported).toBe(4);
    expect(server.byId.size).toBe(4);
  });

  it("are checked by a validate that is asynchronous by mistake: they fail, with words", async () => {
    const { host, begin } = set();
    const validate = (async () => undefined) as never;
    const report = await host.drive(begin({ rows: people(3), validate }).start());
    expect(report.failed).toBe(3);
    expect(report.rows()[0]?.message).toContain("validate");
  });

  it("come from a file, and have the key of what stands in it", async () => {
    const { host, server, begin } = set();
    const rows = people(2).map((row, index) => ({
      ...{ row, index, line: index + 2, cells: [row.email, row.name], errors: [] },
    }));
    const keys: string[] = [];
    const send = Object.assign(
      ({ items }: { items: readonly { key: string }[] }) => void keys.push(...items.map(({ key }) => key)),
      { origin: server.origin, idempotent: true },
    );
    const report = await host.drive(
      begin({ rows: rows as never, key: undefined, send: send as never }).start(),
    );
    const expected = rows.map(({ row }) => rowKey(row));
    expect(keys).toEqual(expected);
    expect(report.rows().map(({ key }) => key)).toEqual(expected);
  });
});

describe("rows of a file that failed", () => {
  it("are tried again, and the report of that has the columns of the file", async () => {
    const { host, server, begin } = set({
      refuses: ({ email }) => (/p[13]@/.test(email) ? "no" : undefined),
    });
    const text = ["email,name", ...people(5).map(({ email, name }) => `${email},${name}`)].join("\n");
    const rows = readCsv(new Blob([text]), { columns: { email: [], name: [] } }) as never;
    const inner = server.sender();
    const send = Object.assign(
      ({ items, ...batch }: ImportBatch<{ row: Person }>) =>
        inner({ ...batch, items: items.map((item) => ({ ...item, row: item.row.row })) }),
      { ...inner },
    ) as never;
    const options = { rows, send, key: undefined, stopWhen: null };
    const job = begin(options);
    expect(await host.drive(job.start())).toMatchObject({ imported: 3, failed: 2 });
    for (const again of [job.retryFailed(), job.retryFailed()]) {
      const report = await host.drive(again.start());
      expect(report).toMatchObject({ total: 2, failed: 2 });
      expect(report.toCSV().split("\r\n")[0]).toBe("\uFEFFemail,name,import_outcome,import_message");
    }
  });
});

describe("the core is lost", () => {
  async function afresh(trapIn: string, seed: number, send: "sender" | "creator") {
    const sabotage = sabotageCore();
    vi.resetModules();
    const { createImport: create } = await import("../../js/import.ts");
    const { host, server } = set({ rate: 50, lossRatio: 0.1 }, seed);
    const notices: string[] = [];
    const job = create<Person>({
      rows: people(80),
      send: send === "sender" ? server.sender() : server.creator({ verifies: false }),
      key: ({ email }) => email,
      checkpoint: false,
      logger: { debug() {}, info() {}, warn: (words: string) => void notices.push(words), error() {} },
      host,
    });
    // Somebody who looks at the progress asks the core, too.
    job.on("progress", () => {});
    const running = job.start();
    await host.until(() => job.progress.total > 0);
    await host.advance(600);
    sabotage.trapIn = new Set([trapIn]);
    const report = await host.drive(running);
    return { report, server, notices };
  }

  const exportsOfTheCore = [
    "job_next",
    "job_end",
    "job_settle",
    "job_row",
    "job_numbers",
    "job_changed",
    "judge",
  ];

  it.each(exportsOfTheCore.flatMap((name) => [1, 2, 3].map((seed) => [name, seed] as const)))(
    "in %s: every row once, where it may be sent again and where it may not (seed %i)",
    async (name, seed) => {
      const again = await afresh(name, seed, "sender");
      expect(again.report).toMatchObject({ imported: 80, total: 80 });
      expect(again.server.rows).toBe(80);
      const once = await afresh(name, seed, "creator");
      expect(once.report.imported + once.report.unknown).toBe(80);
      expect(once.server.rows).toBe(once.server.people);
      for (const { key } of once.report.rows({ outcome: "imported" }))
        expect(once.server.copies.get(key)).toBe(1);
    },
  );
});

describe("a core that never was", () => {
  it.each(["sender", "creator"] as const)("sends one row at a time, once (%s)", async (kind) => {
    vi.stubGlobal("WebAssembly", undefined);
    vi.resetModules();
    const { createImport: create } = await import("../../js/import.ts");
    const { host, server } = set({ rate: 20, lossRatio: 0.05 });
    const notices: string[] = [];
    const job = create<Person>({
      rows: people(60),
      send: kind === "sender" ? server.sender() : server.creator(),
      key: ({ email }) => email,
      checkpoint: false,
      logger: { debug() {}, info() {}, warn: (words: string) => void notices.push(words), error() {} },
      host,
    });
    const report = await host.drive(job.start());
    expect(report).toMatchObject({ imported: 60, total: 60, stopped: null });
    expect(server.rows).toBe(60);
    expect(notices).toEqual([expect.stringContaining("WebAssembly")]);
  });
});

describe("the storage", () => {
  it("that was taken over at the last moment does not make start fail", async () => {
    const { host, server, begin } = set();
    const store = new MemoryStore();
    const write = store.write.bind(store);
    store.write = async (changes) => {
      const change = changes.find(({ record }) => record?.state === "done");
      if (change) throw new ClaimLostError(change.job);
      return write(changes);
    };
    const report = await host.drive(begin({ checkpoint: async () => store }).start());
    expect(report).toMatchObject({ imported: 50, total: 50 });
    expect(server.rows).toBe(50);
  });
});

describe("the pace", () => {
  it("never exceeds `rate`, also when a faster one was learned", async () => {
    const { host, server, begin } = set({ rate: 50 });
    const first = await host.drive(begin({ rows: people(600), batchSize: 1 }).start());
    expect(first.imported).toBe(600);
    const started = host.now();
    const requests = server.requests;
    await host.drive(begin({ rows: people(100, 1_000), batchSize: 1, rate: 10 }).start());
    const seconds = (host.now() - started) / 1_000;
    expect((server.requests - requests - 1) / seconds).toBeLessThanOrEqual(10.5);
  });

  it("that was learned is where the next import of this server begins", async () => {
    const { host, begin } = set({ rate: 50 });
    const cold = await host.drive(begin({ rows: people(400), batchSize: 1 }).start());
    const warm = await host.drive(begin({ rows: people(400, 1_000), batchSize: 1 }).start());
    expect(warm.imported).toBe(400);
    expect(warm.throttled).toBeLessThanOrEqual(cold.throttled);
    expect(warm.durationMs).toBeLessThan(1.1 * cold.durationMs);
  });

  it("is that of two imports into one table at once, and nobody is there twice", async () => {
    const { host, server, begin } = set({ rate: 20 });
    const service = new RateLimitService({ logLevel: "silent" }, host);
    const [one, two] = [
      begin({ service, batchSize: 1 }),
      begin({ service, batchSize: 1, rows: people(50, 25) }),
    ];
    const [a, b] = await host.drive(Promise.all([one.start(), two.start()]));
    expect([a.imported + a.duplicate, b.imported + b.duplicate]).toEqual([50, 50]);
    expect(a.imported + b.imported).toBe(75);
    expect(server.rows).toBe(75);
    service.dispose();
  });
});

describe("what others do meanwhile", () => {
  it("a circuit that opens holds the import, and rows in flight settle", async () => {
    const { host, server, begin } = set({ rate: 20 });
    const service = new RateLimitService(
      { logLevel: "silent", maxRetries: 0, circuitBreakerThreshold: 1, circuitResetMs: 5_000 },
      host,
    );
    const job = begin({ service, batchSize: 1 });
    const running = job.start();
    await host.until(() => job.progress.total > 0);
    await host.advance(500);
    await host.drive(
      service
        .executeWithRetry(async () => {
          throw refusal(429, "Slow down");
        })
        .catch(() => {}),
    );
    expect(service.getCircuitState().isOpen).toBe(true);
    await host.advance(1_000);
    const requests = server.requests;
    expect(job.progress).toMatchObject({ state: "waiting", waiting: { reason: "circuit" } });
    await host.advance(2_000);
    expect(server.requests).toBe(requests);
    expect((await host.drive(running)).imported).toBe(50);
    service.dispose();
  });

  it("a refusal of a guard further in that nobody will lift ends it", async () => {
    const { host, begin } = set();
    const error = Object.assign(new Error("Limits cannot be checked"), {
      code: "RATE_LIMIT_CORE_UNAVAILABLE",
    });
    const send = () => Promise.reject(error);
    const report = await host.drive(begin({ send }).start());
    expect(report.stopped).toMatchObject({ reason: "refused", code: "RATE_LIMIT_CORE_UNAVAILABLE" });
  });
});

describe("a sender that answers at once", () => {
  it("leaves others their turn", { timeout: 20_000 }, async () => {
    let longest = 0;
    let since = performance.now();
    const look = (): void => {
      longest = Math.max(longest, performance.now() - since);
      since = performance.now();
      if (!isOver) setImmediate(look);
    };
    let isOver = false;
    setImmediate(look);
    const send = Object.assign(() => {}, { idempotent: true });
    const job = createImport({ rows: people(20_000), send, key: ({ email }) => email, checkpoint: false });
    const started = performance.now();
    const report = await job.start();
    isOver = true;
    expect(report.imported).toBe(20_000);
    // All of it in one turn would be this long.
    expect(longest).toBeLessThan((performance.now() - started) / 2);
  });
});
