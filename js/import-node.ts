/** `tidegate/import/node`: where imports in Node are remembered. */

export { fileStore } from "./import/journal/file.ts";
