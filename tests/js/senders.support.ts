import { expect } from "vitest";
import { rowId } from "../../js/import/ids.ts";
import type { BatchAnswer, ImportBatch, ImportItem, Sender } from "../../js/import/types.ts";
import { RateLimitService } from "../../js/index.ts";
import { ManualHost } from "../../js/testing.ts";
import type { Verdict } from "../../js/types.ts";

export const SCOPE = { origin: "https://project.supabase.co", table: "contacts" };

/** The rows as an import hands them to a sender. */
export function batchOf<Row>(rows: Row[], signal = new AbortController().signal): ImportBatch<Row> {
  return { items: rows.map((row, index) => itemOf(row, index)), signal, idempotencyKey: "batch-1" };
}

export function itemOf<Row>(row: Row, index = 0): ImportItem<Row> {
  const key = JSON.stringify(row, (_, value) => (typeof value === "bigint" ? String(value) : value));
  return { row, index, key, id: rowId(SCOPE, key), attempt: 1 };
}

/** What the sender throws. */
export async function thrownBy<Row>(sender: Sender<Row>, batch: ImportBatch<Row>): Promise<unknown> {
  let answer: BatchAnswer;
  try {
    answer = await sender(batch);
  } catch (error) {
    return error;
  }
  return expect.unreachable(`it answered ${JSON.stringify(answer)}`);
}

type VerdictName = Extract<Verdict, string> | "throttled";

/** How a service takes what was thrown: as any attempt that failed so. */
export async function verdictOn(error: unknown): Promise<{ verdict: VerdictName; hintMs?: number }> {
  const host = Object.assign(new ManualHost(), { random: () => 0 });
  const facts: { verdict: VerdictName; hintMs?: number }[] = [];
  const service = new RateLimitService(
    { maxRetries: 0, logLevel: "silent", classify: ({ retryAfterMs }) => void hints.push(retryAfterMs) },
    host,
  );
  const hints: (number | undefined)[] = [];
  service.on("attempt", ({ verdict }) => facts.push({ verdict }));
  await service.executeWithRetry(() => Promise.reject(error)).catch(() => {});
  const [hintMs] = hints;
  return { verdict: facts[0]?.verdict ?? "success", ...(hintMs !== undefined && { hintMs }) };
}
