import * as glue from "../pkg/core.js";
import type { Brought } from "./attempt.ts";
import { onAbort } from "./call.ts";
import { Judgement } from "./codes.ts";
import type { ServiceCore } from "./core.ts";
import type { Alarm } from "./host.ts";
import type { Outcome, Verdict } from "./types.ts";

/** A code of `Judgement`, and for a refusal the delay that the server asked for (NaN: none). */
export interface Judged {
  code: number;
  hintMs: number;
}

export type VerdictName = "success" | "throttled" | "transient" | "permanent" | "ignored";

/**
 * Whether a returned value is plainly no refusal and no error: then the core need not read it. It must never say so of
 * anything that the core would judge otherwise; where in doubt it says no.
 */
export function isPlainSuccess(value: unknown): boolean {
  if (typeof value !== "object" || value === null) return typeof value !== "function";
  try {
    const { status, error, rateLimitExceeded, data } = value as Record<string, unknown>;
    if (error !== undefined && error !== null) return false;
    if (rateLimitExceeded !== undefined) return false;
    if (typeof data === "object" && data !== null && "rateLimitExceeded" in data) return false;
    return status === undefined || (typeof status === "number" && status >= 200 && status < 400);
  } catch {
    return false;
  }
}

/** The judgement of the core. `patience`: how long the body of a refusal may be read, and what ends it before. */
export async function judge(
  core: ServiceCore,
  brought: Brought,
  wall: number,
  patience: Patience,
): Promise<Judged> {
  const judged = judgedByCore(core, brought, wall, undefined);
  const throttled = judged.code === Judgement.throttled || judged.code === Judgement.throttledCall;
  if (!throttled || !Number.isNaN(judged.hintMs)) return judged;
  // The body of a refusal may name the delay, whom it concerns, or say that it was one of ours.
  const body = await bodyOf(brought.value, patience);
  return body === undefined ? judged : judgedByCore(core, brought, wall, body);
}

function judgedByCore(
  { handle }: ServiceCore,
  { value, thrown }: Brought,
  wall: number,
  body: unknown,
): Judged {
  const code = glue.judge(handle, value, thrown, wall, body);
  return { code, hintMs: glue.after(handle) };
}

export interface Patience {
  sleep: Alarm;
  /** Until when the call has to be over; NaN: any time. */
  leftMs: number;
  signal: AbortSignal | null | undefined;
}

/** A verdict of the application in codes; a refusal without a delay has the server's. Throws a TypeError when it is none. */
export function judgedAs(verdict: Verdict, serversHintMs: number): Judged {
  if (typeof verdict === "object" && verdict?.throttled === true) {
    const { retryAfterMs, scope } = verdict;
    const hintMs = typeof retryAfterMs === "number" && retryAfterMs >= 0 ? retryAfterMs : serversHintMs;
    return { code: scope === "call" ? Judgement.throttledCall : Judgement.throttled, hintMs };
  }
  switch (verdict) {
    case "success":
    case "transient":
    case "permanent":
    case "ignored":
      return { code: Judgement[verdict], hintMs: Number.NaN };
    default:
      throw new TypeError(
        'classify: expected "success", "transient", "permanent", "ignored", { throttled: true } or undefined.',
      );
  }
}

export function verdictName(code: number): VerdictName {
  switch (code) {
    case Judgement.success:
      return "success";
    case Judgement.throttled:
    case Judgement.throttledCall:
      return "throttled";
    case Judgement.transient:
    case Judgement.silent:
      return "transient";
    case Judgement.permanent:
      return "permanent";
    default:
      return "ignored";
  }
}

/** The facts for an application's `classify`: the first status, code and message that are found. */
export function outcomeOf(brought: Brought, durationMs: number, hintMs: number): Outcome {
  const places = [brought.value, ...["error", "cause", "response"].map((key) => read(brought.value, key))];
  const first = <T>(keys: string[], as: (value: unknown) => T | undefined): T | undefined => {
    for (const place of places) {
      for (const key of keys) {
        const found = as(read(place, key));
        if (found !== undefined) return found;
      }
    }
    return undefined;
  };
  const status = first(["status", "statusCode"], numberIn);
  const code = first(["code"], (value) => (typeof value === "number" ? String(value) : textIn(value)));
  const message = first(["message"], textIn);
  return {
    ...(brought.thrown ? { error: brought.value } : { value: brought.value }),
    ...(status !== undefined && { status }),
    ...(code !== undefined && { code }),
    ...(message !== undefined && { message }),
    ...(!Number.isNaN(hintMs) && { retryAfterMs: hintMs }),
    durationMs,
  };
}

/** A property of somebody else's object; a getter that throws is one that is not there. */
function read(from: unknown, key: string): unknown {
  if (typeof from !== "object" || from === null) return undefined;
  try {
    return (from as Record<string, unknown>)[key];
  } catch {
    return undefined;
  }
}

function textIn(value: unknown): string | undefined {
  return typeof value === "string" ? value : undefined;
}

function numberIn(value: unknown): number | undefined {
  if (typeof value === "number" && Number.isFinite(value)) return value;
  return typeof value === "string" && /^\d{1,3}$/.test(value) ? Number(value) : undefined;
}

/**
 * The beginning of the body of a refused, unread `Response` (the value itself, or in an error's `context` or
 * `response`): parsed where it is JSON, else the text. The response itself stays unread.
 */
async function bodyOf(value: unknown, patience: Patience): Promise<unknown> {
  const response = unreadResponse(value);
  if (response === null) return undefined;
  const enough = new AbortController();
  const unfollow = patience.signal ? onAbort(patience.signal, () => enough.abort()) : undefined;
  const ms = Number.isNaN(patience.leftMs) ? BODY_MS : Math.min(BODY_MS, Math.max(0, patience.leftMs));
  try {
    // Whoever refuses us and then dawdles over the explanation is not worth waiting for.
    const text = await Promise.race([beginningOf(response.clone()), patience.sleep(ms, enough.signal)]);
    return typeof text === "string" ? parsed(text) : undefined;
  } catch {
    return undefined;
  } finally {
    unfollow?.();
    enough.abort();
  }
}

function unreadResponse(value: unknown): Response | null {
  const error = read(value, "error");
  const candidates = [
    value,
    ...["context", "response"].flatMap((key) => [read(value, key), read(error, key)]),
  ];
  return (candidates.find(isUnreadResponse) as Response | undefined) ?? null;
}

/** Not `instanceof`: it may come from a frame, and servers for Node put a class of their own in the place of the global one. */
function isUnreadResponse(candidate: unknown): boolean {
  try {
    const { bodyUsed, clone, body } = candidate as Partial<Response>;
    return bodyUsed === false && typeof clone === "function" && typeof body?.getReader === "function";
  } catch {
    // Nothing, a proxy that was revoked, or something that only looks like a Response.
    return false;
  }
}

async function beginningOf(response: Response): Promise<string> {
  const reader = response.body?.getReader();
  if (!reader) return "";
  const decoder = new TextDecoder();
  let text = "";
  let bytes = 0;
  while (bytes < BODY_BYTES) {
    const { done, value } = await reader.read();
    if (done) break;
    const piece = value.subarray(0, BODY_BYTES - bytes);
    bytes += piece.length;
    text += decoder.decode(piece, { stream: true });
  }
  reader.cancel().catch(() => {});
  return text;
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return text;
  }
}

/** A refusal is short; what is longer is a page for people, whose first lines say what it is. */
const BODY_BYTES = 4096;

/** The body of a refusal comes with its headers, or something is wrong. */
const BODY_MS = 1_000;
