import { stat } from 'node:fs/promises';
import { Command, Option } from 'commander';
import {
  elasticize,
  GlueData,
  importanceBatches,
  importanceLosses,
  loadTextPairs,
  MlmData,
  RankingData,
  readProse,
  readTexts,
  TextData,
  Tokenizer,
  type ActivationNormOptions,
  type DescribedData,
  type GlueTask,
  type ImportanceLoss,
  type MaskGradientOptions,
} from '../../index.js';
import { readLines } from '../lines.js';
import {
  given,
  jsonOption,
  maxLengthOption,
  parseCount,
  parseLevels,
  parseWhole,
  threadsOption,
  type CommonOptions,
} from '../options.js';
import { printJson, printTable, Progress } from '../output.js';

interface ElasticizeOptions extends CommonOptions {
  text?: string[];
  importance: 'activation-norm' | 'mask-gradient';
  loss: ImportanceLoss;
  task?: GlueTask;
  data?: string;
  levels: number[];
  examples: number;
  seed: number;
  overwrite?: boolean;
}

const glueTasks: readonly GlueTask[] = ['sst2', 'mrpc', 'cola', 'rte', 'qnli', 'qqp', 'mnli', 'stsb'];

/** Tokens of a text that importance by gradients is measured on: as long as the passages that models are trained with. */
const defaultMaxLength = 128;

export function elasticizeCommand(): Command {
  return new Command('elasticize')
    .description(
      'cuts a checkpoint into nested SubLMs: ranks heads and neurons on calibration text, writes an elastic checkpoint',
    )
    .argument('<model>', 'folder of an ordinary checkpoint')
    .argument('<output>', 'folder to write')
    .option(
      '--text <files...>',
      'calibration text: .jsonl (also .gz, .xz), folders and .md files by passage, other files by line (- for standard input, with activation-norm)',
    )
    .addOption(
      new Option(
        '--importance <method>',
        'activation-norm: forward passes, no labels; mask-gradient: gradients of a loss',
      )
        .choices(['activation-norm', 'mask-gradient'])
        .default('activation-norm'),
    )
    .addOption(
      new Option(
        '--loss <name>',
        'for mask-gradient; contrastive (halves of passages) and mlm need text alone',
      )
        .choices(importanceLosses)
        .default('contrastive'),
    )
    .addOption(
      new Option('--task <name>', 'GLUE task of the losses classification and regression').choices(glueTasks),
    )
    .option('--data <folder>', "files of that task, or WikiQA's for the loss ranking")
    .addOption(maxLengthOption())
    .addOption(
      new Option('--levels <list>', 'preserving levels')
        .argParser(parseLevels)
        .default([1, 0.5, 0.25, 0.1], '1,0.5,0.25,0.1'),
    )
    .addOption(new Option('--examples <n>', 'how many texts to use').argParser(parseCount).default(1024))
    .addOption(new Option('--seed <n>', 'picks the texts').argParser(parseWhole).default(1))
    .option('--overwrite', 'replace an existing output')
    .addOption(threadsOption())
    .addOption(jsonOption())
    .action(runElasticize);
}

async function runElasticize(
  model: string,
  output: string,
  options: ElasticizeOptions,
  command: Command,
): Promise<void> {
  const progress = new Progress('importance');
  try {
    const result = await elasticize({
      ...(options.importance === 'mask-gradient'
        ? await maskGradients(model, options, command)
        : activationNorms(options, command)),
      model,
      output,
      levels: options.levels,
      seed: options.seed,
      overwrite: options.overwrite === true,
      onProgress: (done, total) => progress.update(done, total),
      ...given(options, 'threads', 'maxLength'),
    });
    progress.stop();
    if (options.json === true) {
      printJson({ output, ...result });
      return;
    }
    printTable(
      ['level', 'heads per layer', 'neurons per layer'],
      result.levels.map((entry) => [entry.level, entry.heads.join(' '), entry.neurons.join(' ')]),
    );
  } finally {
    progress.stop();
  }
}

function activationNorms(options: ElasticizeOptions, command: Command): ActivationNormOptions {
  const texts = calibrationTexts(needed(options.text, '--text', command));
  return { importance: 'activation-norm', texts, maxExamples: options.examples };
}

async function maskGradients(
  model: string,
  options: ElasticizeOptions,
  command: Command,
): Promise<MaskGradientOptions> {
  const { loss, examples, seed } = options;
  const data = await importanceData(await Tokenizer.load(model), options, command);
  return {
    importance: 'mask-gradient',
    loss,
    batches: importanceBatches(data, { maxExamples: examples, seed }),
    numExamples: Math.min(examples, data.size),
  };
}

async function importanceData(
  tokenizer: Tokenizer,
  options: ElasticizeOptions,
  command: Command,
): Promise<DescribedData> {
  const { loss, seed, maxLength = defaultMaxLength } = options;
  const common = { maxLength, seed };
  switch (loss) {
    case 'contrastive': {
      const texts = readTexts(needed(options.text, '--text', command));
      return loadTextPairs(texts, tokenizer, { ...common, pairing: 'halves' });
    }
    case 'mlm': {
      const texts = readTexts(needed(options.text, '--text', command));
      return new MlmData(
        await TextData.load(texts, tokenizer, { ...common, shares: { passage: 1 } }),
        tokenizer,
      );
    }
    case 'classification':
    case 'regression': {
      const task = needed(options.task, '--task', command);
      return GlueData.load(tokenizer, { ...common, task, data: needed(options.data, '--data', command) });
    }
    case 'ranking':
      return RankingData.load(tokenizer, { ...common, data: needed(options.data, '--data', command) });
  }
}

function needed<T>(value: T | undefined, flag: string, command: Command): T {
  return value ?? command.error(`error: ${flag} is needed for this importance`);
}

async function* calibrationTexts(paths: readonly string[]): AsyncGenerator<string> {
  for (const path of paths) {
    const byPassage = path.endsWith('.md') || (path !== '-' && (await isFolder(path)));
    const texts = byPassage
      ? readProse([path])
      : /\.jsonl(\.gz|\.xz)?$/.test(path)
        ? readTexts([path])
        : readLines(path);
    for await (const { text } of texts) yield text;
  }
}

/** A path that cannot be looked at is not a folder: reading it as a file then says what is wrong with it. */
async function isFolder(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isDirectory();
  } catch {
    return false;
  }
}
