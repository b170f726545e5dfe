/** An alarm that rings in time in a tab that nobody looks at. */

import { type Alarm, onAbort, plainAlarm } from "../api.ts";

export interface SteadyAlarm extends Alarm {
  /** Ends what it needs of the page. Waits that run go on, and later ones are those of `plainAlarm`. */
  close(): void;
}

/**
 * Browsers let the timers of a hidden page fire once a second, and after five minutes once a minute; those of a worker they
 * leave alone. While the page is hidden, each wait has a timer in a worker beside its own, and whichever is first ends it: a
 * worker that a content policy forbids, or that is held back as well, costs lateness and nothing else.
 *
 * The worker is made at the first wait of a hidden page and ends when the page has been visible for a while. Where there is
 * no document (Node, a worker) this is `plainAlarm`.
 */
export function steadyAlarm(): SteadyAlarm {
  const page = globalThis.document as Document | undefined;
  const waits = new Set<{ readonly until: number; wake(): void }>();
  let worker: Worker | null = null;
  /** When the worker rings: one timer, for the first wait. */
  let ringsAt = Number.POSITIVE_INFINITY;
  let idle: ReturnType<typeof setTimeout> | undefined;

  const arm = (): void => {
    const first = Math.min(...[...waits].map(({ until }) => until));
    if (!page?.hidden || first >= ringsAt) return;
    worker ??= newBell(ring, dismiss);
    if (!worker) return;
    ringsAt = first;
    worker.postMessage(Math.min(LONGEST_MS, Math.max(0, Math.ceil(first - performance.now()))));
  };
  const ring = (): void => {
    ringsAt = Number.POSITIVE_INFINITY;
    // The worker reads another clock.
    const now = performance.now() + TOLERANCE_MS;
    for (const wait of waits) if (wait.until <= now) wait.wake();
    arm();
  };
  const dismiss = (): void => {
    worker?.terminate();
    worker = null;
    ringsAt = Number.POSITIVE_INFINITY;
  };
  const seen = (): void => {
    clearTimeout(idle);
    if (page?.hidden) arm();
    else if (worker) idle = setTimeout(dismiss, IDLE_MS);
  };

  const alarm = async (ms: number, signal?: AbortSignal): Promise<void> => {
    const over = new AbortController();
    const wait = {
      until: performance.now() + ms,
      wake: () => {
        waits.delete(wait);
        over.abort();
      },
    };
    waits.add(wait);
    const off = signal && onAbort(signal, wait.wake);
    arm();
    await plainAlarm(ms, over.signal);
    off?.();
    waits.delete(wait);
  };

  let isOpen = page !== undefined;
  page?.addEventListener("visibilitychange", seen);
  return Object.assign(
    (ms: number, signal?: AbortSignal) => (isOpen ? alarm(ms, signal) : plainAlarm(ms, signal)),
    {
      close: () => {
        isOpen = false;
        page?.removeEventListener("visibilitychange", seen);
        clearTimeout(idle);
        dismiss();
      },
    },
  );
}

/** A worker that calls `ring` so many milliseconds after it was last told a number. `null`: this page may have none. */
function newBell(ring: () => void, failed: () => void): Worker | null {
  if (isForbidden) return null;
  try {
    address ??= URL.createObjectURL(new Blob([BELL], { type: "text/javascript" }));
    const worker = new Worker(address);
    worker.onmessage = ring;
    // Of the browser, when a policy forbids it: the script itself has nothing that fails.
    worker.onerror = (event) => {
      event.preventDefault?.();
      isForbidden = true;
      failed();
    };
    return worker;
  } catch {
    isForbidden = true;
    return null;
  }
}

const BELL = "let t;onmessage=e=>{clearTimeout(t);t=setTimeout(()=>postMessage(0),e.data)}";

/** Of the script. One for the page, and never given back: browsers do not agree on when a worker has read it. */
let address: string | undefined;

/** A page's policy does not change, and each attempt is one more line in its console. */
let isForbidden = false;

/** Less than anybody notices, more than two readings of one clock differ by. */
const TOLERANCE_MS = 1;

/** A timer holds its delay in 31 bits and fires at once beyond. One that rings too early is set again. */
const LONGEST_MS = 1e9;

/** A worker takes about a megabyte; people who look at two tabs in turn should not make one each time. */
const IDLE_MS = 60_000;
