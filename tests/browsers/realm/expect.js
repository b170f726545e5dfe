// The assertions of the cases. What is compared is plain data.

/** @throws where the two differ, with both. */
export function equal(actual, expected, what = "found") {
  const [a, b] = [inWords(actual), inWords(expected)];
  if (a !== b) throw new Error(`${what}: ${a}\nexpected: ${b}`);
}

/** @throws with these words, unless it is true. */
export function ok(isTrue, words) {
  if (!isTrue) throw new Error(words);
}

/** Unlike JSON, it tells `undefined`, `NaN` and `Infinity` apart; the order of fields does not count. */
function inWords(value) {
  if (typeof value === "string") return JSON.stringify(value);
  if (Array.isArray(value)) return `[${value.map(inWords).join(", ")}]`;
  if (typeof value !== "object" || value === null) return String(value);
  const fields = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
  return `{ ${fields.map(([name, field]) => `${name}: ${inWords(field)}`).join(", ")} }`;
}

/** What the promise rejects with. @throws when it does not. */
export async function rejection(promise) {
  const value = await promise.then(
    (value) => ({ value }),
    (reason) => ({ reason }),
  );
  if ("reason" in value) return value.reason;
  throw new Error(`It resolved, with ${inWords(value.value)}`);
}

export const delay = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Runs `body` while the platform lacks something: `object[name]` is `value`, and afterwards what it was. */
export async function without(object, name, body, value = undefined) {
  const own = Object.getOwnPropertyDescriptor(object, name);
  Object.defineProperty(object, name, { value, configurable: true, writable: true });
  try {
    return await body();
  } finally {
    if (own) Object.defineProperty(object, name, own);
    else delete object[name];
  }
}
