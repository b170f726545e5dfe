// What the page runs: it opens realms of every kind, and speaks for the driver with those in them.
import { answer } from "../cases.js";
import { countsOf, jobFor } from "./imports.js";

const SCRIPT = "/realm.js";

/** What hangs must not hang the run. */
const PATIENCE_MS = 90_000;

/** Each resolves with `{ post(message, ports), end() }`. */
const KINDS = {
  page: async () => ({
    post: async (message, [port]) => port.postMessage(await answer(message)),
    end() {},
  }),

  worker: async () => {
    const worker = new Worker(SCRIPT, { type: "module" });
    failing(worker);
    return { post: (message, ports) => worker.postMessage(message, ports), end: () => worker.terminate() };
  },

  shared: async (name) => {
    const worker = new SharedWorker(SCRIPT, { type: "module", name });
    failing(worker);
    // It ends with its last page.
    return { post: (message, ports) => worker.port.postMessage(message, ports), end() {} };
  },

  /** Another address is an update: the earlier worker of this scope is replaced at once. */
  service: async (name) => {
    const registration = await navigator.serviceWorker.register(`${SCRIPT}?${name}`, { type: "module" });
    const worker = registration.installing ?? registration.waiting ?? registration.active;
    while (worker.state !== "activated") {
      if (worker.state === "redundant") throw new Error("The service worker could not be installed.");
      await new Promise((changed) => worker.addEventListener("statechange", changed, { once: true }));
    }
    return { post: (message, ports) => worker.postMessage(message, ports), end() {} };
  },
};

/** What keeps a worker from starting is told by an event alone. */
function failing(worker) {
  worker.onerror = ({ message }) =>
    failed(new Error(`The worker failed: ${message ?? "it could not be read"}`));
}

let failed = () => {};
let realm = null;

globalThis.host = {
  async open({ where, name = "first" }) {
    realm = await KINDS[where](name);
  },

  ask(message) {
    const { port1, port2 } = new MessageChannel();
    return new Promise((resolve, reject) => {
      failed = reject;
      const late = () => resolve({ error: `It was not over after ${PATIENCE_MS / 1_000} s.` });
      const timer = setTimeout(late, PATIENCE_MS);
      port1.onmessage = ({ data }) => {
        clearTimeout(timer);
        resolve(data);
      };
      realm.post(message, [port2]);
    });
  },

  end: () => realm.end(),

  /** Imports as soon as the page is hidden, and tells `to` how that went: a driver that looks would bring the page to the front. */
  async importHidden({ table, run, to }) {
    const wasHidden = await hidden(10_000);
    let ticks = 0;
    const ticking = setInterval(() => {
      ticks += 1;
    }, 50);
    const report = await jobFor(table, run, { maxBatch: 2, batchSize: 2 }).start();
    clearInterval(ticking);
    const isHidden = wasHidden && document.hidden;
    const found = { counts: countsOf(report), durationMs: report.durationMs, ticks, isHidden };
    await fetch(to, { method: "POST", body: JSON.stringify(found) });
  },
};

/** Whether the page is hidden, before so many milliseconds are over. */
async function hidden(ms) {
  const until = performance.now() + ms;
  while (!document.hidden && performance.now() < until)
    await new Promise((resolve) => setTimeout(resolve, 50));
  return document.hidden;
}
