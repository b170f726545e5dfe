/** A CRM server in a Map, a data provider that talks to it as the script says, and a service without any cleverness. */
import { vi } from "vitest";
import { type ImportOptions, startImport } from "../../../examples/crm/import/importer.mjs";

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

export function rateLimitError(code: string, retryAfterMs?: number) {
  return Object.assign(new Error(code), { name: "RateLimitError", code, retryAfterMs });
}

/** Makes one attempt per call and knows one thing: a 429 is a refusal. */
export function plainService() {
  const circuit = { isOpen: false, retryAfterMs: 0 };
  return {
    circuit,
    executeWithRetry: vi.fn(
      async (operation: (attempt: never) => unknown, context?: { signal?: AbortSignal }) => {
        context?.signal?.throwIfAborted();
        if (circuit.isOpen) throw rateLimitError("RATE_LIMIT_CIRCUIT_OPEN", circuit.retryAfterMs);
        try {
          return await untilAborted(Promise.resolve(operation(undefined as never)), context?.signal);
        } catch (error) {
          if ((error as { status?: number }).status !== 429) throw error;
          throw rateLimitError("RATE_LIMIT_MAX_RETRIES_EXCEEDED");
        }
      },
    ),
    getCircuitState: () => ({ ...circuit }),
    // biome-ignore lint/suspicious/noExplicitAny: the rest of a service is not used
  } as any;
}

/** As the service does: an abort rejects at once, whatever the operation does. */
function untilAborted<T>(work: Promise<T>, signal?: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    signal?.addEventListener("abort", () => reject(signal.reason), { once: true });
    work.then(resolve, reject);
  });
}

/** Ann 1, Bob 2 … with an address each. */
export function people(count: number): Row[] {
  return Array.from({ length: count }, (_, index) => ({
    first_name: `P${index + 1}`,
    email_work: `p${index + 1}@example.com`,
  }));
}

/** Starts an import and drives the faked clock until it is done. */
export async function runImport(server: FakeServer, options: Partial<ImportOptions>, limitMs = 3_600_000) {
  const job = startImport({
    rows: [],
    dataProvider: server.dataProvider,
    service: plainService(),
    origin: "test",
    ...options,
  });
  return finish(job, limitMs);
}

export async function finish(job: ReturnType<typeof startImport>, limitMs = 3_600_000) {
  let report: Awaited<typeof job.done> | undefined;
  void job.done.then((value) => {
    report = value;
  });
  for (let passed = 0; report === undefined && passed < limitMs; passed += 100) {
    await vi.advanceTimersByTimeAsync(100);
  }
  if (report === undefined) throw new Error(`not done after ${limitMs} ms: ${JSON.stringify(job.progress)}`);
  return report;
}
