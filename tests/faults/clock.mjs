// A clock for calls over a real network: it stands still while anything is on the wire, and else moves on to whoever
// waits. Nobody sleeps in real time, and what the clock shows afterwards is what has been waited.

import { AsyncLocalStorage } from "node:async_hooks";

/** `ManualHost` is that of tidegate/testing; `server`, the one that is talked to, knows what it will not answer. */
export function jumpingClock(ManualHost, server) {
  const clock = new ManualHost({ now: Math.floor(Date.now() / 1_000) * 1_000 });
  const due = new Set();
  const sleep = clock.sleep;
  let onWire = 0;
  clock.sleep = (ms, signal) => {
    due.add(clock.now() + ms);
    return sleep(ms, signal);
  };
  const begun = clock.now();
  const calendar = [];

  return Object.assign(clock, {
    passed: () => clock.now() - begun,

    /** The platform's, noted. */
    fetch: async (input, init) => {
      onWire += 1;
      try {
        return await platformFetch(input, init);
      } finally {
        onWire -= 1;
      }
    },

    /** For clients that know no other `fetch` than the global one: in what `begin` does, that is this clock's. */
    asGlobal: (begin) => clocks.run(clock, begin),

    /** Does something when so much time has passed. */
    at(ms, act) {
      calendar.push({ at: begun + ms, act });
      due.add(begun + ms);
    },

    /** Waits until the promise is settled. @throws Error when nothing happens any more and it is not */
    async play(thenable, patienceMs = 24 * 3_600_000) {
      // The builders of supabase-js send a request each time that somebody asks for `then`.
      const promise = Promise.resolve(thenable);
      let isPending = true;
      const over = () => {
        isPending = false;
      };
      promise.then(over, over);
      for (let quiet = 0, idle = 0; isPending; quiet++) {
        await tick();
        if (server.busy() > 0 || onWire > server.stalled()) {
          quiet = 0;
          idle = 0;
        }
        if (quiet < QUIET_TICKS) continue;
        if (clock.sleeping === 0 && calendar.length === 0) {
          if (++idle > IDLE_TICKS) throw new Stuck("Nobody waits for anything, and the call is not over.");
          continue;
        }
        quiet = 0;
        idle = 0;
        for (const time of due) if (time <= clock.now()) due.delete(time);
        await clock.advance(Math.max(0, Math.min(...due) - clock.now()));
        await actDue();
        if (clock.passed() > patienceMs)
          throw new Stuck(`It was not over after ${patienceMs / 60_000} minutes.`);
      }
      return promise;
    },
  });

  async function actDue() {
    for (const entry of [...calendar]) {
      if (entry.at > clock.now()) continue;
      calendar.splice(calendar.indexOf(entry), 1);
      await entry.act();
    }
  }
}

const platformFetch = globalThis.fetch;
const clocks = new AsyncLocalStorage();
globalThis.fetch = (input, init) => (clocks.getStore()?.fetch ?? platformFetch)(input, init);

/** A call that does not end. */
export class Stuck extends Error {
  name = "Stuck";
}

function tick() {
  return new Promise((resolve) => setTimeout(resolve, 1));
}

/** By then whatever was sent on loopback has been read: both ends are in this process. */
const QUIET_TICKS = 8;

/** Some seconds: what is neither on the wire nor a wait of the clock is computing. */
const IDLE_TICKS = 3_000;
