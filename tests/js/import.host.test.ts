import { expect, it } from "vitest";
import { createImport } from "../../js/import.ts";
import { ManualHost } from "../../js/testing.ts";

/** Applications test their imports with the manual host of `tidegate/testing`: nothing may need more time than it gives. */
it("an import runs in the time of a manual host", async () => {
  const host = new ManualHost();
  const sent: number[] = [];
  const job = createImport({
    rows: Array.from({ length: 100 }, (_, n) => ({ n })),
    send: async ({ items }) => {
      await host.sleep(50);
      sent.push(...items.map(({ row }) => row.n));
    },
    batchSize: 10,
    host,
  });
  const report = await host.drive(job.start());
  expect(report).toMatchObject({ imported: 100, total: 100 });
  expect(sent.length).toBe(100);
  expect(host.sleeping).toBe(0);
});
