import { COLUMNS } from "../csv/columns.mjs";

/**
 * @typedef {import("../csv/columns.mjs").Row} Row
 *
 * @typedef {object} Contact Atomic CRM's contact as it is created
 * @property {string | null} first_name
 * @property {string | null} last_name
 * @property {string | null} gender
 * @property {string | null} title
 * @property {string | null} background
 * @property {string} first_seen ISO 8601
 * @property {string} last_seen ISO 8601
 * @property {boolean} has_newsletter
 * @property {string | null} status
 * @property {number[]} tags
 * @property {number | null} company_id
 * @property {string | null} linkedin_url
 * @property {{ email: string; type: "Work" | "Home" | "Other" }[]} email_jsonb
 * @property {{ number: string; type: "Work" | "Home" | "Other" }[]} phone_jsonb
 */

/** A row that no contact can be made of; nothing has been sent. */
export class RowError extends Error {
  /** @param {string} message @param {string | null} [field] the column that it is about; null: the row as a whole */
  constructor(message, field = null) {
    super(message);
    this.name = "RowError";
    this.field = field;
  }
}

/**
 * A row as a contact, with the ids of its company and tags still to come.
 *
 * @param {Row} row missing columns count as empty
 * @param {Date} now for people who were never seen before
 * @returns {Contact}
 * @throws {RowError} when it has neither a name nor an address, or a date that is none
 */
export function toContact(row, now) {
  const emails = byType((type) => cell(row, `email_${type}`));
  if (!cell(row, "first_name") && !cell(row, "last_name") && emails.length === 0) {
    throw new RowError("This row has neither a name nor an e-mail address.");
  }
  return {
    first_name: cell(row, "first_name"),
    last_name: cell(row, "last_name"),
    gender: cell(row, "gender"),
    title: cell(row, "title"),
    background: cell(row, "background"),
    first_seen: date(row, "first_seen", now),
    last_seen: date(row, "last_seen", now),
    has_newsletter: /^(1|true|t|yes|y|x)$/i.test(cell(row, "has_newsletter") ?? ""),
    status: cell(row, "status"),
    tags: [],
    company_id: null,
    linkedin_url: cell(row, "linkedin_url"),
    email_jsonb: emails.map(({ type, value }) => ({ email: value, type })),
    phone_jsonb: byType((type) => cell(row, `phone_${type}`)).map(({ type, value }) => ({
      number: value,
      type,
    })),
  };
}

/** The tags that a row names, each once whatever its letter case. @param {Row} row */
export function tagsOf(row) {
  const names = (row.tags ?? "").split(",").map((name) => name.trim());
  return names.filter(
    (name, index) => name !== "" && names.findIndex((other) => fold(other) === fold(name)) === index,
  );
}

/** @param {Row} row @returns {string | null} */
export function companyOf(row) {
  return cell(row, "company");
}

/**
 * What makes a row the same person as another row, now or in a later file.
 *
 * The first address (work, home, other); without one the LinkedIn page; without that name and company together;
 * without those everything that the row says. So a corrected title or phone number finds its person, and a corrected
 * address does not.
 *
 * @param {Row} row
 * @returns {string} readable, such as `email:anna@example.com`
 */
export function keyOf(row) {
  const email = cell(row, "email_work") ?? cell(row, "email_home") ?? cell(row, "email_other");
  if (email !== null) return `email:${fold(email)}`;
  const page = cell(row, "linkedin_url");
  if (page !== null)
    return `linkedin:${fold(page)
      .replace(/^https?:\/\/(www\.)?/, "")
      .replace(/\/$/, "")}`;
  const name = fold(`${row.first_name ?? ""} ${row.last_name ?? ""}`);
  const company = cell(row, "company");
  if (name !== "" && company !== null) return `person:${JSON.stringify([name, fold(company)])}`;
  return `row:${JSON.stringify(COLUMNS.map((column) => fold(row[column] ?? "")))}`;
}

/**
 * Names that people would call the same: letter case, spaces and Unicode's two ways to write an umlaut do not count.
 *
 * @param {string} text
 */
export function fold(text) {
  // Upper case first: it makes one of "ß" and "SS".
  return text.normalize("NFC").trim().replace(/\s+/g, " ").toUpperCase().toLowerCase();
}

/** @param {Row} row @param {string} column @returns {string | null} null when nothing is in it */
function cell(row, column) {
  const text = (row[column] ?? "").normalize("NFC").trim();
  return text === "" ? null : text;
}

/** @param {Row} row @param {string} column @param {Date} now */
function date(row, column, now) {
  const text = cell(row, column);
  if (text === null) return now.toISOString();
  // Date.parse alone takes "foo 1" for a day in 2001.
  const parsed = /^\d/.test(text) ? new Date(text) : new Date(Number.NaN);
  if (Number.isNaN(parsed.getTime())) throw new RowError(`"${text}" is not a date (use 2025-12-31).`, column);
  return parsed.toISOString();
}

/** @param {(type: "work" | "home" | "other") => string | null} read */
function byType(read) {
  return TYPES.flatMap(({ name, type }) => {
    const value = read(name);
    return value === null ? [] : [{ type, value }];
  });
}

/** @type {{ name: "work" | "home" | "other"; type: "Work" | "Home" | "Other" }[]} */
const TYPES = [
  { name: "work", type: "Work" },
  { name: "home", type: "Home" },
  { name: "other", type: "Other" },
];
