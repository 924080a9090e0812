import { defineConfig } from 'vitest/config';

/** `npm run accept` runs all of them, `npm run accept -- retrieval` one. */
export default defineConfig({
  test: {
    include: ['test/acceptance/*.ts'],
    exclude: ['test/acceptance/vitest.config.ts'],
    // Each measures this machine: one at a time.
    fileParallelism: false,
    testTimeout: 3_600_000,
    hookTimeout: 600_000,
    // The records are those of the cpu backend, also on a machine with a GPU.
    env: { ELASTICLM_BACKEND: 'cpu' },
  },
});
