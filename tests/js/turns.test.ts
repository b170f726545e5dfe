import { describe, expect, test, vi } from "vitest";
import { nextTask } from "../../js/turns.ts";

describe("giving way", () => {
  test("where there is no MessageChannel, by a timer", async () => {
    vi.stubGlobal("MessageChannel", undefined);
    await expect(nextTask()).resolves.toBeUndefined();
  });

  test("by a timer too where one is there and throws, as in Next's edge runtime", async () => {
    const construct = () => {
      throw new Error("A Node.js API is used (MessageChannel) which is not supported in the Edge Runtime.");
    };
    vi.stubGlobal("MessageChannel", new Proxy(class {}, { construct }));
    await expect(nextTask()).resolves.toBeUndefined();
  });
});
