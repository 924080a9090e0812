import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';

/**
 * Peers are installed here the first time a benchmark needs them, so that nobody else downloads several hundred megabytes.
 * `--ignore-scripts` keeps onnxruntime-node from fetching its GPU libraries; the CPU library is part of its package.
 */
export function loadPeer(name: string): unknown {
  const manifest = new URL('./package.json', import.meta.url);
  if (!existsSync(new URL(`./node_modules/${name}/package.json`, import.meta.url))) {
    process.stderr.write(`installing ${name} for the comparison …\n`);
    execFileSync('npm', ['install', '--ignore-scripts', '--no-audit', '--no-fund', '--no-package-lock'], {
      cwd: fileURLToPath(new URL('.', import.meta.url)),
      stdio: ['ignore', 'ignore', 'inherit'],
    });
  }
  return createRequire(manifest)(name);
}
