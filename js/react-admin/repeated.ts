/** Calls that are repeated because an answer was lost, and whose repetition fails because they were done. */

import { type AttemptInfo, Judgement, type RateLimitService } from "../api.ts";
import { isConflict, isMissing } from "./conflict.ts";
import { callDirect } from "./direct.ts";
import { folded } from "./lookup.ts";

/** What is called of a data provider. */
export interface Target {
  provider: object;
  method: string;
  /** Asked what it takes for a refusal. */
  service: RateLimitService;
}

/** What we look at in the parameters of what is repeated. */
type Params =
  | { id?: unknown; ids?: unknown; data?: unknown; previousData?: unknown; meta?: unknown; signal?: unknown }
  | null
  | undefined;

/** What the attempts of a call failed with, and what that says of the next one. */
export class Failures {
  readonly #target: Target;
  readonly #thrown: unknown[] = [];
  #hasLooked = false;

  constructor(target: Target) {
    this.#target = target;
  }

  /** Whether an attempt has thrown this. */
  has(error: unknown): boolean {
    return this.#thrown.includes(error);
  }

  /**
   * What a failed attempt is answered all the same: it was told that the record is there already, or that there is none, an
   * earlier attempt may have been done, and a look-up finds it so. `undefined`: the failure is one like any other.
   *
   * The look-up is a part of the attempt, and of its time. There is one in a call. Never rejects.
   *
   * @param given The arguments that the provider got.
   */
  async answerAfter(error: unknown, attempt: AttemptInfo, given: unknown[]): Promise<object | undefined> {
    const before = this.#thrown.slice();
    this.#thrown.push(error);
    try {
      const [resource, params] = given as [string, Params];
      const look = lookFor(this.#target.method, error, params);
      if (!look || !(await this.#mayBeDone(before, attempt))) return undefined;
      // For one that was given up nobody waits any longer.
      if (this.#hasLooked || attempt.signal.aborted) return undefined;
      this.#hasLooked = true;
      const { provider } = this.#target;
      return await look((method, asked) =>
        callDirect(provider, method, resource, { ...asked, ...contextIn(params) }),
      );
    } catch {
      return undefined;
    }
  }

  /** Whether an attempt before this one may have been done without our hearing of it: any that was not refused. */
  async #mayBeDone(thrown: readonly unknown[], attempt: AttemptInfo): Promise<boolean> {
    // One that took too long may still be on its way.
    if (thrown.length < attempt.retries) return true;
    for (const error of thrown) {
      const judged = await this.#target.service.judgement(error, 0);
      if (judged?.code !== Judgement.throttled && judged?.code !== Judgement.throttledCall) return true;
    }
    return false;
  }
}

/** The id that the client has chosen for a record. A form that leaves it to the server may send it empty: `undefined`. */
export function ownId(params: unknown): unknown {
  const id = (params as { data?: { id?: unknown } | null } | null | undefined)?.data?.id;
  return id === null || id === "" ? undefined : id;
}

// ---- looking

/** Asks the provider. */
type Ask = (method: string, params: object) => Promise<unknown>;

type Look = (ask: Ask) => Promise<object | undefined>;

/** How to find out whether the failure means that it was done; `undefined`: it does not. */
function lookFor(method: string, error: unknown, params: Params): Look | undefined {
  const id = ownId(params);
  if (method === "create" && id !== undefined && isConflict(error)) {
    return (ask) => created(ask, id, params?.data);
  }
  if (method === "delete" && isMissing(error)) {
    return async (ask) =>
      (await isGone(ask, params?.id)) ? { data: params?.previousData ?? { id: params?.id } } : undefined;
  }
  if (method === "deleteMany" && isMissing(error) && Array.isArray(params?.ids)) {
    const { ids } = params;
    return async (ask) => ((await areGone(ask, ids)) ? { data: ids } : undefined);
  }
  return undefined;
}

/** What getOne answers, if it is the record that was sent and not somebody else's. */
async function created(ask: Ask, id: unknown, data: unknown): Promise<object | undefined> {
  const answer = (await ask("getOne", { id })) as { data?: unknown } | undefined;
  // As it went over the wire.
  const sent: unknown = JSON.parse(JSON.stringify(data));
  return answer && agree(sent, answer.data) ? answer : undefined;
}

/** A record that may not be deleted is missing to DELETE, too: only reading tells. */
async function isGone(ask: Ask, id: unknown): Promise<boolean> {
  try {
    await ask("getOne", { id });
    return false;
  } catch (error) {
    return isMissing(error);
  }
}

async function areGone(ask: Ask, ids: unknown[]): Promise<boolean> {
  const answer = (await ask("getMany", { ids })) as { data?: unknown } | undefined;
  return Array.isArray(answer?.data) && answer.data.length === 0;
}

/** What says where and for how long is asked. */
function contextIn(params: Params): object {
  const { meta, signal } = params ?? {};
  return { ...(meta !== undefined && { meta }), ...(signal !== undefined && { signal }) };
}

// ---- comparing

/**
 * Whether all that was sent is in what was found, as databases and their triggers write it: trimmed, in lower case, numbers
 * for their digits, times in another form, nothing for an empty text.
 */
function agree(sent: unknown, found: unknown): boolean {
  if (isNothing(sent) || isNothing(found)) return isNothing(sent) && isNothing(found);
  if (typeof sent !== "object" || typeof found !== "object") return isAlike(sent, found);
  if (Array.isArray(sent) !== Array.isArray(found)) return false;
  if (Array.isArray(sent) && sent.length !== (found as unknown[]).length) return false;
  const record = found as Record<string, unknown>;
  return Object.entries(sent as object).every(([key, value]) => agree(value, record[key]));
}

function isNothing(value: unknown): value is null | undefined | "" {
  return value === null || value === undefined || value === "";
}

function isAlike(sent: unknown, found: unknown): boolean {
  if (folded(sent) === folded(found)) return true;
  if (typeof sent === "number" || typeof found === "number") return Number(sent) === Number(found);
  return timeIn(sent) === timeIn(found);
}

/** In milliseconds; NaN: it is no time. One without a zone is the server's, which is UTC. */
function timeIn(value: unknown): number {
  const text = String(value);
  const parts = TIME.exec(text);
  if (!parts) return Number.NaN;
  const [, clock, zone] = parts;
  return Date.parse(clock && !zone ? `${text}Z` : text);
}

const TIME = /^\d{4}-\d\d-\d\d([T ]\d\d:\d\d[\d:.]*)?(Z|[+-]\d\d(?::?\d\d)?)?$/i;
