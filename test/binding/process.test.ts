import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { writeTinyCheckpoint } from '../support/checkpoint.js';
import { runProcess, type ProcessResult } from '../support/run-process.js';

let directory: string;
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'elasticlm-process-'));
  writeTinyCheckpoint(directory, { layers: 4, heads: 8, headDim: 32, neurons: 1024 });
});
afterAll(() => {
  rmSync(directory, { recursive: true, force: true });
});

/** A program of this folder in a process of its own, from its sources. */
function runProgram(
  name: string,
  args: readonly string[],
  nodeFlags: readonly string[] = [],
): Promise<ProcessResult> {
  const path = fileURLToPath(new URL(`programs/${name}.ts`, import.meta.url));
  return runProcess(process.execPath, [...nodeFlags, '--import', import.meta.resolve('tsx'), path, ...args]);
}

const timeoutMs = 120_000;

describe('garbage collection while busy', () => {
  it(
    'keeps native memory until the call settles, then frees it and ends the threads',
    async () => {
      const { code, signal, stdout, stderr } = await runProgram(
        'collect-while-busy',
        [directory],
        ['--expose-gc'],
      );
      expect({ code, signal, stderr }).toEqual({ code: 0, signal: null, stderr: '' });
      expect(JSON.parse(stdout)).toEqual({ alive: 0, threads: 0 });
    },
    timeoutMs,
  );
});

describe('worker_threads', () => {
  it(
    'load the addon side by side, and end in any way while busy without harm to the others',
    async () => {
      const { code, signal, stdout, stderr } = await runProgram('workers', [directory]);
      expect({ code, signal, stderr }).toEqual({ code: 0, signal: null, stderr: '' });
      expect(JSON.parse(stdout)).toEqual({
        ended: ['finish 0', 'exit 0', 'throw 1 the worker fails on purpose', 'wait 1', 'exit 0', 'wait 1'],
        unchanged: true,
      });
    },
    timeoutMs,
  );
});

describe('the end of the process', () => {
  it('by process.exit while calls run keeps the exit code', async () => {
    const { code, signal, stderr } = await runProgram('exit-while-busy', [directory, 'exit']);
    expect({ code, signal, stderr }).toEqual({ code: 3, signal: null, stderr: '' });
  });

  it('waits for calls in flight, and for nothing of an unclosed model', async () => {
    const { code, signal, stdout } = await runProgram('exit-while-busy', [directory, 'drain']);
    expect({ code, signal, stdout }).toEqual({ code: 0, signal: null, stdout: 'all settled\n' });
  });
});
