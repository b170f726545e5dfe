/** Whether a record that was sent has arrived: a filter to ask for it with, and what tells it from others. */

import { callDirect } from "./direct.ts";

export type DataRecord = Readonly<Record<string, unknown>>;

/** A question to `getList`, in the filter language of ra-data-postgrest, and the records that are an answer to it. */
export interface Lookup {
  filter: object;
  /** Whether the record is one that was asked for. Else the provider did not understand the filter. */
  isAsked(record: DataRecord): boolean;
  /** Whether, of those, it is the very one. */
  isIt(record: DataRecord): boolean;
}

/** Where to ask. */
export interface Source {
  provider: object;
  resource: string;
  meta: object | undefined;
  signal?: AbortSignal | undefined;
}

/**
 * The record that one of the lookups finds; `undefined` when it is certain that there is none.
 *
 * @throws Error when that cannot be told, because records came that nobody asked for, or too many; what getList throws.
 */
export async function found(lookups: readonly Lookup[], source: Source): Promise<DataRecord | undefined> {
  for (const { filter, isAsked, isIt } of lookups) {
    const records = await list(filter, source, PER_PAGE);
    const it = records.find((record) => isAsked(record) && isIt(record));
    if (it) return it;
    if (records.length >= PER_PAGE || !records.every(isAsked)) {
      throw new Error(`The data provider did not find by ${JSON.stringify(filter)} only what was asked for.`);
    }
  }
  return undefined;
}

/** The first records of a filter, by id. */
export async function list(
  filter: object,
  { provider, resource, meta, signal }: Source,
  perPage: number,
): Promise<DataRecord[]> {
  const answer = (await callDirect(provider, "getList", resource, {
    pagination: { page: 1, perPage },
    sort: { field: "id", order: "ASC" },
    filter,
    ...(meta && { meta }),
    ...(signal && { signal }),
  })) as { data?: unknown } | undefined;
  if (!Array.isArray(answer?.data)) throw new Error(`getList of ${resource} answered without data.`);
  return answer.data as DataRecord[];
}

/** By a field of which there is one of a kind. */
export function byField(field: string, value: unknown): Lookup[] {
  const text = String(value);
  const isAsked = (record: DataRecord): boolean => folded(record[field]) === folded(text);
  return variants(text).map((variant) => ({
    filter: { [`${field}@eq`]: variant },
    isAsked,
    isIt: () => true,
  }));
}

/**
 * By the first e-mail address of a record: a field `email`, or a list of them as CRMs on Supabase keep it, `email_jsonb` or
 * `email` with `{ email, type }` or `{ value, type }`. Families and offices share addresses, so that names must agree too,
 * where both have some. None: the record has no address.
 */
export function byEmail(sent: DataRecord): Lookup[] {
  for (const field of ["email", "email_jsonb"]) {
    const key = keyOfEmail(sent[field]);
    if (key === null) continue;
    const address = addressIn(sent[field], key);
    const isAsked = (record: DataRecord): boolean => hasEmail(record[field], address);
    return variants(address).map((variant) => ({
      filter:
        key === "" ? { [`${field}@eq`]: variant } : { [`${field}@cs`]: JSON.stringify([{ [key]: variant }]) },
      isAsked,
      isIt: (record) => NAMES.every((name) => agree(sent[name], record[name])),
    }));
  }
  return [];
}

/** As it was sent, and as a trigger may have written it. */
function variants(text: string): string[] {
  return [...new Set([text, text.toLowerCase()])];
}

/** Under which key the entries of a list have their address; `""`: it is no list; `null`: there is no address. */
function keyOfEmail(value: unknown): string | null {
  if (isText(value)) return "";
  const first: unknown = Array.isArray(value) ? value[0] : undefined;
  return ["email", "value"].find((key) => isText((first as DataRecord | null | undefined)?.[key])) ?? null;
}

function addressIn(value: unknown, key: string): string {
  return String(key === "" ? value : (value as DataRecord[])[0]?.[key]);
}

function hasEmail(value: unknown, address: string): boolean {
  const entries = (Array.isArray(value) ? value : [value]) as unknown[];
  const texts = entries.flatMap((entry) =>
    isText(entry) ? [entry] : [(entry as DataRecord | null)?.email, (entry as DataRecord | null)?.value],
  );
  return texts.some((text) => isText(text) && folded(text) === folded(address));
}

function agree(a: unknown, b: unknown): boolean {
  return !isText(a) || !isText(b) || folded(a) === folded(b);
}

function isText(value: unknown): value is string {
  return typeof value === "string" && value.trim() !== "";
}

/** As a trigger may have written it. */
export function folded(value: unknown): string {
  return String(value).trim().toLowerCase();
}

const NAMES = ["first_name", "last_name", "name"];

/** More people of one address than any office has. */
const PER_PAGE = 100;
