/** `tidegate/import/node`: where imports in Node are remembered. */

import { fileStore as openFolder } from "./import/journal/file.ts";
import type { CheckpointStore } from "./import/public.ts";

/**
 * A store in a folder, for `checkpoint` of `createImport`, `findImports` and `forgetImport`. The folder is made if need be,
 * and is to be on a local disk; processes that share it see each other's imports.
 */
export function fileStore(folder: string): CheckpointStore {
  return openFolder(folder);
}

export type { CheckpointStore };
