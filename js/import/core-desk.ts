/** The desk of the core: numbers cross, rows and words stay here. The other side is `src/wasm/bulk.rs`. */

import {
  job,
  job_add,
  job_bits,
  job_changed,
  job_decide,
  job_end,
  job_free,
  job_heard,
  job_next,
  job_numbers,
  job_restore,
  job_row,
  job_settle,
  job_tell,
} from "../../pkg/import.js";
import {
  type Desk,
  type DeskConfig,
  DeskLostError,
  type Settled,
  type Step,
  type StopReason,
  type WaitingFor,
} from "./desk.ts";
import { limitFieldsOf, serverTime } from "./headers.ts";
import { instance, isPresent, trapped } from "./module.ts";
import type { ImportOutcome } from "./public.ts";

/**
 * A job of the core; `null`: there is no core. By the seed its few random choices are made. When the core traps,
 * and once it was started anew, everything but `free` throws a DeskLostError.
 */
export function coreDesk(config: DeskConfig, seed = 0): Desk | null {
  const mine = instance();
  const handle = mine === 0 ? null : made(config, seed);
  if (handle === null) return null;
  /** The time that was told last, for those that are not told any. */
  let latest = 0;

  const at = <A>(now: number, question: (handle: number) => A): A => {
    if (!isPresent(mine)) throw new DeskLostError("The core that kept the import is gone.");
    latest = now;
    try {
      return question(handle);
    } catch (cause) {
      trapped();
      throw new DeskLostError("The core that kept the import failed.", { cause });
    }
  };
  const ask = <A>(question: (handle: number) => A): A => at(latest, question);
  const tell = (what: number, until = 0): void => ask((handle) => job_tell(handle, what, until));
  const end = (now: number, batch: number, ending: number, detail: number): void =>
    at(now, (handle) => job_end(handle, now, batch, ending, detail));
  const settle = (now: number, row: number, outcome: number): void =>
    at(now, (handle) => job_settle(handle, now, row, outcome));
  const numbers = (now = latest): Float64Array => at(now, (handle) => job_numbers(handle, now));

  return {
    add: (count) => ask((handle) => job_add(handle, count)),
    close: () => tell(Told.close),
    wants: () => numbers()[WANTS] as number,
    decide: (row, outcome) => ask((handle) => job_decide(handle, row, OUTCOMES.indexOf(outcome))),
    restore: (segment, bits) => ask((handle) => job_restore(handle, segment, bits)),

    next: (now) => stepOf(at(now, (handle) => job_next(handle, now))),
    attempt: (row) => ask((handle) => job_row(handle, row)) >> 3,
    outcome: (row) => (OUTCOMES[ask((handle) => job_row(handle, row)) & 7] as ImportOutcome) ?? null,

    heard: (answer, wall) =>
      ask((handle) => job_heard(handle, limitFieldsOf(answer), serverTime(answer, wall))),
    answered: (now, batch, latencyMs) => end(now, batch, Ending.answered, latencyMs),
    settle: (now, row, outcome) => settle(now, row, OUTCOMES.indexOf(outcome)),
    missing: (now, row) => settle(now, row, OUTCOMES.length),
    throttled: (now, batch, hintMs) => end(now, batch, Ending.throttled, hintMs ?? Number.NaN),
    lost: (now, batch, wasSent) => end(now, batch, Ending.lost, Number(wasSent)),
    failed: (now, batch, maybeApplied) => end(now, batch, Ending.failed, Number(maybeApplied)),
    refused: (now, batch) => end(now, batch, Ending.refused, 0),
    tooLarge: (now, batch) => end(now, batch, Ending.tooLarge, 0),

    pause: () => tell(Told.pause),
    resume: () => tell(Told.resume),
    hold: (until) => tell(Told.hold, until ?? Number.NaN),
    release: () => tell(Told.release),
    stop: (reason) => tell(Told.stop + STOPS.indexOf(reason)),
    stopped: () => STOPS[(numbers()[STOPPED] as number) - Told.stop] ?? null,

    changed: () => [...ask(job_changed)],
    bits: (segment) => ask((handle) => job_bits(handle, segment)),

    counts: () => named(numbers(), COUNTS),
    stats: () => named(numbers(), STATS),
    progress: (now) => {
      const { rowsPerSecond, from, to } = named(numbers(now), PROGRESS);
      return { rowsPerSecond, etaMs: Number.isNaN(from) ? null : [from, to] };
    },
    pace: () => {
      const pace = named(numbers(), PACE);
      return { ...pace, cap: pace.cap || null };
    },
    learned: () => {
      const known = named(numbers(), KNOWN);
      return Number.isNaN(known.rate) ? null : { ...known, cap: known.cap || null, bans: known.bans === 1 };
    },
    free: () => {
      if (!isPresent(mine)) return;
      try {
        job_free(handle);
      } catch {
        trapped();
      }
    },
  };
}

/** The number of a new job; `null`: the core failed. */
function made(config: DeskConfig, seed: number): number | null {
  const { idempotent, verifies, batch, maxInFlight, maxRate, stopWhen, known } = config;
  const [adaptive, rows] = "fixed" in batch ? [false, batch.fixed] : [true, batch.most];
  const none = Number.NaN;
  try {
    // biome-ignore format: how it goes about it, when it gives up, what is known of the server
    return job(
      idempotent, verifies, adaptive, rows, maxInFlight, maxRate ?? none,
      stopWhen?.failedRatio ?? none, stopWhen?.after ?? 0,
      known?.rate ?? none, known?.cap ?? 0, known?.bans ?? false, known?.cost ?? 0, seed,
    );
  } catch {
    trapped();
    return null;
  }
}

function stepOf(told: Uint32Array): Step {
  const [what, which = 0, low = 0, high = 0] = told;
  switch (what) {
    case 1:
      return { do: "send", batch: which, rows: told.subarray(2) };
    case 2:
      return { do: "verify", batch: which, row: low };
    case 3:
      return { do: "wait", until: timeOf(low, high), reason: REASONS[which] as WaitingFor };
    case 4:
      return { do: "hungry", until: timeOf(low, high) };
    default:
      return { do: "done" };
  }
}

function timeOf(low: number, high: number): number | null {
  return high === NONE ? null : high * 2 ** 32 + low;
}

/** Those of the numbers of `job_numbers` that stand at these places. */
function named<N extends string>(
  numbers: Float64Array,
  places: Readonly<Record<N, number>>,
): Record<N, number> {
  const entries = Object.entries<number>(places).map(([name, place]) => [name, numbers[place]]);
  return Object.fromEntries(entries) as Record<N, number>;
}

/** Where a number is expected and there is none. */
const NONE = 0xffff_ffff;

/** In the order of the core's enums. */
const OUTCOMES: readonly Settled[] = ["imported", "duplicate", "ignored", "failed", "skipped", "unknown"];
const REASONS: readonly WaitingFor[] = ["pace", "cooldown", "in-flight", "paused", "held"];
const STOPS: readonly StopReason[] = ["cancelled", "refused", "failed-ratio", "trouble"];

const Ending = { answered: 0, throttled: 1, lost: 2, failed: 3, refused: 4, tooLarge: 5 };
const Told = { close: 0, pause: 1, resume: 2, hold: 3, release: 4, stop: 5 };

/** Where they stand in `job_numbers`. */
const COUNTS = {
  imported: 0,
  duplicate: 1,
  failed: 2,
  skipped: 3,
  unknown: 4,
  open: 5,
  inFlight: 6,
  toVerify: 7,
};
const STATS = { requests: 8, throttled: 9, retries: 10 };
const PACE = { requestsPerSecond: 20, cap: 11, batchSize: 12 };
const WANTS = 13;
const KNOWN = { rate: 21, cap: 14, bans: 15, cost: 22 };
const STOPPED = 16;
const PROGRESS = { rowsPerSecond: 17, from: 18, to: 19 };
