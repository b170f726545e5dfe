// What every browser is asked, in a page and in workers of every kind, with and without the core. The module runs in the realm
// that is tried and gives back plain data; `tests/browsers/run.mjs` drives it.

import { readCsv, toCsv } from "tidegate/csv";
import * as bytes from "/bytes/dist/external.js";
import * as compiled from "/compiled/dist/external.js";
import * as fresh from "/fresh/dist/index.js";
import * as limited from "/limited/dist/index.js";
import * as missing from "/missing/dist/index.js";
import * as second from "/second/dist/index.js";
import * as streamed from "/streamed/dist/external.js";
import { findImports } from "/tidegate/dist/import.js";
import * as tidegate from "/tidegate/dist/index.js";
import * as whole from "/whole/dist/external.js";
import { delay, equal, ok, rejection, without } from "./realm/expect.js";
import {
  allImported,
  countsOf,
  jobFor,
  journey,
  people,
  ROWS,
  senderTo,
  summaryOf,
  tableOf,
} from "./realm/imports.js";

const { CircuitBreaker, isRateLimitError, Pool, RateLimiter, RateLimiterRegistry, RateLimitService, Slots } =
  tidegate;

const QUIET = { logLevel: "silent" };
const OPEN = "RATE_LIMIT_CIRCUIT_OPEN";
const UNAVAILABLE = "RATE_LIMIT_CORE_UNAVAILABLE";

/**
 * The cases. `when`: the state of the core in which it means something, else in both. `where`: the only kind of realm. What one
 * resolves with is a remark.
 */
const CASES = [
  // ---- the core

  {
    name: "the core starts with the first service, or calls pass through",
    async run({ core }) {
      const before = fresh.coreState();
      const service = new fresh.RateLimitService(QUIET);
      const told = [];
      service.on("core", ({ state }) => told.push(state));
      const value = await service.executeWithRetry(({ attempt }) => attempt + 4);
      equal(
        { before, value, after: fresh.coreState(), told },
        { before: "idle", value: 5, after: core, told: core === "ready" ? [] : [core] },
      );
      equal(await fresh.init(), core, "init()");
    },
  },
  {
    name: "without WebAssembly calls pass through",
    async run() {
      const { coreState } = missing;
      const found = await without(globalThis, "WebAssembly", async () => {
        const service = new missing.RateLimitService(QUIET);
        const refusal = { status: 429 };
        const thrown = await rejection(service.executeWithRetry(() => Promise.reject(refusal)));
        const code = await rejection(new missing.Slots({ global: 1 }).acquire()).then(({ code }) => code);
        return { same: thrown === refusal, state: coreState(), code };
      });
      equal(found, { same: true, state: "no-wasm", code: UNAVAILABLE });
    },
  },
  {
    name: "where compiling at once is limited, the first call passes through and the core follows",
    when: "ready",
    async run() {
      const Refused = new Proxy(WebAssembly.Module, {
        construct(Module, [bytes]) {
          if (bytes.byteLength <= 4_096) return new Module(bytes);
          throw new RangeError("The buffer is too large to be compiled on the main thread.");
        },
      });
      const call = () =>
        new limited.RateLimitService({ ...QUIET, initialDelayMs: 1 }).executeWithRetry(refuseOnce);
      const begin = async () => {
        const { status } = await rejection(call());
        return [status, limited.coreState()];
      };
      equal(await without(WebAssembly, "Module", begin, Refused), [429, "limit"]);
      await until(() => limited.coreState() === "ready");
      equal(await call(), 2);
    },
  },
  ...[
    { kind: "an address, streaming", copy: streamed, path: "/tidegate/pkg/core_bg.wasm", streams: 1 },
    { kind: "an address of another type", copy: whole, path: "/plain/core_bg.wasm", streams: 0 },
  ].map(({ kind, copy, path, streams }) => ({
    name: `tidegate/external takes its module from: ${kind}`,
    async run({ core }) {
      const counted = counting(WebAssembly.compileStreaming);
      const state = await without(WebAssembly, "compileStreaming", () => copy.init({ wasm: path }), counted);
      equal({ state, streams: counted.calls }, { state: core, streams });
      await worksWith(copy, core);
    },
  })),
  {
    name: "tidegate/external takes its module from: bytes",
    async run({ core }) {
      const wasm = await (await fetch("/tidegate/pkg/core_bg.wasm")).arrayBuffer();
      equal(await bytes.init({ wasm: new Uint8Array(wasm) }), core);
      await worksWith(bytes, core);
    },
  },
  {
    name: "tidegate/external takes its module from: a WebAssembly.Module",
    when: "ready",
    async run({ core }) {
      const wasm = await (await fetch("/tidegate/pkg/core_bg.wasm")).arrayBuffer();
      equal(await compiled.init({ wasm: await WebAssembly.compile(wasm) }), core);
      await worksWith(compiled, core);
    },
  },
  {
    name: "two copies of the package share one service and know each other's errors",
    async run() {
      try {
        tidegate.rateLimitService.isolateCircuit();
        const held = globalThis[Symbol.for("tidegate/1")]?.service;
        const error = await rejection(second.rateLimitService.executeWithRetry(() => 1));
        equal(
          {
            shared: held instanceof RateLimitService,
            seen: second.rateLimitService.getCircuitState().state,
            code: error.code,
            known: [isRateLimitError(error), second.isRateLimitError(error)],
          },
          { shared: true, seen: "isolated", code: OPEN, known: [true, true] },
        );
      } finally {
        second.rateLimitService.resetCircuit();
      }
      equal(await tidegate.rateLimitService.executeWithRetry(() => 5), 5);
    },
  },

  // ---- what a realm can see of a refusal

  {
    name: "a Retry-After that the server exposes is waited out",
    when: "ready",
    async run(setting) {
      const script = scripted(setting, { status: 429, headers: exposed("1") }, { body: "arrived" });
      const { body, waitedMs } = await callOnce(script.url);
      equal({ body, received: await script.received() }, { body: "arrived", received: 2 });
      ok(waitedMs >= 1_000 && waitedMs < 3_000, `It waited ${waitedMs} ms.`);
      return `${Math.round(waitedMs)} ms`;
    },
  },
  {
    name: "one that it does not expose is not seen: the backoff decides",
    when: "ready",
    async run(setting) {
      const script = scripted(
        setting,
        { status: 429, headers: { "Retry-After": "30" } },
        { body: "arrived" },
      );
      const { body, waitedMs } = await callOnce(script.url);
      equal({ body, received: await script.received() }, { body: "arrived", received: 2 });
      ok(waitedMs >= 50 && waitedMs < 2_000, `It waited ${waitedMs} ms.`);
    },
  },
  {
    name: "a delay that only the body names is waited out, and the body stays unread",
    when: "ready",
    async run(setting) {
      const headers = { "Content-Type": "application/json" };
      const refusal = { status: 429, headers, body: '{"message":"slow down","retry_after":1}' };
      const script = scripted(setting, refusal, { body: "arrived" });
      const { waitedMs } = await callOnce(script.url);
      ok(waitedMs >= 1_000 && waitedMs < 3_000, `It waited ${waitedMs} ms.`);

      const last = scripted(setting, refusal);
      const service = new RateLimitService({ ...QUIET, maxRetries: 0 });
      const error = await rejection(service.executeWithRetry(() => fetch(last.url)));
      const { message } = await error.originalError.json();
      equal([error.code, message], ["RATE_LIMIT_MAX_RETRIES_EXCEEDED", "slow down"]);
    },
  },
  {
    name: "a refusal comes back as it is",
    when: "csp",
    async run(setting) {
      const script = scripted(setting, { status: 429, headers: exposed("1") });
      const response = await new RateLimitService(QUIET).executeWithRetry(() => fetch(script.url));
      equal([response.status, response.headers.get("Retry-After"), await script.received()], [429, "1", 1]);
    },
  },
  {
    name: "a burst of 429 without CORS headers opens the circuit, whatever the browser calls it",
    async run(setting) {
      const script = scripted(setting, { status: 429, cors: false });
      const { ends, words } = await callUntilOpen(script.url);
      equal(ends, ["TypeError", "TypeError", "TypeError", setting.core === "ready" ? OPEN : "TypeError"]);
      equal(await script.received(), setting.core === "ready" ? 3 : 4, "requests");
      return words;
    },
  },
  {
    name: "so does a server that ends connections",
    when: "ready",
    async run(setting) {
      const { ends, words } = await callUntilOpen(scripted(setting, { reset: true }).url);
      equal(ends, ["TypeError", "TypeError", "TypeError", OPEN]);
      return words;
    },
  },
  {
    name: "while the browser says that it is offline, it does not",
    when: "ready",
    async run(setting) {
      const script = scripted(setting, { status: 429, cors: false });
      const { ends } = await without(navigator, "onLine", () => callUntilOpen(script.url), false);
      equal(ends, Array(4).fill("TypeError"));
    },
  },
  {
    name: "an aborted fetch says nothing about the server",
    async run(setting) {
      const script = scripted(setting, { delayMs: 2_000 });
      const service = new RateLimitService({ ...QUIET, circuitBreakerThreshold: 1 });
      for (let i = 0; i < 4; i += 1) {
        const controller = new AbortController();
        setTimeout(() => controller.abort(), 30);
        const { signal } = controller;
        equal(
          (await rejection(service.executeWithRetry(() => fetch(script.url, { signal })))).name,
          "AbortError",
        );
      }
      equal(service.getCircuitState().state, "closed");
    },
  },
  {
    name: "ten calls refused at once are one event, and all arrive",
    when: "ready",
    async run(setting) {
      const script = scripted(setting, ...Array(10).fill({ status: 429, delayMs: 100 }), { body: "arrived" });
      const service = new RateLimitService({ ...QUIET, initialDelayMs: 20 });
      const calls = Array.from({ length: 10 }, () => service.executeWithRetry(() => fetch(script.url)));
      const bodies = await Promise.all(calls.map(async (call) => (await call).text()));
      equal(bodies, Array(10).fill("arrived"));
      equal([service.getCircuitState().state, await script.received()], ["closed", 20]);
    },
  },
  {
    name: "the circuit opens, half-opens and closes",
    when: "ready",
    async run(setting) {
      const script = scripted(setting, { status: 429 }, { status: 429 }, { body: "arrived" });
      const service = new RateLimitService({
        ...QUIET,
        ...{ maxRetries: 0, circuitBreakerThreshold: 2, circuitResetMs: 400 },
      });
      const states = [];
      service.on("circuit", ({ to }) => states.push(to));
      const call = () =>
        service.executeWithRetry(() => fetch(script.url)).then(({ status }) => status, codeOf);
      const ends = [await call(), await call(), await call()];
      await delay(service.getCircuitState().retryAfterMs + 20);
      ends.push(await call());
      equal(
        { ends, states, received: await script.received() },
        {
          ends: ["RATE_LIMIT_MAX_RETRIES_EXCEEDED", OPEN, OPEN, 200],
          states: ["open", "half-open", "closed"],
          received: 3,
        },
      );
    },
  },
  {
    name: "an isolated circuit holds, with the core and without",
    async run() {
      const service = new RateLimitService(QUIET);
      service.isolateCircuit();
      const refused = await service.executeWithRetry(() => 1).catch(codeOf);
      service.resetCircuit();
      equal([refused, await service.executeWithRetry(() => 1)], [OPEN, 1]);
    },
  },

  // ---- signals

  {
    name: "an abort ends a wait at once",
    when: "ready",
    async run(setting) {
      const script = scripted(setting, { status: 429, headers: exposed("30") });
      const controller = new AbortController();
      const onWait = () => setTimeout(() => controller.abort(), 20);
      const context = { signal: controller.signal, onWait };
      const started = performance.now();
      const error = await rejection(
        new RateLimitService(QUIET).executeWithRetry(() => fetch(script.url), context),
      );
      equal([error.name, error instanceof DOMException, await script.received()], ["AbortError", true, 1]);
      ok(performance.now() - started < 2_000, "It took its time.");
    },
  },
  {
    name: "an abort ends an attempt at once, and the request with it",
    async run({ core, ...setting }) {
      const script = scripted(setting, { delayMs: 5_000 });
      const controller = new AbortController();
      setTimeout(() => controller.abort(), 100);
      const started = performance.now();
      const fetched = [];
      const error = await rejection(
        new RateLimitService(QUIET).executeWithRetry(
          ({ signal }) => {
            const request = fetch(script.url, { signal });
            request.catch(({ name }) => fetched.push(name));
            return request;
          },
          { signal: controller.signal },
        ),
      );
      equal(error.name, "AbortError");
      // Without the core it is what fetch says, which in workers of Firefox is an error of its own.
      if (core === "ready") equal(error === controller.signal.reason, true, "the signal's own reason");
      await until(() => fetched.length > 0);
      ok(performance.now() - started < 2_000, "It took its time.");
    },
  },
  {
    name: "a call rejects with the reason of its signal",
    when: "ready",
    async run() {
      const service = new RateLimitService(QUIET);
      const reason = { because: "the page is left" };
      const end = (signal) => rejection(service.executeWithRetry(() => delay(5_000), { signal }));
      equal((await end(AbortSignal.abort(reason))) === reason, true, "the same object");
      equal((await end(AbortSignal.abort())).name, "AbortError");
      equal((await end(AbortSignal.timeout(30))).name, "TimeoutError");
    },
  },
  {
    name: "an attempt that takes too long rejects with a TimeoutError",
    when: "ready",
    async run(setting) {
      const script = scripted(setting, { delayMs: 5_000 });
      const service = new RateLimitService({ ...QUIET, attemptTimeoutMs: 100 });
      const error = await rejection(service.executeWithRetry(({ signal }) => fetch(script.url, { signal })));
      equal([error.name, error instanceof DOMException], ["TimeoutError", true]);
    },
  },

  // ---- limits

  {
    name: "a quota: three in any 300 ms",
    when: "ready",
    async run() {
      const limiter = new RateLimiter({ windows: { maxRequests: 3, windowMs: 300 } });
      const starts = [];
      const begun = performance.now();
      await Promise.all(
        Array.from({ length: 9 }, () => limiter.wait("ada").then(() => starts.push(performance.now()))),
      );
      equal(starts.length, 9);
      notCrowded(begun, starts);
    },
  },
  {
    name: "slots, a pool and a breaker",
    when: "ready",
    async run() {
      const slots = new Slots({ global: 1, onLimit: "reject" });
      const lease = slots.tryAcquire("spring");
      const refused = await slots.acquire("autumn").catch(codeOf);
      lease.release();
      const pool = new Pool({ workers: 2, queue: 5 });
      const order = await Promise.all(
        [3, 1, 2].map((value) => pool.submit(() => delay(value).then(() => value))),
      );
      const breaker = new CircuitBreaker({ ...QUIET, failureThreshold: 1, resetTimeout: 200 });
      await rejection(breaker.execute(() => Promise.reject(new Error("down"))));
      const open = await breaker.execute(() => 1).catch(codeOf);
      await delay(250);
      equal(
        {
          refused,
          free: slots.tryAcquire("autumn") !== null,
          order,
          open,
          after: await breaker.execute(() => 1),
        },
        { refused: "RATE_LIMIT_CONCURRENCY_EXCEEDED", free: true, order: [3, 1, 2], open: OPEN, after: 1 },
      );
    },
  },
  {
    name: "a registry holds two at a time and three in a window",
    when: "ready",
    async run() {
      const registry = new RateLimiterRegistry({
        crm: { concurrency: 2, rateLimit: { default: { maxRequests: 3, windowMs: 300 } } },
      });
      let running = 0;
      let most = 0;
      const starts = [];
      const job = async () => {
        starts.push(performance.now());
        running += 1;
        most = Math.max(most, running);
        await delay(20);
        running -= 1;
      };
      const begun = performance.now();
      await Promise.all(Array.from({ length: 7 }, () => registry.withRateLimit("crm", "read", job)));
      equal(most, 2, "at a time");
      notCrowded(begun, starts);
    },
  },
  {
    name: "where limits cannot be checked they refuse, or let pass if told so; a breaker lets pass",
    when: "csp",
    async run() {
      const answers = async (options) => [
        await new RateLimiter({ minIntervalMs: 1_000, ...options }).wait().then(() => "passed", codeOf),
        await new Slots({ global: 1, ...options }).acquire().then(() => "passed", codeOf),
        await new Pool(options).submit(() => "passed").catch(codeOf),
      ];
      equal(await answers({}), [UNAVAILABLE, UNAVAILABLE, UNAVAILABLE], "by default");
      equal(await answers({ onCoreUnavailable: "pass" }), ["passed", "passed", "passed"], "if told so");
      const breaker = new CircuitBreaker({ ...QUIET, failureThreshold: 1 });
      await rejection(breaker.execute(() => Promise.reject(new Error("down"))));
      equal(await breaker.execute(() => "passed"), "passed");
      breaker.isolate();
      equal(await breaker.execute(() => "passed").catch(codeOf), OPEN);
    },
  },
  {
    name: "what was used today is still used after a reload",
    ...{ when: "ready", where: "page" },
    run: () =>
      inFrame(async (frame, reload) => {
        const spend = () => {
          const limiter = new frame.tidegate.RateLimiter({
            windows: { maxRequests: 5, windowMs: 86_400_000 },
            store: { key: `calls of the day ${run}` },
          });
          const before = limiter.count("ada");
          return [before, [1, 2, 3].filter(() => limiter.tryAcquire("ada")).length];
        };
        const run = crypto.randomUUID();
        const found = [spend()];
        await reload();
        found.push(spend());
        await reload();
        found.push(spend());
        equal(found, [
          [0, 3],
          [3, 2],
          [5, 0],
        ]);
      }),
  },
  {
    name: "a store where there is no localStorage: counted in memory",
    when: "ready",
    async run({ where }) {
      if (where !== "page") equal(typeof localStorage, "undefined", "localStorage");
      const counted = () => {
        const limiter = new RateLimiter({
          ...{ windows: { maxRequests: 2, windowMs: 60_000 }, store: { key: "calls" } },
          logLevel: "silent",
        });
        const granted = [1, 2, 3].filter(() => limiter.tryAcquire("ada")).length;
        limiter.dispose();
        return granted;
      };
      equal(await without(globalThis, "localStorage", async () => [counted(), counted()]), [2, 2]);
    },
  },

  // ---- other realms

  {
    name: "errors, signals and responses of a frame are known for what they are",
    where: "page",
    run: ({ core, ...setting }) =>
      inFrame(async (frame) => {
        const theirs = new frame.tidegate.RateLimitService(QUIET);
        theirs.isolateCircuit();
        const error = await rejection(theirs.executeWithRetry(() => 1));
        theirs.dispose();
        equal(
          [error instanceof tidegate.RateLimitError, isRateLimitError(error), error.code],
          [false, true, OPEN],
        );

        const service = new RateLimitService({ ...QUIET, initialDelayMs: 20 });
        const controller = new frame.AbortController();
        const reason = new frame.Error("left");
        setTimeout(() => controller.abort(reason), 20);
        const untilAborted = ({ signal }) =>
          new Promise((_, reject) => {
            signal.addEventListener("abort", () => reject(signal.reason));
          });
        const ended = await rejection(service.executeWithRetry(untilAborted, { signal: controller.signal }));
        equal(ended === reason, true, "the frame's reason");

        const script = scripted(setting, { status: 429, headers: exposed("1") }, { body: "arrived" });
        const response = await service.executeWithRetry(() => frame.fetch(script.url));
        equal(response.status, core === "ready" ? 200 : 429);

        const file = new frame.Blob(["name;town\nJörg;Köln\n"]);
        equal(await rowsOf(file), [{ name: "Jörg", town: "Köln" }]);
      }),
  },

  // ---- files

  {
    name: "tidegate/csv reads umlauts from files of three encodings",
    async run() {
      const text = 'name;town\r\nJürgen Groß;Köln\r\n"Böhm; Söhne";Tübingen\r\n';
      const expected = [
        { name: "Jürgen Groß", town: "Köln" },
        { name: "Böhm; Söhne", town: "Tübingen" },
      ];
      const latin1 = Uint8Array.from(text, (letter) => letter.charCodeAt(0));
      const utf16 = new Uint8Array(
        Uint16Array.from(`\uFEFF${text}`, (letter) => letter.charCodeAt(0)).buffer,
      );
      for (const content of [text, latin1, utf16]) {
        equal(await rowsOf(new File([content], "kontakte.csv")), expected);
      }
      const source = readCsv(new File([latin1], "kontakte.csv"));
      equal((await source.head()).encoding, "windows-1252");
      ok(/^[0-9a-f]{32}$/.test(await source.id()), "an id of 32 digits");
      equal(await rowsOf(toCsv(expected)), expected, "what it wrote itself");
    },
  },
  {
    name: "tidegate/csv reads the body of a response as it comes",
    async run(setting) {
      const body = `name,town\n${"Jürgen Groß,Köln\n".repeat(5_000)}`;
      const rows = await rowsOf(new Response(body).body);
      equal([rows.length, rows.at(-1)], [5_000, { name: "Jürgen Groß", town: "Köln" }]);
      const script = scripted(setting, { body: "name,town\nÄnne,Übach\n" });
      equal(await rowsOf((await fetch(script.url)).body), [{ name: "Änne", town: "Übach" }]);
    },
  },

  // ---- imports

  {
    name: "an import of 300 rows past a limit, one by one: every row once",
    async run(setting) {
      const run = runName();
      const table = tableOf(setting, run);
      const notices = [];
      const job = jobFor(table, run, { batchSize: 1 });
      job.on("notice", ({ message }) => notices.push(message));
      const report = await job.start();
      equal(countsOf(report), allImported());
      equal([report.storage, report.rows().length], [null, ROWS]);
      const { rows, people, refused, sample } = await summaryOf(table);
      equal({ rows, people }, { rows: ROWS, people: ROWS }, "in the table");
      equal(sample[0].name, "Jürgen Groß 0");
      ok(refused > 0, "nothing was refused");
      equal(notices.length > 0, setting.core !== "ready", "it says that it goes on one row at a time");
      return `${(report.durationMs / 1_000).toFixed(1)} s, ${refused} refused`;
    },
  },
  {
    name: "an import past refusals without CORS headers: every row once",
    async run(setting) {
      const run = runName();
      const table = tableOf(setting, run, { limit: 20, opaque: "", unique: "" });
      const report = await jobFor(table, run, {
        maxBatch: 10,
        rows: people(run, 100),
        batchSize: 10,
      }).start();
      const { imported, duplicate, ...others } = countsOf(report);
      equal(
        { ...others, done: imported + duplicate },
        { failed: 0, skipped: 0, unknown: 0, total: 100, stopped: null, done: 100 },
      );
      const { rows, people: different } = await summaryOf(table);
      equal([rows, different], [100, 100], "in the table");
    },
  },
  {
    name: "a file with umlauts goes from its stream into the table",
    async run(setting) {
      const run = runName();
      const table = tableOf(setting, run);
      const text = `name,email\n${people(run, 50)
        .map(({ name, email }) => `${name},${email}`)
        .join("\n")}\n`;
      const rows = readCsv(new Blob([text]).stream(), { id: run });
      const report = await jobFor(table, run, {
        ...{ rows, id: run, batchSize: 10, key: ({ row }) => row.email },
        send: senderTo(table, { map: ({ row }) => row }),
      }).start();
      equal(countsOf(report), allImported(50));
      equal((await summaryOf(table)).sample[2].name, "Jürgen Groß 2");
    },
  },
  {
    name: "the journal is in IndexedDB under a lock while it runs, and gone afterwards",
    async run(setting) {
      const run = runName();
      const table = tableOf(setting, run, { limit: 50 });
      const job = jobFor(table, run, { rows: people(run, 100), maxBatch: 1 });
      const ending = job.start();
      await until(() => job.progress.imported >= 50);
      await until(async () => (await findImports()).some(({ name, done }) => name === run && done > 0));
      const { held } = await navigator.locks.query();
      ok(
        held.some(({ name }) => name === `tidegate-import:${job.id}`),
        "nobody holds its lock",
      );
      equal(countsOf(await ending), allImported(100));
      equal(
        (await findImports()).filter(({ name }) => name === run),
        [],
      );
      equal(
        (await navigator.locks.query()).held.filter(({ name }) => name.endsWith(job.id)),
        [],
      );
    },
  },
  {
    name: "without Web Locks one of two runs the job and the other waits for it",
    run: (setting) =>
      without(navigator, "locks", async () => {
        const run = runName();
        const table = tableOf(setting, run, { limit: 50, unique: "" });
        const options = { rows: people(run, 100), maxBatch: 2, batchSize: 2 };
        const [first, other] = [jobFor(table, run, options), jobFor(table, run, options)];
        const waits = [];
        const ending = first.start();
        await until(() => first.progress.imported >= 20);
        other.on("progress", ({ waiting }) => waiting && waits.push(waiting.reason));
        const [one, two] = await Promise.all([ending, other.start()]);
        equal(countsOf(one), allImported(100));
        equal(two.imported + two.duplicate, 100);
        ok(waits.includes("other-tab"), `it waited for: ${waits.join()}`);
        const { rows } = await summaryOf(table);
        equal(rows, 100, "in the table");
      }),
  },
  {
    name: "without IndexedDB an import runs, and says that it remembers nothing",
    run: (setting) =>
      without(globalThis, "indexedDB", async () => {
        const run = runName();
        const table = tableOf(setting, run);
        const report = await jobFor(table, run, { rows: people(run, 50) }).start();
        equal(countsOf(report), allImported(50));
        equal((await summaryOf(table)).rows, 50, "in the table");
        ok(report.storage !== null, "nothing is said of the storage");
        return report.storage;
      }),
  },
  {
    name: "an import that is cancelled ends with an outcome for every row",
    async run(setting) {
      const run = runName();
      const table = tableOf(setting, run, { limit: 20 });
      const controller = new AbortController();
      const job = jobFor(table, run, { signal: controller.signal, checkpoint: false });
      const ending = job.start();
      await until(() => job.progress.imported >= 20);
      controller.abort();
      const { imported, skipped, stopped, ...others } = countsOf(await ending);
      equal(
        { stopped, sum: imported + skipped, ...others },
        { stopped: "cancelled", sum: ROWS, duplicate: 0, failed: 0, unknown: 0, total: ROWS },
      );
      equal((await summaryOf(table)).rows, imported, "in the table");
    },
  },
];

// ---- what the realm answers

/** Of `{ ask, setting, … }`: the names of the cases, what one of them found, or a step of a journey. */
export async function answer({ ask, setting, name, ...given }) {
  try {
    if (ask === "names")
      return { value: CASES.filter((one) => applies(one, setting)).map(({ name }) => name) };
    if (ask === "run") return { value: (await CASES.find((one) => one.name === name).run(setting)) ?? null };
    return { value: await journey[ask](given) };
  } catch (error) {
    return { error: wordsOf(error) };
  }
}

function applies({ when, where }, setting) {
  return (when ?? setting.core) === setting.core && (where ?? setting.where) === setting.where;
}

/** Not all browsers begin a stack with the message. */
function wordsOf(error) {
  const { name, message, stack = "" } = error ?? {};
  return name === undefined ? `thrown: ${JSON.stringify(error)}` : `${name}: ${message}\n${stack}`;
}

// ---- what the cases share

let runs = 0;

/** A name that no other realm of this browser has used. */
function runName() {
  runs += 1;
  return `${crypto.randomUUID()}-${runs}`;
}

/** An address that gives these answers one after the other; see api.mjs. */
function scripted({ api }, ...answers) {
  const id = crypto.randomUUID();
  return {
    url: `${api}/script?${new URLSearchParams({ id, answers: JSON.stringify(answers) })}`,
    received: async () => (await fetch(`${api}/received?id=${id}`)).json(),
  };
}

const exposed = (retryAfter) => ({
  "Retry-After": retryAfter,
  "Access-Control-Expose-Headers": "Retry-After",
});

const codeOf = ({ code }) => code;

/** One call, and how long it took from its first answer on. */
async function callOnce(url) {
  const service = new RateLimitService({ ...QUIET, initialDelayMs: 50, jitter: "none" });
  let refusedAt = 0;
  const onWait = () => {
    refusedAt = performance.now();
  };
  const response = await service.executeWithRetry(() => fetch(url), { onWait });
  return { body: await response.text(), waitedMs: performance.now() - refusedAt };
}

/** Four calls of a service whose circuit opens at the first refusal: how each ended, and in which words. */
async function callUntilOpen(url) {
  const service = new RateLimitService({ ...QUIET, circuitBreakerThreshold: 1 });
  const ends = [];
  let words = "";
  for (let i = 0; i < 4; i += 1) {
    const error = await rejection(service.executeWithRetry(() => fetch(url)));
    ends.push(error.code ?? error.name);
    words ||= error.message;
  }
  return { ends, words };
}

/** That a copy retries what is refused, or passes it through where it may not have its core. */
async function worksWith({ RateLimitService }, core) {
  const service = new RateLimitService({ ...QUIET, initialDelayMs: 1 });
  const end = await service.executeWithRetry(refuseOnce).catch(({ status }) => status);
  equal(end, core === "ready" ? 2 : 429, "a call that is refused once");
}

const refuseOnce = ({ attempt }) => (attempt === 1 ? Promise.reject({ status: 429 }) : attempt);

/**
 * Three in any 300 ms, since `begun`. On a busy machine a start is seen later than it was let go, never earlier; and the clock
 * that the limits read is no finer than a millisecond.
 */
function notCrowded(begun, starts) {
  const early = starts.findIndex((start, i) => start - begun < Math.floor(i / 3) * 300 - 2);
  ok(early < 0, `number ${early + 1} began after ${starts[early] - begun} ms`);
}

function counting(body) {
  const counted = (...given) => {
    counted.calls += 1;
    return body(...given);
  };
  counted.calls = 0;
  return counted;
}

async function rowsOf(input) {
  const rows = [];
  for await (const { row } of readCsv(input)) rows.push(row);
  return rows;
}

/** A frame with a copy of its own, and the way to load it again. */
async function inFrame(body) {
  const frame = document.createElement("iframe");
  const loaded = () => new Promise((resolve) => frame.addEventListener("load", resolve, { once: true }));
  const first = loaded();
  frame.src = "/frame.html";
  document.body.append(frame);
  try {
    await first;
    const reload = async () => {
      const again = loaded();
      frame.contentWindow.location.reload();
      await again;
    };
    // The window of a frame stays the same object from the outside.
    return await body(frame.contentWindow, reload);
  } finally {
    frame.remove();
  }
}

async function until(isTrue, patienceMs = 30_000) {
  const end = performance.now() + patienceMs;
  while (!(await isTrue())) {
    if (performance.now() > end)
      throw new Error(`It did not happen within ${patienceMs / 1_000} s: ${isTrue}`);
    await delay(20);
  }
}
