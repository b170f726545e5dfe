import { afterEach, expect, it, vi } from "vitest";
import { freshPackage } from "./support/service.ts";

afterEach(() => {
  vi.unstubAllGlobals();
});

it("is imported where there is no TextDecoder and no TextEncoder, as in Jest's jsdom", async () => {
  vi.stubGlobal("TextDecoder", undefined);
  vi.stubGlobal("TextEncoder", undefined);
  const tidegate = await freshPackage();
  expect(tidegate.coreState()).toBe("idle");
});

it("reads text beyond ASCII with those that it makes later", async () => {
  const tidegate = await freshPackage();
  const service = new tidegate.RateLimitService({ maxRetries: 0, logLevel: "silent" });
  const refused = service.executeWithRetry(() =>
    Promise.reject(new Error("Zu viele Anfragen – 429 für Sie 🐢")),
  );
  await expect(refused).rejects.toMatchObject({ code: "RATE_LIMIT_MAX_RETRIES_EXCEEDED" });
});
