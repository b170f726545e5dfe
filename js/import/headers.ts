/** What of an answer's headers may tell of a limit before it is exceeded. The core understands it. */

/** When an answer came, by the clock of its server; by ours where it does not tell. */
export function serverTime(answer: unknown, wall: number): number {
  const time = Date.parse(fieldOf(headersOf(answer), "date") ?? "");
  return Number.isNaN(time) ? wall : time;
}

/**
 * The fields of a `Response` or what else has `headers`, of headers themselves (`Headers`, a `Map`, an object), or of an
 * error that has such an answer: a line `name:value` for each.
 */
export function limitFieldsOf(answer: unknown): string {
  const headers = headersOf(answer);
  let lines = "";
  for (const name of NAMES) {
    const value = fieldOf(headers, name);
    if (value) lines += `${name}:${value.slice(0, LONGEST_FIELD).replaceAll(/[\r\n]/g, " ")}\n`;
  }
  return lines;
}

function headersOf(answer: unknown): unknown {
  for (const place of [answer, ...["response", "context", "cause"].map((name) => at(answer, name))]) {
    const headers = at(place, "headers");
    if (headers) return headers;
  }
  return answer;
}

function fieldOf(headers: unknown, name: string): string | null {
  try {
    const { get } = headers as Partial<Headers>;
    if (typeof get === "function") return text(get.call(headers, name));
    const key = Object.keys(headers as object).find((key) => key.toLowerCase() === name);
    return key === undefined ? null : text(at(headers, key));
  } catch {
    return null;
  }
}

function text(value: unknown): string | null {
  return typeof value === "string" ? value : null;
}

/** A property of somebody else's object; a getter that throws is one that is not there. */
function at(place: unknown, name: string): unknown {
  try {
    return (place as Record<string, unknown> | null | undefined)?.[name];
  } catch {
    return undefined;
  }
}

/** `src/classify/advertised.rs` says who sends them. */
const NAMES = [
  ...["ratelimit-policy", "ratelimit"],
  ...["ratelimit", "x-ratelimit", "x-rate-limit"].flatMap((name) =>
    ["limit", "remaining", "reset"].map((what) => `${name}-${what}`),
  ),
  ...["limit-second", "remaining-second", "limit-minute", "remaining-minute"].map(
    (what) => `x-ratelimit-${what}`,
  ),
];

/** A dozen policies. */
const LONGEST_FIELD = 1_024;
