/** Bytes to text, piece by piece, in an encoding that is found out on the way. */

import { CsvError } from "./errors.ts";
import type { Piece } from "./input.ts";

/**
 * UTF-16 is told by its byte order mark. Everything else is taken for UTF-8 until a byte is none. Up to there the file has
 * been plain ASCII when it really is Windows-1252, which reads the same in both, so that nothing has to be read again. Where
 * real UTF-8 has been seen before, it is UTF-8 with damage: the damaged characters become U+FFFD.
 */
export class Decoder {
  /** What the bytes turned out to be so far. */
  encoding = "utf-8";
  #decode: (bytes: Uint8Array, last: boolean) => string;
  #started = false;
  #sawUtf8 = false;
  /** The beginning of a character whose end is in the next piece. */
  #held = new Uint8Array();

  /** @throws CsvError BAD_OPTION for a label that the platform does not know */
  constructor(label?: string) {
    this.#decode = this.#detect;
    if (label !== undefined) this.#use(label);
  }

  /** Text passes; a byte order mark in front of everything is taken off. */
  text(piece: Piece): string {
    if (typeof piece === "string") return this.#withoutMark(piece);
    const bytes = this.#held.length > 0 ? joined(this.#held, piece) : piece;
    this.#held = new Uint8Array();
    if (!this.#started && bytes.length < 3) {
      this.#held = bytes.slice();
      return "";
    }
    return this.#first(bytes, false);
  }

  /** What was held back until the end. */
  end(): string {
    return this.#first(this.#held, true);
  }

  #first(bytes: Uint8Array, last: boolean): string {
    if (!this.#started && this.#decode === this.#detect) this.#readMark(bytes);
    return this.#withoutMark(this.#decode(bytes, last));
  }

  #readMark([a, b, c]: Uint8Array): void {
    if (a === 0xff && b === 0xfe) this.#use("utf-16le");
    else if (a === 0xfe && b === 0xff) this.#use("utf-16be");
    else if (a === 0xef && b === 0xbb && c === 0xbf) this.#use("utf-8");
  }

  #withoutMark(text: string): string {
    if (this.#started || text === "") return text;
    this.#started = true;
    return text.startsWith("\uFEFF") ? text.slice(1) : text;
  }

  #detect(bytes: Uint8Array, last: boolean): string {
    const end = last ? bytes.length : bytes.length - unfinished(bytes);
    this.#held = bytes.slice(end);
    const whole = bytes.subarray(0, end);
    try {
      const text = STRICT.decode(whole);
      this.#sawUtf8 ||= text.length < whole.length;
      return text;
    } catch {
      this.#held = new Uint8Array();
      this.#use(this.#sawUtf8 || isMostlyUtf8(whole) ? "utf-8" : "windows-1252");
      return this.#decode(bytes, last);
    }
  }

  #use(label: string): void {
    const decoder = decoderFor(label);
    this.encoding = decoder.encoding;
    const repair = decoder.encoding === "windows-1252" ? withWindowsSigns : (text: string) => text;
    this.#decode = (bytes, last) => repair(decoder.decode(bytes, { stream: !last }));
  }
}

function decoderFor(label: string): TextDecoder {
  try {
    return new TextDecoder(label, { ignoreBOM: true });
  } catch {
    throw new CsvError(
      "BAD_OPTION",
      `encoding: "${label}" is not known here; "windows-1252" is one that is.`,
    );
  }
}

/** How many bytes at the end may be the beginning of a character of UTF-8. */
function unfinished(bytes: Uint8Array): number {
  for (let back = 1; back <= Math.min(3, bytes.length); back++) {
    const byte = bytes[bytes.length - back] as number;
    if (byte < 0x80) return 0;
    if (byte >= 0xc0) return back < lengthFrom(byte) ? back : 0;
  }
  return 0;
}

function lengthFrom(lead: number): number {
  return lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
}

/** Umlauts of Windows-1252 are hardly ever UTF-8 by chance, so that the majority tells. */
function isMostlyUtf8(bytes: Uint8Array): boolean {
  const text = LENIENT.decode(bytes);
  const damaged = text.split("\uFFFD").length - 1;
  // biome-ignore lint/suspicious/noControlCharactersInRegex: ASCII is meant, all of it.
  const foreign = text.replace(/[\x00-\x7f]+/g, "").length - damaged;
  return foreign > damaged;
}

/** Node 20 takes Windows-1252 for Latin-1, which has control characters where the euro and the curly quotes are. */
function withWindowsSigns(text: string): string {
  return text.replace(/[\x80-\x9f]/g, (control) => WINDOWS_1252[control.charCodeAt(0) - 0x80] ?? control);
}

function joined(a: Uint8Array, b: Uint8Array): Uint8Array<ArrayBuffer> {
  const both = new Uint8Array(a.length + b.length);
  both.set(a);
  both.set(b, a.length);
  return both;
}

const STRICT = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
const LENIENT = new TextDecoder("utf-8", { ignoreBOM: true });

/** Bytes 0x80 to 0x9f; five of them mean nothing. */
const WINDOWS_1252 = "€\x81‚ƒ„…†‡ˆ‰Š‹Œ\x8dŽ\x8f\x90‘’“”•–—˜™š›œ\x9džŸ";
