// WebKitGTK: its MiniBrowser on a screen that nobody sees, driven by the W3C's WebDriver over HTTP.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { createServer } from "node:net";
import { setTimeout as delay } from "node:timers/promises";

export const webkit = {
  name: "webkit",
  title: "WebKitGTK",
  install: "apt-get install webkit2gtk-driver xvfb",

  /** The driver's program: `WEBKIT_DRIVER` in the environment, or where systems put it; null when it, or a screen, is missing. */
  find() {
    if (screen() === null && !process.env.DISPLAY) return null;
    const places = [process.env.WEBKIT_DRIVER, "/usr/bin/WebKitWebDriver"];
    return places.find((place) => place && existsSync(place)) ?? null;
  },

  async open(program) {
    const closing = [];
    const close = async () => {
      for (const end of closing.reverse()) await end();
    };
    try {
      const display = await openScreen(closing);
      const send = await startDriver(program, display, closing);
      const { sessionId, capabilities } = await send("POST", "/session", { capabilities: {} });
      const session = (method, path, body) => send(method, `/session/${sessionId}${path}`, body);
      closing.push(() => session("DELETE", "").catch(() => {}));
      await session("POST", "/timeouts", { script: PATIENCE_MS, pageLoad: 60_000 });
      const openTab = tabsOf(session);
      return { version: capabilities.browserVersion, openTab, openHidable: openTab, close };
    } catch (error) {
      await close();
      throw error;
    }
  },
};

/** Longer than any step of ours takes. */
const PATIENCE_MS = 180_000;

// ---- tabs

/** Of one session, which looks at one tab at a time: that tab is in front. */
function tabsOf(session) {
  let front = null;
  const toFront = async (handle) => {
    if (front !== handle) await session("POST", "/window", { handle });
    front = handle;
  };
  const newTab = async () => (await session("POST", "/window/new", { type: "tab" })).handle;

  return async (address) => {
    // The session's own tab stays: with its last one it would end.
    const handle = await newTab();
    await toFront(handle);
    await session("POST", "/url", { url: address });
    return {
      async evaluate(body, given) {
        await toFront(handle);
        const { value, error } = await session("POST", "/execute/async", {
          script: `const [given, done] = arguments;
            Promise.resolve(given).then(${body}).then((value) => done({ value }), (error) => done({ error: String(error) }));`,
          args: [given ?? null],
        });
        if (error !== undefined) throw new Error(error);
        return value;
      },
      hide: async () => toFront(await newTab()),
      async close() {
        await toFront(handle);
        const [left] = await session("DELETE", "/window");
        await toFront(left);
      },
    };
  };
}

// ---- the driver

/** Resolves with `(method, path, body)`, which gives the value of the answer and rejects with its error. */
async function startDriver(program, display, closing) {
  const port = await freePort();
  const env = { ...process.env, ...(display && { DISPLAY: display }) };
  const child = started(program, [`--port=${port}`], { env, stdio: "ignore" }, closing);
  const send = async (method, path, body) => {
    const request = { method, ...(body && { body: JSON.stringify(body) }) };
    const { value } = await (await fetch(`http://127.0.0.1:${port}${path}`, request)).json();
    if (value?.error) throw new Error(`WebDriver: ${value.error}: ${value.message}`);
    return value;
  };
  for (let tries = 1; ; tries += 1) {
    const status = await send("GET", "/status").catch(() => null);
    if (status?.ready) return send;
    if (tries === 100 || child.exitCode !== null) throw new Error(`${program} does not answer.`);
    await delay(100);
  }
}

/** It cannot be told to choose one itself. */
async function freePort() {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  server.close();
  await once(server, "close");
  return port;
}

// ---- the screen

function screen() {
  return existsSync("/usr/bin/Xvfb") ? "/usr/bin/Xvfb" : null;
}

/** An X server in memory, or where there is none the one that is there: `null`. */
async function openScreen(closing) {
  const program = screen();
  if (program === null) return null;
  const options = ["-displayfd", "3", "-screen", "0", "1024x768x24", "-nolisten", "tcp"];
  const child = started(program, options, { stdio: ["ignore", "ignore", "ignore", "pipe"] }, closing);
  const [number] = await Promise.race([once(child.stdio[3], "data"), once(child, "exit").then(() => [])]);
  if (number === undefined) throw new Error("Xvfb did not start.");
  return `:${String(number).trim()}`;
}

// ---- programs

/** One that ends with the browser, or with us. */
function started(program, args, options, closing) {
  const child = spawn(program, args, options);
  const kill = () => child.kill();
  process.once("exit", kill);
  closing.push(async () => {
    process.off("exit", kill);
    if (child.exitCode !== null || child.signalCode !== null) return;
    const exited = once(child, "exit");
    kill();
    await exited;
  });
  return child;
}
