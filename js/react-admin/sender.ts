/** Rows of an import through a data provider, which knows nothing of imports. */

import {
  aBoolean,
  abortReason,
  aFunction,
  anObject,
  checked,
  count,
  RateLimitConfigError,
  type Rules,
} from "../api.ts";
import type { BatchAnswer, ImportBatch, ImportItem, ItemAnswer, Sender } from "../import/types.ts";
import { isConflict } from "./conflict.ts";
import { callDirect } from "./direct.ts";
import { byEmail, byField, type DataRecord, found, type Lookup } from "./lookup.ts";
import { aName, type CreatingProvider, checkTarget } from "./provider.ts";

export interface DataProviderSenderOptions<Row> {
  /**
   * The record of a row, as the resource wants it; it may take its time, to look up a company for example. It may be asked
   * again for the same row. What it throws is judged as what the provider throws: an error without a status fails this row.
   * Default: the row as it is.
   */
  map?: ((row: Row, item: ImportItem<Row>) => object | PromiseLike<object>) | undefined;
  /**
   * Whether records are created with ids of ours, which makes the sender idempotent: one that is there already is refused
   * by the server, and is `ignored`. Default `false`.
   */
  withIds?: boolean | undefined;
  /** Which field gets them: it has a unique constraint, and takes a UUID. Default `"id"`. */
  idField?: string | undefined;
  /**
   * How a record is found whose answer was lost. By its first e-mail address; by the field of this name, of which there is
   * one of a kind; by the filter for getList that this function makes of the record, `null` where none would do; `null`:
   * not at all. What cannot be found for certain, or for certain not, ends as `unknown`. Filters are those of
   * ra-data-postgrest. Default `"email"`; with `withIds` by the id.
   */
  verifyBy?: string | ((record: DataRecord, item: ImportItem<Row>) => object | null) | null | undefined;
  /**
   * Whether `createMany` is used. It must be all or nothing, as one INSERT is: where a part of the records may be created and
   * the rest refused, that part would be created again. `withLifecycleCallbacks` does not know it, so that `map` has to do
   * what `beforeCreate` and `beforeSave` do. Default: where the provider has one.
   */
  createMany?: boolean | undefined;
  /** The most records for `createMany`. Default 100; 1 to 1000. */
  maxBatch?: number | undefined;
  /** Handed to every call of the provider. */
  meta?: object | undefined;
  /** Where the resource is; a part of what ids are made for. */
  origin?: string | undefined;
}

/**
 * A sender that creates records through a data provider: one by one, or with its `createMany`.
 *
 * Guards of `resilientDataProvider` let its calls through at once, wherever they stand: the import waits by itself. Guards
 * inside the provider, as `resilientHttpClient`, do not know of it; build the provider for an import without them.
 *
 * Each call gets a record of its own, because callbacks write into it. What the provider throws comes out as the same object.
 *
 * @throws RateLimitConfigError when `dataProvider`, `resource` or an option is none.
 */
export function dataProviderSender<Row = Record<string, unknown>>(
  dataProvider: CreatingProvider,
  resource: string,
  options: DataProviderSenderOptions<Row> = {},
): Sender<Row> {
  checkTarget(dataProvider, resource);
  const given = checked<DataProviderSenderOptions<Row>>("options", options, OPTIONS);
  const { map = (row: Row) => row as object, withIds = false, idField = "id", meta, origin } = given;
  const many = given.createMany ?? hasCreateMany(dataProvider);
  checkTogether(given, many, dataProvider);
  const { verifyBy = withIds ? idField : "email" } = given;
  const source = { provider: dataProvider, resource, meta };

  const recordOf = async (item: ImportItem<Row>): Promise<DataRecord> => {
    const mapped = await map(item.row, item);
    if (typeof mapped !== "object" || mapped === null || Array.isArray(mapped)) {
      throw new TypeError("map: expected an object, the record of a row.");
    }
    return { ...mapped, ...(withIds && { [idField]: item.id }) };
  };

  const send = async ({ items, signal }: ImportBatch<Row>): Promise<BatchAnswer> => {
    const records = await unsent(Promise.all(items.map(recordOf)));
    // Once it is under way a data provider cannot be stopped.
    if (signal.aborted) throw abortReason(signal);
    try {
      return many ? await createAll(records) : [await createOne(records)];
    } catch (error) {
      const [item, ...others] = items;
      if (!item) throw error;
      if (isMisread(error)) return afterMisreading(error, [item, ...others], signal);
      if (!withIds || others.length > 0 || !isConflict(error)) throw error;
      // Somebody else's value of another field may be in the way: only the id says that it is this very row.
      const there = await found(byField(idField, item.id), source);
      if (!there) throw error;
      return [{ outcome: "ignored", ...idOf(there) }];
    }
  };

  /** The provider stumbled, over the answer most likely: the record may be there. What cannot be told counts as lost. */
  const afterMisreading = async (
    error: Error,
    items: readonly [ImportItem<Row>, ...ImportItem<Row>[]],
    signal: AbortSignal,
  ): Promise<BatchAnswer> => {
    const [item, ...others] = items;
    let there: ItemAnswer | undefined;
    try {
      if (others.length > 0) throw new Error("Several records are not looked for.");
      there = await verify(item.row, item, signal);
    } catch {
      throw Object.assign(new Error(error.message, { cause: error }), { status: 0 });
    }
    if (!there) throw error;
    return [{ ...there, outcome: "imported" }];
  };

  const createOne = async (records: DataRecord[]): Promise<ItemAnswer> => {
    if (records.length !== 1)
      throw new TypeError("A data provider creates one record at a time: maxBatch is 1.");
    return answerOf(await callDirect(dataProvider, "create", resource, withMeta({ data: records[0] })));
  };

  const createAll = async (records: DataRecord[]): Promise<BatchAnswer> => {
    const answer = await callDirect(dataProvider, "createMany", resource, withMeta({ data: records }));
    return answersOf(answer, records.length);
  };

  const withMeta = (params: object): object => (meta ? { ...params, meta } : params);

  const verify = async (
    _row: Row,
    item: ImportItem<Row>,
    signal: AbortSignal,
  ): Promise<ItemAnswer | undefined> => {
    const record = await recordOf(item);
    const lookups = lookupsFor(record, item, verifyBy);
    if (lookups.length === 0) throw new Error("There is nothing to find this record by.");
    const there = await found(lookups, { ...source, signal });
    return there && { outcome: "ignored", ...idOf(there) };
  };

  return Object.assign(send, {
    idempotent: withIds,
    maxBatch: many ? (given.maxBatch ?? MAX_BATCH) : 1,
    table: resource,
    ...(verifyBy !== null && { verify }),
    ...(origin !== undefined && { origin }),
  });
}

function lookupsFor<Row>(
  record: DataRecord,
  item: ImportItem<Row>,
  verifyBy: DataProviderSenderOptions<Row>["verifyBy"],
): Lookup[] {
  if (typeof verifyBy === "function") {
    const filter = verifyBy(record, item);
    return filter ? [{ filter, isAsked: () => true, isIt: () => true }] : [];
  }
  if (verifyBy === "email") return byEmail(record);
  const value = record[verifyBy ?? ""] ?? "";
  return value === "" ? [] : byField(verifyBy ?? "", value);
}

// ---- answers

/**
 * What `createMany` answered: nothing in particular, or one entry for each record, by itself or as `data`. An entry is a
 * record, an id, `{ data: record }`, or how a promise of such was settled.
 *
 * @throws an error that says that the answer was lost, when there are more or fewer.
 */
function answersOf(answer: unknown, expected: number): BatchAnswer {
  const entries: unknown = Array.isArray(answer) ? answer : at(answer, "data");
  if (!Array.isArray(entries)) return { outcome: "imported" };
  if (entries.length === expected) return entries.map(answerOf);
  const message = `createMany answered with ${entries.length} entries for ${expected} records.`;
  throw Object.assign(new Error(message), { status: 0 });
}

function answerOf(entry: unknown): ItemAnswer {
  if (at(entry, "status") === "rejected") {
    const reason = at(entry, "reason");
    const code = at(reason, "code") ?? at(at(reason, "body"), "code");
    return {
      outcome: "failed",
      message: String(at(reason, "message") ?? reason),
      ...(code !== undefined && { code: String(code) }),
    };
  }
  return { outcome: "imported", ...idOf(at(entry, "value") ?? entry) };
}

/** The id in what a provider answered. */
function idOf(answer: unknown): { id?: string | number } {
  const id = at(at(answer, "data"), "id") ?? at(answer, "id") ?? answer;
  return typeof id === "string" || typeof id === "number" ? { id } : {};
}

function at(place: unknown, key: string): unknown {
  return typeof place === "object" && place !== null ? (place as DataRecord)[key] : undefined;
}

/**
 * Whether a provider stumbled over something that was not there, or is no JSON, as ra-data-postgrest does over a success whose
 * body is none. Browsers tell of a lost connection with a TypeError too, and in other words.
 */
function isMisread(error: unknown): error is Error {
  const name = at(error, "name");
  if (at(error, "status") !== undefined) return false;
  const isMissing = /\b(undefined|null|propert(y|ies))\b/.test(String(at(error, "message")));
  return name === "SyntaxError" || (name === "TypeError" && isMissing);
}

/** What fails here fails before the request: said so, unless it is no object that could say it. */
async function unsent<T>(promise: Promise<T>): Promise<T> {
  try {
    return await promise;
  } catch (error) {
    if (typeof error === "object" && error !== null && Object.isExtensible(error)) {
      Object.assign(error, { sent: false });
    }
    throw error;
  }
}

// ---- the options

/** `in`, because the Proxies of useDataProvider and combineDataProviders answer any name with a function. */
function hasCreateMany(provider: object): boolean {
  return "createMany" in provider && typeof provider.createMany === "function";
}

function checkTogether(
  { createMany, maxBatch }: DataProviderSenderOptions<never>,
  many: boolean,
  provider: { createMany?: unknown } & object,
): void {
  if (createMany && typeof provider.createMany !== "function") {
    throw new RateLimitConfigError("createMany", createMany, "a data provider that has createMany");
  }
  if (!many && maxBatch !== undefined && maxBatch !== 1) {
    throw new RateLimitConfigError("maxBatch", maxBatch, "1, because records are created one by one");
  }
}

const OPTIONS: Rules<DataProviderSenderOptions<never>> = {
  map: aFunction,
  withIds: aBoolean,
  idField: aName,
  verifyBy: {
    expected: "the name of a field, a function or null",
    holds: (value) => value === null || typeof value === "function" || aName.holds(value),
  },
  createMany: aBoolean,
  maxBatch: count(1, 1_000),
  meta: anObject,
  origin: aName,
};

/** As many as one statement does well: 600 rows have run into Supabase's limit of 8 s. */
const MAX_BATCH = 100;
