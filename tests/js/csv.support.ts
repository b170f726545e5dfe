import { CsvError, type CsvInput, type CsvItem, type CsvOptions, readCsv } from "../../js/csv.ts";

export const latin1 = (text: string) => Uint8Array.from(text, (letter) => letter.charCodeAt(0));
export const utf8 = (text: string) => new TextEncoder().encode(text);

export function utf16(text: string, littleEndian: boolean): Uint8Array {
  const view = new DataView(new ArrayBuffer(2 * text.length + 2));
  `\uFEFF${text}`.split("").forEach((letter, index) => {
    view.setUint16(2 * index, letter.charCodeAt(0), littleEndian);
  });
  return new Uint8Array(view.buffer);
}

export async function itemsOf<Name extends string = string>(
  input: CsvInput,
  options?: CsvOptions<Name>,
): Promise<CsvItem<Name>[]> {
  const items: CsvItem<Name>[] = [];
  for await (const item of readCsv(input, options)) items.push(item);
  return items;
}

export async function rowsOf<Name extends string = string>(input: CsvInput, options?: CsvOptions<Name>) {
  return (await itemsOf(input, options)).map(({ row }) => row);
}

/** The error with which reading ends; `null` when it does not. */
export async function refusal(input: CsvInput, options?: CsvOptions): Promise<CsvError | null> {
  try {
    await itemsOf(input, options);
    return null;
  } catch (error) {
    if (error instanceof CsvError) return error;
    throw error;
  }
}

/** A stream that hands out its chunks one by one, when they are asked for, and says what became of it. */
export function streamOf<T extends Uint8Array | string>(chunks: Iterable<T>) {
  const seen = { pulled: 0, cancelled: false };
  const iterator = chunks[Symbol.iterator]();
  const stream = new ReadableStream<T>(
    {
      pull(controller) {
        const { done, value } = iterator.next();
        if (done) return controller.close();
        seen.pulled++;
        controller.enqueue(value);
      },
      cancel() {
        seen.cancelled = true;
      },
    },
    { highWaterMark: 0 },
  );
  return { stream, seen };
}
