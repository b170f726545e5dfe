import {
  type AttemptInfo,
  aFunction,
  anObject,
  checked,
  count,
  type Host,
  isRateLimitError,
  milliseconds,
  number,
  oneOf,
  plainAlarm,
  platform,
  type RateLimitService,
  type Rules,
} from "../api.ts";
import { isFine, isSignal } from "./answers.ts";
import { ManualHost } from "./manual-host.ts";

/** What a request of a load test is told. */
export interface LoadRequest {
  /** Whose it is; the first client is 0. */
  readonly client: number;
  /** Of which call; the first one of all clients is 0. */
  readonly call: number;
  /** That of the attempt, where a service makes it; else one that aborts with the test. Made when first read. */
  readonly signal: AbortSignal;
}

export interface LoadTestOptions {
  /** Makes one request. Each time that it is called counts as an attempt. */
  send: (request: LoadRequest) => unknown;
  /** What the calls go through: one service for all clients, or a function that makes one for each. */
  service?: Guard | ((client: number) => Guard) | undefined;
  /** Instead of a service: how a client makes a call, as `(send) => registry.withRateLimit("crm", "search", send)`. */
  call?: ((send: (attempt?: AttemptInfo) => Promise<unknown>, client: number) => unknown) | undefined;
  /** Default 1; 1 to 100_000. */
  clients?: number | undefined;
  /** Calls that begin in a second, all clients together, whether or not earlier ones are over. Above 0, up to 100_000. */
  ratePerSecond: number;
  /** How long calls begin; the test ends when the last of them is over. 1 to 31_536_000_000. */
  durationMs: number;
  /** `"random"`: as people come (a Poisson process). `"even"`: like clockwork, the clients in turn. Default `"random"`. */
  arrivals?: "random" | "even" | undefined;
  /** A success that took longer does nobody any good, and is no goodput. Default: none does; 1 to 31_536_000_000. */
  usefulWithinMs?: number | undefined;
  /** Whether what a call resolves with is a success. Default: unless its `ok` is `false` or it has an `error`. */
  isSuccess?: ((value: unknown) => boolean) | undefined;
  /** Whose time it goes by. A `ManualHost` is moved on as fast as it goes. Default: real time. */
  host?: Partial<Host> | undefined;
  /** Lets no more calls begin, and tells those that are under way. */
  signal?: AbortSignal | null | undefined;
}

type Guard = Pick<RateLimitService, "executeWithRetry">;

/** One second of a load test. */
export interface LoadSecond {
  /** Requests that were begun. */
  attempts: number;
  /** Of those that ended in it: refused because of a limit. */
  refused: number;
  /** Calls that ended well, in time or late. */
  succeeded: number;
  late: number;
  failed: number;
}

export interface LoadReport {
  /** Calls begun: `succeeded` and `failed` together. */
  calls: number;
  succeeded: number;
  /** Of those, how many took longer than `usefulWithinMs`. */
  late: number;
  failed: number;
  /** Why calls failed, and how many: by code for errors of ours, else by the error's name or the status. */
  failures: Record<string, number>;
  /** Requests made. */
  attempts: number;
  /** Requests that were answered with 429 or 420. */
  refused: number;
  /** From the first moment until the last call was over. */
  durationMs: number;
  /** Calls that succeeded in time, by `durationMs`. */
  goodputPerSecond: number;
  /** How long the calls took that succeeded, waits included. Exact; 0 where none did. */
  latencyMs: { p50: number; p95: number; p99: number; max: number };
  /** The second with the most requests, the earliest of several; `atMs` from the beginning. */
  worstSecond: { atMs: number; attempts: number };
  /** The course of it, second by second. */
  seconds: LoadSecond[];
}

/**
 * Lets clients make calls at a rate, for a time, and counts what comes of it. The rate is that of a crowd: it does not wait
 * for answers, as people do not. Loads that overlap (a background and a peak) are two tests of one host.
 *
 * @throws RateLimitConfigError for options that are missing or out of their range.
 */
export async function loadTest(options: LoadTestOptions): Promise<LoadReport> {
  const given = checked<LoadTestOptions>("options", options, RULES) as LoadTestOptions;
  const running = new Load(given).run();
  return given.host instanceof ManualHost ? given.host.drive(running) : running;
}

class Load {
  readonly #options: LoadTestOptions;
  readonly #host: Host;
  readonly #signal: AbortSignal;
  readonly #call: NonNullable<LoadTestOptions["call"]>;
  readonly #started: number;
  readonly #seconds: LoadSecond[] = [];
  readonly #latencies: number[] = [];
  readonly #failures: Record<string, number> = {};
  /** Of the requests that are under way. */
  readonly #running = new Set<AbortController>();
  #calls = 0;
  #ended = 0;

  constructor(options: LoadTestOptions) {
    this.#options = options;
    this.#host = platform(options.host, plainAlarm);
    this.#signal = options.signal ?? new AbortController().signal;
    this.#call = options.call ?? through(options.service, options.clients ?? 1);
    this.#started = this.#host.now();
    this.#ended = this.#started;
  }

  async run(): Promise<LoadReport> {
    const abort = (): void => this.#abort();
    this.#signal.addEventListener("abort", abort, { once: true });
    try {
      await this.#calledAll();
    } finally {
      this.#signal.removeEventListener("abort", abort);
    }
    return this.#report();
  }

  /** Resolves when the last call is over. */
  async #calledAll(): Promise<void> {
    const { ratePerSecond, durationMs, arrivals = "random", clients = 1 } = this.#options;
    const { random } = this.#host;
    const meanMs = 1_000 / ratePerSecond;
    // The gaps of a Poisson process are exponential; by due times, so that late timers lower no rate.
    const gap = arrivals === "even" ? () => meanMs : () => -Math.log(1 - random()) * meanMs;
    const calls: Promise<void>[] = [];
    const end = this.#started + durationMs;
    let due = this.#started + (arrivals === "even" ? 0 : gap());
    for (; due < end; due += gap()) {
      await this.#until(due);
      if (this.#signal.aborted) break;
      const client = arrivals === "even" ? this.#calls % clients : Math.floor(random() * clients);
      calls.push(this.#begin(client, this.#calls++));
    }
    await this.#until(end);
    await Promise.all(calls);
  }

  #abort(): void {
    for (const controller of this.#running) controller.abort(this.#signal.reason);
  }

  async #until(time: number): Promise<void> {
    const ms = time - this.#host.now();
    if (ms > 0) await this.#host.sleep(ms, this.#signal);
  }

  /** Never rejects. */
  async #begin(client: number, call: number): Promise<void> {
    const began = this.#host.now();
    const { isSuccess = isFine } = this.#options;
    try {
      const value = await this.#call((attempt) => this.#attempt(client, call, attempt), client);
      if (isSuccess(value)) this.#succeeded(began);
      else this.#failed(value);
    } catch (error) {
      this.#failed(error);
    }
  }

  async #attempt(client: number, call: number, attempt: AttemptInfo | undefined): Promise<unknown> {
    this.#second().attempts++;
    const own = new OwnSignal(this.#running, this.#signal);
    try {
      const value = await this.#options.send({
        client,
        call,
        get signal() {
          return attempt ? attempt.signal : own.signal;
        },
      });
      if (isRefusal(value)) this.#second().refused++;
      return value;
    } catch (error) {
      if (isRefusal(error)) this.#second().refused++;
      throw error;
    } finally {
      own.end();
    }
  }

  #succeeded(began: number): void {
    this.#ended = this.#host.now();
    const tookMs = this.#ended - began;
    this.#latencies.push(tookMs);
    const second = this.#second();
    second.succeeded++;
    if (tookMs > (this.#options.usefulWithinMs ?? Number.POSITIVE_INFINITY)) second.late++;
  }

  #failed(cause: unknown): void {
    this.#ended = this.#host.now();
    this.#second().failed++;
    const name = nameOf(cause);
    this.#failures[name] = (this.#failures[name] ?? 0) + 1;
  }

  #second(): LoadSecond {
    const second = Math.floor((this.#host.now() - this.#started) / 1_000);
    while (this.#seconds.length <= second) {
      this.#seconds.push({ attempts: 0, refused: 0, succeeded: 0, late: 0, failed: 0 });
    }
    return this.#seconds[second] as LoadSecond;
  }

  #report(): LoadReport {
    const sum = (what: keyof LoadSecond): number => this.#seconds.reduce((all, it) => all + it[what], 0);
    const durationMs = Math.max(this.#host.now(), this.#ended) - this.#started;
    const [succeeded, late] = [sum("succeeded"), sum("late")];
    return {
      calls: this.#calls,
      succeeded,
      late,
      failed: sum("failed"),
      failures: this.#failures,
      attempts: sum("attempts"),
      refused: sum("refused"),
      durationMs,
      goodputPerSecond: ((succeeded - late) / durationMs) * 1_000,
      latencyMs: percentiles(this.#latencies),
      worstSecond: worst(this.#seconds),
      seconds: this.#seconds,
    };
  }
}

/** The signal of one request, for who asks for it: hundreds of listeners on one signal look like a leak. */
class OwnSignal {
  readonly #running: Set<AbortController>;
  readonly #whole: AbortSignal;
  #controller: AbortController | null = null;

  constructor(running: Set<AbortController>, whole: AbortSignal) {
    this.#running = running;
    this.#whole = whole;
  }

  get signal(): AbortSignal {
    if (this.#controller === null) {
      this.#controller = new AbortController();
      this.#running.add(this.#controller);
      if (this.#whole.aborted) this.#controller.abort(this.#whole.reason);
    }
    return this.#controller.signal;
  }

  end(): void {
    if (this.#controller) this.#running.delete(this.#controller);
  }
}

/** Through a service, or straight to the server. */
function through(service: LoadTestOptions["service"], clients: number): NonNullable<LoadTestOptions["call"]> {
  if (service === undefined) return (send) => send();
  if (typeof service !== "function") return (send) => service.executeWithRetry(send);
  const own = Array.from({ length: clients }, (_, client) => service(client));
  return (send, client) => own[client]?.executeWithRetry(send);
}

/** Told by the status alone, in a response or in an error. What we ended ourselves is no answer of the server. */
function isRefusal(value: unknown): boolean {
  if (isRateLimitError(value)) return false;
  const status = statusOf(value);
  return status === 429 || status === 420;
}

function statusOf(value: unknown): unknown {
  const { status, error } = (value ?? {}) as { status?: unknown; error?: { status?: unknown } | null };
  return status ?? error?.status;
}

function nameOf(cause: unknown): string {
  if (isRateLimitError(cause)) return cause.code;
  const status = statusOf(cause);
  if (status !== undefined) return `status ${status}`;
  return cause instanceof Error || cause instanceof DOMException ? cause.name : String(cause);
}

function percentiles(latencies: readonly number[]): LoadReport["latencyMs"] {
  const sorted = [...latencies].sort((a, b) => a - b);
  const at = (share: number): number => sorted[Math.ceil(share * sorted.length) - 1] ?? 0;
  return { p50: at(0.5), p95: at(0.95), p99: at(0.99), max: at(1) };
}

function worst(seconds: readonly LoadSecond[]): LoadReport["worstSecond"] {
  const attempts = seconds.reduce((most, second) => Math.max(most, second.attempts), 0);
  const index = Math.max(
    0,
    seconds.findIndex((second) => second.attempts === attempts),
  );
  return { atMs: index * 1_000, attempts };
}

const RULES: Rules<LoadTestOptions> = {
  send: { ...aFunction, needed: true },
  service: {
    expected: "a service, or a function that makes one for a client",
    holds: (value) =>
      typeof value === "function" || typeof (value as Guard | null)?.executeWithRetry === "function",
  },
  call: aFunction,
  clients: count(1, 100_000),
  ratePerSecond: {
    ...number(Number.MIN_VALUE, 100_000),
    expected: "a number above 0, up to 100000",
    needed: true,
  },
  durationMs: { ...milliseconds(1, 31_536_000_000), needed: true },
  arrivals: oneOf("random", "even"),
  usefulWithinMs: milliseconds(1, 31_536_000_000),
  isSuccess: aFunction,
  host: anObject,
  signal: { expected: "an AbortSignal", holds: isSignal },
};
