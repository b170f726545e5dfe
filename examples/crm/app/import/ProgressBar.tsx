import { Box } from "@mui/material";
import type { ImportProgress } from "tidegate/import";
import { count } from "../words.ts";

/** Rows that have their outcome. */
export function doneOf({ total, pending }: ImportProgress): number {
  return total - pending;
}

/** Whole percents, rounded down: 100 means that every row has its outcome. */
export function percentOf(progress: ImportProgress): number {
  return progress.total === 0 ? 0 : Math.floor((doneOf(progress) / progress.total) * 100);
}

/** One bar in the colours of the outcomes, as wide as their shares. */
export function ProgressBar({ progress, label }: { progress: ImportProgress; label: string }) {
  const { total, imported, duplicate, failed, unknown, skipped } = progress;
  const parts = [
    { name: "imported", value: imported, color: "success.main" },
    { name: "duplicate", value: duplicate, color: "info.main" },
    { name: "unknown", value: unknown, color: "warning.main" },
    { name: "failed", value: failed, color: "error.main" },
    { name: "skipped", value: skipped, color: "grey.400" },
  ];
  return (
    <Box
      role="progressbar"
      aria-label={label}
      aria-valuemin={0}
      aria-valuemax={100}
      aria-valuenow={percentOf(progress)}
      aria-valuetext={`${count(doneOf(progress))} of ${count(total)} rows`}
      data-testid="import-progress"
      data-state={progress.state}
      sx={{ display: "flex", height: 14, borderRadius: 7, overflow: "hidden", bgcolor: "grey.200" }}
    >
      {parts.map((part) => (
        <Box
          key={part.name}
          sx={{
            width: `${total === 0 ? 0 : (part.value / total) * 100}%`,
            bgcolor: part.color,
            opacity: progress.state === "paused" ? 0.55 : 1,
            transition: "width 250ms linear, opacity 250ms",
          }}
        />
      ))}
    </Box>
  );
}
