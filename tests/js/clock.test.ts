import { afterEach, describe, expect, it, vi } from "vitest";
import { Clock } from "../../js/host.ts";

afterEach(() => {
  vi.restoreAllMocks();
  vi.useRealTimers();
});

/** Both clocks of the platform, moved by hand. `pass` is time that really goes by. */
function clocks(): { wall: number; perf: number; pass(ms: number): void } {
  const hands = {
    wall: Date.UTC(2026, 0, 1),
    perf: 0,
    pass(ms: number): void {
      hands.wall += ms;
      hands.perf += ms;
    },
  };
  vi.spyOn(Date, "now").mockImplementation(() => hands.wall);
  vi.spyOn(performance, "now").mockImplementation(() => hands.perf);
  return hands;
}

const HOUR = 3_600_000;

describe("the clock", () => {
  it("is Date.now() where nothing is wrong", () => {
    const hands = clocks();
    const clock = new Clock();
    for (let step = 0; step < 100; step++) {
      hands.pass(step * 7);
      if (step % 10 === 0) clock.check();
      expect(clock.now()).toBe(hands.wall);
    }
  });

  it("does not read performance.now() for a reading", () => {
    const hands = clocks();
    const clock = new Clock();
    const reads = vi.mocked(performance.now).mock.calls.length;
    for (let step = 0; step < 100; step++) {
      hands.pass(1);
      clock.now();
    }
    expect(vi.mocked(performance.now).mock.calls.length).toBe(reads);
  });

  it.each([
    ["set back by an hour", -HOUR],
    ["set back by a second", -1_000],
    ["set back by a day", -24 * HOUR],
  ])("%s it goes on as if nothing had happened", (_, step) => {
    const hands = clocks();
    const clock = new Clock();
    const begun = clock.now();
    hands.pass(5_000);
    hands.wall += step;
    clock.check();
    expect(clock.now() - begun).toBe(5_000);
    hands.pass(5_000);
    clock.check();
    expect(clock.now() - begun).toBe(10_000);
  });

  it("set forward, or after a sleep of the machine, that is time that passed", () => {
    const hands = clocks();
    const clock = new Clock();
    const begun = clock.now();
    hands.wall += 24 * HOUR;
    expect(clock.now() - begun).toBe(24 * HOUR);
    clock.check();
    expect(clock.now() - begun).toBe(24 * HOUR);
  });

  it("set forward and corrected again it does not go back, and does not count the correction", () => {
    const hands = clocks();
    const clock = new Clock();
    const begun = clock.now();
    hands.wall += HOUR;
    clock.now();
    hands.wall -= HOUR;
    hands.pass(10);
    const after = clock.now() - begun;
    expect(after).toBeGreaterThanOrEqual(HOUR);
    expect(after).toBeLessThanOrEqual(HOUR + 10);
  });

  it("set forward and corrected again it goes on from there at once", () => {
    const hands = clocks();
    const clock = new Clock();
    hands.wall += HOUR;
    const ahead = clock.now();
    hands.wall -= HOUR;
    clock.now();
    hands.pass(1_000);
    expect(clock.now() - ahead).toBe(1_000);
  });

  it("a test's steps of Date count after it was set back", () => {
    const hands = clocks();
    const clock = new Clock();
    hands.wall -= 24 * HOUR;
    const begun = clock.now();
    hands.wall += 60_000;
    expect(clock.now() - begun).toBe(60_000);
  });

  it("does not run fast or slow over days in which the two clocks drift apart", () => {
    const hands = clocks();
    const clock = new Clock();
    const begun = clock.now();
    const wall = hands.wall;
    for (let minute = 0; minute < 3 * 24 * 60; minute++) {
      hands.pass(60_000);
      hands.perf += minute % 2;
      clock.check();
    }
    expect(clock.now() - begun).toBe(hands.wall - wall);
  });

  it("a short wait ends although Date stands still", () => {
    const hands = clocks();
    const clock = new Clock();
    const due = clock.now() + 10;
    for (let ring = 0; ring < 10 && clock.now() < due; ring++) {
      hands.perf += 10;
      clock.check();
    }
    expect(clock.now()).toBeGreaterThanOrEqual(due);
  });

  it("goes on while Date stands still, once it is compared", () => {
    const hands = clocks();
    const clock = new Clock();
    const begun = clock.now();
    for (let step = 0; step < 100; step++) {
      hands.perf += 100;
      clock.check();
    }
    expect(clock.now() - begun).toBe(10_000);
  });

  it("does not count the time twice when a Date that stood still is released", () => {
    const hands = clocks();
    const clock = new Clock();
    const begun = clock.now();
    hands.perf += 10_000;
    clock.check();
    hands.wall += 10_000;
    clock.check();
    expect(clock.now() - begun).toBe(10_000);
  });

  it("does not run fast when Date trembles by a millisecond", () => {
    const hands = clocks();
    const clock = new Clock();
    const begun = clock.now();
    for (let reading = 0; reading < 10_000; reading++) {
      hands.wall += reading % 2 === 0 ? -1 : 1;
      clock.now();
    }
    expect(clock.now() - begun).toBeLessThanOrEqual(1);
  });

  it.each([
    ["as it is", (wall: number) => wall],
    ["in steps of 100 ms", (wall: number) => Math.floor(wall / 100) * 100],
    ["trembling by 10 ms", (wall: number, reading: number) => wall + ((reading * 7) % 20) - 10],
    ["running backwards", (wall: number, reading: number) => wall - reading],
    ["standing still", () => Date.UTC(2026, 0, 1)],
  ])(
    "takes a second for a second of a million readings, with Date %s",
    (_, dateAt) => {
      const realNow = Date.now.bind(Date);
      let reading = 0;
      vi.spyOn(Date, "now").mockImplementation(() => dateAt(realNow(), reading++));
      const clock = new Clock();
      const begun = clock.now();
      const performanceBegun = performance.now();
      let last = begun;
      let backwards = 0;
      let readings = 0;
      while (performance.now() - performanceBegun < 1_000 || readings < 1_000_000) {
        const now = clock.now();
        if (now < last) backwards++;
        last = now;
        if (readings++ % 1_000 === 0) clock.check();
      }
      clock.check();
      const real = performance.now() - performanceBegun;
      expect(backwards).toBe(0);
      expect(clock.now() - begun).toBeGreaterThan(real - 150);
      expect(clock.now() - begun).toBeLessThan(real + 150);
    },
    30_000,
  );
});
