// StrictMode mounts twice while one develops: the first mount leaves at once, and must not take the second one along.
import { StrictMode, useEffect, useState } from "react";
import { createRoot } from "react-dom/client";
import { exercise } from "./exercise.js";

const api = new URLSearchParams(location.search).get("api");

function App() {
  const [found, setFound] = useState(null);
  useEffect(() => {
    globalThis.effects = (globalThis.effects ?? 0) + 1;
    const { signal, abort } = aborting();
    exercise(api, { signal }).then(setFound, (error) => {
      if (!signal.aborted) throw error;
    });
    return abort;
  }, []);
  return <pre>{found === null ? "…" : JSON.stringify(found)}</pre>;
}

function aborting() {
  const controller = new AbortController();
  return { signal: controller.signal, abort: () => controller.abort() };
}

createRoot(document.getElementById("root")).render(
  <StrictMode>
    <App />
  </StrictMode>,
);
