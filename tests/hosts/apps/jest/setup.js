// What jest-environment-jsdom leaves out of a browser, from Node.
const { TextDecoder, TextEncoder } = require("node:util");

Object.assign(globalThis, { TextDecoder, TextEncoder });
