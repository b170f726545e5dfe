import type { ImportRow } from "tidegate/import";
import type { ContactItem } from "../../import/file.mjs";
import { count } from "../words.ts";

/** Whom a row of the file is about, as well as can be told. */
export function rowLabel({ row: item, key }: ImportRow<ContactItem>): string {
  if (item === undefined) return key;
  const { first_name, last_name, email_work, email_home, email_other, company } = item.row;
  return (
    [first_name, last_name].filter(Boolean).join(" ") ||
    email_work ||
    email_home ||
    email_other ||
    company ||
    "No name"
  );
}

/** Where it stands in the file: its line, or where that is not kept its place among the rows. */
export function placeOf({ row: item, index }: ImportRow<ContactItem>): string {
  return item === undefined ? `row ${count(index + 1)}` : count(item.line);
}
