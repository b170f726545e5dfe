/** The core of imports, compiled from the text as which it comes along. */

import { text } from "../../pkg/import.inline.js";
import { bytesOf } from "../api.ts";

/** @throws where there is no WebAssembly, or a content policy forbids it. */
export function compiled(): WebAssembly.Module {
  return new WebAssembly.Module(bytesOf(text));
}
