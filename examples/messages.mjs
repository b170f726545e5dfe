// Bulk messages and calls at the pace that the account has, so that no 429 happens: node examples/messages.mjs
import { rateLimiter, withRateLimit } from "tidegate";
import { startStandIn } from "./crm/server/stand-in.mjs";

// 10 messages and 10 calls a second; beyond that it answers 429 in Twilio's words, with code 20429.
const api = await startStandIn({ mode: "twilio", limits: { rate: 10 } });

// The preset is for a new account and lets 1 a second go; this one may do more. The server counts what arrives, and we
// count what leaves: evenly and well below its limit, a request that the network held up does no harm.
const pace = { maxRequests: 7, windowMs: 1_000 };
rateLimiter.updateServiceLimits("twilio", { rateLimit: { sms: pace, voice: pace }, smooth: true });

function post(operation, resource, form, overrides) {
  const url = `${api.url}/2010-04-01/Accounts/AC1/${resource}.json`;
  const send = ({ signal }) => fetch(url, { method: "POST", body: new URLSearchParams(form), signal });
  return withRateLimit("twilio", operation, send, overrides);
}

const started = performance.now();
const seconds = () => `${((performance.now() - started) / 1_000).toFixed(1)} s`;
const people = Array.from({ length: 20 }, (_, i) => `+1555010${String(i).padStart(4, "0")}`);
const messages = people.map((To) => post("sms", "Messages", { To, Body: "Our shop has moved." }));
const calls = people.slice(0, 8).map((To) => post("voice", "Calls", { To }));

// Somebody wants to log in: this one goes before everybody who is still waiting, and is counted with them.
const login = post("sms", "Messages", { To: "+15550200000", Body: "Your code: 4711" }, { priority: 10 });
login.then(() => console.log(`the code for the login went after ${seconds()}`));

const answers = await Promise.all([...messages, ...calls, login]);
const taken = answers.filter(({ ok }) => ok).length;
const { requests, refused } = await api.counts();
console.log(`${taken} of 29 taken in ${seconds()}; ${requests} requests, refused: ${refused[429] ?? 0}`);
await api.close();
