import { Box, useTheme } from "@mui/material";
import { rate } from "../words.ts";
import type { Sample } from "./ImportFlow.tsx";

/** Rows per second over the last minute, with a mark wherever the server refused. */
export function SpeedCurve({ history }: { history: Sample[] }) {
  const theme = useTheme();
  const points = speeds(history);
  const fastest = Math.max(0, ...points.map((point) => point.perSecond));
  const top = Math.max(5, fastest);
  const x = (index: number) =>
    margin + (points.length < 2 ? 0 : (index / (points.length - 1)) * (width - 2 * margin));
  const y = (perSecond: number) => height - 2 - (perSecond / top) * (height - 6);
  const line = points
    .map((point, index) => `${x(index).toFixed(1)},${y(point.perSecond).toFixed(1)}`)
    .join(" ");

  return (
    <Box component="figure" sx={{ m: 0 }}>
      <Box
        component="figcaption"
        sx={{
          display: "flex",
          justifyContent: "space-between",
          typography: "caption",
          color: "text.secondary",
        }}
      >
        <span>Last minute, up to {rate(fastest)} rows/s</span>
        <Box component="span" sx={{ display: "flex", alignItems: "center", gap: 0.75 }}>
          <Box component="span" sx={{ width: 8, height: 8, borderRadius: 4, bgcolor: "warning.main" }} />
          refused
        </Box>
      </Box>
      <svg
        viewBox={`0 0 ${width} ${height}`}
        preserveAspectRatio="none"
        role="img"
        aria-label={`Speed in the last minute, at most ${rate(fastest)} rows per second`}
        style={{
          display: "block",
          width: "100%",
          height,
          background: theme.palette.background.default,
          borderRadius: 8,
        }}
      >
        {points.map(
          (point, index) =>
            point.refused && (
              <line
                key={point.at}
                x1={x(index)}
                x2={x(index)}
                y1={height}
                y2={height - 10}
                stroke={theme.palette.warning.main}
                strokeWidth={2}
                vectorEffect="non-scaling-stroke"
              />
            ),
        )}
        {points.length > 1 && (
          <>
            <polygon
              points={`${margin},${height} ${line} ${width - margin},${height}`}
              fill={theme.palette.primary.light}
              opacity={0.18}
            />
            <polyline
              points={line}
              fill="none"
              stroke={theme.palette.primary.main}
              strokeWidth={2}
              strokeLinejoin="round"
              vectorEffect="non-scaling-stroke"
            />
          </>
        )}
      </svg>
    </Box>
  );
}

/** The speed at each sample is taken over the two seconds before it, so that the curve does not flicker. */
function speeds(history: Sample[]): { at: number; perSecond: number; refused: boolean }[] {
  return history.map((sample, index) => {
    const before = history[Math.max(0, index - samplesPerSpeed)] ?? sample;
    const seconds = (sample.at - before.at) / 1000;
    return {
      at: sample.at,
      perSecond: seconds === 0 ? 0 : (sample.processed - before.processed) / seconds,
      refused: sample.throttled > (history[index - 1]?.throttled ?? 0),
    };
  });
}

const width = 600;
const height = 72;
/** Keeps the marks of the first and the last sample inside. */
const margin = 3;
const samplesPerSpeed = 4;
