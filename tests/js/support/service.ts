import { afterEach, beforeEach, expect, vi } from "vitest";
import { RateLimitService } from "../../../js/index.ts";
import { ManualHost } from "../../../js/testing.ts";
import type { AttemptInfo, Logger, RateLimitConfig } from "../../../js/types.ts";

/** A logger that keeps its lines as `level: text`. */
export class Log implements Logger {
  readonly lines: string[] = [];
  readonly details: unknown[][] = [];

  error(message: string, ...details: unknown[]): void {
    this.#note("error", message, details);
  }
  warn(message: string, ...details: unknown[]): void {
    this.#note("warn", message, details);
  }
  info(message: string, ...details: unknown[]): void {
    this.#note("info", message, details);
  }
  debug(message: string, ...details: unknown[]): void {
    this.#note("debug", message, details);
  }

  #note(level: string, message: string, details: unknown[]): void {
    this.lines.push(`${level}: ${message}`);
    this.details.push(details);
  }
}

export interface Bench {
  service: RateLimitService;
  host: ManualHost;
  log: Log;
}

/** A service by a manual clock, without jitter and with its log kept, unless `config` says otherwise. */
export function bench(config: Partial<RateLimitConfig> = {}, Service = RateLimitService): Bench {
  const host = new ManualHost();
  const log = new Log();
  const service = new Service({ jitter: "none", logger: log, ...config }, host);
  return { service, host, log };
}

/** The package as a page finds it: nothing compiled, nothing counted. */
export async function freshPackage(): Promise<typeof import("../../../js/index.ts")> {
  vi.resetModules();
  return import("../../../js/index.ts");
}

/** An error with a status, and perhaps a `Retry-After` in seconds. */
export function refusal(retryAfter?: number | string, status = 429): Error {
  return Object.assign(new Error(`HTTP ${status}`), {
    status,
    ...(retryAfter !== undefined && { headers: { "Retry-After": String(retryAfter) } }),
  });
}

export type Settled<T = unknown> = { value: T; error?: undefined } | { error: unknown; value?: undefined };

/** How a promise ended, as a value. */
export function ended<T>(promise: PromiseLike<T>): Promise<Settled<T>> {
  return Promise.resolve(promise).then(
    (value): Settled<T> => ({ value }),
    (error: unknown): Settled<T> => ({ error }),
  );
}

/** What a call rejected with; fails when it did not. */
export async function rejection(promise: PromiseLike<unknown>): Promise<unknown> {
  const end = await ended(promise);
  if ("error" in end) return end.error;
  throw new Error(`resolved with ${String(end.value)}`);
}

/** An operation that gives these answers one after the other, errors thrown, and the last one from then on. */
export function script(
  ...answers: unknown[]
): ((attempt: AttemptInfo) => Promise<unknown>) & { times: number } {
  const operation = async (): Promise<unknown> => {
    const answer = answers[Math.min(operation.times++, answers.length - 1)];
    if (answer instanceof Error) throw answer;
    return answer;
  };
  operation.times = 0;
  return operation;
}

/** A promise with its two ends. */
export function deferred<T = unknown>(): {
  promise: Promise<T>;
  resolve: (value: T) => void;
  reject: (reason: unknown) => void;
} {
  let resolve!: (value: T) => void;
  let reject!: (reason: unknown) => void;
  const promise = new Promise<T>((yes, no) => {
    resolve = yes;
    reject = no;
  });
  return { promise, resolve, reject };
}

/** After each test of the file the platform is as it was, and no rejection was left that nobody handles. */
export function leavesNothingLoose(): void {
  let loose: unknown[] = [];
  const note = (error: unknown): void => void loose.push(error);
  beforeEach(() => {
    loose = [];
    process.on("unhandledRejection", note);
  });
  afterEach(async () => {
    vi.useRealTimers();
    vi.unstubAllGlobals();
    await new Promise(setImmediate);
    process.off("unhandledRejection", note);
    expect(loose).toEqual([]);
  });
}
