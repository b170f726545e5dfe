import ArrowBackIcon from "@mui/icons-material/ArrowBack";
import { Box, Card, CardContent, Divider, Link, Typography } from "@mui/material";
import { Children, type ReactNode } from "react";
import {
  DateField,
  DeleteButton,
  EditButton,
  ListButton,
  Show,
  TopToolbar,
  useRecordContext,
} from "react-admin";
import { type Contact, fullName } from "./contact.ts";
import { ContactAvatar, StatusField, TagsField } from "./fields.tsx";

export function ContactShow() {
  return (
    <Show
      queryOptions={{ meta: { embed: ["companies"] } }}
      title={<Name />}
      actions={
        <TopToolbar>
          <ListButton label="Contacts" icon={<ArrowBackIcon />} sx={{ mr: "auto" }} />
          <EditButton />
          <DeleteButton />
        </TopToolbar>
      }
      component="div"
      sx={{ maxWidth: 820, mx: "auto", width: "100%" }}
    >
      <ContactCard />
    </Show>
  );
}

function Name() {
  const contact = useRecordContext<Contact>();
  return contact ? fullName(contact) : null;
}

function ContactCard() {
  const contact = useRecordContext<Contact>();
  if (!contact) return null;
  return (
    <Card>
      <CardContent sx={{ p: { xs: 2, sm: 3 } }}>
        <Box sx={{ display: "flex", alignItems: "center", gap: 2 }}>
          <ContactAvatar contact={contact} size={64} />
          <Box sx={{ minWidth: 0, flexGrow: 1 }}>
            <Typography variant="h1">{fullName(contact)}</Typography>
            <Typography color="text.secondary">
              {[contact.title, contact.companies?.name].filter(Boolean).join(" at ")}
            </Typography>
          </Box>
          <StatusField />
        </Box>
        <Divider sx={{ my: 3 }} />
        <Box
          component="dl"
          sx={{
            display: "grid",
            gridTemplateColumns: { xs: "1fr", sm: "1fr 1fr" },
            columnGap: 4,
            rowGap: 2.5,
            m: 0,
          }}
        >
          <Fact label="E-mail">
            {contact.email_jsonb?.map(({ email, type }) => (
              <div key={`${type} ${email}`}>
                <Link href={`mailto:${email}`}>{email}</Link> <Kind>{type}</Kind>
              </div>
            ))}
          </Fact>
          <Fact label="Phone">
            {contact.phone_jsonb?.map(({ number, type }) => (
              <div key={`${type} ${number}`}>
                <Link href={`tel:${number}`}>{number}</Link> <Kind>{type}</Kind>
              </div>
            ))}
          </Fact>
          <Fact label="LinkedIn">
            {isWebAddress(contact.linkedin_url) ? (
              <Link href={contact.linkedin_url} target="_blank" rel="noreferrer">
                {contact.linkedin_url}
              </Link>
            ) : (
              contact.linkedin_url
            )}
          </Fact>
          <Fact label="Tags">
            <TagsField />
          </Fact>
          <Fact label="First seen">
            {contact.first_seen && <DateField source="first_seen" options={day} />}
          </Fact>
          <Fact label="Last seen">{contact.last_seen && <DateField source="last_seen" options={day} />}</Fact>
          <Fact label="Newsletter">{contact.has_newsletter ? "Yes" : "No"}</Fact>
        </Box>
        {contact.background && (
          <>
            <Divider sx={{ my: 3 }} />
            <Typography sx={{ whiteSpace: "pre-line" }}>{contact.background}</Typography>
          </>
        )}
      </CardContent>
    </Card>
  );
}

function Fact({ label, children }: { label: string; children: ReactNode }) {
  const isEmpty =
    children === null || children === undefined || children === "" || Children.count(children) === 0;
  return (
    <Box sx={{ minWidth: 0, overflowWrap: "anywhere" }}>
      <Typography component="dt" variant="caption" color="text.secondary">
        {label}
      </Typography>
      <Box component="dd" sx={{ m: 0, typography: "body2" }}>
        {isEmpty ? "–" : children}
      </Box>
    </Box>
  );
}

function Kind({ children }: { children: ReactNode }) {
  return (
    <Typography component="span" variant="caption" color="text.secondary">
      {children}
    </Typography>
  );
}

const day = { dateStyle: "medium" } as const;

/** A link out of a CSV may be anything; `javascript:` must not become one that can be clicked. */
function isWebAddress(text: string | null): text is string {
  return text !== null && /^https?:\/\//i.test(text);
}
