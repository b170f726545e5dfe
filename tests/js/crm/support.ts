/** A CRM server in arrays, and what talks to it as the script says: a data provider, and a client of Supabase. */
import { expect, vi } from "vitest";
import { toCSV } from "../../../examples/crm/csv/generate.mjs";
import { readContacts } from "../../../examples/crm/import/file.mjs";
import { contactImport } from "../../../examples/crm/import/job.mjs";
import { contactSender, type Way } from "../../../examples/crm/import/sender.mjs";
import { seededRandom } from "../../../examples/crm/seeded.mjs";

export type Row = Record<string, string>;

/** What a data provider's `create` may meet; `written` says whether the row is there afterwards. */
export interface Trouble {
  error: unknown;
  written: boolean;
}

/** `HttpError` of react-admin, as far as anybody looks at it. */
export function httpError(status: number, body: object | null = null, message = `status ${status}`) {
  return Object.assign(new Error(message), { name: "HttpError", status, body });
}

export function refused(): Trouble {
  return { error: httpError(429, { message: "API rate limit exceeded" }), written: false };
}

export function lost(written: boolean): Trouble {
  return { error: new TypeError("fetch failed"), written };
}

export function broken(status: number, written = false): Trouble {
  return { error: httpError(status), written };
}

export function rejected(message = "value too long"): Trouble {
  return { error: httpError(400, { code: "22001", message }, message), written: false };
}

/** A server that keeps contacts, companies and tags, and refuses an `import_key` that it has. */
export class FakeServer {
  contacts: Record<string, unknown>[] = [];
  companies: Record<string, unknown>[] = [];
  tags: Record<string, unknown>[] = [];
  /** Creations of contacts that arrived, in order, by first name. */
  sent: string[] = [];
  /** Rows in each upsert that arrived. */
  batches: number[] = [];
  inFlight = 0;
  mostInFlight = 0;
  latencyMs = 0;
  /** Asked at each request; what it returns happens instead of an answer. */
  trouble: (resource: string, data: Row, nth: number) => Trouble | undefined = () => undefined;
  #seen = new Map<string, number>();

  readonly dataProvider = {
    create: (resource: string, { data }: { data: object }) => this.#create(resource, data as Row),
    getList: (resource: string, { filter }: { filter: Record<string, string> }) =>
      this.#find(resource, filter),
    // biome-ignore lint/suspicious/noExplicitAny: the rest of a data provider is not used
  } as any;

  /** supabase-js, as far as an import in batches uses it: an upsert that leaves those alone that are there. */
  readonly supabase = {
    from: (table: string) => ({
      upsert: (records: Row[], options: object) => ({
        select: () => ({ abortSignal: () => this.#upsert(table, records, options) }),
      }),
    }),
  };

  /** Times a request about this name arrived before. */
  #count(resource: string, data: Row) {
    const name = `${resource}/${data.first_name ?? data.name}`;
    const nth = (this.#seen.get(name) ?? 0) + 1;
    this.#seen.set(name, nth);
    return nth;
  }

  async #create(resource: string, data: Row) {
    if (resource === "contacts") this.sent.push(String(data.first_name));
    return this.#during(async () => {
      const trouble = this.trouble(resource, data, this.#count(resource, data));
      if (trouble === undefined) return { data: this.#write(resource, data) };
      if (trouble.written) this.#write(resource, data);
      throw trouble.error;
    });
  }

  async #upsert(table: string, records: Row[], options: object) {
    this.batches.push(records.length);
    expect(options).toMatchObject({ onConflict: "import_key", ignoreDuplicates: true });
    return this.#during(async () => {
      const there = new Set(this.#table(table).map(({ import_key }) => import_key));
      const fresh = records.filter(({ import_key }) => !there.has(import_key));
      for (const record of fresh) this.#write(table, record);
      return { status: 201, data: fresh.map(({ import_key }) => ({ import_key })), error: null };
    });
  }

  async #find(resource: string, filter: Record<string, string>) {
    return this.#during(async () => {
      const [[field, pattern] = ["", ""]] = Object.entries(filter);
      const trouble = this.trouble(
        `${resource}?`,
        { name: pattern },
        this.#count(`${resource}?`, { name: pattern }),
      );
      if (trouble !== undefined) throw trouble.error;
      const matching = this.#table(resource).filter(({ name, import_key }) =>
        field === "import_key@eq" ? import_key === pattern : new RegExp(pattern, "iu").test(String(name)),
      );
      return { data: matching, total: matching.length };
    });
  }

  async #during<T>(work: () => Promise<T>): Promise<T> {
    this.inFlight += 1;
    this.mostInFlight = Math.max(this.mostInFlight, this.inFlight);
    try {
      if (this.latencyMs > 0) await new Promise((resolve) => setTimeout(resolve, this.latencyMs));
      return await work();
    } finally {
      this.inFlight -= 1;
    }
  }

  #table(resource: string) {
    return this[resource as "contacts" | "companies" | "tags"];
  }

  #write(resource: string, data: Row) {
    const table = this.#table(resource);
    const { import_key } = data;
    if (import_key !== undefined && table.some((record) => record.import_key === import_key)) {
      const message = `duplicate key value violates unique constraint "${resource}_import_key_key"`;
      throw httpError(409, { code: "23505", message, details: "Key (import_key) already exists." }, message);
    }
    const record = { ...data, id: table.length + 1 };
    table.push(record);
    return record;
  }
}

/** Ann 1, Bob 2 … with an address each. */
export function people(count: number): Row[] {
  return Array.from({ length: count }, (_, index) => ({
    first_name: `P${index + 1}`,
    email_work: `p${index + 1}@example.com`,
  }));
}

/** An import into this server, as the page and the headless demo make it. What a test is not about is kept quiet. */
export function importOf(
  server: Pick<FakeServer, "dataProvider" | "supabase">,
  file: string | Row[],
  way: Way = "one by one",
) {
  const csv = typeof file === "string" ? file : toCSV(file);
  const send = contactSender(way, server, "test");
  const host = { random: seededRandom(1) };
  return contactImport(readContacts(csv), { send, checkpoint: false, logger: silent, host });
}

/** Imports, and drives the faked clock until that is done. */
export async function imported(...args: Parameters<typeof importOf>) {
  const job = importOf(...args);
  // Hashing a file takes threads and the real clock, in which any time of the faked one would pass.
  await job.plan();
  return finish(job.start());
}

export async function finish<T>(promise: Promise<T>, limitMs = 3_600_000): Promise<T> {
  let pending = true;
  const done = () => {
    pending = false;
  };
  promise.then(done, done);
  for (let passed = 0; pending; passed += 100) {
    if (passed > limitMs) throw new Error(`not done after ${limitMs} ms`);
    await vi.advanceTimersByTimeAsync(100);
    // What waits for no time but for its turn, such as the reading of a file.
    await new Promise((resolve) => realImmediate(resolve));
  }
  return promise;
}

const realImmediate = setImmediate;

const nothing = () => {};
const silent = { error: nothing, warn: nothing, info: nothing, debug: nothing };
