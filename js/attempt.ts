import { abortReason, type Call, onAbort } from "./call.ts";
import type { Platform, Waits } from "./host.ts";
import type { AttemptInfo } from "./types.ts";

/** What an attempt brought. */
export interface Brought {
  thrown: boolean;
  /** What was thrown or returned. */
  value: unknown;
  /** We ended the attempt before it ended by itself. */
  stopped?: StopReason;
}

export type StopReason = "aborted" | "deadline" | "timeout";

/** One attempt, as its operation sees it. A signal costs as much as several calls, so it is made when it is read. */
export class Attempt implements AttemptInfo {
  readonly attempt: number;
  readonly #call: Call;
  #controller: AbortController | null = null;
  #stopped: { reason: unknown } | null = null;
  #ended = false;
  #unfollow: (() => void) | null = null;

  constructor(call: Call) {
    this.#call = call;
    this.attempt = call.attempt;
  }

  /**
   * Whether more than the caller's signal may end it.
   * @internal
   */
  get isTimed(): boolean {
    return false;
  }

  get retries(): number {
    return this.attempt - 1;
  }

  get idempotencyKey(): string {
    return this.#call.idempotencyKey;
  }

  get signal(): AbortSignal {
    if (this.#controller === null) {
      this.#controller = new AbortController();
      if (this.#stopped) this.#controller.abort(this.#stopped.reason);
      else if (!this.#ended) this.#follow(this.#call.context.signal, this.#controller);
    }
    return this.#controller.signal;
  }

  /** The attempt is not waited for any longer. */
  stop(reason: unknown): void {
    this.#stopped = { reason };
    this.#controller?.abort(reason);
    this.end();
  }

  /** The attempt has ended: nobody needs to be told of anything. */
  end(): void {
    this.#ended = true;
    this.#unfollow?.();
    this.#unfollow = null;
  }

  #follow(signal: AbortSignal | null | undefined, controller: AbortController): void {
    if (signal) this.#unfollow = onAbort(signal, () => controller.abort(signal.reason));
  }
}

class TimedAttempt extends Attempt {
  override get isTimed(): boolean {
    return true;
  }
}

/**
 * Lets the operation make an attempt that may be ended early: by the caller's signal, by the call's deadline, after
 * `timeoutMs` (NaN: never). Never rejects. `over` is called when the operation has settled, which may be later, or when it
 * is clear that it will not begin.
 */
export function boundedAttempt<T>(
  operation: (attempt: AttemptInfo) => T | PromiseLike<T>,
  call: Call,
  timeoutMs: number,
  { platform, waits }: { platform: Platform; waits: Waits },
  over?: () => void,
): Promise<Brought> {
  const { signal } = call.context;
  return new Promise((resolve) => {
    if (signal?.aborted) {
      over?.();
      return resolve({ thrown: true, value: abortReason(signal), stopped: "aborted" });
    }
    const isTimed = !Number.isNaN(timeoutMs) || !Number.isNaN(call.deadline);
    const attempt = isTimed ? new TimedAttempt(call) : new Attempt(call);
    const release: (() => void)[] = [];
    const settle = (brought: Brought): void => {
      for (const free of release.splice(0)) free();
      attempt.end();
      resolve(brought);
    };
    const stop = (stopped: StopReason, reason: unknown): void => {
      attempt.stop(reason);
      settle({ thrown: true, value: reason, stopped });
    };
    const stopAt = (time: number, stopped: StopReason): void => {
      if (Number.isNaN(time)) return;
      const wait = waits.add(time, () => stop(stopped, timeoutError()));
      release.push(() => waits.remove(wait));
    };
    stopAt(platform.now() + timeoutMs, "timeout");
    stopAt(call.deadline, "deadline");
    if (signal) release.push(onAbort(signal, () => stop("aborted", abortReason(signal))));
    // An operation that throws before its first await is an attempt like any other.
    new Promise<T>((begin) => begin(operation(attempt))).then(
      (value) => {
        over?.();
        settle({ thrown: false, value });
      },
      (error: unknown) => {
        over?.();
        settle({ thrown: true, value: error });
      },
    );
  });
}

/** Lets the operation make an attempt that nothing else ends. Never rejects. */
export async function plainAttempt<T>(
  operation: (attempt: AttemptInfo) => T | PromiseLike<T>,
  call: Call,
): Promise<Brought> {
  const attempt = new Attempt(call);
  try {
    return { thrown: false, value: await operation(attempt) };
  } catch (error) {
    return { thrown: true, value: error };
  } finally {
    attempt.end();
  }
}

function timeoutError(): DOMException {
  return new DOMException("The attempt took too long.", "TimeoutError");
}
