/** Figures and states in the words of the people who use the CRM, who have never heard of a circuit. */
import type { CircuitState } from "tidegate";
import type { ImportProgress } from "tidegate/import";
import type { PersonalOutcome } from "./import/outcomes.ts";

const numbers = new Intl.NumberFormat("en");
const decimals = new Intl.NumberFormat("en", { minimumFractionDigits: 1, maximumFractionDigits: 1 });

export function count(value: number): string {
  return numbers.format(value);
}

/** `count(1, "row")` is "1 row", `count(2, "row")` is "2 rows". */
export function counted(value: number, noun: string): string {
  return `${count(value)} ${noun}${value === 1 ? "" : "s"}`;
}

/** Rows per second; one decimal below 10, where it matters. */
export function rate(perSecond: number): string {
  return perSecond < 10 ? decimals.format(perSecond) : count(Math.round(perSecond));
}

export function bytes(size: number): string {
  if (size < 1000) return `${size} B`;
  if (size < 1_000_000) return `${count(Math.round(size / 1000))} kB`;
  return `${decimals.format(size / 1_000_000)} MB`;
}

/** A span in whole seconds, rounded up: a countdown that shows 0 s while something still waits looks stuck. */
export function span(ms: number): string {
  const seconds = Math.max(1, Math.ceil(ms / 1000));
  if (seconds < 60) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return seconds % 60 === 0 ? `${minutes} min` : `${minutes} min ${seconds % 60} s`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

type Tone = "success" | "warning" | "error" | "info";

export interface Spoken {
  /** One or two words, for a chip. */
  label: string;
  /** A sentence, for a tooltip or a screen reader. */
  sentence: string;
  tone: Tone;
}

/** What the state of the circuit means to somebody who only wants to know whether the server works. */
export function circuitWords(circuit: CircuitState): Spoken {
  switch (circuit.state) {
    case "closed":
      return { label: "Server answers", sentence: "The server takes requests.", tone: "success" };
    case "half-open":
      return {
        label: "Trying again",
        sentence: "One request is testing whether the server takes requests again.",
        tone: "warning",
      };
    case "open":
      return {
        label: "Server needs a break",
        sentence: `The server refused several times in a row. Nothing is sent for another ${span(circuit.retryAfterMs)}.`,
        tone: "error",
      };
    case "isolated":
      return {
        label: "Stopped by hand",
        sentence: "Somebody stopped all requests. They go on when they are let through again.",
        tone: "info",
      };
  }
}

/** How long something takes that nobody knows exactly: the longer, the rounder. */
function roughly(ms: number): string {
  const seconds = ms / 1000;
  const step = seconds < 15 ? 1 : seconds < 90 ? 5 : seconds < 600 ? 30 : 60;
  return span(Math.max(1, Math.round(seconds / step) * step) * 1000);
}

/** "20 to 30 s left", as far as it can be told. */
export function timeLeft({ etaMs, waiting }: ImportProgress): string {
  if (etaMs === null)
    return waiting === null || waiting.reason === "pace" ? "estimating the time left" : "time left unknown";
  const [least, most] = etaMs.map(roughly) as [string, string];
  return least === most ? `about ${most} left` : `${least} to ${most} left`;
}

/** Why an import stands still and when it goes on; null while it moves at its pace. */
export function waitingWords(waiting: ImportProgress["waiting"], now: number): string | null {
  if (waiting === null || waiting.reason === "pace") return null;
  const { message, untilTime = 0 } = waiting;
  return untilTime - now > worthCountingMs ? `${message} That is in ${span(untilTime - now)}.` : message;
}

/** Shorter waits are over before anybody has read how short they are. */
const worthCountingMs = 2000;

/** How an import moves. */
export function movingWords({ batchSize, requestsPerSecond, throttled }: ImportProgress): string {
  const size = batchSize > 1 ? `${count(batchSize)} rows at a time` : "row by row";
  const pace = requestsPerSecond > 0 ? `, ${rate(requestsPerSecond)} requests a second` : "";
  const refused = throttled === 0 ? "" : " Refused rows go back in the line; none is lost.";
  return `Sending ${size}${pace}.${refused}`;
}

interface OutcomeWords {
  label: string;
  explanation: string;
  tone: Tone | "default";
}

export const outcomeWords: Record<PersonalOutcome, OutcomeWords> = {
  imported: { label: "Imported", explanation: "New contacts, now in the list", tone: "success" },
  alreadyThere: { label: "Already there", explanation: "The CRM had these people before", tone: "info" },
  duplicate: { label: "Duplicates", explanation: "The same person twice in the file", tone: "info" },
  failed: { label: "Failed", explanation: "Refused for what is in the row", tone: "error" },
  skipped: {
    label: "Not sent",
    explanation: "Left out for what is in the row, or the import ended before their turn",
    tone: "default",
  },
  unknown: { label: "Unknown", explanation: "Sent, but the answer was lost", tone: "warning" },
};
