/** Gives way to the page, so that going through many rows never holds it for long. */
export class Turns {
  #since = performance.now();

  /** Whether this turn has lasted long enough; cheap enough to ask for each row. */
  due(): boolean {
    return performance.now() - this.#since > TURN_MS;
  }

  async next(): Promise<void> {
    await nextTask();
    this.#since = performance.now();
  }
}

/**
 * After whatever else waits. Not by a timer where that can be helped: in a hidden tab one rings once a second. Nor by
 * `scheduler.yield`, which goes on before answers and timers of the page.
 */
export function nextTask(): Promise<void> {
  const channel = newChannel();
  if (channel === null) return new Promise((resolve) => setTimeout(resolve, 0));
  const { port1, port2 } = channel;
  return new Promise((resolve) => {
    port1.onmessage = () => {
      port1.close();
      resolve();
    };
    port2.postMessage(null);
  });
}

/** Not every host has one, and that of Next's edge runtime throws when it is made. */
function newChannel(): MessageChannel | null {
  try {
    return new MessageChannel();
  } catch {
    return null;
  }
}

/** Who reads and who looks through what was read take turns: both together stay within a frame of 16 ms. */
const TURN_MS = 6;
