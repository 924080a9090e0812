/**
 * Forward and backward of training, MiniLM's sizes with random weights: GFLOP/s beside those of the inference kernels over the
 * same batch, level by level, and six SubLMs in one pass beside one after the other. Each setting is a run of
 * bench/results/training.json:
 *
 *   npm run bench:training -- [--precision f32,bf16] [--threads 1,2] [--tokens 2048,16] [--out bench/results/training.json]
 *
 * Needs cmake. It ends with 1 when a bar is missed.
 */
import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { Bars } from './cpu/ratio.js';
import { writeRun } from './record.js';

/** Forward and backward together, of what the inference kernels reach; holds for micro-batches of at least so many tokens. */
const throughputBar = { atLeast: 0.6, fromTokens: 2048 };
/** Time of one pass over six SubLMs, over that of six passes. */
const mixedBar = { atMost: 0.75 };

interface LevelLine {
  what: 'level';
  level: number;
  shareOfKernels: number;
}
interface MixedLine {
  what: 'mixed';
  overTraverse: number;
}
type Line = LevelLine | MixedLine | { what: 'traverse' };

const root = fileURLToPath(new URL('..', import.meta.url));

/** Path of the native program, built by the project's own cmake. */
function trainBench(): string {
  const cmake = (...args: string[]): void => {
    execFileSync('cmake', args, { cwd: root, stdio: ['ignore', 'ignore', 'inherit'] });
  };
  cmake('-S', '.', '-B', 'build-native', '-DELASTICLM_CUDA=OFF');
  cmake('--build', 'build-native', '--target', 'train_bench', '--parallel', '2');
  return `${root}build-native/train_bench`;
}

const { values } = parseArgs({
  options: {
    precision: { type: 'string', default: 'f32,bf16' },
    threads: { type: 'string', default: '1,2' },
    tokens: { type: 'string', default: '2048,16' },
    out: { type: 'string', default: 'bench/results/training.json' },
  },
});
const program = trainBench();
const bars = new Bars();
for (const precision of values.precision.split(',')) {
  for (const threads of values.threads.split(',').map(Number)) {
    for (const tokens of values.tokens.split(',').map(Number)) {
      const args = ['', precision, String(threads), String(tokens)];
      const lines = execFileSync(program, args, { encoding: 'utf8' })
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line) as Line);
      const name = `${precision}, ${threads} threads, ${tokens} tokens`;
      const results = lines.map((line) => {
        if (line.what === 'level') {
          const { fromTokens, atLeast } = throughputBar;
          const bar = tokens >= fromTokens ? { atLeast } : {};
          const what = `${name}, level ${line.level}, share of the inference kernels`;
          return { ...line, shareOfKernels: bars.ratio(what, line.shareOfKernels, bar) };
        }
        if (line.what !== 'mixed') return line;
        const what = `${name}, six SubLMs in one pass, time over one after the other`;
        return { ...line, overTraverse: bars.ratio(what, line.overTraverse, mixedBar) };
      });
      writeRun(values.out, { precision, threads, tokens }, { results });
    }
  }
}
if (bars.missed.length > 0) process.exitCode = 1;
