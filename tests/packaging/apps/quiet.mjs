// Importing every entry does nothing: no compilation, no timer, no global, no output, and Node can end.
import assert from "node:assert/strict";

const busy = [];
const watch = (object, name) => {
  const note =
    (trap) =>
    (...args) => {
      busy.push(name);
      return Reflect[trap](...args);
    };
  object[name] = new Proxy(object[name], { apply: note("apply"), construct: note("construct") });
};
for (const name of ["Module", "Instance", "compile", "instantiate", "validate"]) watch(WebAssembly, name);
for (const name of ["setTimeout", "setInterval", "queueMicrotask", "fetch", "atob"]) watch(globalThis, name);
for (const name of ["log", "info", "warn", "error", "debug"]) watch(console, name);
watch(Date, "now");
watch(Math, "random");

const globals = Reflect.ownKeys(globalThis);
for (const entry of process.argv.slice(2)) await import(entry);

assert.deepEqual(busy, []);
assert.deepEqual(Reflect.ownKeys(globalThis), globals);
