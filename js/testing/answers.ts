/** Whether it is what a caller of a server takes for a success: `fetch` and supabase-js do not throw what failed. */
export function isFine(value: unknown): boolean {
  const { ok, error } = (value ?? {}) as { ok?: unknown; error?: unknown };
  return ok !== false && !error;
}

/** A signal, of whatever realm, or none. */
export function isSignal(value: unknown): boolean {
  return (
    value === null || typeof (value as Partial<AbortSignal> | undefined)?.addEventListener === "function"
  );
}
