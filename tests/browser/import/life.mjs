// What happens to a laptop while an import runs: the network goes for a minute, it sleeps for eight hours, its owner looks
// at another tab for minutes.
import { setTimeout as delay } from "node:timers/promises";
import { begin, ended, openStage, ready, until } from "./stage.mjs";
import { openTab } from "./tab.mjs";

/** @returns {Promise<{ missed: string[] }>} and the figures of each scene */
export async function measure({ chromiumPath, rows = 2_000, only = "" }) {
  const stage = await openStage(chromiumPath);
  const scenes = [];
  const missed = [];
  try {
    for (const [name, scene] of Object.entries(SCENES)) {
      if (!name.includes(only)) continue;
      const { gateway, options, order, expected } = await prepared(stage, scenes.length, rows);
      try {
        const { report, ...figures } = await scene.play(stage, order, gateway);
        const inPostgres = await stage.peopleOf(order.rows.run);
        const { durationMs, throttled, requests, imported, duplicate, failed, skipped, unknown } = report;
        const found = {
          ...{ name, ...options, inPostgres, durationMs: Math.round(durationMs), optimumMs: expected },
          ...{ requests, throttled, imported, duplicate, failed, skipped, unknown, ...figures },
          waits: report.waits,
        };
        scenes.push(found);
        console.log(JSON.stringify(found));
        const isWhole = imported === rows && inPostgres.rows === rows && inPostgres.people === rows;
        if (!isWhole || !scene.isWell(found)) missed.push(`${name}: ${JSON.stringify(found)}`);
      } finally {
        await gateway.close();
      }
    }
    return { rows, chromium: stage.browser.version(), scenes, missed };
  } finally {
    await stage.close();
  }
}

const RATE = 25;

async function prepared(stage, number, rows) {
  const limits = { rate: RATE, burst: RATE };
  const gateway = await stage.gateway({ mode: "bucket", limits, lost: 0.01, http2: true });
  const order = { through: "supabase-js", gateway, rows: { run: `life-${number}`, count: rows } };
  const options = { batchSize: 1, checkpoint: true };
  return { gateway, options, order: { ...order, options }, expected: (rows / RATE) * 1_000 };
}

const OFFLINE_MS = 60_000;
const ASLEEP_MS = 8 * 3_600_000;
/** Chromium holds timers of a tab to one a minute once it has been hidden for five. */
const GRACE_S = 10;

const SCENES = {
  "offline for a minute": {
    async play(stage, order, gateway) {
      const { page, context } = await stage.open();
      try {
        await begin(page, order);
        await sent(page, order.rows.count / 4);
        await context.setOffline(true);
        // What the page had handed over before still goes: this is no cable that is pulled.
        await until(() => page.evaluate(() => globalThis.lab.progress().inFlight === 0));
        const before = gateway.counts().requests;
        await delay(OFFLINE_MS);
        const sentMeanwhile = gateway.counts().requests - before;
        const { pending } = await page.evaluate(() => globalThis.lab.progress());
        const online = performance.now();
        await context.setOffline(false);
        await until(async () => (await page.evaluate(() => globalThis.lab.progress().pending)) < pending);
        const wentOnAfterMs = Math.round(performance.now() - online);
        const report = await ended(page);
        return { report, offlineMs: OFFLINE_MS, sentMeanwhile, wentOnAfterMs };
      } finally {
        await context.close();
      }
    },
    isWell: ({ durationMs, optimumMs, sentMeanwhile, wentOnAfterMs }) =>
      durationMs < OFFLINE_MS + 1.25 * optimumMs && sentMeanwhile === 0 && wentOnAfterMs < 2_000,
  },

  "asleep for eight hours, the clock of the system tells": {
    play: (stage, order, gateway) => sleeps(stage, order, gateway, { monotonic: false }),
    isWell: awokeWell,
  },

  "asleep for eight hours, both clocks tell": {
    play: (stage, order, gateway) => sleeps(stage, order, gateway, { monotonic: true }),
    isWell: awokeWell,
  },

  "hidden, timers held to one a second": {
    play: (stage, order) => hides(stage, order, []),
    isWell: ({ durationMs, optimumMs }) => durationMs < 1.25 * optimumMs,
  },

  "hidden for minutes, timers held to one a minute": {
    play: (stage, order) =>
      hides(stage, order, [`--enable-features=IntensiveWakeUpThrottling:grace_period_seconds/${GRACE_S}`]),
    isWell: ({ durationMs, optimumMs, longestTickMs }) =>
      durationMs < 1.25 * optimumMs && longestTickMs > 20_000,
  },
};

function awokeWell({ wentOnAfterMs, awakeMs, optimumMs, worstSecond }) {
  return wentOnAfterMs < 5_000 && awakeMs < 1.35 * optimumMs && worstSecond < 4 * RATE;
}

/** What a page sees of a sleep: its connections die, and the clock jumps. That it stands still too is in tests/faults/life.mjs. */
async function sleeps(stage, order, gateway, { monotonic }) {
  const { page, context } = await stage.open();
  try {
    await page.evaluate(movableClock, monotonic);
    const started = performance.now();
    await begin(page, order);
    await sent(page, order.rows.count / 4);
    await context.setOffline(true);
    await delay(3_000);
    const { imported } = await stage.peopleOf(order.rows.run).then(({ rows }) => ({ imported: rows }));
    await page.evaluate((ms) => globalThis.jump(ms), ASLEEP_MS);
    await context.setOffline(false);
    const awake = performance.now();
    await until(async () => (await stage.peopleOf(order.rows.run)).rows > imported, 60_000, 20);
    const wentOnAfterMs = Math.round(performance.now() - awake);
    const report = await ended(page);
    const awakeMs = Math.round(performance.now() - started - 3_000);
    return { report, asleepMs: ASLEEP_MS, wentOnAfterMs, awakeMs, worstSecond: gateway.counts().worstSecond };
  } finally {
    await context.close();
  }
}

/** In the page: clocks that can be set forward. Browsers differ in whether `performance.now` counts while they sleep. */
function movableClock(monotonic) {
  const { now } = Date;
  const elapsed = performance.now.bind(performance);
  let offset = 0;
  Date.now = () => now() + offset;
  if (monotonic) performance.now = () => elapsed() + offset;
  globalThis.jump = (ms) => {
    offset += ms;
  };
}

async function hides(stage, order, flags) {
  const tab = await openTab(stage.chromiumPath, stage.site, { flags });
  try {
    await ready(tab);
    await tab.hide();
    await until(() => tab.evaluate(() => document.visibilityState === "hidden"));
    await tab.evaluate(noteTicks);
    if (flags.length > 0) await delay(1_000 * GRACE_S);
    await begin(tab, order);
    // Nobody asks the page anything meanwhile: that would be a reason for it to be awake.
    const report = await ended(tab);
    const longestTickMs = await tab.evaluate(() => Math.round(Math.max(...globalThis.ticks)));
    return { report, longestTickMs };
  } finally {
    await tab.close();
  }
}

/** In the page: how late a plain timer is. */
function noteTicks() {
  globalThis.ticks = [];
  let last = performance.now();
  const tick = () => {
    const now = performance.now();
    globalThis.ticks.push(now - last);
    last = now;
    setTimeout(tick, 50);
  };
  tick();
}

function sent(page, least) {
  return until(async () => (await page.evaluate(() => globalThis.lab.progress())).imported >= least, 300_000);
}
