/** What a limiter keeps from one visit of a page to the next: how it is written, and where. */

import { RateLimitConfigError } from "./errors.ts";
import type { QuotaState } from "./gate.ts";
import { type Platform, type Wait, Waits } from "./host.ts";
import { anObject, aString, checked, listOf, needed, QUOTA_STATE, type Rule, type Rules } from "./rules.ts";
import type { Logger } from "./types.ts";

/** The counts of a RateLimiter as plain data, for JSON. Times are the wall clock's, in milliseconds since 1970. */
export interface LimiterState {
  version: 1;
  /** Those that are not idle. */
  keys: readonly KeyState[];
}

export interface KeyState extends Readonly<QuotaState> {
  readonly key: string;
}

/** What is needed of `localStorage`. */
export interface StateStorage {
  getItem(key: string): string | null;
  setItem(key: string, value: string): void;
}

export interface StoreOptions {
  /** The name under which the state is kept. One limiter per name: of several, the one that writes last wins. */
  key: string;
  /** Default: `localStorage`. Where there is none, or none that works, counts end with the page. */
  storage?: StateStorage | undefined;
}

export const aStore: Rule = {
  ...anObject,
  expected: "an object with key, and perhaps storage",
  fields: {
    key: needed({ expected: "a name", holds: (value) => typeof value === "string" && value !== "" }),
    storage: { expected: "an object with getItem and setItem", holds: isStorage },
  } satisfies Rules<StoreOptions>,
};

/**
 * A state that was handed in, or that was found somewhere: checked from end to end.
 *
 * @throws RateLimitConfigError when `snapshot()` did not make it, or that of another version did.
 */
export function stateOf(given: unknown): LimiterState {
  // Before all else: what another version wrote has perhaps other fields.
  const version = anObject.holds(given) ? (given as LimiterState).version : VERSION;
  if (version !== VERSION) {
    throw new RateLimitConfigError(
      "state.version",
      version,
      `${VERSION}: what snapshot() of this version makes`,
    );
  }
  return checked<LimiterState>("state", given, STATE, "state.") as LimiterState;
}

/**
 * Saves a state in a storage: at most once a second, and what is left when the page goes.
 *
 * A storage that fails is worth one warning; the limiter goes on in memory.
 */
export class Store {
  readonly #key: string;
  readonly #storage: StateStorage | null;
  readonly #platform: Platform;
  readonly #waits: Waits;
  readonly #log: Logger;
  readonly #state: () => LimiterState | null;
  /** While there is something to save. Only then the page's events are listened to: an idle store is held by nothing. */
  #due: Wait | null = null;
  readonly #warned = new Set<string>();
  readonly #save = (): void => this.save();

  /** `state` gives what is to be saved; `null`: nobody knows, and what was saved before stays. */
  constructor({ key, storage }: StoreOptions, host: Platform, log: Logger, state: () => LimiterState | null) {
    this.#key = key;
    this.#platform = host;
    this.#waits = new Waits(host);
    this.#log = log;
    this.#state = state;
    this.#storage = storage ?? this.#tried("is not available", pageStorage);
  }

  /** What was saved last; `null` when there is nothing of use. */
  read(): LimiterState | null {
    return this.#tried("is of no use and is not read", () => {
      const text = this.#storage?.getItem(this.#key) ?? null;
      return text === null ? null : stateOf(JSON.parse(text));
    });
  }

  /** There is something to save: within a second. */
  changed(): void {
    if (this.#due || !this.#storage) return;
    this.#due = this.#waits.add(this.#platform.now() + SAVE_EVERY_MS, this.#save);
    for (const event of LAST_EVENTS) globalThis.addEventListener?.(event, this.#save);
  }

  /** Saves at once, if there is anything to save. */
  save(): void {
    if (!this.#due) return;
    this.#waits.remove(this.#due);
    this.#due = null;
    for (const event of LAST_EVENTS) globalThis.removeEventListener?.(event, this.#save);
    this.#tried("cannot be written: counts will end with the page", () => {
      const state = this.#state();
      if (state) this.#storage?.setItem(this.#key, JSON.stringify(state));
      return null;
    });
  }

  #tried<T>(failure: string, act: () => T | null): T | null {
    try {
      return act();
    } catch (error) {
      if (!this.#warned.has(failure)) this.#log.warn(`The store "${this.#key}" ${failure}`, error);
      this.#warned.add(failure);
      return null;
    }
  }
}

const VERSION = 1;

const SAVE_EVERY_MS = 1_000;

/** The last that a page hears. Phones end a page that is hidden, often without another event. */
const LAST_EVENTS = ["pagehide", "visibilitychange"] as const;

/** Reading the property throws where the user forbids storage; on a server there is none. */
function pageStorage(): StateStorage | null {
  return (globalThis as { localStorage?: StateStorage }).localStorage ?? null;
}

const STATE: Rules<LimiterState> = {
  version: needed({ expected: `${VERSION}`, holds: (value) => value === VERSION }),
  keys: needed(
    listOf({
      ...anObject,
      expected: "an object with key and taken",
      fields: { key: needed(aString), ...QUOTA_STATE } satisfies Rules<KeyState>,
    }),
  ),
};

function isStorage(value: unknown): boolean {
  const { getItem, setItem } = (value ?? {}) as Partial<StateStorage>;
  return typeof getItem === "function" && typeof setItem === "function";
}
