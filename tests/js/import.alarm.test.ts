import { getEventListeners } from "node:events";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { SteadyAlarm, steadyAlarm } from "../../js/import/alarm.ts";

/** What browsers make of the timers of a page that has been hidden for five minutes: they fire on the minute. */
const CLAMP_MS = 60_000;

class Page extends EventTarget {
  hidden = false;
  listeners = 0;

  show(visible: boolean): void {
    this.hidden = !visible;
    this.dispatchEvent(new Event("visibilitychange"));
  }

  override addEventListener(...args: Parameters<EventTarget["addEventListener"]>): void {
    this.listeners++;
    super.addEventListener(...args);
  }

  override removeEventListener(...args: Parameters<EventTarget["removeEventListener"]>): void {
    this.listeners--;
    super.removeEventListener(...args);
  }
}

type Behaviour = "works" | "throws" | "fails";

let newAlarm: typeof steadyAlarm;
let page: Page;
/** How often one was asked for, and those that were made. */
let asked: number;
let workers: FakeWorker[];
let behaviour: Behaviour;
/** Those of a worker, which nobody clamps. */
let timers: { set: typeof setTimeout; clear: typeof clearTimeout };

/** Whose text can be read at once. */
class FakeBlob {
  readonly text: string;

  constructor(parts: string[]) {
    this.text = parts.join("");
  }
}

/** Runs the script that it is given. */
class FakeWorker {
  onmessage: (() => void) | null = null;
  onerror: ((event: Event) => void) | null = null;
  ended = false;
  readonly received: number[] = [];
  readonly #hear: (event: { data: number }) => void;

  constructor(address: string) {
    asked++;
    if (behaviour === "throws") throw new DOMException("A policy forbids it.", "SecurityError");
    workers.push(this);
    if (behaviour === "fails") queueMicrotask(() => this.onerror?.(new Event("error")));
    const run = new Function(
      "postMessage",
      "setTimeout",
      "clearTimeout",
      `let onmessage;${decodeURIComponent(address)};return onmessage`,
    );
    this.#hear = run(() => this.ended || this.onmessage?.(), timers.set, timers.clear);
  }

  postMessage(data: number): void {
    this.received.push(data);
    if (behaviour === "works") this.#hear({ data });
  }

  terminate(): void {
    this.ended = true;
  }
}

beforeEach(async () => {
  // What it learned of a page's policy counts for that page only.
  vi.resetModules();
  ({ steadyAlarm: newAlarm } = await import("../../js/import/alarm.ts"));
  vi.useFakeTimers({ now: 0 });
  page = new Page();
  asked = 0;
  workers = [];
  behaviour = "works";
  const set = globalThis.setTimeout;
  timers = { set, clear: globalThis.clearTimeout };
  const clamped = (act: () => void, ms = 0) => {
    const now = performance.now();
    return set(act, page.hidden ? Math.ceil((now + ms) / CLAMP_MS) * CLAMP_MS - now : ms);
  };
  vi.stubGlobal("setTimeout", clamped);
  vi.stubGlobal("document", page);
  vi.stubGlobal("Worker", FakeWorker);
  vi.stubGlobal("Blob", FakeBlob);
  vi.spyOn(URL, "createObjectURL").mockImplementation((blob) =>
    encodeURIComponent((blob as unknown as FakeBlob).text),
  );
});

afterEach(() => {
  vi.unstubAllGlobals();
  vi.useRealTimers();
});

/** Begins a wait; how long it took is in `took` when it is over. */
function wait(alarm: SteadyAlarm, ms: number, signal?: AbortSignal): { took?: number } {
  const began = performance.now();
  const noted: { took?: number } = {};
  void alarm(ms, signal).then(() => {
    noted.took = performance.now() - began;
  });
  return noted;
}

const pass = (ms: number) => vi.advanceTimersByTimeAsync(ms);

describe("while the page is visible", () => {
  it("is a plain timer, and makes no worker", async () => {
    const waited = wait(newAlarm(), 500);
    await pass(499);
    expect(waited.took).toBeUndefined();
    await pass(1);
    expect(waited.took).toBe(500);
    expect(workers).toHaveLength(0);
  });

  it("ends at once when the signal aborts, or has", async () => {
    const alarm = newAlarm();
    const controller = new AbortController();
    const waited = wait(alarm, 500, controller.signal);
    await pass(100);
    controller.abort();
    const late = wait(alarm, 500, controller.signal);
    await pass(0);
    expect([waited.took, late.took]).toEqual([100, 0]);
    expect(vi.getTimerCount()).toBe(0);
  });

  it("keeps nothing of a wait that is over", async () => {
    const alarm = newAlarm();
    const { signal } = new AbortController();
    wait(alarm, 500, signal);
    expect(getEventListeners(signal, "abort")).toHaveLength(1);
    await pass(500);
    expect(getEventListeners(signal, "abort")).toHaveLength(0);
    page.show(false);
    expect(workers).toHaveLength(0);
  });
});

describe("while the page is hidden", () => {
  it("rings in time, although the timers of the page are a minute late", async () => {
    const alarm = newAlarm();
    page.show(false);
    const waits = [700, 200, 90_000, 200.4].map((ms) => wait(alarm, ms));
    await pass(100_000);
    expect(waits.map(({ took }) => took)).toEqual([700, 200, 90_000, expect.closeTo(200.4, 0)]);
    expect(workers).toHaveLength(1);
  });

  it("goes on so for a hundred short waits, one after the other", async () => {
    const alarm = newAlarm();
    page.show(false);
    let rang = 0;
    void (async () => {
      for (; rang < 100; rang++) await alarm(20);
    })();
    await pass(2_000);
    expect(rang).toBe(100);
    expect(workers).toHaveLength(1);
  });

  it("keeps one timer in the worker, whoever waits and whoever gives up", async () => {
    const alarm = newAlarm();
    page.show(false);
    const controller = new AbortController();
    const given = wait(alarm, 100, controller.signal);
    const later = [300, 400, 500].map((ms) => wait(alarm, ms));
    controller.abort();
    await pass(0);
    expect(given.took).toBe(0);
    expect(workers[0]?.received).toEqual([100]);
    await pass(500);
    expect(later.map(({ took }) => took)).toEqual([300, 400, 500]);
    // The one that nobody waited for any longer, and one for each of the others.
    expect(workers[0]?.received).toEqual([100, 200, 100, 100]);
    await pass(CLAMP_MS);
    expect(vi.getTimerCount()).toBe(0);
  });

  it("takes up a wait that began while it was visible", async () => {
    const alarm = newAlarm();
    const waited = wait(alarm, 130_000);
    await pass(1_000);
    page.show(false);
    await pass(129_000);
    expect(waited.took).toBe(130_000);
    expect(workers[0]?.received).toEqual([129_000]);
  });

  it("leaves a wait that began there to whoever is first when it is seen again", async () => {
    const alarm = newAlarm();
    page.show(false);
    const waited = wait(alarm, 5_000);
    await pass(1_000);
    page.show(true);
    await pass(4_000);
    expect(waited.took).toBe(5_000);
  });

  it("sets no delay that does not fit into a timer", async () => {
    const alarm = newAlarm();
    page.show(false);
    wait(alarm, 2 ** 40);
    wait(alarm, Number.POSITIVE_INFINITY);
    expect(workers[0]?.received).toEqual([1e9]);
  });
});

describe("the worker", () => {
  it("ends when the page has been visible for a while, and comes back when it is needed", async () => {
    const alarm = newAlarm();
    page.show(false);
    wait(alarm, 10);
    await pass(10);
    page.show(true);
    await pass(59_999);
    page.show(false);
    await pass(CLAMP_MS);
    expect(workers[0]?.ended).toBe(false);
    page.show(true);
    await pass(60_000);
    expect(workers[0]?.ended).toBe(true);
    page.show(false);
    const waited = wait(alarm, 10);
    await pass(10);
    expect(waited.took).toBe(10);
    expect(workers).toHaveLength(2);
    expect(URL.createObjectURL).toHaveBeenCalledTimes(1);
  });

  it("that ended with its timer set is no reason to be late", async () => {
    const alarm = newAlarm();
    page.show(false);
    const waited = wait(alarm, 250_500);
    page.show(true);
    await pass(60_000);
    expect(workers[0]?.ended).toBe(true);
    page.show(false);
    await pass(CLAMP_MS * 4);
    expect(waited.took).toBe(250_500);
  });

  it.each<Behaviour>(["throws", "fails"])("that a policy forbids (it %s) is not tried again", async (how) => {
    behaviour = how;
    const alarm = newAlarm();
    page.show(false);
    const waited = [wait(alarm, 200), wait(alarm, 300)];
    await pass(59_999);
    expect(waited.map(({ took }) => took)).toEqual([undefined, undefined]);
    await pass(1);
    expect(waited.map(({ took }) => took)).toEqual([CLAMP_MS, CLAMP_MS]);
    wait(alarm, 200);
    await pass(CLAMP_MS);
    wait(newAlarm(), 200);
    expect(asked).toBe(1);
    expect(workers.every(({ ended }) => ended)).toBe(true);
  });

  it("is not there in Jest's jsdom, whose page is hidden: timers are plain", async () => {
    vi.stubGlobal("Worker", undefined);
    vi.stubGlobal("setTimeout", timers.set);
    page.hidden = true;
    const waited = wait(newAlarm(), 200);
    await pass(200);
    expect(waited.took).toBe(200);
  });
});

describe("close", () => {
  it("ends the worker and what listens to the page; waits go on, and new ones are plain", async () => {
    const alarm = newAlarm();
    page.show(false);
    const running = wait(alarm, 200);
    const controller = new AbortController();
    const aborted = wait(alarm, 200, controller.signal);
    alarm.close();
    const plain = wait(alarm, 300);
    controller.abort();
    await pass(CLAMP_MS);
    expect([running.took, aborted.took, plain.took]).toEqual([CLAMP_MS, 0, CLAMP_MS]);
    expect(workers.map(({ ended }) => ended)).toEqual([true]);
    expect(page.listeners).toBe(0);
    expect(vi.getTimerCount()).toBe(0);
    alarm.close();
  });
});

it("is a plain alarm where there is no document", async () => {
  vi.stubGlobal("document", undefined);
  const alarm = newAlarm();
  const waited = wait(alarm, 200);
  await pass(200);
  expect(waited.took).toBe(200);
  expect(workers).toHaveLength(0);
  alarm.close();
});
