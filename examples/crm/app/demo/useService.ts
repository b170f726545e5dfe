import { useEffect, useState } from "react";
import type { CircuitState, MetricsSnapshot } from "tidegate";
import { useConnection } from "../ConnectionContext.tsx";

interface ServiceNow {
  circuit: CircuitState;
  metrics: MetricsSnapshot;
}

/** The service's state and counters, read twice a second and whenever the circuit changes. */
export function useService(): ServiceNow {
  const { service } = useConnection();
  const [now, setNow] = useState(() => read());

  function read(): ServiceNow {
    return { circuit: service.getCircuitState(), metrics: service.getMetrics() };
  }

  // biome-ignore lint/correctness/useExhaustiveDependencies: read only closes over the service
  useEffect(() => {
    const update = () => setNow(read());
    const timer = setInterval(update, readEveryMs);
    const stopListening = service.on("circuit", update);
    return () => {
      clearInterval(timer);
      stopListening();
    };
  }, [service]);

  return now;
}

const readEveryMs = 500;
