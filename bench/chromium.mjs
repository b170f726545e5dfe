// Chromium for figures: as the tests start it, with a collector that can be called and a heap that tells its real size.
import { chromium } from "playwright-core";
import { CHROMIUM_ARGS } from "../tests/browser/harness.mjs";

export function launchForMeasuring(executablePath) {
  const args = [...CHROMIUM_ARGS, "--js-flags=--expose-gc", "--enable-precise-memory-info"];
  return chromium.launch({ executablePath, args });
}
