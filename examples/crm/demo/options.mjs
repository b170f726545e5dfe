import { choiceFlag, numberFlag, parseFlags, UsageError } from "../flags.mjs";
import { checkFaults } from "../server/faults.mjs";
import { MODE_NAMES, policyOf } from "../server/modes.mjs";

export const USAGE = `npm run demo -- [flags]

Starts a Postgres, a gateway that limits requests in front of it, and a CRM in the browser. Ctrl-C stops everything.

  --headless            no browser: import a file, print what happened, check it in Postgres
  --rows N              generated contacts, 1 to 100000 (default 300)
  --seed N              another seed makes other contacts and other faults (default 1)
  --duplicates SHARE    of the rows that repeat somebody further up, 0 to 1 (default 0)
  --file PATH           import this CSV instead
  --twice               upload the same file a second time; the same as --again same
  --again WHICH         then upload again: same, or corrected (other titles, backgrounds, phone numbers)
  --in-batches          many rows in a request through supabase-js, instead of one by one through the data provider
  --concurrency N       requests in flight at most (default: what the server turns out to take)
  --without-tidegate    the usual importer, for comparison: batches of 10, Promise.all; expect it to lose rows
  --json                one JSON document on the standard output, everything else on the standard error

The gateway:
  --gateway MODE        ${MODE_NAMES.join(", ")} (default bucket)
  --rate N              requests a second: bucket, fixed, sliding (default 20)
  --burst N             requests at once: bucket (default: the rate)
  --limit N             requests per window: fixed, sliding (default: rate times window), cloudflare, supabase-420
                        (default 100); at once: concurrency (default 5)
  --window SECONDS      fixed, sliding (default 1); cloudflare: period and block (default 10); supabase-420 (default
                        10; Supabase documents 300)
  --retry-after SECONDS what Retry-After says, whatever is true (cloudflare: default the window; the real one says 30)
  --expose-headers      let pages read Retry-After, which hosted Supabase does not
  --no-cors-on-refusals refusals carry no CORS headers, as Cloudflare's pages do not
  --faults LIST         such as 503=0.05,drop-before=0.03,drop-after=0.03,slow=0.1: shares of the admitted requests

Where:
  --data DIR            keep the contacts there (default: in memory)
  --port N              of the CRM (default: any free one)
  --verbose             also what the database and tidegate log
`;

/** @typedef {ReturnType<typeof readOptions>} DemoOptions */

/**
 * @param {string[]} args
 * @throws {UsageError} with one line for the person who typed them
 */
export function readOptions(args) {
  const flags = parseFlags(args, {
    headless: { type: "boolean", default: false },
    rows: { type: "string", default: "300" },
    seed: { type: "string", default: "1" },
    duplicates: { type: "string", default: "0" },
    file: { type: "string" },
    twice: { type: "boolean", default: false },
    again: { type: "string" },
    "in-batches": { type: "boolean", default: false },
    concurrency: { type: "string" },
    "without-tidegate": { type: "boolean", default: false },
    json: { type: "boolean", default: false },
    gateway: { type: "string", default: "bucket" },
    rate: { type: "string" },
    burst: { type: "string" },
    limit: { type: "string" },
    window: { type: "string" },
    "retry-after": { type: "string" },
    "expose-headers": { type: "boolean", default: false },
    "no-cors-on-refusals": { type: "boolean", default: false },
    faults: { type: "string" },
    data: { type: "string" },
    port: { type: "string", default: "0" },
    verbose: { type: "boolean", default: false },
    help: { type: "boolean", default: false },
  });
  const seed = numberFlag("--seed", flags.seed, { max: 0xffff_ffff, whole: true });
  const mode = choiceFlag("--gateway", flags.gateway, MODE_NAMES);
  const again = readAgain(flags.again, flags.twice, flags.file);
  for (const name of /** @type {const} */ ([
    "twice",
    "again",
    "file",
    "in-batches",
    "without-tidegate",
    "json",
  ])) {
    if (flags[name] && !flags.headless && !flags.help) throw new UsageError(`--${name} needs --headless`);
  }
  return {
    help: flags.help,
    headless: flags.headless,
    json: flags.json,
    verbose: flags.verbose,
    port: numberFlag("--port", flags.port, { max: 65_535, whole: true }),
    data: flags.data,
    file: flags.file,
    people: {
      rows: numberFlag("--rows", flags.rows, { min: 1, max: 100_000, whole: true }),
      seed,
      duplicates: numberFlag("--duplicates", flags.duplicates, { max: 1 }),
    },
    again,
    concurrency:
      flags.concurrency === undefined
        ? undefined
        : numberFlag("--concurrency", flags.concurrency, { min: 1, max: 1000, whole: true }),
    way: readWay(flags["in-batches"], flags["without-tidegate"]),
    withTidegate: !flags["without-tidegate"],
    gateway: {
      mode,
      limits: readLimits(mode, flags),
      faults: readFaults(flags.faults, seed),
      exposeHeaders: flags["expose-headers"],
      corsOnRefusals: !flags["no-cors-on-refusals"],
    },
  };
}

/** @param {boolean} inBatches @param {boolean} usual @returns {import("../import/sender.mjs").Way} */
function readWay(inBatches, usual) {
  if (inBatches && usual) throw new UsageError("--in-batches is tidegate's; leave out --without-tidegate");
  return inBatches ? "in batches" : "one by one";
}

/** @param {string | undefined} again @param {boolean} twice @param {string | undefined} file */
function readAgain(again, twice, file) {
  if (again !== undefined && twice)
    throw new UsageError("--twice is the same as --again same; give one of them");
  const which = again === undefined ? undefined : choiceFlag("--again", again, ["same", "corrected"]);
  if (which === "corrected" && file !== undefined) {
    throw new UsageError(
      "--again corrected makes a corrected file of generated contacts; it cannot correct --file",
    );
  }
  return which ?? (twice ? "same" : undefined);
}

/**
 * @param {import("../server/modes.mjs").Mode} mode
 * @param {Record<string, string | boolean | undefined>} flags
 * @returns {import("../server/modes.mjs").Limits}
 */
function readLimits(mode, flags) {
  const seconds = optional("window", { min: 0.001, max: 86_400 }) ?? WINDOWS[mode];
  const retryAfterSeconds = optional("retry-after", { max: 86_400, whole: true });
  const limits = {
    rate: optional("rate", { min: 0.01, max: 100_000 }),
    burst: optional("burst", { min: 1, max: 100_000, whole: true }),
    limit: optional("limit", { min: 1, max: 1_000_000, whole: true }),
    windowMs: seconds === undefined ? undefined : Math.round(seconds * 1000),
    retryAfterSeconds: retryAfterSeconds ?? (mode === "cloudflare" ? Math.ceil(seconds ?? 1) : undefined),
  };
  const given = Object.fromEntries(Object.entries(limits).filter(([, value]) => value !== undefined));
  policyOf(mode, given);
  return given;

  /** @param {string} name @param {Parameters<typeof numberFlag>[2]} range */
  function optional(name, range) {
    const text = flags[name];
    return typeof text === "string" ? numberFlag(`--${name}`, text, range) : undefined;
  }
}

/** Short ones, so that a demonstration ends while somebody still looks. @type {Partial<Record<import("../server/modes.mjs").Mode, number>>} */
const WINDOWS = { cloudflare: 10, "supabase-420": 10 };

/** @param {string | undefined} list @param {number} seed @returns {import("../server/faults.mjs").FaultShares} */
function readFaults(list, seed) {
  if (list === undefined) return {};
  /** @type {import("../server/faults.mjs").FaultShares} */
  const shares = { seed };
  for (const entry of list.split(",")) {
    const [name = "", share] = entry.split("=");
    const fault = FAULT_NAMES[choiceFlag("--faults", name.trim(), Object.keys(FAULT_NAMES))];
    if (fault !== undefined) shares[fault] = numberFlag(`--faults ${name.trim()}`, share, { max: 1 });
  }
  try {
    checkFaults(shares);
  } catch (error) {
    throw new UsageError(`--faults: ${error instanceof Error ? error.message : error}`);
  }
  return shares;
}

/** @type {Record<string, import("../server/faults.mjs").Fault & keyof import("../server/faults.mjs").FaultShares>} */
const FAULT_NAMES = {
  503: "unavailable",
  "drop-before": "dropBefore",
  "drop-after": "dropAfter",
  slow: "slow",
};
