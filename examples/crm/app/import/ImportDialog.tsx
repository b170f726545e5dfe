import CloseIcon from "@mui/icons-material/Close";
import { Box, Dialog, DialogTitle, IconButton, type Theme, Typography, useMediaQuery } from "@mui/material";
import { CheckPanel } from "./CheckPanel.tsx";
import { ChoosePanel } from "./ChoosePanel.tsx";
import { type Stage, useImportFlow } from "./ImportFlow.tsx";
import { ReportPanel } from "./ReportPanel.tsx";
import { RunningPanel } from "./RunningPanel.tsx";

/** The import from file to report. Closing it while rows are sent leaves the import running. */
export function ImportDialog() {
  const { stage, isOpen, close } = useImportFlow();
  const isPhone = useMediaQuery<Theme>((theme) => theme.breakpoints.down("sm"));
  return (
    <Dialog
      open={isOpen}
      onClose={close}
      fullScreen={isPhone}
      fullWidth
      maxWidth="md"
      aria-labelledby={titleId}
      data-testid="import-dialog"
    >
      <DialogTitle component="div" sx={{ display: "flex", alignItems: "start", gap: 1, pb: 2 }}>
        <Box sx={{ flexGrow: 1, minWidth: 0 }}>
          <Typography variant="h2" id={titleId} noWrap>
            {title(stage)}
          </Typography>
          <Steps current={stepOf(stage)} />
        </Box>
        <IconButton onClick={close} aria-label="Close" edge="end" data-testid="import-dismiss">
          <CloseIcon />
        </IconButton>
      </DialogTitle>
      <Panel stage={stage} />
    </Dialog>
  );
}

function Panel({ stage }: { stage: Stage }) {
  switch (stage.name) {
    case "choose":
      return <ChoosePanel problem={stage.problem} reading={null} />;
    case "reading":
      return <ChoosePanel problem={null} reading={stage.fileName} />;
    case "check":
      return <CheckPanel file={stage.file} />;
    case "running":
      return <RunningPanel {...stage} />;
    case "report":
      return <ReportPanel {...stage} />;
  }
}

function title(stage: Stage): string {
  switch (stage.name) {
    case "choose":
    case "reading":
      return "Import contacts";
    case "check":
      return `Check ${stage.file.name}`;
    case "running":
      return `Importing ${stage.file.name}`;
    case "report":
      if (stage.report.stopped === null) return `Imported ${stage.file.name}`;
      return `${stage.report.stopped.reason === "cancelled" ? "Cancelled" : "Stopped"}: ${stage.file.name}`;
  }
}

const steps = ["Choose", "Check", "Import", "Report"] as const;

function stepOf(stage: Stage): number {
  return { choose: 0, reading: 0, check: 1, running: 2, report: 3 }[stage.name];
}

function Steps({ current }: { current: number }) {
  return (
    <Box
      component="ol"
      aria-label="Steps"
      sx={{ display: "flex", gap: 2, listStyle: "none", p: 0, m: 0, mt: 0.5, typography: "caption" }}
    >
      {steps.map((step, index) => (
        <Box
          component="li"
          key={step}
          aria-current={index === current ? "step" : undefined}
          sx={{
            color: index === current ? "primary.main" : "text.secondary",
            fontWeight: index === current ? 700 : 400,
          }}
        >
          {index + 1}. {step}
        </Box>
      ))}
    </Box>
  );
}

const titleId = "import-title";
