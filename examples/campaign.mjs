// Two campaigns share 5 lines, 3 each at most, and a line that nobody gives back comes back: node examples/campaign.mjs
import { Slots, startsPerMinute } from "tidegate";
import { startStandIn } from "./crm/server/stand-in.mjs";

// A call is a request, which is answered when the call is over. The server refuses a sixth, and a fourth of a campaign.
const api = await startStandIn({ mode: "per-campaign", limits: { limit: 3, total: 5 } });

// In earnest: 10,000 lines, 100 for a campaign, leases of 600 s.
const lines = new Slots({ global: 5, perGroup: 3, leaseMs: 1_000 });

function call(campaign) {
  const url = `${api.url}/calls?lasts=100`;
  return lines.run(campaign, () => fetch(url, { method: "POST", headers: { "x-campaign": campaign } }));
}

const started = performance.now();
const campaigns = Array.from({ length: 24 }, (_, i) => (i < 16 ? "spring" : "autumn"));
const answers = await Promise.all(campaigns.map(call));
const took = Math.round(performance.now() - started);
console.log(`${answers.filter(({ ok }) => ok).length} of 24 calls made in ${took} ms`);
console.log(
  `a campaign can begin ${startsPerMinute(3, 100)} of these a minute, all together ${startsPerMinute(5, 100)}`,
);

// Three holders crash: their leases are never released. The fourth is refused, not failed in some other way.
lines.updateLimits({ onLimit: "reject" });
const lost = await Promise.all([1, 2, 3].map(() => lines.acquire("spring")));
console.log(
  `the fourth: ${await call("spring").catch((error) => error.code)}, another campaign: ${(await call("autumn")).status}`,
);

lines.updateLimits({ onLimit: "wait" });
await call("spring");
console.log(`the leases ran out: ${lines.inFlight("spring")} of ${lost.length} are held`);
lost[0].release(); // harmless: somebody else may have that line by now
const { requests, refused } = await api.counts();
console.log(`${requests} requests, refused: ${refused[429] ?? 0}`);
await api.close();
