/** Recipes: a whole run (data, student, teacher, losses, optimiser, evaluation) as one JSON object. */
import { basename } from 'node:path';
import * as v from 'valibot';
import { ElasticError } from '../errors.js';
import { evaluationTasks } from '../eval/index.js';
import { importanceLosses } from '../structure/index.js';

// Fields are checked here for what JSON can get wrong; the parts that use them check how they go together.
const count = v.pipe(v.number(), v.safeInteger(), v.minValue(1));
const whole = v.pipe(v.number(), v.safeInteger(), v.minValue(0));
const weight = v.pipe(v.number(), v.minValue(0));
const positive = v.pipe(v.number(), v.gtValue(0));
const level = v.pipe(v.number(), v.gtValue(0), v.maxValue(1));
const levels = v.pipe(v.array(level), v.minLength(1));
const name = v.pipe(v.string(), v.minLength(1));
const names = v.pipe(v.array(name), v.minLength(1));

/** A folder in BEIR layout, and splits of it. */
const collection = v.strictObject({ data: name, splits: v.exactOptional(names) });

const glueTask = v.picklist(['sst2', 'mrpc', 'cola', 'rte', 'qnli', 'qqp', 'mnli', 'stsb']);

/** What every kind of data has. */
const common = { maxLength: count, exclude: v.exactOptional(v.array(collection)) };

const textSources = {
  /** files and folders of running text */
  paths: v.exactOptional(v.array(name)),
  /** queries and documents of collections' train splits */
  collections: v.exactOptional(v.array(v.strictObject({ data: name, split: v.exactOptional(name) }))),
  /** sentences of GLUE tasks' train splits */
  sentences: v.exactOptional(
    v.array(v.strictObject({ task: glueTask, data: name, split: v.exactOptional(name) })),
  ),
};

const textData = v.strictObject({
  source: v.literal('text'),
  ...common,
  ...textSources,
  shares: v.exactOptional(
    v.strictObject({
      passage: v.exactOptional(weight),
      sentence: v.exactOptional(weight),
      title: v.exactOptional(weight),
    }),
  ),
  maxPassages: v.exactOptional(count),
});

const pairFields = { ...common, negativesPerPair: v.exactOptional(whole) };

const textPairs = v.strictObject({
  source: v.picklist(['titles', 'halves']),
  ...pairFields,
  paths: names,
  maxPairs: v.exactOptional(count),
});

const beirPairs = v.strictObject({
  source: v.literal('beir'),
  ...pairFields,
  data: name,
  split: v.exactOptional(name),
  hardNegatives: v.exactOptional(
    v.strictObject({
      /** who finds them; default the student */
      model: v.exactOptional(name),
      count: v.exactOptional(count),
      skipFirst: v.exactOptional(whole),
    }),
  ),
});

const glueData = v.strictObject({
  source: v.literal('glue'),
  maxLength: count,
  task: glueTask,
  data: name,
  split: v.exactOptional(name),
});

const wikiQaData = v.strictObject({
  source: v.literal('wikiqa'),
  maxLength: count,
  data: name,
  split: v.exactOptional(name),
  listSize: v.exactOptional(count),
  keepUnanswered: v.exactOptional(v.boolean()),
});

const data = v.variant('source', [textData, textPairs, beirPairs, glueData, wikiQaData]);

const objective = v.strictObject({
  pooling: v.exactOptional(v.picklist(['cls', 'mean'])),
  embedding: v.exactOptional(
    v.strictObject({
      cosineWeight: v.exactOptional(weight),
      mseWeight: v.exactOptional(weight),
      similarityWeight: v.exactOptional(weight),
      temperature: v.exactOptional(positive),
    }),
  ),
  contrastive: v.exactOptional(v.strictObject({ weight, temperature: v.exactOptional(positive) })),
  classification: v.exactOptional(v.strictObject({ weight })),
  regression: v.exactOptional(v.strictObject({ weight })),
  logits: v.exactOptional(v.strictObject({ weight, temperature: v.exactOptional(positive) })),
  ranking: v.exactOptional(
    v.strictObject({
      labelWeight: v.exactOptional(weight),
      teacherWeight: v.exactOptional(weight),
      temperature: v.exactOptional(positive),
    }),
  ),
  hidden: v.exactOptional(v.strictObject({ weight })),
  relation: v.exactOptional(v.strictObject({ weight, numRelationHeads: v.exactOptional(count) })),
  mlm: v.exactOptional(v.strictObject({ weight })),
});

/** Of train(): see TrainOptions. */
const training = {
  objective: v.exactOptional(objective),
  levels: v.exactOptional(levels),
  levelWeights: v.exactOptional(v.record(v.string(), positive)),
  levelShares: v.exactOptional(v.record(v.string(), positive)),
  adapters: v.exactOptional(v.boolean()),
  levelSampling: v.exactOptional(v.union([v.literal('all'), v.strictObject({ sandwich: whole })])),
  steps: v.exactOptional(count),
  epochs: v.exactOptional(positive),
  tokensPerMicroBatch: v.exactOptional(count),
  microBatchesPerStep: v.exactOptional(count),
  learningRate: positive,
  warmupSteps: v.exactOptional(whole),
  weightDecay: v.exactOptional(weight),
  clipNorm: v.exactOptional(weight),
  betas: v.exactOptional(v.tuple([weight, weight])),
  epsilon: v.exactOptional(positive),
  mode: v.exactOptional(v.picklist(['traverse', 'mixed'])),
  recompute: v.exactOptional(v.boolean()),
  precision: v.exactOptional(v.picklist(['auto', 'f32', 'bf16'])),
  dtype: v.exactOptional(v.picklist(['f32', 'f16'])),
  checkpointEverySteps: v.exactOptional(count),
};

const elasticizing = v.strictObject({
  levels,
  importance: v.exactOptional(v.picklist(['activation-norm', 'mask-gradient'])),
  /** for mask-gradient; default the loss of the recipe's kind, contrastive for embedding and relation */
  loss: v.exactOptional(v.picklist(importanceLosses)),
  /** what importance is measured on; default the recipe's data, for a contrastive loss pairs of its texts */
  data: v.exactOptional(data),
  examples: v.exactOptional(count),
  normalizeLayers: v.exactOptional(v.boolean()),
});

const evaluation = v.strictObject({
  everySteps: v.exactOptional(count),
  tasks: v.pipe(
    v.array(
      v.strictObject({
        task: v.picklist(evaluationTasks),
        data: name,
        /** of the results, which elastic.json's quality table names */
        metrics: names,
        /** in the quality table; default the task, for retrieval the folder's name */
        name: v.exactOptional(name),
        split: v.exactOptional(name),
        indexLevel: v.exactOptional(level),
        maxLength: v.exactOptional(count),
      }),
    ),
    v.minLength(1),
  ),
  /** `name/metric` that chooses the weights */
  best: v.exactOptional(
    v.strictObject({
      metric: name,
      patience: v.exactOptional(count),
      goal: v.exactOptional(v.picklist(['max', 'min'])),
    }),
  ),
});

const recipeKinds = [
  'embedding',
  'relation',
  'mlm',
  'contrastive',
  'classification',
  'regression',
  'ranking',
] as const;

const recipe = v.strictObject({
  kind: v.picklist(recipeKinds),
  /** folder of the checkpoint that all begins with */
  model: name,
  /** folder of the elastic checkpoint to distil, where it is not made of `model` (or of what `finetune` makes) here */
  student: v.exactOptional(name),
  /** folder of the checkpoint to learn from; default what `finetune` makes, else `model` */
  teacher: v.exactOptional(name),
  /** folder of the run: `finetune/`, `elastic/` and `distill/` below it */
  output: name,
  seed: v.exactOptional(whole),
  threads: v.exactOptional(count),
  /** of the finished model, where it should differ from what `model` says */
  maxLength: v.exactOptional(count),
  data,
  evaluation: v.exactOptional(evaluation),
  /** trains the whole model alone: to make a teacher */
  finetune: v.exactOptional(v.strictObject(training)),
  /** cuts the model (a fine-tuned one, if there is one) into levels; absent: it has levels, or is trained at level 1 alone */
  elasticize: v.exactOptional(elasticizing),
  /** trains all levels against the teacher */
  distill: v.exactOptional(v.strictObject(training)),
});

export type Recipe = v.InferOutput<typeof recipe>;
export type RecipeKind = Recipe['kind'];
export type RecipeData = Recipe['data'];
export type RecipeEvaluation = NonNullable<Recipe['evaluation']>;
export type RecipeTraining = NonNullable<Recipe['distill']>;
export type RecipeElasticizing = NonNullable<Recipe['elasticize']>;

/**
 * A value as a recipe, unchanged.
 * @param subject names it in errors
 * @throws ELASTICLM_RECIPE_INVALID naming the field
 */
export function checkRecipe(value: unknown, subject = 'the recipe'): Recipe {
  const result = v.safeParse(recipe, value, { abortEarly: true });
  if (result.success) {
    checkTogether(result.output, subject);
    return result.output;
  }
  const [issue] = result.issues;
  const field = v.getDotPath(issue);
  throw ElasticError.of('ELASTICLM_RECIPE_INVALID', {
    expected: describeExpected(issue),
    subject: field === null ? subject : `${field} in ${subject}`,
    received: issue.received,
    ...(issue.expected === 'never' ? { remedy: 'Is the name of the field misspelled?' } : {}),
  });
}

const typeNames: Readonly<Record<string, string>> = {
  never: 'no such field',
  string: 'a text',
  number: 'a number',
  boolean: 'true or false',
  Array: 'a list',
  Object: 'an object',
};

/** In words: the schema says `never`, `string`, `>=1`, `("a" | "b")`, or the quoted name of a field that is missing. */
function describeExpected({ type, expected, message }: v.BaseIssue<unknown>): string {
  if (type === 'safe_integer') return 'a whole number';
  if (expected === null) return message;
  if (/^[<>]/.test(expected))
    return type.endsWith('length') ? `a length ${expected}` : `a number ${expected}`;
  if (type === 'strict_object' && expected.startsWith('"')) return 'a value';
  return typeNames[expected] ?? expected;
}

/** What each kind learns from. */
const sourcesOf: Readonly<Record<RecipeKind, readonly RecipeData['source'][]>> = {
  embedding: ['text'],
  relation: ['text'],
  mlm: ['text'],
  contrastive: ['titles', 'halves', 'beir'],
  classification: ['glue'],
  regression: ['glue'],
  ranking: ['wikiqa'],
};

function checkTogether(checked: Recipe, subject: string): void {
  const { kind, data, evaluation } = checked;
  const refuse = (field: string, expected: string, received: string): never => {
    throw ElasticError.of('ELASTICLM_RECIPE_INVALID', {
      expected,
      subject: `${field} in ${subject}`,
      received,
    });
  };
  if (!sourcesOf[kind].includes(data.source)) {
    refuse(
      'data.source',
      `${sourcesOf[kind].join(' or ')}, which the kind ${kind} learns from,`,
      data.source,
    );
  }
  if (data.source === 'glue' && (data.task === 'stsb') !== (kind === 'regression')) {
    const expected = kind === 'regression' ? 'stsb, a task of scores,' : 'a task of labels, not of scores,';
    refuse('data.task', `${expected} for the kind ${kind}`, data.task);
  }
  if (data.source === 'text' && textSourceNames.every((source) => (data[source] ?? []).length === 0)) {
    refuse('data', `at least one of ${textSourceNames.join(', ')}`, 'none');
  }
  for (const stage of ['finetune', 'distill'] as const) {
    const section = checked[stage];
    if (section === undefined || (section.steps === undefined) !== (section.epochs === undefined)) continue;
    refuse(stage, 'either steps or epochs', section.steps === undefined ? 'neither' : 'both');
  }
  if (checked.student !== undefined && checked.elasticize !== undefined) {
    refuse('elasticize', 'none beside a student, which has its levels', 'settings');
  }
  const chosen = evaluation?.best?.metric;
  const measured = evaluation === undefined ? [] : metricNames(evaluation);
  if (chosen !== undefined && !measured.includes(chosen)) {
    refuse('evaluation.best.metric', `one of ${measured.join(', ')}`, chosen);
  }
}

const textSourceNames = Object.keys(textSources) as (keyof typeof textSources)[];

/** `task/metric` of everything that is measured. */
export function metricNames({ tasks }: RecipeEvaluation): string[] {
  return tasks.flatMap((task) => task.metrics.map((metric) => `${taskName(task)}/${metric}`));
}

/** What a task is called in logs and in the quality table. */
export function taskName({ name: given, task, data: folder }: RecipeEvaluation['tasks'][number]): string {
  return given ?? (task === 'retrieval' ? basename(folder) : task);
}
