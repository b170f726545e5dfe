import { defineConfig } from "vitest/config";

/**
 * Tests run against the sources in js/ and the core in pkg/, in Node; a test that needs a document names jsdom in its
 * first lines. Tests that wait in real time say so and have a limit of their own; else five seconds are a hang.
 */
export default defineConfig({
  test: {
    include: ["tests/js/**/*.test.{ts,tsx}"],
    environment: "node",
    restoreMocks: true,
    unstubGlobals: true,
    // A hang is one after twenty seconds too; a disk that is slow under load is none.
    testTimeout: 20_000,
  },
});
