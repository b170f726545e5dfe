/**
 * `tidegate/csv`: files of people, as people have them, read row by row, and reports written that a spreadsheet can open
 * without running what is in them. Papaparse does the parsing and the writing; the application installs it.
 */

export { atomicContacts, crispyContacts } from "./csv/contacts.ts";
export type { CsvErrorCode } from "./csv/errors.ts";
export { CsvError } from "./csv/errors.ts";
export { readCsv } from "./csv/source.ts";
export type {
  CsvColumns,
  CsvHead,
  CsvInput,
  CsvItem,
  CsvOptions,
  CsvRow,
  CsvRowError,
  CsvSource,
} from "./csv/types.ts";
export type { CsvWriteOptions } from "./csv/write.ts";
export { toCsv } from "./csv/write.ts";
