/**
 * Supabase: a `fetch` for supabase-js, and an `httpClient` for ra-supabase and ra-data-postgrest, that wait refusals out
 * where waiting helps, and where it does not, answer in a way that those clients do not make worse.
 */

import {
  type AttemptInfo,
  aBoolean,
  aFunction,
  anObject,
  checked,
  type Host,
  HttpRateLimitError,
  isRateLimitError,
  milliseconds,
  plainAlarm,
  platform,
  type RateLimitService,
  type Rules,
} from "./api.ts";
import { type Guard, guarded, neededSignalFor, signalFor } from "./supabase/guarded.ts";
import {
  type HttpClient,
  type HttpClientAnswer,
  type HttpClientRequest,
  HttpError,
  readJson,
  sendJson,
} from "./supabase/http-client.ts";
import { isRefresh, refreshed, refresherOf } from "./supabase/refresh.ts";
import { isResponse, refusalResponse } from "./supabase/refusal.ts";
import { type Fetch, OutgoingRequest } from "./supabase/request.ts";
import { resourceOf, routeOf } from "./supabase/route.ts";
import { isDirect, tellDirect } from "./supabase/sender.ts";
import { checkService, Services } from "./supabase/services.ts";

export interface ResilientFetchOptions {
  /** What sends the requests. Default: `fetch` of the page, looked up at each request. */
  fetch?: Fetch | undefined;
  /** How long a refused refresh of the session is waited out. Default 30_000; 0 to 600_000. */
  refreshWaitMs?: number | undefined;
  /**
   * Reads of tables that are answered 503 or 520, or not at all, are retried here, as the service's `retryTransient` says,
   * and not left to postgrest-js. Only together with `createClient(…, { db: { retry: false } })`: otherwise both retry,
   * and one read becomes sixteen. Default `false`.
   */
  ownRetries?: boolean | undefined;
  /** Called when a service is made for limits that the server counts apart: to listen to it from its first request on. */
  onService?: ((name: string, service: RateLimitService) => void) | undefined;
  /** The clock and sleep for the wait before a refresh is repeated. Default: the platform's. For tests: the service's. */
  host?: Partial<Host> | undefined;
}

export interface ResilientFetch extends Fetch {
  /**
   * The services in use: `rest`, which is the one that was given, and once they were needed `storage` and
   * `functions/<name>`. Beyond a hundred services, further Edge Functions share `functions/(others)`.
   */
  readonly services: ReadonlyMap<string, RateLimitService>;
}

/**
 * A `fetch` for `createClient(url, key, { global: { fetch } })`.
 *
 * /rest/v1 and /graphql/v1 are guarded by `service`, /storage/v1 and each /functions/v1/<name> by siblings of it, made
 * at first use: they have its configuration, also after `updateConfig`, and end with its `dispose`, but circuit, cooldown
 * and counters are their own. Everything else passes through untouched, /auth/v1 too, except for the refresh of a
 * session: that is sent at once whatever the services say, and when it is refused, waited out for `refreshWaitMs` and
 * then answered 503, on which auth-js keeps the session. On a 429 it would sign the user out.
 *
 * A call that the service ends is answered as a 429 in JSON: `code` is ours (`RATE_LIMIT_…`), `message` the userMessage,
 * with `Retry-After` in seconds where it is known. No header is added to any request. What cannot be sent twice (streams)
 * is sent once, and so is a write that got no answer, unless the service's `retryTransient` allows it and it is
 * idempotent: PUT, DELETE, an upsert of rows with their keys.
 *
 * What an import sends through `supabaseSender` passes too, counted nowhere, because the import waits refusals out by itself;
 * while the circuit is open it is answered as any other call.
 *
 * It rejects as `fetch` does: with the reason of the request's signal, also from a wait, and when there was no answer.
 *
 * @throws RateLimitConfigError for illegal options.
 */
export function resilientFetch(
  service: RateLimitService,
  options: ResilientFetchOptions = {},
): ResilientFetch {
  checkService(service);
  const {
    fetch = platformFetch,
    refreshWaitMs = 30_000,
    ownRetries = false,
    onService,
    host,
  } = checked<ResilientFetchOptions>("options", options, FETCH_OPTIONS);
  const services = new Services(service, onService);
  const patience = { waitMs: refreshWaitMs, host: platform(host, plainAlarm) };

  const resilient = async (input: RequestInfo | URL, init?: RequestInit): Promise<Response> => {
    const request = new OutgoingRequest(input, init);
    const { api, limits, resourceName } = routeOf(request.url);
    if (api === "auth" && isRefresh(request)) {
      return refreshed(request, fetch, { ...patience, refresher: refresherOf(service) });
    }
    if (limits === "") return request.passOn(fetch);
    const guarding = services.for(limits);
    if (isDirect(request.signal) && !guarding.getCircuitState().isOpen) {
      const response = await request.passOn(fetch);
      tellDirect(request.signal, response);
      return response;
    }
    const isLeft = api === "rest" && request.isRead && !ownRetries;
    const guard = {
      service: guarding,
      resourceName,
      isRepeatedByClient: isLeft ? isRepeatedByPostgrest : undefined,
    };
    try {
      return await guarded(request, guard, (info) => request.send(fetch, neededSignalFor(request, info)));
    } catch (error) {
      if (isRateLimitError(error)) return refusalResponse(error, 429);
      throw error;
    }
  };
  return Object.assign(resilient, { services: services.all });
}

export interface ResilientHttpClientOptions {
  /**
   * What makes the requests: `fetchUtils.fetchJson`, `supabaseHttpClient(…)`. Its errors do not tell `Retry-After`, so only
   * delays that stand in the body of a refusal are known. Default: one of ours that does what fetchJson does and reads it.
   */
  httpClient?: HttpClient | undefined;
  /** What sends the requests of ours. Default: `fetch` of the page, looked up at each request. */
  fetch?: Fetch | undefined;
  /** Asked before each attempt of ours for headers to send, such as the key and the token of the session. */
  headers?: (() => HeadersInit | Promise<HeadersInit>) | undefined;
}

/**
 * An `httpClient` for ra-supabase and ra-data-postgrest, which do not go through supabase-js for data: what
 * `fetchUtils.fetchJson` of react-admin does, guarded by `service`.
 *
 * A call that the service ends rejects with an HttpRateLimitError. Other answers than successes reject with an error that
 * has `status` and the parsed `body`, as fetchJson's does; the errors of `httpClient` come out as the same objects.
 *
 * What is sent once and what again is as for `resilientFetch`, only that nothing is left to others.
 *
 * @throws RateLimitConfigError for illegal options.
 */
export function resilientHttpClient(
  service: RateLimitService,
  options: ResilientHttpClientOptions = {},
): HttpClient {
  checkService(service);
  const {
    httpClient,
    fetch = platformFetch,
    headers,
  } = checked<ResilientHttpClientOptions>(
    "options",
    options,
    options?.httpClient ? WRAPPING_OPTIONS : CLIENT_OPTIONS,
  );

  return async (url, init = {}) => {
    const request = new OutgoingRequest(url, init);
    const guard = { service, resourceName: resourceOf(request.url) };
    if (httpClient) {
      return refusable(request, guard, (signal) => httpClient(url, { ...copied(init), signal }));
    }
    const send = async (signal: AbortSignal): Promise<Response | HttpClientAnswer> => {
      const response = await sendJson(fetch, url, { ...init, signal }, await headers?.());
      // The body is a part of the attempt, and of its time. Of a refusal the service reads what it needs.
      return response.status === 429 || response.status === 420 ? response : readJson(response);
    };
    const answer = await refusable(request, guard, send);
    return typeof answer.body === "string" ? (answer as HttpClientAnswer) : readJson(answer as Response);
  };
}

/** Whether postgrest-js repeats a read that failed so: 503, 520, or without an answer. */
function isRepeatedByPostgrest(failure: unknown): boolean {
  return !isResponse(failure) || failure.status === 503 || failure.status === 520;
}

/** What the service throws is made fit for react-admin; what an attempt throws comes out as the same object. */
async function refusable<T>(
  request: OutgoingRequest,
  guard: Guard,
  attempt: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  let thrown: unknown;
  const noted = async (info: AttemptInfo): Promise<T> => {
    try {
      return await attempt(signalFor(request, info));
    } catch (error) {
      thrown = error;
      throw error;
    }
  };
  try {
    return await guarded(request, guard, noted);
  } catch (error) {
    throw isRateLimitError(error) && error !== thrown ? new HttpRateLimitError(error) : error;
  }
}

/** Clients write their headers into what they are given, and each attempt begins anew. */
function copied(init: HttpClientRequest): HttpClientRequest {
  return init.headers ? { ...init, headers: new Headers(init.headers) } : { ...init };
}

const platformFetch: Fetch = (input, init) => globalThis.fetch(input, init);

const FETCH_OPTIONS: Rules<ResilientFetchOptions> = {
  fetch: aFunction,
  refreshWaitMs: milliseconds(0, 600_000),
  ownRetries: aBoolean,
  onService: aFunction,
  host: anObject,
};

const CLIENT_OPTIONS: Rules<ResilientHttpClientOptions> = {
  httpClient: aFunction,
  fetch: aFunction,
  headers: aFunction,
};

/** `fetch` and `headers` would have no effect beside a given client. */
const WRAPPING_OPTIONS = { httpClient: aFunction };

export type {
  BatchAnswer,
  ImportBatch,
  ImportItem,
  ItemAnswer,
  Sender,
  SendFailure,
} from "./import/types.ts";
export {
  SupabaseSendError,
  type SupabaseSenderOptions,
  type SupabaseTables,
  supabaseSender,
} from "./supabase/sender.ts";
export type { Fetch, HttpClient, HttpClientAnswer, HttpClientRequest };
export { HttpError, HttpRateLimitError };
