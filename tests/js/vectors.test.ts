import { readFileSync } from "node:fs";
import { afterEach, beforeAll, describe, expect, it, vi } from "vitest";
import { Judgement } from "../../js/codes.ts";
import { numbersOf } from "../../js/config.ts";
import { isRateLimitError, type RateLimitError, RateLimitService } from "../../js/index.ts";
import { verdictName } from "../../js/judge.ts";
import { ManualHost } from "../../js/testing.ts";
import type { CallContext, CircuitState, RateLimitConfig, ServiceEvents } from "../../js/types.ts";
import * as glue from "../../pkg/core.js";
import { decode } from "./support/decode.ts";
import { deferred, ended, refusal, type Settled } from "./support/service.ts";

/** The golden cases that Rust runs too: tests/vectors/README.md says what is in them. */

afterEach(() => {
  vi.unstubAllGlobals();
});

beforeAll(() => {
  new RateLimitService().getCircuitState();
});

function vectors<T>(name: string): T {
  return JSON.parse(readFileSync(new URL(`../vectors/${name}.json`, import.meta.url), "utf8")) as T;
}

/** The wall time of all classifications. */
const WALL = 1_795_334_400_000;

interface Expected {
  verdict: "success" | "throttled" | "transient" | "permanent" | "ignored";
  answered?: boolean;
  scope?: "service" | "call";
  hintMs?: number;
}

interface Classification extends Expected {
  name: string;
  settled: "thrown" | "resolved";
  value: unknown;
}

/** What the core itself says to a value, as far as the case tells. */
function coreSays(value: unknown, thrown: boolean, wall: number): Expected {
  const service = glue.create(numbersOf({}));
  const code = glue.judge(service, value, thrown, wall, undefined);
  const hintMs = glue.after(service);
  glue.free(service);
  const throttled = code === Judgement.throttled || code === Judgement.throttledCall;
  return {
    verdict: verdictName(code),
    ...(throttled && { scope: code === Judgement.throttledCall ? "call" : "service" }),
    ...(throttled && !Number.isNaN(hintMs) && { hintMs }),
    ...((code === Judgement.transient || code === Judgement.silent) && {
      answered: code === Judgement.transient,
    }),
  };
}

/** A service in which one refusal ends a call, with the hint in the error and nothing added to it. */
function oneAttempt(wall: number, config: Partial<RateLimitConfig> = {}): RateLimitService {
  return new RateLimitService(
    { maxRetries: 0, initialDelayMs: 0, jitter: "none", logLevel: "silent", ...config },
    new ManualHost({ now: wall }),
  );
}

describe("classification.json", () => {
  const cases = vectors<Classification[]>("classification");

  it.each(cases.map((row) => [row.name, row] as const))("%s: the core", (_, row) => {
    const { name: _name, settled, value, ...expected } = row;
    expect(coreSays(decode(value), settled === "thrown", WALL)).toEqual(expected);
  });

  // No promise resolves with a revoked proxy: the language asks it for its `then`.
  const resolvable = cases.filter(({ name }) => name !== "a revoked proxy, resolved");

  it.each(resolvable.map((row) => [row.name, row] as const))("%s: a call", async (_, row) => {
    const service = oneAttempt(WALL);
    const verdicts: string[] = [];
    service.on("attempt", ({ verdict }) => verdicts.push(verdict));
    const value = decode(row.value);
    const end = await ended(
      service.executeWithRetry(() => {
        if (row.settled === "thrown") throw value;
        return value;
      }),
    );
    expect(verdicts).toEqual([row.verdict]);
    if (row.verdict === "throttled") expectRefused(end, value, row);
    else expectPassedOn(end, value, row.settled);
    const counts = row.verdict === "throttled" && row.scope === "service";
    expect(service.getCircuitState().consecutiveFailures).toBe(counts ? 1 : 0);
  });

  function expectRefused(end: Settled, value: unknown, { hintMs = 0 }: Expected): void {
    const code = hintMs > 60_000 ? "RATE_LIMIT_RETRY_AFTER_TOO_LONG" : "RATE_LIMIT_MAX_RETRIES_EXCEEDED";
    expect(isRateLimitError(end.error)).toBe(true);
    const error = end.error as { code: string; retryAfterMs: number; originalError: unknown };
    expect([error.code, error.retryAfterMs]).toEqual([code, hintMs]);
    expect(Object.is(error.originalError, value)).toBe(true);
  }

  function expectPassedOn(end: Settled, value: unknown, settled: string): void {
    expect("error" in end ? "thrown" : "resolved").toBe(settled);
    expect(Object.is("error" in end ? end.error : end.value, value)).toBe(true);
  }
});

describe("hints.json", () => {
  interface Hint {
    name: string;
    header: string;
    value: string;
    wall: number;
    date?: string;
    hintMs: number | null;
  }
  const cases = vectors<Hint[]>("hints").map((row) => [row.name, row] as const);
  const headersOf = ({ header, value, date }: Hint): Record<string, string> => ({
    [header]: value,
    ...(date !== undefined && { date }),
  });

  it.each(cases)("%s: the core", (_, row) => {
    // What stands in a header field is bytes: a Headers object takes no others.
    const headers = isByteString(row.value) ? new Headers(headersOf(row)) : headersOf(row);
    const { hintMs } = coreSays({ status: 429, headers }, true, row.wall);
    expect(hintMs ?? null).toBe(row.hintMs);
  });

  it.each(cases.filter(([, row]) => isByteString(row.value)))("%s: a refused Response", async (_, row) => {
    const service = oneAttempt(row.wall, { initialDelayMs: 7, maxRetryAfterMs: 31_536_000_000 });
    const refused = new Response(null, { status: 429, headers: headersOf(row) });
    const { error } = await ended(service.executeWithRetry(() => refused));
    // Without a hint, and where it is shorter, the backoff that would have come.
    expect(error).toMatchObject({ retryAfterMs: Math.max(7, row.hintMs ?? 7), originalError: refused });
  });

  function isByteString(text: string): boolean {
    return [...text].every((character) => character.charCodeAt(0) < 256);
  }
});

interface Cases<Case> {
  config: Partial<RateLimitConfig>;
  cases: ({ name: string; config: Partial<RateLimitConfig> } & Case)[];
}

/** The cases of a file by name, each with its whole configuration. */
function configured<Case>(name: string): [string, Case, Partial<RateLimitConfig>][] {
  const { config, cases } = vectors<Cases<Case>>(name);
  return cases.map((row) => [row.name, row, { logLevel: "silent", ...config, ...row.config }]);
}

/** A manual clock with randomness of the case's choosing, and a service by it. */
function timed(config: Partial<RateLimitConfig>): {
  clock: ManualHost;
  service: RateLimitService;
  draw: { next: number };
} {
  const clock = new ManualHost({ now: 1_000 });
  const draw = { next: 0 };
  const host = { now: clock.now, sleep: clock.sleep, random: () => draw.next };
  return { clock, draw, service: new RateLimitService(config, host) };
}

type WrittenVerdict =
  | "success"
  | "transient"
  | "lost"
  | "permanent"
  | "ignored"
  | { throttled: true; retryAfterMs?: number; scope?: "call" };

/** What an attempt with this verdict brings: a value, or an error that is thrown. */
function brings(verdict: WrittenVerdict): Settled {
  if (verdict === "success") return { value: "done" };
  return { error: errorOf(verdict) };
}

function errorOf(verdict: Exclude<WrittenVerdict, "success">): unknown {
  if (typeof verdict === "object") {
    const { retryAfterMs, scope } = verdict;
    return Object.assign(new Error("refused"), {
      status: 429,
      ...(scope === "call" && { code: "over_email_send_rate_limit" }),
      ...(retryAfterMs !== undefined && { headers: { "retry-after-ms": String(retryAfterMs) } }),
    });
  }
  switch (verdict) {
    case "transient":
      return refusal(undefined, 503);
    case "lost":
      return new TypeError("Failed to fetch");
    case "permanent":
      return refusal(undefined, 404);
    case "ignored":
      return new DOMException("aborted", "AbortError");
  }
}

describe("backoff.json", () => {
  interface Pauses {
    refusals: { random: number; retryAfterMs?: number; delayMs: number }[];
  }

  it.each(configured<Pauses>("backoff"))("%s", async (_, { refusals }, config) => {
    const { clock, service, draw } = timed(config);
    const told: number[] = [];
    const attempted: number[] = [];
    service.on("retry", ({ delayMs }) => told.push(delayMs));
    const call = service.executeWithRetry(({ attempt }) => {
      attempted.push(clock.now());
      const next = refusals[attempt - 1];
      if (!next) return "done";
      draw.next = next.random;
      throw errorOf({ throttled: true, ...next });
    });
    expect(await clock.drive(call)).toBe("done");
    const expected = refusals.map(({ delayMs }) => delayMs);
    expect(told).toEqual(expected);
    expect(attempted.slice(1).map((time, index) => time - (attempted[index] ?? 0))).toEqual(expected);
  });
});

/** One step of a story or of a circuit: what is done at that time. */
interface Step {
  at: number;
  call?: string;
  start?: string;
  end?: string;
  cancel?: string;
  verdict?: WrittenVerdict;
  goes?: boolean;
  retryAfterMs?: number | null;
  state?: Omit<CircuitState, "retryAfterMs"> & { retryAfterMs: number | null };
  reset?: true;
  isolate?: true;
  updateConfig?: Partial<RateLimitConfig>;
  online?: boolean;
  priority?: number;
  deadlineMs?: number;
  maxRetries?: number;
  idempotent?: boolean;
}

/** Calls by name, what is done to them, and what became of them. */
class World {
  readonly story: string[] = [];
  readonly #clock: ManualHost;
  readonly #service: RateLimitService;
  /** The attempts in flight. */
  readonly #attempts = new Map<string, ReturnType<typeof deferred>>();
  readonly #cancels = new Map<string, AbortController>();
  readonly #brought = new Map<string, unknown>();
  readonly #rejections = new Map<string, RateLimitError>();

  constructor(config: Partial<RateLimitConfig>) {
    const { clock, service } = timed(config);
    this.#clock = clock;
    this.#service = service;
    service.on("circuit", ({ from, to }: ServiceEvents["circuit"]) => this.#tell(`circuit ${from} > ${to}`));
  }

  async take(step: Step): Promise<void> {
    await this.#clock.advance(step.at - this.#clock.now());
    const who = step.call ?? step.start;
    if (who !== undefined) this.#begin(who, step);
    if (step.end !== undefined) this.#end(step.end, step.verdict);
    if (step.cancel !== undefined) this.#cancels.get(step.cancel)?.abort();
    if (step.reset) this.#service.resetCircuit();
    if (step.isolate) this.#service.isolateCircuit();
    if (step.updateConfig) this.#service.updateConfig(step.updateConfig);
    if (step.online !== undefined) vi.stubGlobal("navigator", { onLine: step.online });
    await this.#clock.advance(0);
    if (step.start !== undefined) this.#expectToGo(step.start, step);
    if (step.state) this.#expectState(step.state);
  }

  #begin(who: string, { priority, deadlineMs, maxRetries, idempotent }: Step): void {
    const cancel = new AbortController();
    const context: CallContext = {
      ...{ priority, deadlineMs, maxRetries, idempotent },
      signal: cancel.signal,
      onWait: ({ reason, untilTime }) =>
        this.#tell(`${who} waits for ${reason}${Number.isNaN(untilTime) ? "" : ` until ${untilTime}`}`),
    };
    this.#cancels.set(who, cancel);
    const call = this.#service.executeWithRetry(({ attempt }) => {
      const result = deferred();
      this.#attempts.set(who, result);
      this.#tell(`${who} attempt ${attempt}`);
      return result.promise;
    }, context);
    call.then(
      () => this.#tell(`${who} done`),
      (error: unknown) => this.#rejected(who, error, cancel.signal),
    );
  }

  #rejected(who: string, error: unknown, signal: AbortSignal): void {
    if (signal.aborted && error === signal.reason) {
      this.#tell(`${who} cancelled`);
    } else if (isRateLimitError(error)) {
      this.#rejections.set(who, error);
      const again = error.retryAfterMs === undefined ? "" : `, again in ${error.retryAfterMs}`;
      this.#tell(`${who} rejected ${error.code}${again}`);
    } else if (error === this.#brought.get(who)) {
      this.#tell(`${who} passed on`);
    } else {
      this.#tell(`${who} rejected with something else: ${String(error)}`);
    }
  }

  #end(who: string, verdict: WrittenVerdict = "success"): void {
    const attempt = this.#attempts.get(who);
    if (!attempt) throw new Error(`${who} makes no attempt`);
    this.#attempts.delete(who);
    const { value, error } = brings(verdict);
    this.#brought.set(who, error);
    if (error === undefined) attempt.resolve(value);
    else attempt.reject(error);
  }

  #expectToGo(who: string, { at, goes, retryAfterMs }: Step): void {
    expect(this.#attempts.has(who), `${at} ${who} goes`).toBe(goes);
    if (goes) return;
    const rejection = this.#rejections.get(who);
    expect(rejection?.code).toBe("RATE_LIMIT_CIRCUIT_OPEN");
    expect(rejection?.retryAfterMs ?? null, `${at} ${who}`).toBe(retryAfterMs);
  }

  #expectState(expected: NonNullable<Step["state"]>): void {
    const retryAfterMs = expected.retryAfterMs ?? Number.POSITIVE_INFINITY;
    expect(this.#service.getCircuitState()).toEqual({ ...expected, retryAfterMs });
  }

  #tell(line: string): void {
    this.story.push(`${this.#clock.now()} ${line}`);
  }
}

describe("circuit.json", () => {
  it.each(configured<{ steps: Step[] }>("circuit"))("%s", async (_, { steps }, config) => {
    const world = new World(config);
    for (const step of steps) await world.take(step);
  });
});

describe("service.json", () => {
  it.each(configured<{ steps: Step[]; story: string[] }>("service"))(
    "%s",
    async (_, { steps, story }, config) => {
      const world = new World(config);
      for (const step of steps) await world.take(step);
      expect(byTime(world.story)).toEqual(byTime(story));
    },
  );

  /** What is told of one millisecond as a set: promises settle in an order of their own. */
  function byTime(story: string[]): string[] {
    const times = story.map((line) => Number.parseInt(line, 10));
    expect(times).toEqual([...times].sort((a, b) => a - b));
    return [...story].sort();
  }
});
