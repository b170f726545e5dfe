import { defineConfig } from "vitest/config";

/**
 * The tests of ../../vitest.config.ts without those that cannot see a mutant, because they run what was built or start
 * processes, and those that measure memory or time.
 */
export default defineConfig({
  test: {
    include: ["tests/js/**/*.test.{ts,tsx}"],
    exclude: [
      "**/node_modules/**",
      "tests/js/{coders,examples,exit,import.kill,leaks,memory,react-admin.types,rewrite}.test.{ts,tsx}",
    ],
    environment: "node",
    restoreMocks: true,
    unstubGlobals: true,
    testTimeout: 20_000,
  },
});
