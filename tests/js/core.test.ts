import { readFileSync } from "node:fs";
import { afterEach, describe, expect, it, vi } from "vitest";
import { bench, ended, freshPackage, refusal, rejection, script } from "./support/service.ts";

afterEach(() => {
  vi.unstubAllGlobals();
});

const BYTES = new Uint8Array(readFileSync(new URL("../../pkg/core_bg.wasm", import.meta.url)));

/** The entry without the bytes, as a page finds it. */
async function external(): Promise<typeof import("../../js/external.ts")> {
  vi.resetModules();
  return import("../../js/external.ts");
}

function served(type: string | null = "application/wasm", status = 200): Response {
  return new Response(BYTES, { status, ...(type !== null && { headers: { "content-type": type } }) });
}

/** Answers every request for the module so, and notes what was asked for. */
function serving(answer: () => Response | Error): string[] {
  const asked: string[] = [];
  vi.stubGlobal("fetch", async (url: string | URL) => {
    asked.push(String(url));
    const response = answer();
    if (response instanceof Error) throw response;
    return response;
  });
  return asked;
}

describe("the core of the default entry", () => {
  it("is idle until something needs it, then ready, and nobody is told", async () => {
    const tidegate = await freshPackage();
    expect(tidegate.coreState()).toBe("idle");
    const told = vi.fn();
    const { service } = bench({}, tidegate.RateLimitService);
    service.on("core", told);
    await service.executeWithRetry(async () => 1);
    expect(tidegate.coreState()).toBe("ready");
    expect(told).not.toHaveBeenCalled();
  });

  it("is compiled once for all services", async () => {
    const tidegate = await freshPackage();
    const compiler = vi.spyOn(WebAssembly, "Module");
    for (let service = 0; service < 5; service++) new tidegate.RateLimitService();
    const compiled = compiler.mock.calls.filter(([bytes]) => bytes.byteLength > 4_096);
    expect(compiled).toHaveLength(1);
  });

  it("init() compiles it ahead, and needs nothing fetched", async () => {
    const tidegate = await freshPackage();
    const asked = serving(() => served());
    expect(await tidegate.init()).toBe("ready");
    expect(await tidegate.init()).toBe("ready");
    expect(asked).toEqual([]);
    const { service, host } = bench({}, tidegate.RateLimitService);
    expect(await host.drive(service.executeWithRetry(script(refusal(), "done")))).toBe("done");
  });

  it("init() while it is compiled already is the same work", async () => {
    const tidegate = await freshPackage();
    const compile = vi.spyOn(WebAssembly, "compile");
    expect(await Promise.all([tidegate.init(), tidegate.init(), tidegate.init()])).toEqual(
      Array(3).fill("ready"),
    );
    expect(compile).toHaveBeenCalledTimes(1);
  });

  it("a service that is used while init() is under way passes its calls through, then guards them", async () => {
    const tidegate = await freshPackage();
    const { service, host } = await (async () => {
      const ready = tidegate.init();
      const stage = bench({}, tidegate.RateLimitService);
      const operation = script(refusal());
      await ended(stage.service.executeWithRetry(operation));
      await ready;
      return stage;
    })();
    expect(tidegate.coreState()).toBe("ready");
    expect(await host.drive(service.executeWithRetry(script(refusal(), "done")))).toBe("done");
  });
});

describe("the core of tidegate/external", () => {
  const sources: Record<string, () => { wasm?: unknown; asks?: string }> = {
    "a URL": () => ({
      wasm: new URL("https://cdn.example/core.wasm"),
      asks: "https://cdn.example/core.wasm",
    }),
    "an address": () => ({ wasm: "/assets/core.wasm", asks: "/assets/core.wasm" }),
    "a Response": () => ({ wasm: served() }),
    "a promise of a Response": () => ({ wasm: Promise.resolve(served()) }),
    "a Response of another type": () => ({ wasm: served("application/octet-stream") }),
    "a Response without a type": () => ({ wasm: served(null) }),
    "a type with a parameter": () => ({ wasm: served("application/wasm; charset=utf-8") }),
    bytes: () => ({ wasm: BYTES }),
    "an ArrayBuffer": () => ({ wasm: BYTES.slice().buffer }),
    "a view of a larger buffer": () => {
      const buffer = new Uint8Array(BYTES.length + 100);
      buffer.set(BYTES, 50);
      return { wasm: buffer.subarray(50, 50 + BYTES.length) };
    },
    "a WebAssembly.Module": () => ({ wasm: new WebAssembly.Module(BYTES) }),
  };

  it.each(Object.entries(sources))(
    "from %s: calls pass through before, and are guarded after",
    async (_, make) => {
      const tidegate = await external();
      const asked = serving(() => served());
      const { service, host } = bench({}, tidegate.RateLimitService);
      const told: string[] = [];
      service.on("core", ({ state }) => told.push(state));
      const through = script(refusal());
      await rejection(service.executeWithRetry(through));
      expect(through.times).toBe(1);
      expect(tidegate.coreState()).toBe("idle");
      const { wasm, asks } = make();
      expect(await tidegate.init({ wasm: wasm as BufferSource })).toBe("ready");
      expect(asked).toEqual(asks === undefined ? [] : [asks]);
      expect(tidegate.coreState()).toBe("ready");
      expect(told).toEqual(["idle", "ready"]);
      const guarded = script(refusal(), "done");
      expect(await host.drive(service.executeWithRetry(guarded))).toBe("done");
      expect(guarded.times).toBe(2);
    },
  );

  it("without a source is fetched from beside the package", async () => {
    const tidegate = await external();
    const asked = serving(() => served());
    expect(await tidegate.init()).toBe("ready");
    expect(asked).toHaveLength(1);
    expect(asked[0]).toMatch(/\/pkg\/core_bg\.wasm$/);
  });

  it("is fetched once, also when it is asked for twice at a time and again later", async () => {
    const tidegate = await external();
    const asked = serving(() => served());
    const wasm = "/core.wasm";
    expect(await Promise.all([tidegate.init({ wasm }), tidegate.init({ wasm })])).toEqual(["ready", "ready"]);
    expect(await tidegate.init({ wasm })).toBe("ready");
    expect(asked).toEqual([wasm]);
  });

  const failures: Record<string, [answer: () => Response | Error, message: RegExp]> = {
    "is not there": [() => served("text/html", 404), /HTTP 404/],
    "cannot be reached": [() => new TypeError("Failed to fetch"), /Failed to fetch/],
    "is a page": [
      () => new Response("<!doctype html>", { headers: { "content-type": "text/html" } }),
      /magic|wasm/i,
    ],
    "is broken": [
      () => new Response(BYTES.slice(0, 1_000), { headers: { "content-type": "application/wasm" } }),
      /wasm|section|extends/i,
    ],
  };

  it.each(Object.entries(failures))(
    "that %s rejects, harms no call, and may be asked for again",
    async (_, [answer, message]) => {
      const tidegate = await external();
      let served200 = false;
      serving(() => (served200 ? served() : answer()));
      const { service, host } = bench({}, tidegate.RateLimitService);
      await expect(tidegate.init({ wasm: "/core.wasm" })).rejects.toThrow(message);
      expect(tidegate.coreState()).toBe("idle");
      expect(await service.executeWithRetry(async () => "through")).toBe("through");
      served200 = true;
      expect(await tidegate.init({ wasm: "/core.wasm" })).toBe("ready");
      expect(await host.drive(service.executeWithRetry(script(refusal(), "done")))).toBe("done");
    },
  );

  it.each([5, null, {}, "", true])("%s is no source", async (wasm) => {
    const tidegate = await external();
    serving(() => new TypeError("Failed to parse URL"));
    const { error } = await ended(tidegate.init({ wasm: wasm as never }));
    expect(error).toBeInstanceOf(TypeError);
    expect(tidegate.coreState()).toBe("idle");
  });

  it("where there is no WebAssembly resolves with no-wasm and fetches nothing", async () => {
    vi.stubGlobal("WebAssembly", undefined);
    const tidegate = await external();
    const asked = serving(() => served());
    expect(await tidegate.init({ wasm: "/core.wasm" })).toBe("no-wasm");
    expect(asked).toEqual([]);
    const { service } = bench({}, tidegate.RateLimitService);
    expect(await service.executeWithRetry(async () => "through")).toBe("through");
  });

  it("the shared service uses it as soon as it is there", async () => {
    const holder = globalThis as { [KEY]?: unknown };
    delete holder[KEY];
    const tidegate = await external();
    expect(await tidegate.rateLimitService.executeWithRetry(async () => 1)).toBe(1);
    expect(tidegate.rateLimitService.getMetrics().calls).toBe(0);
    await tidegate.init({ wasm: BYTES });
    await tidegate.rateLimitService.executeWithRetry(async () => 1);
    expect(tidegate.rateLimitService.getMetrics().calls).toBe(1);
    delete holder[KEY];
  });
});

const KEY = Symbol.for("tidegate/1");
