import { useEffect, useState } from "react";

/** The value, or for some time after it became null the one before, so that nothing flickers at every short wait. */
export function useLingering<T>(value: T | null, forMs: number): T | null {
  const [last, setLast] = useState(value);
  useEffect(() => {
    if (value !== null) {
      setLast(value);
      return;
    }
    const timer = setTimeout(() => setLast(null), forMs);
    return () => clearTimeout(timer);
  }, [value, forMs]);
  return value ?? last;
}
