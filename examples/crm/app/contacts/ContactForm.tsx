import { Box } from "@mui/material";
import {
  ArrayInput,
  AutocompleteArrayInput,
  AutocompleteInput,
  BooleanInput,
  Create,
  Edit,
  email,
  ReferenceArrayInput,
  ReferenceInput,
  required,
  SelectInput,
  SimpleForm,
  SimpleFormIterator,
  TextInput,
  useCreate,
} from "react-admin";
import { type Contact, channelTypes, statuses } from "./contact.ts";

/** Waits for the server instead of showing the change at once: under a rate limit the answer may well be "later". */
export function ContactEdit() {
  return (
    <Edit mutationMode="pessimistic" redirect="show" sx={page}>
      <ContactForm />
    </Edit>
  );
}

export function ContactCreate() {
  return (
    <Create redirect="show" sx={page}>
      <ContactForm />
    </Create>
  );
}

function ContactForm() {
  const [create] = useCreate();
  const createCompany = async (name?: string) =>
    name ? await create("companies", { data: { name } }, { returnPromise: true }) : undefined;

  return (
    <SimpleForm validate={needsNameOrAddress}>
      <Box
        sx={{
          display: "grid",
          gridTemplateColumns: { xs: "1fr", sm: "1fr 1fr" },
          columnGap: 2,
          width: "100%",
        }}
      >
        <TextInput source="first_name" />
        <TextInput source="last_name" />
        <TextInput source="title" />
        <ReferenceInput source="company_id" reference="companies" sort={{ field: "name", order: "ASC" }}>
          <AutocompleteInput
            label="Company"
            optionText="name"
            filterToQuery={(text) => ({ "name@ilike": text })}
            onCreate={createCompany}
          />
        </ReferenceInput>
        <SelectInput source="status" choices={statuses} />
        <ReferenceArrayInput source="tags" reference="tags" sort={{ field: "name", order: "ASC" }}>
          <AutocompleteArrayInput optionText="name" filterToQuery={(text) => ({ "name@ilike": text })} />
        </ReferenceArrayInput>
      </Box>
      <ArrayInput source="email_jsonb" label="E-mail addresses">
        <SimpleFormIterator inline disableReordering>
          <TextInput source="email" label="E-mail" validate={[required(), email()]} helperText={false} />
          <SelectInput source="type" choices={channelTypes} defaultValue="Work" helperText={false} />
        </SimpleFormIterator>
      </ArrayInput>
      <ArrayInput source="phone_jsonb" label="Phone numbers">
        <SimpleFormIterator inline disableReordering>
          <TextInput source="number" label="Number" validate={required()} helperText={false} />
          <SelectInput source="type" choices={channelTypes} defaultValue="Work" helperText={false} />
        </SimpleFormIterator>
      </ArrayInput>
      <TextInput source="linkedin_url" label="LinkedIn" />
      <TextInput source="background" multiline minRows={3} />
      <BooleanInput source="has_newsletter" label="Newsletter" />
    </SimpleForm>
  );
}

/** As the import has it: somebody without a name and without an address could never be found again. */
function needsNameOrAddress({ first_name, last_name, email_jsonb }: Partial<Contact>) {
  const isKnown = first_name || last_name || (email_jsonb ?? []).some((channel) => channel?.email);
  return isKnown ? {} : { last_name: "A contact needs a name or an e-mail address" };
}

const page = { maxWidth: 820, mx: "auto", width: "100%" };
