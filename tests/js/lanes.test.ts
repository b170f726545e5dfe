import { beforeAll, beforeEach, describe, expect, it } from "vitest";
import { isReady, ServiceCore } from "../../js/core.ts";
import "../../js/index.ts";
import { Lanes, NoIdleKey, type Place } from "../../js/lanes.ts";
import * as glue from "../../pkg/core.js";
import { placeOf, planOf, policyOf } from "./support/limits.ts";

/** The names of lanes and quotas are the shell's, their numbers the core's: neither may remember what the other forgot. */

const MINUTE = 60_000;

let core: ServiceCore;
let lanes: Lanes;

function coreOf(maxKeys: number): ServiceCore {
  return new ServiceCore({
    limits: planOf({ policies: [policyOf([2, MINUTE]), policyOf([5, MINUTE])], maxKeys }),
  });
}

beforeAll(() => {
  expect(isReady()).toBe(true);
});
beforeEach(() => {
  core = coreOf(3);
  lanes = new Lanes();
});

/** Takes one and gives its slot back; whether that was allowed. */
function take(place: Place, now = 0): boolean {
  const lane = lanes.of(core, now, place);
  const permit = glue.try_in(core.handle, now, 0, lane, place.weight, 0, 0, 0);
  glue.release(core.handle, permit, lane);
  return permit !== 0;
}

function used(place: Place, now = 0): number[] {
  const [, , , , ...windows] = glue.lane_status(core.handle, now, lanes.of(core, now, place)) as number[];
  return windows.filter((_, index) => index % 3 === 0);
}

describe("a lane", () => {
  it("has one number for one name, whatever the name", () => {
    core = coreOf(100);
    const names = ["", "__proto__", "constructor", "a", "A", " ", "0", "é"];
    const numbers = names.map((name) => lanes.of(core, 0, placeOf(name)));
    expect(new Set(numbers).size).toBe(names.length);
    expect(names.map((name) => lanes.of(core, 0, placeOf(name)))).toEqual(numbers);
    expect(lanes.names(core)).toEqual(names);
  });

  it("of a forgotten key is another one's, and its counts are nobody's", () => {
    for (const name of ["a", "b", "c"]) expect(take(placeOf(name))).toBe(true);
    const later = 2 * MINUTE;
    expect(take(placeOf("d"), later)).toBe(true);
    expect(lanes.names(core).length).toBe(3);
    const gone = ["a", "b", "c"].filter((name) => !lanes.has(core, placeOf(name)));
    expect(gone.length).toBe(1);
    expect(lanes.quota(core, { policy: 0, key: gone[0] ?? "" })).toBeUndefined();
    expect(used(placeOf("d"), later)).toEqual([1]);
  });

  it("that is new while no other is idle is refused, with the time until one is", () => {
    for (const name of ["a", "b", "c"]) take(placeOf(name));
    expect(() => lanes.of(core, 1_000, placeOf("d"))).toThrow(NoIdleKey);
    try {
      lanes.of(core, 1_000, placeOf("d"));
    } catch (error) {
      expect((error as NoIdleKey).retryAfterMs).toBeGreaterThan(0);
      expect((error as NoIdleKey).retryAfterMs).toBeLessThanOrEqual(MINUTE * (1 + 1 / 32));
    }
    expect(lanes.names(core)).toEqual(["a", "b", "c"]);
    expect(lanes.has(core, placeOf("d"))).toBe(false);
  });
});

describe("a quota", () => {
  const session = (name: string, agent: string): Place =>
    placeOf(name, {
      needs: [
        { policy: 0, key: name },
        { policy: 1, key: agent },
      ],
    });

  it("is one for all lanes that need it, and stays as long as one of them does", () => {
    for (const name of ["s1", "s2", "s3"]) expect(take(session(name, "agent"))).toBe(true);
    expect(used(session("s2", "agent"))).toEqual([1, 3]);
    const later = 30_000;
    expect(take(session("s3", "agent"), later)).toBe(true);
    // s1 and s2 are idle by then and go; what the agent has used is still counted.
    const now = MINUTE + 5_000;
    take(session("s4", "agent"), now);
    take(session("s5", "agent"), now);
    expect(used(session("s5", "agent"), now)).toEqual([1, 3]);
    expect(lanes.names(core).sort()).toEqual(["s3", "s4", "s5"]);
  });

  it("of one policy is not that of another with the same key", () => {
    expect(take(placeOf("a"))).toBe(true);
    expect(take(placeOf("b", { needs: [{ policy: 1, key: "a" }] }))).toBe(true);
    expect(used(placeOf("a"))).toEqual([1]);
    expect(lanes.quota(core, { policy: 0, key: "a" })).not.toBe(lanes.quota(core, { policy: 1, key: "a" }));
  });

  it("is found by its number, for a warning", () => {
    take(session("s1", "agent"));
    const need = { policy: 1, key: "agent" };
    const number = lanes.quota(core, need);
    expect(lanes.needOf(number ?? -1)).toEqual(need);
    expect(lanes.needOf(99)).toBeUndefined();
  });

  it("that a new plan asks for is needed from the next call on, once", () => {
    take(placeOf("a"));
    lanes.planned();
    expect(take(session("a", "agent"))).toBe(true);
    lanes.planned();
    expect(used(session("a", "agent"))).toEqual([2, 1]);
  });
});

it("a new core knows nothing of what the last one knew", () => {
  take(placeOf("a"));
  take(placeOf("b"));
  core = coreOf(3);
  expect(lanes.names(core)).toEqual([]);
  expect(lanes.has(core, placeOf("a"))).toBe(false);
  expect(lanes.quota(core, { policy: 0, key: "a" })).toBeUndefined();
  expect(used(placeOf("b"))).toEqual([0]);
  expect(lanes.names(core)).toEqual(["b"]);
});

it("keys by the ten thousand, in a small room, never mix", () => {
  core = coreOf(50);
  const counts = new Map<string, number[]>();
  let now = 0;
  for (let i = 0; i < 20_000; i++) {
    now += 40;
    const key = `key ${(i * 7_919) % 97}`;
    const recent = (counts.get(key) ?? []).filter((at) => at > now - MINUTE);
    let allowed: boolean;
    try {
      allowed = take(placeOf(key), now);
    } catch (error) {
      expect(error).toBeInstanceOf(NoIdleKey);
      continue;
    }
    if (allowed) recent.push(now);
    // Never more than the limit, and a key that has used nothing is let go.
    expect(recent.length).toBeLessThanOrEqual(2);
    if (recent.length === 0) expect(allowed).toBe(true);
    counts.set(key, recent);
  }
  expect(lanes.names(core).length).toBe(50);
});
