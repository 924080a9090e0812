/**
 * Damaged files and batches, many of them: each must end with a coded error or a right result. The native readers run under
 * AddressSanitizer and UBSan in programs of their own; the TypeScript readers run before the addon as users have it.
 * ELASTICLM_FUZZ_CASES sets the cases of each native fuzzer.
 */
import { readdirSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { runProcess } from '../support/run-process.js';
import { fuzzTokenizerJson } from '../tokenizer/mutations.js';
import { repositoryRoot } from './support/data.js';
import { storeResult } from './support/result.js';

const seed = 20_240_807;
const nativeCases = Number(process.env['ELASTICLM_FUZZ_CASES'] ?? 60_000);
/** Each loads or runs a whole model. */
const modelCases = 5_000;
const tokenizerCases = 10_000;
const minimumCases = 100_000;

const build = 'build-sanitize';
const sanitizerOptions = {
  ASAN_OPTIONS: 'detect_leaks=1:strict_string_checks=1:detect_stack_use_after_return=1',
  UBSAN_OPTIONS: 'print_stacktrace=1',
};
const modelSuite = 'test/model/hostile.test.ts';

const fuzzers = readdirSync(path.join(repositoryRoot, 'native', 'test'))
  .filter((name) => name.endsWith('_fuzz.cpp'))
  .map((name) => path.basename(name, '.cpp'));

/** Cases that passed, by what was damaged. */
const passed = { native: {} as Record<string, number>, typescript: {} as Record<string, number> };

/** stdout of a command in the repository; fails with what it wrote unless it ended with 0. */
async function run(program: string, args: string[], variables: Record<string, string> = {}): Promise<string> {
  const options = { cwd: repositoryRoot, env: { ...process.env, ...variables } };
  const { code, signal, stdout, stderr } = await runProcess(program, args, options);
  if (code === 0) return stdout;
  const output = `${stdout.slice(-4000)}\n${stderr.slice(-8000)}`;
  throw new Error(`${program} ${args.join(' ')} ended with ${code ?? signal ?? 'nothing'}\n${output}`);
}

describe('native readers under AddressSanitizer and UBSan', () => {
  it('are built', async () => {
    await run('cmake', ['-S', '.', '-B', build, '-DELASTICLM_SANITIZE=ON']);
    await run('cmake', ['--build', build, '--parallel', '2', '--target', ...fuzzers]);
  });

  it.each(fuzzers)('%s: no crash, no hang, no leak', async (name) => {
    const output = await run(path.join(build, name), [String(nativeCases), String(seed)], sanitizerOptions);
    expect(output).toMatch(new RegExp(`^${nativeCases} cases`, 'm'));
    passed.native[name] = nativeCases;
  });
});

describe('TypeScript readers and the addon behind them', () => {
  it('models: files of a checkpoint, batches, levels, structures', async () => {
    const args = ['node_modules/vitest/vitest.mjs', 'run', modelSuite, '--reporter=json'];
    const output = await run(process.execPath, args, { ELASTICLM_FUZZ_CASES: String(modelCases) });
    const report = JSON.parse(output) as {
      testResults: { assertionResults: { title: string; status: string }[] }[];
    };
    for (const { title, status } of report.testResults.flatMap(({ assertionResults }) => assertionResults)) {
      expect(status, title).toBe('passed');
      passed.typescript[title] = modelCases;
    }
  });

  it('tokenizers: tokenizer.json', () => {
    const { loaded, refused } = fuzzTokenizerJson(seed, tokenizerCases);
    expect(loaded + refused).toBe(tokenizerCases);
    passed.typescript['tokenizer.json'] = tokenizerCases;
  });

  it('saw as many cases as were asked for', () => {
    const cases = [passed.native, passed.typescript].flatMap((counts) => Object.values(counts));
    const total = cases.reduce((sum, count) => sum + count, 0);
    expect(total).toBeGreaterThanOrEqual(minimumCases);
    storeResult('hostile', { seed, total, ...passed });
  });
});
