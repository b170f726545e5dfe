// From `import()` to the first answer, in pages of Chromium that have nothing cached.
import { findChromium, INSTALL_CHROMIUM, serveFiles } from "../../tests/browser/harness.mjs";
import { bundled } from "../bundle.mjs";
import { launchForMeasuring } from "../chromium.mjs";

/** Isolated pages read the clock to 5 µs, others to 0.1 ms. */
const ISOLATED = {
  "Cross-Origin-Opener-Policy": "same-origin",
  "Cross-Origin-Embedder-Policy": "require-corp",
};
const SETTLED_MS = 150;

/** So many cold starts, each in milliseconds by step. */
export async function coldStarts(runs) {
  const chromiumPath = findChromium();
  if (chromiumPath === null) throw new Error(`Chromium is needed: ${INSTALL_CHROMIUM}, or CHROMIUM=its path`);
  const { bytes } = await bundled('export { RateLimitService } from "tidegate"', {
    banner: { js: "globalThis.evaluating = performance.now();" },
  });
  const texts = {
    "/": { type: "text/html", text: "<!doctype html><title>cold</title>" },
    "/empty.js": { type: "text/javascript", text: "export {};" },
    "/app.js": { type: "text/javascript", text: Buffer.from(bytes) },
  };
  const server = await serveFiles({ texts, headers: ISOLATED });
  const browser = await launchForMeasuring(chromiumPath);
  try {
    const starts = [];
    // The first one warms up the browser's own processes.
    for (let i = 0; i <= runs; i++) {
      const start = await onColdPage(browser, server.origin, startInPage);
      const empty = await onColdPage(browser, server.origin, importNothing);
      if (i > 0) starts.push({ ...start, empty });
    }
    return { chromium: browser.version(), starts };
  } finally {
    await browser.close();
    await server.close();
  }
}

async function onColdPage(browser, origin, work) {
  const context = await browser.newContext();
  try {
    const page = await context.newPage();
    await page.goto(`${origin}/`);
    await page.waitForTimeout(SETTLED_MS);
    return await page.evaluate(work);
  } finally {
    await context.close();
  }
}

/** Runs in the page, as the next one does: nothing of this file is there. Answers with milliseconds. */
async function importNothing() {
  const started = performance.now();
  await import("/empty.js");
  return performance.now() - started;
}

async function startInPage() {
  const built = { Module: { at: 0, ms: 0 }, Instance: { at: 0, ms: 0 } };
  for (const name of ["Module", "Instance"]) {
    const Original = WebAssembly[name];
    const noted = function noted(...given) {
      const at = performance.now();
      const made = new Original(...given);
      built[name] = { at, ms: performance.now() - at };
      return made;
    };
    noted.prototype = Original.prototype;
    WebAssembly[name] = noted;
  }
  const started = performance.now();
  const { RateLimitService } = await import("/app.js");
  const imported = performance.now();
  const service = new RateLimitService();
  await service.executeWithRetry(async () => 1);
  const answered = performance.now();
  await service.executeWithRetry(async () => 1);
  const again = performance.now();
  const [{ responseEnd }] = performance.getEntriesByName(`${location.origin}/app.js`);
  const { Module, Instance } = built;
  if (Module.ms === 0) throw new Error("the core was not compiled in the first call");
  return {
    total: answered - started,
    download: responseEnd - started,
    parse: globalThis.evaluating - responseEnd,
    evaluate: imported - globalThis.evaluating,
    decode: Module.at - imported,
    compile: Module.ms,
    instantiate: Instance.ms,
    call: answered - imported - (Module.at - imported) - Module.ms - Instance.ms,
    second: again - answered,
  };
}
