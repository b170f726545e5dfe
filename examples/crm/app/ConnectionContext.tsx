import { createContext, useContext } from "react";
import type { Connection } from "./connection.ts";

export const ConnectionContext = createContext<Connection | null>(null);

export function useConnection(): Connection {
  const connection = useContext(ConnectionContext);
  if (connection === null) throw new Error("useConnection needs a ConnectionContext above it; see App.tsx.");
  return connection;
}
