// An application outside of pages: the address of the server is its argument.
const { exercise } = require("./exercise.cjs");

exercise(process.argv[2]);
