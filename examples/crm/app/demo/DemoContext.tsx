import { createContext, type ReactNode, useCallback, useContext, useEffect, useMemo, useState } from "react";
import { useConnection } from "../ConnectionContext.tsx";
import { changeGateway, type GatewayChanges, type GatewayState, readGateway } from "./gateway.ts";

interface Demo {
  /** Null while nothing is known: before the first answer, or in front of a real server without a gateway. */
  gateway: GatewayState | null;
  /** Why the last change did not work. */
  problem: string | null;
  change(changes: GatewayChanges): Promise<void>;
  isOpen: boolean;
  setOpen(open: boolean): void;
}

const DemoContext = createContext<Demo | null>(null);

export function useDemo(): Demo {
  const demo = useContext(DemoContext);
  if (demo === null) throw new Error("useDemo needs a DemoProvider above it; see Layout.tsx.");
  return demo;
}

/** Watches the gateway, and lets the visitor change its mood. */
export function DemoProvider({ children }: { children: ReactNode }) {
  const url = useConnection().config.gatewayUrl;
  const [gateway, setGateway] = useState<GatewayState | null>(null);
  const [problem, setProblem] = useState<string | null>(null);
  const [isOpen, setOpen] = useState(false);

  useEffect(() => {
    if (url === null) return;
    let watching = true;
    const read = async () => {
      const state = await readGateway(url).catch(() => null);
      if (watching) setGateway(state);
    };
    void read();
    const timer = setInterval(read, readEveryMs);
    return () => {
      watching = false;
      clearInterval(timer);
    };
  }, [url]);

  const change = useCallback(
    async (changes: GatewayChanges) => {
      if (url === null) return;
      try {
        setGateway(await changeGateway(url, changes));
        setProblem(null);
      } catch (error) {
        setProblem(error instanceof Error ? error.message : String(error));
      }
    },
    [url],
  );

  const demo = useMemo(
    () => ({ gateway, problem, change, isOpen, setOpen }),
    [gateway, problem, change, isOpen],
  );
  return <DemoContext.Provider value={demo}>{children}</DemoContext.Provider>;
}

const readEveryMs = 1000;
