import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    // These have their own configuration: one needs data from outside, the other a prebuilt addon.
    exclude: ['test/acceptance/**', 'test/package/install.test.ts'],
    testTimeout: 30_000,
  },
});
