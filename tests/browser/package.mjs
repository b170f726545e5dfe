// The packed package in a real Chromium, in a page whose API is on another origin.
//
//   node tests/browser/package.mjs    after `node js/build.mjs`
import assert from "node:assert/strict";
import { cp, readFile } from "node:fs/promises";
import path from "node:path";
import { pathToFileURL } from "node:url";
import { build as viteBuild } from "vite";
import { root } from "../../js/steps.mjs";
import { installPacked } from "../packaging/pack.mjs";
import { Report } from "../report.mjs";
import { findChromium, launch, pageWithImportMap, serveApi, serveFiles } from "./harness.mjs";

export async function run({ report, chromiumPath }) {
  const stage = await openStage(chromiumPath);
  try {
    for (const group of [loading, withoutTheCore, refusals, waiting, limits, clock, external, bundled]) {
      await group(stage, (name, body) => report.case(name, body));
    }
  } finally {
    await stage.close();
  }
}

// ---- the stage

/** Everything a case needs: sites with and without a content policy, the API, `onPage` for a fresh page. */
async function openStage(chromiumPath) {
  const closing = [];
  const close = async () => {
    for (const end of closing.reverse()) await end();
  };
  const owned = (thing, end) => {
    closing.push(end ?? (() => thing.close()));
    return thing;
  };
  try {
    const app = await installPacked();
    owned(app, () => app.remove());
    const folder = path.join(app.folder, "node_modules", "tidegate");
    const site = async (policy) => owned(await serveFiles(siteOf(folder, await manifest(folder), policy)));
    const sites = {
      open: await site(),
      strict: await site("default-src 'self'; connect-src *"),
      wasm: await site("script-src 'self' 'wasm-unsafe-eval'"),
    };
    const api = owned(await serveApi());
    const browser = owned(await launch(chromiumPath));
    return { app, folder, sites, api, close, onPage: pages(browser, sites), owned };
  } catch (error) {
    await close();
    throw error;
  }
}

function siteOf(folder, packageJson, policy) {
  const html = (text) => ({ type: "text/html; charset=utf-8", text });
  return {
    mounts: { [MOUNT]: folder },
    texts: {
      "/": html("<!doctype html><meta charset=utf-8><title>page</title><link rel=icon href=data:,>"),
      "/mapped": html(pageWithImportMap(packageJson, MOUNT)),
      "/worker.js": { type: "text/javascript", text: WORKER },
    },
    headers: policy ? { "Content-Security-Policy": policy } : {},
  };
}

const MOUNT = "/tidegate/";

const WORKER = `
  import { coreState, RateLimitService } from "${MOUNT}dist/index.js";
  const value = await new RateLimitService().executeWithRetry(({ attempt }) => attempt + 4);
  postMessage({ value, core: coreState() });
`;

const manifest = async (folder) => JSON.parse(await readFile(path.join(folder, "package.json"), "utf8"));

/**
 * Runs `body(page)` with a new page in a new context and closes both. `before` runs in the page ahead of everything;
 * an uncaught error in the page fails the case.
 */
function pages(browser, sites) {
  return async ({ origin = sites.open.origin, at = "/", before }, body) => {
    const context = await browser.newContext();
    try {
      const page = await context.newPage();
      const uncaught = [];
      page.on("pageerror", (error) => uncaught.push(error.message));
      if (before) await page.addInitScript(before);
      await page.goto(origin + at);
      const result = await body(page);
      assert.deepEqual(uncaught, [], "errors that nobody caught");
      return result;
    } finally {
      await context.close();
    }
  };
}

// ---- loading it

async function loading({ onPage }, test) {
  await test("importing runs nothing, the first call finds the core ready", async () => {
    const found = await onPage({ before: countWork }, (page) =>
      page.evaluate(async () => {
        const globals = Object.getOwnPropertyNames(globalThis).sort().join();
        const { coreState, RateLimitService } = await import("/tidegate/dist/index.js");
        const after = {
          work: [...globalThis.work],
          state: coreState(),
          globals: Object.getOwnPropertyNames(globalThis).sort().join() === globals,
        };
        const value = await new RateLimitService().executeWithRetry(({ attempt }) => attempt + 4);
        return { after, value, core: coreState() };
      }),
    );
    assert.deepEqual(found, { after: { work: [], state: "idle", globals: true }, value: 5, core: "ready" });
  });

  await test("an import map is all that a page without a bundler needs, for every entry", async () => {
    const found = await onPage({ at: "/mapped" }, (page) =>
      page.evaluate(async () => {
        const { RateLimitService } = await import("tidegate");
        const { resilientDataProvider } = await import("tidegate/react-admin");
        const { resilientFetch } = await import("tidegate/supabase");
        const external = await import("tidegate/external");
        return [
          typeof resilientDataProvider,
          typeof resilientFetch(new RateLimitService()),
          external.RateLimitService === RateLimitService,
        ];
      }),
    );
    assert.deepEqual(found, ["function", "function", true]);
  });

  await test("it works in a worker", async () => {
    const found = await onPage({}, (page) =>
      page.evaluate(
        () =>
          new Promise((resolve, reject) => {
            const worker = new Worker("/worker.js", { type: "module" });
            worker.onmessage = ({ data }) => resolve(data);
            worker.onerror = ({ message }) => reject(new Error(message));
          }),
      ),
    );
    assert.deepEqual(found, { value: 5, core: "ready" });
  });

  await test("init() compiles ahead", async () => {
    const found = await onPage({}, (page) =>
      page.evaluate(async () => {
        const { coreState, init } = await import("/tidegate/dist/index.js");
        await init();
        return coreState();
      }),
    );
    assert.equal(found, "ready");
  });
}

/** In the page: notes in `work` what an import must not do. */
function countWork() {
  globalThis.work = [];
  const watch = (object, name) => {
    const note =
      (trap) =>
      (target, ...rest) => {
        globalThis.work.push(name);
        return Reflect[trap](target, ...rest);
      };
    object[name] = new Proxy(object[name], { apply: note("apply"), construct: note("construct") });
  };
  for (const name of ["Module", "Instance", "compile", "instantiate", "instantiateStreaming"])
    watch(WebAssembly, name);
  for (const name of ["setTimeout", "setInterval", "fetch", "atob"]) watch(globalThis, name);
  watch(Date, "now");
  watch(console, "warn");
}

// ---- failing open

async function withoutTheCore({ onPage, sites }, test) {
  const cases = [
    { title: "a policy without 'wasm-unsafe-eval'", page: { origin: sites.strict.origin }, state: "csp" },
    { title: "no WebAssembly at all", page: { before: removeWebAssembly }, state: "no-wasm" },
  ];
  for (const { title, page: options, state } of cases) {
    await test(`${title}: calls pass through, the event says "${state}"`, async () => {
      const found = await onPage(options, (page) =>
        page.evaluate(async () => {
          const { coreState, RateLimitService } = await import("/tidegate/dist/index.js");
          const service = new RateLimitService({ initialDelayMs: 1, logLevel: "silent" });
          const events = [];
          service.on("core", (event) => events.push(event.state));
          const value = await service.executeWithRetry(({ attempt }) => attempt + 4);
          const refusal = { status: 429 };
          const thrown = await service
            .executeWithRetry(() => Promise.reject(refusal))
            .catch((error) => error);
          return { value, state: coreState(), event: events.at(-1), passedOn: thrown === refusal };
        }),
      );
      assert.deepEqual(found, { value: 5, state, event: state, passedOn: true });
    });
  }

  await test("a limit on synchronous compilation: the first call passes through, the core follows", async () => {
    const found = await onPage({ before: limitSynchronous }, (page) =>
      page.evaluate(async () => {
        const { coreState, RateLimitService } = await import("/tidegate/dist/index.js");
        const service = new RateLimitService({ initialDelayMs: 1, logLevel: "silent" });
        const refusal = { status: 429 };
        const thrown = await service.executeWithRetry(() => Promise.reject(refusal)).catch((error) => error);
        const first = coreState();
        const patience = performance.now() + 5_000;
        while (coreState() !== "ready" && performance.now() < patience)
          await new Promise((r) => setTimeout(r, 5));
        const attempts = await service.executeWithRetry(({ attempt }) =>
          attempt === 1 ? Promise.reject(refusal) : attempt,
        );
        return { passedOn: thrown === refusal, first, later: coreState(), attempts };
      }),
    );
    assert.deepEqual(found, { passedOn: true, first: "limit", later: "ready", attempts: 2 });
  });

  await test("a policy with 'wasm-unsafe-eval' is enough", async () => {
    const found = await onPage({ origin: sites.wasm.origin }, (page) =>
      page.evaluate(async () => {
        const { coreState, RateLimitService } = await import("/tidegate/dist/index.js");
        await new RateLimitService().executeWithRetry(() => 1);
        return coreState();
      }),
    );
    assert.equal(found, "ready");
  });

  await test("an isolated circuit holds without the core", async () => {
    const found = await onPage({ before: removeWebAssembly }, (page) =>
      page.evaluate(async () => {
        const { RateLimitService } = await import("/tidegate/dist/index.js");
        const service = new RateLimitService({ logLevel: "silent" });
        service.isolateCircuit();
        const refused = await service.executeWithRetry(() => 1).catch((error) => error.code);
        service.resetCircuit();
        return [refused, await service.executeWithRetry(() => 1)];
      }),
    );
    assert.deepEqual(found, ["RATE_LIMIT_CIRCUIT_OPEN", 1]);
  });
}

function removeWebAssembly() {
  delete globalThis.WebAssembly;
}

/** In the page: what Chrome did before version 114, and some web views still do. */
function limitSynchronous() {
  WebAssembly.Module = new Proxy(WebAssembly.Module, {
    construct(Module, [bytes]) {
      if (bytes.byteLength <= 4_096) return new Module(bytes);
      throw new RangeError(
        "WebAssembly.Compile is disallowed on the main thread, if the buffer size is larger than 4KB.",
      );
    },
  });
}

// ---- what a page can see of a refusal

async function refusals({ onPage, api }, test) {
  const hidden = { status: 429, headers: { "Retry-After": "1" } };
  const exposed = {
    status: 429,
    headers: { "Retry-After": "1", "Access-Control-Expose-Headers": "Retry-After" },
  };
  const cases = [
    {
      title: "a Retry-After that the server does not expose is not seen: the backoff decides",
      path: "/hidden",
      answer: hidden,
    },
    { title: "a Retry-After that the server exposes is waited out", path: "/exposed", answer: exposed },
  ];
  for (const { title, path: pathname, answer } of cases) {
    await test(title, async () => {
      api.answer(pathname, answer, { body: "arrived" });
      const found = await onPage({}, (page) => page.evaluate(callOnce, api.origin + pathname));
      assert.equal(found.body, "arrived");
      assert.equal(api.received(pathname), 2);
      const [least, most] = answer === exposed ? [1_000, 3_000] : [50, 900];
      assert(found.waitMs >= least && found.waitMs <= most, `waited ${found.waitMs} ms`);
    });
  }

  await test("a 429 without CORS headers is a TypeError, and a burst of them opens the circuit", async () => {
    api.answer("/opaque", { status: 429, cors: false });
    const found = await onPage({}, (page) => page.evaluate(callUntilOpen, `${api.origin}/opaque`));
    assert.deepEqual(found, ["TypeError", "TypeError", "TypeError", "RATE_LIMIT_CIRCUIT_OPEN"]);
    assert.equal(api.received("/opaque"), 3);
  });

  await test("the same while the browser is offline says nothing about the server", async () => {
    const found = await onPage({}, async (page) => {
      await page.evaluate(() => import("/tidegate/dist/index.js"));
      await page.context().setOffline(true);
      return page.evaluate(callUntilOpen, `${api.origin}/opaque`);
    });
    assert.deepEqual(found, ["TypeError", "TypeError", "TypeError", "TypeError"]);
  });

  await test("ten calls refused at once are one event, and all arrive", async () => {
    api.answer("/burst", ...Array(10).fill({ status: 429 }), { body: "arrived" });
    const found = await onPage({}, (page) =>
      page.evaluate(async (url) => {
        const { RateLimitService } = await import("/tidegate/dist/index.js");
        const service = new RateLimitService({ initialDelayMs: 20, logLevel: "silent" });
        const opened = [];
        service.on("circuit", (event) => opened.push(event));
        const calls = Array.from({ length: 10 }, () => service.executeWithRetry(() => fetch(url)));
        const bodies = await Promise.all(calls.map(async (call) => (await call).text()));
        return {
          bodies: new Set(bodies).size,
          opened: opened.length,
          state: service.getCircuitState().state,
        };
      }, `${api.origin}/burst`),
    );
    assert.deepEqual(found, { bodies: 1, opened: 0, state: "closed" });
    assert.equal(api.received("/burst"), 20);
  });
}

/** In the page: one call, and how long after its beginning the last wait was to end. */
async function callOnce(url) {
  const { RateLimitService } = await import("/tidegate/dist/index.js");
  const service = new RateLimitService({ initialDelayMs: 50, jitter: "none", logLevel: "silent" });
  const started = Date.now();
  let waitMs = 0;
  const onWait = ({ untilTime }) => {
    waitMs = untilTime - started;
  };
  const response = await service.executeWithRetry(() => fetch(url), { onWait });
  return { body: await response.text(), waitMs };
}

/** In the page: four calls of a service whose circuit opens at the first refusal, and how each ended. */
async function callUntilOpen(url) {
  const { RateLimitService } = await import("/tidegate/dist/index.js");
  const service = new RateLimitService({ circuitBreakerThreshold: 1, logLevel: "silent" });
  const ends = [];
  for (let i = 0; i < 4; i += 1) {
    await service.executeWithRetry(() => fetch(url)).catch((error) => ends.push(error.code ?? error.name));
  }
  return ends;
}

// ---- waiting

async function waiting({ onPage }, test) {
  for (const end of ["abort", "dispose"]) {
    await test(`${end} ends a wait at once`, async () => {
      const found = await onPage({}, (page) =>
        page.evaluate(async (how) => {
          const { RateLimitService } = await import("/tidegate/dist/index.js");
          const service = new RateLimitService({ logLevel: "silent" });
          const controller = new AbortController();
          const started = performance.now();
          let attempts = 0;
          const refuse = () => {
            attempts += 1;
            throw { status: 429, headers: { "retry-after": "30" } };
          };
          const onWait = () =>
            setTimeout(() => {
              if (how === "abort") controller.abort();
              else service.dispose();
            }, 20);
          const context = { signal: controller.signal, onWait };
          const error = await service.executeWithRetry(refuse, context).catch((reason) => reason);
          return { name: error.name, attempts, quick: performance.now() - started < 2_000 };
        }, end),
      );
      assert.deepEqual(found, { name: "AbortError", attempts: 1, quick: true });
    });
  }
}

// ---- limits

async function limits({ onPage, sites }, test) {
  await test("registry, limiter, slots, pool and breaker work in a page", async () => {
    const found = await onPage({}, (page) =>
      page.evaluate(async () => {
        const all = await import("/tidegate/dist/index.js");
        const registry = new all.RateLimiterRegistry({
          crm: { concurrency: 2, rateLimit: { default: { maxRequests: 3, windowMs: 300 } } },
        });
        let running = 0;
        let most = 0;
        const starts = [];
        const job = async () => {
          starts.push(performance.now());
          most = Math.max(most, ++running);
          await new Promise((resolve) => setTimeout(resolve, 20));
          running--;
        };
        await Promise.all(Array.from({ length: 9 }, () => registry.withRateLimit("crm", "read", job)));
        // Some slack: the first jobs begin later after their leave than the following ones, because the page still compiles.
        const crowded = starts.filter((start, i) => i >= 3 && start - starts[i - 3] < 270).length;

        const pool = new all.Pool({ workers: 2, queue: 5 });
        const order = await Promise.all([3, 1, 2].map((value) => pool.submit(() => value * 10)));
        const slots = new all.Slots({ global: 1, onLimit: "reject" });
        const lease = slots.tryAcquire("spring");
        const refused = await slots.acquire("autumn").catch(({ code }) => code);
        lease.release();
        const breaker = new all.CircuitBreaker({ failureThreshold: 1 });
        await breaker.execute(() => Promise.reject(new Error("down"))).catch(() => {});
        const open = await breaker.execute(() => 1).catch(({ code }) => code);
        return { most, crowded, order, refused, free: slots.tryAcquire("autumn") !== null, open };
      }),
    );
    assert.deepEqual(found, {
      most: 2,
      crowded: 0,
      order: [30, 10, 20],
      refused: "RATE_LIMIT_CONCURRENCY_EXCEEDED",
      free: true,
      open: "RATE_LIMIT_CIRCUIT_OPEN",
    });
  });

  await test("what was used today is still used after a reload", async () => {
    const spend = async () => {
      const { RateLimiter } = await import("/tidegate/dist/index.js");
      const limiter = new RateLimiter({
        windows: { maxRequests: 5, windowMs: 86_400_000 },
        store: { key: "calls of the day" },
      });
      const before = limiter.count("ada");
      const granted = [1, 2, 3].filter(() => limiter.tryAcquire("ada")).length;
      return { before, granted };
    };
    const found = await onPage({}, async (page) => {
      const first = await page.evaluate(spend);
      await page.reload();
      const second = await page.evaluate(spend);
      await page.reload();
      return [first, second, await page.evaluate(spend)];
    });
    assert.deepEqual(found, [
      { before: 0, granted: 3 },
      { before: 3, granted: 2 },
      { before: 5, granted: 0 },
    ]);
  });

  await test("where the policy forbids the core, limits refuse, or let pass if told so", async () => {
    const found = await onPage({ origin: sites.strict.origin }, (page) =>
      page.evaluate(async () => {
        const { coreState, Pool, RateLimiter, Slots } = await import("/tidegate/dist/index.js");
        const answers = async (options) => {
          const code = ({ code }) => code;
          return [
            await new RateLimiter({ minIntervalMs: 1_000, ...options }).wait().then(() => "passed", code),
            await new Slots({ global: 1, ...options }).acquire().then(() => "passed", code),
            await new Pool(options).submit(() => "passed").catch(code),
          ];
        };
        return [await answers({}), await answers({ onCoreUnavailable: "pass" }), coreState()];
      }),
    );
    const refused = "RATE_LIMIT_CORE_UNAVAILABLE";
    assert.deepEqual(found, [[refused, refused, refused], ["passed", "passed", "passed"], "csp"]);
  });
}

// ---- the clock

async function clock({ onPage }, test) {
  await test("a million readings agree with a real second", async () => {
    const { readings, driftMs } = await onPage({}, (page) => page.evaluate(readOften, 0));
    assert(Math.abs(driftMs) <= 20, `${readings} readings drifted by ${driftMs} ms`);
    return `${readings} readings, ${driftMs.toFixed(1)} ms apart`;
  });

  await test("and so they do when the system's clock is set back by an hour, twice", async () => {
    const { readings, driftMs } = await onPage({}, (page) => page.evaluate(readOften, -3_600_000));
    assert(Math.abs(driftMs) <= 20, `${readings} readings drifted by ${driftMs} ms`);
    return `${readings} readings, ${driftMs.toFixed(1)} ms apart`;
  });
}

/** In the page: reads the service's clock for at least a second and a million times, and compares. */
async function readOften(stepMs) {
  const { RateLimitService } = await import("/tidegate/dist/index.js");
  const service = new RateLimitService({ maxRetries: 0, logLevel: "silent" });
  const systemClock = Date.now;
  let offset = 0;
  Date.now = () => systemClock() + offset;
  await service.executeWithRetry(() => Promise.reject({ status: 429 })).catch(() => {});
  const started = performance.now();
  const before = service.getCircuitState().timeSinceLastFailure;
  let readings = 0;
  let backwards = 0;
  let last = before;
  while (readings < 1_000_000 || performance.now() - started < 1_000) {
    if (readings === 300_000 || readings === 600_000) offset += stepMs;
    const now = service.getCircuitState().timeSinceLastFailure;
    if (now < last) backwards += 1;
    last = now;
    readings += 1;
  }
  const driftMs = last - before - (performance.now() - started);
  return { readings, driftMs: backwards > 0 ? Number.NaN : driftMs };
}

// ---- the separate module

async function external({ onPage, sites }, test) {
  const sources = ["default", "url", "string", "response", "bytes", "module"];
  for (const source of sources) {
    await test(`tidegate/external takes its module from: ${source}`, async () => {
      const found = await onPage({}, (page) =>
        page.evaluate(async (kind) => {
          const { coreState, init, RateLimitService } = await import("/tidegate/dist/external.js");
          const address = "/tidegate/pkg/core_bg.wasm";
          const bytes = async () => (await fetch(address)).arrayBuffer();
          const make = {
            default: () => undefined,
            url: () => ({ wasm: new URL(address, location.href) }),
            string: () => ({ wasm: address }),
            response: async () => ({ wasm: await fetch(address) }),
            bytes: async () => ({ wasm: new Uint8Array(await bytes()) }),
            module: async () => ({ wasm: await WebAssembly.compile(await bytes()) }),
          };
          const before = coreState();
          await init(await make[kind]());
          const attempts = await new RateLimitService({
            initialDelayMs: 1,
            logLevel: "silent",
          }).executeWithRetry(({ attempt }) => (attempt === 1 ? Promise.reject({ status: 429 }) : attempt));
          return { before, after: coreState(), attempts };
        }, source),
      );
      assert.deepEqual(found, { before: "idle", after: "ready", attempts: 2 });
    });
  }

  await test("an address without a module is an error that names the HTTP status, and calls still pass", async () => {
    const found = await onPage({}, (page) =>
      page.evaluate(async () => {
        const { init, RateLimitService } = await import("/tidegate/dist/external.js");
        const message = await init({ wasm: "/nowhere.wasm" }).catch((error) => error.message);
        return {
          message,
          value: await new RateLimitService({ logLevel: "silent" }).executeWithRetry(() => 5),
        };
      }),
    );
    assert.match(found.message, /404/);
    assert.equal(found.value, 5);
  });

  await test("the default entry does not fetch the module, the external one does once", async () => {
    const fetched = [];
    await onPage({}, async (page) => {
      page.on("request", (request) => fetched.push(new URL(request.url()).pathname));
      await page.evaluate(async () => {
        const { RateLimitService } = await import("/tidegate/dist/index.js");
        await new RateLimitService().executeWithRetry(() => 1);
      });
    });
    assert(!fetched.some((pathname) => pathname.endsWith(".wasm")), fetched.join());
    fetched.length = 0;
    await onPage({ origin: sites.open.origin }, async (page) => {
      page.on("request", (request) => fetched.push(new URL(request.url()).pathname));
      await page.evaluate(async () => (await import("/tidegate/dist/external.js")).init());
    });
    assert.deepEqual(
      fetched.filter((pathname) => pathname.endsWith(".wasm")),
      ["/tidegate/pkg/core_bg.wasm"],
    );
    assert(!fetched.includes("/tidegate/dist/index.js"));
  });
}

// ---- through a bundler

async function bundled({ app, onPage, owned }, test) {
  await test("an application built by Vite without configuration", async () => {
    const source = path.join(app.folder, "web");
    await cp(path.join(root, "tests", "packaging", "apps", "web"), source, { recursive: true });
    await viteBuild({ root: source, configFile: false, logLevel: "error" });
    const site = owned(await serveFiles({ mounts: { "/": path.join(source, "dist") } }));
    const found = await onPage({ origin: site.origin, at: "/index.html" }, (page) =>
      page.evaluate(() => globalThis.result),
    );
    assert.deepEqual(found, { value: 5, core: "ready", wrapped: "function" });
  });
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const report = new Report("browser");
  await run({ report, chromiumPath: findChromium() });
  console.log(report.counts());
  process.exitCode = report.failed > 0 ? 1 : 0;
}
