import { expect, test } from "vitest";

import { Gate, type Hold } from "../../js/gate.ts";
import { RateLimitError } from "../../js/index.ts";
import type { LimitsPlan, PolicyPlan } from "../../js/lanes.ts";
import { ManualHost } from "../../js/testing.ts";
import golden from "../vectors/limits.json" with { type: "json" };

type Step = {
  at: number;
  begin?: string;
  end?: string;
  cancel?: string;
  lane?: number;
  weight?: number;
  limit?: number;
  windowMs?: number;
  priority?: number;
  deadlineMs?: number;
};

interface Case {
  name: string;
  limits: Partial<Omit<LimitsPlan, "policies">> & { policies?: Partial<PolicyPlan>[] };
  lanes: { operation: number; needs: [policy: number, key: string][] }[];
  steps: Step[];
  until: number;
  story: string[];
}

/** The same cases as `golden_cases` in tests/limits.rs. */
test.each(golden.cases as unknown as Case[])("$name", async ({ limits, lanes, steps, until, story }) => {
  const host = new ManualHost({ now: 0 });
  const gate = new Gate(planOf(limits), { host, onCoreUnavailable: "reject" });
  const told: string[] = [];
  const holds = new Map<string, Hold>();
  const waits = new Map<string, AbortController>();

  const begin = (who: string, step: Step): void => {
    const { operation, needs } = lanes[step.lane ?? 0] as Case["lanes"][number];
    const { weight = 1, limit = 0, windowMs = 0, priority, deadlineMs } = step;
    const place = {
      name: `lane ${step.lane}`,
      operation,
      needs: needs.map(([policy, key]) => ({ policy, key })),
      ...{ weight, limit, windowMs, concurrency: 0 },
    };
    const wait = new AbortController();
    waits.set(who, wait);
    gate.acquire(place, { signal: wait.signal, priority, deadlineMs }).then(
      (hold) => {
        told.push(`${host.now()} ${who} starts`);
        holds.set(who, hold);
      },
      (error: unknown) => {
        if (!(error instanceof RateLimitError)) return;
        const full = error.limit ? ` ${error.limit.maxRequests} per ${error.limit.windowMs}` : "";
        const again = error.retryAfterMs === undefined ? "" : `, again in ${error.retryAfterMs}`;
        told.push(`${host.now()} ${who} ${error.code}${full}${again}`);
      },
    );
  };

  for (const step of steps) {
    await host.advance(step.at - host.now());
    if (step.begin !== undefined) begin(step.begin, step);
    else if (step.end !== undefined) holds.get(step.end)?.release();
    else waits.get(step.cancel as string)?.abort();
    await host.advance(0);
  }
  await host.advance(until - host.now());
  expect(told).toEqual(story);
  gate.dispose();
});

function planOf({ policies = [], ...limits }: Case["limits"]): LimitsPlan {
  return {
    concurrency: null,
    concurrencyPerKey: null,
    concurrencyPerOperation: [],
    leaseMs: null,
    maxQueue: 4_294_967_295,
    reject: false,
    maxKeys: 10_000,
    ...limits,
    policies: policies.map((policy) => ({ windows: [], intervalMs: 0, smooth: false, ...policy })),
  };
}
