// A tab that can really be hidden. Playwright makes every page believe that it is in front; here Chromium runs as people
// have it, and what lies in the background has its timers held back.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import WebSocket from "ws";
import { CHROMIUM_ARGS } from "../harness.mjs";

/**
 * Starts Chromium with one tab at `address`. Resolves with `{ evaluate, hide, show, kill, close }`.
 *
 * @param options `flags` for Chromium; `profile`: a folder that outlives the browser. Without one it has one of its own.
 */
export async function openTab(chromiumPath, address, { flags = [], profile } = {}) {
  const folder = profile ?? (await mkdtemp(path.join(tmpdir(), "tidegate-profile-")));
  const own = ["--headless", "--remote-debugging-port=0", `--user-data-dir=${folder}`, TRUSTING];
  const child = spawn(chromiumPath, [...own, ...CHROMIUM_ARGS, ...flags, "about:blank"], {
    stdio: ["ignore", "ignore", "pipe"],
  });
  const kill = async () => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    const exited = once(child, "exit");
    child.kill("SIGKILL");
    await exited;
  };
  const close = async () => {
    await kill();
    if (profile === undefined) await removeProfile(folder);
  };
  try {
    const send = await connect(await addressOf(child));
    const { targetId } = await send("Target.createTarget", { url: address });
    const { sessionId } = await send("Target.attachToTarget", { targetId, flatten: true });
    return {
      evaluate: (body, ...args) => evaluate(send, sessionId, body, args),
      /** Another tab comes to the front. */
      hide: () => send("Target.createTarget", { url: "about:blank" }),
      show: () => send("Target.activateTarget", { targetId }),
      /** As the system does it when it is out of memory. */
      kill,
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

/** The gateway's certificate is its own. */
const TRUSTING = "--ignore-certificate-errors";

/** Processes of a browser that was killed may be writing for a moment. */
export function removeProfile(folder) {
  return rm(folder, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 });
}

/** Chromium says on its standard error where it listens. */
async function addressOf(child) {
  let said = "";
  for await (const text of child.stderr) {
    said += text;
    const [address] = /ws:\/\/\S+/.exec(said) ?? [];
    if (address) return address;
  }
  throw new Error(`Chromium did not start: ${said}`);
}

/** A function that sends a command of the DevTools protocol, and resolves with its result. */
async function connect(address) {
  const socket = new WebSocket(address);
  await once(socket, "open");
  const open = new Map();
  let last = 0;
  socket.on("message", (text) => {
    const { id, result, error } = JSON.parse(text);
    const question = open.get(id);
    open.delete(id);
    if (error) question?.reject(new Error(error.message));
    else question?.resolve(result);
  });
  socket.on("close", () => {
    for (const { reject } of open.values()) reject(new Error("Chromium has ended"));
  });
  return (method, params = {}, sessionId = undefined) =>
    new Promise((resolve, reject) => {
      last += 1;
      open.set(last, { resolve, reject });
      socket.send(JSON.stringify({ id: last, method, params, sessionId }));
    });
}

async function evaluate(send, sessionId, body, args) {
  const expression = `(${body})(...${JSON.stringify(args)})`;
  const options = { expression, awaitPromise: true, returnByValue: true };
  const { result, exceptionDetails } = await send("Runtime.evaluate", options, sessionId);
  if (exceptionDetails) throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text);
  return result.value;
}
