import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/package/install.test.ts'],
    testTimeout: 300_000,
    hookTimeout: 300_000,
    // The expected digits are those of f32, also on a machine with a GPU.
    env: { ELASTICLM_BACKEND: 'cpu' },
  },
});
