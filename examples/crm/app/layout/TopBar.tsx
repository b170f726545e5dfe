import TuneIcon from "@mui/icons-material/Tune";
import { AppBar, Box, Button, CircularProgress, Toolbar, Typography } from "@mui/material";
import { LoadingIndicator, TitlePortal } from "react-admin";
import { Link } from "react-router";
import { useDemo } from "../demo/DemoContext.tsx";
import { useImportFlow } from "../import/ImportFlow.tsx";
import { percentOf } from "../import/ProgressBar.tsx";
import { Logo } from "./Logo.tsx";

export function TopBar() {
  return (
    <AppBar color="secondary" elevation={0} sx={{ borderRadius: 0 }}>
      <Toolbar sx={{ gap: 1, minHeight: "56px !important", px: { xs: 1.5, sm: 3 } }}>
        <Box
          component={Link}
          to="/contacts"
          sx={{ display: "flex", alignItems: "center", gap: 1.25, color: "inherit", textDecoration: "none" }}
        >
          <Logo />
          <Typography
            component="span"
            noWrap
            sx={{ fontWeight: 700, fontSize: "1.05rem", letterSpacing: "-0.01em" }}
          >
            Harbour CRM
          </Typography>
        </Box>
        <TitlePortal component="h1" sx={pageTitle} />
        <RunningImportButton />
        <DemoButton />
        <LoadingIndicator />
      </Toolbar>
    </AppBar>
  );
}

/** The way back to an import that goes on in the background. */
function RunningImportButton() {
  const { stage, isOpen, open } = useImportFlow();
  if (isOpen || (stage.name !== "running" && stage.name !== "report")) return null;
  const percent = stage.name === "running" ? percentOf(stage.progress) : 100;
  return (
    <Button
      color="inherit"
      onClick={open}
      startIcon={
        <CircularProgress variant="determinate" value={percent} size={18} color="inherit" aria-hidden />
      }
      sx={{ whiteSpace: "nowrap" }}
      data-testid="import-in-background"
    >
      {stage.name === "running" ? <Importing percent={percent} /> : "Import report"}
    </Button>
  );
}

function Importing({ percent }: { percent: number }) {
  return (
    <>
      <Box component="span" sx={{ display: { xs: "none", sm: "inline" }, mr: 0.5 }}>
        Importing,
      </Box>
      {percent} %
    </>
  );
}

function DemoButton() {
  const { setOpen } = useDemo();
  return (
    <Button
      color="inherit"
      startIcon={<TuneIcon />}
      onClick={() => setOpen(true)}
      data-testid="demo-button"
      aria-label="How the server behaves"
      sx={{ minWidth: 0, "& .MuiButton-startIcon": { mr: { xs: 0, sm: 1 } } }}
    >
      <Box component="span" sx={{ display: { xs: "none", sm: "inline" } }}>
        Server
      </Box>
    </Button>
  );
}

/** Too narrow a screen has it for screen readers only. */
const pageTitle = {
  ml: 2,
  pl: 2,
  borderLeft: "1px solid rgba(255, 255, 255, 0.25)",
  fontSize: "0.95rem",
  opacity: { xs: 0, sm: 0.85 },
  whiteSpace: "nowrap",
};
