// A strict application, compiled without the DOM's or the platform's newest declarations and with `skipLibCheck` off.
import {
  type AttemptInfo,
  type CallContext,
  type CircuitState,
  coreState,
  isRateLimitError,
  type MetricsSnapshot,
  type Outcome,
  type RateLimitConfig,
  RateLimitConfigError,
  RateLimitError,
  RateLimitService,
  rateLimitService,
  type Verdict,
} from "tidegate";
import { init } from "tidegate/external";
import { resilientDataProvider } from "tidegate/react-admin";
import { resilientFetch, resilientHttpClient } from "tidegate/supabase";
import type {} from "tidegate/testing";

const config: Partial<RateLimitConfig> = {
  maxRetries: 5,
  retryBudget: null,
  jitter: "full",
  attemptTimeoutMs: 1_000,
};
const service: RateLimitService = new RateLimitService(config);

export async function use(): Promise<number> {
  const context: CallContext = { resourceName: "contacts", operation: "create", idempotent: true };
  const text: string = await service.executeWithRetry((info: AttemptInfo) => `${info.attempt}`, context);
  const length: number = await rateLimitService.executeWithRetry(async ({ signal }) =>
    signal.aborted ? 0 : text.length,
  );
  return length;
}

export function watch(): () => void {
  const circuit: CircuitState = service.getCircuitState();
  const metrics: MetricsSnapshot = service.getMetrics();
  const state: "idle" | "ready" | "no-wasm" | "csp" | "limit" | "trap" = coreState();
  service.updateConfig({
    classify: (outcome: Outcome): Verdict | undefined =>
      outcome.status === 503 ? { throttled: true } : undefined,
    messages: (code, info) => `${code} ${String(info)} ${circuit.state} ${metrics.calls} ${state}`,
  });
  return service.on("retry", (event) => void event);
}

export function explain(error: unknown): string {
  if (error instanceof RateLimitConfigError) return `${error.field} ${String(error.value)} ${error.expected}`;
  if (error instanceof RateLimitError) return error.userMessage;
  return isRateLimitError(error) ? error.code : "";
}

export const wrap = { init, resilientDataProvider, resilientFetch, resilientHttpClient };

// @ts-expect-error -- a field that does not exist
export const misspelt = new RateLimitService({ maxRetry: 3 });
// @ts-expect-error -- a value that is none of those
export const unknownJitter = new RateLimitService({ jitter: "some" });
