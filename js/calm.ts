import * as glue from "../pkg/core.js";
import type { ServiceCore } from "./core.ts";

/**
 * While nothing is wrong with a service, its calls need no leave: they share the permit of the last one that the core let
 * go, and are counted here until the core is asked something. Crossing into it twice for each call took longer than all else.
 *
 * What is counted is one run: calls of one group that began in the same millisecond, and attempts that took equally long.
 * Whatever differs begins another, and the one before is told to the core.
 */
export class Calm {
  /** What attempts may begin with; 0: the core has to be asked. */
  permit = 0;
  #core: ServiceCore | null = null;
  #group = 0;
  #began = 0;
  #calls = 0;
  #durationMs = 0;
  #successes = 0;

  /** The core has said so: `Flag.calm`. */
  begin(core: ServiceCore, permit: number): void {
    this.#core = core;
    this.permit = permit;
  }

  /** A call begins, with `permit`. */
  called(now: number, group: number): void {
    if (now !== this.#began || group !== this.#group) this.#anew(now, group, this.#durationMs);
    this.#calls++;
  }

  /** Whether an attempt with this permit, that succeeded, is counted here: it is still calm, or again. */
  succeeded(permit: number, durationMs: number, group: number): boolean {
    if (permit !== this.permit) return false;
    if (durationMs !== this.#durationMs || group !== this.#group) this.#anew(this.#began, group, durationMs);
    this.#successes++;
    return true;
  }

  /** From here on the core is asked. Throws what it throws. */
  end(): void {
    if (this.permit === 0) return;
    this.permit = 0;
    this.#tell();
  }

  /** The core is lost, and with it what was not told. */
  forget(): void {
    this.permit = 0;
    this.#calls = 0;
    this.#successes = 0;
  }

  #anew(began: number, group: number, durationMs: number): void {
    this.#tell();
    this.#began = began;
    this.#group = group;
    this.#durationMs = durationMs;
  }

  #tell(): void {
    const calls = this.#calls;
    const successes = this.#successes;
    if (this.#core === null || calls + successes === 0) return;
    this.#calls = 0;
    this.#successes = 0;
    glue.calm(this.#core.handle, this.#began, this.#group, calls, this.#durationMs, successes);
  }
}
