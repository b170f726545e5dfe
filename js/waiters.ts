import * as glue from "../pkg/core.js";
import { abortReason, type Call, onAbort } from "./call.ts";
import { Reason } from "./codes.ts";
import type { ServiceCore } from "./core.ts";
import type { Platform, Wait, Waits } from "./host.ts";

/** What the core answered to a call that may not go: read before anything else is asked. */
export interface Answer {
  reason: number;
  name: number;
  /** NaN: that depends on others. */
  until: number;
  /** Milliseconds; NaN: nobody knows. */
  after: number;
  /** Of the window that is full: 0: none is. */
  limit: number;
  /** Its length. */
  windowMs: number;
}

export function answerOf({ handle }: ServiceCore): Answer {
  return {
    reason: glue.reason(handle),
    name: glue.name(handle),
    until: glue.until(handle),
    after: glue.after(handle),
    limit: glue.limit(handle),
    windowMs: glue.window(handle),
  };
}

/** An answer that the shell gives by itself. */
export function answerFor(reason: number, after = Number.NaN): Answer {
  return { reason, name: 0, until: Number.NaN, after, limit: 0, windowMs: 0 };
}

/** Leave for one attempt. */
export interface Leave {
  /** Who gave it. */
  core: ServiceCore;
  permit: number;
  /** When. */
  at: number;
}

/** How a wait ended: with leave, with a rejection of the core, past its deadline, or because the core is gone. */
export type Ended = Leave | { rejected: Answer } | "deadline" | "core lost";

/** What the waiters want of the core, guarded against traps. */
export interface CoreSide {
  /** The core should be polled. */
  ring(): void;
  /** The waiter of this name stops waiting. */
  leave(name: number, reason: number): void;
}

/**
 * The callers of one service that wait until the core calls their name.
 *
 * One bell for all of them: it rings when the core may have something to say. When the core is lost, whoever waited for a
 * time waits on alone until then and ends with "core lost"; whoever waited for a limit ends so at once.
 */
export class Waiters {
  readonly #platform: Platform;
  readonly #waits: Waits;
  readonly #core: CoreSide;
  /** Those whom the present core knows, by name. */
  readonly #named = new Map<number, Waiter>();
  /** Those who wait on alone. */
  readonly #orphans = new Set<Waiter>();
  /** Those who wait for another core. */
  readonly #hopeful = new Set<Waiter>();
  #bell: Wait | null = null;

  constructor(platform: Platform, waits: Waits, core: CoreSide) {
    this.#platform = platform;
    this.#waits = waits;
    this.#core = core;
  }

  /** Waits for the core to call the name. Rejects with the signal's reason when the call's signal aborts. */
  wait(call: Call, { name, reason, until }: Answer): Promise<Ended> {
    return new Promise((resolve, reject) => {
      const waiter = new Waiter(call, reason, until, resolve, reject);
      this.#named.set(name, waiter);
      waiter.listen(this.#waits, (why) => {
        this.#orphans.delete(waiter);
        if (this.#named.get(name) !== waiter) return;
        this.#named.delete(name);
        this.#core.leave(name, why);
        this.#core.ring();
      });
    });
  }

  /** Waits until `coreDecided`, and then ends with "core lost". Rejects as `wait` does. */
  waitForCore(call: Call): Promise<Ended> {
    return new Promise((resolve, reject) => {
      const waiter = new Waiter(call, Reason.none, Number.NaN, resolve, reject);
      this.#hopeful.add(waiter);
      waiter.listen(this.#waits, () => this.#hopeful.delete(waiter));
    });
  }

  /** Asks the core who may go, tells them, and sets the bell for the next time it may have something to say. */
  poll(core: ServiceCore): void {
    const { handle } = core;
    const now = this.#platform.now();
    for (;;) {
      const permit = glue.poll(handle, now);
      if (permit === 0 && glue.reason(handle) === Reason.none) break;
      const name = glue.name(handle);
      const waiter = this.#named.get(name);
      this.#named.delete(name);
      waiter?.end(permit === 0 ? { rejected: answerOf(core) } : { core, permit: Math.abs(permit), at: now });
    }
    this.#setBell(glue.poll_timeout(handle, now));
  }

  /** The core is gone. */
  coreLost(): void {
    this.#setBell(Number.NaN);
    for (const waiter of this.#named.values()) {
      if (isLimit(waiter.reason)) {
        waiter.end("core lost");
        continue;
      }
      this.#orphans.add(waiter);
      waiter.alone(this.#waits, () => this.#orphans.delete(waiter));
    }
    this.#named.clear();
  }

  /** There is another core, or it is certain that there will be none: they ask, in the order in which they would go. */
  coreDecided(): void {
    const hopeful = [...this.#hopeful].sort((a, b) => rank(a.call) - rank(b.call));
    this.#hopeful.clear();
    for (const waiter of hopeful) waiter.end("core lost");
  }

  /** Until when a cooldown holds those whose core is gone: for the next core. NaN when it holds nobody. */
  heldUntil(): number {
    let until = Number.NaN;
    for (const waiter of this.#orphans) {
      if (waiter.reason === Reason.cooldown && !(waiter.until <= until)) until = waiter.until;
    }
    return until;
  }

  /** Ends every wait with this error. */
  endAll(error: unknown): void {
    this.#setBell(Number.NaN);
    for (const waiter of [...this.#named.values(), ...this.#orphans, ...this.#hopeful]) waiter.fail(error);
    this.#named.clear();
    this.#orphans.clear();
    this.#hopeful.clear();
  }

  /** The new bell before the old one goes: as long as somebody waits, an alarm stays set. */
  #setBell(at: number): void {
    const before = this.#bell;
    if (before?.until === at) return;
    this.#bell = Number.isNaN(at) ? null : this.#waits.add(at, () => this.#rung());
    this.#waits.remove(before);
  }

  #rung(): void {
    this.#bell = null;
    this.#core.ring();
  }
}

/** Whether the wait is one for room, or for those who came first. */
function isLimit(reason: number): boolean {
  return reason === Reason.quota || reason === Reason.slots || reason === Reason.queue;
}

/** `rank` in src/queue/mod.rs: ten seconds of waiting are worth one step of priority. */
function rank({ arrival, priority }: Call): number {
  return arrival - priority * 10_000;
}

/** One that waits. It ends once; what comes later changes nothing. */
class Waiter {
  readonly call: Call;
  readonly reason: number;
  readonly until: number;
  readonly #resolve: (ended: Ended) => void;
  readonly #reject: (reason: unknown) => void;
  readonly #release: (() => void)[] = [];

  constructor(
    call: Call,
    reason: number,
    until: number,
    resolve: (ended: Ended) => void,
    reject: (reason: unknown) => void,
  ) {
    this.call = call;
    this.reason = reason;
    this.until = until;
    this.#resolve = resolve;
    this.#reject = reject;
  }

  /** Ends with the call's deadline, and when its signal aborts; `leave` is told why. */
  listen(waits: Waits, leave: (reason: number) => void): void {
    const { deadline, context } = this.call;
    const { signal } = context;
    if (!Number.isNaN(deadline)) {
      const alarm = waits.add(deadline, () => {
        this.end("deadline");
        leave(Reason.deadline);
      });
      this.#release.push(() => waits.remove(alarm));
    }
    if (signal) {
      const aborted = (): void => {
        this.fail(abortReason(signal));
        leave(Reason.none);
      };
      this.#release.push(onAbort(signal, aborted));
    }
  }

  /** Waits on without the core. */
  alone(waits: Waits, done: () => void): void {
    const alarm = waits.add(this.until, () => {
      done();
      this.end("core lost");
    });
    this.#release.push(() => waits.remove(alarm));
  }

  end(ended: Ended): void {
    this.#settled();
    this.#resolve(ended);
  }

  fail(reason: unknown): void {
    this.#settled();
    this.#reject(reason);
  }

  #settled(): void {
    for (const release of this.#release.splice(0)) release();
  }
}
