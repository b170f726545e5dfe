// A server on loopback that hands requests to a gateway, and does to the answer, or to the connection, what a fault says.
import { createServer } from "node:http";

/**
 * @typedef {object} Exchange one request, as a fault sees it
 * @property {import("node:http").IncomingMessage} incoming
 * @property {() => number} now by the clock of who asks
 * @property {(bytes?: string | Buffer) => Promise<void>} write raw bytes, past what Node would make of them
 * @property {() => Promise<Forwarded>} forward lets the API do what was asked; its answer goes nowhere by itself
 * @property {(answer: Forwarded) => void} answer in an orderly way
 * @property {() => void} end after what was written, as a server does that has said everything
 * @property {() => void} reset the connection ends with RST, as after a crash
 * @property {() => Promise<void>} stall nothing more comes, or it comes too slowly; resolves when the client has gone
 *
 * @typedef {{ status: number, statusText: string, headers: Headers, body: Buffer }} Forwarded
 */

/**
 * Resolves with `{ url, requests(), busy(), stalled(), strike(fault, times), down(), up(), close() }`.
 *
 * `upstream(request)` answers those that are not struck; `now`: the clock of who asks; `preflight`: what pages get before. `busy` is how many are being answered: one that stalls is not,
 * because nothing more comes of it.
 */
export async function startFaultyServer(upstream, now = Date.now, preflight = allowed) {
  let fault = null;
  let left = 0;
  let requests = 0;
  let busy = 0;
  let stalled = 0;
  let port = 0;
  const seen = [];
  const sockets = new Set();
  let server = await listening();

  async function listening() {
    const made = createServer({ keepAliveTimeout: 60_000 }, (incoming, outgoing) => {
      respond(incoming, outgoing).catch(() => incoming.socket.destroy());
    });
    made.on("connection", (socket) => {
      sockets.add(socket);
      socket.on("error", () => {});
      socket.once("close", () => sockets.delete(socket));
    });
    await new Promise((resolve, reject) => {
      made.once("error", reject);
      made.listen(port, "127.0.0.1", resolve);
    });
    port = made.address().port;
    return made;
  }

  async function respond(incoming, outgoing) {
    if (incoming.method === "OPTIONS") return preflight(outgoing);
    requests += 1;
    busy += 1;
    const { method, url, headers } = incoming;
    seen.push({ method, url, headers });
    let isCounted = true;
    const over = () => {
      if (isCounted) busy -= 1;
      isCounted = false;
    };
    outgoing.once("close", over);
    const isMoved = incoming.url.startsWith(MOVED);
    if (isMoved) incoming.url = incoming.url.slice(MOVED.length);
    const exchange = exchangeOf(incoming, outgoing, over);
    if (left <= 0 || isMoved) return exchange.answer(await exchange.forward());
    left -= 1;
    return fault.strike(exchange);
  }

  /** @returns {Exchange} */
  function exchangeOf(incoming, outgoing, over) {
    const { socket } = incoming;
    return {
      incoming,
      now,
      forward: async () => bufferOf(await upstream(await requestOf(incoming))),
      answer: ({ status, statusText, headers, body }) => {
        if (statusText !== "") outgoing.statusMessage = statusText;
        outgoing.writeHead(status, Object.fromEntries(headers)).end(body);
      },
      write: (bytes = "") =>
        new Promise((resolve) => {
          if (socket.destroyed) resolve();
          else socket.write(bytes, "latin1", () => resolve());
        }),
      end: () => {
        over();
        socket.end();
      },
      reset: () => {
        over();
        socket.resetAndDestroy();
      },
      stall: async () => {
        over();
        if (socket.destroyed) return;
        stalled += 1;
        await new Promise((resolve) => socket.once("close", resolve));
        stalled -= 1;
      },
    };
  }

  const down = async () => {
    const closed = new Promise((resolve) => server.close(resolve));
    for (const socket of sockets) socket.resetAndDestroy();
    await closed;
  };

  return {
    get url() {
      return `http://127.0.0.1:${port}`;
    },
    requests: () => requests,
    seen: () => seen,
    busy: () => busy,
    stalled: () => stalled,
    /** The next `times` requests meet it; Infinity: all. */
    strike(what, times) {
      fault = what;
      left = times;
      requests = 0;
      seen.length = 0;
    },
    /** Connections are refused until `up`. */
    down,
    async up() {
      server = await listening();
    },
    close: down,
  };
}

/** Before the path of a request that was sent elsewhere: it is answered. */
export const MOVED = "/moved";

/**
 * On a connection of its own: when one that was used before ends without an answer, Chromium sends the request again by
 * itself, and nobody hears of it.
 */
function allowed(outgoing) {
  outgoing
    .writeHead(204, {
      connection: "close",
      "access-control-allow-origin": "*",
      "access-control-allow-methods": "*",
      "access-control-allow-headers": "*, authorization",
    })
    .end();
}

async function requestOf(incoming) {
  const { method, url } = incoming;
  const chunks = await incoming.toArray();
  const body = method === "GET" || method === "HEAD" ? null : Buffer.concat(chunks);
  return new Request(new URL(url, "http://localhost"), { method, headers: incoming.headers, body });
}

async function bufferOf(response) {
  const { status, statusText, headers } = response;
  return { status, statusText, headers, body: Buffer.from(await response.arrayBuffer()) };
}
