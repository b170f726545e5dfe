/** Why an import cannot begin. */

export type ImportErrorCode =
  /** There are no rows. */
  | "IMPORT_EMPTY"
  /** More rows than `maxRows`. */
  | "IMPORT_TOO_MANY_ROWS"
  /** The rows can be read only once, and were. */
  | "IMPORT_SOURCE_USED"
  /** Reading the rows failed; `cause` says how. */
  | "IMPORT_SOURCE_FAILED"
  /** It needs an import that has ended. */
  | "IMPORT_NOT_DONE";

/** An import that cannot begin. `message` is for people. */
export class ImportError extends Error {
  readonly code: ImportErrorCode;

  constructor(code: ImportErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.code = code;
  }

  /** A literal, because minifiers rename classes. */
  override get name(): string {
    return "ImportError";
  }
}
