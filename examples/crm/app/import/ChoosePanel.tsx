import AutoAwesomeIcon from "@mui/icons-material/AutoAwesome";
import UploadFileIcon from "@mui/icons-material/UploadFile";
import {
  Alert,
  AlertTitle,
  Box,
  Button,
  CircularProgress,
  DialogContent,
  MenuItem,
  TextField,
  Typography,
} from "@mui/material";
import { type DragEvent, useRef, useState } from "react";
import { count } from "../words.ts";
import { FoundImports } from "./FoundImports.tsx";
import { useImportFlow } from "./ImportFlow.tsx";
import { sampleFile } from "./sampleFile.ts";

interface Props {
  /** Why the last file could not be used, in words for its owner. */
  problem: string | null;
  /** The name of the file that is being read now. */
  reading: string | null;
}

export function ChoosePanel({ problem, reading }: Props) {
  const { choose } = useImportFlow();
  const input = useRef<HTMLInputElement>(null);
  const drop = useDrop((file) => void choose(file));

  return (
    <DialogContent sx={{ display: "flex", flexDirection: "column", gap: 2.5, pb: 3 }}>
      {problem !== null && (
        <Alert severity="error" data-testid="import-problem">
          <AlertTitle>This file cannot be imported</AlertTitle>
          {problem}
        </Alert>
      )}
      <FoundImports />
      <Box
        {...drop.handlers}
        data-testid="import-drop"
        sx={{
          display: "grid",
          justifyItems: "center",
          gap: 1.5,
          px: 2,
          py: { xs: 5, sm: 7 },
          textAlign: "center",
          border: "2px dashed",
          borderColor: drop.isOver ? "primary.main" : "divider",
          borderRadius: 1,
          bgcolor: drop.isOver ? "#e6f4f5" : "background.default",
        }}
      >
        {reading === null ? (
          <>
            <UploadFileIcon sx={{ fontSize: 44, color: "primary.main" }} />
            <Typography variant="h3" component="p">
              Drop a CSV file here
            </Typography>
            <Button variant="contained" onClick={() => input.current?.click()} data-testid="import-choose">
              Choose a file
            </Button>
            <Typography variant="body2" color="text.secondary">
              Comma, semicolon or tab; one person a line; a line above them names the columns.
            </Typography>
          </>
        ) : (
          <>
            <CircularProgress aria-label={`Reading ${reading}`} />
            <Typography role="status">Reading {reading} …</Typography>
          </>
        )}
        <input
          ref={input}
          type="file"
          accept=".csv,text/csv"
          aria-label="CSV file"
          data-testid="import-file"
          hidden
          onChange={(event) => {
            const file = event.target.files?.[0];
            event.target.value = ""; // so that the same file, corrected, can be chosen again
            if (file !== undefined) void choose(file);
          }}
        />
      </Box>
      <Sample disabled={reading !== null} />
    </DialogContent>
  );
}

/** Made-up people for whoever has no file at hand. */
function Sample({ disabled }: { disabled: boolean }) {
  const { choose } = useImportFlow();
  const [rows, setRows] = useState(300);
  return (
    <Box sx={{ display: "flex", flexWrap: "wrap", alignItems: "center", gap: 1.5 }}>
      <Typography sx={{ flexGrow: 1 }} color="text.secondary">
        No file at hand? Take a sample with made-up people.
      </Typography>
      <TextField
        select
        label="Rows"
        value={rows}
        onChange={(event) => setRows(Number(event.target.value))}
        fullWidth={false}
        margin="none"
        sx={{ width: "7rem !important" }}
        slotProps={{ htmlInput: { "data-testid": "sample-rows" } }}
      >
        {sampleSizes.map((size) => (
          <MenuItem key={size} value={size}>
            {count(size)}
          </MenuItem>
        ))}
      </TextField>
      <Button
        variant="outlined"
        startIcon={<AutoAwesomeIcon />}
        disabled={disabled}
        onClick={() => void choose(sampleFile(rows))}
        data-testid="import-sample"
      >
        Use the sample
      </Button>
    </Box>
  );
}

function useDrop(onFile: (file: File) => void) {
  const [isOver, setOver] = useState(false);
  return {
    isOver,
    handlers: {
      onDragOver: (event: DragEvent) => {
        event.preventDefault();
        setOver(true);
      },
      onDragLeave: () => setOver(false),
      onDrop: (event: DragEvent) => {
        event.preventDefault();
        setOver(false);
        const file = event.dataTransfer.files[0];
        if (file !== undefined) onFile(file);
      },
    },
  };
}

const sampleSizes = [20, 100, 300, 1000, 5000];
