// The faults that only a browser has, and those that it sees in its own way: real Chromium, another origin, real time.
import { readFile } from "node:fs/promises";
import path from "node:path";
import { build } from "esbuild";
import { root } from "../../js/steps.mjs";
import { launch, pageWithImportMap, serveFiles } from "../browser/harness.mjs";
import { bytesOf } from "./answers.mjs";
import { idsOf, WAYS } from "./clients.mjs";
import { CONFIG, differences, expectationOf } from "./expected.mjs";
import { allFaults } from "./faults.mjs";
import { codeIn, effectsIn, masked, seed, TIMED_OUT } from "./matrix.mjs";
import { startFaultyServer } from "./server.mjs";

const NAMES = [
  "fetch, POST",
  "supabase-js, insert",
  "supabase-js, upsert by key",
  "supabase-js, select, retried by us",
  "ra-supabase, create",
  "ra-supabase, update",
];

/** In real time: the waits are short, but for what a busy machine may need. */
const QUICK = { ...CONFIG, initialDelayMs: 20, attemptTimeoutMs: 2_500, retryTransient: "idempotent" };

/** Of answers whose shapes clients were captured with, those that a page sees apart. */
const SHAPES = [
  "kong_json",
  "cf_html",
  "pgrst_420",
  "json_null",
  "empty",
  "s503_delta",
  "s520_html",
  "functions_546",
];

/** What Chromium makes of heads that Node refuses: it reads on. */
const LENIENT = new Map([
  ["a length that is no number", "garbled"],
  ["a negative length", "garbled"],
  ["fields of 64 kB", "garbled"],
]);

/** Answers without the headers that let a page read them: it hears that fetching failed. */
const HIDDEN = [429, 503, 400].map((status) => ({
  group: "CORS",
  name: `${status} without CORS headers`,
  kind: "silent",
  applied: false,
  async strike({ incoming, write, end }) {
    await incoming.resume().toArray();
    await write(bytesOf({ status, body: "{}" }).replace("access-control-allow-origin: *\r\n", ""));
    end();
  },
}));

const PREFLIGHTS = [
  ["refused", (response) => response.writeHead(403).end()],
  ["without CORS headers", (response) => response.writeHead(204).end()],
  [
    "that does not allow the header",
    (response) =>
      response
        .writeHead(204, { "access-control-allow-origin": "*", "access-control-allow-headers": "accept" })
        .end(),
  ],
  ["whose connection ends", (response) => response.destroy()],
].map(([name, preflight]) => ({
  group: "CORS",
  name: `a preflight ${name}`,
  kind: "silent",
  applied: false,
  preflight,
  strike: () => {},
}));

/** Resolves with the cases, as of matrix.mjs; `missed`: what is not as it must be. */
export async function measureBrowser({ stage, chromiumPath, only = "", parallel = 6, log = console.log }) {
  const site = await openSite(stage);
  const browser = await launch(chromiumPath);
  try {
    const page = await browser.newPage();
    await page.goto(site.origin);
    await page.evaluate(() => import("/page.js").then(() => {}));
    const cases = (await casesOf()).filter(({ name }) => name.includes(only));
    const found = [];
    const work = async () => {
      for (let next = cases.shift(); next; next = cases.shift()) found.push(await played(stage, page, next));
    };
    await Promise.all(Array.from({ length: parallel }, work));
    if (only === "") found.push(await row(stage, page));
    for (const { name, wrong } of found) {
      for (const text of wrong) log(`   FAIL  ${name}: ${text}`);
    }
    return { chromium: browser.version(), found };
  } finally {
    await browser.close();
    await site.close();
  }
}

async function casesOf() {
  const groups = ["connection", "body", "head", "slow", "redirection"];
  const faults = (await allFaults()).filter(
    ({ group, name, kind }) => (groups.includes(group) || SHAPES.includes(name)) && kind !== "stalled body",
  );
  const all = [...faults, ...HIDDEN, ...PREFLIGHTS].map((fault) => ({
    ...fault,
    kind: LENIENT.get(fault.name) ?? fault.kind,
  }));
  return all.flatMap((fault) =>
    NAMES.flatMap((name) => {
      const way = { ...WAYS.find((each) => each.name === name), seesHeaders: false };
      // A permanent redirection is remembered: the next attempt goes where that led.
      const lasting =
        fault.status === 308 ||
        fault.isLasting ||
        fault.preflight ||
        ["no", "fine", "loop"].includes(fault.kind);
      return (lasting ? [Number.POSITIVE_INFINITY] : [1, Number.POSITIVE_INFINITY]).map((struck) => ({
        name: `Chromium: ${name} | ${fault.group}: ${fault.name} | ${struck === 1 ? "once" : "always"}`,
        ...{ fault, way, struck },
      }));
    }),
  );
}

let number = 0;

async function played(stage, page, { name, fault, way, struck }) {
  number += 1;
  const run = `chromium-${process.pid}-${number}`;
  const server = await startFaultyServer(stage.upstream, Date.now, fault.preflight);
  try {
    const seeded = await seed(stage, way, run);
    const world = {
      name: way.name,
      url: fault.urlOf?.(server) ?? server.url,
      key: stage.backend.key,
      run,
      ...idsOf(2_000_000 + number),
      ...seeded,
    };
    const call = (given) => page.evaluate((order) => globalThis.faults.call(order), { ...world, ...given });
    server.strike(fault, struck);
    const guarded = await call({ config: QUICK });
    const requests = server.requests();
    const effects = await effectsIn(stage, way, { run, ...seeded });
    const expected = expectationOf(fault, way, { struck, retryTransient: "idempotent" });
    const bare = async () => {
      server.strike(fault, struck);
      const own = { ...world, run: `${run}-bare`, ...idsOf(3_000_000 + number) };
      return masked(
        await page
          .evaluate((order) => globalThis.faults.call(order), { ...own, config: null })
          .then(settledIn),
        own,
      );
    };
    const outcome = await outcomeOf(guarded, { world, expected, fault, bare });
    const { attempts, ms } = guarded;
    const facts = {
      name,
      kind: fault.kind,
      group: fault.group,
      way: way.name,
      outcome,
      attempts,
      requests,
      effects,
      ms,
    };
    return { ...facts, wrong: differences(facts, expected, guarded) };
  } finally {
    await server.close();
  }
}

const settledIn = ({ how, value }) => ({ how, value });

async function outcomeOf(guarded, { world, expected, fault, bare }) {
  const code = codeIn(guarded.value);
  if (code) return code;
  if (fault.kind === "moved") return "settled";
  const text = masked(settledIn(guarded), world);
  if (TIMED_OUT.test(text)) return "timeout";
  const isDone = guarded.how === "resolved" && !guarded.value.error && !(guarded.value.status >= 300);
  if (isDone && expected.outcomes.includes("done")) return "done";
  const without = await bare();
  return text === without
    ? "passed"
    : `something else: ${text.slice(0, 150)} (without tidegate: ${without.slice(0, 150)})`;
}

/**
 * Fifteen calls in a row, all refused without CORS headers: each three that get no answer within five seconds are one refusal, and five
 * of those open the circuit. The next call is not sent.
 */
async function row(stage, page) {
  const server = await startFaultyServer(stage.upstream);
  try {
    server.strike(HIDDEN[0], Number.POSITIVE_INFINITY);
    const given = { url: server.url, key: stage.backend.key, run: "row", config: QUICK, calls: 15 };
    const { lost, state, after } = await page.evaluate((order) => globalThis.faults.row(order), given);
    const requests = server.requests();
    const outcome = codeIn(after.value) ?? after.how;
    const wrong = [
      lost !== 15 && `${lost} of 15 rejected as fetch does`,
      state !== "open" && `the circuit is ${state}`,
      outcome !== "RATE_LIMIT_CIRCUIT_OPEN" && `the next call ended as ${outcome}`,
      requests !== 15 && `${requests} requests`,
    ].filter((text) => text !== false);
    const name =
      "Chromium: fetch, POST | CORS: 15 calls, one after the other, that are refused without CORS headers";
    return {
      name,
      kind: "silent",
      group: "CORS",
      way: "fetch, POST",
      outcome,
      attempts: 15,
      requests,
      effects: 0,
      wrong,
    };
  } finally {
    await server.close();
  }
}

/** A page with the package under its own names, and `globalThis.faults`. */
async function openSite({ app }) {
  const folder = path.join(app.folder, "node_modules", "tidegate");
  const packageJson = JSON.parse(await readFile(path.join(folder, "package.json"), "utf8"));
  const bundle = await build({
    entryPoints: [path.join(root, "tests", "faults", "page.mjs")],
    bundle: true,
    format: "esm",
    external: ["tidegate", "tidegate/*"],
    define: { "process.env.NODE_ENV": '"production"' },
    write: false,
    logLevel: "error",
  });
  const page = `${pageWithImportMap(packageJson, MOUNT)}<link rel=icon href=data:,>`;
  return serveFiles({
    mounts: { [MOUNT]: folder },
    texts: {
      "/": { type: "text/html; charset=utf-8", text: page },
      "/page.js": { type: "text/javascript", text: bundle.outputFiles[0].text },
    },
  });
}

const MOUNT = "/tidegate/";
