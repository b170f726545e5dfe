import { RateLimitConfigError } from "./errors.ts";
import { LIMITS, MOST_AT_A_TIME } from "./plan.ts";
import { presetServices } from "./presets.ts";
import { RateLimiterRegistry, type RegistryOptions } from "./registry.ts";
import { anObject, checked, count, legal, type Rule } from "./rules.ts";
import type { ServiceLimits, WindowLimit } from "./types.ts";

/** Variables by name, as `process.env` has them. */
export type Environment = Readonly<Record<string, string | undefined>>;

export interface EnvironmentOptions extends RegistryOptions {
  /** Whose limits the variables change. Default: the services of the shared registry. */
  services?: Readonly<Record<string, ServiceLimits>> | undefined;
}

/**
 * A registry whose limits are set by environment variables. One that is empty is not set.
 *
 * | variable | what it sets |
 * |---|---|
 * | `RATE_LIMIT_ENABLED` | `true` or `1`; `false` or `0` passes every call through |
 * | `DEFAULT_CONCURRENCY_LIMIT` | `concurrency` of each service that has no variable of its own |
 * | `DEFAULT_RATE_LIMIT_WINDOW` | milliseconds: the window of each operation that has exactly one, likewise |
 * | `<SERVICE>_CONCURRENCY_LIMIT` | `concurrency` of one service: `POWER_DIALER_…` or `POWERDIALER_…` for `powerDialer` |
 * | `<SERVICE>_RATE_LIMIT_WINDOW` | milliseconds: the window of each of its operations that has exactly one |
 * | `TELEPHONY_GLOBAL_MAX_CONCURRENCY` | `telephony.concurrency`, before the two above |
 * | `TELEPHONY_PER_CAMPAIGN_MAX_CONCURRENCY` | `telephony.concurrencyPerKey` |
 * | `TELEPHONY_SEMAPHORE_TTL_SEC` | seconds: `telephony.leaseMs` |
 * | `MAX_CONCURRENT_CALLS` | `telephony.concurrencyPerOperation.call`: calls in flight from this process |
 *
 * Variables of services that are not there belong to somebody else and are left alone.
 *
 * @param env Default: those of the process; none in a browser.
 * @throws RateLimitConfigError that names the variable: for a number that is no positive integer in its range.
 */
export function registryFromEnv(
  env: Environment = processEnvironment(),
  given: EnvironmentOptions = {},
): RateLimiterRegistry {
  legal("options", given, anObject);
  const { services = presetServices(), ...options } = given;
  const read = new Reader(env);
  const enabled = read.flag("RATE_LIMIT_ENABLED") ?? options.enabled;
  legal("services", services, anObject);
  const changed = Object.entries(services).map(([name, limits]) => [name, withVariables(name, limits, read)]);
  return new RateLimiterRegistry(Object.fromEntries(changed), {
    ...options,
    ...(enabled !== undefined && { enabled }),
  });
}

function withVariables(service: string, given: ServiceLimits, read: Reader): ServiceLimits {
  const limits = checked<ServiceLimits>(service, given, LIMITS, `${service}.`);
  const own = (suffix: string): string[] => variableNames(service).map((name) => name + suffix);
  const concurrency = read.number(CONCURRENCY, ...own("_CONCURRENCY_LIMIT"), "DEFAULT_CONCURRENCY_LIMIT");
  const windowMs = read.number(WINDOW, ...own("_RATE_LIMIT_WINDOW"), "DEFAULT_RATE_LIMIT_WINDOW");
  return {
    ...limits,
    ...(concurrency !== undefined && { concurrency }),
    ...(windowMs !== undefined && limits.rateLimit && { rateLimit: withWindow(limits.rateLimit, windowMs) }),
    ...(service === "telephony" && telephony(limits, read)),
  };
}

type Windows = NonNullable<ServiceLimits["rateLimit"]>;

function withWindow(rateLimit: Windows, windowMs: number): Windows {
  const changed = Object.entries(rateLimit).map(([operation, given]) => {
    const [only, ...more] = [given].flat() as WindowLimit[];
    return [operation, only && more.length === 0 ? { ...only, windowMs } : given];
  });
  return Object.fromEntries(changed);
}

function telephony({ concurrencyPerOperation }: ServiceLimits, read: Reader): ServiceLimits {
  const concurrency = read.number(CONCURRENCY, "TELEPHONY_GLOBAL_MAX_CONCURRENCY");
  const concurrencyPerKey = read.number(CONCURRENCY, "TELEPHONY_PER_CAMPAIGN_MAX_CONCURRENCY");
  const leaseSeconds = read.number(SECONDS, "TELEPHONY_SEMAPHORE_TTL_SEC");
  const call = read.number(CONCURRENCY, "MAX_CONCURRENT_CALLS");
  return {
    ...(concurrency !== undefined && { concurrency }),
    ...(concurrencyPerKey !== undefined && { concurrencyPerKey }),
    ...(leaseSeconds !== undefined && { leaseMs: leaseSeconds * 1_000 }),
    ...(call !== undefined && { concurrencyPerOperation: { ...concurrencyPerOperation, call } }),
  };
}

/** `powerDialer`: `POWER_DIALER`, and without the separation too. */
function variableNames(service: string): string[] {
  const words = service.replace(/([a-z\d])([A-Z])/g, "$1_$2").replace(/\W+/g, "_");
  return [...new Set([words, words.replaceAll("_", "")])].map((name) => name.toUpperCase());
}

class Reader {
  readonly #env: Environment;

  constructor(env: Environment) {
    legal("env", env, anObject);
    this.#env = env;
  }

  /** Of the first of these that is set. All of them are checked. */
  number({ expected, holds }: Rule, ...names: string[]): number | undefined {
    const numbers = names.map((name) => {
      const text = this.#text(name);
      const number = /^\d+$/.test(text) ? Number(text) : Number.NaN;
      if (text !== "" && !holds(number)) throw new RateLimitConfigError(name, this.#env[name], expected);
      return text === "" ? undefined : number;
    });
    return numbers.find((number) => number !== undefined);
  }

  flag(name: string): boolean | undefined {
    const text = this.#text(name);
    if (text === "") return undefined;
    if (text === "true" || text === "1") return true;
    if (text === "false" || text === "0") return false;
    throw new RateLimitConfigError(name, this.#env[name], '"true", "false", "1" or "0"');
  }

  #text(name: string): string {
    return String(this.#env[name] ?? "").trim();
  }
}

const YEAR_SECONDS = 31_536_000;
const CONCURRENCY = count(1, MOST_AT_A_TIME);
const WINDOW = count(1, YEAR_SECONDS * 1_000);
const SECONDS = count(1, YEAR_SECONDS);

/** Looked up here and not as an import, so that a browser needs no stand-in for it. */
function processEnvironment(): Environment {
  return (globalThis as { process?: { env?: Environment } }).process?.env ?? {};
}
