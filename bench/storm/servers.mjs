// Servers whose capacity changes. `arrive(now, answer)` answers with a status, and with headers where it says more.
import { seeded } from "./clock.mjs";

/** What all of them can do in a second with their whole capacity. */
export const CAPACITY = 25;

/** A gateway that counts: refusing costs nothing (`refusalCost` 0), or the application itself refuses, which costs it something. */
class Bucket {
  constructor({ refusalCost = 0, hint = false }) {
    Object.assign(this, { refusalCost, hint, level: CAPACITY, since: 0, share: 1 });
  }

  setShare(share, now) {
    this.refill(now);
    this.share = share;
  }

  arrive(now, answer) {
    this.refill(now);
    if (this.level >= 1) {
      this.level -= 1;
      return answer(200);
    }
    this.level = Math.max(0, this.level - this.refusalCost);
    const waitMs = ((1 - this.level) / (CAPACITY * this.share)) * 1_000;
    answer(429, this.hint ? { "retry-after": String(Math.ceil(waitMs / 1_000)) } : {});
  }

  refill(now) {
    const passed = (now - this.since) / 1_000;
    this.level = Math.min(CAPACITY, this.level + passed * CAPACITY * this.share);
    this.since = now;
  }
}

/** So many in each ten seconds. */
class Window {
  constructor() {
    Object.assign(this, { window: -1, used: 0, share: 1 });
  }

  setShare(share) {
    this.share = share;
  }

  arrive(now, answer) {
    const window = Math.floor(now / WINDOW_MS);
    if (window !== this.window) Object.assign(this, { window, used: 0 });
    if (this.used >= (CAPACITY * this.share * WINDOW_MS) / 1_000) return answer(429);
    this.used++;
    answer(200);
  }
}

const WINDOW_MS = 10_000;

/**
 * Ten workers and a line in front of them, first come first served. Nobody tells them that a client has given up: what was
 * asked for is done, and thrown away. So the line can be full of work that is worth nothing (a metastable failure: Bronson
 * et al., HotOS 2021). Beyond a thousand in line it refuses.
 */
class Queue {
  constructor({ seed }) {
    Object.assign(this, { random: seeded(seed * 31 + 13), line: [], head: 0, working: 0, share: 1 });
  }

  setShare(share) {
    this.share = share;
  }

  arrive(_now, answer) {
    if (this.line.length - this.head >= LONGEST_LINE) return answer(429);
    this.line.push(answer);
    this.work();
  }

  work() {
    while (this.working < WORKERS && this.head < this.line.length) {
      const answer = this.line[this.head++];
      this.working++;
      const meanMs = (WORKERS / (CAPACITY * this.share)) * 1_000;
      setTimeout(
        () => {
          this.working--;
          answer(200);
          this.work();
        },
        -Math.log(1 - this.random()) * meanMs,
      );
    }
    if (this.head > LONGEST_LINE) [this.line, this.head] = [this.line.slice(this.head), 0];
  }
}

const WORKERS = 10;
const LONGEST_LINE = 1_000;

export const SERVERS = {
  gateway: { title: "gateway, refuses for nothing", make: () => new Bucket({}) },
  hint: { title: "gateway, with Retry-After", make: () => new Bucket({ hint: true }) },
  application: { title: "application, a refusal costs 0.2", make: () => new Bucket({ refusalCost: 0.2 }) },
  window: { title: "fixed windows of 10 s", make: () => new Window() },
  queue: { title: "ten workers and a line", make: (seed) => new Queue({ seed }) },
};
