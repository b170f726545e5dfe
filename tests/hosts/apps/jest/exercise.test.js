const { exercise } = require("./exercise.cjs");

test("the package works here", async () => {
  const { core } = await exercise(process.env.API);
  expect(core).toBe("ready");
}, 60_000);
