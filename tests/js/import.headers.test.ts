import { expect, it } from "vitest";
import { limitFieldsOf, serverTime } from "../../js/import/headers.ts";

const fields = new Headers({ "RateLimit-Policy": "100;w=60", "Content-Type": "text/plain" });
const plain = { "RateLimit-Policy": "100;w=60", other: 7 };

it.each([
  ["a response", new Response(null, { headers: fields })],
  ["headers", fields],
  ["an object", plain],
  ["an object with headers", { headers: plain }],
  ["a map", { headers: new Map([["ratelimit-policy", "100;w=60"]]) }],
  ["an error with a response", Object.assign(new Error("no"), { response: { headers: fields } })],
  ["an error with a context", Object.assign(new Error("no"), { context: { headers: plain } })],
  ["an error with a cause", new Error("no", { cause: { headers: fields } })],
])("finds the fields of %s", (_, answer) => {
  expect(limitFieldsOf(answer)).toBe("ratelimit-policy:100;w=60\n");
});

it.each([
  ["nothing", undefined],
  ["null", null],
  ["a text", "ratelimit-policy"],
  ["a list", [1, 2]],
  ["no headers", { headers: null }],
  ["a number for a field", { headers: { "ratelimit-policy": 100 } }],
  [
    "a getter that throws",
    {
      get headers() {
        throw new Error("no");
      },
    },
  ],
  [
    "a method that throws",
    {
      headers: {
        get: () => {
          throw new Error("no");
        },
      },
    },
  ],
])("finds none in %s", (_, answer) => {
  expect(limitFieldsOf(answer)).toBe("");
});

it("keeps each field on a line of its own, and no longer than anybody needs", () => {
  const lines = limitFieldsOf({ ratelimit: "a\nratelimit:b", "x-ratelimit-limit": "1".repeat(5_000) }).split(
    "\n",
  );
  expect(lines.map((line) => line.length)).toEqual([23, 1_042, 0]);
});

it("counts from the clock of the server, where it tells", () => {
  expect(serverTime({ headers: { date: "Thu, 01 Jan 2026 00:00:00 GMT" } }, 7)).toBe(Date.UTC(2026, 0, 1));
  expect(serverTime({ headers: { date: "soon" } }, 7)).toBe(7);
  expect(serverTime(null, 7)).toBe(7);
});
