// Imports past every fault: what became of each row, beside what Postgres has.
import { createClient } from "@supabase/supabase-js";
import { supabaseDataProvider } from "ra-supabase-core";
import ws from "ws";
import { jumpingClock } from "./clock.mjs";
import { allFaults } from "./faults.mjs";
import { startFaultyServer } from "./server.mjs";

const ROWS = 6;

/** The ways in. `guarded`: the client's own requests go through a service too. */
const WAYS = [
  { name: "supabaseSender, one by one", sender: supabase, options: { batchSize: 1 } },
  { name: "supabaseSender, in batches", sender: supabase, options: { batchSize: 3 } },
  { name: "supabaseSender over resilientFetch", sender: guardedSupabase, options: { batchSize: 2 } },
  { name: "dataProviderSender, found by e-mail", sender: provider({}), options: {} },
  {
    name: "dataProviderSender with ids",
    sender: provider({ withIds: true, idField: "import_key" }),
    options: {},
  },
];

const contactOf = ({ email, ...rest }) => ({ ...rest, email_jsonb: [{ email, type: "Work" }] });

function clientFor({ url, key }, fetch) {
  return createClient(url, key, {
    global: { fetch },
    auth: { persistSession: false, autoRefreshToken: false },
    realtime: { transport: ws },
  });
}

function supabase(world) {
  const { lib, clock } = world;
  return lib.supabase.supabaseSender(clientFor(world, clock.fetch), "contacts", SUPABASE);
}

function guardedSupabase(world) {
  const { lib, clock, service } = world;
  const fetch = lib.supabase.resilientFetch(service, { fetch: clock.fetch, host: clock });
  return lib.supabase.supabaseSender(clientFor(world, fetch), "contacts", SUPABASE);
}

const SUPABASE = { idColumn: "import_key", map: contactOf };

function provider(options) {
  return (world) => {
    const { lib, url, key, clock, service } = world;
    const bare = supabaseDataProvider({
      instanceUrl: url,
      apiKey: key,
      supabaseClient: clientFor(world, clock.fetch),
    });
    const guarded = lib.reactAdmin.resilientDataProvider(bare, { service });
    return lib.reactAdmin.dataProviderSender(guarded, "contacts", {
      map: contactOf,
      origin: url,
      ...options,
    });
  };
}

/** The product, as `{ name, fault, way, struck }`. */
export async function importCases({ only = "", groups } = {}) {
  const faults = (await allFaults()).filter(({ isLasting, kind }) => !isLasting && kind !== "loop");
  const cases = [];
  for (const fault of faults) {
    if (groups && !groups.includes(fault.group)) continue;
    for (const way of WAYS) {
      for (const struck of [1, 3]) {
        const name = `import by ${way.name} | ${fault.group}: ${fault.name} | ${struck === 1 ? "once" : "three times"}`;
        if (name.includes(only)) cases.push({ name, fault, way, struck });
      }
    }
  }
  return cases;
}

let number = 0;

/** Plays a case. Resolves with its figures, and `wrong`: what is not as it must be. */
export async function playImport(stage, { name, fault, way, struck }) {
  const played = await importing(stage, { way, rows: ROWS }, ({ server }) => server.strike(fault, struck));
  const { report, inPostgres, requests, waitedMs } = played;
  const { imported, duplicate, failed, skipped, unknown } = report;
  const found = {
    name,
    imported,
    duplicate,
    failed,
    skipped,
    unknown,
    rows: inPostgres.length,
    requests,
    waitedMs,
  };
  return {
    ...found,
    kind: fault.kind,
    group: fault.group,
    way: way.name,
    wrong: wrongIn(played, { fault, way, struck }),
  };
}

/**
 * Runs an import through a server of its own.
 *
 * @param prepare is given `{ server, clock, job }` before it begins
 */
async function importing(stage, { way, rows: count }, prepare) {
  number += 1;
  const { lib, backend } = stage;
  const run = `imports-${process.pid}-${number}`;
  const server = await startFaultyServer(stage.upstream, () => clock.now());
  const clock = jumpingClock(lib.testing.ManualHost, server);
  const service = new lib.core.RateLimitService({ logLevel: "silent" }, clock);
  const world = { lib, url: server.url, key: backend.key, clock, service };
  const rows = Array.from({ length: count }, (_, i) => ({
    first_name: "Ada",
    last_name: `Lovelace ${i}`,
    email: `ada.${i}@${run}.example`,
  }));
  try {
    const job = lib.imports.createImport({
      rows,
      key: (row) => row.email,
      send: way.sender(world),
      checkpoint: false,
      host: clock,
      service,
      logger: QUIET,
      timeoutMs: TIMEOUT_MS,
      ...way.options,
    });
    await prepare({ server, clock, job });
    const report = await clock.play(clock.asGlobal(() => job.start()));
    const found = await backend.sql(
      `select email_jsonb->0->>'email' as email from contacts where email_jsonb->0->>'email' like $1`,
      [`%@${run}.example`],
    );
    return {
      report,
      outcomes: report.rows().map(({ outcome, message }, i) => ({ outcome, message, email: rows[i].email })),
      inPostgres: found.map(({ email }) => email),
      requests: server.requests(),
      waitedMs: clock.passed(),
    };
  } finally {
    service.dispose();
    await server.close();
  }
}

const nothing = () => {};
const QUIET = { error: nothing, warn: nothing, info: nothing, debug: nothing };
const TIMEOUT_MS = 10_000;

/** What holds for every import. */
function wrongIn({ report, outcomes, inPostgres, requests, waitedMs }, { fault, struck }) {
  const { imported, duplicate, failed, skipped, unknown, total } = report;
  const times = (email) => inPostgres.filter((each) => each === email).length;
  const told = JSON.stringify(outcomes.map(({ outcome, message }) => [outcome, message]));
  const lost = outcomes.filter(({ outcome, email }) => GOOD.has(outcome) && times(email) === 0);
  const doubled = outcomes.filter(({ email }) => times(email) > 1);
  const denied = outcomes.filter(({ outcome, email }) => DENIED.has(outcome) && times(email) > 0);
  const isWhole = imported + duplicate + failed + skipped + unknown === total && total === outcomes.length;
  const mayFail = fault.kind === "no" || fault.kind === "moved";
  return [
    !isWhole && `the outcomes do not add up: ${told}`,
    lost.length > 0 && `${lost.length} rows are reported and not in Postgres: ${told}`,
    doubled.length > 0 && `${doubled.length} rows are in Postgres more than once: ${told}`,
    denied.length > 0 && `${denied.length} rows are in Postgres and said not to be: ${told}`,
    // Of a success that says that nothing was new, rows are taken for others'.
    !mayFail &&
      imported + (fault.kind === "garbled" ? duplicate : 0) !== total &&
      `not all were imported: ${told}`,
    requests > MOST_REQUESTS * (fault.hops ?? 1) * (outcomes.length + struck) && `${requests} requests`,
    waitedMs > MOST_WAIT_MS && `${waitedMs} ms passed`,
  ].filter((text) => text !== false);
}

const GOOD = new Set(["imported", "duplicate"]);
const DENIED = new Set(["failed", "skipped"]);

/** For a row and for a fault: one to send it, one to look for it. */
const MOST_REQUESTS = 2;

/** Of a refusal that asks for a year an import believes ten minutes, and three in a row may ask. */
const MOST_WAIT_MS = 40 * 60_000;

// ---- a server that goes and comes back

/** Down for five seconds in the middle of each way's import. */
export async function playRestarts(stage) {
  const found = [];
  for (const way of WAYS) {
    const played = await importing(stage, { way, rows: 60 }, ({ server, clock, job }) => {
      let rows = 0;
      job.on("row", () => {
        rows += 1;
        if (rows !== 20) return;
        void server.down();
        clock.at(clock.passed() + DOWN_MS, () => server.up());
      });
    });
    const { report, inPostgres, waitedMs, requests } = played;
    const wrong = wrongIn(played, { fault: { kind: "silent" }, struck: 30 });
    if (waitedMs < DOWN_MS) wrong.push(`it was over after ${waitedMs} ms, before the server was back`);
    const { imported, retries } = report;
    found.push({
      name: `import by ${way.name} | the server is down for 5 s`,
      imported,
      retries,
      rows: inPostgres.length,
      requests,
      waitedMs,
      wrong,
    });
  }
  return found;
}

const DOWN_MS = 5_000;
