import { PIECE_LENGTH, piecesOf } from "./input.ts";
import type { CsvInput, CsvOptions } from "./types.ts";

/**
 * SHA-256 over the SHA-256 of each part of four megabytes: `crypto.subtle` takes only the whole of what it hashes, and a
 * hundred megabytes should not be in memory at once. `null` without a SHA-256.
 */
export async function digestOf(input: CsvInput, options: CsvOptions): Promise<string | null> {
  const digest = options.digest ?? subtle();
  if (digest === undefined) return null;
  const { headerRow = "auto", delimiter = "", encoding = "" } = options;
  const digests = [new TextEncoder().encode(JSON.stringify([headerRow, delimiter, encoding]))];
  for await (const part of partsOf(input, options.signal))
    digests.push(new Uint8Array(await digest(part.buffer)));
  return hexadecimal(new Uint8Array(await digest(concatenated(digests).buffer)));
}

function subtle(): CsvOptions["digest"] {
  const subtle = globalThis.crypto?.subtle;
  return subtle && ((bytes) => subtle.digest("SHA-256", bytes));
}

async function* partsOf(input: CsvInput, signal: AbortSignal | undefined) {
  const pieces = piecesOf(input, signal);
  const encoder = new TextEncoder();
  let waiting: Uint8Array[] = [];
  for (let piece = await pieces.next(); piece !== null; piece = await pieces.next()) {
    waiting.push(typeof piece === "string" ? encoder.encode(piece) : piece);
    if (waiting.length < PIECES_A_PART) continue;
    yield concatenated(waiting);
    waiting = [];
  }
  if (waiting.length > 0) yield concatenated(waiting);
}

function concatenated(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let position = 0;
  for (const part of parts) {
    whole.set(part, position);
    position += part.length;
  }
  return whole;
}

function hexadecimal(bytes: Uint8Array): string {
  return Array.from(bytes.subarray(0, 16), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

const PIECES_A_PART = 4_194_304 / PIECE_LENGTH;
