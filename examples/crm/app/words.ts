/** Figures and states in the words of the people who use the CRM, who have never heard of a circuit. */
import type { CircuitState } from "tidegate";
import type { ImportProgress } from "../import/importer.mjs";
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

/** Why an import stands still and when it goes on; null while it moves. */
export function waitingWords(progress: ImportProgress, now: number): string | null {
  if (progress.state === "cancelled")
    return "Stopping. Waiting for the last answers, so that no row stays in doubt.";
  if (progress.state === "paused") return paused;
  const { waiting } = progress;
  if (waiting === null) return null;
  const goesOn = goesOnWords(waiting.untilTime, now);
  switch (waiting.reason) {
    case "cooldown":
      return `The server asks us to slow down${goesOn}. Nothing is lost.`;
    case "circuit":
      // Only a circuit that is held open by hand has no time at which it may close.
      if (waiting.untilTime === undefined)
        return "All requests were stopped by hand. The import goes on when they are let through again. Nothing is lost.";
      return `The server refused several times in a row, so we give it a break${goesOn}. Nothing is lost.`;
    case "offline":
      return `The server cannot be reached${goesOn}. Nothing is lost.`;
    case "paused":
      return paused;
  }
}

function goesOnWords(untilTime: number | undefined, now: number): string {
  if (untilTime === undefined || !Number.isFinite(untilTime)) return "";
  return untilTime <= now ? "; going on now" : `; going on in ${span(untilTime - now)}`;
}

const paused = "Paused. Nothing is sent until you resume.";

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
  skipped: { label: "Not sent", explanation: "The import was cancelled before their turn", tone: "default" },
  unknown: { label: "Unknown", explanation: "Sent, but the answer was lost", tone: "warning" },
};
