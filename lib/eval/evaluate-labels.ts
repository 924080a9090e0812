/** GLUE tasks through a classifier, level by level. */
import { ElasticError } from '../errors.js';
import type { ElasticClassifier, ElasticRanker, TextOrPair } from '../heads/index.js';
import { pearson, spearman } from './correlation.js';
import { glueFormats, readGlue, type GlueExample, type GlueTask } from './glue.js';
import { accuracy, f1, matthews } from './label-metrics.js';
import { resolveLevels, type LevelChoice } from './levels.js';

/** GLUE tasks with labels. */
export type LabelTask = Exclude<GlueTask, 'stsb'>;

interface TaskOptions {
  /** the task's own folder, or the folder of all GLUE tasks */
  data: string;
  /** default dev */
  split?: string | undefined;
  /** default all */
  levels?: LevelChoice | undefined;
  maxLength?: number | undefined;
  /** examples done over all levels, of how many */
  onProgress?: ((done: number, total: number) => void) | undefined;
  signal?: AbortSignal | undefined;
}

export interface LabelOptions extends TaskOptions {
  task: LabelTask;
  classifier: ElasticClassifier;
}

export interface RegressionOptions extends TaskOptions {
  ranker: ElasticRanker;
}

/** The task's official metrics by name. */
export interface TaskResult {
  task: string;
  level: number;
  examples: number;
  [metric: string]: string | number;
}

type Metric = (predicted: readonly number[], labels: readonly number[]) => number;

/** GLUE's official metrics. */
const metricsOf: Readonly<Record<LabelTask, Readonly<Record<string, Metric>>>> = {
  sst2: { accuracy },
  mrpc: { accuracy, f1 },
  cola: { matthews },
  rte: { accuracy },
  qnli: { accuracy },
  qqp: { accuracy, f1 },
  mnli: { accuracy },
};

/** One result per level. @throws ELASTICLM_DATA_INVALID, ELASTICLM_HEAD_MISSING, ELASTICLM_LEVEL_UNKNOWN, … */
export async function* evaluateLabels(options: LabelOptions): AsyncGenerator<TaskResult> {
  const { task, classifier, maxLength, signal } = options;
  const levels = resolveLevels(options.levels ?? 'all', classifier.model.levels);
  const official = officialLabels(task, classifier.labels);
  const { texts, targets } = await readExamples(task, options);
  for (const [idx, level] of levels.entries()) {
    const results = await classifier.classify(texts, { level, maxLength, signal });
    const predicted = results.map(({ label }) => official.get(label)!);
    options.onProgress?.((idx + 1) * texts.length, levels.length * texts.length);
    const metrics = Object.entries(metricsOf[task]).map(
      ([name, metric]) => [name, metric(predicted, targets)] as const,
    );
    yield { task, level, examples: texts.length, ...Object.fromEntries(metrics) };
  }
}

/** STS-B through a model of one label that gives the score itself. One result per level. @throws as evaluateLabels */
export async function* evaluateRegression(options: RegressionOptions): AsyncGenerator<TaskResult> {
  const { ranker, maxLength, signal } = options;
  const levels = resolveLevels(options.levels ?? 'all', ranker.model.levels);
  const { texts, targets } = await readExamples('stsb', options);
  for (const [idx, level] of levels.entries()) {
    const scores = await ranker.score(texts as [string, string][], {
      level,
      maxLength,
      signal,
      activation: 'identity',
    });
    options.onProgress?.((idx + 1) * texts.length, levels.length * texts.length);
    yield {
      task: 'stsb',
      level,
      examples: texts.length,
      pearson: pearson(scores, targets),
      spearman: spearman(scores, targets),
    };
  }
}

async function readExamples(
  task: GlueTask,
  { data, split }: TaskOptions,
): Promise<{ texts: TextOrPair[]; targets: number[] }> {
  const examples: GlueExample[] = [];
  for await (const example of readGlue(task, data, split)) examples.push(example);
  return { texts: examples.map(({ texts }) => texts), targets: examples.map(({ target }) => target) };
}

/**
 * The official number of each of the classifier's labels: by name where it uses the official names, else by position.
 * @throws ELASTICLM_HEAD_MISSING when it has another number of labels
 */
function officialLabels(task: LabelTask, labels: readonly string[]): ReadonlyMap<string, number> {
  const names = glueFormats[task].labels ?? [];
  if (labels.length !== names.length) {
    throw ElasticError.of('ELASTICLM_HEAD_MISSING', {
      expected: `a classifier of ${names.length} labels for ${task}: ${names.join(', ')}`,
      subject: 'the checkpoint',
      received: `one of ${labels.length}: ${labels.slice(0, 5).join(', ')}`,
    });
  }
  const positions = labels.map((label) => names.indexOf(label.toLowerCase()));
  const byName = !positions.includes(-1);
  return new Map(labels.map((label, idx) => [label, byName ? positions[idx]! : idx]));
}
