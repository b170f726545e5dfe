import fc from "fast-check";
import { describe, expect, it } from "vitest";
import "../../js/index.ts";
import { type CapacityPlan, capacity, Slots, startsPerMinute } from "../../js/slots.ts";
import { ManualHost } from "../../js/testing.ts";

const SECOND = 1_000;
const MINUTE = 60_000;

describe("startsPerMinute", () => {
  it.each([
    [100, 3 * MINUTE, 33.333],
    [100, MINUTE, 100],
    [100, 30 * SECOND, 200],
    [1, 10 * MINUTE, 0.1],
    [10_000, 2.5 * MINUTE, 4_000],
    [5, 1, 300_000],
    [0.5, MINUTE, 0.5],
  ])("%d at a time of %d ms each: %d a minute", (cap, averageDurationMs, expected) => {
    expect(startsPerMinute(cap, averageDurationMs)).toBeCloseTo(expected, 3);
  });

  it("is what slots let through when everybody takes the average", async () => {
    const host = new ManualHost();
    const slots = new Slots({ perGroup: 4, host });
    let starts = 0;
    const call = (): Promise<void> =>
      slots.run("campaign", async () => {
        starts++;
        await host.sleep(20 * SECOND);
      });
    const all = Promise.all(Array.from({ length: 200 }, call));
    await host.advance(5 * MINUTE);
    expect(starts).toBe(4 + 5 * startsPerMinute(4, 20 * SECOND));
    await host.drive(all);
  });
});

describe("capacity", () => {
  const telephony = { global: 10_000, perGroup: 100, averageDurationMs: 2 * MINUTE };

  it.each<[string, CapacityPlan, object]>([
    [
      "few groups: each has its own",
      { ...telephony, groups: 20 },
      { perGroupPerMinute: 50, globalPerMinute: 5_000, totalPerMinute: 1_000, bound: "perGroup" },
    ],
    [
      "as many groups as fit",
      { ...telephony, groups: 100 },
      { perGroupPerMinute: 50, globalPerMinute: 5_000, totalPerMinute: 5_000, bound: "perGroup" },
    ],
    [
      "more groups than fit: the global cap is met first",
      { ...telephony, groups: 101 },
      { perGroupPerMinute: 50, globalPerMinute: 5_000, totalPerMinute: 5_000, bound: "global" },
    ],
    [
      "a group that may have more than there is",
      { global: 10, perGroup: 100, groups: 1, averageDurationMs: MINUTE },
      { perGroupPerMinute: 10, globalPerMinute: 10, totalPerMinute: 10, bound: "global" },
    ],
  ])("%s", (_, plan, expected) => {
    expect(capacity(plan)).toEqual(expected);
  });

  it("tells the cap that gains something when it is raised, and what all groups can start together", () => {
    const cap = fc.integer({ min: 1, max: 1_000 });
    fc.assert(
      fc.property(
        cap,
        cap,
        cap,
        fc.integer({ min: 1, max: 600_000 }),
        (global, perGroup, groups, averageDurationMs) => {
          const plan = { global, perGroup, groups, averageDurationMs };
          const { bound, totalPerMinute, perGroupPerMinute, globalPerMinute } = capacity(plan);
          expect(capacity({ ...plan, [bound]: plan[bound] * 2 }).totalPerMinute >= totalPerMinute).toBe(true);
          const other = bound === "global" ? "perGroup" : "global";
          expect(capacity({ ...plan, [other]: plan[other] * 2 }).totalPerMinute).toBe(totalPerMinute);
          expect(totalPerMinute).toBeCloseTo(Math.min(globalPerMinute, perGroupPerMinute * groups), 6);
        },
      ),
    );
  });
});

describe("what is not legal", () => {
  const plan = { global: 10, perGroup: 5, groups: 2, averageDurationMs: 1_000 };
  const wrong = [0, -1, Number.NaN, Number.POSITIVE_INFINITY, "5", null, undefined, [5], {}, true];

  it.each(Object.keys(plan).flatMap((field) => wrong.map((value): [string, unknown] => [field, value])))(
    "capacity: %s %o",
    (field, value) => {
      expect(() => capacity({ ...plan, [field]: value })).toThrowError(
        expect.objectContaining({ name: "RateLimitConfigError", field, value }),
      );
    },
  );

  it.each<[string, unknown]>([
    ["capacity", null],
    ["capacity", undefined],
    ["capacity", 5],
    ["workers", { ...plan, workers: 5 }],
  ])("capacity: %s in %o", (field, value) => {
    expect(() => capacity(value as CapacityPlan)).toThrowError(expect.objectContaining({ field }));
  });

  it.each(wrong)("startsPerMinute: %o", (value) => {
    const errorIn = (field: string): object =>
      expect.objectContaining({ name: "RateLimitConfigError", field, value });
    expect(() => startsPerMinute(value as number, 1_000)).toThrowError(errorIn("cap"));
    expect(() => startsPerMinute(5, value as number)).toThrowError(errorIn("averageDurationMs"));
  });
});
