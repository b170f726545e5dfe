import { afterEach, describe, expect, test, vi } from "vitest";
import {
  isRateLimitError,
  RateLimitConfigError,
  RateLimitError,
  RateLimitService,
  rateLimitService,
  type WaitInfo,
} from "../../js/index.ts";
import {
  type DataProviderMethod,
  HttpRateLimitError,
  type ResilientDataProviderOptions,
  resilientDataProvider,
} from "../../js/react-admin.ts";
import { serviceOf } from "./react-admin.support.ts";
import { rejection } from "./support/service.ts";

const READS = ["getList", "getOne", "getMany", "getManyReference"] as const;
const WRITES = ["create", "update", "updateMany", "delete", "deleteMany"] as const;
const METHODS = [...READS, ...WRITES];

/** What react-admin's fetchJson throws for a 429: no headers, a body that may say when to come back. */
function refusal(body: unknown = null) {
  return Object.assign(new Error("Too Many Requests"), { status: 429, body });
}

/** A method that rejects with these one after the other, and then resolves. */
function failing(...errors: unknown[]) {
  return vi.fn(async (..._args: unknown[]): Promise<unknown> => {
    if (errors.length > 0) throw errors.shift();
    return { data: { id: 1 } };
  });
}

/** A provider whose nine methods are refused `times` times. */
function refusedProvider(times: number) {
  const methods = METHODS.map((name) => [name, failing(...Array.from({ length: times }, () => refusal()))]);
  return Object.fromEntries(methods) as Record<DataProviderMethod, ReturnType<typeof failing>>;
}

describe("options", () => {
  test.each([
    ["a typo", { retries: 3 }, "retries"],
    ["a symbol", { [Symbol("x")]: 3 }, "Symbol(x)"],
    ["no object", 3, "options"],
    ["null", null, "options"],
    ["an array", [], "options"],
    ["a service that is none", { service: {} }, "service"],
    ["no service", { service: null }, "service"],
    ["methods that are no array", { methods: "create" }, "methods"],
    ["an unknown method", { methods: ["create", "createMany"] }, "methods"],
    ["a deadline that is no number", { deadlineMs: "15s" }, "deadlineMs"],
    ["a deadline of nothing", { deadlineMs: 0 }, "deadlineMs"],
    ["a deadline that is not a number", { deadlineMs: Number.NaN }, "deadlineMs"],
    ["an endless deadline", { deadlineMs: Number.POSITIVE_INFINITY }, "deadlineMs"],
    ["onWait that is no function", { onWait: true }, "onWait"],
  ])("%s is a RateLimitConfigError", (_, options, field) => {
    const wrap = () => resilientDataProvider({}, options as ResilientDataProviderOptions);
    expect(wrap).toThrow(RateLimitConfigError);
    expect(wrap).toThrow(expect.objectContaining({ field, expected: expect.any(String) }));
  });

  test.each([
    ["one that is not known", { retries: 3 }, "retries", 3],
    ["one that is not legal", { deadlineMs: "15s" }, "deadlineMs", "15s"],
    ["a method that is none", { methods: ["create", "createMany"] }, "methods", "createMany"],
    ["nothing at all", null, "options", null],
  ])("%s: the error says what was given", (_, options, field, value) => {
    const wrap = () => resilientDataProvider({}, options as ResilientDataProviderOptions);
    expect(wrap).toThrow(expect.objectContaining({ field, value }));
  });

  test("undefined is as good as left out", async () => {
    const { host, service } = serviceOf();
    const provider = refusedProvider(1);
    const guarded = resilientDataProvider(provider, {
      service,
      methods: undefined,
      deadlineMs: undefined,
      onWait: undefined,
    });
    await host.drive(guarded.create("posts", {}));
    expect(provider.create).toHaveBeenCalledTimes(2);
  });

  test.each([
    ["undefined", undefined],
    ["null", null],
    ["a string", "https://api.example.com"],
    ["a function", () => {}],
    ["a promise of a provider", Promise.resolve({})],
  ])("%s is no data provider", (_, provider) => {
    expect(() => resilientDataProvider(provider as object)).toThrow(TypeError);
  });

  describe("without a service", () => {
    const KEY = Symbol.for("tidegate/1");
    const holder = globalThis as { [KEY]?: { service?: RateLimitService } };
    afterEach(() => {
      delete holder[KEY];
    });

    test("the shared one is made by the first call, not by wrapping", async () => {
      delete holder[KEY];
      const provider = { create: failing() };
      const guarded = resilientDataProvider(provider);
      resilientDataProvider(provider, { service: rateLimitService });
      expect(holder[KEY]).toBeUndefined();
      await guarded.create("posts", {});
      expect(holder[KEY]?.service?.getMetrics().groups).toMatchObject([
        { resourceName: "posts", operation: "create", calls: 1 },
      ]);
    });
  });
});

describe("which methods are guarded", () => {
  test.each(WRITES)("%s waits a refusal out", async (name) => {
    const { host, service } = serviceOf();
    const provider = refusedProvider(1);
    const guarded = resilientDataProvider(provider, { service });
    await expect(host.drive(guarded[name]("posts", {}))).resolves.toEqual({ data: { id: 1 } });
    expect(provider[name]).toHaveBeenCalledTimes(2);
  });

  test.each(READS)("%s is left alone, and guarded when it is named", async (name) => {
    const { host, service } = serviceOf();
    const provider = refusedProvider(1);
    const unnamed = resilientDataProvider(provider, { service });
    await expect(unnamed[name]("posts", {})).rejects.toMatchObject({ message: "Too Many Requests" });
    expect(service.getMetrics().calls).toBe(0);

    const again = refusedProvider(1);
    const named = resilientDataProvider(again, { service, methods: [name] });
    await host.drive(named[name]("posts", {}));
    expect(again[name]).toHaveBeenCalledTimes(2);
  });

  test("naming some leaves the others alone", async () => {
    const { service } = serviceOf();
    for (const methods of [[], ["getList"]] satisfies DataProviderMethod[][]) {
      const guarded = resilientDataProvider(refusedProvider(1), { service, methods });
      await expect(guarded.create("posts", {})).rejects.toThrow("Too Many Requests");
    }
  });

  test("calls are counted by resource and method", async () => {
    const { service } = serviceOf();
    const guarded = resilientDataProvider({ create: failing(), update: failing() }, { service });
    await guarded.create("posts", {});
    await guarded.update("comments", {});
    await guarded.update(undefined, {});
    expect(service.getMetrics().groups).toMatchObject([
      { resourceName: "posts", operation: "create", calls: 1 },
      { resourceName: "comments", operation: "update", calls: 1 },
      { operation: "update", calls: 1 },
    ]);
  });

  const LOST = Object.assign(new Error("Service Unavailable"), { status: 503 });
  test.each([
    ["getList", {}, true],
    ["getOne", { id: 1 }, true],
    ["getMany", { ids: [1] }, true],
    ["getManyReference", { id: 1 }, true],
    ["update", { id: 1, data: {} }, true],
    ["updateMany", { ids: [1], data: {} }, true],
    ["delete", { id: 1 }, true],
    ["deleteMany", { ids: [1] }, true],
    ["create", { data: { id: "8f1c", name: "Ada" } }, true],
    ["create", { data: { id: 0 } }, true],
    ["create", { data: { name: "Ada" } }, false],
    ["create", { data: { id: "" } }, false],
    ["create", { data: { id: null } }, false],
    ["create", { data: [{ id: 1 }] }, false],
    ["create", { data: null }, false],
    ["create", undefined, false],
    ["create", { data: {}, meta: { resilience: { idempotent: true } } }, true],
    ["create", { data: { id: 1 }, meta: { resilience: { idempotent: undefined } } }, true],
    ["update", { id: 1, data: {}, meta: { resilience: { idempotent: false } } }, false],
  ] as const)("%s(%j): may it be sent twice? %s", async (name, params, idempotent) => {
    const { host, service } = serviceOf({ retryTransient: "idempotent" });
    const provider = { [name]: failing(LOST) } as Record<DataProviderMethod, ReturnType<typeof failing>>;
    const guarded = resilientDataProvider(provider, { service, methods: METHODS });
    await host.drive(guarded[name]("posts", params)).catch(() => {});
    expect(provider[name]).toHaveBeenCalledTimes(idempotent ? 2 : 1);
  });
});

describe("what the provider gets", () => {
  test("the caller's own arguments, at every attempt, and itself as `this`", async () => {
    const { host, service } = serviceOf();
    const seen: unknown[][] = [];
    const selves: unknown[] = [];
    const provider = {
      create(...args: unknown[]) {
        selves.push(this);
        seen.push(args);
        return seen.length === 1 ? Promise.reject(refusal()) : Promise.resolve({ data: { id: 1 } });
      },
    };
    const params = Object.freeze({ data: { name: "Ada" }, meta: { headers: { Prefer: "x" } } });
    const guarded = resilientDataProvider(provider, { service });
    await host.drive(guarded.create("posts", params, "more"));
    for (const args of seen) {
      expect(args).toEqual(["posts", params, "more"]);
      expect(args[1]).toBe(params);
    }
    expect(selves).toEqual([provider, provider]);
    expect(selves[0]).toBe(provider);
  });

  test("the attempt's signal where the caller gave one, and the rest as it was", async () => {
    const { host, service } = serviceOf();
    const caller = new AbortController();
    const signals: AbortSignal[] = [];
    const provider = {
      getList: vi.fn((_resource: string, params: { signal: AbortSignal }) => {
        signals.push(params.signal);
        if (signals.length === 1) return Promise.reject(refusal());
        return new Promise((_, reject) => {
          params.signal.addEventListener("abort", () => reject(params.signal.reason));
        });
      }),
    };
    const params = { filter: { q: "a" }, signal: caller.signal };
    const guarded = resilientDataProvider(provider, { service, methods: ["getList"], deadlineMs: null });
    const call = rejection(guarded.getList("posts", params));
    await host.advance(1_000);
    expect(provider.getList).toHaveBeenCalledTimes(2);
    expect(provider.getList).toHaveBeenLastCalledWith("posts", {
      filter: { q: "a" },
      signal: expect.any(AbortSignal),
    });
    expect(new Set([...signals, caller.signal]).size).toBe(3);
    caller.abort();
    expect(signals.map(({ aborted }) => aborted)).toEqual([false, true]);
    expect(await call).toBe(caller.signal.reason);
    expect(params.signal).toBe(caller.signal);
  });

  test("further arguments, whatever is done to the parameters", async () => {
    const { service } = serviceOf();
    const create = failing();
    const { signal } = new AbortController();
    await resilientDataProvider({ create }, { service }).create("posts", { signal }, "more", 1);
    expect(create).toHaveBeenCalledWith("posts", { signal: expect.any(AbortSignal) }, "more", 1);
  });

  test.each([undefined, null, "no signal", {}])("%j is no signal", async (signal) => {
    const { service } = serviceOf();
    const create = failing();
    const params = { data: {}, signal };
    await resilientDataProvider({ create }, { service }).create("posts", params);
    expect(create.mock.lastCall?.[1]).toBe(params);
  });

  test("a signal that aborts with the deadline", async () => {
    const { host, service } = serviceOf();
    let signal: AbortSignal | undefined;
    const update = vi.fn((_resource: string, params: { signal: AbortSignal }) => {
      signal = params.signal;
      return new Promise(() => {});
    });
    const guarded = resilientDataProvider({ update }, { service });
    const call = rejection(guarded.update("posts", { signal: new AbortController().signal }));
    await host.advance(14_999);
    expect(signal?.aborted).toBe(false);
    await host.advance(1);
    expect(await call).toMatchObject({ code: "RATE_LIMIT_DEADLINE_EXCEEDED", attempts: 1 });
    expect(signal?.reason).toMatchObject({ name: "TimeoutError" });
  });
});

describe("what comes out", () => {
  test("what the provider resolves with, the same object", async () => {
    const { service } = serviceOf();
    const answer = { data: { id: 1, status: 429, message: "rate limit" } };
    const guarded = resilientDataProvider({ create: () => Promise.resolve(answer) }, { service });
    expect(await guarded.create()).toBe(answer);
  });

  test.each([
    [
      "a validation error",
      Object.assign(new Error("bad"), { status: 422, body: { errors: { name: "required" } } }),
    ],
    ["an expired session", Object.assign(new Error("no"), { status: 401 })],
    ["a string", "nope"],
    ["undefined", undefined],
    ["a frozen error", Object.freeze(new Error("frozen"))],
  ])("%s comes out as it is, at once", async (_, error) => {
    const { service } = serviceOf();
    const update = failing(error);
    expect(await rejection(resilientDataProvider({ update }, { service }).update("posts", {}))).toBe(error);
    expect(update).toHaveBeenCalledTimes(1);
  });

  test("what the provider throws before it returns a promise is a rejection too", async () => {
    const { service } = serviceOf();
    const error = new Error("params.data is undefined");
    const create = vi.fn((): Promise<unknown> => {
      throw error;
    });
    const promise = resilientDataProvider({ create }, { service }).create();
    expect(promise).toBeInstanceOf(Promise);
    expect(await rejection(promise)).toBe(error);
  });

  test("a refusal that outlasts the retries is an error for react-admin", async () => {
    const { host, service } = serviceOf();
    const given: RateLimitError[] = [];
    service.on("giveUp", ({ error }) => given.push(error));
    const last = refusal({ errors: { root: "not ours to show" }, code: "PT429" });
    const create = failing(refusal(), refusal(), refusal(), last);
    const error = await rejection(
      host.drive(resilientDataProvider({ create }, { service }).create("posts", {})),
    );
    expect(create).toHaveBeenCalledTimes(4);
    const userMessage = "The system is temporarily overloaded. Please try again in a few moments.";
    expect(error).toBeInstanceOf(RateLimitError);
    expect(error).toMatchObject({
      name: "RateLimitError",
      code: "RATE_LIMIT_MAX_RETRIES_EXCEEDED",
      message: userMessage,
      userMessage,
      status: 429,
      attempts: 4,
      resourceName: "posts",
      operation: "create",
    });
    const { originalError, cause, body } = error as HttpRateLimitError;
    expect(originalError).toBe(last);
    expect(cause).toBe(last);
    expect(body).not.toHaveProperty("errors");
    expect(Object.hasOwn(error as object, "body")).toBe(true);
    expect(isRateLimitError(error)).toBe(true);
    // The service's own error is for the log and stays what it was.
    expect(given).toMatchObject([{ message: `Rate limit error persisted after 3 retries. ${userMessage}` }]);
  });

  test("a refusal that was returned is an error too", async () => {
    const { host, service } = serviceOf({ maxRetries: 0 });
    const answer = { data: null, error: { message: "" }, status: 429, statusText: "" };
    const guarded = resilientDataProvider({ create: async () => answer }, { service });
    const error = await rejection(host.drive(guarded.create()));
    expect(error).toBeInstanceOf(HttpRateLimitError);
    expect((error as HttpRateLimitError).originalError).toBe(answer);
  });

  test("an open circuit says when it may close", async () => {
    const { host, service } = serviceOf({
      circuitBreakerThreshold: 1,
      maxRetries: 0,
      circuitResetMs: 60_000,
    });
    const create = failing(refusal());
    const guarded = resilientDataProvider({ create }, { service });
    await rejection(guarded.create("posts", {}));
    await host.advance(20_000);
    const error = await rejection(guarded.create("posts", {}));
    expect(create).toHaveBeenCalledTimes(1);
    expect(error).toMatchObject({
      code: "RATE_LIMIT_CIRCUIT_OPEN",
      message: "Too many requests. Please wait 1-2 minutes before trying again.",
      status: 429,
      attempts: 0,
      retryAfterMs: 40_000,
      body: { code: "RATE_LIMIT_CIRCUIT_OPEN", retryAfterMs: 40_000 },
    });
  });

  test("an isolated circuit has no time to name", async () => {
    const { service } = serviceOf();
    service.isolateCircuit();
    const error = await rejection(
      resilientDataProvider({ create: failing() }, { service }).create("posts", {}),
    );
    expect(error).toMatchObject({ code: "RATE_LIMIT_CIRCUIT_OPEN", status: 429 });
    expect(JSON.parse(JSON.stringify((error as HttpRateLimitError).body)).retryAfterMs ?? null).toBeNull();
  });

  test("a translation is what the user reads", async () => {
    const { service } = serviceOf({ maxRetries: 0, messages: (code) => `übersetzt: ${code}` });
    const guarded = resilientDataProvider({ create: failing(refusal()) }, { service });
    const message = "übersetzt: RATE_LIMIT_MAX_RETRIES_EXCEEDED";
    expect(await rejection(guarded.create("posts", {}))).toMatchObject({ message, userMessage: message });
  });
});

describe("the deadline", () => {
  test.each([
    ["a wait that fits is waited", {}, 10, { data: { id: 1 } }, 10_000],
    ["one that does not ends the call at once", {}, 20, { code: "RATE_LIMIT_DEADLINE_EXCEEDED" }, 0],
    ["a longer deadline", { deadlineMs: 30_000 }, 20, { data: { id: 1 } }, 20_000],
    ["none", { deadlineMs: null }, 50, { data: { id: 1 } }, 50_000],
  ])("%s", async (_, options, retryAfter, settled, elapsedMs) => {
    const { host, service } = serviceOf();
    const begun = host.now();
    const create = failing(refusal({ retry_after: retryAfter }));
    const guarded = resilientDataProvider({ create }, { service, ...options });
    expect(await host.drive(guarded.create("posts", {}).catch((error) => error))).toMatchObject(settled);
    expect(host.now() - begun).toBe(elapsedMs);
  });

  test("what did not fit says when to come back", async () => {
    const { service } = serviceOf();
    const guarded = resilientDataProvider({ create: failing(refusal({ retry_after: 20 })) }, { service });
    const error = (await rejection(guarded.create("posts", {}))) as HttpRateLimitError;
    expect(error.message).toBe("This is taking longer than expected. Please try again.");
    expect(error.body).toEqual({ code: "RATE_LIMIT_DEADLINE_EXCEEDED", retryAfterMs: 20_000 });
  });

  test("none leaves it to the service's own", async () => {
    const { service } = serviceOf({ callDeadlineMs: 5_000 });
    const create = failing(refusal({ retry_after: 10 }));
    const guarded = resilientDataProvider({ create }, { service, deadlineMs: null });
    expect(await rejection(guarded.create("posts", {}))).toMatchObject({
      code: "RATE_LIMIT_DEADLINE_EXCEEDED",
    });
  });
});

describe("wrapped again", () => {
  test("our own error is the same object, and nothing is multiplied", async () => {
    for (const sameService of [true, false]) {
      const { host, service } = serviceOf();
      const outerService = sameService ? service : new RateLimitService({ logLevel: "silent" }, host);
      const create = failing(...Array.from({ length: 20 }, () => refusal()));
      const inner = resilientDataProvider({ create }, { service });
      const innerErrors: unknown[] = [];
      const between = {
        ...inner,
        create: (...args: unknown[]) =>
          inner.create(...args).catch((error) => {
            innerErrors.push(error);
            throw error;
          }),
      };
      const outer = resilientDataProvider(between, { service: outerService });
      const error = await rejection(host.drive(outer.create("posts", {})));
      expect(create).toHaveBeenCalledTimes(4);
      expect(innerErrors).toEqual([error]);
      expect(error).toBe(innerErrors[0]);
    }
  });

  test("an error of ours that the provider made itself is the same object", async () => {
    const { host, service } = serviceOf({ maxRetries: 1 });
    const errors: unknown[] = [];
    service.on("giveUp", ({ error }) => errors.push(error));
    const other = new RateLimitService({ logLevel: "silent" }, host);
    const provider = { create: () => service.executeWithRetry(() => Promise.reject(refusal())) };
    const guarded = resilientDataProvider(provider, { service: other });
    const error = await rejection(host.drive(guarded.create()));
    expect(errors).toEqual([error]);
    expect(error).toBe(errors[0]);
  });

  test.each([
    ["", (inner: object) => inner],
    [" and spread", (inner: object) => ({ ...inner })],
    [" three times", (inner: object, service: RateLimitService) => resilientDataProvider(inner, { service })],
  ])(
    "a provider that is wrapped with the same service twice%s needs one probe, not two",
    async (_, between) => {
      const { host, service } = serviceOf({ circuitBreakerThreshold: 1, maxRetries: 0 });
      const create = failing(refusal());
      const inner = resilientDataProvider({ create }, { service });
      const outer = resilientDataProvider(between(inner, service) as typeof inner, { service });
      await rejection(outer.create("posts", {}));
      await host.advance(60_000);
      await expect(outer.create("posts", {})).resolves.toEqual({ data: { id: 1 } });
      expect(service.getCircuitState().state).toBe("closed");
      expect(service.getMetrics().calls).toBe(2);
    },
  );

  test("methods that the inner one leaves alone are guarded", async () => {
    const { host, service } = serviceOf();
    const provider = refusedProvider(1);
    const outer = resilientDataProvider(resilientDataProvider(provider, { service }), {
      service,
      methods: ["getList", "create"],
    });
    await host.drive(outer.getList("posts", {}));
    await host.drive(outer.create("posts", {}));
    expect([provider.getList.mock.calls.length, provider.create.mock.calls.length]).toEqual([2, 2]);
  });
});

describe("an abort", () => {
  const aborted = (controller: AbortController) => {
    controller.abort();
    return controller.signal.reason as DOMException;
  };

  test("before the call: the provider hears nothing of it", async () => {
    const { service } = serviceOf();
    const controller = new AbortController();
    const reason = aborted(controller);
    const create = failing();
    const guarded = resilientDataProvider({ create }, { service });
    const error = await rejection(guarded.create("posts", { signal: controller.signal }));
    expect(error).toBe(reason);
    expect(error).toBeInstanceOf(DOMException);
    expect(error).toMatchObject({ name: "AbortError" });
    expect(create).not.toHaveBeenCalled();
  });

  test("during a wait: at once, and nothing is sent any more", async () => {
    const { host, service } = serviceOf();
    const controller = new AbortController();
    const create = failing(refusal({ retry_after: 10 }));
    const guarded = resilientDataProvider({ create }, { service });
    const call = rejection(guarded.create("posts", { signal: controller.signal }));
    await host.advance(5_000);
    const reason = aborted(controller);
    expect(await call).toBe(reason);
    await host.advance(60_000);
    expect(create).toHaveBeenCalledTimes(1);
    expect(host.sleeping).toBe(0);
  });

  test("during an attempt of a provider that does not listen: at once", async () => {
    const { host, service } = serviceOf();
    const controller = new AbortController();
    const guarded = resilientDataProvider(
      { create: (..._: unknown[]) => new Promise(() => {}) },
      { service },
    );
    const call = rejection(guarded.create("posts", { signal: controller.signal }));
    await host.advance(1);
    const reason = aborted(controller);
    expect(await call).toBe(reason);
  });

  test("by the provider itself: its own DOMException", async () => {
    const { service } = serviceOf();
    const error = new DOMException("The user aborted a request.", "AbortError");
    const guarded = resilientDataProvider({ create: failing(error) }, { service });
    expect(await rejection(guarded.create("posts", {}))).toBe(error);
  });
});

describe("waiting", () => {
  test("onWait hears of each wait", async () => {
    const { host, service } = serviceOf();
    const waits: WaitInfo[] = [];
    const provider = { create: failing(refusal(), refusal({ retry_after: 3 })), update: failing() };
    const guarded = resilientDataProvider(provider, { service, onWait: (wait) => waits.push(wait) });
    const begun = host.now();
    const create = guarded.create("posts", {});
    await host.advance(0);
    const update = guarded.update("posts", {});
    await host.drive(Promise.all([create, update]));
    expect(waits.map(({ untilTime, ...wait }) => ({ ...wait, ms: untilTime - begun }))).toEqual([
      { reason: "backoff", attempt: 2, ms: 100 },
      { reason: "cooldown", attempt: 1, ms: 100 },
      { reason: "backoff", attempt: 3, ms: 3_100 },
    ]);
  });

  test("an onWait that throws changes nothing", async () => {
    const { host, service } = serviceOf();
    const onWait = vi.fn(() => {
      throw new Error("the snackbar is gone");
    });
    const guarded = resilientDataProvider({ create: failing(refusal()) }, { service, onWait });
    await expect(host.drive(guarded.create("posts", {}))).resolves.toEqual({ data: { id: 1 } });
    expect(onWait).toHaveBeenCalledTimes(1);
  });
});

describe("meta.resilience", () => {
  test("is for us: the provider gets its meta without it", async () => {
    const { host, service } = serviceOf();
    const create = failing(refusal());
    const params = { data: { name: "Ada" }, meta: { headers: { Prefer: "x" }, resilience: { priority: 1 } } };
    await host.drive(resilientDataProvider({ create }, { service }).create("posts", params));
    expect(create.mock.calls).toEqual([
      ["posts", { data: { name: "Ada" }, meta: { headers: { Prefer: "x" } } }],
      ["posts", { data: { name: "Ada" }, meta: { headers: { Prefer: "x" } } }],
    ]);
    expect(params.meta.resilience).toEqual({ priority: 1 });
  });

  test("deadlineMs: a longer one for an upload", async () => {
    const { host, service } = serviceOf();
    const guarded = resilientDataProvider({ create: failing(refusal({ retry_after: 20 })) }, { service });
    const meta = { resilience: { deadlineMs: 30_000 } };
    await expect(host.drive(guarded.create("files", { meta }))).resolves.toBeDefined();
  });

  test("deadlineMs: none", async () => {
    const { host, service } = serviceOf();
    const guarded = resilientDataProvider({ create: failing(refusal({ retry_after: 50 })) }, { service });
    const meta = { resilience: { deadlineMs: null } };
    await expect(host.drive(guarded.create("files", { meta }))).resolves.toBeDefined();
  });

  test("maxRetries", async () => {
    const { host, service } = serviceOf();
    const create = failing(...Array.from({ length: 9 }, () => refusal()));
    const guarded = resilientDataProvider({ create }, { service });
    await rejection(host.drive(guarded.create("posts", { meta: { resilience: { maxRetries: 0 } } })));
    expect(create).toHaveBeenCalledTimes(1);
  });

  test("onWait, instead of the other", async () => {
    const { host, service } = serviceOf();
    const [forAll, forOne] = [vi.fn(), vi.fn()];
    const guarded = resilientDataProvider({ create: failing(refusal()) }, { service, onWait: forAll });
    await host.drive(guarded.create("posts", { meta: { resilience: { onWait: forOne } } }));
    expect([forAll.mock.calls.length, forOne.mock.calls.length]).toEqual([0, 1]);
  });

  test("priority: who is held by a cooldown goes in that order", async () => {
    const { host, service } = serviceOf();
    const order: unknown[] = [];
    const create = vi.fn(async (resource: string, _params: unknown) => {
      order.push(resource);
      if (order.length === 1) throw refusal();
    });
    const guarded = resilientDataProvider({ create }, { service });
    const calls = [guarded.create("refused", {})];
    await host.advance(0);
    calls.push(guarded.create("autosave", { meta: { resilience: { priority: -1 } } }));
    calls.push(guarded.create("form", {}));
    await host.drive(Promise.all(calls));
    expect(order.indexOf("form")).toBeLessThan(order.indexOf("autosave"));
  });

  test.each([
    ["meta.resilience", null],
    ["meta.resilience", "high"],
    ["meta.resilience.retries", { retries: 3 }],
    ["meta.resilience.deadlineMs", { deadlineMs: -1 }],
    ["meta.resilience.idempotent", { idempotent: 1 }],
    ["meta.resilience.maxRetries", { maxRetries: 1.5 }],
    ["meta.resilience.maxRetries", { maxRetries: 1001 }],
    ["meta.resilience.onWait", { onWait: {} }],
    ["meta.resilience.priority", { priority: Number.NaN }],
  ])("%s: %j is a rejection with a RateLimitConfigError", async (field, resilience) => {
    const { service } = serviceOf();
    const create = failing();
    const error = await rejection(
      resilientDataProvider({ create }, { service }).create("posts", { meta: { resilience } }),
    );
    expect(error).toBeInstanceOf(RateLimitConfigError);
    expect(error).toMatchObject({ field });
    expect(create).not.toHaveBeenCalled();
  });

  test.each([undefined, null, "text", { columns: ["id"] }])(
    "a meta of %j is none of our business",
    async (meta) => {
      const { service } = serviceOf();
      const create = failing();
      const params = { data: {}, meta };
      await resilientDataProvider({ create }, { service }).create("posts", params);
      expect(create.mock.lastCall?.[1]).toBe(params);
    },
  );
});

describe("the object", () => {
  class Provider {
    #sent: string[] = [];
    count = 0;
    supportAbortSignal = true;

    async create(resource: string, _params?: unknown) {
      return { data: { id: this.#send(resource) } };
    }

    async getList(_resource: string, _params?: unknown) {
      return { data: [...this.#sent], total: this.#sent.length };
    }

    sentBy = () => this;

    async custom() {
      return this.#sent.length;
    }

    get last() {
      return this.#sent.at(-1);
    }

    toJSON() {
      return { sent: this.#sent };
    }

    get [Symbol.toStringTag]() {
      return `Provider of ${this.#sent.length}`;
    }

    *[Symbol.iterator]() {
      yield* this.#sent;
    }

    #send(resource: string) {
      this.#sent.push(resource);
      this.count++;
      return this.#sent.length;
    }
  }

  const plain = () => ({
    ...refusedProvider(0),
    supportAbortSignal: true,
    apiUrl: "https://api.example.com",
    async me(this: object) {
      return this;
    },
  });

  describe("over a class with private fields", () => {
    const wrap = () => {
      const provider = new Provider();
      return { provider, guarded: resilientDataProvider(provider, { service: serviceOf().service }) };
    };

    test("methods, custom ones too, run with the provider as `this`", async () => {
      const { provider, guarded } = wrap();
      expect(await guarded.create("posts")).toEqual({ data: { id: 1 } });
      expect(await guarded.getList("posts")).toEqual({ data: ["posts"], total: 1 });
      expect(await guarded.custom()).toBe(1);
      expect(guarded.sentBy()).toBe(provider);
      const { create, custom } = guarded;
      await create("comments");
      expect(await custom()).toBe(2);
    });

    test("accessors, state and protocols are the provider's, as they are now", async () => {
      const { provider, guarded } = wrap();
      await guarded.create("posts");
      expect(guarded.last).toBe("posts");
      expect(guarded.count).toBe(1);
      expect(String(guarded)).toBe("[object Provider of 1]");
      expect([...guarded]).toEqual(["posts"]);
      expect(JSON.stringify(guarded)).toBe('{"sent":["posts"]}');
      expect(guarded).toBeInstanceOf(Provider);
      expect(guarded.constructor).toBe(Provider);
      provider.supportAbortSignal = false;
      expect(guarded.supportAbortSignal).toBe(false);
    });

    test("spread, it is a whole provider", async () => {
      const { guarded } = wrap();
      const spread = { ...guarded } as Provider;
      await spread.create("posts");
      expect(await spread.getList("posts")).toEqual({ data: ["posts"], total: 1 });
      expect(Object.keys(guarded)).toEqual(["count", "supportAbortSignal", "sentBy", "getList", "create"]);
    });

    test("what is in it", () => {
      const { guarded } = wrap();
      expect("create" in guarded).toBe(true);
      expect("custom" in guarded).toBe(true);
      expect("createMany" in guarded).toBe(false);
      expect((guarded as { createMany?: unknown }).createMany).toBeUndefined();
    });
  });

  test.each([
    ["a plain object", (provider: object) => provider],
    ["a frozen one", Object.freeze],
    ["a sealed one", Object.seal],
    ["one without a prototype", (provider: object) => Object.assign(Object.create(null), provider)],
    ["one that inherits its methods", (provider: object) => Object.create(provider)],
  ])("over %s: guarded, and with all that the provider has", async (_, made) => {
    const { host, service } = serviceOf();
    const provider = made({ ...plain(), ...refusedProvider(1) }) as ReturnType<typeof plain>;
    const guarded = resilientDataProvider(provider, { service });
    await expect(host.drive(guarded.create("posts", {}))).resolves.toEqual({ data: { id: 1 } });
    await expect(guarded.getList("posts", {})).rejects.toThrow("Too Many Requests");
    expect(guarded.supportAbortSignal).toBe(true);
    expect(guarded.apiUrl).toBe("https://api.example.com");
    expect(await guarded.me()).toBe(provider);
    expect("me" in guarded).toBe(true);
    expect(Object.getPrototypeOf(guarded)).toBe(Object.getPrototypeOf(provider));
  });

  test("its keys are the provider's, in their order", () => {
    const provider = plain();
    const tag = Symbol("tag");
    Object.assign(provider, { [tag]: 1 });
    Object.defineProperty(provider, "secret", { value: 1, enumerable: false });
    const guarded = resilientDataProvider(provider);
    expect(Object.keys(guarded)).toEqual(Object.keys(provider));
    expect(Reflect.ownKeys(guarded)).toEqual(Reflect.ownKeys(provider));
    expect(JSON.stringify(guarded)).toBe('{"supportAbortSignal":true,"apiUrl":"https://api.example.com"}');
    expect((guarded as unknown as Record<symbol, unknown>)[tag]).toBe(1);
  });

  test("a method that is missing stays missing", () => {
    const guarded = resilientDataProvider({ getList: failing() } as Partial<ReturnType<typeof plain>>);
    expect(guarded.create).toBeUndefined();
    expect("create" in guarded).toBe(false);
    expect({ ...guarded }).not.toHaveProperty("create");
  });

  test("two reads give the same method, with its name and its properties", () => {
    const provider = { create: failing(), rpc: Object.assign(async function rpc() {}, { batch: 10 }) };
    const guarded = resilientDataProvider(provider);
    expect(guarded.create).toBe(guarded.create);
    expect({ ...guarded }.create).toBe(guarded.create);
    expect(guarded.rpc).toBe(guarded.rpc);
    expect(guarded.rpc.name).toBe("rpc");
    expect(guarded.rpc.batch).toBe(10);
    expect(guarded.create.mock).toBe(provider.create.mock);
  });

  test("a spread copy is guarded, whatever its `this`", async () => {
    const { host, service } = serviceOf();
    const provider = { ...plain(), ...refusedProvider(1) };
    const copy = { ...resilientDataProvider(provider, { service }), getList: async () => "mine" };
    await expect(host.drive(copy.create("posts", {}))).resolves.toEqual({ data: { id: 1 } });
    expect(await copy.getList()).toBe("mine");
    expect(await copy.me()).toBe(provider);
    expect(copy.supportAbortSignal).toBe(true);
  });

  test("what is set is set here; the provider stays as it is", async () => {
    const provider = Object.freeze(plain());
    const guarded: { create?: unknown; extra?: number } = resilientDataProvider(provider);
    const create = async () => "mine";
    guarded.create = create;
    guarded.extra = 1;
    Object.assign(guarded, { apiUrl: "elsewhere" });
    expect(guarded.create).toBe(create);
    expect({ ...guarded }).toMatchObject({ create, extra: 1, apiUrl: "elsewhere" });
    expect(provider.create).not.toBe(create);
    expect(provider.apiUrl).toBe("https://api.example.com");
    delete guarded.extra;
    expect("extra" in guarded).toBe(false);
  });

  test("what is set on an object that inherits from it is set there", () => {
    const guarded = resilientDataProvider(plain());
    const child = Object.create(guarded) as typeof guarded;
    child.apiUrl = "child";
    expect([child.apiUrl, guarded.apiUrl]).toEqual(["child", "https://api.example.com"]);
  });

  test("a setter of the provider's class is not run on what it does not know", () => {
    class Localised {
      #locale = "en";
      get locale() {
        return this.#locale;
      }
      set locale(locale: string) {
        this.#locale = locale;
      }
    }
    const provider = new Localised();
    const guarded = resilientDataProvider(provider);
    guarded.locale = "de";
    expect([guarded.locale, provider.locale]).toEqual(["de", "en"]);
  });

  test("a method that is replaced later is the one that runs, guarded", async () => {
    const { host, service } = serviceOf();
    const provider = { create: failing(), getList: failing() };
    const guarded = resilientDataProvider(provider, { service });
    const { create } = guarded;
    provider.create = failing(refusal());
    await host.drive(create("posts", {}));
    expect(provider.create).toHaveBeenCalledTimes(2);
  });

  test("what the provider gets later is there too", async () => {
    const { host, service } = serviceOf();
    const provider: { create?: ReturnType<typeof failing>; apiUrl?: string } = {};
    const guarded = resilientDataProvider(provider, { service });
    Object.assign(provider, { create: failing(refusal()), apiUrl: "https://api.example.com" });
    expect(["create" in guarded, guarded.apiUrl]).toEqual([true, "https://api.example.com"]);
    await expect(host.drive(Promise.resolve(guarded.create?.("posts", {})))).resolves.toEqual({
      data: { id: 1 },
    });
  });

  test("it can be frozen, spied on and awaited", async () => {
    const { service } = serviceOf();
    const guarded = resilientDataProvider(plain(), { service });
    const spy = vi.spyOn(guarded, "create").mockResolvedValue("spied");
    expect(await guarded.create()).toBe("spied");
    spy.mockRestore();
    expect(await guarded.create()).toEqual({ data: { id: 1 } });
    expect(await Promise.resolve(guarded)).toBe(guarded);
    Object.freeze(guarded);
    expect(Object.isFrozen(guarded)).toBe(true);
    expect(await guarded.create()).toEqual({ data: { id: 1 } });
  });

  test("what every object inherits works on it", () => {
    const guarded = resilientDataProvider(new Provider());
    // biome-ignore lint/suspicious/noPrototypeBuiltins: older code asks so
    expect(guarded.hasOwnProperty("create")).toBe(true);
    expect(guarded.valueOf()).toBe(guarded);
  });

  test("it passes calls through when the service is switched off", async () => {
    const { service } = serviceOf({ enabled: false });
    const provider = refusedProvider(1);
    const guarded = resilientDataProvider(provider, { service });
    await expect(guarded.create("posts", {})).rejects.toThrow("Too Many Requests");
    await expect(guarded.create("posts", {})).resolves.toEqual({ data: { id: 1 } });
  });
});
