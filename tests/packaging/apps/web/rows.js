// An import, and nothing of the default entry by name. `result` is read by the test.
import { createImport } from "tidegate/import";
import { resilientDataProvider } from "tidegate/react-admin";

const rows = [{ email: "ann@example.com" }];
globalThis.result = createImport({ rows, send: () => {} })
  .start()
  .then(({ imported }) => ({ imported, wrapped: typeof resilientDataProvider({}) }));
