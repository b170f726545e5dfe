import { execFile } from "node:child_process";
import { readdir, readFile } from "node:fs/promises";
import { promisify } from "node:util";
import { afterEach, describe, expect, test } from "vitest";
import { createGateway } from "../../examples/crm/server/gateway.mjs";
import { doAsAsked } from "../../examples/crm/server/stand-in.mjs";

const run = promisify(execFile);
const folder = new URL("../../examples/", import.meta.url);

/** Runs an example in a process of its own and resolves with the lines that it printed. */
async function linesOf(name: string, ...args: string[]) {
  const { stdout } = await run(process.execPath, [new URL(name, folder).pathname, ...args]);
  return stdout.trim().split("\n");
}

/** What each of the examples that talk to nobody says last. */
const LAST_LINE: Record<string, RegExp> = {
  "circuit.mjs": /^now: closed$/,
  "import.mjs": /^300 of 300 rows in \d+\.\d s \(the limit alone: 15 s\), \d+ requests$/,
  "retry.mjs": /^RATE_LIMIT_MAX_RETRIES_EXCEEDED after 2 attempts: /,
};

/** Those that talk to a server. They pass in seconds of real time, because it is another process that counts. */
const WITH_SERVER = ["campaign.mjs", "dialer.mjs", "messages.mjs", "scraper.mjs"];

/** Those that start a Postgres, and a gateway in front of it that takes 20 requests a second. */
const WITH_POSTGRES = ["atomic-import.mjs", "crispy-import.mjs"];

describe("the small examples", () => {
  test.each(Object.entries(LAST_LINE))("%s runs to its end", async (name, expected) => {
    expect((await linesOf(name)).at(-1)).toMatch(expected);
  });

  test("are all of these, and none is longer than 40 lines", async () => {
    const files = (await readdir(folder)).filter((name) => name.endsWith(".mjs"));
    expect(files.sort()).toEqual([...Object.keys(LAST_LINE), ...WITH_SERVER, ...WITH_POSTGRES].sort());
    for (const name of files) {
      const text = await readFile(new URL(name, folder), "utf8");
      expect(text.trimEnd().split("\n").length, name).toBeLessThanOrEqual(40);
    }
  });
});

/** One request as the server saw it; times in milliseconds of the server's own clock. */
interface Visit {
  path: string;
  body: string;
  headers: Headers;
  at: number;
  until: number;
}

const closing: (() => Promise<void>)[] = [];

afterEach(async () => {
  for (const close of closing.splice(0)) await close();
});

/** A gateway of ours that takes the rule from the example, and notes whoever gets past it. */
async function server() {
  const visits: Visit[] = [];
  const gateway = createGateway({
    control: true,
    upstream: async (request) => {
      const at = performance.now();
      const { pathname: path } = new URL(request.url);
      const visit = { path, headers: request.headers, body: await request.text(), at, until: Number.NaN };
      visits.push(visit);
      const answer = await doAsAsked(request);
      visit.until = performance.now();
      return answer;
    },
  });
  closing.push(gateway.close);
  return { url: await gateway.listen(), visits, gateway };
}

/** The most of these that began within any stretch of that length. */
function mostWithin(visits: Visit[], windowMs: number) {
  const times = visits.map(({ at }) => at).sort((a, b) => a - b);
  return Math.max(0, ...times.map((from) => times.filter((at) => at >= from && at < from + windowMs).length));
}

/** The most of these that were under way at a time. */
function mostAtOnce(visits: Visit[]) {
  return Math.max(
    0,
    ...visits.map(({ at }) => visits.filter((one) => one.at <= at && one.until > at).length),
  );
}

/** So many came, and none of them was refused. */
function expectAllTaken(gateway: ReturnType<typeof createGateway>, requests: number) {
  const { counts } = gateway.state();
  expect(counts).toMatchObject({ requests, admitted: requests });
  expect(counts.refused).toEqual({});
}

const TIMEOUT = { timeout: 30_000 };

describe("in front of a server that counts", TIMEOUT, () => {
  test("messages.mjs sends everything, never above the pace, and an urgent one first", async () => {
    const { url, visits, gateway } = await server();
    const lines = await linesOf("messages.mjs", url);

    expect(gateway.state()).toMatchObject({ mode: "twilio", limits: { rate: 10 } });
    expectAllTaken(gateway, 29);
    const messages = visits.filter(({ path }) => path.endsWith("/Messages.json"));
    const calls = visits.filter(({ path }) => path.endsWith("/Calls.json"));
    expect([messages.length, calls.length]).toEqual([21, 8]);
    expect(new Set(visits.map(({ path, body }) => path + body)).size).toBe(29);
    expect(mostWithin(messages, 1_000)).toBeLessThanOrEqual(10);
    expect(mostWithin(calls, 1_000)).toBeLessThanOrEqual(10);
    // The last one to ask: behind who had gone by then, and before everybody who waited.
    expect(messages.findIndex(({ body }) => body.includes("code"))).toBeLessThan(3);
    expect(lines.at(-1)).toMatch(/^29 of 29 taken in \d\.\d s; 29 requests, refused: 0$/);
  });

  test("dialer.mjs counts agents and session across a reload", async () => {
    const { url, visits, gateway } = await server();
    const lines = await linesOf("dialer.mjs", url);

    expect(gateway.state()).toMatchObject({ mode: "per-agent", limits: {} });
    expectAllTaken(gateway, 800);
    const calls = new Map<string, number>();
    for (const { headers } of visits) {
      const agent = String(headers.get("x-agent"));
      calls.set(agent, (calls.get(agent) ?? 0) + 1);
    }
    const agents = ["ann", "bob", "cid", "dot", "eve", "fay", "gus"];
    const most = { ...Object.fromEntries(agents.map((agent) => [agent, 100])), hal: 60, ida: 40 };
    expect(Object.fromEntries(calls)).toEqual(most);
    expect(lines).toEqual([
      ...agents.map((agent) => `${agent} 60`),
      ...agents.map((agent) =>
        expect.stringContaining(`${agent} 40: The limit of 100 per hour is reached. `),
      ),
      "hal 60",
      expect.stringContaining("ida 40: The limit of 800 per day is reached. "),
      "800 requests, refused: 0",
    ]);
  });

  test("campaign.mjs keeps to its lines, and gets lost ones back", async () => {
    const { url, visits, gateway } = await server();
    const lines = await linesOf("campaign.mjs", url);

    expect(gateway.state()).toMatchObject({ mode: "per-campaign", limits: { limit: 3, total: 5 } });
    // 24, one of the other campaign while three leases were lost, and one when they had run out.
    expectAllTaken(gateway, 26);
    const spring = visits.filter(({ headers }) => headers.get("x-campaign") === "spring");
    expect(spring).toHaveLength(17);
    expect(mostAtOnce(spring)).toBe(3);
    expect(mostAtOnce(visits)).toBe(5);
    // Nobody of that campaign could begin until the lost leases had ended.
    const gaps = spring.slice(1).map(({ at }, index) => at - (spring[index] as Visit).until);
    expect(Math.max(...gaps)).toBeGreaterThan(900);
    expect(lines).toEqual([
      expect.stringMatching(/^24 of 24 calls made in \d+ ms$/),
      "a campaign can begin 1800 of these a minute, all together 3000",
      "the fourth: RATE_LIMIT_CONCURRENCY_EXCEEDED, another campaign: 201",
      "the leases ran out: 0 of 3 are held",
      "26 requests, refused: 0",
    ]);
  });

  test("scraper.mjs reads every page once, with a pause between two", async () => {
    const { url, visits, gateway } = await server();
    const lines = await linesOf("scraper.mjs", url);

    expect(gateway.state()).toMatchObject({ mode: "min-interval", limits: { windowMs: 50 } });
    expectAllTaken(gateway, 11);
    expect(new Set(visits.map(({ path }) => path)).size).toBe(11);
    expect(mostWithin(visits, 50)).toBe(1);
    expect(mostAtOnce(visits)).toBeGreaterThan(1);
    expect(mostAtOnce(visits)).toBeLessThanOrEqual(5);
    expect(lines).toEqual([expect.stringMatching(/^11 pages in \d\.\d s; 11 requests, refused: 0$/)]);
  });

  test("all of them bring a server of their own, when nobody else has one", async () => {
    const printed = await Promise.all(WITH_SERVER.map((name) => linesOf(name)));
    for (const lines of printed) expect(lines.at(-1)).toMatch(/ requests, refused: 0$/);
  });
});

describe("in front of a Postgres", TIMEOUT, () => {
  test("atomic-import.mjs brings everybody once, and tells the dialog what it shows", async () => {
    const [dialog = "", counts, postgres] = await linesOf("atomic-import.mjs");
    expect(JSON.parse(dialog.replace("the dialog: ", ""))).toEqual({
      state: "done",
      rowCount: 100,
      importCount: 100,
      errorCount: 0,
      remainingTime: 0,
    });
    // Ten rows repeat somebody; one of those people has no address, and was typed in otherwise.
    expect(counts).toBe("91 imported, 9 duplicates, 0 failed");
    expect(postgres).toMatch(/^Postgres: 91 contacts, \d+ companies$/);
  });

  test("crispy-import.mjs answers in the shape of the panel, with the line and the field of each error", async () => {
    const [result = "", postgres] = await linesOf("crispy-import.mjs");
    const [counts = "", error] = result.split("; the first error: ");
    expect(JSON.parse(counts)).toEqual({
      totalProcessed: 120,
      successCount: 117,
      skippedCount: 0,
      failedCount: 3,
    });
    expect(error).toMatch(/^line 11, \[ \{ field: 'last_name', message: 'Required' \} \]$/);
    expect(postgres).toBe("Postgres: 117 contacts, 1 organizations");
  });
});
