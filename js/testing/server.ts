import { checked, count, type Host, milliseconds, oneOf, type Rules } from "../api.ts";

/** One answer of a scripted server: a status with what goes with it, or a lost connection. */
export type ScriptedAnswer =
  | number
  | "lost"
  | { status: number; headers?: Record<string, string>; body?: unknown; statusText?: string };

/** A `fetch` that gives these answers one after the other, and the last one from then on. */
export function scriptedFetch(...answers: ScriptedAnswer[]): typeof fetch & { requests: Request[] } {
  const requests: Request[] = [];
  const scripted = async (input: RequestInfo | URL, init?: RequestInit): Promise<Response> => {
    const request = new Request(input, init);
    request.signal.throwIfAborted();
    requests.push(request);
    const answer = answers[Math.min(requests.length, answers.length) - 1] ?? 200;
    if (answer === "lost") throw new TypeError("Failed to fetch");
    return typeof answer === "number" ? responseOf({ status: answer }) : responseOf(answer);
  };
  return Object.assign(scripted, { requests });
}

export interface LimitedFetchOptions {
  /** Whose time the server and the network go by: the host of what is tested. */
  host: Pick<Host, "now" | "sleep">;
  /** So many are let through in a window. 1 to 1_000_000. */
  maxRequests: number;
  /** 1 to 31_536_000_000. */
  windowMs: number;
  /**
   * `"window"`: windows that follow each other, full again at once. `"sliding"`: no stretch of `windowMs` ever has more.
   * `"bucket"`: room comes back evenly. Default `"window"`.
   */
  counting?: "window" | "sliding" | "bucket" | undefined;
  /** The way there and back, half of it each. Default 50; 0 to 3_600_000. */
  latencyMs?: number | undefined;
  /** What a refusal says: `Retry-After` in whole seconds, or nothing at all. Default `"retry-after"`. */
  hint?: "retry-after" | "none" | undefined;
  /** The status of a refusal. Default 429; 400 to 599. */
  status?: number | undefined;
}

/** A `fetch` in front of a server that has a limit, and what became of the requests. */
export type LimitedFetch = typeof fetch & {
  readonly accepted: number;
  readonly refused: number;
  /** Other limits from now on, as when a server loses half of its capacity. What was counted stays. */
  limit(limits: { maxRequests: number; windowMs: number }): void;
};

/**
 * A `fetch` that answers 200 as long as the limit holds, and refuses what is more. It keeps no requests.
 *
 * @throws RateLimitConfigError for options that are missing or out of their range.
 */
export function limitedFetch(options: LimitedFetchOptions): LimitedFetch {
  const given = checked<LimitedFetchOptions>("options", options, RULES) as LimitedFetchOptions;
  const { host, latencyMs = 50, hint = "retry-after", status = 429 } = given;
  const meter = METERS[given.counting ?? "window"](host.now());
  let limits: Limits = given;
  const counts = { accepted: 0, refused: 0 };

  const limited = async (input: RequestInfo | URL, init?: RequestInit): Promise<Response> => {
    const signal = init?.signal ?? (input instanceof Request ? input.signal : undefined);
    await onTheWay(signal);
    const waitMs = meter(host.now(), limits);
    if (waitMs === 0) counts.accepted++;
    else counts.refused++;
    await onTheWay(signal);
    return waitMs === 0 ? responseOf({ status: 200, body: {} }) : refusal(waitMs);
  };

  async function onTheWay(signal: AbortSignal | undefined): Promise<void> {
    signal?.throwIfAborted();
    await host.sleep(latencyMs / 2, signal);
    signal?.throwIfAborted();
  }

  function refusal(waitMs: number): Response {
    const headers = hint === "none" ? {} : { "Retry-After": String(Math.ceil(waitMs / 1_000)) };
    return responseOf({
      status,
      statusText: "Too Many Requests",
      headers,
      body: { message: "Too many requests" },
    });
  }

  return Object.defineProperties(limited, {
    accepted: { get: () => counts.accepted },
    refused: { get: () => counts.refused },
    limit: {
      value: (others: Limits) => {
        limits = checked("limits", others, LIMITS) as Limits;
      },
    },
  }) as LimitedFetch;
}

interface Limits {
  maxRequests: number;
  windowMs: number;
}

/** 0: let through and counted; else the milliseconds after which the next one would be. */
type Meter = (now: number, limits: Limits) => number;

const METERS: Record<NonNullable<LimitedFetchOptions["counting"]>, (start: number) => Meter> = {
  window: (start) => {
    let window = 0;
    let used = 0;
    return (now, { maxRequests, windowMs }) => {
      const current = Math.floor((now - start) / windowMs);
      if (current !== window) [window, used] = [current, 0];
      if (used >= maxRequests) return start + (current + 1) * windowMs - now;
      used++;
      return 0;
    };
  },
  sliding: () => {
    const log: number[] = [];
    return (now, { maxRequests, windowMs }) => {
      while (log[0] !== undefined && log[0] <= now - windowMs) log.shift();
      const blocking = log[log.length - maxRequests];
      if (blocking !== undefined) return blocking + windowMs - now;
      log.push(now);
      return 0;
    };
  },
  bucket: (start) => {
    let level = Number.POSITIVE_INFINITY;
    let since = start;
    return (now, { maxRequests, windowMs }) => {
      level = Math.min(maxRequests, level + ((now - since) / windowMs) * maxRequests);
      since = now;
      // Sums of many small amounts miss a whole one by a little.
      if (level < 1 - 1e-9) return ((1 - level) / maxRequests) * windowMs;
      level -= 1;
      return 0;
    };
  },
};

const LIMITS: Rules<Limits> = {
  maxRequests: { ...count(1, 1_000_000), needed: true },
  windowMs: { ...milliseconds(1, 31_536_000_000), needed: true },
};

const RULES: Rules<LimitedFetchOptions> = {
  ...LIMITS,
  host: {
    expected: "a host",
    needed: true,
    holds: (host) => typeof (host as Partial<Host> | null)?.sleep === "function",
  },
  counting: oneOf("window", "sliding", "bucket"),
  latencyMs: milliseconds(0, 3_600_000),
  hint: oneOf("retry-after", "none"),
  status: count(400, 599),
};

function responseOf({
  status,
  headers,
  body,
  statusText,
}: Exclude<ScriptedAnswer, number | "lost">): Response {
  const text = body === undefined ? null : typeof body === "string" ? body : JSON.stringify(body);
  return new Response(text, {
    status,
    ...(headers && { headers }),
    ...(statusText !== undefined && { statusText }),
  });
}
