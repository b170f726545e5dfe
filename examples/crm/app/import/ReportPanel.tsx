import CheckCircleIcon from "@mui/icons-material/CheckCircle";
import DownloadIcon from "@mui/icons-material/Download";
import InfoIcon from "@mui/icons-material/Info";
import {
  Box,
  Button,
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
import type { ImportReport } from "../../import/importer.mjs";
import type { ReportRow } from "../../import/report.mjs";
import { count, counted, outcomeWords, span } from "../words.ts";
import type { CheckedFile } from "./checkFile.ts";
import { saveAs } from "./download.ts";
import { type Stage, useImportFlow } from "./ImportFlow.tsx";
import { countOutcomes, type PersonalOutcome } from "./outcomes.ts";
import { rowLabel } from "./rowLabel.ts";
import { Tiles } from "./Tiles.tsx";

type Props = Extract<Stage, { name: "report" }>;

export function ReportPanel({ file, report, cancelled }: Props) {
  const { start, another, close } = useImportFlow();
  const counts = countOutcomes(report);
  const troubled = [...report.rows({ outcome: "failed" }), ...report.rows({ outcome: "unknown" })];

  return (
    <>
      <DialogContent sx={{ display: "flex", flexDirection: "column", gap: 2.5 }} data-testid="import-report">
        <Headline report={report} cancelled={cancelled} />
        <Tiles
          tiles={outcomes.map((id) => ({ id, value: counts[id], ...outcomeWords[id] }))}
          prefix="report"
        />
        {troubled.length > 0 && <TroubledRows rows={troubled} report={report} file={file} />}
      </DialogContent>
      <DialogActions disableSpacing sx={{ flexWrap: "wrap", gap: 1, px: 3, pb: 2.5 }}>
        <Button onClick={another} data-testid="import-another">
          Import another file
        </Button>
        <Button variant="outlined" onClick={() => start(file)} data-testid="import-again">
          Import again
        </Button>
        <Button variant="contained" onClick={close} data-testid="import-close">
          Close
        </Button>
      </DialogActions>
    </>
  );
}

function Headline({ report, cancelled }: { report: ImportReport; cancelled: boolean }) {
  const { alreadyThere } = countOutcomes(report);
  const isClean = !cancelled && report.failed === 0 && report.unknown === 0;
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
        <Typography color="text.secondary">{story(report, cancelled)}</Typography>
      </Box>
    </Box>
  );
}

function story({ throttled, durationMs, skipped }: ImportReport, cancelled: boolean): string {
  const took = `It took ${span(durationMs)}.`;
  const refused = `The server asked us to slow down ${counted(throttled, "time")}`;
  if (cancelled) return `${took} ${refused}. ${counted(skipped, "row")} left; import again to go on.`;
  if (throttled === 0) return `${took} The server took everything at once.`;
  return `${took} ${refused}; what it refused was sent again.`;
}

interface TroubledRowsProps {
  rows: ReportRow[];
  report: ImportReport;
  file: CheckedFile;
}

function TroubledRows({ rows, report, file }: TroubledRowsProps) {
  const shown = rows.slice(0, rowsShown);
  const download = () =>
    saveAs(file.name.replace(/(\.csv)?$/i, "-failed.csv"), report.toCSV({ outcomes: ["failed", "unknown"] }));
  return (
    <Box>
      <Box sx={{ display: "flex", flexWrap: "wrap", alignItems: "center", gap: 1, mb: 1 }}>
        <Typography variant="h3" sx={{ flexGrow: 1 }}>
          Rows to look at
        </Typography>
        <Button size="small" startIcon={<DownloadIcon />} onClick={download} data-testid="report-download">
          Download as CSV
        </Button>
      </Box>
      <TableContainer sx={{ border: 1, borderColor: "divider", borderRadius: 1, maxHeight: 320 }}>
        <Table size="small" stickyHeader data-testid="report-failed-rows">
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
                <TableCell>{count(file.lines[row.index] ?? row.index + 2)}</TableCell>
                <TableCell>{rowLabel(row.row)}</TableCell>
                <TableCell>{row.message}</TableCell>
              </TableRow>
            ))}
          </TableBody>
        </Table>
      </TableContainer>
      {rows.length > shown.length && (
        <Typography variant="caption" color="text.secondary">
          and {count(rows.length - shown.length)} more, all of them in the download
        </Typography>
      )}
    </Box>
  );
}

const outcomes: PersonalOutcome[] = ["imported", "alreadyThere", "duplicate", "failed", "skipped", "unknown"];
const rowsShown = 100;
