import { describe, expect, it } from "vitest";
import type { ImportStop, WaitReason } from "../../js/import/public.ts";
import { type StopFacts, stopWords, waitingOf, waitingWords } from "../../js/import/words.ts";

const NOW = new Date(2026, 0, 5, 14, 3, 0).getTime();

/** The time of day as this machine's users write it. */
const clock = (time: number): string =>
  new Date(time).toLocaleTimeString(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit" });

describe("what is said while it waits", () => {
  const reasons: Record<WaitReason, [why: string, otherwise: string]> = {
    pace: ["Keeping to the pace that the server accepts", "goes on with its next answer."],
    cooldown: ["Waiting for the server's limit", "goes on with its next answer."],
    circuit: ["Requests to this server are held back", "goes on when they are let through again."],
    offline: ["There is no connection", "goes on when there is one again."],
    paused: ["Paused", "goes on when it is resumed."],
    storage: ["Waiting for the storage", "goes on when it has answered."],
    "other-tab": ["Another tab runs this import", "goes on when that one has ended."],
  };

  it.each(Object.entries(reasons))("is why, and until when: %s", (reason, [why, otherwise]) => {
    const until = NOW + 20_000;
    expect(waitingWords(reason as WaitReason, until, NOW)).toBe(`${why}: goes on at ${clock(until)}.`);
    expect(waitingWords(reason as WaitReason, null, NOW)).toBe(`${why}: ${otherwise}`);
  });

  it("names a time of day that is not before it goes on", () => {
    expect(waitingWords("cooldown", NOW + 20_000, NOW)).toMatch(/ goes on at .*0?[24]:03:20/);
    expect(waitingWords("cooldown", NOW + 19_001, NOW)).toContain(clock(NOW + 20_000));
  });

  it.each([
    [NOW - 5_000, "goes on in a moment."],
    [NOW, "goes on in a moment."],
    [NOW + 999, "goes on in a moment."],
    [NOW + 1_000, `goes on at ${clock(NOW + 1_000)}.`],
    [NOW + 11 * 3_600_000, `goes on at ${clock(NOW + 11 * 3_600_000)}.`],
    [
      NOW + 12 * 3_600_000,
      `goes on at ${clock(NOW + 12 * 3_600_000)} on ${new Date(NOW + 12 * 3_600_000).toLocaleDateString()}.`,
    ],
    [Number.POSITIVE_INFINITY, "goes on later."],
    [9e15, "goes on later."],
  ])("until %d: %s", (until, words) => {
    expect(waitingWords("circuit", until, NOW)).toBe(`Requests to this server are held back: ${words}`);
  });

  it("tells a limit from a server that fails", () => {
    expect(waitingWords("cooldown", null, NOW, "failing")).toBe(
      "The server fails, or does not answer: goes on with its next answer.",
    );
    expect(waitingWords("offline", null, NOW, "failing")).toContain("no connection");
  });

  it("is nothing where only the pace makes it wait, and not for long", () => {
    expect(waitingOf("pace", null, NOW)).toBeNull();
    expect(waitingOf("pace", NOW + 999, NOW)).toBeNull();
    expect(waitingOf("pace", NOW + 1_000, NOW)).toEqual({
      ...{ reason: "pace", untilTime: NOW + 1_000 },
      message: waitingWords("pace", NOW + 1_000, NOW),
    });
    expect(waitingOf("cooldown", NOW + 5, NOW, "failing")).toEqual({
      ...{ reason: "cooldown", untilTime: NOW + 5 },
      message: "The server fails, or does not answer: goes on in a moment.",
    });
    expect(waitingOf("offline", null, NOW)).toEqual({
      ...{ reason: "offline", message: "There is no connection: goes on when there is one again." },
    });
  });
});

describe("what is said of an early end", () => {
  const ends: [ImportStop["reason"], StopFacts | undefined, string][] = [
    ["cancelled", undefined, "Cancelled."],
    ["cancelled", { lastSent: 0 }, "Cancelled. Nothing was sent."],
    ["cancelled", { lastSent: 12_345 }, "Cancelled. Nothing after row 12,345 was sent."],
    [
      "refused",
      { lastSent: 312, message: "JWT expired", status: 401 },
      "The server refused the import: JWT expired (401). Nothing after row 312 was sent.",
    ],
    ["refused", { message: "No such table." }, "The server refused the import: No such table."],
    [
      "refused",
      { message: "No such table.", status: 404 },
      "The server refused the import: No such table (404).",
    ],
    ["refused", { message: "HTTP 403", status: 403 }, "The server refused the import: HTTP 403."],
    ["refused", { status: 403 }, "The server refused the import (403)."],
    ["refused", { message: "", status: 0 }, "The server refused the import."],
    [
      "failed-ratio",
      { answered: 200, failed: 200, message: "value too long " },
      "Stopped early: the first 200 of 200 failed: value too long.",
    ],
    [
      "failed-ratio",
      { answered: 2_000, failed: 1_100, message: "Really?" },
      "Stopped early: 1,100 of the first 2,000 failed: Really?",
    ],
    ["failed-ratio", { answered: 200, failed: 205 }, "Stopped early: the first 200 of 200 failed."],
    [
      "trouble",
      { lastSent: 9, message: "Bad gateway" },
      "The server fails, or does not answer, for minutes already: Bad gateway. Nothing after row 9 was sent.",
    ],
    [
      "source",
      { lastSent: 40, message: "A quote is never closed." },
      "The rows could not be read any further after row 40: A quote is never closed.",
    ],
    ["source", { lastSent: 0, message: "gone" }, "The rows could not be read any further: gone."],
    [
      "taken-over",
      { lastSent: 4 },
      "Another tab has taken over this import. It goes on there; here it has ended.",
    ],
  ];

  it.each(ends)("%s %j", (reason, facts, words) => {
    expect(stopWords(reason, facts)).toBe(words);
  });
});
