import { startBackend } from "../server/backend.mjs";
import { createGateway, forwardTo } from "../server/gateway.mjs";

/**
 * @typedef {object} Stack
 * @property {string} url of the gateway, which is what an application takes for Supabase
 * @property {import("../server/backend.mjs").Backend} backend
 * @property {ReturnType<typeof createGateway>} gateway
 * @property {() => Promise<void>} close frees the ports; may be called more than once
 */

/**
 * Postgres and the gateway in front of it.
 *
 * @param {Pick<import("./options.mjs").DemoOptions, "data" | "verbose" | "gateway">} options
 * @returns {Promise<Stack>}
 */
export async function startStack({ data, verbose, gateway: settings }) {
  const backend = await startBackend({ ...(data === undefined ? {} : { dataDir: data }), verbose });
  const gateway = createGateway({ upstream: forwardTo(backend.url), control: true, ...settings });
  const url = await gateway.listen();
  /** @type {Promise<void> | undefined} */
  let closing;
  return {
    url,
    backend,
    gateway,
    close() {
      closing ??= gateway.close().then(() => backend.close());
      return closing;
    },
  };
}
