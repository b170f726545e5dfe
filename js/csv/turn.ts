/** Gives way to the page, so that reading a long file never holds it for long. */
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
 * Not by a timer where that can be helped: in a hidden tab one rings once a second. Nor by `scheduler.yield`, which goes on
 * before everything else that waits: answers and timers of the page would stand still until the file is read.
 */
function nextTask(): Promise<void> {
  if (typeof MessageChannel === "undefined") return new Promise((resolve) => setTimeout(resolve, 0));
  return new Promise((resolve) => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => {
      port1.close();
      resolve();
    };
    port2.postMessage(null);
  });
}

/** A frame at 60 Hz is 16 ms; a long task begins at 50 ms. */
const TURN_MS = 12;
