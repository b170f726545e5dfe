// What happens to a page while calls wait and imports run: its clock is set, it is frozen, hidden for ten minutes, left and
// come back to, without a connection. tests/browser/import/life.mjs has the sleep of eight hours and a minute offline.
import { once } from "node:events";
import { createServer } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import WebSocket from "ws";
import { listen } from "../browser/harness.mjs";
import { begin, ended, openStage, ready, until } from "../browser/import/stage.mjs";
import { openTab } from "../browser/import/tab.mjs";

/** @returns {Promise<{ chromium: string, scenes: object[], missed: string[] }>} */
export async function measureLife({ chromiumPath, only = "", log = console.log }) {
  const stage = await openStage(chromiumPath);
  const scenes = [];
  const missed = [];
  try {
    for (const [name, play] of Object.entries(SCENES)) {
      if (!name.includes(only)) continue;
      const started = performance.now();
      const { wrong, ...figures } = await play(stage).catch((error) => ({
        wrong: [String(error.stack ?? error)],
      }));
      const scene = { name, seconds: Math.round((performance.now() - started) / 100) / 10, ...figures };
      scenes.push(scene);
      missed.push(...wrong.map((text) => `${name}: ${text}`));
      log(`   ${wrong.length === 0 ? "ok   " : "FAIL "} ${JSON.stringify(scene)}`);
      for (const text of wrong) log(`         ${text}`);
    }
    return { chromium: stage.browser.version(), scenes, missed };
  } finally {
    await stage.close();
  }
}

const DAY_MS = 24 * 3_600_000;
const HOUR_MS = 3_600_000;

const SCENES = {
  "a call waits two seconds, the clock goes forward a day": (stage) =>
    waits(stage, { stepMs: DAY_MS, judge: ({ waitedMs }) => waitedMs > 2_500 && `it waited ${waitedMs} ms` }),

  "a call waits two seconds, the clock goes back an hour": (stage) =>
    waits(stage, { stepMs: -HOUR_MS, judge: punctual }),

  "a call waits two seconds, the clock goes back an hour and forward again": (stage) =>
    waits(stage, { stepMs: -HOUR_MS, backAfterMs: 500, judge: punctual }),

  "an open circuit of two seconds, the clock goes back an hour": (stage) => opens(stage, -HOUR_MS),

  "an import runs, the clock goes forward a day": (stage) =>
    imports(stage, { meanwhile: (page) => jump(page, DAY_MS) }),

  "an import runs, the clock goes back an hour": (stage) =>
    imports(stage, { meanwhile: (page) => jump(page, -HOUR_MS) }),

  "an import runs, the clock goes to and fro": (stage) =>
    imports(stage, {
      meanwhile: async (page) => {
        for (const ms of [DAY_MS, -DAY_MS, -HOUR_MS, HOUR_MS]) {
          await jump(page, ms);
          await delay(300);
        }
      },
    }),

  "a call waits two seconds, the page is frozen for five": (stage) => freezes(stage),

  "an import runs, the page is frozen for ten seconds": (stage) => freezesImport(stage),

  "calls without a connection open no circuit, and go on when there is one": (stage) => offline(stage),

  "a page whose calls wait is left and come back to": (stage) => cached(stage, "waiting"),
  "a page whose import has ended is left and come back to": (stage) => cached(stage, "ended"),
  "a page whose import runs is left and come back to": (stage) => cached(stage, "running"),

  "the screen is kept on while an import runs": (stage) => keepsAwake(stage),

  "a call waits 80 seconds in a tab whose timers are held to one a minute": (stage) => waitsHidden(stage),

  "an import runs for ten minutes in a tab that is hidden": (stage) => hidesForTenMinutes(stage),
};

// ---- calls that wait

/** In the page: clocks that can be set, and a service that is refused at first, with a delay that stands in the body. */
function prepareCalls() {
  const { now } = Date;
  let offset = 0;
  Date.now = () => now() + offset;
  globalThis.jump = (ms) => {
    offset += ms;
  };
  globalThis.calls = import("tidegate").then(({ RateLimitService }) => {
    const service = new RateLimitService({
      jitter: "none",
      logLevel: "silent",
      circuitResetMs: 2_000,
      maxRetryAfterMs: 600_000,
    });
    const refused = (seconds) => ({ status: 429, error: { message: "no", retry_after: seconds } });
    return {
      service,
      /** Refused once. Resolves with how long it took, by a clock that nobody sets. */
      async call(seconds, times = 1) {
        const started = performance.now();
        let attempts = 0;
        const answer = await service.executeWithRetry(async () => {
          attempts += 1;
          return attempts <= times ? refused(seconds) : { status: 200, data: "done" };
        });
        return { attempts, data: answer.data, waitedMs: Math.round(performance.now() - started) };
      },
    };
  });
  return globalThis.calls.then(() => {});
}

async function withCalls(stage, play) {
  const { page, context } = await stage.open();
  try {
    await page.evaluate(prepareCalls);
    return await play(page, context);
  } finally {
    await context.close();
  }
}

function jump(page, ms) {
  return page.evaluate((by) => globalThis.jump(by), ms);
}

/** A refused call of two seconds, in the page; `globalThis.answer` resolves with what came of it. */
function beginCall(page, seconds) {
  return page.evaluate((s) => {
    globalThis.answer = globalThis.calls.then(({ call }) => call(s));
  }, seconds);
}

const answerOf = (page) => page.evaluate(() => globalThis.answer);

function punctual({ waitedMs }) {
  return (waitedMs < 1_990 || waitedMs > 2_700) && `it waited ${waitedMs} ms`;
}

function waits(stage, { stepMs, backAfterMs, judge }) {
  return withCalls(stage, async (page) => {
    await beginCall(page, 2);
    await delay(500);
    await jump(page, stepMs);
    if (backAfterMs) {
      await delay(backAfterMs);
      await jump(page, -stepMs);
    }
    const answer = await answerOf(page);
    const isDone = answer.data === "done" && answer.attempts === 2;
    return { ...answer, wrong: [!isDone && JSON.stringify(answer), judge(answer)].filter(Boolean) };
  });
}

/** A circuit that the calls of a page have opened lets a probe go when its time has passed, and not an hour later. */
function opens(stage, stepMs) {
  return withCalls(stage, async (page) => {
    const opened = await page.evaluate(async () => {
      const { service } = await globalThis.calls;
      service.updateConfig({ circuitBreakerThreshold: 1, maxRetries: 0 });
      await service.executeWithRetry(async () => ({ status: 429, error: {} })).catch(() => {});
      return service.getCircuitState().state;
    });
    await delay(500);
    await jump(page, stepMs);
    const { retryAfterMs } = await page.evaluate(async () =>
      (await globalThis.calls).service.getCircuitState(),
    );
    await delay(2_000);
    const state = await page.evaluate(async () => (await globalThis.calls).service.getCircuitState().state);
    const wrong = [
      opened !== "open" && `it was ${opened}`,
      retryAfterMs > 1_600 && `half a second later it asks to wait ${retryAfterMs} ms`,
      state !== "half-open" && `two seconds later it is ${state}`,
    ].filter(Boolean);
    return { retryAfterMs, state, wrong };
  });
}

/**
 * Chromium freezes only what is hidden, and Playwright makes every page believe that it is in front: this is a tab of our own.
 * `play` is given the tab, and what freezes it for so long and comes back when it is seen again.
 */
async function frozen(stage, play) {
  const port = await freePort();
  const tab = await openTab(stage.chromiumPath, stage.site, { flags: [`--remote-debugging-port=${port}`] });
  try {
    await ready(tab);
    await tab.evaluate(prepareCalls);
    await tab.evaluate(noteStandstill);
    const freeze = async (ms) => {
      await tab.hide();
      await until(() => tab.evaluate(() => document.visibilityState === "hidden"));
      await setLifecycle(port, stage.site, "frozen");
      await delay(ms);
      await setLifecycle(port, stage.site, "active");
      await tab.show();
    };
    const found = await play(tab, freeze);
    const stoodStillMs = await tab.evaluate(() => Math.round(globalThis.stoodStillMs));
    if (stoodStillMs < 4_500)
      found.wrong.push(`its timers went on: they stood still for ${stoodStillMs} ms at most`);
    return { stoodStillMs, ...found };
  } finally {
    await tab.close();
  }
}

function freezes(stage) {
  return frozen(stage, async (tab, freeze) => {
    await beginCall(tab, 2);
    await freeze(5_000);
    const thawed = performance.now();
    const answer = await answerOf(tab);
    const wentOnAfterMs = Math.round(performance.now() - thawed);
    const wrong = [
      answer.data !== "done" && JSON.stringify(answer),
      wentOnAfterMs > 1_000 && `it took ${wentOnAfterMs} ms to go on`,
    ].filter(Boolean);
    return { ...answer, wentOnAfterMs, wrong };
  });
}

async function freezesImport(stage) {
  const wanted = await order(stage);
  try {
    return await frozen(stage, async (tab, freeze) => {
      await begin(tab, wanted);
      await someOf(tab, ROWS / 4);
      await freeze(10_000);
      return judged(stage, wanted, await ended(tab));
    });
  } finally {
    await wanted.gateway.close();
  }
}

/** The protocol's own port for the tab: `openTab` keeps its connection to itself. */
async function setLifecycle(port, address, state) {
  const targets = await (await fetch(`http://127.0.0.1:${port}/json/list`)).json();
  const { webSocketDebuggerUrl } = targets.find(({ url }) => url.startsWith(address));
  const socket = new WebSocket(webSocketDebuggerUrl);
  await once(socket, "open");
  socket.send(JSON.stringify({ id: 1, method: "Page.setWebLifecycleState", params: { state } }));
  const [answer] = await once(socket, "message");
  socket.close();
  const { error } = JSON.parse(answer);
  if (error) throw new Error(error.message);
}

async function freePort() {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  server.close();
  return port;
}

/** In the page: the longest time in which no timer fired. */
function noteStandstill() {
  let last = performance.now();
  globalThis.stoodStillMs = 0;
  setInterval(() => {
    const now = performance.now();
    globalThis.stoodStillMs = Math.max(globalThis.stoodStillMs, now - last);
    last = now;
  }, 50);
}

/** Thirty calls to a server that is there, by a page that has no connection, and one when it has. */
async function offline(stage) {
  const gateway = await stage.gateway({ limits: { rate: 1_000, burst: 1_000 }, latencyMs: [0, 1] });
  try {
    return await withCalls(stage, async (page, context) => {
      await context.setOffline(true);
      const { lost, state } = await page.evaluate(async (url) => {
        const { service } = await globalThis.calls;
        let lost = 0;
        for (let i = 0; i < 30; i++) {
          await service
            .executeWithRetry(() => fetch(`${url}/rest/v1/tags`))
            .catch((error) => {
              if (error instanceof TypeError) lost += 1;
            });
        }
        return { lost, state: service.getCircuitState().state };
      }, gateway.url);
      await context.setOffline(false);
      const status = await page.evaluate(async (url) => {
        const { service } = await globalThis.calls;
        return (await service.executeWithRetry(() => fetch(`${url}/rest/v1/tags`))).status;
      }, gateway.url);
      const { requests } = gateway.counts();
      const wrong = [
        lost !== 30 && `${lost} of 30 rejected with the error of fetch`,
        state !== "closed" && `the circuit is ${state}`,
        requests !== 1 && `${requests} requests`,
        status === 429 && "it was refused",
      ].filter(Boolean);
      return { lost, state, status, wrong };
    });
  } finally {
    await gateway.close();
  }
}

// ---- imports

let runs = 0;

const ROWS = 300;

async function order(stage, { rows = ROWS, rate = 40, options = {} } = {}) {
  const gateway = await stage.gateway({
    mode: "bucket",
    limits: { rate, burst: 10 },
    latencyMs: [10, 40],
    lost: 0.01,
  });
  runs += 1;
  const given = {
    through: "supabase-js",
    gateway,
    rows: { run: `page-${process.pid}-${runs}`, count: rows },
  };
  return { ...given, options: { batchSize: 2, checkpoint: true, ...options } };
}

async function imports(stage, { meanwhile, ...wishes }) {
  const wanted = await order(stage, wishes);
  const { page, context } = await stage.open();
  try {
    await page.evaluate(prepareCalls);
    await begin(page, wanted);
    await someOf(page, wanted.rows.count / 4);
    await meanwhile(page);
    return await judged(stage, wanted, await ended(page));
  } finally {
    await context.close();
    await wanted.gateway.close();
  }
}

function someOf(page, least) {
  return until(async () => (await page.evaluate(() => globalThis.lab.progress())).imported >= least);
}

/** Whether every row has its outcome and is in Postgres, once. */
async function judged(stage, { rows: { run, count }, gateway }, report) {
  const { imported, duplicate, durationMs, requests, throttled, wrongSums } = report;
  const people = await stage.peopleOf(run);
  const { worstSecond } = gateway.counts();
  const wrong = [
    imported + duplicate !== count && `outcomes: ${JSON.stringify(report)}`,
    (people.rows !== count || people.people !== count) && `Postgres: ${JSON.stringify(people)}`,
    wrongSums > 0 && `${wrongSums} times the progress did not add up`,
    worstSecond > 100 && `${worstSecond} requests in one second`,
  ].filter(Boolean);
  return { imported, duplicate, requests, throttled, worstSecond, durationMs: Math.round(durationMs), wrong };
}

// ---- the back/forward cache

/**
 * Leaves the page for another one of its site and comes back. Playwright turns the cache off, so this is a Chromium of our own;
 * and the site allows to be kept, which that of the stage does not.
 */
async function cached(stage, kind) {
  const site = await listen(async (request, response) => {
    const answer = await fetch(new URL(request.url, stage.site));
    const type = answer.headers.get("content-type");
    response.writeHead(answer.status, { "content-type": type, "cache-control": "no-cache" });
    response.end(Buffer.from(await answer.arrayBuffer()));
  });
  const wanted = await order(stage);
  const tab = await openTab(stage.chromiumPath, site.origin);
  try {
    await ready(tab);
    await tab.evaluate(prepareCalls);
    await tab.evaluate(noteReturn);
    if (kind === "waiting") await beginCall(tab, 3);
    else await begin(tab, wanted);
    if (kind === "running") await someOf(tab, ROWS / 4);
    const before = kind === "ended" ? await ended(tab) : null;
    await goTo(tab, "/bare");
    await delay(1_500);
    const { persisted, reasons } = await comeBack(tab);
    const found = { persisted, ...(reasons && { reasons }) };
    if (kind === "waiting") {
      const answer = persisted ? await answerOf(tab) : null;
      const wrong = answer?.data === "done" ? [] : [`it was not kept: ${reasons}`];
      return { ...found, ...answer, wrong };
    }
    if (kind === "running" && !persisted) await begin(tab, wanted);
    const report = before ?? (await ended(tab));
    const { wrong, ...figures } = await judged(stage, wanted, report);
    if (kind === "ended" && !persisted) wrong.push(`it was not kept: ${reasons}`);
    return { ...found, ...figures, wrong };
  } finally {
    await tab.close();
    await wanted.gateway.close();
    await site.close();
  }
}

/** In the page: whether it came out of the cache. */
function noteReturn() {
  globalThis.isOld = true;
  addEventListener("pageshow", ({ persisted }) => {
    globalThis.persisted = persisted;
  });
}

async function goTo(tab, path) {
  await tab.evaluate((to) => {
    setTimeout(() => location.assign(to));
  }, path);
  await until(() =>
    tab
      .evaluate((to) => location.pathname === to && document.readyState === "complete", path)
      .catch(() => false),
  );
}

async function comeBack(tab) {
  await tab.evaluate(() => {
    setTimeout(() => history.back());
  });
  await until(() =>
    tab.evaluate(() => location.pathname === "/" && document.readyState === "complete").catch(() => false),
  );
  await tab.evaluate(() => import("/lab.js").then(() => {}));
  return tab.evaluate(() => {
    const persisted = globalThis.isOld === true && globalThis.persisted === true;
    const [navigation] = performance.getEntriesByType("navigation");
    const reasons = navigation?.notRestoredReasons?.reasons?.map(({ reason }) => reason) ?? null;
    return { persisted, reasons: persisted ? null : reasons };
  });
}

// ---- hidden tabs, and the screen

/** In the page: each lock on the screen, and whether it was given back. */
function noteLocks() {
  globalThis.locks = [];
  const { request } = WakeLock.prototype;
  WakeLock.prototype.request = async function (...args) {
    const lock = await request.apply(this, args);
    globalThis.locks.push(lock);
    return lock;
  };
}

async function keepsAwake(stage) {
  const wanted = await order(stage, { options: { keepAwake: true } });
  const tab = await openTab(stage.chromiumPath, stage.site);
  try {
    await ready(tab);
    await tab.evaluate(noteLocks);
    await begin(tab, wanted);
    await someOf(tab, ROWS / 4);
    const held = () => tab.evaluate(() => globalThis.locks.map(({ released }) => !released));
    const atFirst = await held();
    await tab.hide();
    await until(() => tab.evaluate(() => document.visibilityState === "hidden"));
    await delay(300);
    const hidden = await held();
    await tab.show();
    await until(() => tab.evaluate(() => document.visibilityState === "visible"));
    await delay(300);
    const again = await held();
    const report = await ended(tab);
    await delay(100);
    const afterwards = await held();
    const { wrong, ...figures } = await judged(stage, wanted, report);
    const count = (locks) => locks.filter(Boolean).length;
    if (count(atFirst) !== 1) wrong.push(`${count(atFirst)} locks while it ran`);
    if (count(hidden) !== 0) wrong.push(`${count(hidden)} locks while it was hidden`);
    if (count(again) !== 1) wrong.push(`${count(again)} locks when it was seen again`);
    if (count(afterwards) !== 0) wrong.push(`${count(afterwards)} locks at the end`);
    return { locks: afterwards.length, ...figures, wrong };
  } finally {
    await tab.close();
    await wanted.gateway.close();
  }
}

/** Chromium holds the timers of a tab that has been hidden for five minutes; here after so many seconds. */
const GRACE_S = 10;

const INTENSIVELY = [`--enable-features=IntensiveWakeUpThrottling:grace_period_seconds/${GRACE_S}`];

/** A service waits by plain timers: the minute that the browser holds them to is the most that it may be late. */
async function waitsHidden(stage) {
  const tab = await openTab(stage.chromiumPath, stage.site, { flags: INTENSIVELY });
  try {
    await ready(tab);
    await tab.evaluate(prepareCalls);
    await hidden(tab);
    await beginCall(tab, 80);
    const answer = await answerOf(tab);
    const { waitedMs, data } = answer;
    const wrong = [
      data !== "done" && JSON.stringify(answer),
      (waitedMs < 79_990 || waitedMs > 141_500) && `it waited ${waitedMs} ms`,
    ].filter(Boolean);
    return { ...answer, wrong };
  } finally {
    await tab.close();
  }
}

async function hidesForTenMinutes(stage) {
  const wanted = await order(stage, { rows: 2_400, rate: 2, options: { batchSize: 2 } });
  const tab = await openTab(stage.chromiumPath, stage.site, { flags: INTENSIVELY });
  try {
    await ready(tab);
    await hidden(tab);
    await begin(tab, wanted);
    // Nobody asks the page anything meanwhile: that would be a reason for it to be awake.
    const report = await ended(tab);
    const optimumMs = 1_000 * (2_400 / 2 / 2);
    const { wrong, ...figures } = await judged(stage, wanted, report);
    if (figures.durationMs > 1.25 * optimumMs)
      wrong.push(`it took ${figures.durationMs} ms instead of ${optimumMs}`);
    return { optimumMs, ...figures, wrong };
  } finally {
    await tab.close();
    await wanted.gateway.close();
  }
}

async function hidden(tab) {
  await tab.hide();
  await until(() => tab.evaluate(() => document.visibilityState === "hidden"));
  await delay(1_000 * (GRACE_S + 1));
}
