/**
 * The core of imports: a module of its own, so that a page that never imports does not load it. Compiled at its first use;
 * after a trap it is started anew, twice in the life of the page.
 */

import * as glue from "../../pkg/import.js";
import { compiled } from "./compiled.ts";

/** The number of the present instance; 0: there is none. What an earlier one gave out is void. */
let present = 0;

let instances = 0;

/** The number of an instance that works, compiled or started anew if need be; 0: there is none to be had. */
export function instance(): number {
  if (present === 0 && instances < MOST_INSTANCES) present = started() ? instances : 0;
  return present;
}

/** Whether what this instance gave out is still worth something. */
export function isPresent(instance: number): boolean {
  return instance !== 0 && instance === present;
}

/** The module threw what it never throws on purpose: its memory may be torn, and nobody asks it again. */
export function trapped(): void {
  present = 0;
}

function started(): boolean {
  instances++;
  try {
    if (instances === 1) glue.initSync({ module: compiled() });
    else glue.__wbg_reset_state();
    return true;
  } catch {
    // No WebAssembly, or a content policy that forbids it: it will not be there later either.
    instances = MOST_INSTANCES;
    return false;
  }
}

/** One that traps again and again would trap once more. */
const MOST_INSTANCES = 3;
