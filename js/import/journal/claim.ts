/** That one job runs in one tab only. */

import type { Claim, ClaimOptions } from "../journal.ts";
import { type Beat, ClaimLostError, type JournalStore, type Surroundings } from "./store.ts";

/** A claim as the journal sees it. */
export interface HeldClaim extends Claim {
  /** What writes are checked against. A lock needs none: it ends with the page, never before. */
  readonly token?: string;
}

/**
 * A claim by a Web Lock: the browser gives it back when the page ends, however it ends. Frozen pages keep theirs.
 *
 * @throws the signal's reason when it aborts during the wait; whatever the browser throws where locks are forbidden.
 */
export async function claimByLock(
  locks: LockManager,
  job: string,
  name: string,
  { wait = false, signal }: ClaimOptions,
): Promise<HeldClaim | null> {
  const lost = new AbortController();
  const [released, release] = pending<void>();
  const [granted, grant] = pending<boolean>();
  const options: LockOptions = wait ? (signal ? { signal } : {}) : { ifAvailable: true };
  const ended = locks.request(name, options, (lock) => {
    grant(lock !== null);
    return lock ? released : undefined;
  });
  // Of a lock that was granted, the end tells: nobody but somebody who steals it ends it before us.
  ended.catch(() => lost.abort(new ClaimLostError(job)));
  if (!(await Promise.race([granted, ended.then(() => false)]))) return null;
  return {
    lost: lost.signal,
    release: async () => {
      release();
      await ended.catch(() => {});
    },
  };
}

/** How a claim by beats reads and changes who holds its job. */
export type Swap = (
  change: (held: Beat | undefined) => Beat | null | undefined,
) => ReturnType<JournalStore["swap"]>;

/**
 * A claim by beats, where there are no locks (pages on plain http, and Node): a record that is written again every few
 * seconds. One whose next beat is overdue is taken over.
 *
 * Who was only frozen, or had his timers held back, learns from `lost` that he has been replaced, and his writes are
 * refused before: they check the token in their own transaction.
 *
 * @throws the signal's reason when it aborts during the wait; whatever the store throws.
 */
export async function claimByBeat(
  job: string,
  swap: Swap,
  surroundings: Surroundings,
  token: string,
  { wait = false, signal }: ClaimOptions,
): Promise<HeldClaim | null> {
  const beat = (): Beat => beatAt(token, surroundings.wall());
  for (let overdue: Beat | undefined; ; ) {
    const suspect = overdue;
    const held = await swap((held) =>
      !held || held.until === 0 || isSame(held, suspect) ? beat() : undefined,
    );
    if (held?.token === token) return new BeatClaim(job, token, swap, surroundings, beat);
    overdue = held && isOverdue(held, surroundings.wall()) ? held : undefined;
    if (!overdue && !wait) return null;
    await surroundings.sleep(overdue ? DOUBT_MS : LOOK_MS, signal);
    signal?.throwIfAborted();
  }
}

class BeatClaim implements HeldClaim {
  readonly token: string;
  readonly #job: string;
  readonly #swap: Swap;
  readonly #surroundings: Surroundings;
  readonly #beat: () => Beat;
  readonly #lost = new AbortController();
  #released = false;
  /** Ends the sleep before the next beat. */
  #awake = new AbortController();
  readonly #seen = (): void => this.#awake.abort();
  readonly #gone = (event: Event): void => {
    // A page that may come back from the browser's cache keeps its claim, until it is overdue.
    if (!(event as PageTransitionEvent).persisted) void this.release();
  };

  constructor(job: string, token: string, swap: Swap, surroundings: Surroundings, beat: () => Beat) {
    this.#job = job;
    this.token = token;
    this.#swap = swap;
    this.#surroundings = surroundings;
    this.#beat = beat;
    globalThis.document?.addEventListener("visibilitychange", this.#seen);
    globalThis.addEventListener?.("pagehide", this.#gone);
    void this.#keep();
  }

  get lost(): AbortSignal {
    return this.#lost.signal;
  }

  async release(): Promise<void> {
    if (this.#released) return;
    this.#end();
    await this.#swap((held) => (held?.token === this.token ? null : undefined));
  }

  async #keep(): Promise<void> {
    for (;;) {
      this.#awake = new AbortController();
      if (this.#released) return;
      await this.#surroundings.sleep(BEAT_MS, this.#awake.signal);
      if (this.#released) return;
      const held = await this.#swap((held) => (held?.token === this.token ? this.#beat() : undefined));
      if (this.#released || held?.token === this.token) continue;
      this.#end();
      this.#lost.abort(new ClaimLostError(this.#job));
    }
  }

  #end(): void {
    this.#released = true;
    this.#awake.abort();
    globalThis.document?.removeEventListener("visibilitychange", this.#seen);
    globalThis.removeEventListener?.("pagehide", this.#gone);
  }
}

/** Often enough to be missed soon, seldom enough not to be noticed: a transaction takes about a millisecond. */
const BEAT_MS = 5_000;

/** Main threads hang this long under a dialog or a garbage collection, not longer. */
const PATIENCE_MS = 30_000;

/** In a tab that has been hidden for five minutes, browsers let timers fire once a minute. */
const HIDDEN_PATIENCE_MS = 150_000;

/** After a sleep of the machine everybody's beats are overdue: time for the one who lives to write his. */
const DOUBT_MS = 2_000;

/** How often somebody who waits looks. */
const LOOK_MS = 5_000;

function beatAt(token: string, at: number): Beat {
  const hidden = globalThis.document?.visibilityState === "hidden";
  return { token, at, until: at + (hidden ? HIDDEN_PATIENCE_MS : PATIENCE_MS) };
}

/** Also when it comes from a future that the clock has left. */
function isOverdue({ until }: Beat, now: number): boolean {
  return until < now || until > now + 2 * HIDDEN_PATIENCE_MS;
}

function isSame(held: Beat, seen: Beat | undefined): boolean {
  return held.token === seen?.token && held.at === seen.at;
}

function pending<T>(): [Promise<T>, (value: T) => void] {
  let settle: (value: T) => void = () => {};
  const promise = new Promise<T>((resolve) => {
    settle = resolve;
  });
  return [promise, settle];
}
