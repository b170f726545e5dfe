/** What decides what an import does next: the core's job, or the plain one where there is no core. */

import type { ImportCounts, ImportOutcome } from "./public.ts";

/** What to do now. A batch ends exactly once, with one of the endings of `Desk`, and each of its rows is settled. */
export type Step =
  /** Send these rows, ascending. */
  | { do: "send"; batch: number; rows: Uint32Array }
  /** Look up a row whose answer was lost. */
  | { do: "verify"; batch: number; row: number }
  /** Nothing. Ask again at `until`; `null`: after something else was told. */
  | { do: "wait"; until: number | null; reason: WaitingFor }
  /** All rows that are known are on their way: `add` more or `close`. `until` as above. */
  | { do: "hungry"; until: number | null }
  /** Every row has its outcome. */
  | { do: "done" };

export type WaitingFor = "pace" | "cooldown" | "in-flight" | "paused" | "held";

/** Why an import ended before its rows did; the first reason counts. */
export type StopReason = "cancelled" | "refused" | "failed-ratio" | "trouble";

/** What is settled: `ignored` is `imported` if this job sent the row before, else `duplicate`. */
export type Settled = ImportOutcome | "ignored";

/** What an import learned about a server. */
export interface Known {
  /** The limit, in requests a second. */
  rate: number;
  /** The most requests in flight; `null`: none was met. */
  cap: number | null;
  /** Whether it shuts clients out that exceed its limit. */
  bans: boolean;
  /** Seconds that a refusal cost. */
  cost: number;
}

export interface DeskConfig {
  idempotent: boolean;
  /** Whether a row whose answer was lost can be looked up. */
  verifies: boolean;
  /** `fixed`: so many rows at once; otherwise as many as the server answers well, at most `most`. */
  batch: { fixed: number } | { most: number };
  maxInFlight: number;
  /** Requests a second; `null`: what the server accepts. */
  maxRate: number | null;
  stopWhen: { failedRatio: number; after: number } | null;
  known: Known | null;
}

/** Times are of the platform's clock, in milliseconds. */
export interface Desk {
  /** Appends rows. Once stopped they are skipped. */
  add(count: number): void;
  /** No more rows come. */
  close(): void;
  /** How many rows to read ahead now. */
  wants(): number;
  /** Decides a row that is not on its way. `false`: it is on its way, or there is none. */
  decide(row: number, outcome: ImportOutcome): boolean;
  /** Takes up a segment of the journal, after its rows were added and those of which more is known were decided. */
  restore(segment: number, bits: Uint8Array): void;

  next(now: number): Step;
  /** 1 for the first. Refusals because of a limit do not count. */
  attempt(row: number): number;
  /** `null`: it has none yet. */
  outcome(row: number): ImportOutcome | null;

  /** What the answer that is told of next said about the limit: a `Response`, `Headers`, or an error that has them. */
  heard(answer: unknown, wall: number): void;
  /** The server answered: each row is to be settled. */
  answered(now: number, batch: number, latencyMs: number): void;
  settle(now: number, row: number, outcome: Settled): void;
  /** A row that was looked up is certainly not there. */
  missing(now: number, row: number): void;
  /** Refused because of a limit. */
  throttled(now: number, batch: number, hintMs: number | null): void;
  /** No answer. */
  lost(now: number, batch: number, wasSent: boolean): void;
  /** The server failed. */
  failed(now: number, batch: number, maybeApplied: boolean): void;
  /** Refused for the content of a row, and nothing was written. */
  refused(now: number, batch: number): void;
  /** Too much at once, and nothing was written. */
  tooLarge(now: number, batch: number): void;

  pause(): void;
  resume(): void;
  /** Nothing is sent until then; `null`: until `release`. */
  hold(until: number | null): void;
  release(): void;
  stop(reason: StopReason): void;
  stopped(): StopReason | null;

  /** Segments of 4,096 rows that changed since they were given here last. */
  changed(): number[];
  /** A segment, as the journal keeps it: 1,024 bytes. */
  bits(segment: number): Uint8Array;

  counts(): DeskCounts;
  stats(): DeskStats;
  progress(now: number): { rowsPerSecond: number; etaMs: [number, number] | null };
  pace(): DeskPace;
  /** `null`: no limit was met. */
  learned(): Known | null;
  /** Gives back what it holds. */
  free(): void;
}

/** `open`: not on its way; `inFlight`: sent; `toVerify`: its answer was lost. */
export interface DeskCounts extends ImportCounts {
  open: number;
  inFlight: number;
  toVerify: number;
}

export interface DeskStats {
  requests: number;
  throttled: number;
  retries: number;
}

export interface DeskPace {
  /** Requests a second, at present. */
  requestsPerSecond: number;
  /** The most in flight that the server was seen to allow; `null`: no cap was met. */
  cap: number | null;
  /** Rows that go at once. */
  batchSize: number;
}

/** The core that kept the job is gone: another desk has to go on. */
export class DeskLostError extends Error {}
