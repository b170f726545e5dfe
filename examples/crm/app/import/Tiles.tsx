import { Box, Typography } from "@mui/material";
import { count } from "../words.ts";

export interface Tile {
  id: string;
  label: string;
  value: number;
  tone: "success" | "info" | "warning" | "error" | "default";
  explanation?: string;
}

/** Figures side by side; those that are zero step back. */
export function Tiles({ tiles, prefix }: { tiles: Tile[]; prefix: string }) {
  return (
    <Box
      component="dl"
      sx={{
        display: "flex",
        flexWrap: "wrap",
        gap: 1,
        m: 0,
      }}
    >
      {tiles.map((tile) => (
        <Box
          key={tile.id}
          title={tile.explanation}
          sx={{
            flex: { xs: "1 1 96px", sm: "1 1 112px" },
            display: "flex",
            flexDirection: "column-reverse",
            justifyContent: "flex-end",
            border: 1,
            borderColor: "divider",
            borderRadius: 1,
            px: 1.5,
            py: 1,
          }}
        >
          <Typography component="dt" variant="body2" color="text.secondary">
            {tile.label}
          </Typography>
          <Typography
            component="dd"
            data-testid={`${prefix}-${tile.id}`}
            sx={{
              m: 0,
              fontSize: "1.4rem",
              fontWeight: 700,
              fontVariantNumeric: "tabular-nums",
              color: colorOf(tile),
            }}
          >
            {count(tile.value)}
          </Typography>
        </Box>
      ))}
    </Box>
  );
}

function colorOf(tile: Tile): string {
  if (tile.value === 0) return "text.disabled";
  return tile.tone === "default" ? "text.primary" : `${tile.tone}.main`;
}
