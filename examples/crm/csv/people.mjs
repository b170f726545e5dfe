import { seededRandom } from "../seeded.mjs";
import * as words from "./words.mjs";

/** @typedef {import("./columns.mjs").Row} Row */

/**
 * Rows of a contact file as people keep them: umlauts, emoji, quotes, line breaks, empty cells, and some people twice.
 *
 * The same options give the same rows. `corrected` changes titles, backgrounds and phone numbers of some people and
 * nothing else, so that it is the file that somebody uploads again after going through it.
 *
 * @param {{ rows: number; seed?: number; duplicates?: number; corrected?: boolean }} options duplicates: share of
 *   `rows` that repeat somebody further up, rounded to whole rows and at most all but one
 * @returns {{ rows: Row[]; duplicates: number[] }} duplicates: the indexes of those rows
 */
export function generatePeople({ rows: total, seed = 1, duplicates: share = 0.02, corrected = false }) {
  const random = seededRandom(seed);
  const repeated = total === 0 ? 0 : Math.min(total - 1, Math.round(total * share));
  const people = distinctPeople(total - repeated, random);
  if (corrected) correct(people, seededRandom(seed + 1));
  return withRepeats(people, repeated, random);
}

/** @param {number} count @param {() => number} random */
function distinctPeople(count, random) {
  const taken = new Set();
  return Array.from({ length: count }, (_, index) => {
    const person = inventPerson(index, random);
    // Without an address only name and company tell two people apart, so those must be unique.
    while (!isReachable(person) && taken.has(nameAndCompany(person))) {
      person.first_name = `${pick(words.firstNames, random)} ${pick(words.firstNames, random)}`;
      person.last_name = `${pick(words.lastNames, random)}-${pick(words.lastNames, random)}`;
    }
    taken.add(nameAndCompany(person));
    return person;
  });
}

/** @param {number} index @param {() => number} random @returns {Row} */
function inventPerson(index, random) {
  const firstName = pick(words.firstNames, random);
  const lastName = pick(words.lastNames, random);
  const company = pick(words.companies, random);
  const companyCell = random() < 0.1 ? company.toUpperCase() : company;
  const mailbox = `${ascii(firstName)}.${ascii(lastName)}${index + 1}`;
  const reachable = random();
  const firstSeen = new Date(Date.UTC(2022, 0, 1) + Math.floor(random() * 1000) * DAY_MS);
  const lastSeen = new Date(firstSeen.getTime() + Math.floor(random() * 400) * DAY_MS);
  return {
    first_name: firstName,
    last_name: lastName,
    gender: pick(["female", "male", "nonbinary", ""], random),
    title: pick(words.titles, random),
    background: pick(words.backgrounds, random),
    first_seen: maybe(0.9, firstSeen.toISOString(), random),
    last_seen: maybe(0.9, lastSeen.toISOString(), random),
    has_newsletter: pick(["TRUE", "FALSE", ""], random),
    status: pick(["cold", "warm", "hot", "in-contract", ""], random),
    tags: someOf(words.tags, random).join(", "),
    linkedin_url: maybe(0.3, `https://www.linkedin.com/in/${mailbox.replace(".", "-")}`, random),
    // People write the same company in more than one way; and without an address it must be there, to tell them apart.
    company: reachable < 0.05 ? "" : companyCell,
    email_work: reachable < 0.86 ? `${mailbox}@${domain(company)}` : "",
    email_home: reachable > 0.76 && reachable < 0.94 ? `${mailbox}@example.org` : "",
    email_other: reachable > 0.94 && reachable < 0.96 ? `${mailbox}@example.net` : "",
    phone_work: maybe(0.8, phone(random), random),
    phone_home: maybe(0.2, phone(random), random),
    phone_other: maybe(0.1, phone(random), random),
  };
}

/** Changes nothing by which somebody is known. @param {Row[]} people @param {() => number} random */
function correct(people, random) {
  for (const person of people) {
    if (random() < 0.3) person.title = pick(words.titles, random);
    if (random() < 0.2) person.background = `${person.background} Called back.`.trim();
    if (random() < 0.2) person.phone_work = phone(random);
  }
}

/** @param {Row[]} people @param {number} repeated @param {() => number} random */
function withRepeats(people, repeated, random) {
  /** @type {{ row: Row; copy: boolean }[]} */
  const lines = people.map((row) => ({ row, copy: false }));
  for (let copies = 0; copies < repeated; copies += 1) {
    const original = Math.floor(random() * lines.length);
    const place = original + 1 + Math.floor(random() * (lines.length - original));
    const { row } = /** @type {{ row: Row }} */ (lines[original]);
    lines.splice(place, 0, { row: retyped(row), copy: true });
  }
  return {
    rows: lines.map(({ row }) => row),
    duplicates: lines.flatMap(({ copy }, index) => (copy ? [index] : [])),
  };
}

/** The same person typed in again: other letter case, a stray space, another job title. @param {Row} row @returns {Row} */
function retyped(row) {
  return {
    ...row,
    first_name: ` ${row.first_name}`,
    title: "",
    email_work: row.email_work === undefined ? "" : row.email_work.toUpperCase(),
    email_home: row.email_home === undefined ? "" : row.email_home.toUpperCase(),
  };
}

/** @template T @param {readonly T[]} list @param {() => number} random @returns {T} */
function pick(list, random) {
  return /** @type {T} */ (list[Math.floor(random() * list.length)]);
}

/** Up to three. @param {readonly string[]} list @param {() => number} random */
function someOf(list, random) {
  const wanted = Math.floor(random() * 4);
  return [...new Set(Array.from({ length: wanted }, () => pick(list, random)))];
}

/** @param {number} share @param {string} cell @param {() => number} random */
function maybe(share, cell, random) {
  return random() < share ? cell : "";
}

/** Numbers reserved for fiction. @param {() => number} random */
function phone(random) {
  return `+1-555-01${String(Math.floor(random() * 100)).padStart(2, "0")}`;
}

/** @param {string} company */
function domain(company) {
  return `${ascii(company.split(/[,(]/)[0] ?? company)}.example`;
}

/** @param {string} text */
function ascii(text) {
  const letters = text
    .normalize("NFD")
    .toLowerCase()
    .replace(/[^a-z0-9]/g, "");
  return letters === "" ? "x" : letters;
}

/** @param {Row} person */
function isReachable({ email_work, email_home, email_other }) {
  return [email_work, email_home, email_other].some((email) => email !== "");
}

/** @param {Row} person */
function nameAndCompany({ first_name, last_name, company }) {
  return `${first_name}|${last_name}|${company}`.toLowerCase();
}

const DAY_MS = 86_400_000;
