// An import in a process of its own, to be killed: node import-child.mjs '{"engine": …}'. It says "begun", and its report
// as JSON when it gets that far.

const { engine, url, folder, rows, kind } = JSON.parse(process.argv[2]);
const { createImport, fileStore } = await import(engine);

/** Appends whatever comes, or what it does not have by its id. @throws what the import understands */
async function post(items, { once }, signal) {
  const body = JSON.stringify(items.map(({ id, row }) => ({ id, email: row.email })));
  const response = await fetch(`${url}/rows${once ? "?once" : ""}`, { method: "POST", body, signal });
  if (!response.ok) throw Object.assign(new Error(response.statusText), { status: response.status });
  return response.json();
}

const SENDERS = {
  /** Sending twice is the same as sending once. */
  idempotent() {
    const send = async ({ items, signal }) => {
      const inserted = new Set(await post(items, { once: true }, signal));
      return items.map(({ id }) => ({ outcome: inserted.has(id) ? "imported" : "ignored", id }));
    };
    return Object.assign(send, { idempotent: true, maxBatch: 10 });
  },

  /** What is sent twice is there twice; a row can be looked up. */
  verified() {
    const verify = async ({ email }, item, signal) => {
      const response = await fetch(`${url}/rows?email=${encodeURIComponent(email)}`, { signal });
      if (!response.ok) throw Object.assign(new Error(response.statusText), { status: response.status });
      return (await response.json()).length > 0 ? { outcome: "ignored", id: item.id } : undefined;
    };
    return Object.assign(SENDERS.unverified(), { verify });
  },

  /** And not even that. */
  unverified() {
    const send = async ({ items, signal }) => {
      await post(items, { once: false }, signal);
    };
    return Object.assign(send, { maxBatch: 3 });
  },
};

const job = createImport({
  rows: Array.from({ length: rows }, (_, i) => ({ email: `person-${i}@example.com` })),
  send: Object.assign(SENDERS[kind](), { origin: "https://stand-in.example", table: "people" }),
  key: (row) => row.email,
  batchSize: "auto",
  checkpoint: fileStore(folder),
});
const notices = [];
job.on("notice", ({ message }) => notices.push(message));
console.log("begun");
const report = await job.start();
const listed = report.rows({ outcome: "unknown" }).map(({ index }) => index);
const { imported, duplicate, failed, skipped, unknown, total, stopped, storage } = report;
console.log(
  JSON.stringify({
    ...{ imported, duplicate, failed, skipped, unknown, total, stopped, storage, listed },
    notices,
  }),
);
