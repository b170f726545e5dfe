/** What may be handed in: the rules for configurations and options, and the one check of them. */

import { RateLimitConfigError } from "./errors.ts";

/** What is legal for a field, in words and as a test. */
export interface Rule {
  readonly expected: string;
  readonly holds: (value: unknown) => boolean;
  /** Where the value is an object: what is legal in that. */
  readonly fields?: Readonly<Record<string, Rule>>;
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
  return fields as Partial<T>;
}

function ruleFor(key: PropertyKey, rules: Readonly<Record<string, Rule | undefined>>): Rule | undefined {
  return typeof key === "string" && Object.hasOwn(rules, key) ? rules[key] : undefined;
}

function legal(field: string, value: unknown, { expected, holds, fields }: Rule): unknown {
  if (!holds(value)) throw new RateLimitConfigError(field, value, expected);
  return fields && isRecord(value) ? checked(field, value, fields, `${field}.`) : value;
}

export const aBoolean: Rule = { expected: "true or false", holds: (value) => typeof value === "boolean" };

export const aFunction: Rule = { expected: "a function", holds: (value) => typeof value === "function" };

export const anObject: Rule = { expected: "an object", holds: isRecord };

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

function isWithin(value: unknown, from: number, to: number): boolean {
  return typeof value === "number" && value >= from && value <= to;
}

function isRecord(value: unknown): value is object {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
