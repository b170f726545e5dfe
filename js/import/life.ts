/** What happens to the page, and to the service that others use, while an import runs. */

import {
  coreState,
  isOnline,
  type Platform,
  plainAlarm,
  platform,
  type RateLimitService,
  Waits,
} from "../api.ts";

export interface LifeEvents {
  /** The connection is gone. Also told at once where it was gone before. */
  offline(): void;
  online(): void;
  /** The page is looked at again, is back from the browser's cache, or is no longer frozen: timers may be long overdue. */
  woke(): void;
  /** It may be the last that the page hears: it is hidden, frozen, or left. It may come several times, and come back. */
  leaving(): void;
}

export interface LifeOptions {
  /** Keeps the screen on from `start` to `stop`. */
  keepAwake: boolean;
  /** Asks before the page is left while rows are in flight. */
  guardUnload: boolean;
}

/** The page around an import. Where there is no window, there is less to hear: in Node nothing. */
export class Life {
  readonly #events: LifeEvents;
  readonly #options: LifeOptions;
  #ends: (() => void)[] = [];
  #unguard: (() => void) | null = null;
  /** Resolves with nothing where the browser refuses, as it does when the battery is low. */
  #lock: Promise<WakeLockSentinel | undefined> | null = null;

  constructor(events: LifeEvents, options: LifeOptions) {
    this.#events = events;
    this.#options = options;
  }

  start(): void {
    if (this.#ends.length > 0) return;
    const events = this.#events;
    const page = globalThis.document as Document | undefined;
    const woke = (): void => events.woke();
    const leaving = (): void => events.leaving();
    const seen = (): void => {
      if (page?.hidden) leaving();
      else {
        this.#stayAwake();
        woke();
      }
    };
    this.#ends = [
      listen(globalThis, "offline", () => events.offline()),
      listen(globalThis, "online", () => events.online()),
      listen(globalThis, "pagehide", leaving),
      // At the first showing of a page too, which is no coming back.
      listen(globalThis, "pageshow", (event) => {
        if ((event as PageTransitionEvent).persisted) woke();
      }),
      listen(page, "freeze", leaving),
      listen(page, "resume", woke),
      listen(page, "visibilitychange", seen),
    ];
    this.#stayAwake();
    if (!isOnline()) events.offline();
  }

  stop(): void {
    for (const end of this.#ends) end();
    this.#ends = [];
    this.inFlight(false);
    this.#letSleep();
  }

  /** Whether rows are on their way. The guard stands only then: Firefox keeps no page that has one in its cache. */
  inFlight(some: boolean): void {
    if (!some) {
      this.#unguard?.();
      this.#unguard = null;
    } else if (this.#options.guardUnload) {
      this.#unguard ??= listen(globalThis, "beforeunload", askBeforeLeaving);
    }
  }

  /** Browsers take the lock back each time that the page is hidden. */
  #stayAwake(): void {
    this.#letSleep();
    const locks = globalThis.navigator?.wakeLock as WakeLock | undefined;
    if (this.#options.keepAwake) this.#lock = locks?.request("screen").catch(() => undefined) ?? null;
  }

  #letSleep(): void {
    this.#lock?.then((lock) => lock?.release()).catch(() => {});
    this.#lock = null;
  }
}

export interface CircuitEvents {
  /** Nothing may be sent until then, in the time of the host; `null`: until somebody resets the circuit. */
  hold(until: number | null): void;
  release(): void;
}

/**
 * Tells of a circuit that others opened: at once when it is open or isolated now. One that is open is over when its time has
 * passed: half-open, it may be used gently. Listens until the function that is returned is
 * called.
 */
export function watchCircuit(
  service: RateLimitService,
  on: CircuitEvents,
  host: Platform = platform(undefined, plainAlarm),
): () => void {
  const waits = new Waits(host);
  let wait: ReturnType<Waits["add"]> | null = null;
  /** What was told last; `undefined`: that nothing holds. */
  let held: number | null | undefined;

  const look = (): void => {
    waits.remove(wait);
    wait = null;
    const { isOpen, retryAfterMs } = service.getCircuitState();
    const over = retryAfterMs === Number.POSITIVE_INFINITY ? null : host.now() + retryAfterMs;
    const until = isOpen ? over : undefined;
    if (typeof until === "number") wait = waits.add(until, look);
    // Without the core nobody tells that a circuit was isolated, or reset.
    else if (coreState() !== "ready") wait = waits.add(host.now() + LOOK_MS, look);
    if (until === held) return;
    held = until;
    if (until === undefined) on.release();
    else on.hold(until);
  };

  const ends = [service.on("circuit", look), service.on("core", look)];
  look();
  return () => {
    for (const end of ends) end();
    waits.remove(wait);
  };
}

const LOOK_MS = 1_000;

/** Older browsers ask only where `returnValue` is set. */
function askBeforeLeaving(event: Event): void {
  event.preventDefault();
  (event as BeforeUnloadEvent).returnValue = true;
}

/** Calls `listener` until the function that is returned is called. No target, or none that tells of events: never. */
function listen(
  target: Partial<EventTarget> | undefined,
  type: string,
  listener: (event: Event) => void,
): () => void {
  target?.addEventListener?.(type, listener);
  return () => target?.removeEventListener?.(type, listener);
}
