import UploadFileIcon from "@mui/icons-material/UploadFile";
import { Box, Button, type Theme, Typography, useMediaQuery } from "@mui/material";
import {
  CreateButton,
  DataTable,
  List,
  Pagination,
  SearchInput,
  SelectInput,
  SimpleList,
  TopToolbar,
} from "react-admin";
import { useImportFlow } from "../import/ImportFlow.tsx";
import { Logo } from "../layout/Logo.tsx";
import { type Contact, firstEmail, fullName, statuses } from "./contact.ts";
import { ContactAvatar, EmailField, NameField, StatusField, TagsField } from "./fields.tsx";

export function ContactList() {
  const isPhone = useMediaQuery<Theme>((theme) => theme.breakpoints.down("sm"));
  return (
    <List<Contact>
      title="Contacts"
      queryOptions={{ meta: withCompany }}
      filters={filters}
      actions={<Actions />}
      empty={<NoContacts />}
      sort={{ field: "last_name", order: "ASC" }}
      perPage={25}
      pagination={<Pagination rowsPerPageOptions={[10, 25, 50, 100]} />}
      sx={listLayout}
    >
      {isPhone ? <ContactCards /> : <ContactTable />}
    </List>
  );
}

/** `source` is also what PostgREST sorts by. */
const Column = DataTable.Col<Contact>;

function ContactTable() {
  return (
    <DataTable<Contact>
      rowClick="show"
      bulkActionButtons={false}
      data-testid="contacts"
      sx={{ "& .RaDataTable-rowCell": { py: 1 } }}
    >
      <Column source="last_name" label="Name">
        <NameField />
      </Column>
      <Column source="companies(name)" label="Company" render={(contact) => contact.companies?.name} />
      <Column source="email_jsonb->0->>email" label="E-mail">
        <EmailField />
      </Column>
      <Column source="status" label="Status">
        <StatusField />
      </Column>
      <Column source="tags" label="Tags" disableSort>
        <TagsField />
      </Column>
    </DataTable>
  );
}

function ContactCards() {
  return (
    <SimpleList<Contact>
      rowClick="show"
      leftIcon={(contact) => <ContactAvatar contact={contact} />}
      primaryText={(contact) => fullName(contact)}
      secondaryText={(contact) => [contact.companies?.name, firstEmail(contact)].filter(Boolean).join(" · ")}
      tertiaryText={() => <StatusField />}
      sx={{
        "& .MuiListItemText-root > * > div": {
          display: "flex",
          justifyContent: "space-between",
          fontWeight: 600,
        },
        "& .RaSimpleList-tertiary": { opacity: 1, fontWeight: 400 },
        "& .MuiListItemText-secondary": {
          overflow: "hidden",
          textOverflow: "ellipsis",
          whiteSpace: "nowrap",
        },
        "& .MuiListItemIcon-root": { minWidth: 52 },
      }}
    />
  );
}

function Actions() {
  return (
    <TopToolbar
      sx={{ alignItems: "center", gap: 1, bgcolor: "transparent !important", minHeight: "auto !important" }}
    >
      <CreateButton label="New contact" sx={aboveStatusBar} />
      <ImportButton variant="contained" />
    </TopToolbar>
  );
}

function ImportButton({ variant }: { variant: "contained" | "outlined" }) {
  const { open } = useImportFlow();
  return (
    <Button
      variant={variant}
      size="small"
      startIcon={<UploadFileIcon />}
      onClick={open}
      data-testid="import-button"
      sx={{ whiteSpace: "nowrap" }}
    >
      Import
    </Button>
  );
}

function NoContacts() {
  return (
    <Box sx={{ textAlign: "center", py: { xs: 8, sm: 14 }, px: 2 }}>
      <Logo size={72} />
      <Typography variant="h1" component="p" sx={{ mt: 2, mb: 1 }}>
        Nobody here yet
      </Typography>
      <Typography color="text.secondary" sx={{ mb: 3 }}>
        Bring your people from a CSV file, or add them one by one.
      </Typography>
      <Box sx={{ display: "flex", justifyContent: "center", alignItems: "center", gap: 1 }}>
        <ImportButton variant="contained" />
        <CreateButton label="New contact" sx={aboveStatusBar} />
      </Box>
    </Box>
  );
}

/** The company's name comes in the same request; one lookup less for each page under a rate limit. */
const withCompany = { embed: ["companies"] };

/** On a phone the button floats. */
const aboveStatusBar = { "&.RaCreateButton-floating": { bottom: 84 } };

/** On a phone the filters share a line and take no more than the screen. */
const listLayout = {
  "& .RaList-main": { minWidth: 0 },
  "& .RaList-actions": { bgcolor: "transparent" },
  "& .RaList-actions form": { minWidth: 0, flexWrap: { xs: "nowrap", sm: "wrap" } },
  "& .RaFilterForm-filterFormInput": { minWidth: 0 },
  "& .MuiTablePagination-toolbar": { flexWrap: "wrap" },
};

const filters = [
  <SearchInput key="q" source="q" alwaysOn placeholder="Name, title or e-mail" />,
  <SelectInput key="status" source="status" choices={statuses} alwaysOn emptyText="Any status" />,
];
