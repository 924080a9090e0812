/**
 * Which importance cuts better, before any training: activation norms, or mask gradients of a loss. Each cuts the default model,
 * and each cut is measured level by level: nDCG@10 of retrieval at the query's own level and against an index of level 1, and
 * Spearman on STS-B dev. One run per importance in docs/results/importance.json:
 *
 *   npm run bench:importance -- [--data ../shared/data] [--importance activation-norm,contrastive] [--examples 4096]
 *                               [--levels 1,0.5,0.4,0.3,0.2,0.1] [--collections scifact,cranfield] [--threads 2] [--seed 1]
 *                               [--out docs/results/importance.json]
 *
 * An importance is activation-norm, or the loss that the masks' gradients are of: contrastive (halves of passages) or mlm.
 * Measured on running text alone, so no collection has a part in it.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import {
  elasticize,
  evaluate,
  importanceBatches,
  loadTextPairs,
  MlmData,
  readTexts,
  TextData,
  Tokenizer,
  type ActivationNormOptions,
  type ElasticizeResult,
  type ImportanceLoss,
  type MaskGradientOptions,
} from '../lib/index.js';
import { dataPath } from '../test/acceptance/support/data.js';
import { defaultModelDirectory } from '../test/support/default-model.js';
import { writeRun } from './record.js';

/** General prose and science, as in the acceptance run `retrieval`. */
const calibrationFiles = ['arxiv', 'wikipedia'];
/** Of passages for gradients: as long as those that models are trained with. */
const maxLength = 128;
const evaluationMaxLength = 256;

interface Settings {
  levels: number[];
  collections: string[];
  examples: number;
  threads: number;
  seed: number;
  out: string;
}

interface LevelResult {
  task: string;
  metric: string;
  indexLevel?: number;
  byLevel: Record<string, number>;
}

function texts(): ReturnType<typeof readTexts> {
  return readTexts(calibrationFiles.map((name) => dataPath('text', `${name}.jsonl.xz`)));
}

async function cut(name: string, output: string, settings: Settings): Promise<ElasticizeResult> {
  const { levels, threads, seed } = settings;
  const model = defaultModelDirectory();
  const common = { model, output, levels, threads, seed, maxLength: evaluationMaxLength };
  return elasticize({ ...common, ...(await importanceOptions(name, model, settings)) });
}

async function importanceOptions(
  name: string,
  model: string,
  { examples, seed }: Settings,
): Promise<ActivationNormOptions | MaskGradientOptions> {
  if (name === 'activation-norm') return { importance: name, texts: plain(), maxExamples: examples };
  const tokenizer = await Tokenizer.load(model);
  const options = { maxLength, seed };
  const data =
    name === 'mlm'
      ? new MlmData(
          await TextData.load(texts(), tokenizer, { ...options, shares: { passage: 1 } }),
          tokenizer,
        )
      : await loadTextPairs(texts(), tokenizer, { ...options, pairing: 'halves' });
  return {
    importance: 'mask-gradient',
    loss: name as ImportanceLoss,
    batches: importanceBatches(data, { maxExamples: examples, seed }),
  };
}

async function* plain(): AsyncGenerator<string> {
  for await (const { text } of texts()) yield text;
}

async function measure(model: string, { collections, threads }: Settings): Promise<LevelResult[]> {
  const results: LevelResult[] = [];
  const add = async (
    run: Parameters<typeof evaluate>[0],
    names: Pick<LevelResult, 'task' | 'metric' | 'indexLevel'>,
  ): Promise<void> => {
    const byLevel: Record<string, number> = {};
    for await (const result of evaluate(run)) {
      byLevel[String(result.level)] = (result as unknown as Record<string, number>)[names.metric]!;
    }
    process.stderr.write(`  ${JSON.stringify({ ...names, byLevel })}\n`);
    results.push({ ...names, byLevel });
  };
  const common = { model, threads, backend: 'cpu', maxLength: evaluationMaxLength } as const;
  for (const collection of collections) {
    const run = { ...common, task: 'retrieval', data: dataPath(collection) } as const;
    const names = { task: collection, metric: 'ndcg@10' };
    await add(run, names);
    await add({ ...run, indexLevel: 1 }, { ...names, indexLevel: 1 });
  }
  await add({ ...common, task: 'sts', data: dataPath('glue', 'STS-B') }, { task: 'sts', metric: 'spearman' });
  return results;
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      data: { type: 'string' },
      importance: { type: 'string', default: 'activation-norm,contrastive' },
      levels: { type: 'string', default: '1,0.5,0.4,0.3,0.2,0.1' },
      collections: { type: 'string', default: 'scifact,cranfield' },
      examples: { type: 'string', default: '4096' },
      threads: { type: 'string', default: '2' },
      seed: { type: 'string', default: '1' },
      out: { type: 'string', default: 'docs/results/importance.json' },
    },
  });
  // what dataPath() reads
  if (values.data !== undefined) process.env['ELASTICLM_DATA'] = values.data;
  const settings: Settings = {
    levels: values.levels.split(',').map(Number),
    collections: values.collections.split(','),
    examples: Number(values.examples),
    threads: Number(values.threads),
    seed: Number(values.seed),
    out: values.out,
  };
  const folder = await mkdtemp(join(tmpdir(), 'elasticlm-importance-'));
  try {
    for (const name of values.importance.split(',')) {
      process.stderr.write(`${name}\n`);
      const beginMs = performance.now();
      const { levels, examples, tokens } = await cut(name, join(folder, name), settings);
      const seconds = (performance.now() - beginMs) / 1000;
      const results = await measure(join(folder, name), settings);
      const { seed, threads } = settings;
      writeRun(
        settings.out,
        { importance: name },
        { seed, threads, examples, tokens, seconds, levels, results },
      );
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

await main();
