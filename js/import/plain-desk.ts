/**
 * Decides what an import does next where there is no core: one row at a time. What becomes of a row is what the core
 * (`src/bulk`) makes of the same answers; the pace is not learned, and each refusal is waited out.
 */

import type { Desk, DeskConfig, DeskCounts, DeskPace, DeskStats, Settled, Step, StopReason } from "./desk.ts";
import { SEGMENT_ROWS } from "./journal/store.ts";
import type { ImportOutcome } from "./public.ts";

/**
 * A desk that can go on for one that was lost. After its rows were added and those with an outcome decided, and before it is
 * stopped or asked what to do, it is told what was on its way.
 */
export interface PlainDesk extends Desk {
  /** Rows that the lost desk had in flight: the name of a batch, to be ended as any other. Nothing else is sent before that. */
  adopt(rows: Uint32Array): number;
  /**
   * The server may have the row: its answer was lost. A row that is in flight was sent before, or is being looked up where
   * sending twice doubles.
   */
  doubt(row: number): void;
}

export function plainDesk(config: DeskConfig): PlainDesk {
  return new OneByOne(config);
}

class OneByOne implements PlainDesk {
  readonly #config: DeskConfig;
  readonly #rows = new Rows();
  #meter = new Meter();
  readonly #stats: DeskStats = { requests: 0, throttled: 0, retries: 0 };
  readonly #flights = new Map<number, Flight>();
  /** Batches so far: the name of the next. */
  #batches = 0;
  /** What came back, and when it may go again. */
  readonly #again = new Map<number, number>();
  /** Rows that are to be looked up, in their order, and from when on. */
  readonly #doubts = new Map<number, number>();
  /** No row before was never sent. */
  #fresh = 0;
  #closed = false;
  #paused = false;
  /** `null`: until `release`. */
  #held: number | null | undefined;
  #stopped: StopReason | null = null;
  /** Nothing goes before: after a refusal or an outage, and because of `maxRate`. */
  #shut = 0;
  #turn = 0;
  /** What was heard of the answer that is told of next, in milliseconds. */
  #hint: number | null = null;
  /** Without a hint and in a row. */
  #refusals = 0;
  /** In a row. */
  #troubles = 0;
  /** When the first of them came. */
  #troubledSince = 0;
  /** What left with it or before belongs to an event that was reacted to. */
  #reacted = -1;
  /** Rows that were answered, and those of them that failed. */
  #judged = 0;
  #failed = 0;
  #now = 0;
  #until: number | null = null;

  constructor(config: DeskConfig) {
    this.#config = config;
  }

  // ---- rows come

  add(count: number): void {
    this.#rows.add(count);
    if (this.#stopped) this.#skipOpen();
  }

  close(): void {
    this.#closed = true;
  }

  wants(): number {
    return this.#closed || this.#stopped ? 0 : Math.max(0, 2 - this.#rows.counts.open);
  }

  decide(row: number, outcome: ImportOutcome): boolean {
    const state = this.#rows.state(row);
    if (state === undefined || state === "inFlight" || state === "toVerify") return false;
    this.#again.delete(row);
    this.#rows.enter(row, outcome);
    return true;
  }

  restore(segment: number, bits: Uint8Array): void {
    const first = segment * SEGMENT_ROWS;
    const rows = Math.min(SEGMENT_ROWS, this.#rows.length - first);
    for (let i = 0; i < rows; i++) {
      const two = ((bits[i >> 2] ?? 0) >> (2 * (i & 3))) & 3;
      if (two === 0 || !this.#rows.is(first + i, "open")) continue;
      if (two === 1) this.doubt(first + i);
      else this.#rows.enter(first + i, two === 2 ? "imported" : "failed");
    }
  }

  doubt(row: number): void {
    const isOpen = this.#rows.is(row, "open");
    if (!isOpen && !this.#rows.is(row, "inFlight")) return;
    this.#rows.setSent(row, true);
    if (this.#config.idempotent) return;
    if (isOpen) this.#lookUp(row, 0);
    else for (const flight of this.#flights.values()) flight.isLookup ||= flight.rows.includes(row);
  }

  adopt(rows: Uint32Array): number {
    const isLookup = rows.some((row) => this.#rows.is(row, "toVerify"));
    const left = [...rows].filter((row) => this.#rows.is(row, isLookup ? "toVerify" : "open"));
    return this.#depart(left, isLookup);
  }

  // ---- what to do

  next(now: number): Step {
    const step = this.#step(now);
    this.#now = now;
    this.#until = step.do === "wait" ? step.until : null;
    return step;
  }

  #step(now: number): Step {
    const { counts } = this.#rows;
    if (undecided(counts) === 0 && (this.#closed || this.#stopped)) return { do: "done" };
    if (this.#paused) return { do: "wait", until: null, reason: "paused" };
    if (this.#held === null || (this.#held ?? now) > now)
      return { do: "wait", until: this.#held as number | null, reason: "held" };

    const [again, at] = this.#firstAgain();
    const [doubt, from] = this.#firstDoubt();
    const isLookup = from <= now;
    const row = isLookup ? doubt : at <= now ? again : this.#nextFresh();
    if (row === undefined) return this.#idle(Math.min(at, from));

    if (this.#shut > now) return { do: "wait", until: this.#shut, reason: "cooldown" };
    if (this.#flights.size > 0) return { do: "wait", until: null, reason: "in-flight" };
    if (this.#turn > now) return { do: "wait", until: this.#turn, reason: "pace" };
    this.#meter.begin(now);
    this.#stats.requests++;
    this.#turn = now + 1_000 / (this.#config.maxRate ?? Number.POSITIVE_INFINITY);
    const batch = this.#depart([row], isLookup);
    return isLookup ? { do: "verify", batch, row } : { do: "send", batch, rows: Uint32Array.of(row) };
  }

  /** Nothing may go now; some go again at `at`, or none where that is infinite. */
  #idle(at: number): Step {
    const until = Number.isFinite(at) ? at : null;
    if (!this.#closed && !this.#stopped && this.#again.size < LONG) return { do: "hungry", until };
    return { do: "wait", until, reason: until === null ? "in-flight" : "cooldown" };
  }

  #firstAgain(): [row: number, at: number] {
    let first: [number, number] = [0, Number.POSITIVE_INFINITY];
    for (const [row, at] of this.#again) {
      if (at < first[1]) first = [row, at];
    }
    return first;
  }

  #firstDoubt(): [row: number, from: number] {
    for (const first of this.#doubts) return first;
    return [0, Number.POSITIVE_INFINITY];
  }

  #nextFresh(): number | undefined {
    if (this.#again.size >= LONG) return undefined;
    for (;;) {
      this.#fresh = this.#rows.find(this.#fresh, "open");
      if (!this.#again.has(this.#fresh)) break;
      this.#fresh++;
    }
    return this.#fresh < this.#rows.length ? this.#fresh : undefined;
  }

  #depart(rows: readonly number[], isLookup: boolean): number {
    for (const row of rows) {
      this.#again.delete(row);
      this.#doubts.delete(row);
      this.#rows.enter(row, "inFlight");
    }
    this.#flights.set(this.#batches, { rows, isLookup });
    return this.#batches++;
  }

  attempt(row: number): number {
    return this.#rows.setbacks(row) + 1;
  }

  outcome(row: number): ImportOutcome | null {
    const state = this.#rows.state(row);
    return state === undefined || state === "open" || state === "inFlight" || state === "toVerify"
      ? null
      : state;
  }

  // ---- how a batch ends

  heard(answer: unknown, wall: number): void {
    // A sender may have told of the answer before it threw.
    this.#hint = retryAfter(answer, wall) ?? this.#hint;
  }

  answered(_now: number, batch: number): void {
    this.#accepted(batch);
  }

  settle(now: number, row: number, outcome: Settled): void {
    if (!this.#rows.is(row, "inFlight")) return;
    const ours = this.#rows.wasSent(row) ? "imported" : "duplicate";
    this.#rows.enter(row, outcome === "ignored" ? ours : outcome);
    this.#meter.end(now);
    this.#judged++;
    if (outcome === "failed") this.#failed++;
    const when = this.#config.stopWhen;
    if (when && this.#failed > 0 && this.#judged >= when.after)
      if (this.#failed >= when.failedRatio * this.#judged) this.stop("failed-ratio");
  }

  missing(now: number, row: number): void {
    if (!this.#rows.is(row, "inFlight")) return;
    this.#rows.setSent(row, false);
    if (this.#rows.setbacks(row) >= MOST_SETBACKS) this.settle(now, row, "failed");
    else this.#reopen(row, 0);
  }

  throttled(now: number, batch: number, hintMs: number | null): void {
    // A hint of nothing says only that the server has none.
    const hint = hintMs || this.#hint || 0;
    const flight = this.#land(batch);
    if (!flight) return;
    this.#stats.throttled++;
    this.#troubles = 0;
    if (this.#isNews(batch) && !(hint > 0)) this.#refusals++;
    const pause =
      hint > 0
        ? Math.min(Math.max(hint, SHORTEST_HINT_MS), LONGEST_HINT_MS)
        : doubled(REFUSAL_MS, this.#refusals, LONGEST_REFUSAL_MS);
    this.#shut = Math.max(this.#shut, now + pause);
    this.#putBack(flight, 0);
  }

  lost(now: number, batch: number, wasSent: boolean): void {
    const flight = this.#land(batch);
    if (!flight) return;
    this.#stats.retries++;
    if (this.#troubles === 0) this.#troubledSince = now;
    if (this.#isNews(batch)) this.#troubles++;
    if (this.#troubles >= OUTAGE) {
      const pause = doubled(PAUSE_MS, this.#troubles - OUTAGE + 1, LONGEST_PAUSE_MS);
      this.#shut = Math.max(this.#shut, now + pause);
    }
    const maybeThere = wasSent && !flight.isLookup;
    // In an outage it is nobody's own fault: rows are given up for what happens to them while others get through.
    const isOwn = this.#troubles <= 1 || undecided(this.#rows.counts) <= flight.rows.length;
    for (const row of flight.rows) {
      if (isOwn) this.#rows.setBack(row);
      if (maybeThere) this.#rows.setSent(row, true);
    }
    if (maybeThere && !this.#config.idempotent) {
      for (const row of flight.rows) this.#lookUp(row, now + SETTLING_MS);
    } else this.#later(now, flight);
    if (this.#troubles >= MOST_TROUBLES && now - this.#troubledSince >= LONGEST_TROUBLE_MS)
      this.stop("trouble");
  }

  failed(now: number, batch: number, maybeApplied: boolean): void {
    this.lost(now, batch, maybeApplied);
  }

  refused(now: number, batch: number): void {
    const flight = this.#accepted(batch);
    const [row] = flight?.rows ?? [];
    if (!flight || row === undefined) return;
    if (flight.rows.length === 1) {
      this.settle(now, row, flight.isLookup ? "unknown" : "failed");
    } else {
      this.#stats.retries++;
      this.#putBack(flight, 0);
    }
  }

  tooLarge(now: number, batch: number): void {
    this.refused(now, batch);
  }

  #land(batch: number): Flight | undefined {
    const flight = this.#flights.get(batch);
    this.#flights.delete(batch);
    this.#hint = null;
    return flight;
  }

  /** The limiter let it pass. */
  #accepted(batch: number): Flight | undefined {
    const flight = this.#land(batch);
    if (flight) {
      this.#troubles = 0;
      if (batch > this.#reacted) this.#refusals = 0;
    }
    return flight;
  }

  /** Whether it left after all that was reacted to; that is from now on all that has left. */
  #isNews(batch: number): boolean {
    const isNews = batch > this.#reacted;
    if (isNews) this.#reacted = this.#batches - 1;
    return isNews;
  }

  /** Once more, later and later; not for ever. */
  #later(now: number, { rows, isLookup }: Flight): void {
    const left: number[] = [];
    let setbacks = 0;
    for (const row of rows) {
      const own = this.#rows.setbacks(row);
      if (own >= MOST_SETBACKS) {
        this.settle(now, row, this.#rows.wasSent(row) ? "unknown" : "failed");
      } else {
        left.push(row);
        setbacks = Math.max(setbacks, own);
      }
    }
    this.#putBack({ rows: left, isLookup }, now + doubled(PAUSE_MS, setbacks, LONGEST_PAUSE_MS));
  }

  #putBack({ rows, isLookup }: Flight, at: number): void {
    for (const row of rows) {
      if (isLookup) this.#lookUp(row, at);
      else this.#reopen(row, at);
    }
  }

  #reopen(row: number, at: number): void {
    this.#rows.enter(row, "open");
    if (this.#stopped) this.#skip(row);
    // Those that were never sent come to their turn anyway.
    else if (at > 0 || row < this.#fresh) this.#again.set(row, at);
  }

  /** Its answer was lost, and to send it again might double it: it is looked up, then or later. */
  #lookUp(row: number, from: number): void {
    const isKnowable = this.#config.verifies && !this.#stopped;
    this.#rows.enter(row, isKnowable ? "toVerify" : "unknown");
    if (isKnowable) this.#doubts.set(row, from);
  }

  // ---- its life

  pause(): void {
    this.#paused = true;
  }

  resume(): void {
    this.#paused = false;
    this.#meter = new Meter();
  }

  hold(until: number | null): void {
    this.#held = until;
  }

  release(): void {
    this.#held = undefined;
    this.#meter = new Meter();
  }

  stop(reason: StopReason): void {
    if (this.#stopped) return;
    this.#stopped = reason;
    this.#paused = false;
    this.#held = undefined;
    this.#again.clear();
    for (const row of this.#doubts.keys()) this.#rows.enter(row, "unknown");
    this.#doubts.clear();
    this.#fresh = 0;
    this.#skipOpen();
  }

  stopped(): StopReason | null {
    return this.#stopped;
  }

  #skipOpen(): void {
    for (let row = this.#nextFresh(); row !== undefined; row = this.#nextFresh()) this.#skip(row);
  }

  #skip(row: number): void {
    this.#rows.enter(row, this.#rows.wasSent(row) ? "unknown" : "skipped");
  }

  free(): void {}

  // ---- what there is to know

  changed(): number[] {
    return this.#rows.changed();
  }

  bits(segment: number): Uint8Array {
    return this.#rows.bits(segment);
  }

  counts(): DeskCounts {
    return { ...this.#rows.counts };
  }

  stats(): DeskStats {
    return { ...this.#stats };
  }

  progress(now: number): { rowsPerSecond: number; etaMs: [number, number] | null } {
    const [rowsPerSecond] = this.#meter.rates(now);
    const isKnown = this.#closed && !this.#paused && this.#held !== null;
    const wait = Math.max(0, (this.#until ?? now) - now);
    return {
      rowsPerSecond,
      etaMs: isKnown ? this.#meter.left(now, undecided(this.#rows.counts), wait) : null,
    };
  }

  pace(): DeskPace {
    const [requestsPerSecond] = this.#meter.rates(this.#now);
    return { requestsPerSecond, cap: null, batchSize: 1 };
  }

  learned(): null {
    return null;
  }
}

interface Flight {
  rows: readonly number[];
  isLookup: boolean;
}

// ---- what is known of each row

type State = keyof DeskCounts;

/** In the numbers of `src/bulk/rows.rs`. */
const STATES: readonly State[] = [
  "open",
  "inFlight",
  "toVerify",
  "imported",
  "duplicate",
  "failed",
  "skipped",
  "unknown",
];

/** One byte a row: its state, whether the server may have it through this import, how often it came back without an outcome. */
class Rows {
  length = 0;
  /** At any moment they add up to `length`. */
  readonly counts = Object.fromEntries(STATES.map((state) => [state, 0])) as Record<State, number>;
  #bytes = new Uint8Array(SEGMENT_ROWS);
  readonly #changed = new Set<number>();

  add(count: number): void {
    this.length += count;
    this.counts.open += count;
    if (this.length <= this.#bytes.length) return;
    const bytes = new Uint8Array(Math.max(this.length, 2 * this.#bytes.length));
    bytes.set(this.#bytes);
    this.#bytes = bytes;
  }

  /** `undefined`: there is no such row. */
  state(row: number): State | undefined {
    return row < this.length ? stateOf(this.#byte(row)) : undefined;
  }

  is(row: number, state: State): boolean {
    return this.state(row) === state;
  }

  enter(row: number, state: State): void {
    this.#write(row, (this.#byte(row) & ~STATE) | STATES.indexOf(state));
  }

  wasSent(row: number): boolean {
    return (this.#byte(row) & SENT) !== 0;
  }

  setSent(row: number, sent: boolean): void {
    this.#write(row, (this.#byte(row) & ~SENT) | (sent ? SENT : 0));
  }

  setbacks(row: number): number {
    return this.#byte(row) >> SETBACKS_AT;
  }

  /** It came back once more. The ninth time at the latest decides: there is room for 15. */
  setBack(row: number): void {
    this.#write(row, this.#byte(row) + (1 << SETBACKS_AT));
  }

  /** The first row from here on that stands there; `length`: none. */
  find(from: number, state: State): number {
    const code = STATES.indexOf(state);
    let row = from;
    while (row < this.length && (this.#byte(row) & STATE) !== code) row++;
    return row;
  }

  changed(): number[] {
    const segments = [...this.#changed].sort((a, b) => a - b);
    this.#changed.clear();
    return segments;
  }

  bits(segment: number): Uint8Array {
    const bits = new Uint8Array(SEGMENT_ROWS / 4);
    const first = segment * SEGMENT_ROWS;
    const rows = Math.min(SEGMENT_ROWS, this.length - first);
    for (let i = 0; i < rows; i++) {
      bits[i >> 2] = (bits[i >> 2] as number) | (bitsOf(this.#byte(first + i)) << (2 * (i & 3)));
    }
    return bits;
  }

  #byte(row: number): number {
    return this.#bytes[row] ?? 0;
  }

  /** The only place where a row changes: the counts and the segment follow. */
  #write(row: number, after: number): void {
    if (!(row < this.length)) return;
    const before = this.#byte(row);
    this.#bytes[row] = after;
    this.counts[stateOf(before)]--;
    this.counts[stateOf(after)]++;
    if (bitsOf(before) !== bitsOf(after)) this.#changed.add(Math.floor(row / SEGMENT_ROWS));
  }
}

const STATE = 0b0000_0111;
const SENT = 0b0000_1000;
const SETBACKS_AT = 4;

function stateOf(byte: number): State {
  return STATES[byte & STATE] as State;
}

/** As the journal keeps it. An open row that the server may have is one whose answer is due. */
function bitsOf(byte: number): number {
  const state = byte & STATE;
  if (state === 0) return byte & SENT ? 1 : 0;
  return state < 3 ? 1 : state < 5 ? 2 : 3;
}

function undecided({ open, inFlight, toVerify }: DeskCounts): number {
  return open + inFlight + toVerify;
}

// ---- how fast rows end

class Meter {
  /** Of the last rows, in milliseconds. */
  readonly #ends: number[] = [];
  #began: number | null = null;
  #ended = 0;

  /** Something is sent: from the first time on it counts. */
  begin(now: number): void {
    this.#began ??= now;
  }

  end(now: number): void {
    this.#ended++;
    this.#ends.push(now);
    if (this.#ends.length > LATELY) this.#ends.shift();
  }

  /** Rows a second: of late and on the whole. */
  rates(now: number): [lately: number, whole: number] {
    const since = (began = now): number => Math.max(1, (now - began) / 1_000);
    return [this.#ends.length / since(this.#ends[0]), this.#ended / since(this.#began ?? now)];
  }

  /** How long so many more rows take, after a wait; `null`: it is too early to tell. */
  left(now: number, rows: number, wait: number): [number, number] | null {
    if (this.#ended === 0 || now - (this.#began ?? now) < EARLY_MS) return null;
    const rates = this.rates(now);
    const ms = 1_000 * rows;
    return [wait + ms / Math.max(...rates), wait + (MARGIN * ms) / Math.min(...rates)];
  }
}

// ---- hints

/** `Retry-After` of a response, or of an error that has one, in milliseconds; `null`: there is none. */
function retryAfter(answer: unknown, wall: number): number | null {
  for (const headers of PLACES) {
    try {
      const value = new Headers(headers(answer)).get("retry-after") ?? "";
      const ms = /^\d+(?:\.\d+)?$/.test(value) ? Number(value) * 1_000 : Date.parse(value) - wall;
      if (ms > 0) return ms;
    } catch {
      // There are none, or not such as a server sends.
    }
  }
  return null;
}

// biome-ignore lint/suspicious/noExplicitAny: whatever was thrown; what is not there throws, and is caught
const PLACES: readonly ((answer: any) => HeadersInit)[] = [
  (answer) => answer,
  ({ headers }) => headers,
  ({ response }) => response.headers,
  ({ context }) => context.headers,
  ({ cause }) => cause.headers,
];

/** `first`, twice as long each time. */
function doubled(first: number, times: number, most: number): number {
  return Math.min(first * 2 ** Math.max(0, times - 1), most);
}

/** After a refusal without a hint. */
const REFUSAL_MS = 1_000;
const LONGEST_REFUSAL_MS = 60_000;

/** One that says less would have us ask without an end. */
const SHORTEST_HINT_MS = 100;

/** What asks for more is a mistake, or the circuit's business. */
const LONGEST_HINT_MS = 600_000;

/** Before a row that failed goes again. */
const PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 30_000;

/** Before a row whose answer was lost is looked up: a statement that nobody waits for any more may still write. */
export const SETTLING_MS = 10_000;

/** How often a row may come back without an outcome: with these pauses, more than a minute. */
const MOST_SETBACKS = 8;

/** One lost answer happens, two may be chance, three in a row are an outage: nothing goes for a while. */
const OUTAGE = 3;

/** In a row, and nothing else, for ten minutes. Both, because a machine that slept has heard nothing for hours. */
const MOST_TROUBLES = 24;
const LONGEST_TROUBLE_MS = 600_000;

/** Rows that came back. While so many wait, nothing new goes. */
const LONG = 64;

/** Rows: at one after the other, some seconds. */
const LATELY = 64;

/** Before that the pace says nothing. */
const EARLY_MS = 3_000;

/** The slower of two rates is not the slowest. */
const MARGIN = 1.2;
