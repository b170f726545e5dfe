// The charts of docs/benchmarks.md, each from the data of one bench. Each answers files as `[name, svg]`.
import { growthRows, speed } from "./limits/report.mjs";
import { short, spread } from "./report.mjs";
import { barChart, lineChart } from "./svg.mjs";
import { STEPS } from "./weight/report.mjs";
import { WORKLOADS } from "./workloads.mjs";

export const CHARTS = { calm, limits, import: imports, weight };

function sourceOf(name, { date, machine, versions }, more = "") {
  return `npm run bench -- ${name}, ${date}, ${machine}, tidegate ${versions.tidegate}, Node ${versions.node}${more}`;
}

// ---- the calm path

function calm(data) {
  const source = sourceOf("calm", data);
  const panels = Object.values(data.places).map((place) => ({
    title: place.title,
    bars: costs(place, Object.keys(data.subjects)),
  }));
  const series = Object.values(data.places).flatMap((place) =>
    Object.entries(place.long).map(([workload, { nanoseconds }]) => ({
      name: `${place.title.split(".")[0]}${workload === "context" ? ", with a context" : ""}`,
      points: nanoseconds.map((time, i) => [((i + 1) * data.endurance.callsOfPart) / 1e6, time]),
      isOurs: true,
    })),
  );
  return [
    [
      "calm",
      barChart({
        title: "A call that succeeds",
        unit: "nanoseconds, logarithmic; the line in a bar: lowest to highest round",
        source,
        panels,
        log: true,
        from: 10,
      }),
    ],
    [
      "calm-at-length",
      lineChart({
        title: `${(data.endurance.parts * data.endurance.callsOfPart).toLocaleString("en")} calls, one after the other`,
        unit: "nanoseconds of a call, by tenth of the run",
        source,
        xLabel: "million calls made",
        series,
      }),
    ],
  ];
}

function costs({ answers }, names) {
  const bars = names.flatMap((name) => {
    const isOurs = name === "tidegate";
    const one = (label, times) => (times ? [{ label, ...valued(times), isOurs }] : []);
    return [
      ...one(name, answers[name].async),
      ...(isOurs ? one("tidegate, with a context", answers[name].context) : []),
    ];
  });
  return bars.sort((a, b) => a.value - b.value);
}

function valued(numbers) {
  const { median, low, high } = spread(numbers);
  return { value: median, low, high, text: short(median) };
}

// ---- limits

function limits(data) {
  const source = sourceOf("limits", data);
  const panels = WORKLOADS.filter(({ kind, batch }) => kind === "resolved" && batch > 1_000).map(
    (workload) => ({
      title: workload.key,
      bars: Object.entries(speed(data, workload).values)
        .filter(([, value]) => value !== null)
        .map(([label, { median, low, high }]) => ({
          label,
          value: median,
          low,
          high,
          text: short(median),
          isOurs: label === "tidegate",
        }))
        .sort((a, b) => b.value - a.value),
    }),
  );
  const growth = (wanted) =>
    growthRows(data)
      .filter(({ title, times }) => title === wanted && times.filter((time) => time !== null).length > 1)
      .map(({ name, times }) => ({
        name,
        points: times.flatMap((time, i) => (time === null ? [] : [[data.sizes[i], time]])),
        isOurs: name === "tidegate",
      }));
  const lines = (title, wanted, xLabel) =>
    lineChart({
      title,
      unit: "nanoseconds, both axes logarithmic",
      source,
      xLabel,
      series: growth(wanted),
      log: true,
    });
  return [
    [
      "limits-speed",
      barChart({
        title: "Jobs through a pool",
        unit: "jobs a second, logarithmic",
        source,
        panels,
        log: true,
        from: 100,
      }),
    ],
    [
      "limits-submit",
      lines("Submitting one more job", "submit, random priorities", "jobs that wait, random priorities"),
    ],
    [
      "limits-start",
      lines(
        "Starting the next job",
        "start the next, random priorities",
        "jobs that wait, random priorities",
      ),
    ],
    ["limits-abort", lines("Calling off a job that waits", "call one off", "jobs that wait")],
    ["limits-keys", lines("Counting a unit of a key", "`await wait(key)`", "keys")],
  ];
}

// ---- imports

function imports(data) {
  const rows = data.rows.toLocaleString("en");
  const source = sourceOf("import", data);
  const middle = (value, write) =>
    data.sideBySide.map(({ perSecond, strategies, rules }) => ({
      title: `at ${perSecond} a second`,
      bars: strategies.map((label, i) => {
        const number = spread(rules.map(({ cells }) => value(cells[i]))).median;
        return { label, value: number, text: write(number), isOurs: label.startsWith("pacer") };
      }),
    }));
  const [{ rules }] = data.sideBySide;
  const unit = `the middle of ${rules.length} kinds of limits, ${rows} rows; * was told the limit`;
  return [
    [
      "import-refused",
      barChart({
        title: "Requests that are refused for each row",
        unit: `per cent, logarithmic; ${unit}`,
        source,
        panels: middle(
          ({ refusedPerRow }) => 100 * refusedPerRow,
          (number) => `${short(number)} %`,
        ),
        log: true,
        from: 0.01,
      }),
    ],
    [
      "import-arrived",
      barChart({
        title: "Rows that arrive, under the limit that suits a strategy least",
        unit: `per cent of ${rows} rows, ${rules.length} kinds of limits; * was told the limit`,
        source,
        panels: data.sideBySide.map(leastArrived),
      }),
    ],
    ["import-real", realChart(data)],
  ];
}

function leastArrived({ perSecond, strategies, rules }) {
  const bars = strategies.map((label, i) => {
    const least = 100 * Math.min(...rules.map(({ cells }) => cells[i].arrived));
    return { label, value: least, text: `${short(least)} %`, isOurs: label.startsWith("pacer") };
  });
  return { title: `at ${perSecond} a second`, bars };
}

function realChart({ real }) {
  const isWhole = real.lines.every(
    ({ imported, inPostgres }) => imported === real.rows && inPostgres === real.rows,
  );
  const bars = real.lines
    .filter(({ pace }) => pace === "one by one")
    .map(({ mode, through, makespan, refusedPerRow }) => ({
      label: `${mode}, ${through}`,
      value: makespan,
      text: `${makespan.toFixed(2)}, ${short(100 * refusedPerRow)} % refused`,
      isOurs: true,
    }));
  return barChart({
    title: `${real.rows.toLocaleString("en")} rows through Chromium and a gateway into Postgres`,
    unit: `makespan divided by the time that the rows take at exactly the limit${isWhole ? "; all rows arrived, each once" : ""}`,
    source: `docs/evidence/import-matrix.json, ${real.date}, ${real.machine}, Chromium ${real.versions.chromium}`,
    panels: [{ bars }],
    mark: { value: 1, text: "exactly the limit" },
  });
}

// ---- weight

function weight(data) {
  const source = sourceOf("weight", data, `, Chromium ${data.versions.chromium}`);
  const kilobytes = (label, bytes, isOurs) => ({
    label,
    value: bytes / 1_000,
    text: (bytes / 1_000).toFixed(1),
    isOurs,
  });
  const gzip = (sizes, isOurs) =>
    Object.entries(sizes).map(([name, size]) => kilobytes(shortened(name), size.gzip, isOurs));
  const files = Object.entries(groups(data.files.tidegate)).map(([name, size]) =>
    kilobytes(name, size, true),
  );
  const rooms = data.modules.core.rooms
    ? Object.entries(data.modules.core.rooms).map(([name, size]) => kilobytes(name, size, true))
    : [];
  return [
    [
      "weight",
      barChart({
        title: "In an application's bundle",
        unit: "kB, minified by esbuild, gzip",
        source,
        panels: [
          { title: "tidegate", bars: gzip(data.ours, true).filter(({ value }) => value > 1) },
          { title: "others", bars: gzip(data.peers, false) },
        ],
      }),
    ],
    [
      "weight-where",
      barChart({
        title: "Where the bytes of the default entry are",
        unit: "kB, minified, before compression",
        source,
        panels: [
          { title: "by part", bars: files },
          ...(rooms.length > 0 ? [{ title: "code of core.wasm, by room", bars: rooms }] : []),
        ],
      }),
    ],
    ["weight-start", startChart(data, source)],
  ];
}

function startChart({ starts }, source) {
  const bars = Object.entries(STEPS).map(([key, label]) => {
    const { median, low, high } = spread(starts.map((start) => start[key]));
    return {
      label,
      value: median,
      low,
      high,
      text: `${median.toFixed(2)}`,
      isOurs: key !== "second" && key !== "empty",
    };
  });
  return barChart({
    title: "From import to the first answer, with nothing cached",
    unit: `ms in Chromium, the middle of ${starts.length} pages; the line in a bar: lowest to highest`,
    source,
    panels: [{ bars }],
    mark: { value: 10, text: "to reach" },
  });
}

/** The core as text, its glue, and our own files; those of less than a kilobyte together. */
function groups(files) {
  const names = { "pkg/core.inline.js": "the core, as text", "pkg/core.js": "the core's glue" };
  const sizes = {};
  for (const [file, size] of Object.entries(files)) {
    const name = names[file] ?? (size < 1_500 ? "files below 1.5 kB" : file);
    sizes[name] = (sizes[name] ?? 0) + size;
  }
  return sizes;
}

function shortened(name) {
  return name.length > 40 ? `${name.slice(0, 38).trimEnd()} …` : name;
}
