// The ways in which applications talk to a server, with tidegate in between and without.
import { randomUUID } from "node:crypto";
import * as postgrest from "@raphiniert/ra-data-postgrest";
import { createClient } from "@supabase/supabase-js";
import { supabaseDataProvider } from "ra-supabase-core";
import ws from "ws";

/**
 * @typedef {object} World what a call needs
 * @property {object} lib the package, by subpath
 * @property {string} url
 * @property {string} key
 * @property {string} run the last name of the people of this case
 * @property {number} id of the contact that is there before, for what changes or deletes one
 * @property {typeof fetch} fetch
 * @property {object | null} service null: without tidegate
 * @property {(name: string, service: object) => void} [onService] told of those that are made beside it
 *
 * @typedef {object} Way
 * @property {string} name
 * @property {"fetch" | "client" | "call"} layer an attempt ends with the headers of its answer; with its body; with the client's result
 * @property {"insert" | "update" | "delete" | "read" | "function" | "file"} effect what is to be counted afterwards
 * @property {boolean} idempotent doing it twice is doing it once, and tidegate knows
 * @property {boolean} [isLeft] a read that postgrest-js repeats by itself after 503, 520 and no answer
 * @property {boolean} [isOnce] its body cannot be sent again
 * @property {boolean} [seesHeaders] an attempt's outcome still has the headers of the answer
 * @property {boolean} [conflicts] what was done already is refused the second time
 * @property {boolean} [looks] and tidegate looks whether it was done
 * @property {(world: World) => Promise<unknown>} call
 */

const person = ({ run }) => ({ first_name: "Ada", last_name: run });

/** Without a service `fetch` is taken as it is. Node 20 has no WebSocket of its own. */
export function clientFor(
  { url, key, service, lib, fetch, clock, onService },
  { db = { retry: false }, options = {} } = {},
) {
  const guarded = service
    ? lib.supabase.resilientFetch(service, { fetch, host: clock, onService, ...options })
    : fetch;
  return createClient(url, key, {
    db,
    global: { fetch: guarded },
    auth: { persistSession: false, autoRefreshToken: false },
    realtime: { transport: ws },
  });
}

/** The client itself without tidegate, and its calls in `executeWithRetry`. */
function wrapped(world, call, context) {
  const client = clientFor({ ...world, service: null });
  const operation = (attempt) => call(client, attempt);
  return world.service ? world.service.executeWithRetry(operation, context) : operation();
}

const OWN = { options: { ownRetries: true } };

/** supabase-js over resilientFetch. */
const SUPABASE = [
  {
    name: "insert",
    effect: "insert",
    idempotent: false,
    call: (world) => clientFor(world).from("contacts").insert(person(world)),
  },
  {
    name: "upsert by key",
    effect: "insert",
    idempotent: true,
    call: (world) =>
      clientFor(world)
        .from("contacts")
        .upsert({ ...person(world), import_key: world.uuid }, { onConflict: "import_key" })
        .select("id"),
  },
  {
    name: "update",
    effect: "update",
    idempotent: false,
    call: (world) => clientFor(world).from("contacts").update({ title: "done" }).eq("id", world.id),
  },
  {
    name: "delete",
    effect: "delete",
    idempotent: true,
    call: (world) => clientFor(world).from("contacts").delete().eq("id", world.id),
  },
  {
    name: "select, retried by us",
    effect: "read",
    idempotent: true,
    call: (world) => clientFor(world, OWN).from("contacts").select("last_name").eq("id", world.id),
  },
  {
    name: "select, left to it",
    effect: "read",
    idempotent: true,
    isLeft: true,
    call: (world) => clientFor(world).from("contacts").select("last_name").eq("id", world.id),
  },
  {
    name: "insert that throws",
    effect: "insert",
    idempotent: false,
    call: (world) => clientFor(world).from("contacts").insert(person(world)).throwOnError(),
  },
  {
    name: "invoke",
    effect: "function",
    idempotent: false,
    call: (world) => clientFor(world).functions.invoke("hello", { body: { name: world.run } }),
  },
  {
    name: "upload",
    effect: "file",
    idempotent: false,
    call: (world) =>
      clientFor(world)
        .storage.from("files")
        .upload(`${world.run}.txt`, new Blob(["hello"])),
  },
].map((way) => ({ ...way, name: `supabase-js, ${way.name}`, layer: "fetch", seesHeaders: true }));

/** Calls of supabase-js in executeWithRetry: its results have no headers. */
const WRAPPED = [
  {
    name: "insert",
    effect: "insert",
    idempotent: false,
    call: (world) => wrapped(world, (client) => client.from("contacts").insert(person(world))),
  },
  {
    name: "insert, marked idempotent",
    effect: "insert",
    idempotent: true,
    call: (world) =>
      wrapped(
        world,
        (client) =>
          client
            .from("contacts")
            .upsert({ ...person(world), import_key: world.uuid }, { onConflict: "import_key" })
            .select("id"),
        { idempotent: true },
      ),
  },
  {
    name: "select, with the attempt's signal",
    effect: "read",
    idempotent: true,
    call: (world) =>
      wrapped(
        world,
        (client, attempt) => {
          const query = client.from("contacts").select("last_name").eq("id", world.id);
          return attempt ? query.abortSignal(attempt.signal) : query;
        },
        { idempotent: true },
      ),
  },
].map((way) => ({ ...way, name: `executeWithRetry around supabase-js, ${way.name}`, layer: "call" }));

function headersFor({ key }, more = {}) {
  return { apikey: key, authorization: `Bearer ${key}`, "content-type": "application/json", ...more };
}

function plainly(world) {
  const { lib, service, fetch, clock } = world;
  return service ? lib.supabase.resilientFetch(service, { fetch, host: clock, ownRetries: true }) : fetch;
}

const contacts = ({ url }) => `${url}/rest/v1/contacts`;

const posted = (world) => ({
  method: "POST",
  headers: headersFor(world, { prefer: "return=representation" }),
  body: JSON.stringify(person(world)),
});

/** Reads what it is answered, as whoever fetches does. */
async function read(promise) {
  const response = await promise;
  const { status, headers } = response;
  return { status, code: headers.get("x-tidegate-code"), text: await response.text() };
}

const PLAIN = [
  {
    name: "POST",
    effect: "insert",
    idempotent: false,
    call: (world) => read(plainly(world)(contacts(world), posted(world))),
  },
  {
    name: "POST of a Request",
    effect: "insert",
    idempotent: false,
    call: (world) => read(plainly(world)(new Request(contacts(world), posted(world)))),
  },
  {
    name: "POST of a stream",
    effect: "insert",
    idempotent: false,
    isOnce: true,
    call: (world) => {
      const { body, ...init } = posted(world);
      return read(
        plainly(world)(contacts(world), { ...init, body: new Blob([body]).stream(), duplex: "half" }),
      );
    },
  },
  {
    name: "DELETE",
    effect: "delete",
    idempotent: true,
    call: (world) =>
      read(
        plainly(world)(`${contacts(world)}?id=eq.${world.id}`, {
          method: "DELETE",
          headers: headersFor(world),
        }),
      ),
  },
  {
    name: "GET",
    effect: "read",
    idempotent: true,
    call: (world) =>
      read(
        plainly(world)(`${contacts(world)}?id=eq.${world.id}&select=last_name`, {
          headers: headersFor(world),
        }),
      ),
  },
].map((way) => ({ ...way, name: `fetch, ${way.name}`, layer: "fetch", seesHeaders: true }));

const BARE = [
  {
    name: "executeWithRetry around fetch, POST",
    layer: "fetch",
    effect: "insert",
    idempotent: false,
    seesHeaders: true,
    call: async (world) => {
      const operation = (attempt) =>
        world.fetch(contacts(world), { ...posted(world), signal: attempt?.signal });
      return read(world.service ? world.service.executeWithRetry(operation) : operation());
    },
  },
];

function providerFor(world, options) {
  const bare = supabaseDataProvider({
    instanceUrl: world.url,
    apiKey: world.key,
    supabaseClient: clientFor({ ...world, service: null }),
    ...options,
  });
  return bare;
}

/** ra-supabase's own client fetches by the global `fetch`: whoever counts requests counts them at the server. */
function guardedProvider(world) {
  const provider = providerFor(world);
  const { lib, service } = world;
  return service
    ? lib.reactAdmin.resilientDataProvider(provider, { service, methods: ALL, deadlineMs: 600_000 })
    : provider;
}

const ALL = ["getList", "getOne", "create", "update", "delete"];

/** ra-supabase and ra-data-postgrest over resilientHttpClient. */
function clientedProvider(world) {
  const { lib, service, fetch, url } = world;
  const headers = () => headersFor(world);
  const httpClient = lib.supabase.resilientHttpClient(service ?? world.passing, { fetch, headers });
  return PROVIDER({
    apiUrl: `${url}/rest/v1`,
    httpClient,
    defaultListOp: "eq",
    primaryKeys: postgrest.defaultPrimaryKeys,
    schema: postgrest.defaultSchema,
  });
}

/** A CommonJS package, whose default export is where the loader puts it. */
const PROVIDER = postgrest.default.default ?? postgrest.default;

const PROVIDED = [
  {
    name: "create",
    effect: "insert",
    idempotent: false,
    ask: (provider, world) => provider.create("contacts", { data: person(world) }),
  },
  {
    name: "create with an id of ours",
    effect: "insert",
    idempotent: true,
    conflicts: true,
    ask: (provider, world) => provider.create("contacts", { data: { ...person(world), id: world.newId } }),
  },
  {
    name: "update",
    effect: "update",
    idempotent: true,
    ask: (provider, world) =>
      provider.update("contacts", {
        id: world.id,
        data: { id: world.id, title: "done" },
        previousData: { id: world.id, title: null },
      }),
  },
  {
    name: "delete",
    effect: "delete",
    idempotent: true,
    conflicts: true,
    // Of what was deleted before, the answer tells what the caller knew: here the id.
    ask: async (provider, { id }) => {
      const { data } = await provider.delete("contacts", { id, previousData: { id } });
      return { data: { id: data.id } };
    },
  },
  {
    name: "getOne",
    effect: "read",
    idempotent: true,
    ask: (provider, world) => provider.getOne("contacts", { id: world.id }),
  },
  {
    name: "getList",
    effect: "read",
    idempotent: true,
    ask: (provider, world) =>
      provider.getList("contacts", {
        pagination: { page: 1, perPage: 10 },
        sort: { field: "id", order: "ASC" },
        filter: { last_name: world.run },
      }),
  },
];

const RA_SUPABASE = PROVIDED.map(({ ask, name, ...way }) => ({
  ...way,
  looks: true,
  name: `ra-supabase, ${name}`,
  layer: "call",
  call: (world) => ask(guardedProvider(world), world),
}));

/** POST with an id is no upsert: over HTTP nobody knows that it may be sent twice. PATCH neither. */
const OVER_HTTP = new Map([
  ["create with an id of ours", false],
  ["update", false],
]);

const RA_POSTGREST = PROVIDED.map(({ ask, name, ...way }) => ({
  ...way,
  idempotent: OVER_HTTP.get(name) ?? way.idempotent,
  name: `ra-data-postgrest over resilientHttpClient, ${name}`,
  layer: "client",
  seesHeaders: true,
  call: (world) => ask(clientedProvider(world), world),
}));

/** @type {Way[]} */
export const WAYS = [...SUPABASE, ...WRAPPED, ...PLAIN, ...BARE, ...RA_SUPABASE, ...RA_POSTGREST];

/** Ids that nobody else has. */
export function idsOf(number) {
  return { uuid: randomUUID(), newId: 1_000_000 + number };
}
