// Every client past every fault: what came of it, beside what must.
import { clientFor, idsOf, WAYS } from "./clients.mjs";
import { jumpingClock, Stuck } from "./clock.mjs";
import { CONFIG, differences, expectationOf, within } from "./expected.mjs";
import { allFaults } from "./faults.mjs";
import { startFaultyServer } from "./server.mjs";

/** The ways on which the manner of speaking of a delay is tried; what it does is the same for the others. */
const HINTED = new Set([
  "supabase-js, insert",
  "executeWithRetry around supabase-js, insert",
  "fetch, POST",
  "ra-supabase, create",
  "ra-data-postgrest over resilientHttpClient, create",
]);

/** The product, as `{ fault, way, struck, retryTransient }`. */
export async function casesOf({ only = "", groups } = {}) {
  const faults = await allFaults();
  const cases = [];
  for (const fault of faults) {
    if (groups && !groups.includes(fault.group)) continue;
    for (const way of WAYS) {
      if (fault.group === "hints" && !HINTED.has(way.name)) continue;
      if (fault.kind === "stalled body" && way.layer === "fetch") continue;
      for (const given of variationsOf(fault)) {
        const name = nameOf(fault, way, given);
        if (name.includes(only)) cases.push({ name, fault, way, ...given });
      }
    }
  }
  return cases;
}

/** How often it strikes, and what the service may do about it. */
function variationsOf({ kind, group, isLasting }) {
  const idempotent = { retryTransient: "idempotent" };
  const always = { struck: Number.POSITIVE_INFINITY, ...idempotent };
  if (kind === "no" || kind === "fine") return [always];
  if (kind === "loop" || isLasting) return [always, { ...always, retryTransient: "never" }];
  if (kind === "refused" && group !== "captured") return [{ struck: 1, ...idempotent }, always];
  if (kind === "refused") return [{ struck: 1, ...idempotent }, { struck: 2, ...idempotent }, always];
  return [{ struck: 1, ...idempotent }, always, { ...always, retryTransient: "never" }];
}

function nameOf(fault, way, { struck, retryTransient }) {
  const often = struck === 1 ? "once" : struck === 2 ? "twice" : "always";
  return `${way.name} | ${fault.group}: ${fault.name} | ${often}${retryTransient === "never" ? ", never retried" : ""}`;
}

let number = 0;

/** Plays a case. Resolves with its figures, and `wrong`: what is not as it must be. */
export async function playCase(stage, { name, fault, way, struck, retryTransient }) {
  number += 1;
  const { lib, backend } = stage;
  const run = `faults-${process.pid}-${number}`;
  const own = idsOf(number);
  const written = writtenBy(stage.upstream);
  const server = await startFaultyServer(written.upstream, () => clock.now());
  const clock = jumpingClock(lib.testing.ManualHost, server);
  const service = new lib.core.RateLimitService({ ...CONFIG, retryTransient }, clock);
  let attempts = 0;
  const count = (_name, made) =>
    made.on("attempt", () => {
      attempts += 1;
    });
  count("", service);
  const world = {
    lib,
    url: fault.urlOf?.(server) ?? server.url,
    key: backend.key,
    run,
    fetch: clock.fetch,
    clock,
    onService: count,
    ...own,
  };
  try {
    const seeded = await seed(stage, way, run);
    server.strike(fault, struck);
    const guarded = await settled(
      clock.play(clock.asGlobal(() => way.call({ ...world, ...seeded, service }))),
    );
    const requests = server.requests();
    const effects = await effectsIn(stage, way, { run, ...seeded, written });
    const expected = expectationOf(fault, way, { struck, retryTransient });
    const outcome = await namedOutcome(guarded, {
      stage,
      way,
      fault,
      struck,
      server,
      world,
      seeded,
      expected,
    });
    const waitedMs = clock.passed();
    const found = { name, outcome, attempts, requests, effects, waitedMs };
    return {
      ...found,
      kind: fault.kind,
      group: fault.group,
      way: way.name,
      expected,
      wrong: wrongIn(found, expected, guarded),
    };
  } finally {
    service.dispose();
    await server.close();
  }
}

/**
 * Bodies that do not end, of answers that `resilientFetch` has handed on: the attempt is over with its headers, so that its time
 * does not end them. The caller's signal does, at once.
 */
export async function playBodies(stage) {
  const found = [];
  const faults = (await allFaults()).filter(({ kind }) => kind === "stalled body");
  for (const fault of faults) {
    for (const [name, ask] of Object.entries(READERS)) found.push(await playBody(stage, fault, name, ask));
  }
  return found;
}

const READERS = {
  "fetch, GET": async ({ resilient, url, signal }) =>
    (await resilient(`${url}/rest/v1/tags`, { signal })).text(),
  "supabase-js, select": ({ client, signal }) =>
    client.from("tags").select("id").abortSignal(signal).throwOnError(),
};

const ABORTED_AFTER_MS = 30_000;

async function playBody({ lib, backend, upstream }, fault, way, ask) {
  const server = await startFaultyServer(upstream);
  const clock = jumpingClock(lib.testing.ManualHost, server);
  const service = new lib.core.RateLimitService(CONFIG, clock);
  const resilient = lib.supabase.resilientFetch(service, { fetch: clock.fetch, host: clock });
  const controller = new AbortController();
  const { signal } = controller;
  const { url } = server;
  try {
    server.strike(fault, Number.POSITIVE_INFINITY);
    clock.at(ABORTED_AFTER_MS, () => controller.abort());
    const client = clientFor({ url, key: backend.key, fetch: resilient });
    const { how, value } = await settled(clock.play(ask({ resilient, client, url, signal })));
    const facts = {
      outcome: `${how}: ${value.name ?? value.message}`,
      requests: server.requests(),
      waitedMs: clock.passed(),
    };
    const wrong = [
      !/abort/i.test(JSON.stringify(value)) && `it ended as ${JSON.stringify(value)}`,
      facts.requests !== 1 && `${facts.requests} requests`,
      facts.waitedMs !== ABORTED_AFTER_MS && `it took ${facts.waitedMs} ms`,
    ].filter((text) => text !== false);
    return {
      name: `${way} | slow: ${fault.name} | until the caller aborts`,
      kind: fault.kind,
      group: fault.group,
      way,
      ...facts,
      wrong,
    };
  } finally {
    service.dispose();
    await server.close();
  }
}

function wrongIn(facts, expected, guarded) {
  const { attempts, waitedMs } = facts;
  return [
    ...differences(facts, expected, guarded),
    attempts > 1 + CONFIG.maxRetries && `${attempts} attempts: more than were allowed`,
    expected.waitedMs &&
      !within(expected.waitedMs, waitedMs) &&
      `waited ${waitedMs} ms, not ${expected.waitedMs.join(" to ")}`,
  ].filter((text) => text !== false && text !== null);
}

// ---- what was done

/** Functions and files have no Postgres behind them here: they are counted as they arrive. */
function writtenBy(upstream) {
  let times = 0;
  return {
    times: () => times,
    upstream: async (request) => {
      const { pathname } = new URL(request.url);
      if (pathname.startsWith("/functions/v1") || pathname.startsWith("/storage/v1")) {
        await request.arrayBuffer();
        times += 1;
        return Response.json({ Key: "files/a.txt", Id: "1", path: "a.txt" });
      }
      return upstream(request);
    },
  };
}

const SEEDED = new Set(["update", "delete", "read"]);

export async function seed({ backend }, { effect }, run) {
  if (!SEEDED.has(effect)) return {};
  const [row] = await backend.sql(
    "insert into contacts (first_name, last_name) values ('Ada', $1) returning id",
    [run],
  );
  return { id: Number(row.id) };
}

export async function effectsIn({ backend }, { effect }, { run, id, written }) {
  const count = async (where, ...params) => {
    const [row] = await backend.sql(`select count(*)::int as rows from contacts where ${where}`, params);
    return Number(row.rows);
  };
  switch (effect) {
    case "insert":
      return count("last_name = $1", run);
    case "update":
      return count("id = $1 and title = 'done'", id);
    case "delete":
      return 1 - (await count("id = $1", id));
    case "read":
      return 0;
    default:
      return written.times();
  }
}

// ---- what it ended with

/** How a promise was settled, as data. */
async function settled(promise) {
  try {
    return { how: "resolved", value: plain(await promise) };
  } catch (error) {
    if (error instanceof Stuck) return { how: "stuck", value: { message: error.message } };
    return { how: "rejected", value: plain(error) };
  }
}

function plain(value) {
  if (value instanceof Error) {
    const { name, message, status, code, body, error } = value;
    return { name, message, status, code, body, error };
  }
  // supabase-js hands the raw answer on, which cannot be compared as data, and of a lost connection what the platform
  // has to say of it, which differs from one time to the next.
  const { response: _response, ...rest } = typeof value === "object" && value !== null ? value : { value };
  if (rest.status === 0 && rest.error) rest.error = { ...rest.error, details: "" };
  if (rest.error instanceof Error) {
    const { name, message, status, code, statusCode, context } = rest.error;
    const tidegate = context?.headers?.get?.("x-tidegate-code");
    rest.error = {
      name,
      message,
      status,
      code,
      statusCode,
      context: context?.status ?? context?.name,
      tidegate,
    };
  }
  return rest;
}

async function namedOutcome(guarded, { stage, way, fault, struck, server, world, seeded, expected }) {
  if (guarded.how === "stuck") return "stuck";
  const code = codeIn(guarded.value);
  if (code) return code;
  if (fault.kind === "moved") return "settled";
  const text = masked(guarded, { ...world, ...seeded });
  if (TIMED_OUT.test(text)) return "timeout";
  const isDone = text === (await healthy(stage, way));
  // A client may make a success of what is none; then both are true.
  if (isDone && !expected.outcomes.includes("passed")) return "done";
  if (expected.outcomes.includes("conflict") && CONFLICT.test(text)) return "conflict";
  // Without tidegate that would last for ever.
  if (fault.kind.startsWith("stalled")) return "something else";
  const bare = await bareResult({ stage, way, fault, struck, server, world });
  if (isDone && text !== bare) return "done";
  return text === bare ? "passed" : `something else (without tidegate: ${bare.slice(0, 200)})`;
}

/** With the name of the error, or where a client keeps that to itself its words. */
export const TIMED_OUT = /TimeoutError|The attempt took too long/;

const CONFLICT = /"status":(406|409)|duplicate key/;

export function codeIn({ code, error, body, tidegate }) {
  const codes = [code, error?.code, body?.code, error?.tidegate, tidegate];
  return codes.find((each) => typeof each === "string" && each.startsWith("RATE_LIMIT_"));
}

/** What the same call ends with past the same fault, without tidegate. */
async function bareResult({ stage, way, fault, struck, server, world }) {
  const run = `${world.run}-bare`;
  const seeded = await seed(stage, way, run);
  server.strike(fault, struck);
  const own = { ...world, ...idsOf(++number), run, ...seeded, service: null, fetch, passing: passing(stage) };
  return masked(await settled(way.call(own)), own);
}

/** And without the fault. */
async function healthy(stage, way) {
  stage.healthy ??= new Map();
  if (!stage.healthy.has(way.name)) stage.healthy.set(way.name, healthyOf(stage, way));
  return stage.healthy.get(way.name);
}

async function healthyOf(stage, way) {
  const server = await startFaultyServer(writtenBy(stage.upstream).upstream);
  const run = `faults-${process.pid}-healthy-${++number}`;
  try {
    const seeded = await seed(stage, way, run);
    const world = {
      lib: stage.lib,
      url: server.url,
      key: stage.backend.key,
      run,
      ...idsOf(number),
      ...seeded,
    };
    const own = { ...world, service: null, fetch, passing: passing(stage) };
    return masked(await settled(way.call(own)), own);
  } finally {
    await server.close();
  }
}

/** A service that does nothing, for clients that cannot be had without one. */
function passing({ lib }) {
  return new lib.core.RateLimitService({ enabled: false });
}

/** The same text for the same thing: names, numbers and ports of a case say nothing. */
export function masked(result, { run, url }) {
  return (
    JSON.stringify(result)
      .replaceAll(url, "URL")
      .replaceAll(run, "RUN")
      // An upsert of what is there already.
      .replaceAll('"status":201', '"status":200')
      .replaceAll('"statusText":"Created"', '"statusText":"OK"')
      .replaceAll(/\\?"id\\?":\s?\d+/g, '"id":0')
      .replaceAll(/[0-9a-f]{8}-[0-9a-f-]{27}/g, "UUID")
      .replaceAll(/\d{4}-\d\d-\d\dT[\d:.]+\+?[\d:Z]*/g, "TIME")
      .replaceAll(/10\d{5}/g, "ID")
  );
}
