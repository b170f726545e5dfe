import { visuallyHidden } from "@mui/utils";
import { useEffect, useState } from "react";
import type { ImportProgress } from "tidegate/import";
import { count, waitingWords } from "../words.ts";
import { doneOf, percentOf } from "./ProgressBar.tsx";

/** Tells screen readers about each quarter and each longer wait, and nothing in between. */
export function Announcer({ progress }: { progress: ImportProgress }) {
  const quarter = Math.floor(percentOf(progress) / 25);
  const reason = isShortWait(progress) ? "running" : (progress.waiting?.reason ?? progress.state);
  const [words, setWords] = useState("");
  // biome-ignore lint/correctness/useExhaustiveDependencies: a new count alone must not be spoken, hundreds come a minute
  useEffect(() => {
    const rows = `${count(doneOf(progress))} of ${count(progress.total)} rows done.`;
    setWords(`${rows} ${waitingWords(progress.waiting, Date.now()) ?? "Sending."}`);
  }, [quarter, reason]);
  return (
    <span aria-live="polite" style={visuallyHidden} data-testid="import-announcement">
      {words}
    </span>
  );
}

/** A server that says "wait a second" all the time sets a pace; that is no news. */
function isShortWait({ waiting }: ImportProgress): boolean {
  if (waiting?.reason !== "cooldown") return waiting?.reason === "pace";
  return (waiting.untilTime ?? Number.POSITIVE_INFINITY) - Date.now() < worthSayingMs;
}

const worthSayingMs = 5000;
