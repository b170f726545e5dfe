import { spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

/** A script that has used a service ends by itself as soon as nobody waits: no alarm keeps the process alive. */

let directory = "";

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), "tidegate-exit-"));
  await build({
    entryPoints: [fileURLToPath(new URL("../../js/index.ts", import.meta.url))],
    outfile: join(directory, "tidegate.mjs"),
    ...{ bundle: true, format: "esm", platform: "node", logLevel: "error" },
  });
}, 60_000);

afterAll(() => {
  rmSync(directory, { recursive: true, force: true });
});

interface End {
  code: number | null;
  signal: string | null;
  output: string;
}

/** Runs a module that has `service` and `refused(seconds)`, and how it ended; it is killed after ten seconds. */
function run(body: string): Promise<End> {
  const script = join(directory, `${Math.random().toString(36).slice(2)}.mjs`);
  writeFileSync(script, `${PRELUDE}\n${body}\n`);
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [script], { timeout: 10_000, stdio: ["ignore", "pipe", "pipe"] });
    let output = "";
    child.stdout.on("data", (text) => (output += text));
    child.stderr.on("data", (text) => (output += text));
    child.on("error", reject);
    child.on("close", (code, signal) => resolve({ code, signal, output: output.trim() }));
  });
}

const PRELUDE = `
import { RateLimitService } from "./tidegate.mjs";
const service = new RateLimitService({ logLevel: "silent" });
const refused = (seconds) => {
  throw Object.assign(new Error("refused"), { status: 429, headers: { "retry-after": String(seconds) } });
};
const name = (error) => (error instanceof DOMException ? error.name : error.code);
`;

const scripts: Record<string, [body: string, output: string]> = {
  "importing it does nothing": ["", ""],
  "after a call that succeeded": [`console.log(await service.executeWithRetry(() => "done"));`, "done"],
  "after a retry": [
    `console.log(await service.executeWithRetry(({ attempt }) => attempt === 1 ? refused(0) : "done"));`,
    "done",
  ],
  "not before a wait is over that somebody waits for": [
    `service.executeWithRetry(({ attempt }) => attempt === 1 ? refused(1) : "done").then(console.log);`,
    "done",
  ],
  "right after an abort of a long wait": [
    `const controller = new AbortController();
     const call = service.executeWithRetry(() => refused(50), { signal: controller.signal });
     setTimeout(() => controller.abort(), 50);
     await call.catch((error) => console.log(name(error)));`,
    "AbortError",
  ],
  "right after an abort of callers that were held": [
    `const controller = new AbortController();
     const { signal } = controller;
     const first = service.executeWithRetry(() => refused(50), { signal });
     await new Promise((done) => setTimeout(done, 20));
     const held = service.executeWithRetry(() => "never", { signal });
     setTimeout(() => controller.abort(), 50);
     for (const call of [first, held]) await call.catch((error) => console.log(name(error)));`,
    "AbortError\nAbortError",
  ],
  "right after a call with a long deadline was done": [
    `console.log(await service.executeWithRetry(() => "done", { deadlineMs: 50_000 }));`,
    "done",
  ],
  "right after an attempt with a long timeout was done": [
    `service.updateConfig({ attemptTimeoutMs: 50_000 });
     console.log(await service.executeWithRetry(() => "done"));`,
    "done",
  ],
  "right after the service was disposed of": [
    `const call = service.executeWithRetry(() => refused(50));
     setTimeout(() => service.dispose(), 50);
     await call.catch((error) => console.log(name(error)));`,
    "AbortError",
  ],
  "right after the circuit was isolated": [
    `const call = service.executeWithRetry(() => refused(50));
     setTimeout(() => service.isolateCircuit(), 50);
     await call.catch((error) => console.log(name(error)));`,
    "RATE_LIMIT_CIRCUIT_OPEN",
  ],
  "while the circuit is open and a cooldown lasts": [
    `service.updateConfig({ circuitBreakerThreshold: 1 });
     await service.executeWithRetry(() => refused(50)).catch((error) => console.log(name(error)));`,
    "RATE_LIMIT_CIRCUIT_OPEN",
  ],
  "while a cooldown lasts that nobody waits for": [
    `await service.executeWithRetry(() => refused(50), { maxRetries: 0 }).catch((error) => console.log(name(error)));`,
    "RATE_LIMIT_MAX_RETRIES_EXCEEDED",
  ],
  "right after a refused Response whose body never came": [
    `const response = () => new Response(new ReadableStream(), { status: 429, headers: { "retry-after": "50" } });
     await service.executeWithRetry(response, { maxRetries: 0 }).catch((error) => console.log(name(error)));`,
    "RATE_LIMIT_MAX_RETRIES_EXCEEDED",
  ],
};

describe("Node exits", () => {
  it.concurrent.each(Object.entries(scripts))(
    "%s",
    async (_, [body, output]) => {
      expect(await run(body)).toEqual({ code: 0, signal: null, output });
    },
    30_000,
  );
});
