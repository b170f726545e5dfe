// One subject in a process of its own: node --expose-gc node.mjs <bundle> <measure|endure> <arguments as JSON>. Answers with JSON.
import { pathToFileURL } from "node:url";

const memories = [];
const { Instance } = WebAssembly;
WebAssembly.Instance = function noted(...given) {
  const instance = new Instance(...given);
  if (instance.exports.memory) memories.push(instance.exports.memory);
  return instance;
};

const [bundle, task, given] = process.argv.slice(2);
const tasks = await import(pathToFileURL(bundle).href);
const [...terms] = JSON.parse(given);
const options = { ...terms.pop(), collected };
process.stdout.write(JSON.stringify(await tasks[task](...terms, options)));
process.exit();

async function collected() {
  for (let turn = 0; turn < 3; turn++) {
    await new Promise(setImmediate);
    globalThis.gc();
  }
  const wasm = memories.reduce((sum, memory) => sum + memory.buffer.byteLength, 0);
  return { heap: process.memoryUsage().heapUsed, wasm };
}
