/** Records that rows refer to by name: companies, tags. Each is looked up once, and created once where it is missing. */

import {
  abortReason,
  aFunction,
  anObject,
  checked,
  type RateLimitConfig,
  RateLimitService,
  type Rules,
} from "../api.ts";
import { isConflict } from "./conflict.ts";
import { callDirect } from "./direct.ts";
import { type DataRecord, list } from "./lookup.ts";
import { aName, type CreatingProvider, checkTarget } from "./provider.ts";

export type RelatedId = string | number;

export interface RelatedRecordsOptions {
  /** Which field has the name. Default `"name"`. */
  field?: string | undefined;
  /** The record of a name that is missing. Default: the name alone. */
  data?: ((name: string) => object | PromiseLike<object>) | undefined;
  /** What else a record that may be referred to has, for getList. Default: nothing. */
  filter?: object | undefined;
  /**
   * The filter for getList that finds these names in whatever case; others may come along. Default: that of
   * ra-data-postgrest for `~*`, Postgres' regular expressions.
   */
  lookup?: ((names: readonly string[]) => object) | undefined;
  /** Handed to every call of the provider. */
  meta?: object | undefined;
  /**
   * What waits out refusals and failures of the server. Default: a service of its own that has much patience: an import
   * learns its pace from its own requests, and refusals of these would make it think that the server takes less than it does.
   */
  service?: RateLimitService | undefined;
}

/**
 * Ids by name, found or created. Names that differ in case or white space only are the same.
 *
 * Who asks while somebody else asks for the same name gets the same answer, and names that are asked for at once are looked
 * up together. A failure is not kept: the next who asks has it looked up again, which also finds what was created although
 * the answer was lost.
 */
export class RelatedRecords {
  readonly #source: { provider: CreatingProvider; resource: string; meta: object | undefined };
  readonly #terms: Terms;
  readonly #service: RateLimitService;
  readonly #ids = new Map<string, Promise<RelatedId>>();
  #missing = new Map<string, Wanted>();

  /** @throws RateLimitConfigError when `dataProvider`, `resource` or an option is none. */
  constructor(dataProvider: CreatingProvider, resource: string, options: RelatedRecordsOptions = {}) {
    checkTarget(dataProvider, resource);
    const given = checked<RelatedRecordsOptions>("options", options, OPTIONS);
    const { field = "name", meta } = given;
    this.#source = { provider: dataProvider, resource, meta };
    this.#service = given.service ?? new RateLimitService(PATIENT);
    this.#terms = {
      field,
      data: given.data ?? ((name) => ({ [field]: name })),
      filterFor: (names) => ({
        ...given.filter,
        ...(given.lookup?.(names) ?? { [`${field}@imatch`]: patternFor(names) }),
      }),
    };
  }

  /**
   * The id of the record with this name, which is created if there is none. `null`: there is no name, as in an empty cell.
   *
   * `signal` ends the waiting, and not what others wait for too.
   *
   * @throws what the provider throws, but for refusals that outlast the patience of the service: a RateLimitError; the signal's
   *   reason; TypeError for what cannot be a name.
   */
  async id(name: unknown, signal?: AbortSignal): Promise<RelatedId | null> {
    const text = nameIn(name);
    if (text === "") return null;
    const key = keyOf(text);
    const id = this.#ids.get(key) ?? this.#want(key, text);
    return signal ? orAborted(id, signal) : id;
  }

  /** The ids of several, each once, without those that are no name. */
  async ids(names: Iterable<unknown>, signal?: AbortSignal): Promise<RelatedId[]> {
    const ids = await Promise.all(Array.from(names, (name) => this.id(name, signal)));
    return [...new Set(ids)].filter((id) => id !== null);
  }

  /** Forgets what was found, because somebody else may have changed it. */
  clear(): void {
    this.#ids.clear();
  }

  #want(key: string, name: string): Promise<RelatedId> {
    // Whatever is asked for in this turn goes together.
    if (this.#missing.size === 0) void Promise.resolve().then(() => this.#fetch());
    const id = new Promise<RelatedId>((resolve, reject) => {
      this.#missing.set(key, { name, resolve, reject });
    });
    this.#ids.set(key, id);
    id.catch(() => {
      if (this.#ids.get(key) === id) this.#ids.delete(key);
    });
    return id;
  }

  async #fetch(): Promise<void> {
    const wanted = this.#missing;
    this.#missing = new Map();
    for (const chunk of chunksOf([...wanted.values()])) {
      try {
        await this.#settle(chunk);
      } catch (error) {
        // One that is settled already stays so.
        for (const { reject } of wanted.values()) reject(error);
        return;
      }
    }
  }

  /** One after the other: a server that refuses one would refuse the next, and nobody should ask it. */
  async #settle(wanted: Wanted[]): Promise<void> {
    const known = await this.#lookUp(wanted.map(({ name }) => name));
    for (const { name, resolve, reject } of wanted) {
      try {
        resolve(known.get(keyOf(name)) ?? (await this.#create(name)));
      } catch (error) {
        if (!isAboutContent(error)) throw error;
        reject(error);
      }
    }
  }

  /** The ids by key. Of several with one name the lowest id counts, so that it is always the same. */
  async #lookUp(names: string[]): Promise<Map<string, RelatedId>> {
    const { field, filterFor } = this.#terms;
    const ids = new Map<string, RelatedId>();
    const records = await this.#service.executeWithRetry(
      () => list(filterFor(names), this.#source, PER_PAGE),
      { idempotent: true },
    );
    for (const record of records) {
      const key = keyOf(String(record[field] ?? ""));
      if (!ids.has(key)) ids.set(key, idIn(record));
    }
    return ids;
  }

  async #create(name: string): Promise<RelatedId> {
    const { provider, resource, meta } = this.#source;
    const data = { ...(await this.#terms.data(name)) };
    try {
      const params = { data, ...(meta && { meta }) };
      const answer = await this.#service.executeWithRetry(() =>
        callDirect(provider, "create", resource, params),
      );
      return idIn((answer as { data?: DataRecord } | undefined)?.data ?? {});
    } catch (error) {
      // Somebody was faster, or the answer to our own first attempt was lost.
      const id = isConflict(error) ? (await this.#lookUp([name])).get(keyOf(name)) : undefined;
      if (id === undefined) throw error;
      return id;
    }
  }
}

/** As `new RelatedRecords(…)`. */
export function relatedRecords(
  dataProvider: CreatingProvider,
  resource: string,
  options?: RelatedRecordsOptions,
): RelatedRecords {
  return new RelatedRecords(dataProvider, resource, options);
}

interface Terms {
  field: string;
  data: (name: string) => object | PromiseLike<object>;
  filterFor: (names: readonly string[]) => object;
}

interface Wanted {
  name: string;
  resolve(id: RelatedId): void;
  reject(error: unknown): void;
}

/** CSV parsers make numbers of cells that look like some. */
function nameIn(name: unknown): string {
  if (name === undefined || name === null) return "";
  if (typeof name !== "string" && typeof name !== "number" && typeof name !== "bigint") {
    throw new TypeError(`A name must be a string, got ${typeof name}.`);
  }
  return String(name).normalize("NFC").trim().replace(/\s+/g, " ");
}

function keyOf(name: string): string {
  return nameIn(name).toLowerCase();
}

/** One of these names and nothing else, for Postgres: what means something in a regular expression is escaped. */
function patternFor(names: readonly string[]): string {
  const literal = (name: string): string =>
    name.replace(/[\\^$.|?*+()[\]{}]/g, "\\$&").replaceAll(" ", "\\s+");
  return `^\\s*(${names.map(literal).join("|")})\\s*$`;
}

function idIn({ id }: DataRecord): RelatedId {
  if (typeof id === "string" || typeof id === "number") return id;
  throw new TypeError(`A record of the data provider has no id, but ${typeof id}.`);
}

/**
 * Whether the server refused this one record, and might well take the next. What else went wrong (a limit, a lost
 * connection, a session that ended) is not about it.
 */
function isAboutContent(error: unknown): boolean {
  const status = Number((error as { status?: unknown } | null)?.status ?? 0);
  return status >= 400 && status < 500 && !NOT_ABOUT_CONTENT.has(status);
}

const NOT_ABOUT_CONTENT = new Set([401, 403, 408, 420, 429]);

/** Names that fit in one address together; a single one may be longer. */
function chunksOf(wanted: Wanted[]): Wanted[][] {
  const chunks: Wanted[][] = [];
  let left = 0;
  for (const one of wanted) {
    const length = encodeURIComponent(patternFor([one.name])).length;
    if (length > left) {
      chunks.push([]);
      left = ADDRESS_LENGTH;
    }
    chunks.at(-1)?.push(one);
    left -= length;
  }
  return chunks;
}

/** Servers and proxies take addresses of 8 kB, and most of one is ours. */
const ADDRESS_LENGTH = 4_000;

/** A project of Supabase answers with so many rows at most. */
const PER_PAGE = 1_000;

function orAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const abort = (): void => reject(abortReason(signal));
    if (signal.aborted) return abort();
    signal.addEventListener("abort", abort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", abort));
  });
}

/** Nobody looks at a spinner, and whoever asks for several names at once asks in one request: no circuit, and minutes of time. */
const PATIENT: Partial<RateLimitConfig> = {
  maxRetries: 20,
  initialDelayMs: 200,
  maxDelayMs: 10_000,
  maxRetryAfterMs: 600_000,
  circuitBreakerThreshold: 1_000_000,
  retryBudget: null,
  retryTransient: "idempotent",
  logLevel: "silent",
};

const OPTIONS: Rules<RelatedRecordsOptions> = {
  field: aName,
  data: aFunction,
  filter: anObject,
  lookup: aFunction,
  meta: anObject,
  service: {
    expected: "a RateLimitService",
    holds: (value) => typeof (value as Partial<RateLimitService> | null)?.executeWithRetry === "function",
  },
};
