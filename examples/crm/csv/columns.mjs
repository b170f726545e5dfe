/** The columns of Atomic CRM's sample file, in its order. */
export const COLUMNS = /** @type {const} */ ([
  "first_name",
  "last_name",
  "gender",
  "title",
  "background",
  "first_seen",
  "last_seen",
  "has_newsletter",
  "status",
  "tags",
  "linkedin_url",
  "company",
  "email_work",
  "email_home",
  "email_other",
  "phone_work",
  "phone_home",
  "phone_other",
]);

/**
 * One data row of a file: cells by column name; columns that the file lacks are missing.
 *
 * @typedef {Record<string, string>} Row
 */
