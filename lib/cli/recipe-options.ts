import { InvalidArgumentError, Option, type Command } from 'commander';
import { checkRecipe, mergeRecipe, readRecipe, type Recipe, type RecipeKind } from '../index.js';
import {
  jsonOption,
  maxLengthOption,
  parseCount,
  parseLevels,
  parsePosition,
  parsePositive,
  threadsOption,
  type CommonOptions,
} from './options.js';

/** Options of a training, as commander hands them over. */
export interface RecipeOptions extends CommonOptions {
  config?: string;
  kind?: RecipeKind;
  model?: string;
  student?: string;
  teacher?: string;
  output?: string;
  source?: Recipe['data']['source'];
  text?: string[];
  data?: string;
  task?: string;
  levels?: number[];
  steps?: number;
  epochs?: number;
  learningRate?: number;
  warmupSteps?: number;
  tokensPerMicroBatch?: number;
  microBatchesPerStep?: number;
  precision?: string;
  seed?: number;
  set?: Record<string, unknown>;
  maxMinutes?: number;
  resume?: boolean;
}

const kinds: readonly RecipeKind[] = [
  'embedding',
  'relation',
  'mlm',
  'contrastive',
  'classification',
  'regression',
  'ranking',
];

/** Where each kind's data comes from, unless told. */
const sources: Readonly<Record<RecipeKind, Recipe['data']['source']>> = {
  embedding: 'text',
  relation: 'text',
  mlm: 'text',
  contrastive: 'titles',
  classification: 'glue',
  regression: 'glue',
  ranking: 'wikiqa',
};

const defaultMaxLength = 128;
/** Peaks of the learning rate without a recipe: for a small encoder's distillation, and for fine-tuning. */
const defaultLearningRates = { distill: 2e-4, finetune: 5e-5 };

export function addRecipeOptions(command: Command): Command {
  return command
    .option(
      '--config <file>',
      'a recipe: JSON with the fields that docs/recipes.md lists; flags replace its fields',
    )
    .addOption(new Option('--kind <name>', 'what is learned').choices(kinds))
    .option('--model <folder>', 'checkpoint to begin with')
    .option(
      '--student <folder>',
      'elastic checkpoint to distil (default: what elasticize makes of the model)',
    )
    .option('--teacher <folder>', 'checkpoint to learn from (default: what finetune makes, else the model)')
    .option('--output <folder>', "the run's folder")
    .addOption(
      new Option('--source <name>', "kind of data (default: the kind's own)").choices([
        'text',
        'titles',
        'halves',
        'beir',
        'glue',
        'wikiqa',
      ]),
    )
    .option(
      '--text <paths...>',
      'running text: .jsonl, .txt (also .gz, .xz) and .md files, and folders of them',
    )
    .option(
      '--data <folder>',
      "with --config, what its data's paths are relative to (default: its own folder); else the folder of a task's files",
    )
    .option('--task <name>', 'GLUE task: sst2, mrpc, cola, rte, qnli, qqp, mnli or stsb')
    .addOption(
      new Option('--levels <list>', 'cut the model into these preserving levels').argParser(parseLevels),
    )
    .addOption(new Option('--steps <n>', 'updates').argParser(parseCount))
    .addOption(new Option('--epochs <n>', 'passes over the data, instead of steps').argParser(parsePositive))
    .addOption(new Option('--learning-rate <n>', 'at its peak').argParser(parsePositive))
    .addOption(new Option('--warmup-steps <n>', 'updates over which it rises').argParser(parsePosition))
    .addOption(new Option('--tokens-per-micro-batch <n>', 'tokens computed at a time').argParser(parseCount))
    .addOption(
      new Option('--micro-batches-per-step <n>', 'micro-batches of one update').argParser(parseCount),
    )
    .addOption(
      new Option('--precision <name>', 'of the products with linear layers').choices(['auto', 'f32', 'bf16']),
    )
    .addOption(maxLengthOption())
    .addOption(new Option('--seed <n>', 'of everything random').argParser(parsePosition))
    .addOption(
      new Option('--set <field=value...>', 'any field of the recipe, e.g. distill.clipNorm=0.5').argParser(
        parseSet,
      ),
    )
    .addOption(
      new Option('--max-minutes <n>', 'stop then, to go on later with --resume').argParser(parsePositive),
    )
    .option('--resume', 'go on with the run that the output folder holds')
    .addOption(threadsOption())
    .addOption(jsonOption());
}

/** `a.b.c=value`, several of them into one object; a value that is not JSON is a text. */
function parseSet(text: string, before: Record<string, unknown> | undefined): Record<string, unknown> {
  const [path, ...rest] = text.split('=');
  const names = path!.split('.');
  if (rest.length === 0 || names.includes('')) {
    throw new InvalidArgumentError(`expected field=value, received "${text}".`);
  }
  const field = names.reduceRight<unknown>((value, name) => ({ [name]: value }), parseValue(rest.join('=')));
  return mergeRecipe(before ?? {}, field as object) as Record<string, unknown>;
}

function parseValue(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

/** The recipe that the flags, and the file if there is one, describe. @throws ELASTICLM_RECIPE_INVALID, ELASTICLM_FILE_NOT_FOUND */
export async function recipeOf(
  options: RecipeOptions,
  stage: 'finetune' | 'distill',
  command: Command,
): Promise<Recipe> {
  const overrides = mergeRecipe(fieldsOf(options, stage), options.set ?? {});
  if (options.config !== undefined) return readRecipe(options.config, { data: options.data, overrides });
  for (const name of ['kind', 'model', 'output'] as const) {
    if (options[name] === undefined) command.error(`error: --${name} is needed where there is no --config`);
  }
  return checkRecipe(mergeRecipe(defaultsOf(options, stage), overrides), 'what the flags describe');
}

function fieldsOf(options: RecipeOptions, stage: 'finetune' | 'distill'): object {
  const { kind, model, student, teacher, output, seed, threads, levels } = options;
  const { steps, epochs, learningRate, warmupSteps, precision } = options;
  const { tokensPerMicroBatch, microBatchesPerStep } = options;
  const training = {
    steps,
    epochs,
    learningRate,
    warmupSteps,
    precision,
    tokensPerMicroBatch,
    microBatchesPerStep,
  };
  const data = {
    source: options.source,
    paths: options.text,
    task: options.task,
    maxLength: options.maxLength,
  };
  const hasSome = (fields: object): boolean => Object.values(fields).some((value) => value !== undefined);
  return {
    kind,
    model,
    student,
    teacher,
    output,
    seed,
    threads,
    ...(hasSome(data) ? { data } : {}),
    ...(levels === undefined ? {} : { elasticize: { levels } }),
    ...(hasSome(training) ? { [stage]: training } : {}),
  };
}

/** What a recipe without a file starts from. */
function defaultsOf({ kind, data, ...options }: RecipeOptions, stage: 'finetune' | 'distill'): object {
  const hasLength = options.steps !== undefined || options.epochs !== undefined;
  const source = options.source ?? sources[kind!];
  return {
    data: {
      source,
      maxLength: defaultMaxLength,
      ...(data === undefined ? {} : { data }),
    },
    [stage]: { learningRate: defaultLearningRates[stage], ...(hasLength ? {} : { epochs: 1 }) },
  };
}
