/** An import against a server that is simulated, in time that is simulated: seconds of it pass in milliseconds. */

import { setImmediate as soon } from "node:timers/promises";
import type { ImportBatch, Sender } from "../../../js/import/types.ts";
import type { Host } from "../../../js/types.ts";

/** Time moves to the next sleeper when nothing else happens any more. */
export class VirtualHost implements Host {
  #now = Date.UTC(2026, 0, 1);
  #seed: number;
  readonly #sleepers = new Set<{ until: number; wake: () => void }>();

  constructor(seed = 1) {
    this.#seed = seed;
  }

  now = (): number => this.#now;

  /** An xorshift of 32 bits. */
  random = (): number => {
    this.#seed ^= this.#seed << 13;
    this.#seed ^= this.#seed >>> 17;
    this.#seed ^= this.#seed << 5;
    return (this.#seed >>> 0) / 2 ** 32;
  };

  sleep = (ms: number, signal?: AbortSignal): Promise<void> =>
    new Promise((resolve) => {
      if (signal?.aborted) return resolve();
      const wake = (): void => {
        this.#sleepers.delete(sleeper);
        signal?.removeEventListener("abort", wake);
        resolve();
      };
      const sleeper = { until: this.#now + ms, wake };
      this.#sleepers.add(sleeper);
      signal?.addEventListener("abort", wake, { once: true });
    });

  /** How many wait for a time to come. */
  get sleeping(): number {
    return this.#sleepers.size;
  }

  /** The machine sleeps: the clock goes on, and nobody is woken at the right time. */
  jump(ms: number): void {
    this.#now += ms;
  }

  /** Until the promise is settled. Fails when it never will be. */
  async drive<T>(promise: Promise<T>, { forMs = Number.POSITIVE_INFINITY } = {}): Promise<T> {
    let pending = true;
    const done = (): void => {
      pending = false;
    };
    promise.then(done, done);
    const end = this.#now + forMs;
    let idleSince = performance.now();
    while (pending) {
      // Turns of readers and files of the journal are real tasks.
      for (let turn = 0; turn < 3 && pending; turn++) await soon();
      if (!pending) break;
      const [next] = [...this.#sleepers].sort((a, b) => a.until - b.until);
      if (!next) {
        // Hashes come from threads of the platform, and take as long as they take.
        if (performance.now() - idleSince > 10_000)
          throw new Error("Nobody sleeps, and the promise is still pending.");
        continue;
      }
      idleSince = performance.now();
      if (next.until > end) throw new Error(`Still pending after ${forMs} ms.`);
      this.#now = Math.max(this.#now, next.until);
      next.wake();
    }
    return promise;
  }

  /** Until something has happened that needs no time but that of this machine. */
  async until(happened: () => boolean): Promise<void> {
    const since = performance.now();
    while (!happened()) {
      await soon();
      if (performance.now() - since > 10_000) throw new Error("It did not happen.");
    }
  }

  /** So long, whatever happens. */
  async advance(ms: number): Promise<void> {
    await this.drive(this.sleep(ms));
  }
}

export interface Person {
  email: string;
  name: string;
}

export function people(count: number, from = 0): Person[] {
  return Array.from({ length: count }, (_, i) => ({
    email: `p${from + i}@example.com`,
    name: `Person ${from + i}`,
  }));
}

export interface ServerOptions {
  /** Requests a second; a bucket of as many. Default: no limit. */
  rate?: number;
  burst?: number;
  latencyMs?: number;
  /** Of requests or answers. */
  lossRatio?: number;
  /** Rows that are refused for their content. */
  refuses?: (row: Person) => string | undefined;
  /** Of requests that are never answered; half of them are done. */
  hangRatio?: number;
  /** A request with more rows is too large. */
  mostRows?: number;
  /** Answers in place of the server. */
  answers?: (requests: number, now: number) => Error | undefined;
}

let servers = 0;

/** A table with people, by id where the sender has ids, and a limit before it. */
export class Server {
  /** Of its own, because what is learned of a server is kept by its origin. */
  readonly origin = `https://crm${++servers}.example`;
  readonly byId = new Map<string, Person>();
  /** How often each person is there. */
  readonly copies = new Map<string, number>();
  requests = 0;
  refused = 0;
  #host: VirtualHost;
  readonly #options: ServerOptions;
  #tokens: number;
  #filledAt: number;

  constructor(host: VirtualHost, options: ServerOptions = {}) {
    this.#host = host;
    this.#options = options;
    this.#tokens = options.burst ?? options.rate ?? 0;
    this.#filledAt = host.now();
  }

  /** Its clock is that of another page from now on. */
  moveTo(host: VirtualHost): void {
    this.#host = host;
  }

  get people(): number {
    return this.copies.size;
  }

  get rows(): number {
    return [...this.copies.values()].reduce((sum, count) => sum + count, 0);
  }

  /** Upserts by id; a row that is there is left alone. */
  sender({ maxBatch = 100 } = {}): Sender<Person> {
    const send = async ({ items }: ImportBatch<Person>) => {
      const insert = () => {
        this.#check(items.map(({ row }) => row));
        return items.map(({ id, row }) => {
          if (this.byId.has(id)) return { outcome: "ignored" as const, id };
          this.byId.set(id, row);
          this.#add(row);
          return { outcome: "imported" as const, id };
        });
      };
      return this.#request(insert);
    };
    return Object.assign(send, {
      idempotent: true,
      maxBatch,
      table: "contacts",
      origin: this.origin,
    });
  }

  /** Creates one more each time; found by its address. */
  creator({ verifies = true } = {}): Sender<Person> {
    const send = async ({ items }: ImportBatch<Person>) =>
      this.#request(() => {
        this.#check(items.map(({ row }) => row));
        for (const { row } of items) this.#add(row);
        return items.map(() => ({ outcome: "imported" as const }));
      });
    const verify = async (row: Person) =>
      this.#request(() => (this.copies.has(row.email) ? { outcome: "ignored" as const } : undefined));
    return Object.assign(send, {
      idempotent: false,
      table: "contacts",
      origin: this.origin,
      ...(verifies && { verify }),
    });
  }

  async #request<T>(act: () => T): Promise<T> {
    const { latencyMs = 100, lossRatio = 0, hangRatio = 0, answers } = this.#options;
    this.requests++;
    await this.#host.sleep(latencyMs / 2);
    if (this.#host.random() < lossRatio / 2) throw new TypeError("Failed to fetch");
    if (hangRatio > 0 && this.#host.random() < hangRatio) {
      if (this.#host.random() < 0.5) act();
      await new Promise(() => {});
    }
    const scripted = answers?.(this.requests, this.#host.now());
    if (!scripted) this.#admit();
    else if (failsAfter(scripted)) act();
    const answer = scripted ? undefined : act();
    await this.#host.sleep(latencyMs / 2);
    if (this.#host.random() < lossRatio / 2) throw new TypeError("Failed to fetch");
    if (scripted) throw scripted;
    return answer as T;
  }

  #admit(): void {
    const { rate, burst = rate } = this.#options;
    if (rate === undefined || burst === undefined) return;
    const now = this.#host.now();
    this.#tokens = Math.min(burst, this.#tokens + ((now - this.#filledAt) * rate) / 1000);
    this.#filledAt = now;
    if (this.#tokens < 1) {
      this.refused++;
      throw refusal(429, "Too many requests");
    }
    this.#tokens--;
  }

  #check(rows: readonly Person[]): void {
    const { mostRows = rows.length } = this.#options;
    if (rows.length > mostRows) throw refusal(413, "Payload Too Large");
    for (const row of rows) {
      const message = this.#options.refuses?.(row);
      if (message) throw refusal(400, message, { code: "23514" });
    }
  }

  #add({ email }: Person): void {
    this.copies.set(email, (this.copies.get(email) ?? 0) + 1);
  }
}

/** An error as a client throws it. `done`: the server had done it before. */
export function refusal(status: number, message: string, more: object = {}): Error {
  return Object.assign(new Error(message), { status, ...more });
}

function failsAfter(error: Error): boolean {
  return (error as { done?: unknown }).done === true;
}
