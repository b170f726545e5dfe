import { Box, useTheme } from "@mui/material";
import { count, rate, span } from "../words.ts";
import type { Sample } from "./ImportFlow.tsx";

/** Rows per second since the import began, and under them the refusals that it met. */
export function SpeedCurve({ history }: { history: Sample[] }) {
  const { palette } = useTheme();
  const points = pointsOf(history);
  const fastest = Math.max(0, ...points.map(({ perSecond }) => perSecond));
  const mostRefused = Math.max(0, ...points.map(({ refused }) => refused));
  const refused = history.at(-1)?.throttled ?? 0;
  const from = history[0]?.at ?? 0;
  const lastsMs = Math.max(1, (history.at(-1)?.at ?? 0) - from);

  const x = (at: number) => margin + ((at - from) / lastsMs) * (width - 2 * margin);
  const y = (perSecond: number) => curveHeight - 2 - (perSecond / Math.max(5, fastest)) * (curveHeight - 6);
  const bar = (times: number) => (times / Math.max(4, mostRefused)) * barsHeight;
  const line = points.map(({ at, perSecond }) => `${x(at).toFixed(1)},${y(perSecond).toFixed(1)}`).join(" ");

  return (
    <Box component="figure" sx={{ m: 0 }} data-testid="import-curve">
      <Box
        component="figcaption"
        sx={{
          display: "flex",
          flexWrap: "wrap",
          columnGap: 2,
          justifyContent: "space-between",
          typography: "caption",
          color: "text.secondary",
        }}
      >
        <Key color="primary.main">
          Rows a second, up to {rate(fastest)}, in {span(lastsMs)}
        </Key>
        <Key color="warning.main">
          <span data-testid="curve-refused">{count(refused)}</span> refused
        </Key>
      </Box>
      <svg
        viewBox={`0 0 ${width} ${height}`}
        preserveAspectRatio="none"
        role="img"
        aria-label={`At most ${rate(fastest)} rows a second; ${count(refused)} requests were refused`}
        style={{
          display: "block",
          width: "100%",
          height,
          background: palette.background.default,
          borderRadius: 8,
        }}
      >
        {points.length > 1 && (
          <>
            <polygon
              points={`${x(points[0]?.at ?? 0)},${curveHeight} ${line} ${width - margin},${curveHeight}`}
              fill={palette.primary.light}
              opacity={0.18}
            />
            <polyline
              points={line}
              fill="none"
              stroke={palette.primary.main}
              strokeWidth={2}
              strokeLinejoin="round"
              vectorEffect="non-scaling-stroke"
            />
          </>
        )}
        {points.map(
          ({ at, refused: times }) =>
            times > 0 && (
              <line
                key={at}
                x1={x(at)}
                x2={x(at)}
                y1={height}
                y2={height - Math.max(3, bar(times))}
                stroke={palette.warning.main}
                strokeWidth={3}
                vectorEffect="non-scaling-stroke"
              />
            ),
        )}
      </svg>
    </Box>
  );
}

function Key({ color, children }: { color: string; children: React.ReactNode }) {
  return (
    <Box component="span" sx={{ display: "flex", alignItems: "center", gap: 0.75 }}>
      <Box component="span" sx={{ width: 8, height: 8, borderRadius: 4, bgcolor: color }} />
      <span>{children}</span>
    </Box>
  );
}

interface Point {
  at: number;
  perSecond: number;
  /** Since the point before. */
  refused: number;
}

/** The speed at each sample is taken over the two seconds before it, so that the curve does not flicker. */
function pointsOf(history: Sample[]): Point[] {
  return history.map((sample, index) => {
    const before =
      history.find(({ at }) => at >= sample.at - speedOverMs && at < sample.at) ?? history[index - 1];
    const seconds = before === undefined ? 0 : (sample.at - before.at) / 1000;
    return {
      at: sample.at,
      perSecond: before === undefined || seconds === 0 ? 0 : (sample.done - before.done) / seconds,
      refused: sample.throttled - (history[index - 1]?.throttled ?? 0),
    };
  });
}

const width = 600;
const curveHeight = 72;
/** Under the curve, so that neither hides the other. */
const barsHeight = 24;
const height = curveHeight + barsHeight;
/** Keeps the marks of the first and the last sample inside. */
const margin = 3;
const speedOverMs = 2000;
