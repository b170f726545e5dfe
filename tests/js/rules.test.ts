import { describe, expect, it } from "vitest";
import { RateLimitConfigError } from "../../js/errors.ts";
import * as rules from "../../js/rules.ts";
import { checked, legal, QUOTA_STATE, type Rule } from "../../js/rules.ts";

function thrownBy(act: () => unknown): RateLimitConfigError {
  try {
    act();
  } catch (error) {
    expect(error).toBeInstanceOf(RateLimitConfigError);
    return error as RateLimitConfigError;
  }
  throw new Error("nothing was thrown");
}

describe("a rule", () => {
  it.each<[string, Rule, legal: unknown[], illegal: unknown[]]>([
    ["true or false", rules.aBoolean, [true, false], [0, 1, "true", null, {}]],
    ["a function", rules.aFunction, [() => {}, class {}], [{}, null, "() => {}"]],
    ["an object", rules.anObject, [{}, new Map()], [null, [], "{}", () => {}]],
    ["a string", rules.aString, ["", "a"], [null, 1, ["a"], new String("a")]],
    ["a list", rules.listOf(rules.aString), [[], ["a"]], [{ length: 0 }, "a", null]],
    ["an integer from 2 to 4", rules.count(2, 4), [2, 3, 4], [1, 5, 2.5, "3", 3n, null, Number.NaN]],
    ["a number from 0.5 to 4", rules.number(0.5, 4), [0.5, 3.25, 4], [0.4, 4.1, "3", null, Number.NaN]],
    [
      "milliseconds from 1 to 9",
      rules.milliseconds(1, 9),
      [1, 1.5, 9],
      [0, 9.5, "5", Number.POSITIVE_INFINITY],
    ],
    ['one of "on", "off"', rules.oneOf("on", "off"), ["on", "off"], ["", "On", null, ["on"], undefined]],
    ["null, or a string", rules.orNull(rules.aString), [null, ""], [0, undefined, {}]],
  ])("says %s, and means it", (expected, rule, legalOnes, illegalOnes) => {
    expect(rule.expected).toBe(expected);
    expect(legalOnes.filter((value) => !rule.holds(value))).toEqual([]);
    expect(illegalOnes.filter((value) => rule.holds(value))).toEqual([]);
    for (const value of illegalOnes) {
      expect(thrownBy(() => legal("field", value, rule))).toMatchObject({ field: "field", value, expected });
    }
  });

  it("for each item of a list or an object names the item", () => {
    expect(thrownBy(() => legal("days", ["a", 5], rules.listOf(rules.aString)))).toMatchObject({
      ...{ field: "days[1]", value: 5, expected: "a string" },
    });
    expect(thrownBy(() => legal("limits", { a: 1, b: 0 }, rules.namesTo(rules.count(1, 9))))).toMatchObject({
      ...{ field: "limits.b", value: 0, expected: "an integer from 1 to 9" },
    });
    expect(thrownBy(() => legal("limits", [], rules.namesTo(rules.count(1, 9))))).toMatchObject({
      field: "limits",
    });
  });

  it("leaves what is null out of the inside of an object that may be null", () => {
    const rule = rules.orNull(rules.namesTo(rules.count(1, 9)));
    expect(legal("limits", null, rule)).toBeNull();
    expect(legal("limits", { a: 1 }, rule)).toEqual({ a: 1 });
    expect(thrownBy(() => legal("limits", { a: null }, rule)).field).toBe("limits.a");
  });
});

describe("what is handed in", () => {
  const RULES = { on: rules.aBoolean, name: rules.needed(rules.aString) };

  it("is read once, into an object of our own", () => {
    let reads = 0;
    const given = {
      name: "x",
      get on() {
        reads += 1;
        return reads === 1;
      },
    };
    const fields = checked("options", given, RULES);
    expect(reads).toBe(1);
    expect(fields).toEqual({ on: true, name: "x" });
  });

  it("may leave out what is not needed, as `undefined` too, and nothing else", () => {
    expect(checked("options", { name: "", on: undefined }, RULES)).toStrictEqual({ name: "" });
    for (const given of [{}, { name: undefined }, Object.create({ name: "inherited" })]) {
      expect(thrownBy(() => checked("options", given, RULES, "of."))).toMatchObject({
        ...{ field: "of.name", value: undefined, expected: "a string" },
      });
    }
  });

  it.each([null, 5, "x", [], undefined])("is an object, not %j", (given) => {
    expect(thrownBy(() => checked("options", given, RULES))).toMatchObject({
      ...{ field: "options", expected: "an object" },
    });
  });

  it.each(["other", "toString", "__proto__", Symbol("name")])("has no field %s", (field) => {
    const given = Object.defineProperty({ name: "x" }, field, { value: 1, enumerable: true });
    expect(thrownBy(() => checked("options", given, RULES))).toMatchObject({
      ...{ field: String(field), expected: "no such field: one of on, name" },
    });
  });

  it("has no symbol among the names of an object either", () => {
    const given = { [Symbol("a")]: 1 };
    expect(thrownBy(() => legal("limits", given, rules.namesTo(rules.count(1, 9))))).toMatchObject({
      ...{ field: "limits", expected: "no field of the name Symbol(a)" },
    });
  });
});

describe("what a quota has counted", () => {
  const state = (given: unknown) => checked("state", given, QUOTA_STATE);

  it.each([
    [{ taken: [] }],
    [{ taken: [[60_000, 1_700_000_000_000, 1]] }],
    [{ taken: [[60_000, -5, 4_294_967_295]], nextAt: 8.64e15 }],
  ])("%j is legal", (given) => {
    expect(state(given)).toEqual(given);
  });

  it.each([
    [{}, "taken"],
    [{ taken: {} }, "taken"],
    [{ taken: [5] }, "taken[0]"],
    [{ taken: [[1, 2, 3], { 0: 1, 1: 2, 2: 3, length: 3 }] }, "taken[1]"],
    [{ taken: [[1, 2]] }, "taken[0]"],
    [{ taken: [[1, 2, 3, 4]] }, "taken[0]"],
    [{ taken: [["1", 2, 3]] }, "taken[0]"],
    [{ taken: [[1, Number.NaN, 3]] }, "taken[0]"],
    [{ taken: [[1, 8.64e15 + 2, 3]] }, "taken[0]"],
    [{ taken: [[1, 2, 0]] }, "taken[0]"],
    [{ taken: [[1, 2, 1.5]] }, "taken[0]"],
    [{ taken: [[1, 2, 4_294_967_296]] }, "taken[0]"],
    [{ taken: [], nextAt: null }, "nextAt"],
  ])("%j is not, and the mistake is in %s", (given, field) => {
    expect(thrownBy(() => state(given)).field).toBe(field);
  });
});
