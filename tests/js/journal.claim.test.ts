import "fake-indexeddb/auto";
import { spawnSync } from "node:child_process";
import { readdir, readFile, writeFile } from "node:fs/promises";
import { hostname } from "node:os";
import path from "node:path";
import { afterEach, describe, expect, it, vi } from "vitest";
import { type Claim, ClaimLostError, type Journal } from "../../js/import/journal.ts";
import { ManualHost } from "../../js/testing.ts";
import { all, browser, cleared, folder, type Ground, jobOf, noteOf, segmentOf } from "./support/journal.ts";

afterEach(async () => {
  await cleared();
  vi.unstubAllGlobals();
});

/** A page with a clock of its own: one that does not move is a page that is dead, or frozen. */
async function tab(ground: Ground, now = 0): Promise<{ page: Journal; host: ManualHost }> {
  const host = new ManualHost({ now });
  return { page: await ground.page({ host }), host };
}

/** Lets time pass while something waits for it. */
async function during<T>(act: Promise<T>, host: ManualHost, ms: number): Promise<T> {
  let done = false;
  const ended = act.finally(() => {
    done = true;
  });
  ended.catch(() => {});
  for (let passed = 0; passed < ms && !done; passed += 100) {
    // Storages answer in real time.
    await new Promise((resolve) => setTimeout(resolve, 1));
    await host.advance(100);
  }
  return ended;
}

/** Time passes while a page does what it does every few seconds. */
async function pass(host: ManualHost, ms: number): Promise<void> {
  for (let passed = 0; passed < ms; passed += 5_000) {
    await wait(5);
    await host.advance(5_000);
  }
  await wait(5);
}

function wait(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

async function claimed(page: Journal): Promise<Claim> {
  const claim = await page.claim("a");
  if (!claim) throw new Error("The job is held.");
  return claim;
}

describe.each(Object.entries({ browser, folder }))("claims by beats in the %s", (_name, make) => {
  it("are for one page at a time", async () => {
    const ground = await make();
    const [first, second] = [await tab(ground), await tab(ground)];
    const claim = await claimed(first.page);
    expect(await second.page.claim("a")).toBeNull();
    expect(await first.page.claim("a")).toBeNull();
    expect(await second.page.claim("b")).not.toBeNull();
    await claim.release();
    await claim.release();
    expect(await second.page.claim("a")).not.toBeNull();
  });

  it("are for one of many that want them at once", async () => {
    const ground = await make();
    const pages = await Promise.all(Array.from({ length: 8 }, () => ground.page()));
    const claims = during(Promise.all(pages.map((page) => page.claim("a"))), ground.host, 5_000);
    expect((await claims).filter(Boolean)).toHaveLength(1);
  });

  it("go on while their page lives", async () => {
    const ground = await make();
    const [first, second] = [await tab(ground), await tab(ground)];
    const claim = await claimed(first.page);
    for (let minute = 0; minute < 3; minute++) {
      await pass(first.host, 60_000);
      await second.host.advance(60_000);
      expect(await during(second.page.claim("a"), second.host, 10_000)).toBeNull();
    }
    expect(claim.lost.aborted).toBe(false);
  });

  it("are taken over from a page that is dead, half a minute after its last beat", async () => {
    const ground = await make();
    await claimed((await tab(ground, 0)).page);
    const early = await tab(ground, 30_000);
    expect(await early.page.claim("a")).toBeNull();
    const late = await tab(ground, 30_001);
    expect(await during(late.page.claim("a"), late.host, 10_000)).not.toBeNull();
  });

  it("cannot be written under by a page that came back too late", async () => {
    const ground = await make();
    const frozen = await tab(ground, 0);
    const claim = await claimed(frozen.page);
    await frozen.page.open(jobOf("a"));
    await frozen.page.write({ segments: [segmentOf("a", 0, [1])] });
    const next = await tab(ground, 60_000);
    const taken = await during(next.page.claim("a"), next.host, 10_000);
    await next.page.open(jobOf("a"));
    await next.page.write({ segments: [segmentOf("a", 0, [2])] });

    const refused = frozen.page.write({ segments: [segmentOf("a", 0, [3])], notes: [noteOf("a", 0)] });
    const others = frozen.page.write({ notes: [noteOf("b", 0)] });
    await expect(refused).rejects.toBeInstanceOf(ClaimLostError);
    await others;
    expect(await all(next.page.segments("a"))).toEqual([segmentOf("a", 0, [2])]);
    expect(await all(next.page.notes("a"))).toEqual([]);
    expect(await all(frozen.page.notes("b"))).toEqual([noteOf("b", 0)]);

    await frozen.host.advance(5_000);
    await vi.waitFor(() => expect(claim.lost.aborted).toBe(true));
    expect(claim.lost.reason).toBeInstanceOf(ClaimLostError);
    await claim.release();
    expect(taken?.lost.aborted).toBe(false);
    expect(frozen.page.degraded).toBeNull();
    await next.page.write({ segments: [segmentOf("a", 0, [2, 2])] });
  });

  it("stay with a page that slept with everybody else", async () => {
    const ground = await make();
    const [sleeper, other] = [await tab(ground, 0), await tab(ground, 28_800_000)];
    const claim = await claimed(sleeper.page);
    const attempt = other.page.claim("a");
    await vi.waitFor(() => expect(other.host.sleeping).toBe(1));
    await sleeper.host.advance(28_800_000);
    await wait(20);
    expect(await during(attempt, other.host, 10_000)).toBeNull();
    expect(claim.lost.aborted).toBe(false);
  });

  it("are taken over when they come from a future that the clock has left", async () => {
    const ground = await make();
    await claimed((await tab(ground, 10_000_000)).page);
    const now = await tab(ground, 0);
    expect(await during(now.page.claim("a"), now.host, 10_000)).not.toBeNull();
  });

  it("are waited for on request, until the signal aborts", async () => {
    const ground = await make();
    const [first, second] = [await tab(ground), await tab(ground)];
    const claim = await claimed(first.page);
    const stop = new AbortController();
    const waits = second.page.claim("a", { wait: true });
    const stops = second.page.claim("a", { wait: true, signal: stop.signal });
    await pass(second.host, 20_000);
    stop.abort(new Error("enough"));
    await expect(during(stops, second.host, 1_000)).rejects.toThrow("enough");
    await claim.release();
    expect(await during(waits, second.host, 10_000)).not.toBeNull();
    await expect(second.page.claim("a", { signal: stop.signal })).rejects.toThrow("enough");
  });

  it("are given back when the journal closes", async () => {
    const ground = await make();
    const [first, second] = [await tab(ground), await tab(ground)];
    await claimed(first.page);
    await first.page.close();
    expect(await second.page.claim("a")).not.toBeNull();
    await expect(first.page.claim("a")).rejects.toThrow("closed");
  });
});

describe("claims by beats in a browser", () => {
  it("last longer in a tab that is hidden, from the moment that it is", async () => {
    const ground = browser();
    const document = Object.assign(new EventTarget(), { visibilityState: "visible" });
    vi.stubGlobal("document", document);
    await claimed((await tab(ground, 0)).page);
    document.visibilityState = "hidden";
    document.dispatchEvent(new Event("visibilitychange"));
    await wait(20);
    const [early, late] = [await tab(ground, 150_000), await tab(ground, 150_001)];
    expect(await early.page.claim("a")).toBeNull();
    expect(await during(late.page.claim("a"), late.host, 10_000)).not.toBeNull();
  });

  it.each([
    ["end with their page", false, true],
    ["stay with a page that may come back", true, false],
  ])("%s", async (_name, persisted, free) => {
    const ground = browser();
    const page = new EventTarget();
    vi.stubGlobal("addEventListener", page.addEventListener.bind(page));
    vi.stubGlobal("removeEventListener", page.removeEventListener.bind(page));
    const [first, second] = [await tab(ground), await tab(ground)];
    await claimed(first.page);
    page.dispatchEvent(Object.assign(new Event("pagehide"), { persisted }));
    await wait(20);
    expect((await second.page.claim("a")) !== null).toBe(free);
  });

  it("go on in memory where the disk is full", async () => {
    const ground = browser();
    const { page, host } = await tab(ground);
    const claim = await claimed(page);
    vi.spyOn(IDBObjectStore.prototype, "put").mockImplementation(() => {
      throw new DOMException("full", "QuotaExceededError");
    });
    await pass(host, 120_000);
    vi.restoreAllMocks();
    expect([page.kind, claim.lost.aborted, await page.claim("a")]).toEqual(["memory", false, null]);
  });
});

describe("claims in a folder", () => {
  async function leave(place: string, pid: number, host: string): Promise<void> {
    const [name] = (await readdir(place)).filter((file) => file.endsWith(".claim"));
    const file = path.join(place, String(name));
    const beat = JSON.parse(await readFile(file, "utf8"));
    await writeFile(file, JSON.stringify({ ...beat, token: "another", pid, host }));
  }

  it("end with their process at once", async () => {
    const ground = await folder();
    const ended = spawnSync(process.execPath, ["-e", "0"]).pid;
    await claimed((await tab(ground)).page);
    await leave(ground.folder, process.pid, hostname());
    expect(await (await tab(ground)).page.claim("a")).toBeNull();
    await leave(ground.folder, ended, "elsewhere");
    expect(await (await tab(ground)).page.claim("a")).toBeNull();
    await leave(ground.folder, ended, hostname());
    expect(await (await tab(ground)).page.claim("a")).not.toBeNull();
  });

  it("pass a lock that a killed process left", async () => {
    const ground = await folder();
    const { page, host } = await tab(ground);
    const claim = await claimed(page);
    const [name] = (await readdir(ground.folder)).filter((file) => file.endsWith(".claim"));
    await claim.release();
    await writeFile(path.join(ground.folder, String(name).replace(".claim", ".lock")), "");
    expect(await during(page.claim("a"), host, 60_000)).not.toBeNull();
    expect((await readdir(ground.folder)).filter((file) => file.endsWith(".lock"))).toEqual([]);
  });
});

describe("claims by Web Locks", () => {
  /** As the standard has it, for exclusive locks. */
  class Locks {
    readonly held = new Map<string, (reason: unknown) => void>();
    readonly queue: (() => void)[] = [];

    request(
      name: string,
      { ifAvailable, signal }: LockOptions,
      act: (lock: object | null) => unknown,
    ): Promise<unknown> {
      if (ifAvailable && signal) throw new DOMException("both", "NotSupportedError");
      return new Promise((resolve, reject) => {
        const grant = (): void => {
          this.held.set(name, reject);
          Promise.resolve(act({ name })).then((value) => {
            this.held.delete(name);
            resolve(value);
            this.queue.shift()?.();
          });
        };
        if (!this.held.has(name)) return grant();
        if (ifAvailable) return void Promise.resolve(act(null)).then(resolve);
        signal?.addEventListener("abort", () => reject(signal.reason));
        this.queue.push(grant);
      });
    }

    steal(name: string): void {
      this.held.get(name)?.(new DOMException("stolen", "AbortError"));
    }
  }

  async function withLocks(): Promise<{ locks: Locks; ground: Ground; first: Journal; second: Journal }> {
    const locks = new Locks();
    const ground = browser();
    vi.stubGlobal("navigator", { locks });
    return { locks, ground, first: await ground.page(), second: await ground.page() };
  }

  it("are for one page at a time, and need no beats", async () => {
    const { first, second, ground } = await withLocks();
    const claim = await claimed(first);
    expect([await second.claim("a"), await first.claim("a"), ground.host.sleeping]).toEqual([null, null, 0]);
    await first.open(jobOf("a"));
    await first.write({ segments: [segmentOf("a", 0, [1])] });
    await claim.release();
    expect(await second.claim("a")).not.toBeNull();
  });

  it("are waited for on request, until the signal aborts", async () => {
    const { first, second } = await withLocks();
    const claim = await claimed(first);
    const waits = second.claim("a", { wait: true });
    const stop = new AbortController();
    const stops = second.claim("a", { wait: true, signal: stop.signal });
    stop.abort(new Error("enough"));
    await expect(stops).rejects.toThrow("enough");
    await claim.release();
    expect(await waits).not.toBeNull();
  });

  it("are lost to somebody who steals them", async () => {
    const { first, locks } = await withLocks();
    const claim = await claimed(first);
    expect(claim.lost.aborted).toBe(false);
    locks.steal("tidegate-import:a");
    await vi.waitFor(() => expect(claim.lost.reason).toBeInstanceOf(ClaimLostError));
  });

  it("that are forbidden are replaced by beats", async () => {
    const { first, second, locks, ground } = await withLocks();
    vi.spyOn(locks, "request").mockRejectedValue(new DOMException("", "SecurityError"));
    await claimed(first);
    expect([await second.claim("a"), ground.host.sleeping]).toEqual([null, 1]);
  });
});
