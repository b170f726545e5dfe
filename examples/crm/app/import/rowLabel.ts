/** Whom a row of the file is about, as well as can be told. */
export function rowLabel(row: Record<string, unknown>): string {
  const name = [row.first_name, row.last_name].filter(Boolean).join(" ");
  return name || String(row.email_work || row.email_home || row.email_other || row.company || "No name");
}
