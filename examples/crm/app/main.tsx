import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { App } from "./App.tsx";
import { loadConfig } from "./config.ts";
import { connect } from "./connection.ts";

const root = createRoot(document.getElementById("root") as HTMLElement);

try {
  const connection = connect(await loadConfig());
  root.render(
    <StrictMode>
      <App connection={connection} />
    </StrictMode>,
  );
} catch (error) {
  root.render(<p className="start-problem">{error instanceof Error ? error.message : String(error)}</p>);
}
