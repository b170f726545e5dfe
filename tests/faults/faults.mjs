// The faults, and of what kind each is. What must follow from a kind is in expected.mjs.
import { setTimeout as delay } from "node:timers/promises";
import { gzipSync } from "node:zlib";
import { bytesOf, capturedAnswers, isRefusal, isTrouble, plainAnswers } from "./answers.mjs";
import { hostileHints } from "./hints.mjs";
import { MOVED } from "./server.mjs";

/**
 * @typedef {object} Fault
 * @property {string} group
 * @property {string} name
 * @property {"refused" | "trouble" | "no" | "silent" | "garbled" | "stalled" | "stalled body" | "fine" | "followed" | "moved" | "loop"} kind
 *   - refused: the server said that it did not do it, and to come later
 *   - trouble: an answer that may be another one the next time
 *   - no: an answer that stays what it is
 *   - silent: the connection ended before there was a whole head of an answer
 *   - garbled: a success, whose body does not come whole, or is none
 *   - stalled: no whole head, and the connection stays open; stalled body: the same of the body
 *   - fine: strange, and yet an ordinary answer
 *   - followed, moved, loop: redirections that keep the request, that make a GET of it, that never end
 * @property {boolean} applied whether the server has done it all the same
 * @property {number} [status] of refusals, trouble and noes
 * @property {number | null} [hintMs] the delay that a refusal asks for; undefined: nobody can say what is meant
 * @property {boolean} [isInBody] where it stands; else in the headers
 * @property {number} [hops] requests that one attempt becomes
 * @property {boolean} [isLasting] it does not end after so many requests
 * @property {(server: { url: string }) => string} [urlOf] what is asked in place of the server
 * @property {boolean} [isSlowToFail] how long it takes, nobody can say
 * @property {(exchange: import("./server.mjs").Exchange) => unknown} strike
 */

/** All of them. @returns {Promise<Fault[]>} */
export async function allFaults() {
  return [
    ...(await capturedAnswers()).map((answer) => answered("captured", answer)),
    ...plainAnswers().map((answer) => answered("status", answer)),
    ...hostileHints().map(hinted),
    ...ABSENT,
    ...CONNECTIONS,
    ...BODIES,
    ...HEADS,
    ...SLOW,
    ...REDIRECTIONS,
  ];
}

function answered(group, { name, status, reason, headers, body, hintMs, isInBody = false }) {
  const kind = isRefusal(status) ? "refused" : isTrouble(status) ? "trouble" : "no";
  return {
    group,
    name,
    status,
    kind,
    hintMs,
    isInBody,
    // Fetch itself asks once more, on another connection.
    hops: status === 421 ? 2 : 1,
    applied: false,
    strike: (exchange) => says(exchange, bytesOf({ status, reason, headers: headers(exchange.now()), body })),
  };
}

/** A refusal that says when to come back in a strange way. */
function hinted({ name, headers, body, hintMs, isInBody }) {
  return {
    group: "hints",
    name,
    kind: "refused",
    status: 429,
    hintMs,
    isInBody,
    applied: false,
    strike: (exchange) =>
      says(exchange, bytesOf({ status: 429, headers: [...TYPED, ...headers(exchange.now())], body })),
  };
}

const TYPED = [["content-type", "application/json"]];

async function says({ incoming, write, end }, bytes) {
  // A server reads what it is sent, or else its answer may be lost with the connection.
  await incoming.resume().toArray();
  await write(bytes);
  end();
}

const connection = (name, strike, more = {}) => ({
  group: "connection",
  name,
  kind: "silent",
  applied: false,
  strike,
  ...more,
});

/** The answer of the API itself as it goes over the wire. */
async function wire({ forward }, length) {
  const { status, statusText, headers, body } = await forward();
  const fields = [...headers].filter(([name]) => !ADDED.has(name));
  return bytesOf({ status, reason: statusText, headers: fields, body: body.toString("utf8") }, length);
}

/** What `bytesOf` says itself. */
const ADDED = new Set(["content-length", "transfer-encoding", "access-control-allow-origin"]);

const APPLIED = { applied: true };

/** Nobody is there at all. */
const ABSENT = [
  // The address that the server would have on another loopback: a port that was given up may soon be somebody else's.
  connection("refused, because nobody listens", () => {}, {
    urlOf: (server) => server.url.replace("127.0.0.1", "127.0.0.2"),
    isLasting: true,
  }),
  connection("no such name", () => {}, {
    urlOf: () => "http://tidegate.invalid",
    isSlowToFail: true,
    isLasting: true,
  }),
];

const CONNECTIONS = [
  connection("reset before the request is read", ({ reset }) => reset()),
  connection("closed before the request is read", ({ end }) => end()),
  connection("reset after the request", async ({ incoming, reset }) => {
    await incoming.toArray();
    reset();
  }),
  connection(
    "reset before the answer, which was done",
    async ({ forward, reset }) => {
      await forward();
      reset();
    },
    APPLIED,
  ),
  connection(
    "closed before the answer, which was done",
    async ({ forward, end }) => {
      await forward();
      end();
    },
    APPLIED,
  ),
  connection(
    "reset within the status line",
    async ({ forward, write, reset }) => {
      await forward();
      await write("HTTP/1.1 20");
      await delay(2);
      reset();
    },
    APPLIED,
  ),
  connection(
    "closed within the headers",
    async ({ forward, write, end }) => {
      await forward();
      await write("HTTP/1.1 201 Created\r\ncontent-type: applica");
      end();
    },
    APPLIED,
  ),
  connection(
    "reset after the headers",
    async (exchange) => {
      const [head] = (await wire(exchange)).split("\r\n\r\n");
      await exchange.write(`${head.replace(/content-length: 0/, "content-length: 10")}\r\n\r\n`);
      await delay(2);
      exchange.reset();
    },
    { ...APPLIED, kind: "garbled" },
  ),
  connection(
    "reset within the body",
    async (exchange) => {
      await exchange.forward();
      await exchange.write(bytesOf({ ...FINE, body: '[{"id":1,' }, 100));
      await delay(2);
      exchange.reset();
    },
    { ...APPLIED, kind: "garbled" },
  ),
  connection(
    "closed within the body",
    async (exchange) => {
      await exchange.forward();
      await exchange.write(bytesOf({ ...FINE, body: '[{"id":1,' }, 100));
      exchange.end();
    },
    { ...APPLIED, kind: "garbled" },
  ),
  connection(
    "reset after the answer",
    async (exchange) => {
      await exchange.write(await wire(exchange));
      await delay(2);
      exchange.reset();
    },
    { ...APPLIED, kind: "fine" },
  ),
];

const FINE = { status: 200, reason: "OK", headers: [["content-type", "application/json"]] };

/** Answers with these bytes when it is done. */
const body = (name, bytes, more = {}) => ({
  group: "body",
  name,
  kind: "garbled",
  applied: true,
  strike: async (exchange) => {
    await exchange.forward();
    await exchange.write(bytes);
    exchange.end();
  },
  ...more,
});

const chunked = (chunks) =>
  `${bytesOf({ ...FINE, headers: [...FINE.headers, ["transfer-encoding", "chunked"]] }, null)}${chunks}`;

const BODIES = [
  body("truncated JSON", bytesOf({ ...FINE, body: '[{"id":1,"first_na' })),
  body("no JSON", bytesOf({ ...FINE, body: "OK" })),
  body(
    "a page of a proxy, as a success",
    bytesOf({
      ...FINE,
      headers: [["content-type", "text/html"]],
      body: "<html><body>Welcome to the hotel</body></html>",
    }),
  ),
  body("a byte order mark alone", bytesOf({ ...FINE, body: "\ufeff" })),
  body("a length that is too large", bytesOf({ ...FINE, body: "[]" }, 3)),
  body("a length that is too small", bytesOf({ ...FINE, body: '[{"id":1}]' }, 4)),
  body("a length that is no number", bytesOf({ ...FINE, body: "[]" }, "many"), { kind: "silent" }),
  body("a negative length", bytesOf({ ...FINE, body: "[]" }, -1), { kind: "silent" }),
  body(
    "two lengths that differ",
    bytesOf({ ...FINE, headers: [...FINE.headers, ["Content-Length", "3"]], body: "[]" }),
    { kind: "silent" },
  ),
  body("no last chunk", chunked('4\r\n[{"i\r\n')),
  body("a chunk of no size", chunked("zz\r\n[]\r\n0\r\n\r\n")),
  body(
    "gzip that is none",
    bytesOf({ ...FINE, headers: [...FINE.headers, ["content-encoding", "gzip"]], body: "[]" }),
  ),
  body(
    "half of a gzip",
    bytesOf({ ...FINE, headers: [...FINE.headers, ["content-encoding", "gzip"]] }, null) +
      gzipSync(JSON.stringify([{ id: 1, text: "x".repeat(500) }]))
        .subarray(0, 20)
        .toString("latin1"),
  ),
  {
    ...body("in pieces, one byte after the other", ""),
    kind: "fine",
    strike: async (exchange) => {
      const bytes = await wire(exchange);
      for (let i = 0; i < bytes.length; i += 40) {
        await exchange.write(bytes.slice(i, i + 40));
        await delay(0);
      }
      exchange.end();
    },
  },
  {
    ...body("without a length, until the connection ends", ""),
    kind: "fine",
    strike: async (exchange) => {
      await exchange.write(await wire(exchange, null));
      exchange.end();
    },
  },
];

const HEADS = [
  { ...body("no HTTP at all", "SSH-2.0-OpenSSH_9.2p1\r\n"), group: "head", kind: "silent" },
  { ...body("a body without a head", "[]"), group: "head", kind: "silent" },
  { ...body("a NUL in a field", "HTTP/1.1 200 OK\r\nx-a: a\0b\r\n\r\n[]"), group: "head", kind: "silent" },
  {
    ...body(
      "fields of 64 kB",
      bytesOf({ ...FINE, headers: [["retry-after", "9".repeat(65_536)]], body: "[]" }),
    ),
    group: "head",
    kind: "silent",
  },
  {
    ...connection("the status 999", (exchange) =>
      says(exchange, bytesOf({ status: 999, reason: "Request denied" })),
    ),
    group: "head",
    kind: "no",
    status: 999,
  },
  {
    ...body("100 and 103 before it", ""),
    group: "head",
    kind: "fine",
    strike: async (exchange) => {
      const hints = "HTTP/1.1 103 Early Hints\r\nlink: </a.css>; rel=preload\r\n\r\n";
      await exchange.write(`${hints}${await wire(exchange)}`);
      exchange.end();
    },
  },
  {
    ...body("fields twice, and in capitals", ""),
    group: "head",
    kind: "fine",
    strike: async (exchange) => {
      const [head, ...rest] = (await wire(exchange)).split("\r\n\r\n");
      const more =
        "DATE: yesterday\r\ndate: today\r\nRETRY-AFTER: 5\r\nX-RateLimit-Remaining: -1\r\nx-ratelimit-remaining: 9";
      await exchange.write([`${head}\r\n${more}`, ...rest].join("\r\n\r\n"));
      exchange.end();
    },
  },
];

const slow = (name, strike, more = {}) => ({
  group: "slow",
  name,
  kind: "stalled",
  applied: false,
  strike,
  ...more,
});

/** What comes too slowly counts as nothing: nobody may wait for it. */
const SLOW = [
  slow("no answer", async ({ incoming, stall }) => {
    await incoming.toArray();
    await stall();
  }),
  slow("the request is not read", ({ stall }) => stall()),
  slow(
    "no answer, and it was done",
    async ({ forward, stall }) => {
      await forward();
      await stall();
    },
    APPLIED,
  ),
  slow(
    "headers that trickle",
    async ({ forward, write, stall }) => {
      await forward();
      await write("HTTP/1.1 200 OK\r\n");
      await trickled(write, "x-more: 1\r\n", stall);
    },
    APPLIED,
  ),
  slow(
    "headers without an end",
    async ({ forward, write, stall }) => {
      await forward();
      await write("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n");
      await stall();
    },
    APPLIED,
  ),
  slow(
    "a body that trickles",
    async ({ forward, write, stall }) => {
      await forward();
      await write(bytesOf({ ...FINE, body: "[" }, 100_000));
      await trickled(write, " ", stall);
    },
    { ...APPLIED, kind: "stalled body" },
  ),
  slow(
    "a body without an end",
    async ({ forward, write, stall }) => {
      await forward();
      await write(bytesOf({ ...FINE, body: "[" }, 100));
      await stall();
    },
    { ...APPLIED, kind: "stalled body" },
  ),
  slow(
    "a refusal whose body does not come",
    async ({ incoming, write, stall }) => {
      await incoming.toArray();
      await write(bytesOf({ status: 429, headers: [["content-type", "application/json"]] }, 100));
      await stall();
    },
    { kind: "refused", hintMs: null, status: 429, isSlow: true },
  ),
];

/** For as long as somebody is there. */
async function trickled(write, bytes, stall) {
  let isThere = true;
  const gone = stall().then(() => {
    isThere = false;
  });
  while (isThere) {
    await write(bytes);
    await Promise.race([gone, delay(20)]);
  }
}

const redirected = (name, status, more = {}) => ({
  group: "redirection",
  name,
  status,
  kind: "moved",
  applied: false,
  strike: (exchange) =>
    says(exchange, bytesOf({ status, headers: [["location", MOVED + exchange.incoming.url]] })),
  ...more,
});

/** Fetch gives up after so many. */
const MOST_HOPS = 21;

const REDIRECTIONS = [
  redirected("307 to another place", 307, { kind: "followed", hops: 2 }),
  redirected("308 to another place", 308, { kind: "followed", hops: 2 }),
  redirected("301 to another place", 301, { hops: 2 }),
  redirected("302 to another place", 302, { hops: 2 }),
  redirected("303 to another place", 303, { hops: 2 }),
  redirected("307 without end", 307, {
    kind: "loop",
    hops: MOST_HOPS,
    strike: (exchange) =>
      says(exchange, bytesOf({ status: 307, headers: [["location", exchange.incoming.url]] })),
  }),
  redirected("308 to another scheme", 308, {
    kind: "silent",
    strike: (exchange) =>
      says(exchange, bytesOf({ status: 308, headers: [["location", "ftp://127.0.0.1/"]] })),
  }),
  redirected("307 to nowhere", 307, {
    kind: "no",
    strike: (exchange) => says(exchange, bytesOf({ status: 307 })),
  }),
  redirected("308 to a port where nobody is", 308, {
    kind: "silent",
    strike: (exchange) =>
      says(exchange, bytesOf({ status: 308, headers: [["location", "http://127.0.0.1:1/"]] })),
  }),
];
