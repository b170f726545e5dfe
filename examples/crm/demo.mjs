#!/usr/bin/env node
/** The demonstration; `--help` says what it can do. Nothing but Node is needed before its set-up has run. */
import { readOptions, USAGE } from "./demo/options.mjs";
import { UsageError } from "./flags.mjs";

const interrupted = new AbortController();
for (const signal of /** @type {const} */ (["SIGINT", "SIGTERM"])) {
  process.on(signal, () => {
    // Whoever asks twice does not want to wait.
    if (interrupted.signal.aborted) process.exit(130);
    interrupted.abort();
  });
}

process.exitCode = await main(process.argv.slice(2)).catch((error) => {
  const clear = error instanceof UsageError || !process.argv.includes("--verbose");
  console.error(clear && error instanceof Error ? error.message : error);
  return error instanceof UsageError ? 2 : 1;
});

/** @param {string[]} args @returns {Promise<number>} the exit code */
async function main(args) {
  const options = readOptions(args);
  if (options.help) {
    process.stdout.write(USAGE);
    return 0;
  }
  /** @param {string} line */
  const log = (line) => (options.json ? console.error(line) : console.log(line));
  // Build tools are not typed; a URL keeps the type checker out of them.
  const { setup } = await import(new URL("../../js/setup.mjs", import.meta.url).href);
  await setup({ example: true, log });
  if (interrupted.signal.aborted) return options.headless ? 130 : 0;
  if (options.headless) {
    const { runHeadless } = await import("./demo/headless.mjs");
    return runHeadless(options, log, interrupted.signal);
  }
  const { runPage } = await import("./demo/page.mjs");
  return runPage(options, log, interrupted.signal);
}
