// Quotas of agents and of their session, which a reload does not forget: node examples/dialer.mjs
import { presets, RateLimiterRegistry } from "tidegate";
import { startStandIn } from "./crm/server/stand-in.mjs";

// 100 calls an hour for each agent, 800 a day for the session: the server counts too, and the preset knows both.
const api = await startStandIn({ mode: "per-agent" });

// Nobody waits an hour for a call, so one too many is refused. No pause of 2 s between two: nobody talks here.
const dialer = { ...presets.powerDialer, onLimit: "reject", minIntervalMs: 0 };
const storage = new Map(); // a page has localStorage

function openPage() {
  const registry = new RateLimiterRegistry({ dialer });
  if (storage.has("dialer")) registry.restore(JSON.parse(storage.get("dialer")));
  return registry;
}

/** Makes calls one after the other until one does not go, and says how many went. */
async function dial(registry, agent, calls) {
  const headers = { "x-agent": agent };
  const call = ({ signal }) => fetch(`${api.url}/calls?lasts=1`, { method: "POST", headers, signal });
  const limitKey = { agent, session: "monday" };
  for (let made = 0; made < calls; made++) {
    const answer = await registry.withRateLimit("dialer", "call", call, { limitKey }).catch((error) => error);
    if (!answer.ok) return `${agent} ${made}: ${answer.userMessage ?? answer}`;
  }
  return `${agent} ${calls}`;
}

const agents = ["ann", "bob", "cid", "dot", "eve", "fay", "gus"];
const before = openPage();
console.log((await Promise.all(agents.map((agent) => dial(before, agent, 60)))).join("\n"));
storage.set("dialer", JSON.stringify(before.snapshot())); // a page does this at "pagehide"

const after = openPage();
console.log((await Promise.all(agents.map((agent) => dial(after, agent, 60)))).join("\n"));
for (const agent of ["hal", "ida"]) console.log(await dial(after, agent, 60)); // until the session's day is used up
const { requests, refused } = await api.counts();
console.log(`${requests} requests, refused: ${refused[429] ?? 0}`);
await api.close();
