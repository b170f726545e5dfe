// What runs in Chromium: one call through a client, guarded or not, and what it was settled with. The runner bundles this
// file; `tidegate/…` stays outside, so that the page loads the package as it was built.
import { createClient } from "@supabase/supabase-js";
import { supabaseDataProvider } from "ra-supabase-core";
import { RateLimitService } from "tidegate";
import { resilientDataProvider } from "tidegate/react-admin";
import { resilientFetch } from "tidegate/supabase";

const person = ({ run }) => ({ first_name: "Ada", last_name: run });

function clientFor({ url, key, service }, options = {}) {
  return createClient(url, key, {
    db: { retry: false },
    ...(service && { global: { fetch: resilientFetch(service, options) } }),
    auth: { persistSession: false, autoRefreshToken: false },
  });
}

function providerFor(world) {
  const { url, key, service } = world;
  const supabaseClient = clientFor({ url, key });
  const bare = supabaseDataProvider({ instanceUrl: url, apiKey: key, supabaseClient });
  return service ? resilientDataProvider(bare, { service, deadlineMs: 60_000 }) : bare;
}

async function posted(world) {
  const { url, key, service } = world;
  const send = service ? resilientFetch(service) : fetch;
  const response = await send(`${url}/rest/v1/contacts`, {
    method: "POST",
    headers: { apikey: key, "content-type": "application/json" },
    body: JSON.stringify(person(world)),
  });
  return {
    status: response.status,
    code: response.headers.get("x-tidegate-code"),
    text: await response.text(),
  };
}

const CALLS = {
  "fetch, POST": posted,
  "supabase-js, insert": (world) => clientFor(world).from("contacts").insert(person(world)),
  "supabase-js, upsert by key": (world) =>
    clientFor(world)
      .from("contacts")
      .upsert({ ...person(world), import_key: world.uuid }, { onConflict: "import_key" })
      .select("id"),
  "supabase-js, select, retried by us": (world) =>
    clientFor(world, { ownRetries: true }).from("contacts").select("last_name").eq("id", world.id),
  "ra-supabase, create": (world) => providerFor(world).create("contacts", { data: person(world) }),
  "ra-supabase, update": (world) =>
    providerFor(world).update("contacts", {
      id: world.id,
      data: { id: world.id, title: "done" },
      previousData: { id: world.id, title: null },
    }),
};

globalThis.faults = {
  /** `config`: of the service; null: without tidegate. Resolves with `{ how, value, attempts, ms }`. */
  async call({ name, config, ...world }) {
    const service = config && new RateLimitService(config);
    let attempts = 0;
    service?.on("attempt", () => {
      attempts += 1;
    });
    const started = performance.now();
    const settled = await settling(() => CALLS[name]({ ...world, service }));
    const ms = Math.round(performance.now() - started);
    service?.dispose();
    return { ...settled, attempts, ms };
  },

  /** Calls one after the other with one service, and one more. Resolves with what they ended with. */
  async row({ calls, config, ...world }) {
    const service = new RateLimitService(config);
    const call = () => settling(() => posted({ ...world, service }));
    const row = [];
    for (let i = 0; i < calls; i++) row.push(await call());
    const { state } = service.getCircuitState();
    const after = await call();
    service.dispose();
    return { lost: row.filter(({ how }) => how === "rejected").length, state, after };
  },
};

async function settling(call) {
  try {
    return { how: "resolved", value: plain(await call()) };
  } catch (error) {
    const { name, message, status, code, body } = error;
    return { how: "rejected", value: { name, message, status, code, body } };
  }
}

function plain(value) {
  const { response: _response, ...rest } = value;
  // Of a lost connection supabase-js tells where in the code it was noticed.
  if (rest.status === 0 && rest.error) rest.error = { ...rest.error, details: "" };
  return JSON.parse(JSON.stringify(rest));
}
