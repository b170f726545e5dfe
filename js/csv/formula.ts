/**
 * Cells that a spreadsheet would run.
 *
 * A cell that begins with = + - @, a tab, a carriage return, a line feed or the full-width form of one of the signs may be a
 * formula (OWASP, "CSV Injection"). An apostrophe in front makes it text. Two rules make this reversible:
 *
 * - what has apostrophes in front of such a sign already gets one more;
 * - reading takes off exactly one apostrophe where another apostrophe or such a sign follows it.
 *
 * Numbers and telephone numbers are left alone: what begins with + or - and has nothing else but digits and the punctuation
 * of such numbers holds no letter, so no function, no name and no cell that a formula could reach.
 */

/** What gets an apostrophe, for the `escapeFormulae` of papaparse. Its own pattern misses cells with line breaks in them. */
export const FORMULA =
  /^(?![-+][-\d ().,/%\u00a0\u202f]*$|[-+]\d+(?:[.,]\d+)?e[-+]?\d+$)'*[=+\-@\t\r\n＝＋－＠]/i;

/** The same without the exception for numbers. */
export const ANY_SIGN = /^'*[=+\-@\t\r\n＝＋－＠]/;

/** Takes the apostrophe off again. */
export function withoutApostrophe(cell: string): string {
  return cell.startsWith("'") && ANY_SIGN.test(cell) ? cell.slice(1) : cell;
}
