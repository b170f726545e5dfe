// The report on imports, made from what the simulation and the evidence say.
import { headLines, table } from "../report.mjs";

export const METHOD = `
Virtual time, seeded: a server with one rule, a way of 50 to 150 ms there and back unless something else is said, and a client that has rows to
bring in, each a request. A cell is the makespan divided by the time that the rows take at exactly the limit (N/R), and the refused
requests for each row; a burst that a server allows makes the first smaller than 1. The mean of the seeds. Where a
strategy gives rows up, or is not done after twenty times the optimum and at least an hour, the share of the rows that arrived stands
instead of the makespan. With a star: it was told the limit, as nobody is in earnest. The strategies are the ideas of the packages in few lines of
Rust (benches/strategies/mod.rs), with the defaults of those: all rows at once with three retries and a breaker of five failures, as a CRM had it, the breaker
around each attempt or around the loop; five at a time, each retried after 1, 2, 4 … s; ten at a time behind tidegate's
cooldown; the AWS SDK's adaptive mode, with its three attempts and without end; AIMD as Netflix has it and a cautious one; p-queue and Bottleneck,
configured with the limit; an even pace. "pacer" is what imports use: with the status alone, with Retry-After on refusals, and with RateLimit fields. The
real imports went through Chromium, a gateway over HTTP/2 unless something else is said, and into Postgres: docs/evidence/README.md.`.trim();

export function render(data) {
  return [
    "# Imports: how near to a limit that nobody is told",
    headLines(data).join("\n"),
    `Seeds ${data.seeds.join(" to ")}. ${missedOf(data)}`,
    ...data.sideBySide.flatMap((part) => sideBySide(part, data.rows)),
    "## The pacer in other conditions",
    table(
      ["", "pacer", "worst seed", "to reach", "ten, cooldown", "AIMD", "5, backoff"],
      data.lines.map(conditionRow),
    ),
    "## Past real gateways, into Postgres",
    `${data.real.rows.toLocaleString("en")} rows each; ${data.real.date}, ${data.real.machine}, Chromium ${data.real.versions.chromium}.`,
    table(
      ["", "makespan / N/R", "refused for each row", "imported", "in Postgres", "the simulation says"],
      data.real.lines.map(realRow),
    ),
    "## Method",
    data.method,
  ].join("\n\n");
}

function missedOf({ lines }) {
  const missed = lines.filter((line) => line.missed);
  if (missed.length === 0) return "Every condition with a target reaches it.";
  return `${missed.length} of ${lines.length} conditions **miss** their target: ${missed.map(({ name }) => name).join("; ")}.`;
}

function sideBySide({ perSecond, strategies, rules }, rows) {
  const lines = rules.map(({ rule, cells }) => [rule, ...cells.map(pace)]);
  return [
    `## Every strategy, ${rows.toLocaleString("en")} rows, ${perSecond} a second`,
    table(["", ...strategies.map((name) => name.replace("*", "\\*"))], lines),
  ];
}

function conditionRow({ name, pacer, worst, jain, target, missed, ...others }) {
  const fair = target.includes("Jain") ? `, Jain ${jain.toFixed(3)}` : "";
  const peers = [others.tenWithCooldown, others.aimd, others.fiveWithBackoff].map(pace);
  return [name, `${pace(pacer)}${fair}`, worst.toFixed(3), missed ? `**${target}**` : target, ...peers];
}

function realRow({ mode, through, pace: how, makespan, refusedPerRow, imported, inPostgres, simulated }) {
  const counts = [imported, inPostgres].map((count) => count.toLocaleString("en"));
  return [
    `${mode}, ${through}, ${how}`,
    makespan.toFixed(3),
    percent(refusedPerRow),
    ...counts,
    simulated ?? "",
  ];
}

function pace({ ratio, refusedPerRow, arrived }) {
  // Rounded down: 100 % would be all of them.
  const first =
    ratio === null ? `${(Math.floor(1_000 * arrived) / 10).toFixed(1)} % of rows` : ratio.toFixed(3);
  return `${first} / ${percent(refusedPerRow)}`;
}

function percent(share) {
  return `${(100 * share).toFixed(share >= 1 ? 0 : 2)} %`;
}
