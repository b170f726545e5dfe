// What runs in the page: an import of made-up contacts through the clients that applications use. The stage bundles this
// file; `tidegate/…` stays outside, so that the page loads the package as it was built.
import { createClient } from "@supabase/supabase-js";
import { supabaseDataProvider } from "ra-supabase-core";
import { createImport, findImports, forgetImport } from "tidegate/import";
import { dataProviderSender } from "tidegate/react-admin";
import { supabaseSender } from "tidegate/supabase";

/** Rows of a run: `count` people of the mail domain `run`, from number `from` on. */
export function rowsOf({ run, count, from = 0 }) {
  return Array.from({ length: count }, (_, i) => ({
    first_name: "Ada",
    last_name: `Lovelace ${from + i}`,
    title: "Analyst",
    email: `ada.${from + i}@${run}.example`,
  }));
}

const contactOf = ({ email, ...rest }) => ({ ...rest, email_jsonb: [{ email, type: "Work" }] });

/** The ways in. Those that end in "createMany" send batches. */
const SENDERS = {
  "supabase-js": ({ client }) =>
    supabaseSender(client, "contacts", { idColumn: "import_key", map: contactOf }),

  "ra-supabase": ({ provider, url }) =>
    dataProviderSender(provider, "contacts", { map: contactOf, origin: url }),

  "ra-supabase, ids": ({ provider, url }) =>
    dataProviderSender(provider, "contacts", {
      map: contactOf,
      withIds: true,
      idField: "import_key",
      origin: url,
    }),

  "ra-supabase, createMany": ({ provider, client, url }) =>
    dataProviderSender({ ...provider, createMany: createMany(client) }, "contacts", {
      map: contactOf,
      origin: url,
    }),
};

/** As an application adds it to ra-supabase, which has none: one INSERT, all of it or nothing. */
function createMany(client) {
  return async (resource, { data }) => {
    const answer = await client.from(resource).insert(data).select("id");
    if (!answer.error) return { data: answer.data };
    throw Object.assign(new Error(answer.error.message), { status: answer.status, body: answer.error });
  };
}

function senderOf({ through, url, key }) {
  const client = createClient(url, key, { auth: { persistSession: false, autoRefreshToken: false } });
  const provider = supabaseDataProvider({ instanceUrl: url, apiKey: key, supabaseClient: client });
  return SENDERS[through]({ client, provider, url });
}

let job = null;
let ending = null;
const seen = { waits: {}, notices: [], states: {}, wrongSums: 0 };

globalThis.lab = {
  findImports,
  forgetImport,

  /** Starts an import and comes back at once. */
  begin({ through, url, key, rows, options = {} }) {
    job = createImport({
      rows: rowsOf(rows),
      name: rows.run,
      send: senderOf({ through, url, key }),
      key: (row) => row.email,
      ...options,
    });
    job.on("progress", look);
    job.on("notice", ({ message }) => seen.notices.push(message));
    ending = job.start();
    ending.catch(() => {});
  },

  progress: () => job?.progress ?? null,
  seen: () => seen,
  pause: () => job.pause(),
  resume: () => job.resume(),

  /** Resolves with the report, without its rows: how many had which outcome, and those that a person has to look at. */
  async ended() {
    const report = await ending;
    const { rows: _rows, toCSV: _toCSV, stopped, ...figures } = report;
    const odd = report.rows({ outcome: ["failed", "unknown", "skipped", "duplicate"] }).slice(0, 5);
    return {
      ...figures,
      stopped: stopped && { reason: stopped.reason, message: stopped.message, status: stopped.status },
      listed: report.rows().length,
      odd: odd.map(({ index, outcome, code, message, attempts }) => ({
        index,
        outcome,
        code,
        message,
        attempts,
      })),
      ...seen,
    };
  },
};

function look(progress) {
  const { imported, duplicate, failed, skipped, unknown, pending, total, waiting, state } = progress;
  seen.states[state] = (seen.states[state] ?? 0) + 1;
  if (waiting) seen.waits[waiting.reason] = waiting.message;
  if (imported + duplicate + failed + skipped + unknown + pending !== total) seen.wrongSums += 1;
}
