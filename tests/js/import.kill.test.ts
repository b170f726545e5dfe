import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { killedImport, wrongIn } from "./support/import-kill.mjs";

/**
 * Processes that are killed in the middle of an import, in real time, and resumed from the files that they left. The long
 * version, with 200 runs: `node tests/browser/import.mjs --long kills`.
 */

const ROWS = 120;
const EACH = 4;

let directory = "";
let engine = "";

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), "tidegate-kill-"));
  engine = join(directory, "engine.mjs");
  const js = fileURLToPath(new URL("../../js", import.meta.url));
  const contents = `export * from "./import.ts"; export { fileStore } from "./import-node.ts";`;
  await build({
    stdin: { contents, resolveDir: js },
    outfile: engine,
    ...{ bundle: true, format: "esm", platform: "node", logLevel: "error" },
  });
}, 60_000);

afterAll(() => {
  rmSync(directory, { recursive: true, force: true });
});

describe("an import whose process is killed, and resumed until it is done", () => {
  const kinds = [
    ["idempotent", "has every row once"],
    ["verified", "has every row once though nothing may be sent twice, by looking up what was on its way"],
    ["unverified", "has no row twice where nothing can be looked up, and lists what it cannot know"],
  ] as const;

  it.each(kinds)(
    "%s: %s",
    async (kind) => {
      const seeds = Array.from({ length: EACH }, (_, i) => 100 + i);
      const runs = await Promise.all(seeds.map((seed) => killedImport({ engine, kind, rows: ROWS, seed })));
      expect(runs.map((run) => wrongIn(run, ROWS))).toEqual(seeds.map(() => []));
      for (const { kills } of runs) expect(kills).toBeGreaterThan(0);
    },
    120_000,
  );

  it("has every row once where the server still writes what was on its way at the kill", async () => {
    const seeds = [200, 201];
    const slow = { engine, kind: "verified" as const, rows: 40, writeMs: 3_000 };
    const runs = await Promise.all(seeds.map((seed) => killedImport({ ...slow, seed })));
    expect(runs.map((run) => wrongIn(run, 40))).toEqual(seeds.map(() => []));
  }, 180_000);
});
