/**
 * Calls that `resilientDataProvider` lets through untouched: those of an import, which waits refusals out by itself. Two
 * that wait one inside the other would wait for the product of their patience, and count each refusal twice.
 *
 * The mark is in the parameters, and not looked for in the provider, because that is seldom the guarded one itself:
 * `withLifecycleCallbacks`, a spread and react-admin's own `useDataProvider` stand before it, and all hand parameters on. A
 * symbol, because it is spread with them and never serialised; of the global registry, because two copies of the package
 * may meet.
 */
const DIRECT: unique symbol = Symbol.for("tidegate.direct");

/** What is called of a data provider, with parameters that may be anything. */
type Call = (resource: string, params: object) => unknown;

/**
 * Calls a method of the provider past all guards of ours.
 *
 * @throws whatever the method throws; the promise rejects with whatever it rejects with.
 */
export async function callDirect(
  provider: object,
  method: string,
  resource: string,
  params: object,
): Promise<unknown> {
  // As a method of the provider: it may be of a class, or made up as it is asked for.
  return (provider as Record<string, Call>)[method]?.(resource, { ...params, [DIRECT]: true });
}

/** Whether a method was called with these arguments by `callDirect`. */
export function isDirect([, params]: unknown[]): boolean {
  return (params as { [DIRECT]?: unknown } | null | undefined)?.[DIRECT] === true;
}
