import HistoryIcon from "@mui/icons-material/History";
import { Alert, Box, Button } from "@mui/material";
import { useCallback, useEffect, useState } from "react";
import { type FoundImport, findImports, forgetImport } from "tidegate/import";
import { count, span } from "../words.ts";

/** Imports that a reload, a closed tab or a crash has interrupted, and how to go on with them. */
export function FoundImports() {
  const [found, setFound] = useState<FoundImport[]>([]);
  const look = useCallback(async () => setFound(await findImports()), []);
  useEffect(() => void look(), [look]);

  return found.map((each) => (
    <Alert
      key={each.id}
      severity="info"
      icon={<HistoryIcon />}
      data-testid="found-import"
      action={
        <Button
          color="inherit"
          size="small"
          onClick={() => void forgetImport(each.id).then(look)}
          data-testid="found-forget"
        >
          Forget
        </Button>
      }
    >
      <Box component="span" sx={{ fontWeight: 700 }}>
        {each.name || "An import"}: {progressOf(each)} done
      </Box>
      , interrupted {span(Math.max(0, Date.now() - each.at))} ago. Choose the same file again to go on.
    </Alert>
  ));
}

function progressOf({ done, total }: FoundImport): string {
  return total === null ? count(done) : `${count(done)} of ${count(total)}`;
}
