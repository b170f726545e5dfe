import { Avatar, Box, Chip, Typography } from "@mui/material";
import { ReferenceArrayField, useListContext, useRecordContext } from "react-admin";
import { type Contact, firstEmail, fullName, initials, statuses, type Tag } from "./contact.ts";

export function ContactAvatar({ contact, size = 36 }: { contact: Contact; size?: number }) {
  return (
    <Avatar
      aria-hidden
      sx={{ width: size, height: size, fontSize: size * 0.38, fontWeight: 600, ...avatarColours(contact.id) }}
    >
      {initials(contact)}
    </Avatar>
  );
}

export function NameField() {
  const contact = useRecordContext<Contact>();
  if (!contact) return null;
  return (
    <Box sx={{ display: "flex", alignItems: "center", gap: 1.5 }}>
      <ContactAvatar contact={contact} />
      <Box sx={{ minWidth: 0 }}>
        <Typography variant="body2" sx={{ fontWeight: 600, whiteSpace: "nowrap" }}>
          {fullName(contact)}
        </Typography>
        <Typography variant="caption" color="text.secondary" component="div" noWrap>
          {contact.title}
        </Typography>
      </Box>
    </Box>
  );
}

export function EmailField() {
  const contact = useRecordContext<Contact>();
  const email = contact && firstEmail(contact);
  if (email === undefined) return null;
  return (
    <Typography variant="body2" component="span">
      {email}
    </Typography>
  );
}

export function StatusField() {
  const contact = useRecordContext<Contact>();
  if (!contact?.status) return null;
  const status = statuses.find(({ id }) => id === contact.status);
  return (
    <Box
      component="span"
      sx={{
        display: "inline-flex",
        alignItems: "center",
        gap: 0.75,
        typography: "body2",
        whiteSpace: "nowrap",
      }}
    >
      <Box
        component="span"
        sx={{
          width: 10,
          height: 10,
          borderRadius: "50%",
          bgcolor: status?.color ?? "grey.400",
          flexShrink: 0,
        }}
      />
      {status?.name ?? contact.status}
    </Box>
  );
}

export function TagsField() {
  return (
    <ReferenceArrayField source="tags" reference="tags" sort={{ field: "name", order: "ASC" }}>
      <TagChips />
    </ReferenceArrayField>
  );
}

function TagChips() {
  const { data } = useListContext<Tag>();
  return (
    <Box sx={{ display: "flex", flexWrap: "wrap", gap: 0.5 }}>
      {data?.map((tag) => (
        <Chip key={tag.id} size="small" label={tag.name} sx={{ bgcolor: tag.color, color: "#14242c" }} />
      ))}
    </Box>
  );
}

/** The same person always has the same colour. */
function avatarColours(id: number): { bgcolor: string; color: string } {
  const hue = (id * 47) % 360;
  return { bgcolor: `hsl(${hue} 42% 88%)`, color: `hsl(${hue} 45% 28%)` };
}
