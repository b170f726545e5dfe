/** What imports learned about servers, for the next import: of this visit, and of the next ones. */

import type { RateLimitService } from "../api.ts";
import type { Known } from "./desk.ts";

/**
 * What was learned last through this service, or else about this origin; in the last 24 hours.
 *
 * @param origin Of the server; empty: nobody knows, and then only the service counts.
 * @param wall The time of day, in milliseconds since 1970.
 */
export function recalled(
  service: RateLimitService | undefined,
  origin: string,
  wall = Date.now(),
): Known | null {
  const own = service && byService.get(service);
  const learned = own && isFresh(own, wall) ? own : byOrigin(wall).get(origin);
  if (!learned) return null;
  const { rate, cap, bans, cost } = learned;
  return { rate, cap, bans, cost };
}

/** Notes it for the service and the origin. A storage that cannot be written to costs the next visit a slow start. */
export function remember(
  service: RateLimitService | undefined,
  origin: string,
  { rate, cap, bans, cost }: Known,
  wall = Date.now(),
): void {
  const learned = { rate, cap, bans, cost, at: wall };
  if (!isLearned(learned)) return;
  if (service) byService.set(service, learned);
  if (origin === "") return;
  const all = byOrigin(wall).set(origin, learned);
  const latest = [...all].sort(([, a], [, b]) => b.at - a.at).slice(0, MOST_ORIGINS);
  inMemory = new Map(latest);
  try {
    globalThis.localStorage?.setItem(KEY, JSON.stringify(Object.fromEntries(latest)));
  } catch {
    // It is full, or forbidden.
  }
}

interface Learned extends Known {
  /** By the wall clock. */
  at: number;
}

const byService = new WeakMap<RateLimitService, Learned>();

/** Where there is no storage. */
let inMemory = new Map<string, Learned>();

/** The storage has the last word: other tabs write there too. So does anybody, and each entry is checked. */
function byOrigin(wall: number): Map<string, Learned> {
  const fresh = (all: Iterable<[string, unknown]>): Map<string, Learned> =>
    new Map(
      [...all].filter((entry): entry is [string, Learned] => isLearned(entry[1]) && isFresh(entry[1], wall)),
    );
  try {
    const text = globalThis.localStorage?.getItem(KEY);
    if (text) return fresh(Object.entries(JSON.parse(text) as object));
  } catch {
    // It is forbidden, or what stands there is no JSON.
  }
  return fresh(inMemory);
}

function isLearned(value: unknown): value is Learned {
  const { rate, cap, bans, cost, at } = (value ?? {}) as Record<keyof Learned, unknown>;
  return (
    isWithin(rate, SLOWEST, FASTEST) &&
    (cap === null || (Number.isInteger(cap) && isWithin(cap, 1, MOST_IN_FLIGHT))) &&
    typeof bans === "boolean" &&
    isWithin(cost, 0, DEAREST_S) &&
    Number.isFinite(at)
  );
}

/** A clock that was set back makes what was learned look as if it came from the future: nobody can tell how old it is. */
function isFresh({ at }: Learned, wall: number): boolean {
  return isWithin(wall - at, 0, KEPT_MS);
}

function isWithin(value: unknown, from: number, to: number): boolean {
  return typeof value === "number" && value >= from && value <= to;
}

const KEY = "tidegate.pace";

/** Limits change seldom within a day, and an hour's probing is lost when one did. */
const KEPT_MS = 86_400_000;

/** A CRM talks to two or three. */
const MOST_ORIGINS = 20;

/** Requests a second. The pacer itself believes in nothing slower: an import would look as if it stood still. */
const SLOWEST = 0.05;
const FASTEST = 100_000;

const MOST_IN_FLIGHT = 1_000;

/** Seconds. A ban of more than a day is as good as one of a day. */
const DEAREST_S = 86_400;
