import SendIcon from "@mui/icons-material/Send";
import {
  Alert,
  AlertTitle,
  Box,
  Button,
  Chip,
  DialogActions,
  DialogContent,
  Table,
  TableBody,
  TableCell,
  TableContainer,
  TableHead,
  TableRow,
  Tooltip,
  Typography,
} from "@mui/material";
import { bytes, count, counted } from "../words.ts";
import type { CheckedFile } from "./checkFile.ts";
import { useImportFlow } from "./ImportFlow.tsx";
import { Tiles } from "./Tiles.tsx";

/** What was understood of the file, and what would become of its rows, before anything is sent. */
export function CheckPanel({ file }: { file: CheckedFile }) {
  const { start, another } = useImportFlow();
  const { total, fresh, duplicatesInFile, invalid, alreadyImported } = file.plan;
  return (
    <>
      <DialogContent sx={{ display: "flex", flexDirection: "column", gap: 2.5 }} data-testid="import-check">
        <Tiles
          prefix="check"
          tiles={[
            { id: "rows", label: "Rows found", value: total, tone: "default" },
            { id: "fresh", label: "To be sent", value: fresh, tone: "success" },
            { id: "duplicates", label: "Twice in the file", value: duplicatesInFile, tone: "info" },
            { id: "unreadable", label: "Cannot be used", value: invalid, tone: "error" },
            { id: "known", label: "Imported before", value: alreadyImported, tone: "info" },
          ]}
        />
        {alreadyImported > 0 && (
          <Alert severity="info" data-testid="check-resume">
            {counted(alreadyImported, "row")} of this file {alreadyImported === 1 ? "is" : "are"} done
            already. The import goes on with the rest.
          </Alert>
        )}
        <Faulty file={file} />
        <Columns file={file} />
        <Preview file={file} />
        <Typography variant="caption" color="text.secondary">
          {file.name}, {bytes(file.size)}. People who are in the CRM already are recognised and not added
          twice.
        </Typography>
      </DialogContent>
      <DialogActions disableSpacing sx={{ flexWrap: "wrap", gap: 1, px: 3, pb: 2.5 }}>
        <Button onClick={another} data-testid="import-back">
          Choose another file
        </Button>
        <Button
          variant="contained"
          startIcon={<SendIcon />}
          onClick={() => start(file)}
          autoFocus
          data-testid="import-start"
        >
          {fresh === 0 ? "Import again" : `Import ${counted(fresh, "contact")}`}
        </Button>
      </DialogActions>
    </>
  );
}

function Faulty({ file: { faulty, plan } }: { file: CheckedFile }) {
  if (plan.invalid === 0) return null;
  return (
    <Alert severity="warning" data-testid="check-unreadable">
      <AlertTitle>{counted(plan.invalid, "row")} cannot be imported</AlertTitle>
      <Box component="ul" sx={{ m: 0, pl: 2.5 }}>
        {faulty.map(({ line, errors }) => (
          <li key={line}>
            Line {count(line)}: {errors?.map(({ field, message }) => withField(field, message)).join(" ")}
          </li>
        ))}
      </Box>
      {plan.invalid > faulty.length && `and ${count(plan.invalid - faulty.length)} more`}
    </Alert>
  );
}

function withField(field: string | null, message: string): string {
  return field === null ? message : `${words(field)}: ${message}`;
}

function Columns({ file: { columns, ignored, missing } }: { file: CheckedFile }) {
  return (
    <Box>
      <Typography variant="h3" gutterBottom>
        Columns
      </Typography>
      <Box sx={{ display: "flex", flexWrap: "wrap", gap: 0.75 }} data-testid="check-columns">
        {columns.map(({ name, header }) => (
          <Chip key={name} size="small" color="success" variant="outlined" label={recognised(name, header)} />
        ))}
        {ignored.map((column) => (
          <Tooltip key={column} title="This CRM has no place for this column; it is left out">
            <Chip size="small" variant="outlined" label={`${column}: left out`} sx={{ opacity: 0.75 }} />
          </Tooltip>
        ))}
      </Box>
      {missing.length > 0 && (
        <Typography variant="caption" color="text.secondary">
          Not in this file: {missing.map(words).join(", ")}
        </Typography>
      )}
    </Box>
  );
}

function Preview({ file: { preview, columns } }: { file: CheckedFile }) {
  const shown = previewOrder.filter((field) => columns.some(({ name }) => name === field));
  return (
    <Box>
      <Typography variant="h3" gutterBottom>
        First rows
      </Typography>
      <TableContainer
        sx={{ border: 1, borderColor: "divider", borderRadius: 1 }}
        tabIndex={0}
        aria-label="First rows"
      >
        <Table size="small" data-testid="import-preview">
          <TableHead>
            <TableRow>
              {shown.map((field) => (
                <TableCell key={field} sx={{ whiteSpace: "nowrap" }}>
                  {words(field)}
                </TableCell>
              ))}
            </TableRow>
          </TableHead>
          <TableBody>
            {preview.map(({ row, index }) => (
              <TableRow key={index}>
                {shown.map((field) => (
                  <TableCell key={field} sx={{ whiteSpace: "nowrap", maxWidth: 220 }}>
                    <Typography variant="body2" noWrap>
                      {row[field]}
                    </Typography>
                  </TableCell>
                ))}
              </TableRow>
            ))}
          </TableBody>
        </Table>
      </TableContainer>
    </Box>
  );
}

/** With the file's own name for it, when that is neither ours nor the database's. */
function recognised(column: string, header: string): string {
  const name = words(column);
  return [column, name.toLowerCase()].includes(header.toLowerCase()) ? name : `${header} = ${name}`;
}

/** `email_work` is "E-mail, work". */
function words(field: string): string {
  const known = fieldWords[field];
  if (known !== undefined) return known;
  const text = field.replaceAll("_", " ");
  return text.charAt(0).toUpperCase() + text.slice(1);
}

const fieldWords: Record<string, string> = {
  has_newsletter: "Newsletter",
  linkedin_url: "LinkedIn",
  email_work: "E-mail, work",
  email_home: "E-mail, home",
  email_other: "E-mail, other",
  phone_work: "Phone, work",
  phone_home: "Phone, home",
  phone_other: "Phone, other",
};

/** Those by which people recognise each other come first. */
const previewOrder = [
  "first_name",
  "last_name",
  "company",
  "title",
  "email_work",
  "phone_work",
  "status",
  "tags",
  "email_home",
  "email_other",
  "phone_home",
  "phone_other",
  "first_seen",
  "last_seen",
  "has_newsletter",
  "linkedin_url",
  "gender",
  "background",
];
