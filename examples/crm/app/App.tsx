import { Admin, Resource } from "react-admin";
import { ConnectionContext } from "./ConnectionContext.tsx";
import type { Connection } from "./connection.ts";
import { ContactCreate, ContactEdit } from "./contacts/ContactForm.tsx";
import { ContactList } from "./contacts/ContactList.tsx";
import { ContactShow } from "./contacts/ContactShow.tsx";
import { type Contact, fullName } from "./contacts/contact.ts";
import { Layout } from "./layout/Layout.tsx";
import { theme } from "./theme.ts";

export function App({ connection }: { connection: Connection }) {
  return (
    <ConnectionContext.Provider value={connection}>
      <Admin
        title="Harbour CRM"
        dataProvider={connection.dataProvider}
        queryClient={connection.queryClient}
        layout={Layout}
        theme={theme}
        disableTelemetry
      >
        <Resource
          name="contacts"
          list={ContactList}
          show={ContactShow}
          edit={ContactEdit}
          create={ContactCreate}
          recordRepresentation={(contact: Contact) => fullName(contact)}
        />
        <Resource name="companies" recordRepresentation="name" />
        <Resource name="tags" recordRepresentation="name" />
      </Admin>
    </ConnectionContext.Provider>
  );
}
