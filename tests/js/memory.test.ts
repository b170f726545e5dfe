import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { expect, it } from "vitest";
import { numbersOf } from "../../js/config.ts";
import { RateLimitService } from "../../js/index.ts";
import * as glue from "../../pkg/core.js";

setFlagsFromString("--expose-gc");
const collect = runInNewContext("gc") as () => void;

/** Makes services that nobody holds afterwards, and calls each once. */
async function makeAndLeave(count: number): Promise<WeakRef<RateLimitService>[]> {
  const made: WeakRef<RateLimitService>[] = [];
  for (let i = 0; i < count; i++) {
    const service = new RateLimitService({ logLevel: "silent" });
    await service.executeWithRetry(() => i);
    made.push(new WeakRef(service));
  }
  return made;
}

it("a service that nobody holds is collected, and its place in the core is free again", async () => {
  const services = await makeAndLeave(200);
  for (let turn = 0; turn < 20 && services.some((service) => service.deref()); turn++) {
    await new Promise((resolve) => setImmediate(resolve));
    collect();
  }
  await new Promise((resolve) => setImmediate(resolve));
  expect(services.filter((service) => service.deref()).length).toBeLessThan(10);
  const handle = glue.create(numbersOf({}));
  glue.free(handle);
  expect(handle).toBeLessThan(100);
});

it("a service that nobody holds leaves nothing behind in the shell", async () => {
  const heapAfter = async (count: number): Promise<number> => {
    await makeAndLeave(count);
    for (let turn = 0; turn < 10; turn++) {
      collect();
      await new Promise((resolve) => setImmediate(resolve));
    }
    return process.memoryUsage().heapUsed;
  };
  await heapAfter(500);
  const before = await heapAfter(500);
  expect(((await heapAfter(4_000)) - before) / 4_000).toBeLessThan(100);
});

it("a service that was disposed of gives its place back once", async () => {
  const first = new RateLimitService();
  const mine = glue.create(numbersOf({}));
  first.dispose();
  first.dispose();
  const second = glue.create(numbersOf({}));
  expect(second).toBeLessThan(mine);
  expect(glue.create(numbersOf({}))).not.toBe(second);
});
