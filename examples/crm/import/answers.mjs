import { isRateLimitError } from "tidegate";
import { RowError } from "./contact.mjs";

/**
 * What a failed attempt to create a contact means for its row.
 *
 * - `refused`: the server did nothing and wants to be asked later; `retryAfterMs` when it said when
 * - `unanswered`: the contact may be there or not
 * - `faulty`: the server answered that it broke, and had written nothing
 * - `there`: a contact with this row's key is there already
 * - `rejected`: the row will never be taken as it is
 * - `aborted`: the import was cancelled
 *
 * @typedef {{ kind: "refused"; code?: string; retryAfterMs?: number }
 *   | { kind: "unanswered" | "faulty" | "there" | "rejected" | "aborted"; code?: string; message: string }} Answer
 */

/**
 * @param {unknown} error what the data provider or the rate limit service rejected with
 * @returns {Answer}
 */
export function answerOf(error) {
  if (isRateLimitError(error)) return { kind: "refused", code: error.code, retryAfterMs: error.retryAfterMs };
  const { status, code, name, message } = factsOf(error);
  const kind = kindOf(status, code, message, name, error);
  return kind === "refused" ? { kind, code } : { kind, code, message: sentence(message, status) };
}

/**
 * @param {number} status
 * @param {string | undefined} code
 * @param {string} message
 * @param {string} name
 * @param {unknown} error
 */
function kindOf(status, code, message, name, error) {
  if (error instanceof RowError) return "rejected";
  if (name === "AbortError") return "aborted";
  if (status === 429 || status === 420) return "refused";
  if (code === UNIQUE_VIOLATION || status === 409)
    return message.includes("import_key") ? "there" : "rejected";
  // PostgREST answers 500 with Postgres' code (a timeout, a deadlock) after it has rolled back.
  if (status === 500 || status === 501) return "faulty";
  if (status === 408 || status >= 502) return "unanswered";
  if (status >= 400) return "rejected";
  // No status: the connection ended, or never was, or (as a timeout) took too long.
  return error instanceof TypeError || name === "TimeoutError" || status === 0 ? "unanswered" : "rejected";
}

/** @param {unknown} error `HttpError` of react-admin, an error of supabase-js, or whatever else was thrown */
function factsOf(error) {
  if (typeof error !== "object" || error === null) {
    return { status: Number.NaN, code: undefined, name: "", message: String(error) };
  }
  const { status, code, name, message, details, body } = /** @type {Record<string, any>} */ (error);
  return {
    status: typeof status === "number" ? status : Number.NaN,
    code: asText(body?.code) ?? asText(code),
    name: asText(name) ?? "",
    message: [message, body?.details ?? details].map(asText).filter(Boolean).join(" "),
  };
}

/** @param {unknown} value */
function asText(value) {
  return typeof value === "string" && value !== "" ? value : undefined;
}

/** @param {string} message @param {number} status */
function sentence(message, status) {
  if (message !== "" && !/^\s*</.test(message)) return message;
  return Number.isNaN(status) ? "No answer from the server." : `The server answered with error ${status}.`;
}

/** Postgres' SQLSTATE. */
const UNIQUE_VIOLATION = "23505";
