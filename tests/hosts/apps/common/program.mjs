// An application outside of pages: the address of the server is its argument.
import { exercise } from "./exercise.js";

await exercise(process.argv[2]);
