// The circuit opens, rejects at once, probes, and closes, in virtual time: node examples/circuit.mjs
import { RateLimitService } from "tidegate";
import { ManualHost } from "tidegate/testing";

const host = new ManualHost();
const service = new RateLimitService({ maxRetries: 0, circuitBreakerThreshold: 3, logLevel: "silent" }, host);
service.on("circuit", ({ from, to }) => console.log(`  circuit: ${from} -> ${to}`));

let serverIsWell = false;
const call = () => (serverIsWell ? "fine" : Promise.reject({ status: 429 }));
const outcome = () => service.executeWithRetry(call).catch((error) => error.code);

for (let i = 1; i <= 3; i++) {
  console.log(`call ${i}: ${await host.drive(outcome())}`);
  await host.advance(1_000);
}
console.log(`call 4: ${await outcome()}, and the server was not asked`);
console.log(`calls may go again in ${service.getCircuitState().retryAfterMs} ms`);

serverIsWell = true;
await host.advance(60_000);
console.log(`a minute later: ${service.getCircuitState().state}`);
console.log(`the probe: ${await outcome()}`);
console.log(`now: ${service.getCircuitState().state}`);
