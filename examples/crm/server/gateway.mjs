import { once } from "node:events";
import { setTimeout as delay } from "node:timers/promises";
import { createAdaptorServer } from "@hono/node-server";
import { RESPONSE_ALREADY_SENT } from "@hono/node-server/utils/response";
import { allowReading, preflight } from "./cors.mjs";
import { createCounters } from "./counters.mjs";
import { checkFaults, faultsOf } from "./faults.mjs";
import { policyOf } from "./modes.mjs";
import { json, serviceUnavailable } from "./refusals.mjs";

/**
 * @typedef {object} GatewaySettings what may change while it runs
 * @property {import("./modes.mjs").Mode} mode
 * @property {import("./modes.mjs").Limits} limits
 * @property {import("./faults.mjs").FaultShares} faults
 * @property {boolean} exposeHeaders lets pages read Retry-After; hosted Supabase does not
 * @property {boolean} corsOnRefusals false: a refusal carries no CORS headers, as Cloudflare's own pages do not, and
 *   a page sees "Failed to fetch" instead of a 429
 *
 * @typedef {import("@hono/node-server").HttpBindings} Bindings
 *
 * @typedef {object} GatewayOptions
 * @property {(request: Request) => Promise<Response>} upstream whom it guards; see `forwardTo`
 * @property {import("./modes.mjs").Mode} [mode] default "bucket"
 * @property {import("./modes.mjs").Limits} [limits] default: those of the mode
 * @property {import("./faults.mjs").FaultShares} [faults] default none
 * @property {boolean} [exposeHeaders] default false
 * @property {boolean} [corsOnRefusals] default true
 * @property {boolean} [control] answer at /__gateway, for tests and the demo page; default false
 * @property {() => number} [now] default Date.now
 * @property {(ms: number) => Promise<unknown>} [sleep] for slow answers; default a timer
 */

/** Where counters are read (GET) and settings changed (POST). */
export const CONTROL_PATH = "/__gateway";

/**
 * A gateway on loopback that enforces a limit in front of an API, and can be told to misbehave.
 *
 * Preflights are answered and never counted. Refused requests do not reach the upstream.
 *
 * @param {GatewayOptions} options
 * @throws {RangeError} for settings that make no sense
 */
export function createGateway({ upstream, control = false, now = Date.now, sleep = delay, ...given }) {
  /** @type {GatewaySettings} */
  let settings = {
    mode: "bucket",
    limits: {},
    faults: {},
    exposeHeaders: false,
    corsOnRefusals: true,
    ...given,
  };
  let { policy, nextFault } = prepare(settings);
  let counters = createCounters();
  const server = createAdaptorServer({
    fetch: (request, env) => serveOverHttp(request, /** @type {Bindings} */ (env)),
    hostname: "127.0.0.1",
  });

  return {
    handle,
    configure,
    state,

    /** Counts from zero; the limiter keeps what has been spent. */
    resetCounters() {
      counters = createCounters();
    },

    /** @param {number} [port] 0: any free one @returns {Promise<string>} its URL */
    async listen(port = 0) {
      server.listen(port, "127.0.0.1");
      await once(server, "listening");
      const address = /** @type {import("node:net").AddressInfo} */ (server.address());
      return `http://127.0.0.1:${address.port}`;
    },

    /** Ends open connections and frees the port. */
    async close() {
      if (!server.listening) return;
      const closed = once(server, "close");
      server.close();
      if ("closeAllConnections" in server) server.closeAllConnections();
      await closed;
    },
  };

  /** The counts, the settings, the rule in words, and what it makes the admitted requests take at least. */
  function state() {
    const counts = counters.read();
    const { rule, leastMs } = policy.limiter;
    return {
      counts,
      ...settings,
      rule,
      leastMs: leastMs({ requests: counts.admitted, writes: counts.writes }),
    };
  }

  /**
   * From the next request on. A change of mode or limits starts with an unspent limit.
   *
   * @param {Partial<GatewaySettings>} changes
   * @throws {RangeError} and nothing has changed
   */
  function configure(changes) {
    const unknown = Object.keys(changes).find((name) => !Object.hasOwn(settings, name));
    if (unknown !== undefined) throw new RangeError(`the gateway has no setting named ${unknown}`);
    const next = { ...settings, ...changes };
    // Limits belong to their mode: 100 per five minutes means nothing to a bucket.
    if (changes.mode !== undefined && changes.limits === undefined) next.limits = {};
    const prepared = prepare(next);
    settings = next;
    if (changes.mode !== undefined || changes.limits !== undefined) policy = prepared.policy;
    if (changes.faults !== undefined) nextFault = prepared.nextFault;
  }

  /**
   * One request through the gateway.
   *
   * @param {Request} request
   * @returns {Promise<Response | null>} null: end the connection without an answer
   */
  async function handle(request) {
    if (request.method === "OPTIONS") return preflight(request);
    if (control && new URL(request.url).pathname === CONTROL_PATH) return controlled(request);

    counters.arrived(now());
    const write = request.method !== "GET" && request.method !== "HEAD";
    const { limiter, refuse, keyOf } = policy;
    const arrival = { write, key: keyOf?.(request) ?? "" };
    const waitMs = limiter.admit(now(), arrival);
    if (waitMs !== null) return refused(refuse(waitMs, request));

    counters.admitted(write);
    try {
      return await forward(request);
    } finally {
      limiter.leave?.(arrival);
    }
  }

  /** @param {Request} request */
  async function forward(request) {
    const fault = nextFault();
    if (fault !== "none") counters.faulted(fault);
    if (fault === "unavailable") return readable(serviceUnavailable());
    if (fault === "dropBefore") return null;
    if (fault === "slow") await sleep(settings.faults.slowMs ?? 400);
    const response = await upstream(request);
    return fault === "dropAfter" ? null : readable(response);
  }

  /** @param {Response} response */
  function refused(response) {
    counters.refused(response.status);
    return settings.corsOnRefusals ? readable(response) : response;
  }

  /** @param {Response} response */
  function readable(response) {
    allowReading(response.headers, settings);
    return response;
  }

  /** @param {Request} request */
  async function controlled(request) {
    try {
      if (request.method === "POST") {
        const { reset = false, ...changes } = await request.json();
        if (reset) counters = createCounters();
        configure(changes);
      }
      return readable(json(200, state()));
    } catch (error) {
      return readable(json(400, { message: error instanceof Error ? error.message : String(error) }));
    }
  }

  /** @param {Request} request @param {Bindings} env */
  async function serveOverHttp(request, { incoming, outgoing }) {
    const response = await handle(request);
    if (response === null) {
      incoming.socket.destroy();
      return RESPONSE_ALREADY_SENT;
    }
    if (response.statusText !== "") outgoing.statusMessage = response.statusText;
    return response;
  }
}

/** @param {GatewaySettings} settings */
function prepare({ mode, limits, faults }) {
  checkFaults(faults);
  return { policy: policyOf(mode, limits), nextFault: faultsOf(faults) };
}

/**
 * An upstream at another address. Answers 502 when nobody is there.
 *
 * @param {string} origin such as http://127.0.0.1:54321
 * @returns {(request: Request) => Promise<Response>}
 */
export function forwardTo(origin) {
  return async (request) => {
    const { pathname, search } = new URL(request.url);
    const headers = new Headers(request.headers);
    for (const name of HOP_BY_HOP) headers.delete(name);
    const body = request.body === null ? undefined : await request.arrayBuffer();
    try {
      const answer = await fetch(`${origin}${pathname}${search}`, {
        method: request.method,
        headers,
        body,
        redirect: "manual",
      });
      return copyOf(answer);
    } catch {
      return json(502, { message: "The gateway could not reach the server" });
    }
  };
}

/** Headers of a fetched response are immutable, and its body is no longer encoded. @param {Response} answer */
function copyOf(answer) {
  const headers = new Headers(answer.headers);
  for (const name of [...HOP_BY_HOP, "content-encoding"]) headers.delete(name);
  return new Response(answer.body, { status: answer.status, statusText: answer.statusText, headers });
}

const HOP_BY_HOP = ["connection", "content-length", "host", "keep-alive", "transfer-encoding", "upgrade"];
