import type { ImportPlan } from "tidegate/import";
import type { ContactFile, ContactItem } from "../../import/file.mjs";
import { readContacts } from "../../import/file.mjs";
import type { ContactJob } from "../../import/job.mjs";
import type { Way } from "../../import/sender.mjs";

/** What was understood of a file, before anything of it is sent. */
export interface CheckedFile {
  name: string;
  /** Bytes. */
  size: number;
  rows: ContactFile;
  /** Columns that contacts have, each with the file's own name for it. */
  columns: { name: string; header: string }[];
  /** Columns that no contact has. */
  ignored: string[];
  /** Columns that the file lacks. */
  missing: string[];
  /** What would become of the rows. */
  plan: ImportPlan;
  /** The first rows. */
  preview: ContactItem[];
  /** The first of the rows that cannot be imported. */
  faulty: ContactItem[];
  /** The import that made the plan, ready to be started. */
  job: ContactJob;
  way: Way;
}

/** @throws CsvError, ImportError: their messages say what to do about it. */
export async function checkFile(
  file: File,
  way: Way,
  jobFor: (name: string, rows: ContactFile, way: Way) => ContactJob,
): Promise<CheckedFile> {
  const rows = readContacts(await steady(file));
  const { headers, columns, unknown, missing } = await rows.head();
  const job = jobFor(file.name, rows, way);
  const plan = await job.plan();
  return {
    name: file.name,
    size: file.size,
    rows,
    columns: headers.flatMap((header, index) => {
      const name = columns[index];
      return name == null || unknown.includes(header) ? [] : [{ name, header }];
    }),
    ignored: [...unknown],
    missing: [...missing],
    plan,
    preview: await firstOf(rows, Math.min(rowsShown, plan.total)),
    faulty: await firstOf(rows, Math.min(rowsShown, plan.invalid), ({ errors }) => errors !== undefined),
    job,
    way,
  };
}

/** A copy, unless it is large: browsers refuse to read on in a file that somebody saves, moves or deletes meanwhile. */
async function steady(file: File): Promise<Blob> {
  return file.size > copiedBytes ? file : new Blob([await file.arrayBuffer()]);
}

async function firstOf(rows: ContactFile, most: number, wanted = (_: ContactItem) => true) {
  const items: ContactItem[] = [];
  if (most === 0) return items;
  for await (const item of rows) {
    if (wanted(item)) items.push(item);
    if (items.length === most) break;
  }
  return items;
}

const rowsShown = 5;
const copiedBytes = 50_000_000;
