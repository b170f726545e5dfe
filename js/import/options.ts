/** What `createImport` takes, checked. */

import {
  aBoolean,
  aFunction,
  anObject,
  checked,
  count,
  milliseconds,
  number,
  oneOf,
  orNull,
  RateLimitConfigError,
  type RateLimitService,
  type Rule,
  type Rules,
} from "../api.ts";
import type { ImportOptions } from "./public.ts";

type Defaults =
  | "duplicates"
  | "known"
  | "timeoutMs"
  | "checkpoint"
  | "spill"
  | "maxRows"
  | "keepAwake"
  | "guardUnload";

/** Options in which what was left out has its default. */
export type Checked<Row> = ImportOptions<Row> & {
  [K in Defaults]-?: NonNullable<ImportOptions<Row>[K]>;
} & {
  /** Whether sending a row twice is the same as sending it once. */
  idempotent: boolean;
  /** Rows in a request: `fixed`, or at most `most`. */
  batch: { fixed: number } | { most: number };
  stopWhen: { failedRatio: number; after: number } | null;
};

/** @throws RateLimitConfigError for what is missing, out of its range, or no option. */
export function checkedOptions<Row>(given: ImportOptions<Row>): Checked<Row> {
  // Which fields are needed, the rules say; those that were left out are not there.
  const options = checked<ImportOptions<Row>>("options", given, OPTIONS) as ImportOptions<Row>;
  const { send, batchSize, stopWhen = { failedRatio: 0.5, after: 200 } } = options;
  const { maxBatch } = send;
  if (typeof batchSize === "number" && maxBatch !== undefined && batchSize > maxBatch) {
    throw new RateLimitConfigError(
      "batchSize",
      batchSize,
      `at most ${maxBatch}, which is what \`send\` takes`,
    );
  }
  const auto = batchSize === "auto" || (batchSize === undefined && maxBatch !== undefined);
  return {
    duplicates: "first",
    known: "check",
    timeoutMs: 60_000,
    checkpoint: true,
    spill: false,
    maxRows: 1_000_000,
    keepAwake: false,
    guardUnload: true,
    ...(options as Omit<ImportOptions<Row>, Defaults>),
    stopWhen,
    idempotent: options.idempotent ?? send.idempotent === true,
    batch: auto ? { most: maxBatch ?? 100 } : { fixed: typeof batchSize === "number" ? batchSize : 1 },
  };
}

const aSize = count(1, 10_000);

const aText: Rule = { expected: "a text", holds: (value) => typeof value === "string" && value !== "" };

/** Of any copy of the package. The shared service answers without being made. */
function isService(value: unknown): boolean {
  return typeof (value as Partial<RateLimitService> | null)?.executeWithRetry === "function";
}

/** Also one of another realm. */
function isSignal(value: unknown): boolean {
  const { aborted, addEventListener } = (value ?? {}) as Partial<AbortSignal>;
  return typeof aborted === "boolean" && typeof addEventListener === "function";
}

const OPTIONS: Rules<ImportOptions<unknown>> = {
  rows: { expected: "rows", holds: () => true, needed: true },
  send: { ...aFunction, needed: true },
  id: aText,
  name: aText,
  key: aFunction,
  verify: aFunction,
  validate: aFunction,
  idempotent: aBoolean,
  duplicates: oneOf("first", "last", "report"),
  known: oneOf("check", "skip"),
  batchSize: {
    expected: `"auto" or ${aSize.expected}`,
    holds: (value) => value === "auto" || aSize.holds(value),
  },
  concurrency: count(1, 1_000),
  rate: {
    expected: "a number of requests a second above 0, up to 100000",
    holds: (value) => typeof value === "number" && value > 0 && value <= 100_000,
  },
  timeoutMs: milliseconds(100, 3_600_000),
  service: { expected: "a RateLimitService", holds: isService },
  checkpoint: {
    expected: "true, false or a store such as fileStore(folder)",
    holds: (value) => typeof value === "boolean" || typeof value === "function",
  },
  spill: aBoolean,
  signal: orNull({ expected: "an AbortSignal", holds: isSignal }),
  stopWhen: orNull({
    expected: "an object or null",
    holds: (value) => typeof value === "object" && value !== null,
    fields: {
      failedRatio: { ...number(0, 1), needed: true },
      after: { ...count(1, 1_000_000), needed: true },
    },
  }),
  maxRows: count(1, 16_000_000),
  keepAwake: aBoolean,
  guardUnload: aBoolean,
  logger: anObject,
  host: anObject,
};
