/** What may be handed in: the rules for configurations and options, and the one check of them. */

import { RateLimitConfigError } from "./errors.ts";
import type { QuotaState } from "./gate.ts";

/** What is legal for a field, in words and as a test. */
export interface Rule {
  readonly expected: string;
  readonly holds: (value: unknown) => boolean;
  /** Where the value is an object: what is legal in that. */
  readonly fields?: Readonly<Record<string, Rule>>;
  /** Where the value is a list, or an object without `fields`: what is legal for each of its items, under any name. */
  readonly each?: Rule;
  /** It may not be left out. */
  readonly needed?: boolean;
}

/** A rule for each field of T. */
export type Rules<T> = { readonly [K in keyof Required<T>]: Rule };

/**
 * The fields of `given`, in an object of our own: each read once, so that what was checked is what is used. A field that
 * is `undefined` was left out, and so was one that is only inherited.
 *
 * Checked here and not only in the core, so that a mistake is found on every device: also where there is no core.
 *
 * @param name What `given` is called when it is no object at all.
 * @param prefix What stands before the names of its fields, such as `retryBudget.`.
 * @throws RateLimitConfigError with the value as it was given: for the first field that is not legal or has no rule.
 */
export function checked<T extends object>(
  name: string,
  given: unknown,
  rules: Partial<Rules<T>>,
  prefix = "",
): Partial<T> {
  if (!isRecord(given)) throw new RateLimitConfigError(name, given, "an object");
  const fields: Record<string, unknown> = {};
  for (const key of Reflect.ownKeys(given)) {
    const field = prefix + String(key);
    const value: unknown = Reflect.get(given, key);
    const rule = ruleFor(key, rules);
    if (!rule) {
      throw new RateLimitConfigError(field, value, `no such field: one of ${Object.keys(rules).join(", ")}`);
    }
    if (value !== undefined) fields[String(key)] = legal(field, value, rule);
  }
  // Not `Object.entries`: this is asked for the options of every call.
  for (const key in rules) {
    const { needed, expected } = rules[key] as Rule;
    if (needed && !Object.hasOwn(fields, key)) {
      throw new RateLimitConfigError(prefix + key, undefined, expected);
    }
  }
  return fields as Partial<T>;
}

function ruleFor(key: PropertyKey, rules: Readonly<Record<string, Rule | undefined>>): Rule | undefined {
  return typeof key === "string" && Object.hasOwn(rules, key) ? rules[key] : undefined;
}

/** The value, if it is legal; an object or a list of which the rule knows the inside, as one of our own. */
export function legal(field: string, value: unknown, { expected, holds, fields, each }: Rule): unknown {
  if (!holds(value)) throw new RateLimitConfigError(field, value, expected);
  if (each && Array.isArray(value)) return value.map((item, i) => legal(`${field}[${i}]`, item, each));
  if (!isRecord(value)) return value;
  if (fields) return checked(field, value, fields, `${field}.`);
  return each ? named(field, value, each) : value;
}

/** Any string is a name, `__proto__` too: `fromEntries` gives the object a property of that name. */
function named(field: string, given: object, each: Rule): Record<string, unknown> {
  const entries: [string, unknown][] = [];
  for (const key of Reflect.ownKeys(given)) {
    const value: unknown = Reflect.get(given, key);
    if (typeof key === "symbol")
      throw new RateLimitConfigError(field, value, `no field of the name ${String(key)}`);
    if (value !== undefined) entries.push([key, legal(`${field}.${key}`, value, each)]);
  }
  return Object.fromEntries(entries);
}

export const aBoolean: Rule = { expected: "true or false", holds: (value) => typeof value === "boolean" };

export const aFunction: Rule = { expected: "a function", holds: (value) => typeof value === "function" };

export const anObject: Rule = { expected: "an object", holds: isRecord };

/** A name or a key: any string. */
export const aString: Rule = { expected: "a string", holds: (value) => typeof value === "string" };

/** The same rule for a field that may not be left out. */
export function needed(rule: Rule): Rule {
  return { ...rule, needed: true };
}

export function listOf(each: Rule): Rule {
  return { expected: "a list", holds: Array.isArray, each };
}

/** Any names, and the same rule for what each of them stands for. */
export function namesTo(each: Rule): Rule {
  return { ...anObject, each };
}

export function count(from: number, to: number): Rule {
  return {
    expected: `an integer from ${from} to ${to}`,
    holds: (value) => Number.isInteger(value) && isWithin(value, from, to),
  };
}

export function number(from: number, to: number): Rule {
  return { expected: `a number from ${from} to ${to}`, holds: (value) => isWithin(value, from, to) };
}

export function milliseconds(from: number, to: number): Rule {
  return { expected: `milliseconds from ${from} to ${to}`, holds: (value) => isWithin(value, from, to) };
}

export function oneOf(...words: string[]): Rule {
  return {
    expected: `one of ${words.map((word) => `"${word}"`).join(", ")}`,
    holds: (value) => words.includes(value as string),
  };
}

export function orNull({ expected, holds, ...more }: Rule): Rule {
  return { ...more, expected: `null, or ${expected}`, holds: (value) => value === null || holds(value) };
}

export const DAY_MS = 86_400_000;

/** The longest that anything may be told to last. */
export const YEAR_MS = 31_536_000_000;

/** The farthest times that a Date can tell. */
const aTime = number(-8.64e15, 8.64e15);

/** As many as the core counts. */
const UNITS = count(1, 2 ** 32 - 1);

/** What a quota has counted, as it was written down. */
export const QUOTA_STATE: Rules<QuotaState> = {
  nextAt: aTime,
  taken: needed(listOf({ expected: "[windowMs, time, units]", holds: isTaken })),
};

function isTaken(value: unknown): boolean {
  if (!Array.isArray(value) || value.length !== 3) return false;
  const [windowMs, time, units] = value as unknown[];
  return aTime.holds(windowMs) && aTime.holds(time) && UNITS.holds(units);
}

function isWithin(value: unknown, from: number, to: number): boolean {
  return typeof value === "number" && value >= from && value <= to;
}

function isRecord(value: unknown): value is object {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
