/**
 * The columns of two CRMs' contact files, and what other programs call them: Google Contacts, Outlook, LinkedIn, HubSpot,
 * Salesforce, and people in English, German, French and Spanish. Extend one by spreading it:
 * `{ ...atomicContacts, status: [...atomicContacts.status, "Stage"] }`.
 */

const person = {
  first_name: ["First name", "Given name", "Forename", "Vorname", "Prénom", "Nombre"],
  last_name: [
    "Last name",
    "Surname",
    "Family name",
    "Nachname",
    "Familienname",
    "Nom",
    "Nom de famille",
    "Apellido",
    "Apellidos",
  ],
  gender: ["Sex", "Geschlecht", "Anrede", "Sexe", "Género"],
  title: [
    "Job title",
    "Position",
    "Organization title",
    "Stelle",
    "Funktion",
    "Poste",
    "Fonction",
    "Cargo",
    "Puesto",
  ],
  first_seen: ["First contact", "Created", "Created at", "Create date"],
  last_seen: ["Last contact", "Last activity", "Last activity date", "Updated", "Updated at"],
  tags: ["Tag", "Labels", "Categories", "Kategorien", "Étiquettes", "Etiquetas"],
  linkedin_url: ["LinkedIn", "LinkedIn profile", "LinkedIn profile URL", "LinkedIn page", "URL"],
  email_work: [
    "E-mail",
    "Work e-mail",
    "Business e-mail",
    "E-mail address",
    "E-mail 1 value",
    "Mail",
    "E-Mail-Adresse",
    "E-Mail geschäftlich",
    "Courriel",
    "Adresse e-mail",
    "Correo",
    "Correo electrónico",
  ],
  email_home: [
    "Home e-mail",
    "Personal e-mail",
    "Private e-mail",
    "E-mail 2 address",
    "E-mail 2 value",
    "E-Mail privat",
  ],
  email_other: ["Other e-mail", "E-mail 3 address", "E-mail 3 value", "Secondary e-mail"],
  phone_work: [
    "Phone",
    "Phone number",
    "Work phone",
    "Business phone",
    "Office phone",
    "Phone 1 value",
    "Telephone",
    "Telefon",
    "Telefon geschäftlich",
    "Téléphone",
    "Teléfono",
  ],
  phone_home: ["Home phone", "Personal phone", "Phone 2 value", "Telefon privat"],
  phone_other: [
    "Other phone",
    "Mobile",
    "Mobile phone",
    "Cell",
    "Cell phone",
    "Phone 3 value",
    "Handy",
    "Mobil",
    "Portable",
    "Móvil",
  ],
} as const;

const organization = [
  "Organization",
  "Organisation",
  "Company",
  "Company name",
  "Account",
  "Account name",
  "Employer",
  "Firma",
  "Unternehmen",
  "Entreprise",
  "Société",
  "Empresa",
] as const;

/** The columns of Atomic CRM's sample file, and `avatar`. */
export const atomicContacts = {
  ...person,
  background: ["Notes", "Note", "Description", "Bio", "Notizen", "Bemerkungen", "Remarques", "Notas"],
  has_newsletter: ["Newsletter", "Subscribed", "Opt-in", "E-mail opt-in"],
  status: ["Lead status", "Contact status"],
  company: ["Organization name", ...organization],
  avatar: ["Photo", "Picture", "Image"],
} as const;

/** The columns of Crispy CRM's sample file. */
export const crispyContacts = {
  ...person,
  organization_name: organization,
  organization_role: ["Role", "Contact role", "Decision role", "Rolle", "Rôle", "Rol"],
} as const;
