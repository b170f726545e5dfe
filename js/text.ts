/**
 * The bytes that `asText` in js/build.mjs wrote as text: each as one printable character, or two where it is 90 or more.
 *
 * Every byte begins a character of its own, so gzip and brotli find in the text what repeats in the bytes, and make it no
 * larger than them. In base64 they find little of it: a quarter more to download.
 */
export function bytesOf(text: string): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(text.length);
  let length = 0;
  let base = 0;
  for (let i = 0; i < text.length; i++) {
    const digit = digitOf(text.charCodeAt(i));
    if (digit < DIGITS) {
      bytes[length++] = base + digit;
      base = 0;
    } else {
      base = (digit - DIGITS + 1) * DIGITS;
    }
  }
  return bytes.subarray(0, length);
}

/** From 35, `#`, on; `<` and the backslash, which would need care in a page and in a string, are 32 and 33 instead. */
function digitOf(character: number): number {
  if (character === 32) return 60 - 35;
  if (character === 33) return 92 - 35;
  return character - 35;
}

/** The two digits beyond say that the next one has 90 or 180 more. */
const DIGITS = 90;
