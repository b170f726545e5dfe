// What a server may write into the fields that say when to come back, and what it is worth: the delay in milliseconds,
// `null` where it is none. By RFC 9110 (Retry-After), draft-ietf-httpapi-ratelimit-headers, and docs of the vendors.

const DAY_S = 86_400;

/** More than any limit on waiting. */
const FOR_EVER = Number.POSITIVE_INFINITY;

/** Each as `{ name, headers(now), body, hintMs, isInBody }`; `now`: the clock of the one who reads. */
export function hostileHints() {
  return [
    ...[
      ["negative", "-5", null],
      ["minus zero", "-0", null],
      ["not a number", "NaN", null],
      ["an exponent beyond doubles", "1e309", null],
      ["Infinity", "Infinity", null],
      ["10^30", `1${"0".repeat(30)}`, FOR_EVER],
      ["2^53 + 1", "9007199254740993", FOR_EVER],
      ["a year", String(365 * DAY_S), FOR_EVER],
      ["two seconds", "2", 2_000],
      ["zero", "0", 0],
      ["empty", "", null],
      ["blank", "   ", null],
      ["in 1970", "Thu, 01 Jan 1970 00:00:00 GMT", 0],
      ["in 9999", "Fri, 31 Dec 9999 23:59:59 GMT", FOR_EVER],
      ["in two seconds", (now) => new Date(now + 2_000).toUTCString(), 2_000],
      ["in the year 10000", "Sat, 01 Jan 10000 00:00:00 GMT", null],
      ["bytes that are no ASCII", "\u00b2\u00b3\u00e9", null],
      ["a list", "1, 120", null],
      ["JSON", '{"seconds":1}', null],
      ["14 kB of nines", "9".repeat(14_000), FOR_EVER],
      ["14 kB of blanks and a 1", `${" ".repeat(14_000)}1`, 1_000],
      ["14 kB of letters", "x".repeat(14_000), null],
    ].map(([name, value, hintMs]) => fieldOf("retry-after", name, value, hintMs)),
    ...[
      ["negative", "-1", null],
      ["an exponent beyond doubles", "1e309", null],
      ["10^30", `1${"0".repeat(30)}`, FOR_EVER],
      ["1500", "1500", 1_500],
      ["empty", "", null],
    ].map(([name, value, hintMs]) => fieldOf("retry-after-ms", name, value, hintMs)),
    ...[
      ["negative", "-1", null],
      ["in 1970", "1000000", 0],
      ["10^30", `1${"0".repeat(30)}`, FOR_EVER],
      ["NaN", "NaN", null],
      ["two seconds", "2", 2_000],
    ].map(([name, value, hintMs]) => fieldOf("x-ratelimit-reset", name, value, hintMs)),
    ...[
      ["negative", '"default";r=0;t=-1', null],
      ["15 digits", '"default";r=0;t=999999999999999', FOR_EVER],
      ["10^30", `"default";r=0;t=1${"0".repeat(30)}`, null],
      ["an open string", '"default;r=0;t=30', null],
      ["14 kB of quotas", `${'"a";r=0;t=2, '.repeat(1_000)}"b";r=0;t=2`, undefined],
    ].map(([name, value, hintMs]) => fieldOf("ratelimit", name, value, hintMs)),
    ...[
      ["negative", -5, null],
      ["10^30", 1e30, FOR_EVER],
      ["a word", "soon", null],
      ["null", null, null],
      ["an object", { valueOf: 1 }, null],
      ["two seconds", 2, 2_000],
    ].map(([name, value, hintMs]) =>
      bodyOf(`retry_after is ${name}`, JSON.stringify({ retry_after: value }), hintMs),
    ),
    // What a client reads of it differs: these have to be survived.
    bodyOf("retry_after is 1e309", '{"retry_after":1e309}', undefined),
    bodyOf(
      "64 kB before retry_after",
      JSON.stringify({ padding: "x".repeat(65_536), retry_after: 2 }),
      undefined,
    ),
    bodyOf("64 kB of digits in prose", `try again after ${"9".repeat(65_536)} seconds`, undefined),
    bodyOf("64 kB of nested brackets", "[".repeat(65_536), null),
    two("two Retry-After that agree", ["2", "2"], null),
    two("two Retry-After that differ", ["1", "120"], null),
  ];
}

function fieldOf(field, name, value, hintMs) {
  return {
    name: `${field}: ${name}`,
    headers: (now) => [[field, typeof value === "function" ? value(now) : value]],
    body: '{"message":"no"}',
    hintMs,
    isInBody: false,
  };
}

function bodyOf(name, body, hintMs) {
  return { name: `body: ${name}`, headers: () => [], body, hintMs, isInBody: true };
}

/** Fetch joins them with a comma, which makes a list of what is no list: malformed. */
function two(name, values, hintMs) {
  return {
    name,
    headers: () => values.map((value) => ["retry-after", value]),
    body: '{"message":"no"}',
    hintMs,
    isInBody: false,
  };
}
