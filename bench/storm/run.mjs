// One storm: fifty clients, half an hour, and a server that loses half of its capacity for five minutes of it.
import { seeded, VirtualTime } from "./clock.mjs";
import { CAPACITY, SERVERS } from "./servers.mjs";

export const CLIENTS = 50;
const MINUTE = 60_000;
export const LENGTH_MS = 30 * MINUTE;
export const HALVED = { from: 12.5 * MINUTE, to: 17.5 * MINUTE };

/** Whoever has no answer by then goes on as if there were none; every application does something like it. */
const TIMEOUT_MS = 5_000;

/** An answer that comes later finds nobody in front of the screen: it is no goodput. */
const PATIENCE_MS = 10_000;

/** There and back, evenly between the two, half of it each way. */
const ROUND_TRIP_MS = { least: 40, most: 120 };

/** Runs one strategy against one server and answers with its figures. */
export async function storm({ strategy, server, load, seed, loadTest }) {
  const time = new VirtualTime(seed);
  try {
    const network = new Network(SERVERS[server].make(seed), seed);
    const clients = Array.from({ length: CLIENTS }, (_, client) =>
      strategy.make({ host: time.hostOf(client) }),
    );
    const report = await time.drive(
      loadTest({
        send: () => network.request(),
        call: (send, client) => clients[client](() => send()),
        clients: CLIENTS,
        ratePerSecond: CAPACITY * load,
        durationMs: LENGTH_MS,
        usefulWithinMs: PATIENCE_MS,
        host: time.host,
      }),
    );
    return figures(report, network);
  } finally {
    time.restore();
  }
}

class Network {
  refused = 0;
  timeouts = 0;
  /** Done by the server for somebody who had gone. */
  wasted = 0;
  /** Requests that reached the server, by second. */
  arrivals = new Uint32Array(LENGTH_MS / 1_000 + 600);

  constructor(server, seed) {
    this.server = server;
    this.random = seeded(seed * 31 + 17);
    this.began = Date.now();
    setTimeout(() => server.setShare(0.5, this.now()), HALVED.from);
    setTimeout(() => server.setShare(1, this.now()), HALVED.to);
  }

  now() {
    return Date.now() - this.began;
  }

  request() {
    return new Promise((resolve, reject) => {
      let isOver = false;
      const late = setTimeout(() => {
        isOver = true;
        this.timeouts++;
        reject(new DOMException("No answer in time", "TimeoutError"));
      }, TIMEOUT_MS);
      const answered = (status, headers) => {
        if (isOver) return;
        clearTimeout(late);
        if (status === 200) resolve(status);
        else reject(Object.assign(new Error(`HTTP ${status}`), { status, headers }));
      };
      setTimeout(() => {
        this.arrivals[Math.floor(this.now() / 1_000)]++;
        this.server.arrive(this.now(), (status, headers = {}) => {
          if (status === 429) this.refused++;
          else if (isOver) this.wasted++;
          setTimeout(() => answered(status, headers), this.way());
        });
      }, this.way());
    });
  }

  way() {
    const { least, most } = ROUND_TRIP_MS;
    return (least + this.random() * (most - least)) / 2;
  }
}

function figures(
  { seconds, calls, succeeded, late, failures, latencyMs, attempts },
  { refused, timeouts, wasted, arrivals },
) {
  const stretch = (from, to) => mean(seconds, from / 1_000, to / 1_000);
  const before = stretch(HALVED.from - 5 * MINUTE, HALVED.from);
  return {
    calls,
    succeeded,
    late,
    goodput: stretch(0, LENGTH_MS),
    goodputBefore: before,
    goodputHalved: stretch(HALVED.from, HALVED.to),
    goodputAfter: stretch(HALVED.to, HALVED.to + 5 * MINUTE),
    recoverySeconds: recovery(seconds, before),
    worstSecond: Math.max(...arrivals),
    requests: attempts,
    refused,
    timeouts,
    wasted,
    givenUp: calls - succeeded,
    failures,
    p50Ms: latencyMs.p50,
    p99Ms: latencyMs.p99,
  };
}

/** Seconds from the capacity's return to the first 60 of them with 95 % of what there was before; `null`: none came, or there was nothing. */
function recovery(seconds, before) {
  // Who was down before has nothing to come back to.
  if (before < 0.1 * CAPACITY) return null;
  const back = HALVED.to / 1_000;
  for (let from = back; from + STEADY_S <= LENGTH_MS / 1_000; from++) {
    if (mean(seconds, from, from + STEADY_S) >= 0.95 * before) return from - back;
  }
  return null;
}

const STEADY_S = 60;

function mean(seconds, from, to) {
  let sum = 0;
  for (let second = from; second < to; second++)
    sum += (seconds[second]?.succeeded ?? 0) - (seconds[second]?.late ?? 0);
  return sum / (to - from);
}
