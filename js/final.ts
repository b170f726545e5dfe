/**
 * Failures that end a call although the configuration would have them retried: somebody further out repeats the request
 * anyway, or nobody may. They are counted as what they are.
 *
 * A symbol of the global registry, because the service may come from another copy of the package.
 */

const FINAL: unique symbol = Symbol.for("tidegate.final");

/** What a context may say beside the public fields. Asked about transient failures only: refusals are ours to repeat. */
export interface FinalFailures {
  [FINAL]?: (failure: unknown) => boolean;
}

/** What to spread into a context. */
export function finalFailures(isFinal: (failure: unknown) => boolean): FinalFailures {
  return { [FINAL]: isFinal };
}

/** Whether the call with this context ends with this failure. */
export function endsWith(context: FinalFailures, failure: unknown): boolean {
  return context[FINAL]?.(failure) === true;
}
