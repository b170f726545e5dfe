import { createServer, type IncomingMessage, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { setTimeout as realTime } from "node:timers/promises";
import { createClient, type SupabaseClient, type SupabaseClientOptions } from "@supabase/supabase-js";
import { onTestFinished, vi } from "vitest";
import ws from "ws";
import { RateLimitService } from "../../js/index.ts";
import { type ResilientFetch, type ResilientFetchOptions, resilientFetch } from "../../js/supabase.ts";
import { ManualHost } from "../../js/testing.ts";
import type { RateLimitConfig } from "../../js/types.ts";

/** A request as the server saw it. */
export interface Seen {
  method: string;
  path: string;
  headers: [name: string, value: string][];
  body: string;
  /** By the clock of the host. */
  at: number;
}

/** What the server says: a status, with what goes with it, or nothing at all. */
export type Answer = number | "lost" | { status: number; headers?: Record<string, string>; body?: unknown };

export const ok = (body: unknown = []): Answer => ({ status: 200, body });
export const refused = (retryAfter?: number): Answer => ({
  status: 429,
  headers: retryAfter === undefined ? {} : { "retry-after": String(retryAfter) },
  body: { message: "slow down" },
});

/** A project on loopback: answers by a script, request after request, and notes what it was asked. */
export class Project {
  readonly seen: Seen[] = [];
  readonly host: TestHost;
  readonly #scripts = new Map<string, Answer[]>();
  readonly #server: Server;

  private constructor(host: TestHost) {
    this.host = host;
    this.#server = createServer((request, response) => {
      this.#note(request).then((seen) => {
        const answer = this.#next(seen);
        if (answer === "lost") return response.destroy();
        const { status, headers = {}, body = "" } = typeof answer === "number" ? { status: answer } : answer;
        const text = typeof body === "string" ? body : JSON.stringify(body);
        response.writeHead(status, { "content-type": "application/json", ...headers });
        return response.end(request.method === "HEAD" || status === 204 ? undefined : text);
      });
    });
  }

  static async start(host: TestHost): Promise<Project> {
    const project = new Project(host);
    await new Promise<void>((resolve) => project.#server.listen(0, "127.0.0.1", resolve));
    onTestFinished(() => project.stop());
    return project;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** Answers to `"POST /rest/v1/contacts"`, the last one from then on; a path without a query stands for any. */
  on(what: string, ...answers: Answer[]): this {
    this.#scripts.set(what, answers);
    return this;
  }

  /** How often the path was asked for. */
  count(path: string, method?: string): number {
    return this.seen.filter((seen) => bare(seen.path) === path && (method ?? seen.method) === seen.method)
      .length;
  }

  /** When, in milliseconds after the first time. */
  times(path: string): number[] {
    const times = this.seen.filter((seen) => bare(seen.path) === path).map(({ at }) => at);
    return times.map((time) => time - (times[0] ?? 0));
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  async #note(request: IncomingMessage): Promise<Seen> {
    let body = "";
    for await (const chunk of request) body += chunk;
    const { method = "", url: path = "", rawHeaders } = request;
    const headers = rawHeaders.flatMap((name, i): [string, string][] =>
      i % 2 === 0 ? [[name, rawHeaders[i + 1] ?? ""]] : [],
    );
    const seen = { method, path, headers, body, at: this.host.now() };
    this.seen.push(seen);
    return seen;
  }

  #next({ method, path }: Seen): Answer {
    const answers = this.#scripts.get(`${method} ${path}`) ?? this.#scripts.get(`${method} ${bare(path)}`);
    if (!answers) return { status: 404, body: { message: `nothing is scripted for ${method} ${path}` } };
    return (answers.length > 1 ? answers.shift() : answers[0]) ?? 500;
  }
}

/** The headers of a request, by their names in small letters. */
export function headersOf({ headers }: Seen): Record<string, string> {
  return Object.fromEntries(headers.map(([name, value]) => [name.toLowerCase(), value]));
}

function bare(path: string): string {
  return path.split("?")[0] ?? path;
}

/** A clock that stands still, except that `play` moves it to whoever sleeps. */
export class TestHost extends ManualHost {
  readonly #due = new Set<number>();

  /** A faked `Date` shows the same time to whoever wakes. */
  override async sleep(ms: number, signal?: AbortSignal): Promise<void> {
    this.#due.add(this.now() + ms);
    await super.sleep(ms, signal);
    if (vi.isFakeTimers()) vi.setSystemTime(this.now());
  }

  /**
   * Waits until `thenable` is settled. HTTP takes real time: only when nothing is on the wire and nothing comes of
   * itself, the clock moves on to the next who sleeps.
   */
  async play<T>(thenable: PromiseLike<T>): Promise<T> {
    // The builders of supabase-js send a request each time that somebody asks for `then`.
    const promise = Promise.resolve(thenable);
    let pending = true;
    const done = (): void => {
      pending = false;
    };
    promise.then(done, done);
    for (let quiet = 0; pending; quiet++) {
      await realTime(1);
      if (this.onWire > 0 || this.sleeping === 0) quiet = 0;
      if (quiet < 10) continue;
      quiet = 0;
      for (const due of this.#due) if (due <= this.now()) this.#due.delete(due);
      await this.advance(Math.max(0, Math.min(...this.#due) - this.now()));
    }
    return promise;
  }

  /** Requests without an answer. */
  onWire = 0;

  /** The platform's, counted. */
  readonly fetch = async (input: RequestInfo | URL, init?: RequestInit): Promise<Response> => {
    this.onWire++;
    try {
      return await fetch(input, init);
    } finally {
      this.onWire--;
    }
  };
}

export interface Bench {
  host: TestHost;
  project: Project;
  service: RateLimitService;
  resilient: ResilientFetch;
  client: SupabaseClient;
  play: TestHost["play"];
}

/** A project, and the real client behind a service whose waits take no time. */
export async function bench(
  config: Partial<RateLimitConfig> = {},
  options: ResilientFetchOptions = {},
  clientOptions: SupabaseClientOptions<"public"> = {},
): Promise<Bench> {
  const host = new TestHost();
  const project = await Project.start(host);
  const service = new RateLimitService({ jitter: "none", logLevel: "silent", ...config }, host);
  const resilient = resilientFetch(service, { fetch: host.fetch, host, ...options });
  const client = clientFor(project, resilient, clientOptions);
  return { host, project, service, resilient, client, play: (promise) => host.play(promise) };
}

/** The real client. Node 20 has no WebSocket of its own. */
export function clientFor(
  project: Project,
  fetch: typeof globalThis.fetch,
  options: SupabaseClientOptions<"public"> = {},
): SupabaseClient {
  return createClient(project.url, "publishable-key", {
    ...options,
    global: { fetch },
    auth: { persistSession: false, autoRefreshToken: false, ...options.auth },
    realtime: { transport: ws as unknown as typeof WebSocket },
  });
}
