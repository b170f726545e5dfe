import { parseArgs } from "node:util";

/** A command line that makes no sense; its message is one line for the person who typed it. */
export class UsageError extends Error {}

/**
 * `parseArgs` whose errors are one line each, and where `--rows -5` is a number out of range instead of a riddle.
 *
 * @template {NonNullable<import("node:util").ParseArgsConfig["options"]>} Options
 * @param {string[]} args
 * @param {Options} options
 * @throws {UsageError}
 */
export function parseFlags(args, options) {
  try {
    return parseArgs({ args: withNegatives(args), options, allowPositionals: false }).values;
  } catch (error) {
    const [line = "unreadable command line"] = (error instanceof Error ? error.message : String(error)).split(
      "\n",
    );
    throw new UsageError(`${line.replace(/\. To specify a positional.*/, "")} (--help lists the flags)`);
  }
}

/** `--flag -5` becomes `--flag=-5`. @param {string[]} args */
function withNegatives(args) {
  /** @type {string[]} */
  const joined = [];
  for (const arg of args) {
    const flag = joined.at(-1);
    if (/^-\d/.test(arg) && flag !== undefined && /^--[^=]+$/.test(flag))
      joined[joined.length - 1] = `${flag}=${arg}`;
    else joined.push(arg);
  }
  return joined;
}

/**
 * @param {string} flag as it was typed, for the message
 * @param {string | undefined} text
 * @param {{ min?: number; max?: number; whole?: boolean }} range inclusive; min: default 0
 * @returns {number}
 * @throws {UsageError}
 */
export function numberFlag(flag, text, { min = 0, max = Number.MAX_SAFE_INTEGER, whole = false }) {
  const value = text === undefined || text.trim() === "" ? Number.NaN : Number(text);
  if (value >= min && value <= max && (!whole || Number.isInteger(value))) return value;
  const range = max === Number.MAX_SAFE_INTEGER ? `of at least ${min}` : `from ${min} to ${max}`;
  throw new UsageError(
    `${flag} must be a ${whole ? "whole " : ""}number ${range}, not ${text === undefined ? "missing" : `"${text}"`}`,
  );
}

/**
 * @template {string} Choice
 * @param {string} flag
 * @param {string} text
 * @param {readonly Choice[]} choices
 * @returns {Choice}
 * @throws {UsageError}
 */
export function choiceFlag(flag, text, choices) {
  const choice = choices.find((name) => name === text);
  if (choice === undefined)
    throw new UsageError(`${flag} must be one of ${choices.join(", ")}, not "${text}"`);
  return choice;
}
