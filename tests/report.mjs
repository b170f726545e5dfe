// How a suite of ours says what it found: case by case, printed as it happens, counted for the last line.
import { StepError } from "../js/steps.mjs";

export class Report {
  passed = 0;
  failed = 0;
  skipped = 0;
  durationMs = 0;
  /** The names of the failed cases, for the end of the run. */
  failures = [];

  constructor(title) {
    this.title = title;
  }

  /**
   * Runs a case: it passes unless it throws, or is still not over after `patienceMs`. Whatever it resolves with is
   * printed beside its name.
   */
  async case(name, body, patienceMs = 120_000) {
    const started = Date.now();
    try {
      const remark = await within(patienceMs, body());
      this.pass(`${name}${remark === undefined ? "" : `: ${remark}`} (${Date.now() - started} ms)`);
    } catch (error) {
      this.fail(name, error instanceof StepError ? error.message : (error?.stack ?? error));
    }
  }

  /** One case whose result is known; `detail` is shown when it failed. */
  check(name, ok, detail) {
    if (ok) this.pass(name);
    else this.fail(name, detail);
  }

  pass(name) {
    this.passed += 1;
    console.log(`   ok    ${name}`);
  }

  fail(name, detail) {
    this.failed += 1;
    this.failures.push(name);
    console.log(`   FAIL  ${name}`);
    if (detail !== undefined) console.log(`${detail}`.trimEnd().replaceAll(/^/gm, "         "));
  }

  skip(name, reason) {
    this.skipped += 1;
    console.log(`   SKIP  ${name}: ${reason}`);
  }

  /** Cases that another program ran and named itself. */
  count({ passed = 0, failed = 0, skipped = 0 }) {
    this.passed += passed;
    this.failed += failed;
    this.skipped += skipped;
  }

  /** `3 passed, 0 failed`, and `, 1 skipped` when any was. */
  counts() {
    return `${this.passed} passed, ${this.failed} failed${this.skipped > 0 ? `, ${this.skipped} skipped` : ""}`;
  }
}

/** The same promise, or a failure where it takes too long: what hangs must not hang the run. */
async function within(ms, promise) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new StepError(`It was not over after ${ms / 1000} s.`)), ms);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
