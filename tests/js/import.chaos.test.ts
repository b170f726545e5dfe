/** Whatever happens at whatever moment: each row ends once, and the server and the reports agree. */

import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { MemoryStore } from "../../js/import/journal/memory.ts";
import type { CheckpointStore, ImportJob, ImportOptions, ImportReport, ImportRow } from "../../js/import.ts";
import { type Sabotage, sabotageCore } from "./support/broken-core.ts";
import { type Person, people, refusal, Server, type ServerOptions, VirtualHost } from "./support/import.ts";

const RUNS = Number(process.env.TIDEGATE_CHAOS ?? 60);
const FIRST = Number(process.env.TIDEGATE_CHAOS_FROM ?? 1);
const seeds = Array.from({ length: RUNS }, (_, i) => FIRST + i);

const quiet = { debug() {}, info() {}, warn() {}, error() {} };

/** Draws of one run, the same each time. */
class Dice {
  readonly #random: () => number;

  constructor(seed: number) {
    this.#random = new VirtualHost((seed * 2654435761) >>> 0 || 1).random;
    for (let i = 0; i < 8; i++) this.#random();
  }

  below = (n: number): number => Math.floor(this.#random() * n);

  chance = (p: number): boolean => this.#random() < p;

  one<T>(...of: readonly T[]): T {
    return of[this.below(of.length)] as T;
  }
}

/** What outlives pages. A page that was closed does not reach it any more. */
class Disk {
  readonly #store = new MemoryStore();

  page(): { open: CheckpointStore; close(): void } {
    let isClosed = false;
    const get = (target: object, name: PropertyKey): unknown => {
      const value: unknown = Reflect.get(target, name);
      if (typeof value !== "function") return value;
      return (...args: unknown[]) => (isClosed ? new Promise(() => {}) : value.apply(target, args));
    };
    return {
      open: async () => new Proxy(this.#store, { get }),
      close: () => {
        isClosed = true;
      },
    };
  }
}

type Kind = "upsert" | "create and look up" | "create";

type Source = (rows: Person[]) => ImportOptions<Person>["rows"];

class World {
  readonly dice: Dice;
  readonly kind: Kind;
  readonly server: Server;
  readonly disk = new Disk();
  rows: Person[];
  host: VirtualHost;
  readonly refused = new Set<string>();
  readonly #seed: number;
  readonly #source: Source;
  readonly #options: Partial<ImportOptions<Person>>;

  constructor(seed: number) {
    this.#seed = seed;
    const dice = new Dice(seed);
    this.dice = dice;
    this.host = new VirtualHost(seed);
    this.kind = dice.one("upsert", "create and look up", "create");
    this.rows = people(dice.one(1, 7, 60, 150, 300)).map((row, i) =>
      i > 0 && dice.chance(0.05) ? { ...row, email: `p${dice.below(i)}@example.com` } : row,
    );
    const bad = dice.one(0, 0, 0, 0.02, 0.3);
    for (const { email } of this.rows) if (dice.chance(bad)) this.refused.add(email);
    this.server = new Server(this.host, this.#serverOptions());
    const [isAgain, source] = dice.one<[boolean, Source]>(
      [true, (rows) => rows],
      [true, (rows) => () => rows],
      [true, (rows) => () => streamOf(rows)],
      [true, (rows) => new Set(rows)],
      [false, streamOf],
    );
    this.#source = source;
    this.#options = {
      send:
        this.kind === "upsert"
          ? this.server.sender()
          : this.server.creator({ verifies: this.kind !== "create" }),
      batchSize: dice.one<number | "auto" | undefined>(undefined, "auto", 1, 3, 25),
      concurrency: dice.one(undefined, 1, 5),
      rate: dice.one(undefined, undefined, 30),
      duplicates: isAgain ? dice.one("first", "last", "report") : "first",
      timeoutMs: dice.one(5_000, 60_000),
      stopWhen: dice.one(null, null, { failedRatio: 0.5, after: 20 }),
      spill: dice.chance(0.3),
      known: dice.one("check", "skip"),
      // Without one a stream that was interrupted is nobody's.
      id: !isAgain || dice.chance(0.5) ? "chaos" : undefined,
    };
  }

  #serverOptions(): ServerOptions {
    const { dice } = this;
    const trouble = dice.one(0, 0, 0.05, 0.2);
    const bannedFrom = dice.chance(0.1) ? dice.below(60) : Number.POSITIVE_INFINITY;
    return {
      ...dice.one({}, { rate: 20 }, { rate: 50, burst: 5 }, { rate: 3, burst: 1 }),
      latencyMs: dice.one(0, 10, 100, 700),
      lossRatio: dice.one(0, 0, 0.02, 0.1, 0.4),
      hangRatio: dice.one(0, 0, 0, 0.03),
      ...dice.one({}, { mostRows: 7 }),
      refuses: ({ email }) => (this.refused.has(email) ? "violates check constraint" : undefined),
      answers: (requests) => {
        if (requests >= bannedFrom) return refusal(401, "JWT expired", { code: "PGRST301" });
        if (!dice.chance(trouble)) return undefined;
        return dice.one(
          refusal(503, "Service Unavailable"),
          refusal(502, "Bad Gateway", { done: true }),
          refusal(504, "Gateway Timeout", { done: true }),
          refusal(429, "Too many requests", { headers: { "retry-after": "2" } }),
          refusal(420, "Enhance your calm"),
          Object.assign(new Error("Please wait"), { code: "RATE_LIMIT_CIRCUIT_OPEN", retryAfterMs: 3_000 }),
          Object.assign(new Error("Please wait"), { code: "RATE_LIMIT_QUEUE_FULL" }),
        );
      },
    };
  }

  /** The next page, an hour later; perhaps with a file that somebody has edited. */
  reopen(): void {
    const now = this.host.now();
    this.host = new VirtualHost(this.#seed + now);
    this.host.jump(now - this.host.now() + 3_600_000);
    this.server.moveTo(this.host);
    if (this.#options.id && this.dice.chance(0.3)) this.#edit();
  }

  /** Lines move, and what was refused is corrected. */
  #edit(): void {
    const { dice } = this;
    const more = people(dice.below(3), 1_000 + dice.below(1_000));
    const place = dice.below(this.rows.length);
    this.rows = [...this.rows.slice(0, place), ...more, ...this.rows.slice(place)].map((row) =>
      this.refused.has(row.email) ? { ...row, name: "Corrected" } : row,
    );
    if (dice.chance(0.5)) this.refused.clear();
  }

  async import(checkpoint: CheckpointStore): Promise<ImportJob<Person>> {
    const { createImport } = await import("../../js/import.ts");
    return createImport<Person>({
      rows: this.#source(this.rows),
      key: ({ email }) => email,
      checkpoint,
      logger: quiet,
      host: this.host,
      ...(this.#options as { send: ImportOptions<Person>["send"] }),
    });
  }
}

async function* streamOf(rows: Person[]): AsyncIterable<Person> {
  yield* rows;
}

/** Follows an import, and says at once what does not add up. */
function followed(job: ImportJob<Person>) {
  const seen = new Map<number, ImportRow<Person>>();
  const problems: string[] = [];
  job.on("row", (row) => {
    if (seen.has(row.index)) problems.push(`Row ${row.index} ended twice.`);
    seen.set(row.index, row);
  });
  job.on("progress", ({ total, pending, inFlight, ...counts }) => {
    const { imported, duplicate, failed, skipped, unknown } = counts;
    const sum = imported + duplicate + failed + skipped + unknown + pending;
    if (sum !== total || pending < 0 || inFlight > pending)
      problems.push(`${sum} of ${total}, of which ${pending} are pending and ${inFlight} in flight.`);
  });
  return { seen, problems };
}

function check(world: World, report: ImportReport<Person>, { seen, problems }: ReturnType<typeof followed>) {
  const { rows, refused, server } = world;
  expect(problems).toEqual([]);
  const listed = report.rows();
  const { imported, duplicate, failed, skipped, unknown, total } = report;
  expect(imported + duplicate + failed + skipped + unknown).toBe(total);
  expect(listed.map(({ index }) => index)).toEqual(Array.from({ length: total }, (_, i) => i));
  if (!report.stopped) expect(total).toBe(rows.length);
  for (const { index, outcome } of listed) {
    const told = seen.get(index);
    if (told) expect([index, told.outcome]).toEqual([index, outcome]);
  }
  const outcomes = new Map<string, Set<string>>();
  listed.forEach(({ outcome }, i) => {
    const { email } = rows[i] as Person;
    outcomes.set(email, (outcomes.get(email) ?? new Set()).add(outcome));
  });
  for (const [email, ended] of outcomes) {
    const copies = server.copies.get(email) ?? 0;
    const said = `${email}: ${[...ended]}, ${copies} times there`;
    expect(copies, said).toBeLessThanOrEqual(1);
    if (ended.has("imported")) expect(copies, said).toBe(1);
    if (copies === 0) continue;
    const isKnown = ["imported", "duplicate", "unknown"].some((outcome) => ended.has(outcome));
    // What an earlier run has sent is there although this one, which was stopped, never came to it.
    if (!report.stopped) expect(isKnown || refused.has(email) || ended.has("skipped"), said).toBe(true);
    if (ended.has("failed")) expect(isKnown, said).toBe(true);
  }
}

/** What people, pages, and the core do meanwhile. */
async function meddle(
  world: World,
  job: ImportJob<Person>,
  sabotage: Sabotage | null,
  isOver: () => boolean,
) {
  const { dice, host } = world;
  for (let turn = dice.below(10); turn > 0 && !isOver(); turn--) {
    await host.advance(dice.one(0, 1, 37, 400, 3_000));
    if (isOver()) return;
    switch (dice.below(7)) {
      case 0:
        job.pause();
        await host.advance(dice.one(0, 5_000));
        job.resume();
        break;
      case 1:
        if (dice.chance(0.3)) job.cancel();
        break;
      case 2:
        globalThis.dispatchEvent(new Event("offline"));
        await host.advance(2_000);
        globalThis.dispatchEvent(new Event("online"));
        break;
      case 3:
        host.jump(dice.one(1_000, 3_600_000));
        break;
      case 4:
        if (sabotage) sabotage.trapIn = dice.one<Sabotage["trapIn"]>(true, new Set([dice.one(...EXPORTS)]));
        break;
      case 5: {
        // A listener that does something is as good as a person.
        const doIt = dice.one(
          () => {
            job.pause();
            void host.sleep(500).then(() => job.resume());
          },
          () => job.resume(),
          () => dice.chance(0.2) && job.cancel(),
          () => void job.plan().catch(() => {}),
        );
        const off = job.on(dice.one("row", "progress"), () => {
          off();
          doIt();
        });
        break;
      }
      default:
    }
  }
  job.resume();
}

const EXPORTS = [
  ...["job_next", "job_end", "job_settle", "job_row", "job_numbers", "job_changed", "job_bits"],
  ...["job_add", "job_decide", "job_restore", "job_heard", "job_tell", "job_free", "judge"],
];

async function run(world: World, sabotage: Sabotage | null): Promise<void> {
  const { dice, disk } = world;
  for (let life = dice.one(1, 1, 2, 3); ; life--) {
    const page = disk.page();
    const job = await world.import(page.open);
    const follower = followed(job);
    if (dice.chance(0.2)) void job.plan().catch(() => {});
    let isOver = false;
    const running = job.start().finally(() => {
      isOver = true;
    });
    running.catch(() => {});
    if (life > 1) {
      await world.host.advance(dice.one(0, 3, 30, 200, 1_500, 6_000));
      if (dice.chance(0.3)) await meddle(world, job, sabotage, () => isOver);
    }
    if (life === 1 || isOver) {
      await meddle(world, job, sabotage, () => isOver);
      return check(world, await world.host.drive(running), follower);
    }
    page.close();
    world.reopen();
  }
}

beforeEach(() => {
  const page = new EventTarget();
  for (const name of ["addEventListener", "removeEventListener", "dispatchEvent"] as const) {
    vi.stubGlobal(name, page[name].bind(page));
  }
});

afterEach(() => {
  vi.unstubAllGlobals();
});

describe("an import in chaos", () => {
  it.each(seeds)("ends each row once (seed %i)", { timeout: 10_000 }, async (seed) => {
    const sabotage = seed % 3 === 0 ? sabotageCore() : null;
    if (seed % 7 === 0) vi.stubGlobal("WebAssembly", undefined);
    if (sabotage || seed % 7 === 0) vi.resetModules();
    await run(new World(seed), sabotage);
  });
});
