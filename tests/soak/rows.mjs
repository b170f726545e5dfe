// Rows of imports with every outcome, in virtual time: an import in real time would mostly wait for its pace.
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { pathToFileURL } from "node:url";
import { root } from "../../js/steps.mjs";
import { seeded, weighted } from "./random.mjs";

const folder = path.resolve(process.env.TIDEGATE ?? path.join(root, "dist"));
const load = (entry) => import(pathToFileURL(path.join(folder, entry)).href);
const { createImport, forgetImport } = await load("import.js");
const { fileStore } = await load("import-node.js");
const { ManualHost } = await load("testing.js");

/** Rows of one import. */
const MOST = 10_000;

const quiet = { debug() {}, info() {}, warn() {}, error() {} };

export class Rows {
  done = 0;
  /** How they ended. */
  tally = {
    imported: 0,
    duplicate: 0,
    failed: 0,
    skipped: 0,
    unknown: 0,
    imports: 0,
    stopped: 0,
    requests: 0,
    throttled: 0,
  };
  #random;
  #folder = null;

  constructor(random) {
    this.#random = random;
  }

  async upTo(total) {
    while (this.done < total) {
      const count = Math.min(MOST, total - this.done);
      await this.#import(count);
      this.done += count;
    }
  }

  async end() {
    if (this.#folder !== null) await rm(this.#folder, { recursive: true, force: true });
  }

  async #import(count) {
    const random = this.#random;
    this.#folder ??= await mkdtemp(path.join(tmpdir(), "tidegate-soak-"));
    const host = new ManualHost({ seed: random.below(2 ** 31) });
    const checkpoint = random.chance(0.5) && fileStore(this.#folder);
    const number = this.tally.imports++;
    const job = createImport({
      rows: people(count, number, random),
      send: this.#sender(host),
      key: ({ email }) => email,
      // A file is synced before each request: one for each row would soak the disk.
      batchSize: checkpoint ? random.one(["auto", 100]) : random.one(["auto", 1, 100]),
      stopWhen: null,
      validate: ({ email }) => (email.endsWith("!") ? "no address" : null),
      checkpoint,
      logger: quiet,
      host,
      guardUnload: false,
    });
    const offs = ["progress", "row", "notice", "done"].map((event) => job.on(event, () => {}));
    // Now and then one is given up in the middle.
    if (random.chance(0.1)) void host.sleep(2_000).then(() => job.cancel());
    const report = await driven(host, job);
    for (const off of offs) off();
    this.#tell(report, count);
    if (checkpoint) await forgetImport(job.id, { checkpoint });
  }

  #tell(report, count) {
    const ended = ["imported", "duplicate", "failed", "skipped", "unknown"];
    const sum = ended.reduce((all, outcome) => all + report[outcome], 0);
    if (sum !== count) throw new Error(`Of ${count} rows ${sum} have an outcome`);
    for (const what of [...ended, "requests", "throttled"]) this.tally[what] += report[what];
    if (report.stopped) this.tally.stopped++;
  }

  #sender(host) {
    const random = seeded(this.#random.below(2 ** 31));
    const send = async (batch) => {
      await host.sleep(20 + random.below(60), batch.signal);
      return ANSWER(random)(batch, random);
    };
    return Object.assign(send, { idempotent: random.chance(0.5), maxBatch: 100 });
  }
}

/** A disk under load takes longer than a clock is patient, which believes that nobody is going to sleep any more. */
async function driven(host, job) {
  const report = job.start();
  for (let times = 1; ; times++) {
    try {
      return await host.drive(report);
    } catch (error) {
      if (!error.message.startsWith("Nobody sleeps")) throw error;
      if (times === MOST_TIMES)
        throw new Error(`It stands still: ${JSON.stringify(job.progress)}`, { cause: error });
    }
  }
}

/** A minute or so. */
const MOST_TIMES = 50;

function people(count, number, random) {
  return Array.from({ length: count }, (_, i) => {
    const kind = random.below(100);
    const one = kind === 0 ? random.below(i + 1) : i;
    return { name: `Person ${i}`, email: `p${one}@${number}.example${kind === 1 ? "!" : ""}` };
  });
}

const refused = (headers) => Promise.reject(Object.assign(new Error("429"), { status: 429, headers }));

const ANSWER = weighted([
  [70, () => undefined],
  [20, ({ items }, random) => items.map(() => random.one(ANSWERS))],
  [3, () => refused({ "retry-after-ms": "50" })],
  [2, () => refused({})],
  [2, () => Promise.reject(Object.assign(new Error("unavailable"), { status: 503 }))],
  [1, () => Promise.reject(new TypeError("Failed to fetch"))],
  [1, () => Promise.reject(Object.assign(new Error("invalid"), { status: 422 }))],
]);

const ANSWERS = [
  { outcome: "imported", id: 7 },
  { outcome: "imported" },
  { outcome: "duplicate" },
  { outcome: "failed", code: "23514", message: "The address is not valid." },
  { outcome: "ignored" },
];
