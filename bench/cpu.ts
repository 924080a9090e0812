/**
 * The CPU benchmarks of whole models, in parts of a few minutes each; every part leaves bench/results/cpu-<part>.json, with
 * one run per precision and number of threads. Run them alone on the machine:
 *
 *   speed    MiniLM-L6 at level 1 beside onnxruntime, transformers.js and llama.cpp on the same weights, and the share of
 *            the peak
 *   base     the same for the shape of BERT-base
 *   levels   each level's time beside level 1's
 *   mixed    batches of mixed levels
 *   threads  two threads beside one, two forwards at once, a busy neighbour
 *   index    a collection from text to vectors beside onnxruntime
 *
 * Everything that is compared runs in one process and in turns; ratios are medians of the rounds' ratios. A run that misses
 * a bar says so in its record and ends with 1.
 */
import { measureIndexing } from './cpu/indexing.js';
import { measureLevels } from './cpu/levels.js';
import { measureMixed } from './cpu/mixed.js';
import { parseOptions, UsageError, type CpuBenchOptions } from './cpu/options.js';
import { measureBase, measureSpeed, type RunChoice } from './cpu/speed.js';
import { measureThreads } from './cpu/threads.js';
import { writeRun } from './record.js';

interface Run {
  missed: string[];
}

const perThreads = {
  speed: measureSpeed,
  base: measureBase,
  levels: measureLevels,
  mixed: measureMixed,
} satisfies Record<string, (choice: RunChoice) => Promise<Run>>;

async function* runs(options: CpuBenchOptions): AsyncGenerator<Run> {
  const { part, precisions, threads, rounds, out } = options;
  const store = (key: Record<string, string | number>, run: Run): Run => {
    writeRun(out, key, run);
    return run;
  };
  if (part === 'index') {
    for (const count of threads) yield store({ threads: count }, await measureIndexing(options, count));
    return;
  }
  for (const precision of precisions) {
    if (part === 'threads') {
      yield store({ precision }, await measureThreads(precision, rounds));
      continue;
    }
    for (const count of threads) {
      const run = await perThreads[part]({ precision, threads: count, rounds });
      yield store({ precision, threads: count }, run);
    }
  }
}

async function main(): Promise<void> {
  const missed: string[] = [];
  for await (const run of runs(parseOptions(process.argv.slice(2)))) missed.push(...run.missed);
  if (missed.length === 0) return;
  process.stderr.write(`bars missed:\n${missed.map((line) => `  ${line}\n`).join('')}`);
  process.exitCode = 1;
}

try {
  await main();
} catch (error) {
  if (!(error instanceof UsageError)) throw error;
  process.stderr.write(`${error.message}\n`);
  process.exitCode = 2;
}
