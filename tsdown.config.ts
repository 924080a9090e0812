import { defineConfig, type UserConfig } from 'tsdown';

const shared: UserConfig = {
  platform: 'node',
  target: 'node20',
  fixedExtension: true,
  dts: true,
  inputOptions: { checks: { pluginTimings: false } },
};

export default defineConfig([
  // One pass for the library, its server and the command, so that they share their chunks instead of holding copies.
  {
    ...shared,
    entry: { index: 'lib/index.ts', server: 'lib/server/plugin.ts', 'cli/main': 'lib/cli/main.ts' },
    format: 'esm',
  },
  { ...shared, entry: { index: 'lib/index.ts', server: 'lib/server/plugin.ts' }, format: 'cjs' },
]);
