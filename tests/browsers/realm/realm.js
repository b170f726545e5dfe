// What a worker of any kind runs: it answers `{ ask, … }` on the port that comes along.
import { answer } from "../cases.js";

const reply = async ({ data, ports: [port] }) => port.postMessage(await answer(data));

if ("SharedWorkerGlobalScope" in globalThis) {
  globalThis.onconnect = ({ ports: [port] }) => {
    port.onmessage = reply;
  };
} else if ("ServiceWorkerGlobalScope" in globalThis) {
  globalThis.oninstall = () => globalThis.skipWaiting();
  globalThis.onactivate = (event) => event.waitUntil(globalThis.clients.claim());
  globalThis.onmessage = (event) => event.waitUntil(reply(event));
} else {
  globalThis.onmessage = reply;
}
