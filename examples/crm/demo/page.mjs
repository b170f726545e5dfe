import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { createAdaptorServer } from "@hono/node-server";
import { serveStatic } from "@hono/node-server/serve-static";
import { Hono } from "hono";
import { build } from "vite";
import { CONTROL_PATH } from "../server/gateway.mjs";
import { startStack } from "./stack.mjs";

const CRM = fileURLToPath(new URL("..", import.meta.url));

/**
 * The CRM in the browser, until it is interrupted.
 *
 * @param {import("./options.mjs").DemoOptions} options
 * @param {(line: string) => void} log
 * @param {AbortSignal} interrupted
 * @returns {Promise<number>} the exit code
 */
export async function runPage(options, log, interrupted) {
  await buildPage(log);
  if (interrupted.aborted) return 0;
  const stack = await startStack(options);
  try {
    const page = await servePage(options.port, {
      supabaseUrl: stack.url,
      supabaseKey: stack.backend.key,
      gatewayUrl: `${stack.url}${CONTROL_PATH}`,
    });
    try {
      log(`\nThe CRM:     ${page.url}`);
      log(`The gateway: ${stack.url} (${stack.gateway.state().rule})`);
      log("Ctrl-C stops both.");
      await aborted(interrupted);
    } finally {
      await page.close();
    }
  } finally {
    await stack.close();
  }
  log("\nStopped.");
  return 0;
}

/** Skipped when nothing that goes into it has changed. @param {(line: string) => void} log */
async function buildPage(log) {
  // Build tools are not typed; a URL keeps the type checker out of them.
  const { stamped } = await import(new URL("../../../js/steps.mjs", import.meta.url).href);
  const inputs = ["app", "csv", "import", "index.html", "package-lock.json", "seeded.mjs", "vite.config.ts"];
  await stamped(
    "crm-page",
    { inputs: [...inputs.map((name) => `examples/crm/${name}`), "dist"], outputs: ["examples/crm/build"] },
    async () => {
      log("Building the page …");
      await build({
        root: CRM,
        configFile: `${CRM}/vite.config.ts`,
        logLevel: "warn",
        build: { emptyOutDir: true },
      });
    },
  );
}

/**
 * @param {number} port 0: any free one
 * @param {{ supabaseUrl: string; supabaseKey: string; gatewayUrl: string }} config where the page finds its server
 */
async function servePage(port, config) {
  const app = new Hono();
  app.get("/config.json", (context) => context.json(config));
  app.use(serveStatic({ root: `${CRM}/build` }));
  // react-admin keeps its place behind the #, so every other path is a mistake.
  const server = createAdaptorServer({ fetch: app.fetch, hostname: "127.0.0.1" });
  server.listen(port, "127.0.0.1");
  await once(server, "listening");
  const address = /** @type {import("node:net").AddressInfo} */ (server.address());
  return {
    url: `http://127.0.0.1:${address.port}`,
    async close() {
      const closed = once(server, "close");
      server.close();
      if ("closeAllConnections" in server) server.closeAllConnections();
      await closed;
    },
  };
}

/** @param {AbortSignal} signal */
async function aborted(signal) {
  if (!signal.aborted) await once(signal, "abort");
}
