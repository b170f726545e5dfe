import { expect, test } from "vitest";
import { exercise } from "./exercise.js";

test("the package works here", async () => {
  const { core } = await exercise(import.meta.env.VITE_API);
  expect(core).toBe("ready");
}, 60_000);
