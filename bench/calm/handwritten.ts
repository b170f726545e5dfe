/**
 * What a good engineer writes in an afternoon for one API: retries on 429 with Retry-After, exponential backoff with
 * jitter, a breaker that opens after refusals in a row and lets one probe through, and an abort that ends a wait.
 * It is the yardstick, not a part of tidegate.
 */

interface Options {
  retries: number;
  baseMs: number;
  capMs: number;
  failures: number;
  openMs: number;
}

const DEFAULTS: Options = { retries: 3, baseMs: 100, capMs: 10_000, failures: 5, openMs: 60_000 };

export class CircuitOpenError extends Error {
  override name = "CircuitOpenError";
}

export class Guard {
  readonly #options: Options;
  #refusedInARow = 0;
  #openUntil = 0;
  #isProbing = false;

  constructor(options: Partial<Options> = {}) {
    this.#options = { ...DEFAULTS, ...options };
  }

  async execute<T>(operation: () => T | PromiseLike<T>, signal?: AbortSignal): Promise<T> {
    for (let attempt = 0; ; attempt++) {
      signal?.throwIfAborted();
      this.#enter();
      try {
        const result = await operation();
        this.#leave(false);
        return result;
      } catch (error) {
        const refused = isRefusal(error);
        this.#leave(refused);
        if (!refused || attempt >= this.#options.retries) throw error;
        await sleep(retryAfterMs(error) ?? this.#backoffMs(attempt), signal);
      }
    }
  }

  #enter(): void {
    if (this.#openUntil === 0) return;
    if (this.#isProbing || Date.now() < this.#openUntil) throw new CircuitOpenError("Too many refusals");
    this.#isProbing = true;
  }

  #leave(refused: boolean): void {
    this.#isProbing = false;
    this.#refusedInARow = refused ? this.#refusedInARow + 1 : 0;
    const opens = this.#refusedInARow >= this.#options.failures;
    this.#openUntil = opens ? Date.now() + this.#options.openMs : 0;
  }

  #backoffMs(attempt: number): number {
    return Math.random() * Math.min(this.#options.capMs, this.#options.baseMs * 2 ** attempt);
  }
}

function isRefusal(error: unknown): error is { status: number; headers?: Headers } {
  return typeof error === "object" && error !== null && (error as { status?: unknown }).status === 429;
}

function retryAfterMs({ headers }: { headers?: Headers }): number | undefined {
  const value = headers?.get("Retry-After");
  if (!value) return undefined;
  const ms = /^\d+$/.test(value) ? Number(value) * 1_000 : Date.parse(value) - Date.now();
  return Number.isNaN(ms) ? undefined : Math.max(0, ms);
}

function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const onAbort = (): void => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", onAbort);
      resolve();
    }, ms);
    signal?.addEventListener("abort", onAbort, { once: true });
  });
}
