import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import type { ServiceEvents } from "../../js/types.ts";
import { decode } from "./support/decode.ts";
import { bench, ended, type Settled } from "./support/service.ts";

/**
 * What supabase-js, auth-js, storage-js, functions-js, ra-supabase and ra-data-postgrest settled with when a server
 * refused them, rebuilt as real objects and brought by the first attempt of a call.
 */

interface Capture {
  id: string;
  settled: "thrown" | "resolved";
  value: unknown;
}

interface Expected {
  verdict: ServiceEvents["attempt"]["verdict"];
  scope?: "service" | "call";
  hintMs?: number;
  answered?: boolean;
  /** Why nothing in it tells of the refusal. */
  noTrace?: string;
}

function read<T>(name: string): T {
  return JSON.parse(readFileSync(new URL(`../vectors/fixtures/${name}.json`, import.meta.url), "utf8")) as T;
}

const { captures } = read<{ captures: Capture[] }>("supabase-errors");
const expectations = read<Record<string, Expected>>("expected");
const rows = captures.map((capture) => {
  const expected = expectations[capture.id];
  if (!expected) throw new Error(`nothing is expected of ${capture.id}`);
  return [capture.id, capture, expected] as const;
});

describe("a capture of a real client", () => {
  it("is there for every expectation", () => {
    expect(captures.map(({ id }) => id).sort()).toEqual(Object.keys(expectations).sort());
  });

  it.each(rows)("%s", async (_, { settled, value }, expected) => {
    const run = await called(settled, value);
    expect(run.verdicts[0]).toBe(expected.verdict);
    if (expected.verdict === "throttled") {
      expect(run.end).toEqual({ value: "done" });
      expect(run.verdicts).toEqual(["throttled", "success"]);
      expect(run.pausesMs).toEqual([Math.max(100, expected.hintMs ?? 0)]);
      expect(run.refusals).toBe(expected.scope === "call" ? 0 : 1);
      expect(Object.is(run.causes[0], run.value)).toBe(true);
    } else {
      expect(run.verdicts).toHaveLength(1);
      expectTheSame(run.end, run.value, settled);
    }
  });

  it.each(rows.filter(([, , { verdict }]) => verdict === "throttled"))(
    "%s: where it outlasts the retries the call rejects, also if the client resolved",
    async (_, { settled, value }) => {
      const run = await called(settled, value, { maxRetries: 0, maxRetryAfterMs: 3_600_000 });
      expect(run.end.error).toMatchObject({
        code: "RATE_LIMIT_MAX_RETRIES_EXCEEDED",
        status: 429,
        attempts: 1,
      });
      expect((run.end.error as { originalError: unknown }).originalError).toBe(run.value);
    },
  );

  it.each(rows.filter(([, , { verdict }]) => verdict === "transient"))(
    "%s: is repeated for an idempotent call where transient failures are",
    async (_, { settled, value }) => {
      const run = await called(settled, value, { retryTransient: "idempotent" });
      expect(run.end).toEqual({ value: "done" });
      expect(run.verdicts).toEqual(["transient", "success"]);
      expect(run.refusals).toBe(0);
    },
  );
});

/** A call whose first attempt brings the value and whose second is done, and what was told of it. */
async function called(settled: string, written: unknown, config = {}) {
  const { service, host } = bench(config);
  const value = decode(written);
  const verdicts: string[] = [];
  const pausesMs: number[] = [];
  const causes: unknown[] = [];
  let refusals = 0;
  service.on("attempt", ({ verdict }) => {
    verdicts.push(verdict);
    refusals = Math.max(refusals, service.getCircuitState().consecutiveFailures);
  });
  service.on("retry", ({ delayMs, cause }) => {
    pausesMs.push(delayMs);
    causes.push(cause);
  });
  const call = service.executeWithRetry(
    async ({ attempt }): Promise<unknown> => {
      if (attempt > 1) return "done";
      if (settled === "thrown") throw value;
      return value;
    },
    { idempotent: true },
  );
  const end = await host.drive(ended(call));
  return { end, value, verdicts, pausesMs, causes, refusals };
}

function expectTheSame(end: Settled, value: unknown, settled: string): void {
  expect("error" in end ? "thrown" : "resolved").toBe(settled);
  expect(Object.is("error" in end ? end.error : end.value, value)).toBe(true);
}
