import { Chip, Tooltip } from "@mui/material";
import { circuitWords } from "../words.ts";
import { useService } from "./useService.ts";

/** Whether the server can be reached, in two words and a colour; the sentence is in the tooltip. */
export function CircuitChip({ testId }: { testId: string }) {
  const { circuit } = useService();
  const { label, sentence, tone } = circuitWords(circuit);
  return (
    <Tooltip title={sentence}>
      <Chip
        size="small"
        color={tone}
        label={label}
        data-testid={testId}
        data-state={circuit.state}
        aria-label={`${label}. ${sentence}`}
      />
    </Tooltip>
  );
}
