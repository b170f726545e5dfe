import { decoder } from "../pkg/decoder.js";

/**
 * The bytes that `asText` in js/rewrite.mjs wrote as text: each as one printable character, or two where it is 90 or more.
 *
 * Every byte begins a character of its own, so gzip and brotli find in the text what repeats in the bytes, and make it no
 * larger than them. In base64 they find little of it: a quarter more to download. The loop is a module of its own, js/text.wat.
 *
 * @throws where there is no WebAssembly, or a content policy forbids it.
 */
export function bytesOf(text: string): Uint8Array<ArrayBuffer> {
  const { memory, decode } = new WebAssembly.Instance(new WebAssembly.Module(Uint8Array.of(...decoder)))
    .exports as unknown as { memory: WebAssembly.Memory; decode(end: number): number };
  memory.grow(text.length >> 16);
  const { written } = new TextEncoder().encodeInto(text, new Uint8Array(memory.buffer));
  return new Uint8Array(memory.buffer, 0, decode(written));
}
