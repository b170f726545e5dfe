// The main job as a person does it: contacts out of a CSV, through the page and past its gateway, into Postgres.
//
//   node tests/browser/crm.mjs
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { pathToFileURL } from "node:url";
import { root } from "../../js/steps.mjs";
import { Report } from "../report.mjs";
import { findChromium, launch } from "./harness.mjs";

const crm = path.join(root, "examples", "crm");
const { generateCSV } = await import(pathToFileURL(path.join(crm, "csv", "generate.mjs")));
const { keyOf } = await import(pathToFileURL(path.join(crm, "import", "contact.mjs")));
const { itemsOf, readContacts } = await import(pathToFileURL(path.join(crm, "import", "file.mjs")));

export async function run({ report, chromiumPath }) {
  const stage = await openStage(chromiumPath);
  const test = (name, body) => report.case(name, () => body(stage));
  try {
    await test("an empty CRM offers the import", offersTheImport);
    await test("files that are no contact lists are refused in words", refusesAbsurdFiles);
    await test("a file is understood before anything is sent", understandsTheFile);
    await test("100 rows arrive, with a pause on the way", importsWithAPause);
    await test("the contacts are in the list and can be searched", showsTheContacts);
    await test("the same file again adds nobody", importsTheSameFileAgain);
    await test("rows that failed are named and can be downloaded", reportsFailedRows);
    await test("a storm is waited out, in the background too", waitsAStormOut);
    await test("a circuit that somebody opened holds an import", waitsForTheCircuit);
    await test("batches bring the same people with fewer requests", importsInBatches);
    await test("an import cancelled half-way accounts for every row", cancelsHalfWay);
    await test("after a reload the same file goes on where it was", goesOnAfterAReload);
    await test("what was interrupted can be forgotten", forgetsAnImport);
    await test("a second tab waits for the first", waitsForTheOtherTab);
    await test("closing the tab during an import asks first", asksBeforeTheTabCloses);
    await test("nothing is wider than a phone", fitsAPhone);
    await test("the page met no error of its own", hadNoErrors);
    await test("Ctrl-C stops the demo, and Postgres has everybody once", everybodyIsThereOnce);
  } finally {
    await stage.close();
  }
}

// ---- the stage

/**
 * The demo as `npm run demo` starts it, with its contacts in a folder that outlives it, and a browser on its page.
 * `uploads` collects what must be in Postgres at the end.
 */
async function openStage(chromiumPath) {
  const folder = await mkdtemp(path.join(tmpdir(), "tidegate-crm-"));
  const closing = [() => rm(folder, { recursive: true, force: true })];
  const close = async () => {
    for (const end of closing.reverse()) await end();
  };
  try {
    const demo = await startDemo(path.join(folder, "postgres"));
    closing.push(() => demo.stop());
    const browser = await launch(chromiumPath);
    closing.push(() => browser.close());
    // A context of its own, because one case opens a second tab in it.
    const context = await browser.newContext({ viewport: { width: 1280, height: 860 } });
    const page = await context.newPage();
    const errors = watchErrors(page);
    await page.goto(demo.url);
    return { folder, demo, browser, page, errors, uploads: [], close };
  } catch (error) {
    await close();
    throw error;
  }
}

async function startDemo(data) {
  const args = [path.join(crm, "demo.mjs"), "--data", data, "--rate", "20"];
  const child = spawn(process.execPath, args, { cwd: root, stdio: ["ignore", "pipe", "pipe"] });
  const ended = once(child, "close");
  let output = "";
  const addresses = new Promise((resolve, reject) => {
    const read = (text) => {
      output += text;
      const [, url] = /^The CRM: +(\S+)$/m.exec(output) ?? [];
      const [, gatewayUrl] = /^The gateway: +(\S+) /m.exec(output) ?? [];
      if (url && gatewayUrl) resolve({ url, gatewayUrl });
    };
    child.stdout.setEncoding("utf8").on("data", read);
    child.stderr.setEncoding("utf8").on("data", read);
    child.once("close", () => reject(new Error(`the demo ended before it said where it is:\n${output}`)));
  });
  return {
    ...(await addresses),
    output: () => output,
    /** Stops it as Ctrl-C does; resolves with its exit code, or with SIGKILL when it had to be stopped for good. */
    async stop() {
      child.kill("SIGINT");
      const late = setTimeout(() => child.kill("SIGKILL"), STOP_WITHIN_MS);
      const [code, signal] = await ended;
      clearTimeout(late);
      return code ?? signal;
    },
  };
}

/** Postgres writes what it holds to its folder first. */
const STOP_WITHIN_MS = 20_000;

/** Refusals are in the console too, where the browser and the service put them; those are no errors of the page. */
function watchErrors(page) {
  const errors = [];
  page.on("pageerror", (error) => errors.push(error.stack));
  page.on("console", (message) => {
    const text = message.text();
    const isRefusal = /^(Failed to load resource|\[RateLimit\])/.test(text);
    if (message.type() === "error" && !isRefusal) errors.push(text);
  });
  return errors;
}

// ---- the cases

async function offersTheImport({ page }) {
  await page.getByText("Nobody here yet").waitFor();
  await page.getByTestId("import-button").click();
  await page.getByRole("dialog", { name: "Import contacts" }).waitFor();
}

async function refusesAbsurdFiles({ page }) {
  const cases = [
    ["nothing.csv", "", /empty/i],
    ["picture.csv", Buffer.from("\x89PNG\r\n\x1a\n\0\0\0", "latin1"), /not a CSV file but a picture/],
    ["workbook.csv", Buffer.from("PK\x03\x04\0\0", "latin1"), /Excel file/],
    ["page.csv", "<!doctype html><html></html>", /web page/],
    ["prices.csv", "article,price\nrope,12\n", /first row must name the columns/],
    ["nobody.csv", "title,company\nCEO,Acme\n", /lacks the column "first_name"/],
    ["header.csv", "first_name,last_name\n", /nothing under them/],
    ["quotes.csv", 'first_name,last_name\n"Ada,Lovelace\nAlan,Turing\n', /quote in the row.*line 2/],
    ["huge.csv", Buffer.alloc(25_000_000, "first_name,last_name\n"), /more than 1,000,000 rows/],
  ];
  for (const [name, content, expected] of cases) {
    await choose(page, name, content);
    const problem = page.getByTestId("import-problem");
    await problem.filter({ hasText: expected }).waitFor();
    assert.equal(await page.getByTestId("import-start").count(), 0, `${name} can be started`);
  }
}

async function understandsTheFile(stage) {
  const { page } = stage;
  const csv = generateCSV({ rows: 100 });
  stage.first = { csv, people: await peopleIn(csv) };
  await choose(page, "contacts.csv", csv);
  await page.getByRole("dialog", { name: "Check contacts.csv" }).waitFor();
  assert.equal(await numberIn(page, "check-rows"), 100);
  assert.equal(await numberIn(page, "check-fresh"), stage.first.people.size);
  assert.equal(await numberIn(page, "check-duplicates"), 100 - stage.first.people.size);
  assert.equal(await numberIn(page, "check-unreadable"), 0);
  assert.equal(await page.getByTestId("check-columns").locator("> *").count(), 18);
  assert.equal(await page.getByTestId("import-preview").getByRole("row").count(), 1 + 5);
  assert.equal(await postgresCount(stage, "contacts"), 0, "something was sent already");
}

async function importsWithAPause(stage) {
  const { page, first } = stage;
  await page.getByTestId("import-start").click();
  const bar = page.getByRole("progressbar", { name: "Importing contacts.csv" });
  await waitForNumber(page, "count-imported", 15);
  await page.getByTestId("import-pause").click();
  await page.getByTestId("import-status").filter({ hasText: "Paused" }).waitFor();
  assert.equal(await bar.getAttribute("data-state"), "paused");

  // Rows in flight come to their end; after that nothing moves.
  const atRest = await settled(() => numberIn(page, "count-imported"));
  await page.waitForTimeout(2000);
  assert.equal(await numberIn(page, "count-imported"), atRest, "rows were sent during the pause");
  assert.ok(atRest < first.people.size, "the import was over before it could be paused");
  const percent = Number(await bar.getAttribute("aria-valuenow"));
  assert.ok(percent > 0 && percent < 100, `aria-valuenow is ${percent}`);

  await page.getByTestId("import-resume").click();
  const counts = await reported(page);
  assert.deepEqual(counts, {
    ...none,
    imported: first.people.size,
    duplicate: 100 - first.people.size,
  });
  assert.equal(await postgresCount(stage, "contacts"), first.people.size);
  stage.uploads.push({ csv: first.csv, arrived: first.people.size });
  return `paused at ${atRest} of ${first.people.size}`;
}

async function showsTheContacts({ page, first }) {
  await page.getByTestId("import-close").click();
  await page.getByRole("dialog").waitFor({ state: "hidden" });
  await page.getByText(`1-25 of ${first.people.size}`).waitFor();

  const rows = await rowsIn(first.csv);
  const wanted = rows.find(({ email_work }) => email_work !== "");
  await page.getByPlaceholder("Name, title or e-mail").fill(`${wanted.last_name} ${wanted.email_work}`);
  await page.getByText("1-1 of 1").waitFor();
  await page.getByRole("cell", { name: wanted.email_work }).click();
  await page.getByRole("link", { name: wanted.email_work }).waitFor();
  await page.getByRole("link", { name: "Edit" }).click();
  await page.getByLabel("Title").fill("Harbour master");
  await page.getByRole("button", { name: "Save" }).click();
  await page.getByText(/^Harbour master/).waitFor();
  await page.getByRole("link", { name: "Harbour CRM" }).click();
  await page.getByPlaceholder("Name, title or e-mail").fill("");
}

async function importsTheSameFileAgain(stage) {
  const { page, first } = stage;
  await page.getByTestId("import-button").click();
  await choose(page, "contacts.csv", first.csv);
  assert.equal(await numberIn(page, "check-known"), first.people.size);
  await page.getByTestId("import-start").click();
  const counts = await reported(page);
  assert.deepEqual(counts, {
    ...none,
    alreadyThere: first.people.size,
    duplicate: 100 - first.people.size,
  });
  assert.equal(await postgresCount(stage, "contacts"), first.people.size);
}

async function reportsFailedRows(stage) {
  const { page, folder } = stage;
  const csv = [
    "First name;Last name;Company;E-mail work;First seen;Shoe size",
    "Ada;Lovelace;Analytical Engines;ada@engines.example;2024-01-31;37",
    "Alan;Turing;Bletchley;alan@bletchley.example;31st of May;44",
    ";;Nobody Ltd;;;",
  ].join("\n");
  await page.getByTestId("import-another").click();
  await choose(page, "odd.csv", csv);
  await page.getByTestId("check-unreadable").filter({ hasText: "2" }).first().waitFor();
  await page.getByText("Shoe size: left out").waitFor();
  await page.getByTestId("import-start").click();
  assert.deepEqual(await reported(page), { ...none, imported: 1, skipped: 2 });
  const table = page.getByTestId("report-rows");
  await table.getByText("Alan Turing").waitFor();
  await table.getByText(/neither a name nor an e-mail/).waitFor();

  const downloading = page.waitForEvent("download");
  await page.getByTestId("report-download").click();
  const download = await downloading;
  const file = path.join(folder, "failed.csv");
  await download.saveAs(file);
  assert.equal(download.suggestedFilename(), "odd-failed.csv");
  const failed = await rowsIn(await readFile(file));
  assert.deepEqual(
    failed.map(({ last_name, company, import_outcome }) => `${last_name}|${company}|${import_outcome}`),
    ["Turing|Bletchley|skipped", "|Nobody Ltd|skipped"],
  );
  stage.uploads.push({ csv: csv.split("\n").slice(0, 2).join("\n"), arrived: 1 });
}

async function waitsAStormOut(stage) {
  const { page } = stage;
  const { csv, people } = await another(stage, { rows: 60, seed: 2 });
  await page.getByTestId("import-start").click();
  await waitForNumber(page, "count-imported", 5);
  await page.getByTestId("import-background").click();

  await setMood(page, "storm", "10 s");
  await page.getByTestId("import-in-background").click();
  const status = page.getByTestId("import-status");
  await status.filter({ hasText: "Waiting for the server's limit: goes on" }).waitFor({ timeout: 30_000 });
  await waitForNumber(page, "curve-refused", 1);

  await page.getByTestId("import-background").click();
  await setMood(page, "bucket", "20 requests/s");
  await page.getByText(/^Import ended: /).waitFor({ timeout: 90_000 });
  await page.getByTestId("import-in-background").click();
  assert.deepEqual(await reported(page), { ...none, imported: people, duplicate: 60 - people });
  stage.uploads.push({ csv, arrived: people });
}

async function waitsForTheCircuit(stage) {
  const { page } = stage;
  const { csv, people } = await another(stage, { rows: 60, seed: 8 });
  await page.getByTestId("import-start").click();
  await waitForNumber(page, "count-imported", 5);
  await page.getByTestId("import-background").click();
  await page.getByTestId("demo-button").click();
  await page.getByTestId("isolate").click();
  await page.getByTestId("demo-close").click();
  await page.getByTestId("import-in-background").click();
  await page.getByTestId("import-status").filter({ hasText: "held back" }).waitFor();
  const atRest = await settled(() => numberIn(page, "count-imported"));
  assert.ok(atRest < people, "the import was over before it could be held");

  await page.getByTestId("import-background").click();
  await page.getByTestId("demo-button").click();
  await page.getByTestId("reset-circuit").click();
  await page.getByTestId("demo-close").click();
  await page.getByTestId("import-in-background").click();
  assert.deepEqual(await reported(page), { ...none, imported: people, duplicate: 60 - people });
  stage.uploads.push({ csv, arrived: people });
  return `held at ${atRest} of ${people}`;
}

async function importsInBatches(stage) {
  const { page } = stage;
  await setWay(page, "in-batches");
  const { csv, people } = await another(stage, { rows: 200, seed: 7 });
  await page.getByTestId("import-start").click();
  assert.deepEqual(await reported(page), { ...none, imported: people, duplicate: 200 - people });
  const [, requests] = /and (\d+) requests?\./.exec(await page.getByTestId("report-story").textContent());
  assert.ok(Number(requests) < 100, `${requests} requests for ${people} people`);
  stage.uploads.push({ csv, arrived: people });
  await setWay(page, "one-by-one");
  return `${people} people in ${requests} requests`;
}

async function cancelsHalfWay(stage) {
  const { page } = stage;
  const { csv } = await another(stage, { rows: 80, seed: 3 });
  await page.getByTestId("import-start").click();
  await waitForNumber(page, "count-imported", 30);
  await page.getByTestId("import-cancel").click();
  const counts = await reported(page);
  const sum = Object.values(counts).reduce((total, each) => total + each, 0);
  assert.equal(sum, 80, JSON.stringify(counts));
  assert.ok(counts.imported >= 30 && counts.skipped > 0, JSON.stringify(counts));
  assert.equal(counts.unknown, 0, JSON.stringify(counts));
  stage.uploads.push({ csv, arrived: counts.imported });
  return JSON.stringify(counts);
}

async function goesOnAfterAReload(stage) {
  const { page } = stage;
  const { csv, people } = await another(stage, { rows: 50, seed: 4 });
  await interruptAt(page, 20);
  const found = page.getByTestId("found-import").filter({ hasText: /file-4\.csv: \d+ of 50 done/ });
  await found.filter({ hasText: "Choose the same file again to go on" }).waitFor();

  await choose(page, "file-4.csv", csv);
  const known = await numberIn(page, "check-known");
  assert.ok(known >= 15, `${known} of 20 rows were remembered`);
  assert.equal((await numberIn(page, "check-fresh")) + known, people);
  await page.getByTestId("check-resume").waitFor();
  await page.getByTestId("import-start").click();
  const counts = await reported(page);
  // Whoever was on the way at the reload is there when the row is sent again.
  const { imported, alreadyThere, duplicate, ...others } = counts;
  assert.deepEqual(
    [imported + alreadyThere + duplicate, others],
    [50, { failed: 0, skipped: 0, unknown: 0 }],
  );
  stage.uploads.push({ csv, arrived: people });
  return `${known} of ${people} were done before`;
}

async function forgetsAnImport(stage) {
  const { page } = stage;
  const { csv } = await another(stage, { rows: 30, seed: 5 });
  await interruptAt(page, 10);
  await page.getByTestId("found-forget").click();
  await page.getByTestId("found-import").waitFor({ state: "detached" });
  await choose(page, "file-5.csv", csv);
  assert.equal(await numberIn(page, "check-known"), 0);
  await page.getByTestId("import-start").click();
  const { imported, alreadyThere } = await reported(page);
  assert.ok(alreadyThere >= 10, `${alreadyThere} were recognised by the server`);
  stage.uploads.push({ csv, arrived: imported + alreadyThere });
}

async function waitsForTheOtherTab(stage) {
  const { page, demo } = stage;
  const { csv, people } = await another(stage, { rows: 50, seed: 6 });
  await page.getByTestId("import-start").click();
  await waitForNumber(page, "count-imported", 5);

  const other = await page.context().newPage();
  await other.goto(demo.url);
  await other.getByTestId("import-button").click();
  await choose(other, "file-6.csv", csv);
  await other.getByTestId("import-start").click();
  await other.getByTestId("import-status").filter({ hasText: "Another tab runs this import" }).waitFor();
  assert.equal(await numberIn(other, "count-imported"), 0);
  assert.deepEqual(await reported(page), { ...none, imported: people, duplicate: 50 - people });
  const { failed, skipped, unknown } = await reported(other);
  assert.deepEqual([failed, skipped, unknown], [0, 0, 0]);
  await other.close({ runBeforeUnload: false });
  stage.uploads.push({ csv, arrived: people });
}

async function asksBeforeTheTabCloses({ page, browser, demo }) {
  await page.getByTestId("import-close").click();
  const other = await browser.newPage();
  await other.goto(demo.url);
  const asked = [];
  other.on("dialog", (dialog) => {
    asked.push(dialog.type());
    void dialog.dismiss();
  });
  await other.getByTestId("import-button").click();
  // Nobody of this file is new, so what it sends leaves no trace.
  await choose(other, "again.csv", generateCSV({ rows: 100 }));
  await other.getByTestId("import-start").click();
  await waitForNumber(other, "count-duplicate", 5);
  // Leaving the page asks as closing the tab does, which a browser without a window does unasked.
  await assert.rejects(other.goto("about:blank"), /ERR_ABORTED/);
  assert.deepEqual(asked, ["beforeunload"]);
  await reported(other);
  await other.goto("about:blank");
  assert.deepEqual(asked, ["beforeunload"], "it asks after the import too");
  await other.close();
}

async function fitsAPhone({ page }) {
  await page.setViewportSize({ width: 390, height: 844 });
  const widths = {};
  const measure = async (name) => {
    await page.waitForTimeout(300); // dialogs slide in
    widths[name] = await page.evaluate(() => document.documentElement.scrollWidth);
  };
  await page.getByTestId("import-button").waitFor();
  await measure("list");
  await page.getByTestId("demo-button").click();
  await measure("server");
  await page.getByTestId("demo-close").click();
  await page.getByTestId("import-button").click();
  await measure("choose");
  await page.getByTestId("import-sample").click();
  await page.getByTestId("import-start").waitFor();
  await measure("check");
  await page.getByTestId("import-dismiss").click();
  for (const [name, width] of Object.entries(widths)) assert.equal(width, 390, `${name} is ${width} px wide`);
}

async function hadNoErrors({ errors }) {
  assert.deepEqual(errors, []);
}

/** What Postgres itself says, asked by SQL after the demo has let go of its data. */
async function everybodyIsThereOnce({ demo, folder, uploads, browser }) {
  await browser.close();
  assert.equal(await demo.stop(), 0, demo.output());
  const { startBackend } = await import(pathToFileURL(path.join(crm, "server", "backend.mjs")));
  const { checkContacts } = await import(pathToFileURL(path.join(crm, "demo", "check.mjs")));
  const backend = await startBackend({ dataDir: path.join(folder, "postgres") });
  try {
    const rows = (await Promise.all(uploads.map(({ csv }) => rowsIn(csv)))).flat();
    const { contacts, present, doubled, doubledCompanies, doubledTags } = await checkContacts(
      backend,
      rows,
      "tidegate-crm",
    );
    const arrived = uploads.reduce((sum, upload) => sum + upload.arrived, 0);
    assert.deepEqual(
      { contacts, present, doubled, doubledCompanies, doubledTags },
      { contacts: arrived, present: arrived, doubled: [], doubledCompanies: 0, doubledTags: 0 },
    );
    return `${contacts} contacts`;
  } finally {
    await backend.close();
  }
}

// ---- what the cases share

const none = { imported: 0, alreadyThere: 0, duplicate: 0, failed: 0, skipped: 0, unknown: 0 };

/** The rows of a file, as the page understands them. */
async function rowsIn(csv) {
  return (await itemsOf(readContacts(csv))).map(({ row }) => row);
}

async function peopleIn(csv) {
  return new Set((await rowsIn(csv)).map(keyOf));
}

/** Another file, looked at and not yet sent. Resolves with it and how many people are in it. */
async function another({ page }, { rows, seed }) {
  const csv = generateCSV({ rows, seed });
  // Where there is no report, a new dialog asks for a file already.
  if (await page.getByTestId("import-another").isVisible()) await page.getByTestId("import-another").click();
  await choose(page, `file-${seed}.csv`, csv);
  return { csv, people: (await peopleIn(csv)).size };
}

/** Starts the import and reloads the page when so many are there. Its dialog is open again afterwards. */
async function interruptAt(page, rows) {
  await page.getByTestId("import-start").click();
  await waitForNumber(page, "count-imported", rows);
  page.once("dialog", (dialog) => void dialog.accept());
  await page.reload();
  await page.getByTestId("import-button").click();
}

async function setMood(page, mood, rule) {
  await page.getByTestId("demo-button").click();
  await page.getByTestId(`mood-${mood}`).click();
  await page.getByTestId("gateway-rule").filter({ hasText: rule }).waitFor();
  await page.getByTestId("demo-close").click();
}

/** From a report, whose dialog lies over everything else: it is closed, and there is a new one afterwards. */
async function setWay(page, way) {
  await page.getByTestId("import-close").click();
  await page.getByTestId("demo-button").click();
  await page.getByTestId(`way-${way}`).click();
  await page.getByTestId("demo-close").click();
  await page.getByTestId("import-button").click();
}

/** Through the file chooser, as a person does; playwright takes large files only from a disk. */
async function choose(page, name, content) {
  const folder = await mkdtemp(path.join(tmpdir(), "tidegate-csv-"));
  const file = path.join(folder, name);
  try {
    await writeFile(file, content);
    const [chooser] = await Promise.all([
      page.waitForEvent("filechooser"),
      page.getByTestId("import-choose").click(),
    ]);
    await chooser.setFiles(file);
    await page.getByTestId("import-problem").or(page.getByTestId("import-check")).first().waitFor();
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** The report's figures, once there is one. */
async function reported(page) {
  await page.getByTestId("import-report").waitFor({ timeout: 60_000 });
  const entries = Object.keys(none).map(async (id) => [id, await numberIn(page, `report-${id}`)]);
  return Object.fromEntries(await Promise.all(entries));
}

async function numberIn(page, testId) {
  return Number((await page.getByTestId(testId).textContent()).replaceAll(",", ""));
}

async function waitForNumber(page, testId, least) {
  await page.waitForFunction(
    ([id, wanted]) => Number(document.querySelector(`[data-testid="${id}"]`)?.textContent) >= wanted,
    [testId, least],
    { timeout: 60_000 },
  );
}

/** What a figure comes to: it has been the same for two seconds. */
async function settled(read) {
  let before;
  let now = await read();
  while (now !== before) {
    before = now;
    await new Promise((resolve) => setTimeout(resolve, 2000));
    now = await read();
  }
  return now;
}

/** As PostgREST counts, through the gateway, which may ask for patience. */
async function postgresCount({ demo, page }, table) {
  const { supabaseKey } = await page.evaluate(() =>
    fetch("/config.json").then((response) => response.json()),
  );
  for (;;) {
    const response = await fetch(`${demo.gatewayUrl}/rest/v1/${table}?select=id`, {
      headers: { apikey: supabaseKey, prefer: "count=exact", range: "0-0" },
    });
    await response.arrayBuffer();
    if (response.ok) return Number(response.headers.get("content-range").split("/")[1]);
    assert.equal(response.status, 429);
    await page.waitForTimeout(500);
  }
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const report = new Report("an import through the CRM");
  await run({ report, chromiumPath: findChromium() });
  console.log(report.counts());
  process.exitCode = report.failed === 0 ? 0 : 1;
}
