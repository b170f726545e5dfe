import {
  aFunction,
  anObject,
  checked,
  count,
  type Host,
  isRateLimitError,
  milliseconds,
  number,
  type Outcome,
  plainAlarm,
  platform,
  type Rules,
} from "../api.ts";
// Of the default entry, because that brings the core along.
import { coreState, RateLimitService } from "../index.ts";
import { isFine, isSignal } from "./answers.ts";
import { ManualHost } from "./manual-host.ts";

export interface RateLimitTestOptions {
  /** Makes one request, as the application does: `({ signal }) => fetch(url, { signal })`. It must not retry by itself. */
  send: (request: { index: number; signal: AbortSignal }) => unknown;
  /** How fast requests are made. A limit above it is not seen. Default 10; above 0, up to 1000. */
  ratePerSecond?: number | undefined;
  /** How many may be under way, so that a slow answer holds the pace up less. Default 1; 1 to 100. */
  concurrency?: number | undefined;
  /** No more requests than these, in all. Default 200; 1 to 100_000. */
  maxRequests?: number | undefined;
  /** No more refusals than these, in all, but for what was under way already. Default 12; 1 to 100. */
  maxRefusals?: number | undefined;
  /** No longer than that, waits included. Default 300_000; 1 to 86_400_000. */
  maxDurationMs?: number | undefined;
  /** How long an answer may take. Default 30_000; 1 to 3_600_000. */
  timeoutMs?: number | undefined;
  /** What is a refusal, where the built-in rules do not see it. What they see is one in any case. */
  isRefusal?: ((outcome: Outcome) => boolean) | undefined;
  /** Whose time it goes by. A `ManualHost` is moved on as fast as it goes. Default: real time. */
  host?: Partial<Host> | undefined;
  /** Ends the test; what was found by then is reported. */
  signal?: AbortSignal | null | undefined;
}

/** What a refusal looks like to the code of the page. */
export interface RefusalSeen {
  /** Whether `send` threw it, or returned it. */
  thrown: boolean;
  status?: number | undefined;
  code?: string | undefined;
  message?: string | undefined;
  /** How long the server asks to wait, as a service reads it from headers, body or prose. `undefined`: it does not say. */
  retryAfterMs?: number | undefined;
  /** Headers that may tell of limits. In a browser only those that the server exposes to pages. */
  headers: Record<string, string>;
  /** The first 500 characters of the body of a `Response` that `send` left unread. */
  body?: string | undefined;
  /** Whether a service takes it for a refusal without a `classify` of yours. */
  understood: boolean;
}

export interface RateLimitFindings {
  requests: number;
  accepted: number;
  refused: number;
  durationMs: number;
  /**
   * Why it ended: the limit was met twice, and so is known; `maxRequests`, `maxRefusals` or `maxDurationMs` are reached (or
   * the next look would be later than that); an answer was neither success nor refusal; the signal aborted.
   */
  stopped: "found" | "requests" | "refusals" | "time" | "failure" | "aborted";
  /**
   * What the server let through from one opening to the next: so many in so long, give or take `uncertaintyMs`. A bucket that
   * fills evenly shows its rate. Whoever wants to be sure configures a window longer by the uncertainty. `null`: not found.
   */
  limit: { maxRequests: number; windowMs: number; uncertaintyMs: number } | null;
  /** How many were let through before the first refusal, and in what time: more than `limit` says where there is a burst. */
  atFirst: { accepted: number; durationMs: number };
  /** How long after a refusal the next request was let through. `null`: none was. */
  reopenedAfterMs: number | null;
  /** The first one. `null`: there was none. */
  refusal: RefusalSeen | null;
  /** Headers of the last answer that was no refusal which may tell of limits. */
  headers: Record<string, string>;
  /** What `send` threw or returned when it neither succeeded nor was refused. */
  failure?: unknown;
}

/**
 * Finds out which limit a server shows, with few requests: at a steady pace until it refuses, then waits as long as it asks
 * for (else 1, 2, 4 … seconds), and all that once more. What lies between the two openings is the limit.
 *
 * It never hammers: a refusal ends a series at once, single requests look whether it is over, and it stops at the bounds
 * that the options set. For servers of your own, or where you have been allowed to.
 *
 * @throws RateLimitConfigError for illegal options; an Error without the core, which reads what servers say.
 */
export async function testRateLimits(options: RateLimitTestOptions): Promise<RateLimitFindings> {
  const given = checked<RateLimitTestOptions>("options", options, RULES) as RateLimitTestOptions;
  const running = new LimitTest(given).run();
  return given.host instanceof ManualHost ? given.host.drive(running) : running;
}

/** What it goes by, defaults filled in. */
type Terms = typeof DEFAULTS & Pick<RateLimitTestOptions, "send">;

/** `at` is when the request was made. */
type Answer =
  | { kind: "accepted"; at: number }
  | ({ kind: "refused" } & Refused)
  | { kind: "failure"; at: number };

interface Refused {
  at: number;
  retryAfterMs: number | undefined;
}

/** Requests at a steady pace, until one of them is refused: the last one that was. */
interface Series {
  accepted: number;
  began: number;
  refusal: Refused | null;
}

/** The first request that was let through again. */
interface Opened {
  at: number;
  /** Until then at least it was shut. */
  shutAt: number;
  /** The last pause before it, as long as it would be without a hint. */
  backoff: number;
}

class LimitTest {
  readonly #options: Terms;
  readonly #isRefusal: RateLimitTestOptions["isRefusal"];
  readonly #given: Partial<Host> | undefined;
  readonly #host: Host;
  readonly #signal: AbortSignal;
  /** Calls listen only where there is something to hear. */
  readonly #givenSignal: AbortSignal | undefined;
  readonly #started: number;
  readonly #found: RateLimitFindings;
  #stopped: RateLimitFindings["stopped"] | null = null;
  /** When the next request may be made at the earliest. */
  #next: number;

  constructor({ host, signal, isRefusal, ...options }: RateLimitTestOptions) {
    this.#options = { ...DEFAULTS, ...options } as Terms;
    this.#isRefusal = isRefusal;
    this.#given = host;
    this.#host = platform(host, plainAlarm);
    this.#givenSignal = signal ?? undefined;
    this.#signal = signal ?? new AbortController().signal;
    this.#started = this.#host.now();
    this.#next = this.#started;
    this.#found = {
      requests: 0,
      accepted: 0,
      refused: 0,
      durationMs: 0,
      stopped: "requests",
      limit: null,
      atFirst: { accepted: 0, durationMs: 0 },
      reopenedAfterMs: null,
      refusal: null,
      headers: {},
    };
  }

  async run(): Promise<RateLimitFindings> {
    const first = await this.#series();
    const found = this.#found;
    const until = first.refusal?.at ?? this.#host.now();
    found.atFirst = { accepted: first.accepted, durationMs: until - first.began };
    if (first.refusal) await this.#measured(first.refusal);
    found.durationMs = this.#host.now() - this.#started;
    found.stopped = this.#stopped ?? "found";
    return found;
  }

  /**
   * From one opening to the next: what a server lets through between two moments at which it has just opened is its limit,
   * however it counts. The first series says less: who knows how full a window was when it began.
   */
  async #measured(refusal: Refused): Promise<void> {
    const opened = await this.#opened(refusal, FIRST_LOOK_MS);
    if (!opened) return;
    this.#found.reopenedAfterMs = opened.at - refusal.at;
    const series = await this.#series();
    // It opens once more after about as long.
    const again = series.refusal && (await this.#opened(series.refusal, opened.backoff / 2));
    if (!again) return;
    this.#found.limit = {
      maxRequests: series.accepted + 1,
      windowMs: Math.ceil(again.at - opened.at),
      uncertaintyMs: Math.ceil(Math.max(opened.at - opened.shutAt, again.at - again.shutAt)),
    };
  }

  async #series(): Promise<Series> {
    const series: Series = { accepted: 0, began: this.#host.now(), refusal: null };
    const underWay = new Set<Promise<void>>();
    while (series.refusal === null && (await this.#mayGoOn())) {
      const one = this.#ask().then((answer) => {
        underWay.delete(one);
        if (answer.kind === "accepted") series.accepted++;
        else if (answer.kind === "refused" && !(series.refusal && series.refusal.at > answer.at)) {
          series.refusal = answer;
        }
      });
      underWay.add(one);
      if (underWay.size >= this.#options.concurrency) await Promise.race(underWay);
    }
    await Promise.all(underWay);
    return series;
  }

  /** Asks one by one until the server lets one through; `backoff` is where it says nothing. */
  async #opened({ at, retryAfterMs }: Refused, backoff: number): Promise<Opened | null> {
    let [shutAt, hint] = [at, retryAfterMs];
    for (let pause = backoff; ; pause *= 2) {
      this.#next = this.#host.now() + (hint ?? pause);
      if (!(await this.#mayGoOn())) return null;
      const answer = await this.#ask();
      if (answer.kind === "failure") return null;
      if (answer.kind === "accepted") {
        const least = hint === undefined ? shutAt : answer.at - HINT_MS;
        return { at: answer.at, shutAt: Math.max(shutAt, least), backoff: pause };
      }
      shutAt = answer.at;
      hint = answer.retryAfterMs;
    }
  }

  /** Waits for the pace; false when the test is over. */
  async #mayGoOn(): Promise<boolean> {
    if (!this.#isWithinBounds()) return false;
    const ms = this.#next - this.#host.now();
    if (ms > 0) await this.#host.sleep(ms, this.#signal);
    return this.#isWithinBounds();
  }

  #isWithinBounds(): boolean {
    const { maxRequests, maxRefusals, maxDurationMs } = this.#options;
    if (this.#signal.aborted) this.#stopped ??= "aborted";
    else if (this.#found.refused >= maxRefusals) this.#stopped ??= "refusals";
    else if (this.#found.requests >= maxRequests) this.#stopped ??= "requests";
    else if (this.#next - this.#started > maxDurationMs) this.#stopped ??= "time";
    return this.#stopped === null;
  }

  async #ask(): Promise<Answer> {
    const at = this.#host.now();
    this.#next = at + 1_000 / this.#options.ratePerSecond;
    const index = this.#found.requests++;
    const { outcome, retryAfterMs, understood } = await this.#outcome(index);
    if (understood || this.#isRefusal?.(outcome)) {
      this.#found.refused++;
      // A hint of 0 is none: who believes it asks for ever.
      const hint = (retryAfterMs ?? outcome.retryAfterMs) || undefined;
      if (this.#found.refusal === null) {
        const seen = await this.#seen(outcome, hint, understood);
        this.#found.refusal ??= seen;
      }
      letGo(answerIn(outcome));
      return { kind: "refused", at, retryAfterMs: hint };
    }
    return this.#taken(at, outcome);
  }

  /** An answer that was no refusal: a success, or the end of the test. */
  #taken(at: number, outcome: Outcome): Answer {
    const answer = answerIn(outcome);
    if (!("error" in outcome) && isFine(answer)) {
      this.#found.accepted++;
      this.#found.headers = limitHeaders(answer);
      letGo(answer);
      return { kind: "accepted", at };
    }
    if (this.#signal.aborted) this.#stopped ??= "aborted";
    else if (this.#stopped === null) {
      this.#stopped = "failure";
      this.#found.failure = answer;
    }
    return { kind: "failure", at };
  }

  /** One request through a service that does nothing about a refusal but to know one. */
  async #outcome(index: number): Promise<Heard> {
    let outcome: Outcome | undefined;
    const classify = (facts: Outcome): undefined => {
      outcome = facts;
    };
    const service = new RateLimitService(
      { ...ONLY_LISTENS, attemptTimeoutMs: this.#options.timeoutMs, classify },
      this.#given,
    );
    try {
      if (coreState() !== "ready")
        throw new Error(`testRateLimits needs the core, which is "${coreState()}" here.`);
      const value = await service.executeWithRetry(({ signal }) => this.#options.send({ index, signal }), {
        signal: this.#givenSignal,
      });
      return { outcome: outcome ?? { value, durationMs: 0 }, retryAfterMs: undefined, understood: false };
    } catch (error) {
      if (coreState() !== "ready") throw error;
      const understood = isRateLimitError(error);
      // Without a hint it is the backoff, which is 0.
      const retryAfterMs = (understood && error.retryAfterMs) || undefined;
      return { outcome: outcome ?? { error, durationMs: 0 }, retryAfterMs, understood };
    } finally {
      service.dispose();
    }
  }

  async #seen(outcome: Outcome, retryAfterMs: number | undefined, understood: boolean): Promise<RefusalSeen> {
    const thrown = "error" in outcome;
    const { status, code, message } = outcome;
    const answer = answerIn(outcome);
    const body = await this.#bodyOf(answer);
    return { thrown, status, code, message, retryAfterMs, headers: limitHeaders(answer), body, understood };
  }

  /** A body that never ends must not keep us. */
  async #bodyOf(answer: unknown): Promise<string | undefined> {
    if (!(answer instanceof Response) || answer.bodyUsed) return undefined;
    const late = new AbortController();
    const text = answer.text().then(
      (all) => all.slice(0, 500),
      () => undefined,
    );
    const body = await Promise.race([text, this.#host.sleep(BODY_MS, late.signal)]);
    late.abort();
    return body ?? undefined;
  }
}

interface Heard {
  outcome: Outcome;
  retryAfterMs: number | undefined;
  understood: boolean;
}

/** What `send` threw or returned. */
function answerIn(outcome: Outcome): unknown {
  return "error" in outcome ? outcome.error : outcome.value;
}

/** A connection is free again when its answer has been read, or is let go of. */
function letGo(answer: unknown): void {
  if (answer instanceof Response && !answer.bodyUsed) answer.body?.cancel().catch(() => {});
}

/** `Retry-After`, `RateLimit`, `RateLimit-Policy`, `X-RateLimit-…`, `X-Shopify-Shop-Api-Call-Limit` and their like. */
const TELLS_LIMITS = /^(?:x-)?(?:ms-)?retry-after|rate-?limit|call-limit|concurrent-requests|quota/i;

function limitHeaders(answer: unknown): Record<string, string> {
  const { headers, error } = (answer ?? {}) as { headers?: unknown; error?: { headers?: unknown } | null };
  const pairs = pairsOf(headers ?? error?.headers);
  return Object.fromEntries(
    pairs
      .map(([name, value]) => [name.toLowerCase(), value])
      .filter(([name = ""]) => TELLS_LIMITS.test(name)),
  );
}

function pairsOf(headers: unknown): [string, string][] {
  if (typeof headers !== "object" || headers === null) return [];
  const pairs =
    headers instanceof Headers || headers instanceof Map ? [...headers.entries()] : Object.entries(headers);
  return pairs.map(([name, value]) => [String(name), String(value)]);
}

/** Nothing of a service but its ears: each request stands for itself, and what its error asks to wait is the server's hint. */
const ONLY_LISTENS = {
  maxRetries: 0,
  initialDelayMs: 0,
  jitter: "none",
  maxRetryAfterMs: 31_536_000_000,
  circuitBreakerThreshold: 1_000_000,
  sharedCooldown: false,
  logLevel: "silent",
} as const;

const DEFAULTS = {
  ratePerSecond: 10,
  concurrency: 1,
  maxRequests: 200,
  maxRefusals: 12,
  maxDurationMs: 300_000,
  timeoutMs: 30_000,
};

/** As long as a person waits before pressing again. */
const FIRST_LOOK_MS = 1_000;

/** Hints are mostly whole seconds, rounded up. */
const HINT_MS = 1_000;

const BODY_MS = 5_000;

const RULES: Rules<RateLimitTestOptions> = {
  send: { ...aFunction, needed: true },
  ratePerSecond: { ...number(Number.MIN_VALUE, 1_000), expected: "a number above 0, up to 1000" },
  concurrency: count(1, 100),
  maxRequests: count(1, 100_000),
  maxRefusals: count(1, 100),
  maxDurationMs: milliseconds(1, 86_400_000),
  timeoutMs: milliseconds(1, 3_600_000),
  isRefusal: aFunction,
  host: anObject,
  signal: { expected: "an AbortSignal", holds: isSignal },
};
