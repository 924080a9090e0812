import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { Linter } from 'eslint';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { folderImports } from '../../scripts/eslint-folder-imports.mjs';

const root = fileURLToPath(new URL('../..', import.meta.url));
let scratch: string;

beforeEach(() => {
  scratch = mkdtempSync(path.join(tmpdir(), 'elasticlm-rules-'));
});
afterEach(() => {
  rmSync(scratch, { recursive: true });
});

function write(name: string, text: string): void {
  const file = path.join(scratch, name);
  mkdirSync(path.dirname(file), { recursive: true });
  writeFileSync(file, text);
}

describe('scripts/check-includes.mjs', () => {
  /** What the check says about one file beside the headers that it could include. */
  function check(name: string, include: string): { status: number | null; stderr: string } {
    const headers = [
      'core/status.h',
      'model/config.h',
      'exec/encoder.h',
      'kernels/linear.h',
      'kernels/kernel_table.h',
    ];
    for (const header of headers) write(`native/${header}`, '#pragma once\n');
    write(name, `#include <vector>\n${include}\n`);
    const script = path.join(root, 'scripts/check-includes.mjs');
    return spawnSync(process.execPath, [script, scratch], { encoding: 'utf8' });
  }

  it.each([
    ['native/kernels/cpu/linear_avx2.cpp', '#include "kernels/linear.h"'],
    ['native/kernels/ref/linear.cpp', '#include "core/status.h"'],
    ['native/exec/encoder.cpp', '#include "encoder.h"'],
    ['native/search/index.cpp', '#include "kernels/kernel_table.h"'],
    ['native/addon/model.cpp', '#include <napi.h>'],
    ['native/test/encoder_test.cpp', '#include "exec/encoder.h"'],
    ['bench/native/linear.cpp', '#include "kernels/kernel_table.h"'],
  ])('accepts %s with %s', (name, include) => {
    expect(check(name, include)).toMatchObject({ status: 0, stderr: '' });
  });

  it.each([
    ['kernels reach into the model', 'native/kernels/linear.h', '#include "model/config.h"'],
    [
      'a kernel reaches into the model',
      'native/kernels/cpu/linear_avx2.cpp',
      '  #  include "model/config.h"',
    ],
    ['a relative path hides the folder', 'native/core/arena.h', '#include "../model/config.h"'],
    ['the plan calls kernels', 'native/plan/plan.cpp', '#include "kernels/kernel_table.h"'],
    ['search reaches into the model', 'native/search/index.cpp', '#include "model/config.h"'],
    ['Node leaks out of the addon', 'native/exec/encoder.cpp', '#include <node_api.h>'],
    ['Node leaks through its wrapper', 'native/core/status.cpp', '#include "napi.h"'],
    ['a header does not exist', 'native/core/status.cpp', '#include "core/statsu.h"'],
    ['a folder has no rules', 'native/utils/strings.cpp', '#include "core/status.h"'],
  ])('catches that %s', (_, name, include) => {
    const { status, stderr } = check(name, include);
    expect(stderr).toContain(`${name}:2: `);
    expect(status).toBe(1);
  });
});

describe('the folder-imports lint rule', () => {
  function objections(file: string, code: string): string[] {
    const linter = new Linter({ cwd: scratch });
    const plugins = { elasticlm: { rules: { 'folder-imports': folderImports } } };
    const config: Linter.Config = {
      files: ['**/*.ts'],
      plugins,
      rules: { 'elasticlm/folder-imports': 'error' },
    };
    return linter.verify(code, config, path.join(scratch, file)).map(({ message }) => message);
  }

  it.each([
    ['lib/batch/pack.ts', "import { a } from '../types.js';"],
    ['lib/batch/pack.ts', "import { a } from './order.js';"],
    ['lib/tokenizer/rules/split.ts', "import { a } from '../word-piece.js';"],
    ['lib/heads/denser.ts', "import { a } from '../model/index.js';"],
    ['lib/binding/addon.ts', "import load from 'node-gyp-build';"],
    ['lib/index.ts', "export * from './heads/denser.js';"],
    ['lib/cli/main.ts', "import { a } from '../index.js';"],
  ])('accepts in %s: %s', (file, code) => {
    expect(objections(file, code)).toEqual([]);
  });

  it.each([
    ['batch reaches up to the model', 'lib/batch/pack.ts', "import { a } from '../model/model.js';"],
    ['the command bypasses the public API', 'lib/cli/main.ts', "import { a } from '../binding/addon.js';"],
    ['a re-export hides the arrow', 'lib/model/model.ts', "export { a } from '../heads/denser.js';"],
    ['a star export hides the arrow', 'lib/model/model.ts', "export * from '../heads/denser.js';"],
    ['a dynamic import hides the arrow', 'lib/tokenizer/load.ts', "await import('../model/model.js');"],
    ['types use something', 'lib/types.ts', "import { a } from './errors.js';"],
    ['a second door to the addon opens', 'lib/model/model.ts', "import load from 'node-gyp-build';"],
    ['the library reaches outside', 'lib/model/model.ts', "import { a } from '../../test/helpers.js';"],
    ['a folder has no rules', 'lib/utils/strings.ts', "import { a } from '../types.js';"],
  ])('catches that %s', (_, file, code) => {
    expect(objections(file, code)).toHaveLength(1);
  });
});

describe('scripts/check-isa-symbols.sh', () => {
  function check(code: string): { status: number | null; stderr: string } {
    write('kernel.cpp', code);
    const object = path.join(scratch, 'kernel.o');
    execFileSync('g++', ['-std=c++20', '-c', path.join(scratch, 'kernel.cpp'), '-o', object]);
    const script = path.join(root, 'scripts/check-isa-symbols.sh');
    return spawnSync('sh', [script, 'nm', object], { encoding: 'utf8' });
  }

  it('accepts an object whose helpers are in an unnamed namespace', () => {
    const code =
      'namespace { template <int N> int twice(int x) { return N * x; } } int f(int x) { return twice<2>(x); }';
    expect(check(code)).toMatchObject({ status: 0, stderr: '' });
  });

  it('catches an inline function that the linker could keep for every CPU', () => {
    const { status, stderr } = check(
      'inline int twice(int x) { return 2 * x; } int f(int x) { return twice(x); }',
    );
    expect(stderr).toContain('twice(int)');
    expect(status).toBe(1);
  });
});
