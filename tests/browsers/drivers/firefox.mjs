// Firefox over WebDriver BiDi, which it speaks by itself: no driver is needed.
import { existsSync } from "node:fs";

export const firefox = {
  name: "firefox",
  title: "Firefox",
  install: process.platform === "darwin" ? "brew install --cask firefox" : "apt-get install firefox-esr",

  /** The browser's program: `FIREFOX` in the environment, or where systems put it; null when there is none. */
  find() {
    const places = [
      process.env.FIREFOX,
      "/usr/bin/firefox-esr",
      "/usr/bin/firefox",
      "/Applications/Firefox.app/Contents/MacOS/firefox",
      "C:\\Program Files\\Mozilla Firefox\\firefox.exe",
    ];
    return places.find((place) => place && existsSync(place)) ?? null;
  },

  async open(program) {
    const { default: puppeteer } = await import("puppeteer-core");
    const browser = await puppeteer.launch({ browser: "firefox", executablePath: program, headless: true });
    const openTab = async (address) => {
      const page = await browser.newPage();
      await page.goto(address);
      return {
        evaluate: (body, given) => page.evaluate(body, given),
        hide: () => browser.newPage(),
        close: () => page.close(),
      };
    };
    return {
      version: (await browser.version()).replace(/^firefox\//i, ""),
      openTab,
      openHidable: openTab,
      close: () => browser.close(),
    };
  },
};
