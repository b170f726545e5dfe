import HourglassTopIcon from "@mui/icons-material/HourglassTop";
import PauseIcon from "@mui/icons-material/Pause";
import PlayArrowIcon from "@mui/icons-material/PlayArrow";
import SendIcon from "@mui/icons-material/Send";
import StopIcon from "@mui/icons-material/Stop";
import { Alert, Box, Button, DialogActions, DialogContent, Typography } from "@mui/material";
import { useState } from "react";
import { CircuitChip } from "../demo/CircuitChip.tsx";
import { useLingering } from "../useLingering.ts";
import { useNow } from "../useNow.ts";
import { count, counted, movingWords, rate, timeLeft, waitingWords } from "../words.ts";
import { Announcer } from "./Announcer.tsx";
import type { Stage } from "./ImportFlow.tsx";
import { useImportFlow } from "./ImportFlow.tsx";
import { doneOf, ProgressBar, percentOf } from "./ProgressBar.tsx";
import { SpeedCurve } from "./SpeedCurve.tsx";
import { Tiles } from "./Tiles.tsx";

type Props = Extract<Stage, { name: "running" }>;

export function RunningPanel({ file, job, progress, history }: Props) {
  const { close } = useImportFlow();
  const now = useNow(250);
  const [isStopping, setStopping] = useState(false);
  const slowed = useLingering(progress.waiting?.reason === "cooldown" ? progress.waiting : null, lingerMs);
  const waiting = isStopping ? stopping : waitingWords(progress.waiting ?? slowed, now);
  const isPaused = progress.state === "paused";

  return (
    <>
      <DialogContent sx={{ display: "flex", flexDirection: "column", gap: 2.5 }} data-testid="import-running">
        <Box sx={{ display: "flex", flexWrap: "wrap", alignItems: "end", gap: 1 }}>
          <Typography sx={{ fontSize: "2.5rem", fontWeight: 700, lineHeight: 1, letterSpacing: "-0.03em" }}>
            <span data-testid="import-percent">{percentOf(progress)}</span>
            <Typography component="span" color="text.secondary" sx={{ fontSize: "1.25rem" }}>
              {" "}
              %
            </Typography>
          </Typography>
          <Typography sx={{ flexGrow: 1, pl: 1 }} color="text.secondary" data-testid="import-processed">
            {count(doneOf(progress))} of {counted(progress.total, "row")}
          </Typography>
          <CircuitChip testId="import-circuit" />
        </Box>

        <Box>
          <ProgressBar progress={progress} label={`Importing ${file.name}`} />
          <Box sx={{ display: "flex", justifyContent: "space-between", mt: 1, typography: "body2" }}>
            <span data-testid="import-rate">{rate(progress.ratePerSecond)} rows/s</span>
            <span data-testid="import-eta">{isStopping ? "" : timeLeft(progress)}</span>
          </Box>
        </Box>

        <Alert
          severity={waiting === null ? "info" : "warning"}
          icon={waiting === null ? <SendIcon /> : isPaused ? <PauseIcon /> : <HourglassTopIcon />}
          role="note" // the announcer speaks; an alert would be read out anew at each second of the countdown
          data-testid="import-status"
        >
          {waiting ?? movingWords(progress)}
        </Alert>
        <Announcer progress={progress} />

        <Tiles
          tiles={[
            { id: "imported", label: "Imported", value: progress.imported, tone: "success" },
            { id: "duplicate", label: "Duplicates", value: progress.duplicate, tone: "info" },
            { id: "failed", label: "Failed", value: progress.failed, tone: "error" },
            { id: "throttled", label: "Refused for now", value: progress.throttled, tone: "warning" },
            { id: "retries", label: "Sent again", value: progress.retries, tone: "default" },
          ]}
          prefix="count"
        />
        <SpeedCurve history={history} />
      </DialogContent>
      <DialogActions disableSpacing sx={{ flexWrap: "wrap", gap: 1, px: 3, pb: 2.5 }}>
        <Button
          color="error"
          startIcon={<StopIcon />}
          onClick={() => {
            setStopping(true);
            job.cancel();
          }}
          disabled={isStopping}
          data-testid="import-cancel"
        >
          Cancel import
        </Button>
        <Button
          onClick={close}
          sx={{ ml: { sm: "auto" }, order: { xs: -1, sm: 0 }, width: { xs: "100%", sm: "auto" } }}
          data-testid="import-background"
        >
          Continue in the background
        </Button>
        {isPaused ? (
          <Button
            variant="contained"
            startIcon={<PlayArrowIcon />}
            onClick={() => job.resume()}
            sx={lastOnTheLine}
            data-testid="import-resume"
          >
            Resume
          </Button>
        ) : (
          <Button
            variant="outlined"
            startIcon={<PauseIcon />}
            onClick={() => job.pause()}
            sx={lastOnTheLine}
            disabled={isStopping}
            data-testid="import-pause"
          >
            Pause
          </Button>
        )}
      </DialogActions>
    </>
  );
}

const lastOnTheLine = { ml: { xs: "auto", sm: 0 } };

const stopping = "Stopping. Waiting for the last answers, so that no row stays in doubt.";

/** Longer than the moments between two waits at a limit per second. */
const lingerMs = 1500;
