// Ten workers, one service, a server that takes 20 rows a second: node examples/import.mjs
import { RateLimitService } from "tidegate";
import { ManualHost } from "tidegate/testing";

const host = new ManualHost();
const service = new RateLimitService({ maxRetries: 10, retryBudget: null, logLevel: "silent" }, host);
let tokens = 0; // the server's: 20 a second, one second's worth at most
let filled = host.now();
let requests = 0;
const table = new Set();

async function insert(row) {
  requests++;
  tokens = Math.min(20, tokens + (host.now() - filled) / 50);
  filled = host.now();
  if (tokens < 1) return { error: { message: "slow down" }, status: 429 };
  tokens -= 1;
  table.add(row);
  return { error: null, status: 201 };
}

const rows = Array.from({ length: 300 }, (_, i) => i);
const started = host.now();
const worker = async () => {
  for (let row = rows.shift(); row !== undefined; row = rows.shift())
    await service.executeWithRetry(() => insert(row));
};
await host.drive(Promise.all(Array.from({ length: 10 }, worker)));

const seconds = (host.now() - started) / 1_000;
console.log(
  `${table.size} of 300 rows in ${seconds.toFixed(1)} s (the limit alone: 15 s), ${requests} requests`,
);
