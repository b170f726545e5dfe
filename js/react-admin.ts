/** react-admin: a data provider that waits refusals out, and where it cannot, fails in words for whoever is waiting. */

import {
  aBoolean,
  aFunction,
  checked,
  count,
  HttpRateLimitError,
  milliseconds,
  orNull,
  type Rules,
} from "./api.ts";
import {
  type AttemptInfo,
  type CallContext,
  isRateLimitError,
  RateLimitConfigError,
  RateLimitService,
  rateLimitService,
  type WaitInfo,
} from "./index.ts";
import { isDirect } from "./react-admin/direct.ts";
import { Failures, ownId, type Target } from "./react-admin/repeated.ts";

/** The methods of react-admin's data providers. */
export type DataProviderMethod =
  | "getList"
  | "getOne"
  | "getMany"
  | "getManyReference"
  | "create"
  | "update"
  | "updateMany"
  | "delete"
  | "deleteMany";

export interface ResilientDataProviderOptions {
  /** Whose circuit, cooldown and retry budget the calls share. Default: the service that the whole page shares. */
  service?: RateLimitService | undefined;
  /** Which methods are guarded. Default `create`, `update`, `updateMany`, `delete` and `deleteMany`. */
  methods?: readonly DataProviderMethod[] | undefined;
  /**
   * How long a call may take, waits included; a wait that does not fit ends it at once. Default 15_000, because somebody
   * looks at a spinner; 1 to 31_536_000_000. `null` leaves it to the service's `callDeadlineMs`.
   */
  deadlineMs?: number | null | undefined;
  /** Called when a guarded call begins to wait: to say so in a snackbar, for example. */
  onWait?: ((wait: WaitInfo) => void) | undefined;
}

/** What a single call wants otherwise: `params.meta.resilience`. The provider gets its `meta` without it. */
export interface ResilienceMeta {
  /** Instead of the option of this name. */
  deadlineMs?: number | null | undefined;
  /** Doing it twice is the same as doing it once. Default: what the method and its parameters say. */
  idempotent?: boolean | undefined;
  /** Instead of the service's; 0 to 1000. */
  maxRetries?: number | undefined;
  /** Instead of the option of this name. */
  onWait?: ((wait: WaitInfo) => void) | undefined;
  /** Higher goes first; 0 is normal. */
  priority?: number | undefined;
}

/**
 * A data provider that does what `dataProvider` does, and whose writes wait refusals out.
 *
 * What the provider throws comes out as the same object; a call that we end fails with an HttpRateLimitError. Every method
 * runs with `dataProvider` itself as `this`. A property that is set is set here, `dataProvider` stays as it is.
 *
 * One exception: a creation or deletion that was repeated because an answer was lost, and is told that it is done already,
 * is looked up, and resolves where that is so.
 *
 * All methods count as idempotent but `create`, which does when the client has chosen the id (`params.data.id`).
 * `params.signal` ends a guarded call at once; the provider gets the attempt's signal in its place, which aborts with the
 * deadline too. Where the caller gave none it gets none. But for that and `meta.resilience` it gets the caller's object.
 *
 * A method that the same service guards already is not guarded again: the options that were given first hold.
 *
 * @throws TypeError when `dataProvider` is no object; RateLimitConfigError for an unknown option or an illegal value.
 */
export function resilientDataProvider<P extends object>(
  dataProvider: P,
  options: ResilientDataProviderOptions = {},
): P {
  checkProvider(dataProvider);
  const settings = settingsOf(options);
  return standInFor(dataProvider, (key, method) => methodFor(dataProvider, key, method, settings));
}

// ---- a call

type Method = (...args: unknown[]) => unknown;

/** Which service guards a method already. */
const guardians = new WeakMap<Method, RateLimitService>();

/**
 * What stands for a method: it has its name and its properties. It looks the method up when it is called, because some
 * providers answer every read with another function (combineDataProviders does).
 */
function methodFor(provider: object, key: PropertyKey, method: Method, settings: Settings): Method {
  const run = (args: unknown[]): unknown =>
    Reflect.apply(Reflect.get(provider, key) as Method, provider, args);
  if (!settings.methods.has(key)) return redirected(method, run);
  const { service } = settings;
  const guarded = redirected(
    method,
    guardians.get(method) === service
      ? run
      : (args) => {
          if (isDirect(args)) return run(args);
          return guardedCall({ provider, method: key as DataProviderMethod, service }, run, args, settings);
        },
  );
  guardians.set(guarded, service);
  return guarded;
}

function redirected(method: Method, call: (args: unknown[]) => unknown): Method {
  return new Proxy(method, { apply: (_method, _self, args) => call(args) });
}

async function guardedCall(
  target: Target,
  run: (args: unknown[]) => unknown,
  args: unknown[],
  settings: Settings,
): Promise<unknown> {
  const failures = new Failures(target);
  const operation = async (attempt: AttemptInfo): Promise<unknown> => {
    const given = argumentsFor(attempt, args);
    try {
      return await run(given);
    } catch (error) {
      const answer = await failures.answerAfter(error, attempt, given);
      if (answer) return answer;
      throw error;
    }
  };
  try {
    return await settings.service.executeWithRetry(operation, contextOf(target.method, args, settings));
  } catch (error) {
    throw isRateLimitError(error) && !failures.has(error) ? new HttpRateLimitError(error) : error;
  }
}

function contextOf(name: string, [resource, params]: unknown[], settings: Settings): CallContext {
  const {
    deadlineMs = settings.deadlineMs,
    idempotent = name !== "create" || ownId(params) !== undefined,
    maxRetries,
    onWait = settings.onWait,
    priority,
  } = wishesIn(params);
  return {
    resourceName: typeof resource === "string" ? resource : undefined,
    operation: name,
    signal: signalIn(params),
    deadlineMs: deadlineMs ?? undefined,
    idempotent,
    maxRetries,
    onWait,
    priority,
  };
}

/** The arguments that the provider gets: the caller's own, but for what only the attempt knows and what is only for us. */
function argumentsFor(attempt: AttemptInfo, args: unknown[]): unknown[] {
  const [resource, params, ...rest] = args as [unknown, Params, ...unknown[]];
  const signalled = signalIn(params) !== undefined;
  const wishing = params?.meta?.resilience !== undefined;
  if (!signalled && !wishing) return args;
  const given = { ...params };
  if (signalled) given.signal = attempt.signal;
  if (wishing) {
    const { resilience: _, ...meta } = given.meta ?? {};
    given.meta = meta;
  }
  return [resource, given, ...rest];
}

/** What we look at in a method's parameters, whatever else they hold. */
type Params = { meta?: { resilience?: unknown } | null; signal?: unknown } | null | undefined;

function signalIn(params: unknown): AbortSignal | undefined {
  const signal = (params as Params)?.signal as Partial<AbortSignal> | null | undefined;
  // Not instanceof: another realm has another AbortSignal.
  return typeof signal?.addEventListener === "function" ? (signal as AbortSignal) : undefined;
}

function wishesIn(params: unknown): ResilienceMeta {
  const wishes = (params as Params)?.meta?.resilience;
  return wishes === undefined
    ? {}
    : checked<ResilienceMeta>("meta.resilience", wishes, WISHES, "meta.resilience.");
}

// ---- the object

/**
 * An object that looks like the provider and whose methods are `methodFor`'s.
 *
 * A Proxy over a fresh object, because one over the provider may not answer with other methods when that is frozen. The
 * fresh object's properties read the provider's, so that they are there for spreading, and never out of date.
 */
function standInFor<P extends object>(
  provider: P,
  methodFor: (key: PropertyKey, method: Method) => Method,
): P {
  const methods = new Map<PropertyKey, Method>();
  const read = (key: PropertyKey): unknown => {
    const value = valueIn(provider, key);
    if (!isMethod(key, value)) return value;
    const method = methods.get(key) ?? methodFor(key, value);
    methods.set(key, method);
    return method;
  };
  const own = Object.create(Reflect.getPrototypeOf(provider)) as P;
  for (const key of ownKeysFor(provider)) {
    const enumerable = Reflect.getOwnPropertyDescriptor(provider, key)?.enumerable ?? true;
    Object.defineProperty(own, key, { get: () => read(key), enumerable, configurable: true });
  }
  return new Proxy(own, {
    get: (_, key, receiver) => (Object.hasOwn(own, key) ? Reflect.get(own, key, receiver) : read(key)),
    has: (_, key) => Reflect.has(own, key) || Reflect.has(provider, key),
    set: (_, key, value, receiver: object) => Reflect.defineProperty(receiver, key, { ...PLAIN, value }),
  });
}

const PLAIN = { writable: true, enumerable: true, configurable: true };

/**
 * The provider's own keys, and the methods that it inherits from a class or makes up as it is asked: spread, a guarded
 * provider is still a whole one.
 */
function ownKeysFor(provider: object): Set<PropertyKey> {
  const inherited = METHODS.filter((name) => typeof Reflect.get(provider, name) === "function");
  return new Set<PropertyKey>([...Reflect.ownKeys(provider), ...inherited]);
}

/**
 * What the provider holds under a key. Keys by which the language asks what an object can do (symbols, `then`, `toJSON`,
 * what every object inherits) are only read where they are: combineDataProviders answers those with a function too.
 */
function valueIn(provider: object, key: PropertyKey): unknown {
  const asked = typeof key === "symbol" || key === "then" || key === "toJSON" || key in Object.prototype;
  if (!asked || Object.hasOwn(provider, key)) return Reflect.get(provider, key);
  const prototype = Reflect.getPrototypeOf(provider);
  return prototype === null ? undefined : Reflect.get(prototype, key, provider);
}

function isMethod(key: PropertyKey, value: unknown): value is Method {
  if (typeof value !== "function" || key === "constructor") return false;
  return value !== Reflect.get(Object.prototype, key);
}

// ---- the options

interface Settings {
  service: RateLimitService;
  methods: ReadonlySet<PropertyKey>;
  deadlineMs: number | null;
  onWait: ResilientDataProviderOptions["onWait"];
}

function checkProvider(provider: unknown): void {
  if (provider instanceof Promise) {
    throw new TypeError("resilientDataProvider: the data provider is a Promise of one; await it first.");
  }
  if (typeof provider !== "object" || provider === null) {
    throw new TypeError(
      "resilientDataProvider: the data provider must be an object with methods such as getList.",
    );
  }
}

function settingsOf(options: unknown): Settings {
  const {
    service = rateLimitService,
    methods = WRITES,
    deadlineMs = DEADLINE_MS,
    onWait,
  } = checked<ResilientDataProviderOptions>("options", options, OPTIONS);
  for (const name of methods) {
    if (!METHODS.includes(name))
      throw new RateLimitConfigError("methods", name, `only ${METHODS.join(", ")}`);
  }
  return { service, methods: new Set(methods), deadlineMs, onWait };
}

const METHODS: readonly DataProviderMethod[] = [
  "getList",
  "getOne",
  "getMany",
  "getManyReference",
  "create",
  "update",
  "updateMany",
  "delete",
  "deleteMany",
];

const WRITES: readonly DataProviderMethod[] = ["create", "update", "updateMany", "delete", "deleteMany"];

/** Room for a server's usual "in ten seconds", and no longer than a person believes in a spinner. */
const DEADLINE_MS = 15_000;

/** Of any copy of the package. The shared service answers without being made. */
function isService(value: unknown): boolean {
  if (value instanceof RateLimitService) return true;
  return typeof (value as Partial<RateLimitService> | null)?.executeWithRetry === "function";
}

const duration = orNull(milliseconds(1, 31_536_000_000));

const OPTIONS: Rules<ResilientDataProviderOptions> = {
  service: { expected: "a RateLimitService", holds: isService },
  methods: { expected: "an array of method names", holds: Array.isArray },
  deadlineMs: duration,
  onWait: aFunction,
};

const WISHES: Rules<ResilienceMeta> = {
  deadlineMs: duration,
  idempotent: aBoolean,
  maxRetries: count(0, 1_000),
  onWait: aFunction,
  priority: { expected: "a number", holds: (value) => typeof value === "number" && !Number.isNaN(value) },
};

export type {
  BatchAnswer,
  ImportBatch,
  ImportItem,
  ItemAnswer,
  Sender,
  SendFailure,
} from "./import/types.ts";
export type { DataRecord } from "./react-admin/lookup.ts";
export type { CreatingProvider } from "./react-admin/provider.ts";
export {
  type RelatedId,
  type RelatedRecords,
  type RelatedRecordsOptions,
  relatedRecords,
} from "./react-admin/related.ts";
export { type DataProviderSenderOptions, dataProviderSender } from "./react-admin/sender.ts";
export { HttpRateLimitError };
