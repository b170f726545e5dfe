// A real Chromium, pages with a chosen content policy, and an API on another origin that answers what a case tells it to.
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import path from "node:path";

export const INSTALL_CHROMIUM =
  process.platform === "darwin" ? "brew install --cask chromium" : "apt-get install chromium";

/** The browser's program: `CHROMIUM` in the environment, or where systems put it; null when there is none. */
export function findChromium() {
  const places = [
    process.env.CHROMIUM,
    "/usr/bin/chromium",
    "/usr/bin/chromium-browser",
    "/usr/bin/google-chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "C:\\Program Files\\Google\\Chrome\\Application\\chrome.exe",
  ];
  return places.find((place) => place && existsSync(place)) ?? null;
}

/** Starts the browser, which the caller closes. Playwright comes late: the runner loads this file before it is installed. */
export async function launch(chromiumPath) {
  const { chromium } = await import("playwright-core");
  return chromium.launch({ executablePath: chromiumPath, args: CHROMIUM_ARGS });
}

export const CHROMIUM_ARGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  "--no-first-run",
];

/**
 * Serves folders and texts on an origin of their own: `mounts` maps the beginning of a path to a folder, `texts` a whole
 * path to `{ type, text }`. `headers` go with every answer. Resolves with `{ origin, close() }`.
 */
export function serveFiles({ mounts = {}, texts = {}, headers = {} }) {
  return listen(async (request, response) => {
    const { pathname } = new URL(request.url, "http://localhost");
    const found = texts[pathname] ?? (await fileAt(mounts, pathname));
    if (found === null) return response.writeHead(404).end();
    response
      .writeHead(200, { "Content-Type": found.type, "Cache-Control": "no-store", ...headers })
      .end(found.text);
  });
}

/**
 * An API on an origin of its own. Each path has a script: the answers that it gives, `{ status, headers, body, cors }`, one
 * after the other, the last one for ever. `cors: false` leaves out what lets a page read the answer.
 * `received(path)` counts what came in, preflights apart. Resolves with `{ origin, answer(path, …answers), received, close }`.
 */
export async function serveApi() {
  const scripts = new Map();
  const counts = new Map();
  const server = await listen((request, response) => {
    const { pathname } = new URL(request.url, "http://localhost");
    if (request.method === "OPTIONS") return response.writeHead(204, PREFLIGHT).end();
    const answers = scripts.get(pathname) ?? [{ status: 404 }];
    const index = counts.get(pathname) ?? 0;
    counts.set(pathname, index + 1);
    const {
      status = 200,
      headers = {},
      body = "",
      cors = true,
    } = answers[Math.min(index, answers.length - 1)];
    response
      .writeHead(status, { ...(cors ? { "Access-Control-Allow-Origin": "*" } : {}), ...headers })
      .end(body);
  });
  return {
    ...server,
    answer: (pathname, ...answers) => scripts.set(pathname, answers),
    received: (pathname) => counts.get(pathname) ?? 0,
  };
}

/** What lets a page of any other origin ask. */
export const PREFLIGHT = {
  "Access-Control-Allow-Origin": "*",
  "Access-Control-Allow-Headers": "*",
  "Access-Control-Allow-Methods": "*",
};

/** A page that maps the bare specifiers of the package to where `mount` serves it: what an application without a bundler does. */
export function pageWithImportMap(packageJson, mount) {
  const imports = {};
  for (const [subpath, target] of Object.entries(packageJson.exports)) {
    if (typeof target === "object")
      imports[path.posix.join("tidegate", subpath)] = path.posix.join(mount, target.default);
  }
  const map = JSON.stringify({ imports });
  return `<!doctype html><meta charset="utf-8"><title>page</title><script type="importmap">${map}</script>`;
}

/** A server on loopback. Resolves with `{ origin, close() }`. */
export async function listen(handler) {
  const server = createServer((request, response) => {
    Promise.resolve(handler(request, response)).catch((error) => {
      response.writeHead(500).end(String(error));
    });
  });
  await new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(0, "127.0.0.1", resolve);
  });
  return {
    origin: `http://127.0.0.1:${server.address().port}`,
    close: () =>
      new Promise((resolve) => {
        server.close(resolve);
        server.closeAllConnections();
      }),
  };
}

async function fileAt(mounts, pathname) {
  for (const [mount, folder] of Object.entries(mounts)) {
    if (!pathname.startsWith(mount)) continue;
    const file = path.join(
      folder,
      path.posix.normalize(`/${decodeURIComponent(pathname.slice(mount.length))}`),
    );
    const text = await readFile(file).catch(() => null);
    return text && { text, type: TYPES[path.extname(file)] ?? "application/octet-stream" };
  }
  return null;
}

const TYPES = {
  ".css": "text/css",
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript",
  ".map": "application/json",
  ".mjs": "text/javascript",
  ".wasm": "application/wasm",
};
