import { afterEach, describe, expect, it, vi } from "vitest";
import { type CsvItem, readCsv } from "../../js/csv.ts";
import { streamOf, utf8 } from "./csv.support.ts";

afterEach(() => vi.useRealTimers());

const LINE =
  'anna.example@example.com,"Anna, the first",+49 30 1234567,"a longer text, which the parser hands out as a view"\n';
const HEADER = "mail,name,phone,notes\n";

/** A file of so many bytes in chunks of 64 kB, made while it is read. */
function* file(bytes: number) {
  const block = utf8(LINE.repeat(Math.floor(65_536 / LINE.length)));
  yield utf8(HEADER);
  for (let sent = 0; sent < bytes; sent += block.length) yield block;
}

describe("a long stream", () => {
  it("of 30 MB is read in bounded memory, and what is kept of it keeps nothing else alive", async () => {
    const collect = await collector();
    const { stream, seen } = streamOf(file(30_000_000));
    const kept: CsvItem[] = [];
    let count = 0;
    let most = 0;
    collect();
    const before = process.memoryUsage().heapUsed;
    for await (const item of readCsv(stream)) {
      if (count++ % 100 === 0) kept.push(item);
      if (count % 20_000 > 0) continue;
      collect();
      most = Math.max(most, process.memoryUsage().heapUsed - before);
    }
    expect(seen.pulled).toBeGreaterThan(450);
    expect(count * LINE.length).toBeGreaterThan(29_900_000);
    // 2,700 kept rows are less than 2 MB; as views they would keep all of the 30 MB.
    expect(most).toBeLessThan(8_000_000);
  }, 60_000);

  it("is pulled no further than somebody asks", async () => {
    const { stream, seen } = streamOf(file(30_000_000));
    const rows = readCsv(stream)[Symbol.asyncIterator]();
    for (let row = 0; row < 100; row++) await rows.next();
    expect(seen.pulled).toBeLessThan(6);
    await rows.return?.();
    expect(seen.cancelled).toBe(true);
  });

  it("lets others have their turn", async () => {
    let turns = 0;
    let going = true;
    const tick = () => {
      turns++;
      if (going) setImmediate(tick);
    };
    setImmediate(tick);
    const started = performance.now();
    let count = 0;
    for await (const _ of readCsv(HEADER + LINE.repeat(100_000))) count++;
    going = false;
    expect(count).toBe(100_000);
    expect(turns).toBeGreaterThan((performance.now() - started) / 50);
  }, 30_000);

  it("lets others have their turn without MessageChannel, and with a validation that takes its time", async () => {
    vi.stubGlobal("MessageChannel", undefined);
    let turns = 0;
    const timer = setInterval(() => turns++, 1);
    const validate = () => {
      for (const until = performance.now() + 1; performance.now() < until; );
      return undefined;
    };
    for await (const _ of readCsv(HEADER + LINE.repeat(100), { validate }));
    clearInterval(timer);
    expect(turns).toBeGreaterThan(3);
  });

  it("ends under fake timers, too", async () => {
    vi.useFakeTimers();
    let count = 0;
    for await (const _ of readCsv(HEADER + LINE.repeat(50_000))) count++;
    expect(count).toBe(50_000);
  });
});

describe("an abort", () => {
  it("ends the reading between two rows, with its reason, and lets go of the stream", async () => {
    const abort = new AbortController();
    const { stream, seen } = streamOf(file(1_000_000));
    let count = 0;
    const reading = (async () => {
      for await (const { index } of readCsv(stream, { signal: abort.signal })) {
        count++;
        if (index === 9) abort.abort(new Error("enough"));
      }
    })();
    await expect(reading).rejects.toThrow("enough");
    expect(count).toBe(10);
    expect(seen.cancelled).toBe(true);
  });

  it("ends a wait for a stream that says nothing", async () => {
    const abort = new AbortController();
    const { stream, seen } = streamOf<string>([]);
    let asked = () => {};
    const pulled = new Promise<void>((resolve) => {
      asked = resolve;
    });
    const silent = new ReadableStream<string>({
      pull: () => new Promise(asked),
      cancel() {
        seen.cancelled = true;
      },
    });
    const next = readCsv(silent, { signal: abort.signal })[Symbol.asyncIterator]().next();
    await pulled;
    abort.abort();
    await expect(next).rejects.toMatchObject({ name: "AbortError" });
    expect(seen.cancelled).toBe(true);
    expect(stream.locked).toBe(false);
  });

  it("ends a wait for a generator that says nothing", async () => {
    const abort = new AbortController();
    async function* silent(): AsyncGenerator<string> {
      await new Promise(() => {});
    }
    const next = readCsv(silent(), { signal: abort.signal })[Symbol.asyncIterator]().next();
    abort.abort(new Error("enough"));
    await expect(next).rejects.toThrow("enough");
  });

  it("from before reads nothing", async () => {
    const { stream, seen } = streamOf(file(1000));
    const source = readCsv(stream, { signal: AbortSignal.abort(new Error("no")) });
    await expect(source.head()).rejects.toThrow("no");
    expect(seen.pulled).toBe(0);
    await expect(readCsv("a\n1", { signal: AbortSignal.abort(new Error("no")) }).id()).rejects.toThrow("no");
  });
});

it("without crypto.subtle there is no id, unless somebody else makes the SHA-256", async () => {
  const { subtle } = crypto;
  const id = await readCsv("a\n1").id();
  vi.stubGlobal("crypto", {});
  expect(await readCsv("a\n1").id()).toBeNull();
  expect(await readCsv("a\n1", { digest: (bytes) => subtle.digest("SHA-256", bytes) }).id()).toBe(id);
});

async function collector(): Promise<() => void> {
  const { setFlagsFromString } = await import("node:v8");
  const { runInNewContext } = await import("node:vm");
  setFlagsFromString("--expose-gc");
  return runInNewContext("gc");
}
