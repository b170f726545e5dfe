import { execFile } from "node:child_process";
import { readdir, readFile } from "node:fs/promises";
import { promisify } from "node:util";
import { describe, expect, test } from "vitest";

const run = promisify(execFile);
const folder = new URL("../../examples/", import.meta.url);

/** What each of the small examples says last. */
const LAST_LINE: Record<string, RegExp> = {
  "circuit.mjs": /^now: closed$/,
  "import.mjs": /^300 of 300 rows in \d+\.\d s \(the limit alone: 15 s\), \d+ requests$/,
  "retry.mjs": /^RATE_LIMIT_MAX_RETRIES_EXCEEDED after 2 attempts: /,
};

describe("the small examples", () => {
  test.each(Object.entries(LAST_LINE))("%s runs to its end", async (name, expected) => {
    const { stdout } = await run(process.execPath, [new URL(name, folder).pathname]);
    expect(stdout.trim().split("\n").at(-1)).toMatch(expected);
  });

  test("are all of these, and none is longer than 40 lines", async () => {
    const files = (await readdir(folder)).filter((name) => name.endsWith(".mjs"));
    expect(files.sort()).toEqual(Object.keys(LAST_LINE));
    for (const name of files) {
      const text = await readFile(new URL(name, folder), "utf8");
      expect(text.trimEnd().split("\n").length, name).toBeLessThanOrEqual(40);
    }
  });
});
