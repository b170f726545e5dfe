import CheckCircleIcon from "@mui/icons-material/CheckCircle";
import DownloadIcon from "@mui/icons-material/Download";
import InfoIcon from "@mui/icons-material/Info";
import ReplayIcon from "@mui/icons-material/Replay";
import {
  Alert,
  Box,
  Button,
  Chip,
  DialogActions,
  DialogContent,
  Table,
  TableBody,
  TableCell,
  TableContainer,
  TableHead,
  TableRow,
  Typography,
} from "@mui/material";
import { useMemo, useState } from "react";
import type { ImportOutcome } from "tidegate/import";
import type { ContactReport } from "../../import/job.mjs";
import { count, counted, outcomeWords, span } from "../words.ts";
import { saveAs } from "./download.ts";
import { type Stage, useImportFlow } from "./ImportFlow.tsx";
import { countOutcomes, type PersonalOutcome } from "./outcomes.ts";
import { placeOf, rowLabel } from "./rowLabel.ts";
import { SpeedCurve } from "./SpeedCurve.tsx";
import { Tiles } from "./Tiles.tsx";

type Props = Extract<Stage, { name: "report" }>;

export function ReportPanel({ file, job, report, history }: Props) {
  const { start, retry, another, close } = useImportFlow();
  const counts = useMemo(() => countOutcomes(report), [report]);
  const isComplete = report.stopped === null;

  return (
    <>
      <DialogContent sx={{ display: "flex", flexDirection: "column", gap: 2.5 }} data-testid="import-report">
        <Headline report={report} alreadyThere={counts.alreadyThere} />
        {report.storage !== null && <Alert severity="warning">{report.storage}</Alert>}
        <Tiles
          tiles={outcomes.map((id) => ({ id, value: counts[id], ...outcomeWords[id] }))}
          prefix="report"
        />
        <Rows report={report} fileName={file.name} />
        {history.length > 1 && <SpeedCurve history={history} />}
      </DialogContent>
      <DialogActions disableSpacing sx={{ flexWrap: "wrap", gap: 1, px: 3, pb: 2.5 }}>
        <Button onClick={another} data-testid="import-another">
          Import another file
        </Button>
        {report.failed > 0 && (
          <Button
            variant="outlined"
            startIcon={<ReplayIcon />}
            onClick={() => retry(file, job)}
            data-testid="import-retry"
          >
            Try what failed again
          </Button>
        )}
        <Button
          variant={isComplete ? "outlined" : "contained"}
          onClick={() => start(file)}
          data-testid="import-again"
        >
          {isComplete ? "Import again" : "Go on"}
        </Button>
        <Button variant={isComplete ? "contained" : "outlined"} onClick={close} data-testid="import-close">
          Close
        </Button>
      </DialogActions>
    </>
  );
}

function Headline({ report, alreadyThere }: { report: ContactReport; alreadyThere: number }) {
  const isClean = report.stopped === null && report.failed === 0 && report.unknown === 0;
  const Icon = isClean ? CheckCircleIcon : InfoIcon;
  return (
    <Box sx={{ display: "flex", gap: 1.5, alignItems: "start" }} role="status">
      <Icon color={isClean ? "success" : "warning"} sx={{ fontSize: 40 }} />
      <Box>
        <Typography variant="h1" component="p" data-testid="report-headline">
          {report.imported === 0 && alreadyThere > 0
            ? `Nobody new: ${count(alreadyThere)} were there already`
            : `${count(report.imported)} of ${counted(report.total, "row")} imported`}
        </Typography>
        <Typography color="text.secondary" data-testid="report-story">
          {story(report)}
        </Typography>
      </Box>
    </Box>
  );
}

function story({ throttled, requests, durationMs, stopped }: ContactReport): string {
  const took = `It took ${span(durationMs)} and ${counted(requests, "request")}.`;
  const refused =
    throttled === 0
      ? "The server took everything at once."
      : `The server refused ${counted(throttled, "time")}; what it refused was sent again.`;
  return stopped === null ? `${took} ${refused}` : `${took} ${stopped.message}`;
}

/** The rows by what became of them, those first that somebody should look at. */
function Rows({ report, fileName }: { report: ContactReport; fileName: string }) {
  const there = inOrder.filter((outcome) => report[outcome] > 0);
  const [chosen, setChosen] = useState<ImportOutcome | undefined>();
  const outcome = there.find((each) => each === chosen) ?? there[0];
  const rows = useMemo(() => (outcome === undefined ? [] : report.rows({ outcome })), [report, outcome]);
  const shown = rows.slice(0, rowsShown);
  const isTroubled = troubles.some((each) => report[each] > 0);
  if (outcome === undefined) return null;

  return (
    <Box>
      <Box sx={{ display: "flex", flexWrap: "wrap", alignItems: "center", gap: 0.75, mb: 1 }}>
        <Typography variant="h3" sx={{ mr: 1 }}>
          Row by row
        </Typography>
        {there.map((each) => (
          <Chip
            key={each}
            size="small"
            label={`${outcomeWords[each].label}: ${count(report[each])}`}
            color={each === outcome ? "primary" : "default"}
            variant={each === outcome ? "filled" : "outlined"}
            onClick={() => setChosen(each)}
            aria-pressed={each === outcome}
            data-testid={`rows-${each}`}
          />
        ))}
        {isTroubled && (
          <Button
            size="small"
            startIcon={<DownloadIcon />}
            onClick={() => saveAs(missingName(fileName), report.toCSV({ outcomes: troubles }))}
            sx={{ ml: "auto" }}
            data-testid="report-download"
          >
            Download what is missing
          </Button>
        )}
      </Box>
      <TableContainer sx={{ border: 1, borderColor: "divider", borderRadius: 1, maxHeight: 320 }}>
        <Table size="small" stickyHeader data-testid="report-rows">
          <TableHead>
            <TableRow>
              <TableCell>Line</TableCell>
              <TableCell>Who</TableCell>
              <TableCell>What happened</TableCell>
            </TableRow>
          </TableHead>
          <TableBody>
            {shown.map((row) => (
              <TableRow key={row.index}>
                <TableCell>{placeOf(row)}</TableCell>
                <TableCell>{rowLabel(row)}</TableCell>
                <TableCell>{row.message ?? outcomeWords[row.outcome].explanation}</TableCell>
              </TableRow>
            ))}
          </TableBody>
        </Table>
      </TableContainer>
      {rows.length > shown.length && (
        <Typography variant="caption" color="text.secondary">
          and {count(rows.length - shown.length)} more
        </Typography>
      )}
    </Box>
  );
}

function missingName(fileName: string): string {
  return fileName.replace(/(\.csv)?$/i, "-failed.csv");
}

const outcomes: PersonalOutcome[] = ["imported", "alreadyThere", "duplicate", "failed", "skipped", "unknown"];
/** Who is not in the CRM for certain; corrected, their file is ready for the next upload. */
const troubles: ImportOutcome[] = ["failed", "unknown", "skipped"];
const inOrder: ImportOutcome[] = [...troubles, "duplicate", "imported"];
const rowsShown = 100;
