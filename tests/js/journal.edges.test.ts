import { readdir, readFile, stat } from "node:fs/promises";
import path from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import { claimByBeat } from "../../js/import/journal/claim.ts";
import type { Beat } from "../../js/import/journal/store.ts";
import { ClaimLostError } from "../../js/import/journal.ts";
import { ManualHost } from "../../js/testing.ts";
import { all, cleared, folder, jobOf, noteOf, segmentOf } from "./support/journal.ts";

afterEach(cleared);

describe("a claim by beats", () => {
  it("is lost when it has been taken out of the storage", async () => {
    const host = new ManualHost();
    let held: Beat | undefined;
    const swap = async (change: (held: Beat | undefined) => Beat | null | undefined) => {
      const next = change(held);
      if (next !== undefined) held = next ?? undefined;
      return held;
    };
    const surroundings = { wall: host.now, sleep: host.sleep };
    const claim = await claimByBeat("a", swap, surroundings as never, "mine", {});
    expect(held?.token).toBe("mine");
    held = undefined;
    await host.advance(60_000);
    expect(claim?.lost.aborted).toBe(true);
    expect(claim?.lost.reason).toBeInstanceOf(ClaimLostError);
    expect(held).toBeUndefined();
  });
});

describe("a folder", () => {
  const endings = async (at: string): Promise<string[]> =>
    (await readdir(at)).map((name) => path.extname(name)).sort();

  it("has no claim in it that was released", async () => {
    const ground = await folder();
    const page = await ground.page();
    const claim = await page.claim("a");
    expect(await endings(ground.folder)).toEqual([".claim"]);
    await claim?.release();
    expect(await endings(ground.folder)).toEqual([]);
  });

  it("has lines for what was written, and for nothing else", async () => {
    const ground = await folder();
    const page = await ground.page();
    await page.open(jobOf("a"));
    await page.write({ segments: [segmentOf("a", 0, [1])], notes: [noteOf("a", 0)] });
    const [name = ""] = await readdir(ground.folder);
    const [, ...lines] = (await readFile(path.join(ground.folder, name), "latin1")).trimEnd().split("\n");
    const keys = new Set(lines.map((line) => line.split(" ")[1]));
    expect(keys).toEqual(new Set(["job", "s0", "n0", "end"]));
  });

  it("is read by the page that has made a file of it shorter", async () => {
    const ground = await folder();
    const page = await ground.page();
    await page.open(jobOf("a"));
    const noteAt = (time: number) => noteOf("a", 0, { message: `${time} ${"x".repeat(100_000)}` });
    const kept = noteOf("a", 1);
    await page.write({ notes: [kept] });
    const sizes: number[] = [];
    for (let time = 0; time < 20; time++) {
      await page.write({ notes: [noteAt(time)] });
      const [name = ""] = await readdir(ground.folder);
      sizes.push((await stat(path.join(ground.folder, name))).size);
    }
    expect(sizes.some((size, time) => size < (sizes[time - 1] ?? 0))).toBe(true);
    expect(await all(page.notes("a"))).toEqual([noteAt(19), kept]);
  });
});
