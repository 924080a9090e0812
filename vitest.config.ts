import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    // These have their own configuration: one needs data from outside, the other a prebuilt addon.
    exclude: ['test/acceptance/**', 'test/package/install.test.ts'],
    testTimeout: 30_000,
    // A GPU here must not change what the tests of the cpu see; those of the cuda backend ask for it.
    env: { ELASTICLM_BACKEND: 'cpu' },
  },
});
