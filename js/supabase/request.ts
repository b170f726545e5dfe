/** One request as it was given to `fetch`: what it says about itself, and how it is sent again. */

import { absolute } from "./route.ts";

export type Fetch = (input: RequestInfo | URL, init?: RequestInit) => Promise<Response>;

/** What `fetch` was called with, read without consuming anything. */
export class OutgoingRequest {
  readonly url: URL | null;
  /** In capitals. */
  readonly method: string;
  /** Whoever made the request may abort it by this; `undefined`: nobody can. */
  readonly signal: AbortSignal | undefined;
  readonly #input: RequestInfo | URL;
  readonly #init: RequestInit | undefined;
  readonly #request: Request | null;

  constructor(input: RequestInfo | URL, init?: RequestInit) {
    this.#input = input;
    this.#init = init;
    this.#request = isRequest(input) ? input : null;
    this.url = absolute(this.#request?.url ?? String(input));
    this.method = (init?.method ?? this.#request?.method ?? "GET").toUpperCase();
    this.signal = (init?.signal === undefined ? this.#request?.signal : init.signal) ?? undefined;
  }

  /** GET, HEAD or OPTIONS. */
  get isRead(): boolean {
    return this.method === "GET" || this.method === "HEAD" || this.method === "OPTIONS";
  }

  /**
   * Whether its body can be sent a second time. Strings, buffers, `Blob`, `FormData` and `URLSearchParams` can; streams
   * cannot. What a `Request` holds is a stream by then: it is copied when its type says that it is text, and sent once
   * otherwise, because copying a file of any length means to keep it in memory.
   */
  get isRepeatable(): boolean {
    const body = this.#init?.body ?? null;
    if (body !== null) return isRepeatable(body);
    if (!this.#request?.body) return true;
    return TEXT.test(this.#headers().get("content-type") ?? "");
  }

  /**
   * Whether doing it twice is the same as doing it once: reads, PUT, DELETE, and an upsert, a POST that asks PostgREST to
   * resolve duplicates, when each of its rows names its key. A row without a key is inserted anew each time.
   */
  get isIdempotent(): boolean {
    if (this.isRead || this.method === "PUT" || this.method === "DELETE") return true;
    return this.method === "POST" && UPSERT.test(this.#headers().get("prefer") ?? "") && this.#rowsAreNamed();
  }

  /**
   * Sends it, with `signal` in place of its own if one is given. No header is added, and nothing is consumed that a
   * repetition needs.
   */
  send(fetch: Fetch, signal?: AbortSignal): Promise<Response> {
    const copied = this.#request?.body && !this.#init?.body && this.isRepeatable;
    return fetch(
      copied ? (this.#request as Request).clone() : this.#input,
      signal ? { ...this.#init, signal } : this.#init,
    );
  }

  /** Hands on what `fetch` was called with. */
  passOn(fetch: Fetch): Promise<Response> {
    return fetch(this.#input, this.#init);
  }

  /** Headers that `fetch` will refuse are none here: what is read off a request must not be what fails it. */
  #headers(): Headers {
    try {
      return new Headers(this.#init?.headers ?? this.#request?.headers);
    } catch {
      return new Headers();
    }
  }

  /** Whether every row has a value in the columns by which duplicates are found. */
  #rowsAreNamed(): boolean {
    const body = this.#init?.body;
    if (typeof body !== "string") return false;
    // Without `on_conflict` PostgREST takes the primary key, whose name only the database knows: `id` is the usual one.
    const columns = this.url?.searchParams.get("on_conflict")?.split(",") ?? ["id"];
    const isNamed = (row: unknown): boolean =>
      columns.every(
        (column) => ((row as Record<string, unknown> | null)?.[unquoted(column)] ?? null) !== null,
      );
    try {
      const rows: unknown = JSON.parse(body);
      return Array.isArray(rows) ? rows.every(isNamed) : isNamed(rows);
    } catch {
      return false;
    }
  }
}

/** Also a `Request` of a polyfill or of another realm. */
function isRequest(input: RequestInfo | URL): input is Request {
  return typeof input === "object" && "clone" in input && "url" in input;
}

function isRepeatable(body: BodyInit): boolean {
  if (typeof body === "string" || ArrayBuffer.isView(body)) return true;
  // `FormData` of the package form-data calls itself so and is a stream.
  if ("pipe" in body || "getReader" in body) return false;
  return REPEATABLE.has(Object.prototype.toString.call(body)) || isFormData(body);
}

/** React Native's has no name of its own. */
function isFormData(body: object): boolean {
  return typeof FormData === "function" && body instanceof FormData;
}

function unquoted(column: string): string {
  return column.trim().replace(/^"(.*)"$/, "$1");
}

const REPEATABLE = new Set(
  ["ArrayBuffer", "Blob", "File", "FormData", "URLSearchParams"].map((name) => `[object ${name}]`),
);

const TEXT = /^(?:text\/|application\/(?:[\w.+-]*json|x-www-form-urlencoded)\b)/i;

const UPSERT = /\bresolution=(?:merge|ignore)-duplicates\b/i;
