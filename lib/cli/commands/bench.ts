import { Command, Option } from 'commander';
import {
  ElasticModel,
  forwardFlops,
  packBatch,
  type LevelChoice,
  type LoadOptions,
  type ModelInfo,
  type PackedBatch,
  type Precision,
} from '../../index.js';
import {
  backendOption,
  deviceOption,
  given,
  jsonOption,
  levelChoiceOption,
  parsePrecisions,
  parseShapes,
  resolveLevels,
  threadsOption,
  type CommonOptions,
  type Shape,
} from '../options.js';
import { printJson, printTable } from '../output.js';

interface BenchOptions extends CommonOptions, Pick<LoadOptions, 'backend' | 'device'> {
  shapes: Shape[];
  level: LevelChoice;
  precision: Precision[];
}

/** One measured point; a result line of `elasticlm bench --json`. */
interface BenchResult extends Pick<ModelInfo, 'backend' | 'isa' | 'precision' | 'threads'> {
  shape: string;
  level: number;
  medianMs: number;
  p95Ms: number;
  tokensPerSecond: number;
  gflops: number;
}

const warmUps = 2;
/** At least this many repetitions, and more until this much time has been measured. */
const minRepetitions = 9;
const minMeasuredMs = 400;

export function benchCommand(): Command {
  return new Command('bench')
    .description('time of a forward, level by level')
    .argument('<model>', 'folder of a checkpoint')
    .addOption(
      new Option(
        '--shapes <list>',
        'batches: sequences x tokens, or raggedN for N sequences of 8 to 128 tokens',
      )
        .argParser(parseShapes)
        .default(parseShapes('1x16,1x32,1x128,8x128,ragged32'), '1x16,1x32,1x128,8x128,ragged32'),
    )
    .addOption(levelChoiceOption())
    .addOption(
      new Option('--precision <list>', 'precisions to load the model in')
        .argParser(parsePrecisions)
        .default(['auto'], 'auto'),
    )
    .addOption(backendOption())
    .addOption(deviceOption())
    .addOption(threadsOption())
    .addOption(jsonOption())
    .action(bench);
}

async function bench(directory: string, options: BenchOptions): Promise<void> {
  const results: BenchResult[] = [];
  for (const precision of options.precision) {
    const where = given(options, 'backend', 'device', 'threads');
    await using model = await ElasticModel.load(directory, { precision, ...where });
    for (const shape of options.shapes) {
      for (const level of resolveLevels(options.level, model.levels)) {
        const result = await measure(model, shape, level);
        if (options.json === true) printJson(result);
        else results.push(result);
      }
    }
  }
  if (options.json !== true) {
    printTable(
      [
        'shape',
        'level',
        'precision',
        'threads',
        'median ms',
        'p95 ms',
        'tokens/s',
        'GFLOP/s',
        'backend',
        'isa',
      ],
      results.map((r) => [
        r.shape,
        r.level,
        r.precision,
        r.threads,
        r.medianMs.toFixed(3),
        r.p95Ms.toFixed(3),
        Math.round(r.tokensPerSecond),
        r.gflops.toFixed(1),
        r.backend,
        r.isa,
      ]),
    );
  }
}

/** Sequences of ordinary tokens; which ones does not matter to the time, so a fixed stride through the vocabulary does. */
function makeBatch(shape: Shape, vocabSize: number): PackedBatch {
  return packBatch(
    shape.lengths.map((length, s) => ({
      inputIds: Int32Array.from({ length }, (_, i) => (1009 * (s + 1) + 7919 * i) % vocabSize),
      tokenTypeIds: new Int32Array(length),
    })),
  );
}

async function measure(model: ElasticModel, shape: Shape, level: number): Promise<BenchResult> {
  const batch = makeBatch(shape, model.config.vocabSize);
  const options = { level, output: 'pooled', pooling: 'mean', normalize: true } as const;
  for (let i = 0; i < warmUps; i++) await model.forward(batch, options);
  const times: number[] = [];
  for (let total = 0; times.length < minRepetitions || total < minMeasuredMs; total += times.at(-1)!) {
    const start = performance.now();
    await model.forward(batch, options);
    times.push(performance.now() - start);
  }
  times.sort((a, b) => a - b);
  const medianMs = times[times.length >> 1]!;
  const { backend, isa, precision, threads } = model.info();
  const structure = model.levels.find((entry) => entry.level === level)!;
  const flops = shape.lengths.reduce((sum, length) => sum + forwardFlops(model.config, structure, length), 0);
  return {
    shape: shape.name,
    level,
    precision,
    threads,
    medianMs,
    p95Ms: times[Math.min(times.length - 1, Math.floor(times.length * 0.95))]!,
    tokensPerSecond: (batch.inputIds.length / medianMs) * 1000,
    gflops: flops / medianMs / 1e6,
    backend,
    isa,
  };
}
