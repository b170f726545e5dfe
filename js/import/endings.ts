/** What became of a batch that a sender failed with, and of the rows of one that it answered. */

import { isRateLimitError, Judgement, outcomeOf, type RateLimitService } from "../api.ts";
import type { Settled } from "./desk.ts";
import type { RowProblem } from "./public.ts";
import type { BatchAnswer, ItemAnswer, SendFailure } from "./types.ts";

/** How a batch ends that was not answered. */
export type Ending =
  | { how: "throttled"; hintMs: number | null }
  | { how: "lost"; wasSent: boolean }
  | { how: "failed"; maybeApplied: boolean }
  | { how: "refused" }
  | { how: "too large" }
  /** No row would fare better. */
  | { how: "stops" };

/** An ending, and what there is to say about it. */
export interface Judged {
  ending: Ending;
  problem: Problem;
}

export interface Problem extends RowProblem {
  status?: number | undefined;
}

export interface Situation {
  /** Asked for its judgement, and for what the application says to it. */
  service: RateLimitService;
  idempotent: boolean;
  /** Whether the server has taken rows of this import. */
  hasImported: boolean;
  durationMs: number;
}

/** Judges what a sender threw. Never throws: of an error that cannot be read, the answer counts as lost. */
export async function endingOf(error: unknown, situation: Situation): Promise<Judged> {
  try {
    const failure = fieldsOf(error);
    const facts = outcomeOf({ thrown: true, value: error }, situation.durationMs, Number.NaN);
    const code = facts.code ?? nested(failure, "code");
    const status = facts.status ?? statusIn(code);
    const message = wordsOf(facts.message ?? error, status);
    const problem = { message, ...(code && { code }), ...(status !== undefined && { status }) };
    return { problem, ending: await howItEnded(error, failure, { status, code }, situation) };
  } catch {
    return { problem: { message: wordsOf(undefined) }, ending: { how: "lost", wasSent: true } };
  }
}

async function howItEnded(
  error: unknown,
  failure: Fields,
  { status, code = "" }: { status?: number | undefined; code?: string | undefined },
  { service, idempotent, hasImported, durationMs }: Situation,
): Promise<Ending> {
  const wasSent = failure.sent !== false;
  const hintMs = delayIn(failure.retryAfterMs) ?? delayIn(fieldsOf(failure.body).retryAfterMs);
  if (isRateLimitError(error) || code.startsWith("RATE_LIMIT_")) {
    if (NEVER.has(code)) return { how: "stops" };
    // It may have ended an attempt that was on its way.
    const isOnItsWay = code === "RATE_LIMIT_DEADLINE_EXCEEDED" && failure.attempts !== 0;
    // Else a service further in refused: nothing was sent, and it says when to come back.
    return isOnItsWay ? { how: "lost", wasSent } : { how: "throttled", hintMs };
  }
  if (failure.stops === true) return { how: "stops" };
  const said = await service.judgement(error, durationMs);
  // A core that fails meanwhile ignores it.
  const judged = said && said.code !== Judgement.ignored ? said : plainJudgement(error, status);
  if (judged.code === Judgement.throttled || judged.code === Judgement.throttledCall) {
    return { how: "throttled", hintMs: delayIn(judged.hintMs) ?? hintMs };
  }
  const isRolledBack = ROLLED_BACK.test(code);
  if (status === 413 || (failure.tooLarge === true && (idempotent || isRolledBack)))
    return { how: "too large" };
  // A policy of the database may refuse one row of many.
  if (status === 401 || (status === 403 && !(code === "42501" && hasImported))) return { how: "stops" };
  if (judged.code === Judgement.transient) return { how: "failed", maybeApplied: wasSent && !isRolledBack };
  if (judged.code === Judgement.silent || isAborted(error)) return { how: "lost", wasSent };
  return { how: "refused" };
}

/** Refusals of ours that no wait ends: whatever is sent would end so. */
const NEVER: ReadonlySet<string> = new Set(["RATE_LIMIT_CORE_UNAVAILABLE", "RATE_LIMIT_POOL_CLOSED"]);

/**
 * What Postgres refused, it has rolled back; PostgREST did not get that far. Class 08 and PGRST001 are a connection lost,
 * perhaps at the end, and of 40003 Postgres itself does not know.
 */
const ROLLED_BACK = /^(?:(?!08|40003)\d[0-9A-Z]{4}|P0\d{3}|XX\d{3}|PGRST(?!001)\d+)$/;

/** Without the core: by the status, and by the words with which browsers and Node tell of a lost connection. */
function plainJudgement(error: unknown, status: number | undefined): { code: number; hintMs: number } {
  const { retryAfterMs, message, name } = fieldsOf(error) as Partial<SendFailure & Error>;
  const judged = (code: number) => ({ code, hintMs: delayIn(retryAfterMs) ?? Number.NaN });
  if (status === 429 || status === 420) return judged(Judgement.throttled);
  if (status === 408 || (status !== undefined && status >= 500)) return judged(Judgement.transient);
  if (status) return judged(Judgement.permanent);
  const isLost = status === 0 || name === "TimeoutError" || LOST.test(String(message));
  return judged(isLost ? Judgement.silent : Judgement.permanent);
}

const LOST =
  /failed to fetch|networkerror|load failed|fetch failed|network request failed|ECONN|EPIPE|socket hang up/i;

function isAborted(error: unknown): boolean {
  const { name } = fieldsOf(error) as { name?: unknown };
  return name === "AbortError" || name === "TimeoutError";
}

// ---- answers

/** What a sender says of each row. */
export interface RowAnswer {
  outcome: Settled;
  id?: string | number | undefined;
  problem?: RowProblem | undefined;
}

/**
 * The answer for each of `count` rows. Where it says nothing about a row, or nothing that can be understood, nobody knows
 * what became of it.
 */
export function answersOf(answer: BatchAnswer | unknown, count: number): RowAnswer[] {
  try {
    return readAnswers(answer, count);
  } catch {
    const one = nobodyKnows("The sender's answer cannot be read.");
    return Array.from({ length: count }, () => one);
  }
}

function readAnswers(answer: unknown, count: number): RowAnswer[] {
  if (answer === undefined || answer === null)
    return Array.from({ length: count }, () => ({ outcome: "imported" }));
  if (!Array.isArray(answer)) {
    const one = answerOf(answer);
    return Array.from({ length: count }, () => one);
  }
  const surplus = answer.length > count;
  return Array.from({ length: count }, (_, i) =>
    // Of more answers than rows nobody knows which is whose.
    i < answer.length && !surplus
      ? answerOf(answer[i])
      : nobodyKnows(`The sender answered for ${answer.length} of ${count} rows.`),
  );
}

function answerOf(answer: unknown): RowAnswer {
  const { outcome, id, code, message } = fieldsOf(answer) as Partial<RowProblem> & {
    outcome?: ItemAnswer["outcome"];
    id?: unknown;
  };
  const known = typeof id === "string" || typeof id === "number" ? { id } : {};
  switch (outcome) {
    case "imported":
    case "duplicate":
    case "ignored":
      return { outcome, ...known };
    case "failed":
      return {
        outcome,
        problem: { message: wordsOf(message), ...(code !== undefined && { code: String(code) }) },
      };
    default:
      return nobodyKnows("The sender's answer cannot be understood.");
  }
}

function nobodyKnows(message: string): RowAnswer {
  return { outcome: "unknown", problem: { message, code: "BAD_ANSWER" } };
}

// ---- foreign values

type Fields = Partial<SendFailure> & Record<string, unknown>;

function fieldsOf(value: unknown): Fields {
  return typeof value === "object" && value !== null ? (value as Fields) : {};
}

/** react-admin's HttpError has the server's JSON in `body`. */
function nested(failure: Record<string, unknown>, field: string): string | undefined {
  for (const place of [failure.body, failure.error, failure.cause]) {
    const value = fieldsOf(place)[field];
    if (typeof value === "string" || typeof value === "number") return String(value);
  }
  return undefined;
}

/** PostgREST answers with the status that a function of the database raises: `PT429`. */
function statusIn(code: string | undefined): number | undefined {
  const [, digits] = /^PT([1-5]\d\d)$/.exec(code ?? "") ?? [];
  return digits ? Number(digits) : undefined;
}

/** Of a circuit that somebody has isolated nobody knows the end. */
function delayIn(ms: unknown): number | null {
  return typeof ms === "number" && ms >= 0 && ms < Number.POSITIVE_INFINITY ? ms : null;
}

function wordsOf(said: unknown, status?: number): string {
  const text = typeof said === "string" ? said.trim() : "";
  // A page of a proxy is no message.
  if (text === "" || text.startsWith("<"))
    return status ? `The server answered ${status}.` : "No reason was given.";
  return text.slice(0, LONGEST_MESSAGE);
}

/** It is shown in a table of rows. */
const LONGEST_MESSAGE = 500;
