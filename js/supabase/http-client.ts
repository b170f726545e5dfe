/** A client of ours with the contract of react-admin's `fetchUtils.fetchJson`. */

import type { Fetch } from "./request.ts";

/** What data providers hand to an `httpClient`: the options of `fetch`, and who asks. */
export interface HttpClientRequest extends RequestInit {
  /** Sent as `Authorization`, when it is authenticated. */
  user?: { authenticated?: boolean; token?: string } | undefined;
}

export interface HttpClientAnswer {
  status: number;
  headers: Headers;
  body: string;
  /** The body parsed; `undefined` when it is no JSON. */
  // biome-ignore lint/suspicious/noExplicitAny: whoever asks knows what the server sends
  json?: any;
}

/** `fetchUtils.fetchJson` of react-admin, or what stands for it. */
export type HttpClient = (url: string, request?: HttpClientRequest) => Promise<HttpClientAnswer>;

/** An answer that is no success, as react-admin knows it. */
export class HttpError extends Error {
  readonly status: number;
  /** The body parsed; `null` when it was no JSON. */
  readonly body: unknown;

  constructor(message: string, status: number, body: unknown) {
    super(message);
    this.status = status;
    this.body = body;
  }

  /** A literal, because minifiers rename classes. */
  override get name(): string {
    return "HttpError";
  }
}

/** Sends it with the headers that fetchJson would send, and those of `more`. */
export async function sendJson(
  fetch: Fetch,
  url: string,
  { user, ...init }: HttpClientRequest,
  more: HeadersInit | undefined,
): Promise<Response> {
  const headers = new Headers(init.headers ?? { Accept: "application/json" });
  if (init.body && !(init.body instanceof FormData) && !headers.has("Content-Type")) {
    headers.set("Content-Type", "application/json");
  }
  if (user?.authenticated && user.token) headers.set("Authorization", user.token);
  for (const [name, value] of new Headers(more)) headers.set(name, value);
  return fetch(url, { ...init, headers });
}

/** @throws HttpError when the status is no success. */
export async function readJson(response: Response): Promise<HttpClientAnswer> {
  const { status, statusText, headers } = response;
  const body = await response.text();
  const json = parsed(body);
  if (status >= 200 && status < 300) return { status, headers, body, json };
  const { message } = (json ?? {}) as { message?: unknown };
  throw new HttpError(
    typeof message === "string" && message !== "" ? message : statusText,
    status,
    json ?? null,
  );
}

function parsed(body: string): unknown {
  try {
    return JSON.parse(body);
  } catch {
    return undefined;
  }
}
