/** Input of any kind as pieces of a bounded size, asked for one by one. */

import type { CsvInput } from "./types.ts";

export type Piece = Uint8Array | string;

/** Gives pieces until `null`. `close` lets go of what was opened; harmless twice. */
export interface Pieces {
  next(): Promise<Piece | null>;
  close(): Promise<void>;
}

/** Whether it can be read only once. */
export function isStream(
  input: CsvInput,
): input is Exclude<CsvInput, string | Blob | ArrayBuffer | Uint8Array> {
  return !(
    typeof input === "string" ||
    isBlob(input) ||
    input instanceof ArrayBuffer ||
    ArrayBuffer.isView(input)
  );
}

/** Whatever `signal` says, it is heard at once: a wait for the next piece ends with its reason. */
export function piecesOf(input: CsvInput, signal: AbortSignal | undefined): Pieces {
  const pieces = cut(opened(input));
  return {
    async next() {
      signal?.throwIfAborted();
      return signal ? await unlessAborted(pieces.next(), signal) : await pieces.next();
    },
    close: () => pieces.close(),
  };
}

function opened(input: CsvInput): Pieces {
  if (isStream(input)) return "getReader" in input ? fromReadable(input) : fromIterable(input);
  if (isBlob(input)) return fromBlob(input);
  return fromMemory(input instanceof ArrayBuffer ? new Uint8Array(input) : input);
}

/** Not `instanceof`: a Blob may come from a frame. */
function isBlob(input: CsvInput): input is Blob {
  return typeof input === "object" && "arrayBuffer" in input && "slice" in input;
}

/** By `slice`, not by `stream()`: nothing stays open between two pieces, so that nobody has to close it. */
function fromBlob(blob: Blob): Pieces {
  let position = 0;
  return {
    async next() {
      if (position >= blob.size) return null;
      const part = blob.slice(position, position + BLOB_BYTES);
      position += BLOB_BYTES;
      return new Uint8Array(await part.arrayBuffer());
    },
    close: async () => {},
  };
}

function fromMemory(content: Piece): Pieces {
  let rest: Piece | null = content;
  return {
    async next() {
      const piece = rest;
      rest = null;
      return piece;
    },
    close: async () => {},
  };
}

function fromReadable(stream: ReadableStream<Piece>): Pieces {
  const reader = stream.getReader();
  return {
    async next() {
      const { done, value } = await reader.read();
      return done ? null : value;
    },
    // The stream's own failure has been told by next().
    close: () => reader.cancel().catch(() => {}),
  };
}

function fromIterable(iterable: AsyncIterable<Piece>): Pieces {
  const iterator = iterable[Symbol.asyncIterator]();
  return {
    async next() {
      const { done, value } = await iterator.next();
      return done ? null : value;
    },
    // Not waited for: a generator answers return() only after the next() that nobody waits for any more.
    async close() {
      iterator.return?.()?.then(undefined, () => {});
    },
  };
}

/** A piece that is too long for one turn is handed out in parts; empty ones are left out. */
function cut(pieces: Pieces): Pieces {
  let rest: Piece = "";
  let position = 0;
  return {
    async next() {
      while (position >= rest.length) {
        const piece = await pieces.next();
        if (piece === null) return null;
        rest = piece;
        position = 0;
      }
      const start = position;
      position += PIECE_LENGTH;
      return typeof rest === "string" ? rest.slice(start, position) : rest.subarray(start, position);
    },
    close: () => pieces.close(),
  };
}

async function unlessAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  let abort = () => {};
  const aborted = new Promise<never>((_, reject) => {
    abort = () => reject(signal.reason);
    signal.addEventListener("abort", abort);
  });
  try {
    return await Promise.race([promise, aborted]);
  } finally {
    signal.removeEventListener("abort", abort);
  }
}

/** Each read of a file is a trip to another process; a megabyte makes them few. */
const BLOB_BYTES = 1_048_576;

/** Bytes or characters: a millisecond or two of parsing, so that the page can be let in between. */
export const PIECE_LENGTH = 65_536;
