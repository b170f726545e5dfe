import type { RaRecord } from "react-admin";

/** A row of the contacts table, as Atomic CRM has it; `companies` comes with it when asked for. */
export interface Contact extends RaRecord<number> {
  first_name: string | null;
  last_name: string | null;
  gender: string | null;
  title: string | null;
  background: string | null;
  first_seen: string | null;
  last_seen: string | null;
  has_newsletter: boolean | null;
  status: string | null;
  tags: number[] | null;
  company_id: number | null;
  linkedin_url: string | null;
  email_jsonb: { email: string; type: ChannelType }[] | null;
  phone_jsonb: { number: string; type: ChannelType }[] | null;
  companies?: { name: string } | null;
}

export interface Tag extends RaRecord<number> {
  name: string;
  color: string;
}

export type ChannelType = "Work" | "Home" | "Other";

export const channelTypes = [
  { id: "Work", name: "Work" },
  { id: "Home", name: "Home" },
  { id: "Other", name: "Other" },
];

export const statuses = [
  { id: "cold", name: "Cold", color: "#7dbde8" },
  { id: "warm", name: "Warm", color: "#e8cb7d" },
  { id: "hot", name: "Hot", color: "#e88b7d" },
  { id: "in-contract", name: "In contract", color: "#7fc792" },
];

export function fullName(contact: Contact): string {
  const name = [contact.first_name, contact.last_name].filter(Boolean).join(" ");
  return name === "" ? "No name" : name;
}

export function firstEmail(contact: Contact): string | undefined {
  return contact.email_jsonb?.[0]?.email;
}

/** At most two letters; emoji and combined characters stay whole. */
export function initials(contact: Contact): string {
  return [contact.first_name, contact.last_name]
    .map((name) => (name ? firstCharacter(name.trim()) : ""))
    .join("")
    .toLocaleUpperCase();
}

function firstCharacter(text: string): string {
  const [first] = new Intl.Segmenter().segment(text);
  return first?.segment ?? "";
}
