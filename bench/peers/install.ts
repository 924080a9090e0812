import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';

const manifest = new URL('./package.json', import.meta.url);
const installed = (name: string): URL => new URL(`./node_modules/${name}/package.json`, import.meta.url);

/**
 * Peers are installed here the first time a benchmark needs them, so that nobody else downloads several hundred megabytes.
 * `--ignore-scripts` keeps onnxruntime-node from fetching its GPU libraries and node-llama-cpp from building: the
 * libraries for CPUs are part of their packages. The manifest's overrides put node-llama-cpp's package for CPUs in the
 * place of those for GPUs, 600 MB that nobody runs here.
 */
function install(name: string): void {
  if (existsSync(installed(name))) return;
  process.stderr.write(`installing ${name} for the comparison …\n`);
  execFileSync('npm', ['install', '--ignore-scripts', '--no-audit', '--no-fund', '--no-package-lock'], {
    cwd: fileURLToPath(new URL('.', import.meta.url)),
    stdio: ['ignore', 'ignore', 'inherit'],
  });
}

/** A peer's CommonJS module. */
export function loadPeer(name: string): unknown {
  install(name);
  return createRequire(manifest)(name);
}

/** A peer's ECMAScript module. */
export function importPeer(name: string): Promise<unknown> {
  install(name);
  return import(name);
}

/** `name version`, as records name a peer. */
export function peerLabel(name: string): string {
  install(name);
  const { version } = JSON.parse(readFileSync(installed(name), 'utf8')) as { version: string };
  return `${name} ${version}`;
}
