// Chromium, as the other suites have it: playwright-core.
import { findChromium, INSTALL_CHROMIUM, launch } from "../../browser/harness.mjs";
import { openTab } from "../../browser/import/tab.mjs";

export const chromium = {
  name: "chromium",
  title: "Chromium",
  find: findChromium,
  install: INSTALL_CHROMIUM,

  async open(program) {
    const browser = await launch(program);
    const context = await browser.newContext();
    return {
      version: browser.version(),

      async openTab(address) {
        const page = await context.newPage();
        await page.goto(address);
        return {
          evaluate: (body, given) => page.evaluate(body, given),
          close: () => page.close({ runBeforeUnload: false }),
        };
      },

      /** Playwright makes every page believe that it is in front: this one is in a browser of its own. */
      openHidable: (address) => openTab(program, address),

      close: () => browser.close(),
    };
  },
};
