// Charts as SVG: bars with ranges, and lines. One file each, legible on light and on dark, without a script.

const WIDTH = 860;
const LEFT = 300;
const RIGHT = 150;
const PLOT = WIDTH - LEFT - RIGHT;
const TOP = 64;
const ROW = 24;

const STYLE = `
  text { font: 13px system-ui, "Segoe UI", Roboto, sans-serif; fill: #1f2328 }
  .page { fill: #ffffff } .title { font-size: 16px; font-weight: 600 } .quiet { fill: #59636e; font-size: 12px }
  .grid { stroke: #d1d9e0 } .ours { fill: #0a7d6c } .other { fill: #9aa7b5 } .range { stroke: #1f2328; stroke-width: 1.5 }
  .line { fill: none; stroke-width: 2; stroke: #6e7b8a } .line.ours { fill: none; stroke: #0a7d6c; stroke-width: 3 } .strong { font-weight: 600 }
  .mark { stroke: #c6401b; stroke-width: 1.5; stroke-dasharray: 5 4 } .marked { fill: #c6401b; font-size: 12px }
  @media (prefers-color-scheme: dark) {
    text { fill: #f0f6fc } .page { fill: #0d1117 } .quiet { fill: #9198a1 } .grid { stroke: #3d444d } .ours { fill: #2dd4bf } .other { fill: #65717e }
    .range { stroke: #f0f6fc } .line { stroke: #9198a1 } .line.ours { stroke: #2dd4bf } .mark { stroke: #ff8a66 } .marked { fill: #ff8a66 }
  }`;

/**
 * Bars from the left, by panel: `panels` are `{ title, bars: [{ label, value, low, high, text, isOurs }] }`, on one scale.
 * `mark` is a value to reach, `{ value, text }`; `log` a logarithmic scale, which begins at `from`.
 */
export function barChart({ title, unit, source, panels, mark, log = false, from = 1 }) {
  const bars = panels.flatMap((panel) => panel.bars);
  const most =
    Math.max(...bars.map(({ value, high }) => high ?? value), mark?.value ?? 0) * (log ? 1.3 : 1.02);
  const scale = log ? logarithmic(from, most) : linear(0, most);
  const x = (value) => LEFT + PLOT * scale.at(value);
  const parts = [];
  let y = TOP;
  for (const panel of panels) {
    if (panel.title) parts.push(text(LEFT, y + 14, panel.title, "strong"));
    y += panel.title ? ROW : 4;
    for (const bar of panel.bars) {
      parts.push(text(LEFT - 10, y + 15, bar.label, bar.isOurs ? "strong" : "", "end"));
      parts.push(
        `<rect class="${bar.isOurs ? "ours" : "other"}" x="${LEFT}" y="${y + 3}" width="${round(Math.max(1, x(bar.value) - LEFT))}" height="${ROW - 8}"/>`,
      );
      if (bar.high > bar.low)
        parts.push(line("range", x(bar.low), y + ROW / 2 - 1, x(bar.high), y + ROW / 2 - 1));
      parts.push(text(x(bar.high ?? bar.value) + 6, y + 15, bar.text, bar.isOurs ? "strong" : ""));
      y += ROW;
    }
    y += 10;
  }
  const grid = scale.ticks.map((tick) => line("grid", x(tick), TOP, x(tick), y));
  const labels = scale.ticks.map((tick) => text(x(tick), y + 16, short(tick), "quiet", "middle"));
  if (mark)
    parts.push(
      line("mark", x(mark.value), TOP, x(mark.value), y),
      text(x(mark.value) + 4, TOP - 4, mark.text, "marked"),
    );
  return page(y + 54, title, unit, source, [...grid, ...parts, ...labels]);
}

/** Lines over a common axis: `series` are `{ name, points: [[x, y], …], isOurs }`; both axes logarithmic with `log`. */
export function lineChart({ title, unit, source, xLabel, series, log = false }) {
  const height = 300;
  const [left, plot] = [70, WIDTH - 70 - 270];
  const points = series.flatMap((each) => each.points);
  const [xs, ys] = [points.map(([x]) => x), points.map(([, y]) => y)];
  const across = log
    ? logarithmic(Math.min(...xs), Math.max(...xs))
    : linear(Math.min(...xs), Math.max(...xs));
  const up = log
    ? logarithmic(Math.min(...ys) / 1.5, Math.max(...ys) * 1.5)
    : linear(0, Math.max(...ys) * 1.1);
  const x = (value) => left + plot * across.at(value);
  const y = (value) => TOP + height * (1 - up.at(value));
  const parts = up.ticks.flatMap((tick) => [
    line("grid", left, y(tick), left + plot, y(tick)),
    text(left - 8, y(tick) + 4, short(tick), "quiet", "end"),
  ]);
  for (const tick of across.ticks)
    parts.push(text(x(tick), TOP + height + 18, short(tick), "quiet", "middle"));
  parts.push(text(left + plot / 2, TOP + height + 36, xLabel, "quiet", "middle"));
  const ends = spreadOut(series.map(({ points: of }) => y(of.at(-1)[1])));
  series.forEach(({ name, points: of, isOurs }, i) => {
    const path = of.map(([px, py], j) => `${j === 0 ? "M" : "L"}${round(x(px))} ${round(y(py))}`).join("");
    const dash = isOurs ? "" : ` stroke-dasharray="${DASHES[i % DASHES.length]}"`;
    parts.push(`<path class="line${isOurs ? " ours" : ""}" d="${path}"${dash}/>`);
    parts.push(line("grid", x(of.at(-1)[0]) + 3, y(of.at(-1)[1]), left + plot + 14, ends[i]));
    parts.push(text(left + plot + 18, ends[i] + 4, name, isOurs ? "strong" : ""));
  });
  return page(TOP + height + 72, title, unit, source, parts);
}

const DASHES = ["", "6 3", "2 3", "9 3 2 3", "12 4"];

/** Names at the ends of lines, none above another. */
function spreadOut(places) {
  const order = places.map((place, i) => ({ place, i })).sort((a, b) => a.place - b.place);
  const moved = [...places];
  let last = Number.NEGATIVE_INFINITY;
  for (const { place, i } of order) {
    moved[i] = Math.max(place, last + 16);
    last = moved[i];
  }
  return moved;
}

function linear(from, to) {
  const step = [1, 2, 5, 10]
    .map((factor) => factor * 10 ** Math.floor(Math.log10((to - from) / 5)))
    .find((size) => (to - from) / size <= 6);
  const ticks = [];
  for (let tick = Math.ceil(from / step) * step; tick <= to; tick += step) ticks.push(tick);
  return { at: (value) => (value - from) / (to - from || 1), ticks };
}

function logarithmic(from, to) {
  const ticks = [];
  for (let power = Math.ceil(Math.log10(from)); power <= Math.log10(to); power++) ticks.push(10 ** power);
  const [low, high] = [Math.log(from), Math.log(to)];
  return { at: (value) => (Math.log(Math.max(from, value)) - low) / (high - low), ticks };
}

function page(height, title, unit, source, parts) {
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" height="${height}" role="img" aria-label="${escaped(title)}">`,
    `<style>${STYLE}\n</style>`,
    `<rect class="page" width="${WIDTH}" height="${height}" rx="6"/>`,
    text(16, 26, title, "title"),
    text(16, 46, unit, "quiet"),
    ...parts,
    text(16, height - 12, source, "quiet"),
    "</svg>\n",
  ].join("\n");
}

function text(x, y, content, kind = "", anchor = "start") {
  return `<text class="${kind}" x="${round(x)}" y="${round(y)}" text-anchor="${anchor}">${escaped(content)}</text>`;
}

function line(kind, x1, y1, x2, y2) {
  return `<line class="${kind}" x1="${round(x1)}" y1="${round(y1)}" x2="${round(x2)}" y2="${round(y2)}"/>`;
}

function escaped(content) {
  return String(content).replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll('"', "&quot;");
}

function short(number) {
  if (number >= 1e6) return `${number / 1e6} M`;
  return number >= 1e3 ? `${number / 1e3} k` : String(Number(number.toPrecision(6)));
}

const round = (number) => Math.round(number * 10) / 10;
