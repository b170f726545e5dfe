import CloseIcon from "@mui/icons-material/Close";
import {
  Alert,
  Box,
  Button,
  Divider,
  Drawer,
  FormControl,
  FormControlLabel,
  FormLabel,
  IconButton,
  Radio,
  RadioGroup,
  Switch,
  Typography,
} from "@mui/material";
import { WAYS, type Way } from "../../import/sender.mjs";
import { useConnection } from "../ConnectionContext.tsx";
import { useImportFlow } from "../import/ImportFlow.tsx";
import { CircuitChip } from "./CircuitChip.tsx";
import { useDemo } from "./DemoContext.tsx";
import { type GatewayState, moodOf, moods } from "./gateway.ts";
import { useService } from "./useService.ts";

/** Where a visitor makes the weather: how the gateway limits, what it hides, how often it fails. */
export function DemoPanel() {
  const { gateway, isOpen, setOpen } = useDemo();
  return (
    <Drawer
      anchor="right"
      open={isOpen}
      onClose={() => setOpen(false)}
      slotProps={{
        paper: { sx: { width: 400, maxWidth: "100vw", p: 3 }, "aria-labelledby": titleId, role: "dialog" },
      }}
      data-testid="demo-panel"
    >
      <Box sx={{ display: "flex", alignItems: "center", mb: 1 }}>
        <Typography variant="h2" id={titleId} sx={{ flexGrow: 1 }}>
          How the server behaves
        </Typography>
        <IconButton onClick={() => setOpen(false)} edge="end" aria-label="Close" data-testid="demo-close">
          <CloseIcon />
        </IconButton>
      </Box>
      <Typography variant="body2" color="text.secondary" sx={{ mb: 2 }}>
        For this demo only: a gateway stands between this page and Postgres. Change it at any time, best in
        the middle of an import.
      </Typography>
      {gateway === null ? (
        <Alert severity="info">No demo gateway answers. The page talks to its server directly.</Alert>
      ) : (
        <GatewayControls gateway={gateway} />
      )}
      <Divider sx={{ my: 2 }} />
      <WayControls />
      <Divider sx={{ my: 2 }} />
      <ServiceControls />
    </Drawer>
  );
}

function GatewayControls({ gateway }: { gateway: GatewayState }) {
  const { change, problem } = useDemo();
  return (
    <>
      {problem !== null && (
        <Alert severity="error" sx={{ mb: 2 }}>
          {problem}
        </Alert>
      )}
      <FormControl variant="standard">
        <FormLabel id="demo-mood">Limit</FormLabel>
        <RadioGroup
          aria-labelledby="demo-mood"
          value={moodOf(gateway)?.id ?? ""}
          onChange={(_, id) => {
            const mood = moods.find((each) => each.id === id);
            if (mood) void change(mood.settings);
          }}
        >
          {moods.map((mood) => (
            <FormControlLabel
              key={mood.id}
              value={mood.id}
              control={<Radio size="small" sx={{ py: 0.5 }} />}
              sx={{ alignItems: "start", mb: 0.75 }}
              data-testid={`mood-${mood.id}`}
              label={<Explained {...mood} />}
            />
          ))}
        </RadioGroup>
      </FormControl>
      <Typography variant="caption" color="text.secondary" data-testid="gateway-rule">
        In force: {gateway.rule}
      </Typography>
      <Divider sx={{ my: 2 }} />
      <Toggle
        label="Pages may read Retry-After"
        explanation="Hosted Supabase does not allow it."
        checked={gateway.exposeHeaders}
        onChange={(exposeHeaders) => void change({ exposeHeaders })}
      />
      <Toggle
        label="Refusals without CORS"
        explanation="The page sees “Failed to fetch” instead of 429."
        checked={!gateway.corsOnRefusals}
        onChange={(hidden) => void change({ corsOnRefusals: !hidden })}
      />
      <Toggle
        label="Bad line"
        explanation="5 % answered 503, 3 % cut off before and 3 % after the row was written."
        checked={Object.keys(gateway.faults).length > 0}
        onChange={(bad) => void change({ faults: bad ? badLine : {} })}
      />
      <Button size="small" onClick={() => void change({ reset: true })} sx={{ alignSelf: "start", mt: 1 }}>
        Set the gateway’s counters to zero
      </Button>
    </>
  );
}

/** How the importer sends; the server's mood is another matter. */
function WayControls() {
  const { way, setWay } = useImportFlow();
  return (
    <FormControl variant="standard">
      <FormLabel id="demo-way">How rows are sent, from the next import on</FormLabel>
      <RadioGroup aria-labelledby="demo-way" value={way} onChange={(_, chosen) => setWay(chosen as Way)}>
        {WAYS.map((each) => (
          <FormControlLabel
            key={each}
            value={each}
            control={<Radio size="small" sx={{ py: 0.5 }} />}
            sx={{ alignItems: "start", mb: 0.75 }}
            data-testid={`way-${each.replaceAll(" ", "-")}`}
            label={<Explained {...wayWords[each]} />}
          />
        ))}
      </RadioGroup>
    </FormControl>
  );
}

const wayWords: Record<Way, { label: string; explanation: string }> = {
  "one by one": {
    label: "One by one",
    explanation: "A request for each row, through react-admin’s data provider.",
  },
  "in batches": {
    label: "In batches",
    explanation: "As many rows in a request as the server takes well, through supabase-js.",
  },
};

function ServiceControls() {
  const { service } = useConnection();
  const { circuit } = useService();
  return (
    <Box sx={{ display: "grid", gap: 1.5, justifyItems: "start" }}>
      <Box sx={{ display: "flex", alignItems: "center", gap: 1 }}>
        <Typography variant="body2" sx={{ fontWeight: 600 }}>
          This page’s requests
        </Typography>
        <CircuitChip testId="demo-circuit" />
      </Box>
      {circuit.state === "closed" ? (
        <Button
          variant="outlined"
          size="small"
          onClick={() => service.isolateCircuit()}
          data-testid="isolate"
        >
          Stop all requests
        </Button>
      ) : (
        <Button
          variant="outlined"
          size="small"
          onClick={() => service.resetCircuit()}
          data-testid="reset-circuit"
        >
          Let requests through
        </Button>
      )}
    </Box>
  );
}

function Explained({ label, explanation }: { label: string; explanation: string }) {
  return (
    <>
      <Typography variant="body2" sx={{ fontWeight: 600, pt: 0.5 }}>
        {label}
      </Typography>
      <Typography variant="caption" color="text.secondary" component="div">
        {explanation}
      </Typography>
    </>
  );
}

interface ToggleProps {
  label: string;
  explanation: string;
  checked: boolean;
  onChange(checked: boolean): void;
}

function Toggle({ label, explanation, checked, onChange }: ToggleProps) {
  return (
    <FormControlLabel
      sx={{ alignItems: "start", mb: 0.75 }}
      control={<Switch size="small" checked={checked} onChange={(_, on) => onChange(on)} />}
      label={
        <Box sx={{ pl: 0.5 }}>
          <Typography variant="body2" sx={{ fontWeight: 600 }}>
            {label}
          </Typography>
          <Typography variant="caption" color="text.secondary" component="div">
            {explanation}
          </Typography>
        </Box>
      }
    />
  );
}

const titleId = "demo-title";
const badLine = { unavailable: 0.05, dropBefore: 0.03, dropAfter: 0.03 };
