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
}

export function answerOf({ handle }: ServiceCore): Answer {
  return {
    reason: glue.reason(handle),
    name: glue.name(handle),
    until: glue.until(handle),
    after: glue.after(handle),
  };
}

/** How a wait ended: with a permit, with a rejection of the core, past its deadline, or because the core is gone. */
export type Ended = { core: ServiceCore; permit: number } | { rejected: Answer } | "deadline" | "core lost";

/** What the waiters want of the core, guarded by the service against traps. */
export interface CoreSide {
  /** The core should be polled. */
  ring(): void;
  /** The waiter of this name stops waiting. */
  leave(name: number, reason: number): void;
}

/**
 * The callers of one service that wait until the core calls their name.
 *
 * One bell for all of them: it rings when the core may have something to say. When the core is lost, each waits on by
 * itself until the time it was told, and then ends with "core lost".
 */
export class Waiters {
  readonly #platform: Platform;
  readonly #waits: Waits;
  readonly #core: CoreSide;
  /** Those whom the present core knows, by name. */
  readonly #named = new Map<number, Waiter>();
  /** Those whose core is gone. */
  readonly #orphans = new Set<Waiter>();
  #bell: Wait | null = null;

  constructor(platform: Platform, waits: Waits, core: CoreSide) {
    this.#platform = platform;
    this.#waits = waits;
    this.#core = core;
  }

  /** Waits for the core to call the name. Rejects with the signal's reason when the call's signal aborts. */
  wait(call: Call, answer: Answer, until: number): Promise<Ended> {
    return new Promise((resolve, reject) => {
      const waiter = new Waiter(until, answer.reason === Reason.cooldown, resolve, reject);
      const leave = (reason: number): void => {
        if (this.#forget(answer.name, waiter)) {
          this.#core.leave(answer.name, reason);
          this.#core.ring();
        }
      };
      this.#named.set(answer.name, waiter);
      waiter.listen(call, this.#waits, leave);
    });
  }

  /** Asks the core who may go, tells them, and sets the bell for the next time it may have something to say. */
  poll(core: ServiceCore): void {
    const now = this.#platform.now();
    for (;;) {
      const permit = glue.poll(core.handle, now);
      const answer = answerOf(core);
      if (permit === 0 && answer.reason === Reason.none) break;
      const waiter = this.#named.get(answer.name);
      this.#named.delete(answer.name);
      waiter?.end(permit === 0 ? { rejected: answer } : { core, permit: Math.abs(permit) });
    }
    this.#setBell(glue.poll_timeout(core.handle, now));
  }

  /** The core is gone: everybody waits on until the time they were told. */
  coreLost(): void {
    this.#setBell(Number.NaN);
    for (const waiter of this.#named.values()) {
      this.#orphans.add(waiter);
      waiter.alone(this.#waits, () => this.#orphans.delete(waiter));
    }
    this.#named.clear();
  }

  /** Until when a cooldown holds those whose core is gone: for the next core. NaN when it holds nobody. */
  heldUntil(): number {
    const held = [...this.#orphans].filter((waiter) => waiter.held);
    return held.length > 0 ? Math.max(...held.map((waiter) => waiter.until)) : Number.NaN;
  }

  /** Ends every wait with this error. */
  endAll(error: unknown): void {
    this.#setBell(Number.NaN);
    for (const waiter of [...this.#named.values(), ...this.#orphans]) waiter.fail(error);
    this.#named.clear();
    this.#orphans.clear();
  }

  /** True when the present core knew it. */
  #forget(name: number, waiter: Waiter): boolean {
    this.#orphans.delete(waiter);
    return this.#named.get(name) === waiter && this.#named.delete(name);
  }

  #setBell(at: number): void {
    if (this.#bell?.until === at) return;
    this.#waits.remove(this.#bell);
    this.#bell = Number.isNaN(at) ? null : this.#waits.add(at, () => this.#rung());
  }

  #rung(): void {
    this.#bell = null;
    this.#core.ring();
  }
}

/** One that waits. It ends once; what comes later changes nothing. */
class Waiter {
  readonly until: number;
  /** By a cooldown, not by its own backoff. */
  readonly held: boolean;
  readonly #resolve: (ended: Ended) => void;
  readonly #reject: (reason: unknown) => void;
  readonly #release: (() => void)[] = [];

  constructor(
    until: number,
    held: boolean,
    resolve: (ended: Ended) => void,
    reject: (reason: unknown) => void,
  ) {
    this.until = until;
    this.held = held;
    this.#resolve = resolve;
    this.#reject = reject;
  }

  /** Ends with the call's deadline, and when its signal aborts; `leave` is told why. */
  listen(call: Call, waits: Waits, leave: (reason: number) => void): void {
    const { signal } = call.context;
    if (!Number.isNaN(call.deadline)) {
      const deadline = waits.add(call.deadline, () => {
        this.end("deadline");
        leave(Reason.deadline);
      });
      this.#release.push(() => waits.remove(deadline));
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
