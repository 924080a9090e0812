import { defineConfig } from 'tsdown';

const shared = { platform: 'node', target: 'node20', fixedExtension: true } as const;

export default defineConfig([
  // One pass for the library and the command, so that they share their chunks instead of holding two copies.
  {
    ...shared,
    entry: { index: 'lib/index.ts', 'cli/main': 'lib/cli/main.ts' },
    format: 'esm',
    dts: true,
    clean: true,
  },
  { ...shared, entry: { index: 'lib/index.ts' }, format: 'cjs', dts: true, clean: false },
]);
