import { afterEach, describe, expect, it, vi } from "vitest";
import { plainAlarm, platform } from "../../js/host.ts";
import { Life, type LifeOptions, watchCircuit } from "../../js/import/life.ts";
import { RateLimitService } from "../../js/index.ts";
import { ManualHost } from "../../js/testing.ts";
import type { RateLimitConfig } from "../../js/types.ts";
import { bench, freshPackage, refusal } from "./support/service.ts";

afterEach(() => {
  vi.unstubAllGlobals();
});

/** Who listens to what. */
class Target extends EventTarget {
  readonly types: string[] = [];

  override addEventListener(...args: Parameters<EventTarget["addEventListener"]>): void {
    this.types.push(args[0]);
    super.addEventListener(...args);
  }

  override removeEventListener(...args: Parameters<EventTarget["removeEventListener"]>): void {
    this.types.splice(this.types.indexOf(args[0]), 1);
    super.removeEventListener(...args);
  }

  tell(type: string, fields: object = {}): Event {
    // Of all events, `returnValue` is another thing than of `beforeunload`, and read-only in Node.
    const event = Object.defineProperty(new Event(type, { cancelable: true }), "returnValue", {
      writable: true,
    });
    this.dispatchEvent(Object.assign(event, fields));
    return event;
  }
}

class Page extends Target {
  hidden = false;

  show(visible: boolean): void {
    this.hidden = !visible;
    this.tell("visibilitychange");
  }
}

class Lock {
  released = false;

  async release(): Promise<void> {
    this.released = true;
  }
}

/** A browser's window with a page in it. `locks` are those that keep the screen on. */
function browser({ onLine = true, refuses = false } = {}) {
  const window = new Target();
  const page = new Page();
  const locks: Lock[] = [];
  const request = async (): Promise<Lock> => {
    if (refuses || page.hidden) throw new DOMException("Not now", "NotAllowedError");
    const lock = new Lock();
    locks.push(lock);
    return lock;
  };
  vi.stubGlobal("addEventListener", window.addEventListener.bind(window));
  vi.stubGlobal("removeEventListener", window.removeEventListener.bind(window));
  vi.stubGlobal("document", page);
  vi.stubGlobal("navigator", { onLine, wakeLock: { request } });
  return { window, page, locks };
}

function lifeOf(options: Partial<LifeOptions> = {}) {
  const told: string[] = [];
  const note = (name: string) => () => void told.push(name);
  const events = {
    offline: note("offline"),
    online: note("online"),
    woke: note("woke"),
    leaving: note("leaving"),
  };
  const life = new Life(events, { keepAwake: false, guardUnload: true, ...options });
  return { life, told };
}

const settled = () => new Promise((resolve) => setImmediate(resolve));

describe("what the page goes through", () => {
  type Stage = ReturnType<typeof browser>;

  it.each<[name: string, act: (stage: Stage) => void, told: string[]]>([
    [
      "the connection is gone, and back",
      ({ window }) => {
        window.tell("offline");
        window.tell("online");
      },
      ["offline", "online"],
    ],
    [
      "hidden, and seen again",
      ({ page }) => {
        page.show(false);
        page.show(true);
      },
      ["leaving", "woke"],
    ],
    [
      "frozen, and resumed",
      ({ page }) => {
        page.tell("freeze");
        page.tell("resume");
      },
      ["leaving", "woke"],
    ],
    ["left", ({ window }) => window.tell("pagehide", { persisted: false }), ["leaving"]],
    ["back from the browser's cache", ({ window }) => window.tell("pageshow", { persisted: true }), ["woke"]],
    ["shown for the first time", ({ window }) => window.tell("pageshow", { persisted: false }), []],
  ])("%s", (_, act, expected) => {
    const stage = browser();
    const { life, told } = lifeOf();
    life.start();
    act(stage);
    expect(told).toEqual(expected);
  });

  it("is told at once that there is no connection", () => {
    browser({ onLine: false });
    const { life, told } = lifeOf();
    life.start();
    expect(told).toEqual(["offline"]);
  });

  it("is heard once by one that was started twice, and no more after stop", () => {
    const { window, page } = browser();
    const { life, told } = lifeOf();
    life.start();
    life.start();
    page.show(false);
    expect(told).toEqual(["leaving"]);
    life.stop();
    life.stop();
    window.tell("offline");
    page.show(true);
    expect(told).toEqual(["leaving"]);
    expect([window.types, page.types]).toEqual([[], []]);
  });

  it("is heard again after another start", () => {
    const { window } = browser();
    const { life, told } = lifeOf();
    life.start();
    life.stop();
    life.start();
    window.tell("offline");
    expect(told).toEqual(["offline"]);
  });

  it.each<[where: string, scope: object]>([
    [
      "in Node",
      {
        addEventListener: undefined,
        removeEventListener: undefined,
        document: undefined,
        navigator: undefined,
      },
    ],
    ["in a worker", { document: undefined, navigator: { onLine: true } }],
  ])("nothing is missed %s", (_, scope) => {
    browser();
    for (const [name, value] of Object.entries(scope)) vi.stubGlobal(name, value);
    const { life, told } = lifeOf({ keepAwake: true });
    life.start();
    life.inFlight(true);
    life.stop();
    expect(told).toEqual([]);
  });
});

describe("the guard", () => {
  it("asks only while rows are in flight", () => {
    const { window } = browser();
    const { life } = lifeOf();
    const asks = () => window.tell("beforeunload").defaultPrevented;
    life.start();
    expect(asks()).toBe(false);
    life.inFlight(true);
    life.inFlight(true);
    expect(asks()).toBe(true);
    expect(window.types.filter((type) => type === "beforeunload")).toHaveLength(1);
    life.inFlight(false);
    expect(asks()).toBe(false);
    life.inFlight(true);
    life.stop();
    expect(asks()).toBe(false);
  });

  it("sets what older browsers look at", () => {
    const { window } = browser();
    const { life } = lifeOf();
    life.inFlight(true);
    expect((window.tell("beforeunload") as BeforeUnloadEvent).returnValue).toBe(true);
  });

  it("asks nobody who does not want it", () => {
    const { window } = browser();
    const { life } = lifeOf({ guardUnload: false });
    life.start();
    life.inFlight(true);
    expect(window.tell("beforeunload").defaultPrevented).toBe(false);
  });
});

describe("the screen", () => {
  it("is kept on from start to stop", async () => {
    const { locks } = browser();
    const { life } = lifeOf({ keepAwake: true });
    life.start();
    await settled();
    expect(locks.map(({ released }) => released)).toEqual([false]);
    life.stop();
    await settled();
    expect(locks.map(({ released }) => released)).toEqual([true]);
  });

  it("is asked for again when the page is seen again, because browsers take it back", async () => {
    const { locks, page } = browser();
    const { life } = lifeOf({ keepAwake: true });
    life.start();
    await settled();
    page.show(false);
    page.show(true);
    await settled();
    expect(locks.map(({ released }) => released)).toEqual([true, false]);
  });

  it("is let go of when the answer comes after the end", async () => {
    const { locks } = browser();
    const { life } = lifeOf({ keepAwake: true });
    life.start();
    life.stop();
    await settled();
    expect(locks.map(({ released }) => released)).toEqual([true]);
  });

  it("may go dark where the browser refuses, or knows of no such thing", async () => {
    browser({ refuses: true });
    const { life } = lifeOf({ keepAwake: true });
    life.start();
    await settled();
    life.stop();
    vi.stubGlobal("navigator", { onLine: true });
    life.start();
    life.stop();
    await settled();
  });

  it("is nobody's business by default", async () => {
    const { locks } = browser();
    lifeOf().life.start();
    await settled();
    expect(locks).toEqual([]);
  });
});

describe("the circuit of the service", () => {
  const START = Date.UTC(2026, 0, 1);

  function watched(config: Partial<RateLimitConfig> = {}, before?: (service: RateLimitService) => void) {
    const { service, host } = bench({ circuitBreakerThreshold: 1, maxRetries: 0, ...config });
    before?.(service);
    const told: (number | null | "release")[] = [];
    const end = watchCircuit(
      service,
      {
        hold: (until) => told.push(until === null ? null : until - START),
        release: () => told.push("release"),
      },
      platform(host, plainAlarm),
    );
    return { service, host, told, end };
  }

  const refuse = (service: RateLimitService) =>
    service.executeWithRetry(() => Promise.reject(refusal())).catch(() => {});

  it("says nothing of one that is closed", async () => {
    const { service, host, told } = watched();
    await service.executeWithRetry(async () => 1);
    await host.advance(100_000);
    expect(told).toEqual([]);
    expect(host.sleeping).toBe(0);
  });

  it("holds while it is open, and releases when its time has passed, though nobody calls", async () => {
    const { service, host, told } = watched();
    await host.advance(500);
    await refuse(service);
    expect(told).toEqual([60_500]);
    await host.advance(59_999);
    expect(told).toEqual([60_500]);
    await host.advance(1);
    expect(told).toEqual([60_500, "release"]);
    expect(service.getCircuitState().state).toBe("half-open");
  });

  it("holds again when the probe of others is refused", async () => {
    const { service, host, told } = watched();
    await refuse(service);
    await host.advance(60_000);
    await refuse(service);
    expect(told).toEqual([60_000, "release", 120_000]);
  });

  it("releases when somebody resets it", async () => {
    const { service, told, host } = watched();
    await refuse(service);
    service.resetCircuit();
    expect(told).toEqual([60_000, "release"]);
    expect(host.sleeping).toBe(0);
  });

  it("holds without an end while it is isolated", async () => {
    const { service, host, told } = watched();
    service.isolateCircuit();
    await host.advance(1e9);
    expect(told).toEqual([null]);
    service.resetCircuit();
    expect(told).toEqual([null, "release"]);
  });

  it.each<[name: string, before: (service: RateLimitService) => void, told: number | null]>([
    ["isolated", (service) => service.isolateCircuit(), null],
    ["open", (service) => void refuse(service), 60_000],
  ])("holds at once when it is %s already", async (name, prepare, expected) => {
    const { service, host } = bench({ circuitBreakerThreshold: 1, maxRetries: 0 });
    prepare(service);
    await host.advance(0);
    expect(service.getCircuitState().state).toBe(name);
    const hold = vi.fn();
    watchCircuit(service, { hold, release: () => {} }, platform(host, plainAlarm))();
    expect(hold.mock.calls).toEqual([[expected === null ? null : START + expected]]);
  });

  it("hears nothing more when it is told to end", async () => {
    const { service, host, told, end } = watched();
    await refuse(service);
    end();
    expect(host.sleeping).toBe(0);
    service.resetCircuit();
    service.isolateCircuit();
    expect(told).toEqual([60_000]);
  });

  it("may be ended from within", async () => {
    const { service, host } = bench();
    const hold = vi.fn(() => end());
    const end = watchCircuit(service, { hold, release: () => {} }, platform(host, plainAlarm));
    service.isolateCircuit();
    service.resetCircuit();
    service.isolateCircuit();
    expect(hold).toHaveBeenCalledTimes(1);
  });

  it("keeps the platform's time by itself", async () => {
    const service = new RateLimitService({ logLevel: "silent" });
    const hold = vi.fn();
    const end = watchCircuit(service, { hold, release: () => {} });
    service.isolateCircuit();
    expect(hold.mock.calls).toEqual([[null]]);
    end();
  });

  it("is found isolated, and reset, also without the core, where nobody tells", async () => {
    vi.stubGlobal("WebAssembly", undefined);
    const { RateLimitService } = await freshPackage();
    const { watchCircuit } = await import("../../js/import/life.ts");
    const host = new ManualHost();
    const service = new RateLimitService({ logLevel: "silent" }, host);
    const told: (number | null | "release")[] = [];
    const end = watchCircuit(
      service,
      { hold: (until) => told.push(until), release: () => told.push("release") },
      platform(host, plainAlarm),
    );
    service.isolateCircuit();
    await host.advance(5_000);
    expect(told).toEqual([null]);
    service.resetCircuit();
    await host.advance(1_000);
    expect(told).toEqual([null, "release"]);
    end();
    expect(host.sleeping).toBe(0);
  });
});
