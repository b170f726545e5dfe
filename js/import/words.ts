/** What people are told of an import that waits or has ended early. */

import type { ImportStop, ImportWaiting, WaitReason } from "./public.ts";

/**
 * Why nothing is sent and until when; `null` where it is only the pace, for so short that nobody needs to know. Times are
 * milliseconds since 1970.
 *
 * @param untilTime `null`: nobody knows.
 * @param why Of a cooldown: because of a limit, after failures, or until nothing is written any more of what was sent before.
 */
export function waitingOf(
  reason: WaitReason,
  untilTime: number | null,
  nowTime: number,
  why: Cooldown = "limit",
): ImportWaiting | null {
  if (reason === "pace" && (untilTime === null || untilTime < nowTime + WORTH_SAYING_MS)) return null;
  const message = waitingWords(reason, untilTime, nowTime, why);
  return { reason, ...(untilTime !== null && { untilTime }), message };
}

/** The words alone, as "Waiting for the server's limit: goes on at 14:03:20." */
export function waitingWords(
  reason: WaitReason,
  untilTime: number | null,
  nowTime: number,
  why: Cooldown = "limit",
): string {
  const [words, otherwise] = reason === "cooldown" ? COOLDOWN[why] : WAITING[reason];
  return `${words}: goes on ${untilTime === null ? otherwise : whenInWords(untilTime, nowTime)}.`;
}

/** A wait for the pace between two requests is no wait for people. */
const WORTH_SAYING_MS = 1_000;

/** Why, and when it goes on where no time is known. */
const WAITING: Readonly<Record<Exclude<WaitReason, "cooldown">, Words>> = {
  pace: ["Keeping to the pace that the server accepts", "with its next answer"],
  circuit: ["Requests to this server are held back", "when they are let through again"],
  offline: ["There is no connection", "when there is one again"],
  paused: ["Paused", "when it is resumed"],
  storage: ["Waiting for the storage", "when it has answered"],
  "other-tab": ["Another tab runs this import", "when that one has ended"],
};

const COOLDOWN: Readonly<Record<Cooldown, Words>> = {
  limit: ["Waiting for the server's limit", "with its next answer"],
  failing: ["The server fails, or does not answer", "with its next answer"],
  settling: ["Waiting until rows whose answer was lost can be looked for", "soon"],
};

export type Cooldown = "limit" | "failing" | "settling";

type Words = readonly [why: string, otherwise: string];

/**
 * The time of day in the user's manner, with the date when it is half a day off or more. Not "in 8 seconds", which is wrong
 * a second later, and nothing happens in the meantime that would say it anew.
 */
function whenInWords(untilTime: number, nowTime: number): string {
  if (untilTime < nowTime + WORTH_SAYING_MS) return "in a moment";
  // Never earlier than it goes on.
  const date = new Date(Math.ceil(untilTime / 1_000) * 1_000);
  if (Number.isNaN(date.getTime())) return "later";
  const time = date.toLocaleTimeString(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit" });
  return untilTime - nowTime < HALF_A_DAY_MS ? `at ${time}` : `at ${time} on ${date.toLocaleDateString()}`;
}

const HALF_A_DAY_MS = 12 * 3_600_000;

/** What is known of an import that ended early. */
export interface StopFacts {
  /** Rows up to the last one that was sent; nothing is said of it where nobody knows. */
  lastSent?: number | undefined;
  /** Rows that the server has judged, and those of them that failed. */
  answered?: number | undefined;
  failed?: number | undefined;
  /** What the server said, or what was thrown. */
  message?: string | null | undefined;
  status?: number | undefined;
}

/** Why it ended before its rows did. */
export function stopWords(reason: ImportStop["reason"], facts: StopFacts = {}): string {
  const { lastSent, answered = 0, failed = 0, message, status } = facts;
  const said = message ? `: ${message.trim()}` : "";
  const row = lastSent ? ` after row ${inWords(lastSent)}` : "";
  const after =
    lastSent === undefined ? "" : lastSent === 0 ? " Nothing was sent." : ` Nothing${row} was sent.`;
  switch (reason) {
    case "cancelled":
      return `Cancelled.${after}`;
    case "refused":
      return sentence(`The server refused the import${said}`, status) + after;
    case "failed-ratio": {
      const first = inWords(answered);
      const part =
        failed < answered ? `${inWords(failed)} of the first ${first}` : `the first ${first} of ${first}`;
      return sentence(`Stopped early: ${part} failed${said}`);
    }
    case "trouble":
      return sentence(`The server fails, or does not answer, for minutes already${said}`) + after;
    case "source":
      return sentence(`The rows could not be read any further${row}${said}`);
    case "taken-over":
      return "Another tab has taken over this import. It goes on there; here it has ended.";
  }
}

/** With a full stop, and before it a status, if there is one that the text does not name itself. */
function sentence(text: string, status?: number): string {
  if (status && !text.includes(String(status))) return `${text.replace(/\.$/, "")} (${status}).`;
  return /[.!?…]$/.test(text) ? text : `${text}.`;
}

function inWords(count: number): string {
  return count.toLocaleString("en");
}
