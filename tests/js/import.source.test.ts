import { Readable } from "node:stream";
import { afterEach, describe, expect, it, vi } from "vitest";
import { type CsvError, readCsv } from "../../js/csv.ts";
import { ImportError, type ImportErrorCode } from "../../js/import/errors.ts";
import type { ImportRows } from "../../js/import/public.ts";
import { type RowReader, sourceOf } from "../../js/import/source.ts";
import { RateLimitConfigError } from "../../js/index.ts";
import { utf8 } from "./csv.support.ts";
import { spyOnTurns } from "./turns.support.ts";

afterEach(() => vi.unstubAllGlobals());

const ROWS = [{ n: 0 }, { n: 1 }, { n: 2 }, { n: 3 }, { n: 4 }];
const CSV = "email\nada@example.com\nbea@example.com\n";

async function* generated<T>(rows: Iterable<T>) {
  for (const row of rows) yield row;
}

function streamed<T>(rows: Iterable<T>): ReadableStream<T> {
  return new ReadableStream({
    start(controller) {
      for (const row of rows) controller.enqueue(row);
      controller.close();
    },
  });
}

/** A stream without the iteration that Safari lacks. */
function streamOfSafari<T>(rows: Iterable<T>): ReadableStream<T> {
  const stream = streamed(rows);
  Object.defineProperty(stream, Symbol.asyncIterator, { value: undefined });
  return stream;
}

async function allOf<Row>(reader: RowReader<Row>, most = 2): Promise<Row[]> {
  const all: Row[] = [];
  for (let rows = await reader.read(most); rows.length > 0; rows = await reader.read(most)) {
    expect(rows.length).toBeLessThanOrEqual(most);
    all.push(...rows);
  }
  expect(await reader.read(most)).toEqual([]);
  return all;
}

async function errorOf(act: () => unknown): Promise<ImportError> {
  try {
    await act();
  } catch (error) {
    expect(error).toBeInstanceOf(ImportError);
    return error as ImportError;
  }
  return expect.unreachable("nothing was thrown");
}

async function codeOf(act: () => unknown): Promise<ImportErrorCode> {
  return (await errorOf(act)).code;
}

/** An iterator that says what became of it. */
function watched(step: (call: number) => IteratorResult<number> | Promise<IteratorResult<number>>) {
  const seen = { calls: 0, returned: 0 };
  const rows = {
    [Symbol.asyncIterator]: () => ({
      next: async () => step(seen.calls++),
      return: async () => {
        seen.returned++;
        return { done: true as const, value: undefined };
      },
    }),
  };
  return { rows, seen };
}

type Case = [what: string, isAgain: boolean, make: () => ImportRows<{ n: number }>];

const CASES: Case[] = [
  ["an array", true, () => [...ROWS]],
  ["a Set", true, () => new Set(ROWS)],
  ["an object that makes iterators", true, () => ({ [Symbol.iterator]: () => ROWS.values() })],
  ["an object that makes async ones", true, () => ({ [Symbol.asyncIterator]: () => generated(ROWS) })],
  ["a function with an array", true, () => () => ROWS],
  ["a generator function", true, () => () => ROWS.values()],
  ["an async generator function", true, () => () => generated(ROWS)],
  ["an async function with a stream", true, () => async () => streamed(ROWS)],
  ["an iterator", false, () => ROWS.values()],
  ["a generator", false, () => generated(ROWS)],
  ["a stream", false, () => streamed(ROWS)],
  ["a stream in Safari", false, () => streamOfSafari(ROWS)],
  ["a stream of Node", false, () => Readable.from(ROWS)],
  [
    "an object with one iterator",
    false,
    () => {
      const one = ROWS.values();
      return { [Symbol.iterator]: () => one };
    },
  ],
];

describe.each(CASES)("%s", (_, isAgain, make) => {
  it("gives all rows in their order, whatever it is asked for", async () => {
    for (const most of [1, 2, 5, 100]) {
      expect(await allOf(sourceOf(make()).open(), most)).toEqual(ROWS);
    }
  });

  it(isAgain ? "can be read again" : "can be read once, and says so", async () => {
    const source = sourceOf(make());
    expect(await source.isAgain()).toBe(isAgain);
    expect(await allOf(source.open())).toEqual(ROWS);
    if (isAgain) expect(await allOf(source.open())).toEqual(ROWS);
    else expect(await codeOf(() => source.open().read(1))).toBe("IMPORT_SOURCE_USED");
  });

  it("has no headers and no id of its own", async () => {
    const source = sourceOf(make());
    expect([await source.headers(), await source.id(), source.isCsv]).toEqual([null, null, false]);
  });

  it("has no rows after it was closed", async () => {
    const reader = sourceOf(make()).open();
    await reader.read(1);
    await reader.close();
    await reader.close();
    expect(await reader.read(1)).toEqual([]);
  });
});

describe("sourceOf", () => {
  it.each([
    ["a,b"],
    [5],
    [null],
    [undefined],
    [{}],
    [Promise.resolve([])],
    [new Blob([CSV])],
    [{ length: 1 }],
  ])("refuses %j", (rows) => {
    expect(() => sourceOf(rows as never)).toThrow(RateLimitConfigError);
    expect(() => sourceOf(rows as never)).toThrow(
      "rows: expected an array, an iterable, a stream or a function",
    );
  });

  it("counts the rows that an array has then", async () => {
    const rows = [...ROWS];
    const source = sourceOf(rows);
    rows.push({ n: 5 });
    expect(await allOf(source.open())).toEqual(ROWS);
    expect(source.rows).toBe(rows);
  });

  it("reads nothing before somebody asks", async () => {
    const open = vi.fn(() => ROWS);
    const { rows, seen } = watched(() => ({ done: true, value: undefined }));
    await sourceOf(rows).isAgain();
    sourceOf(rows).open();
    const source = sourceOf(open);
    await source.isAgain();
    source.open();
    expect([open.mock.calls.length, seen.calls]).toEqual([0, 0]);
  });

  it("knows what another import has begun", async () => {
    const rows = generated(ROWS);
    await sourceOf(rows).open().read(1);
    expect(await codeOf(() => sourceOf(rows).open())).toBe("IMPORT_SOURCE_USED");
    const stream = streamed(ROWS);
    stream.getReader();
    expect(await codeOf(() => sourceOf(stream).open())).toBe("IMPORT_SOURCE_USED");
    const same = () => rows;
    expect(await codeOf(() => sourceOf(same).open().read(1))).toBe("IMPORT_SOURCE_USED");
  });
});

describe("reading", () => {
  it("gives what is there, and does not wait for more", async () => {
    let push: (n: number) => void = () => {};
    const stream = new ReadableStream<number>({
      start(controller) {
        push = (n) => controller.enqueue(n);
      },
    });
    const reader = sourceOf(stream).open();
    const waiting = reader.read(100);
    push(0);
    push(1);
    const first = await waiting;
    const rows = first.length === 2 ? first : [...first, ...(await reader.read(100))];
    expect(rows).toEqual([0, 1]);
    const next = reader.read(100);
    push(2);
    expect(await next).toEqual([2]);
    await reader.close();
  });

  it("takes no more than it is asked for", async () => {
    const { rows, seen } = watched((call) => ({ done: false, value: call }));
    const reader = sourceOf(rows).open();
    expect(await reader.read(3)).toEqual([0, 1, 2]);
    expect(seen.calls).toBe(3);
    expect(await reader.read(1)).toEqual([3]);
    await reader.close();
    expect(seen).toEqual({ calls: 4, returned: 1 });
  });

  it.each([
    ["of an iterator", () => ({ [Symbol.iterator]: () => broken() })],
    ["of an async one", () => ({ [Symbol.asyncIterator]: () => brokenLater() })],
    ["of a stream", () => brokenStream()],
    ["of what a function gave", () => () => brokenLater()],
  ])("an error %s comes after the rows before it, again and again", async (_, make) => {
    const reader = sourceOf<number>(make()).open();
    const rows: number[] = [];
    const error = await errorOf(async () => {
      for (;;) rows.push(...(await reader.read(10)));
    });
    expect(rows).toEqual([1, 2]);
    expect(error.code).toBe("IMPORT_SOURCE_FAILED");
    expect(error.message).toBe("The rows could not be read: The disk is gone.");
    expect(error.cause).toEqual(new Error("The disk is gone."));
    expect(await errorOf(() => reader.read(10))).toBe(error);
    await reader.close();
  });

  it.each([
    [new Error("no"), "no"],
    ["no", "no"],
    [undefined, "no reason was given."],
    [Object.create(null), "no reason was given."],
    [Symbol("no"), "Symbol(no)"],
  ])("%s, thrown by the function that opens", async (thrown, words) => {
    const source = sourceOf(() => {
      throw thrown;
    });
    const error = await errorOf(() => source.open().read(1));
    expect([error.code, error.message]).toEqual([
      "IMPORT_SOURCE_FAILED",
      `The rows could not be read: ${words}`,
    ]);
    expect(error.cause).toBe(thrown);
  });

  it.each([[5], ["text"], [undefined], [{}]])("a function that gives %j has no rows", async (given) => {
    const error = await errorOf(() =>
      sourceOf((() => given) as never)
        .open()
        .read(1),
    );
    expect(error.message).toBe(
      "The rows could not be read: the function gave no array, no iterable and no stream.",
    );
  });

  it("an iterator that answers nonsense is an error", async () => {
    const rows = { [Symbol.asyncIterator]: () => ({ next: () => Promise.resolve(undefined) }) };
    expect(
      await codeOf(() =>
        sourceOf(rows as never)
          .open()
          .read(1),
      ),
    ).toBe("IMPORT_SOURCE_FAILED");
  });

  it("gives way to others, also where every row is there at once", async () => {
    const clock = { now: 0 };
    vi.stubGlobal("performance", { now: () => clock.now });
    const turns = spyOnTurns();
    const slow = function* () {
      for (let n = 0; n < 100; n++) {
        clock.now += 1;
        yield n;
      }
    };
    expect(await allOf(sourceOf(slow).open(), 1_000)).toHaveLength(100);
    expect(turns.count).toBeGreaterThanOrEqual(10);
    turns.count = 0;
    expect(await allOf(sourceOf(() => generated(slow())).open(), 1_000)).toHaveLength(100);
    expect(turns.count).toBeGreaterThanOrEqual(10);
  });
});

describe("closing", () => {
  it("does not wait for a row that nobody waits for any more", async () => {
    const { rows, seen } = watched(() => new Promise(() => {}));
    const reader = sourceOf(rows).open();
    void reader.read(1);
    await Promise.resolve();
    await reader.close();
    expect(seen.returned).toBe(1);
  });

  it("nor for a generator that hangs", async () => {
    const reader = sourceOf(async function* () {
      yield await new Promise<number>(() => {});
    }).open();
    void reader.read(1);
    await new Promise((resolve) => setImmediate(resolve));
    await reader.close();
    expect(await reader.read(1)).toEqual([]);
  });

  it("lets go of a stream that was opened and never read", async () => {
    const cancel = vi.fn();
    const reader = sourceOf(new ReadableStream({ cancel })).open();
    await reader.close();
    expect(cancel).toHaveBeenCalledOnce();
  });

  it("lets go of what a function is about to give", async () => {
    const cancel = vi.fn();
    let give: (rows: ReadableStream<number>) => void = () => {};
    const reader = sourceOf(
      () =>
        new Promise<ReadableStream<number>>((resolve) => {
          give = resolve;
        }),
    ).open();
    const reading = reader.read(1);
    await reader.close();
    give(new ReadableStream({ cancel }));
    expect(await reading).toEqual([]);
    expect(cancel).toHaveBeenCalledOnce();
  });

  it("never rejects, and leaves no rejection behind", async () => {
    const reject = vi.fn(async () => {
      throw new Error("I do not stop.");
    });
    const rows = {
      [Symbol.asyncIterator]: () => ({ next: async () => ({ done: false, value: 1 }), return: reject }),
    };
    const reader = sourceOf(rows).open();
    await reader.read(1);
    await reader.close();
    const busy = sourceOf({
      [Symbol.asyncIterator]: () => ({ next: () => new Promise<never>(() => {}), return: reject }),
    }).open();
    void busy.read(1);
    await Promise.resolve();
    await busy.close();
    expect(reject).toHaveBeenCalledTimes(2);
  });

  it("a generator that has ended is not told to stop", async () => {
    const { rows, seen } = watched(() => ({ done: true, value: undefined }));
    const reader = sourceOf(rows).open();
    expect(await reader.read(1)).toEqual([]);
    await reader.close();
    expect(seen).toEqual({ calls: 1, returned: 0 });
  });
});

describe("readCsv", () => {
  it("over a file: headers, an id, rows as often as one likes", async () => {
    const csv = readCsv(new Blob([CSV]));
    const source = sourceOf(csv);
    expect(source.isCsv).toBe(true);
    expect(source.rows).toBeNull();
    expect(await source.headers()).toEqual(["email"]);
    expect(await source.id()).toBe(await csv.id());
    expect(await source.isAgain()).toBe(true);
    for (let pass = 0; pass < 2; pass++) {
      const items = await allOf(source.open());
      expect(items.map(({ row }) => row.email)).toEqual(["ada@example.com", "bea@example.com"]);
    }
  });

  it("over a stream: once", async () => {
    const source = sourceOf(readCsv(streamed([utf8(CSV)])));
    expect(await source.isAgain()).toBe(false);
    expect(await source.headers()).toEqual(["email"]);
    expect(await allOf(source.open())).toHaveLength(2);
    expect(await codeOf(() => source.open().read(1))).toBe("IMPORT_SOURCE_USED");
  });

  it("says itself whether it can be read again, where it can: a stream may have an id", async () => {
    for (const isRepeatable of [false, true]) {
      const content = isRepeatable ? new Blob([CSV]) : streamed([utf8(CSV)]);
      expect(await sourceOf(readCsv(content, { id: "given" })).isAgain()).toBe(isRepeatable);
    }
  });

  it("out of a function: known when it was opened", async () => {
    const source = sourceOf(async () => readCsv(CSV));
    expect([source.isCsv, await source.headers()]).toEqual([false, null]);
    expect(await allOf(source.open())).toHaveLength(2);
    expect([source.isCsv, await source.headers()]).toEqual([true, ["email"]]);
  });

  it.each([
    ["", "EMPTY", "This file is empty."],
    ["email\n", "NO_ROWS", "This file has the names of columns but nothing under them."],
  ])("%j: the words are its own", async (text, code, message) => {
    const source = sourceOf(readCsv(text));
    const error = await errorOf(() => source.open().read(1));
    expect([error.code, error.message]).toEqual(["IMPORT_SOURCE_FAILED", message]);
    expect((error.cause as CsvError).code).toBe(code);
    if (code === "EMPTY") expect((await errorOf(() => source.headers())).message).toBe(message);
  });

  it("a file that is gone is an error of ours, wherever it is noticed", async () => {
    const blob = new Blob([CSV]);
    vi.spyOn(Blob.prototype, "arrayBuffer").mockRejectedValue(new DOMException("gone", "NotReadableError"));
    const source = sourceOf(readCsv(blob));
    for (const act of [() => source.id(), () => source.headers()]) {
      expect((await errorOf(act)).message).toBe("The rows could not be read: gone");
    }
  });

  it("other things with a head are none", async () => {
    const list = { head: () => ROWS[0], [Symbol.iterator]: () => ROWS.values() };
    const source = sourceOf(list);
    expect([source.isCsv, await source.headers(), await source.isAgain()]).toEqual([false, null, true]);
  });
});

function* broken() {
  yield* [1, 2];
  throw new Error("The disk is gone.");
}

async function* brokenLater() {
  yield* broken();
}

function brokenStream(): ReadableStream<number> {
  const rows = broken();
  return new ReadableStream(
    {
      pull(controller) {
        controller.enqueue(rows.next().value as number);
      },
    },
    { highWaterMark: 0 },
  );
}
