import { defineConfig } from "vitest/config";
import { BaseSequencer, type TestSpecification } from "vitest/node";

/**
 * The first test that fails ends the run of a mutant. So the file that caught the last one comes first, because its
 * neighbour is likely to fall there too, and then the quickest: Vitest itself begins with the slowest.
 */
class QuickestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const rank = (file: TestSpecification): number => {
      const place = file.moduleId.slice(this.ctx.config.root.length + 1);
      const last = this.ctx.cache.getFileTestResults(`${file.project.name}:${place}`);
      return last?.failed ? -1 : (last?.duration ?? 0);
    };
    return [...files].sort((a, b) => rank(a) - rank(b));
  }
}

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
    sequence: { sequencer: QuickestFirst },
  },
  // Where the durations are kept: of its own for each room, as the sandbox is.
  cacheDir: "target/vitest",
});
