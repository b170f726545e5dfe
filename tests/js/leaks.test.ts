import { beforeAll, describe, expect, it } from "vitest";
import { type CoreConfig, numbersOf } from "../../js/config.ts";
import { bytesOf } from "../../js/text.ts";
import { text } from "../../pkg/core.inline.js";
import * as glue from "../../pkg/core.js";

/** What is used and given back leaves nothing in the core: neither memory nor places for objects of JavaScript. */
describe("the core keeps nothing of", () => {
  let exports: ReturnType<typeof glue.initSync>;
  beforeAll(() => {
    exports = glue.initSync({ module: bytesOf(text) });
  });

  const held = (): number[] => [exports.memory.buffer.byteLength, exports.__wbindgen_externrefs.length];

  const everything: CoreConfig = {
    jitter: "full",
    retryTransient: "always",
    retryBudget: { ratio: 1 },
    maxRetries: 1,
  };
  const headers = new Headers({ "Retry-After": "3", RateLimit: '"a";r=0;t=3' });
  const error = { message: "Zu viele Anfragen – 429", status: "429", headers, cause: new Error("é") };

  it.each<[string, (service: number, round: number) => void]>([
    ["services with the default configuration", () => glue.free(glue.create(numbersOf({})))],
    ["services with another", () => glue.free(glue.create(numbersOf(everything)))],
    ["services without a budget", () => glue.free(glue.create(numbersOf({ retryBudget: null })))],
    ["configurations", (service, round) => glue.configure(service, numbersOf(round % 2 ? {} : everything))],
    ["errors", (service) => glue.judge(service, error, true, 0, undefined)],
    ["results and bodies", (service) => glue.judge(service, { error, data: [] }, false, 0, { error })],
    ["counters and states", (service) => [glue.counts(service, 0), glue.circuit(service, 0)]],
    [
      "waiters",
      (service, round) => {
        const permit = Math.abs(glue.begin(service, round, Number.NaN, 0, 1));
        const none = Number.NaN;
        const lane = [0, 0, 0, 0, 0, none, false] as const;
        glue.end(service, permit, round, round, 1, 0, true, 0, 9, none, true, round, none, 0, 1, 0, ...lane);
        while (glue.transition(service)) glue.until(service);
        glue.leave(service, round, glue.name(service), 0);
        glue.reset(service);
      },
    ],
  ])("%s", (_, use) => {
    const service = glue.create(numbersOf({}));
    const rounds = (count: number): void => {
      for (let round = 0; round < count; round++) use(service, round);
    };
    rounds(50);
    const before = held();
    rounds(5_000);
    expect(held()).toEqual(before);
    glue.free(service);
  });

  it("alarms", async () => {
    const some = (): Promise<unknown> => {
      const controller = new AbortController();
      const alarm = (ms: number, signal?: AbortSignal): Promise<void> =>
        new Promise((ring) => glue.sleep(ms, signal, ring));
      const ringing = Array.from({ length: 50 }, (_, i) =>
        i % 2 ? alarm(0) : alarm(60_000, controller.signal),
      );
      controller.abort();
      return Promise.all(ringing);
    };
    await some();
    const before = held();
    for (let round = 0; round < 50; round++) await some();
    expect(held()).toEqual(before);
  });
});
