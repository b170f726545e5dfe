import { Box, ButtonBase } from "@mui/material";
import type { ReactNode } from "react";
import { count } from "../words.ts";
import { CircuitChip } from "./CircuitChip.tsx";
import { useDemo } from "./DemoContext.tsx";
import { moodOf, refusals } from "./gateway.ts";
import { useService } from "./useService.ts";

/** The live line at the foot of the page: what the SDK counted, and what the gateway counted. */
export function StatusBar() {
  const { metrics } = useService();
  const { gateway, setOpen } = useDemo();
  return (
    <Box
      component="footer"
      data-testid="status-bar"
      sx={{
        position: "sticky",
        bottom: 0,
        zIndex: "appBar",
        display: "flex",
        flexWrap: "wrap",
        alignItems: "center",
        columnGap: { xs: 2, sm: 3 },
        rowGap: 0.25,
        px: { xs: 1.5, sm: 3 },
        py: 0.75,
        bgcolor: "background.paper",
        borderTop: 1,
        borderColor: "divider",
        typography: "caption",
        color: "text.secondary",
        fontVariantNumeric: "tabular-nums",
      }}
    >
      <CircuitChip testId="circuit" />
      <Counters name="tidegate">
        <Counter label="calls" value={metrics.calls} id="calls" />
        <Counter label="attempts" value={metrics.attempts} id="attempts" wideOnly />
        <Counter label="refused" value={metrics.throttled} id="throttled" />
        <Counter label="retries" value={metrics.retries} id="retries" wideOnly />
      </Counters>
      {gateway !== null && (
        <ButtonBase
          onClick={() => setOpen(true)}
          data-testid="status-gateway"
          sx={{ typography: "caption", borderRadius: 1, textAlign: "start" }}
        >
          <Counters name={moodOf(gateway)?.label ?? gateway.mode}>
            <Counter label="requests" value={gateway.counts.requests} id="gateway-requests" />
            <Counter label="let through" value={gateway.counts.admitted} id="gateway-admitted" wideOnly />
            <Counter label="refused" value={refusals(gateway)} id="gateway-refused" />
          </Counters>
        </ButtonBase>
      )}
    </Box>
  );
}

function Counters({ name, children }: { name: string; children: ReactNode }) {
  return (
    <Box component="span" sx={{ display: "inline-flex", flexWrap: "wrap", columnGap: 1.25 }}>
      <Box component="span" sx={{ fontWeight: 700, color: "text.primary" }}>
        {name}
      </Box>
      {children}
    </Box>
  );
}

interface CounterProps {
  label: string;
  value: number;
  id: string;
  /** Left out where there is little room. */
  wideOnly?: boolean;
}

function Counter({ label, value, id, wideOnly = false }: CounterProps) {
  return (
    <Box component="span" sx={{ display: wideOnly ? { xs: "none", sm: "inline" } : "inline" }}>
      <Box component="span" data-testid={`metric-${id}`} sx={{ color: "text.primary", fontWeight: 600 }}>
        {count(value)}
      </Box>{" "}
      {label}
    </Box>
  );
}
