// 2,000 rows through the clients of applications, past every kind of gateway, into Postgres: how long it took, as a
// multiple of what the limit alone makes it take, and how many requests were refused for each row.
import { run as runProgram } from "../../../js/steps.mjs";
import { begin, ended, LATENCY_MS, openStage } from "./stage.mjs";

/** @returns {Promise<{ missed: string[] }>} and the lines of the table */
export async function measure({ chromiumPath, rows = 2_000, only = "" }) {
  const simulated = await simulation();
  const stage = await openStage(chromiumPath);
  const lines = [];
  const missed = [];
  try {
    console.log(`${rows} rows, answers after ${LATENCY_MS.join(" to ")} ms and what Postgres takes\n`);
    console.log(lineOf(HEAD));
    for (const scene of scenes()) {
      const name = `${scene.mode}, ${scene.through}, ${scene.title}`;
      if (!name.includes(only)) continue;
      const line = { ...(await lineFor(stage, scene, rows, lines.length)), simulated: simulated(scene) };
      lines.push(line);
      console.log(lineOf(cellsOf(line)));
      if (!isWhole(line, rows)) missed.push(`${name}: ${JSON.stringify(line)}`);
    }
    return { rows, latencyMs: LATENCY_MS, chromium: stage.browser.version(), lines, missed };
  } finally {
    await stage.close();
  }
}

// ---- what is measured

/**
 * One by one at 50 a second, and in batches of ten at 10 a second; over HTTP/2 as hosted APIs speak it, and one by one also
 * over HTTP/1.1, where Chromium has six connections to a server and lets everything else wait.
 */
const PACES = [
  { title: "one by one", batchSize: 1, rate: 50, http2: true },
  { title: "in batches of 10", batchSize: 10, rate: 10, http2: true },
  { title: "one by one, HTTP/1.1", batchSize: 1, rate: 50, http2: false },
];

/** Of which the limit allows `rate` requests a second in the long run. */
const GATEWAYS = {
  bucket: (rate) => ({ mode: "bucket", limits: { rate, burst: rate } }),
  fixed: (rate) => ({ mode: "fixed", limits: { limit: rate, windowMs: 1_000 } }),
  sliding: (rate) => ({ mode: "sliding", limits: { limit: rate, windowMs: 1_000 } }),
  // How many a second that makes depends on how long they take: `lineFor` reckons with what they took behind the limit. The
  // way there and back, which keeps nobody out, is not in it.
  concurrency: (rate) => ({ mode: "concurrency", limits: { limit: Math.max(2, Math.round(rate / 10)) } }),
  blocking: (rate) => ({ mode: "cloudflare", limits: { limit: 10 * rate, windowMs: 10_000 } }),
  "supabase-420": (rate) => ({ mode: "supabase-420", limits: { limit: 10 * rate, windowMs: 10_000 } }),
  // Cloudflare's own pages carry no CORS headers: each refusal looks as if the connection had been lost.
  cloudflare: (rate) => ({
    mode: "cloudflare",
    limits: { limit: 10 * rate, windowMs: 10_000 },
    corsOnRefusals: false,
  }),
};

function scenes() {
  return PACES.flatMap((pace) =>
    Object.entries(GATEWAYS).flatMap(([mode, gatewayFor]) =>
      waysFor(pace).map((through) => ({
        ...pace,
        ...{ mode, through, gateway: { ...gatewayFor(pace.rate), http2: pace.http2 } },
      })),
    ),
  );
}

function waysFor({ batchSize, http2 }) {
  if (!http2) return ["supabase-js"];
  return ["supabase-js", batchSize > 1 ? "ra-supabase, createMany" : "ra-supabase"];
}

async function lineFor(stage, { mode, through, title, batchSize, rate, gateway: settings }, rows, number) {
  const run = `matrix-${number}`;
  const gateway = await stage.gateway({ ...settings, seed: number + 1 });
  const { page, context } = await stage.open();
  try {
    await begin(page, { through, gateway, rows: { run, count: rows }, options: { batchSize } });
    const report = await ended(page);
    const { refused, admitted, requests, worstSecond } = gateway.counts();
    const refusals = Object.values(refused).reduce((sum, count) => sum + count, 0);
    const isCapped = mode === "concurrency";
    const perSecond = isCapped ? (settings.limits.limit / gateway.serviceMs()) * 1_000 : rate;
    const inPostgres = await stage.peopleOf(run);
    await stage.backend.sql("delete from contacts where email_jsonb->0->>'email' like $1", [
      `%@${run}.example`,
    ]);
    const { imported, duplicate, failed, skipped, unknown, durationMs, stopped, waits, wrongSums } = report;
    return {
      ...{ mode, through, pace: title, limits: settings.limits, perSecond: round(perSecond, 1) },
      ...{ requests, admitted, refused: refusals, worstSecond, serviceMs: round(gateway.serviceMs(), 0) },
      ...{ durationMs: Math.round(durationMs) },
      makespan: round(durationMs / 1_000 / (rows / batchSize / perSecond), 3),
      refusedPerRow: round(refusals / rows, 4),
      ...{ imported, duplicate, failed, skipped, unknown, stopped, wrongSums },
      ...{ inPostgres, waits: Object.keys(waits), odd: report.odd },
    };
  } finally {
    await context.close();
    await gateway.close();
  }
}

/** Every row once, and the report says so. */
function isWhole({ imported, duplicate, failed, skipped, unknown, inPostgres, wrongSums }, rows) {
  const known = imported + duplicate === rows && failed + skipped + unknown === 0;
  return known && wrongSums === 0 && inPostgres.rows === rows && inPostgres.people === rows;
}

// ---- beside the simulation

/** What the bench says of the same limit at 50 a second and 2,000 rows; "" where it does not say anything. */
async function simulation() {
  const args = ["bench", "--locked", "--bench", "pacing", "--", "--only", ", 50/s"];
  const { stdout } = await runProgram("cargo bench --bench pacing", "cargo", args);
  const sections = stdout.split(/\n(?=\S)/);
  const cell = (section, name) => {
    const text = sections.find((one) => one.startsWith(section)) ?? "";
    const line = text.split("\n").find((one) => one.replace(/^!? +/, "").startsWith(`${name}, 50/s`)) ?? "";
    return /\d+\.\d+ \/ \d+\.\d+ %/.exec(line)?.[0] ?? "";
  };
  const short = (name) => cell("Only the status visible, 2,000 rows", name);
  const known = {
    bucket: short("token bucket"),
    fixed: short("fixed 1 s"),
    sliding: short("sliding 1 s"),
    concurrency: short("concurrency cap"),
    "supabase-420": short("sliding 10 s"),
    blocking: cell("A server that shuts out for 10 s", "blocks 10 s"),
  };
  return ({ mode, rate }) => (rate === 50 ? (known[mode] ?? "") : "");
}

// ---- the table

const HEAD = ["gateway", "through", "rows", "makespan", "refused/row", "Postgres", "simulated"];

function cellsOf({ mode, through, pace, makespan, refusedPerRow, inPostgres, simulated }) {
  const { rows, people } = inPostgres;
  const percent = `${(100 * refusedPerRow).toFixed(2)} %`;
  return [mode, through, pace, makespan.toFixed(3), percent, rows === people ? rows : `${rows}!`, simulated];
}

function lineOf([mode, through, pace, ...figures]) {
  const [makespan, refused, inPostgres, simulated] = figures;
  return [
    ...[String(mode).padEnd(12), through.padEnd(24), pace.padEnd(21), String(makespan).padStart(8)],
    ...[String(refused).padStart(12), String(inPostgres).padStart(9), String(simulated).padStart(17)],
  ].join(" ");
}

const round = (value, digits) => Number(value.toFixed(digits));
