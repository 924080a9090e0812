/** GLUE tasks level by level: labels through a classifier, scores through a model of one label or by an embedding model. */
import { ElasticError } from '../errors.js';
import type { ElasticClassifier, ElasticDenser, ElasticRanker } from '../heads/index.js';
import {
  glueFormats,
  glueMetrics,
  readGlueSets,
  type GlueSet,
  type GlueTask,
  type LabelTask,
} from './glue.js';
import { resolveLevels, type TaskOptions } from './task-options.js';

/** `data` is the task's own folder, or the folder of all GLUE tasks; `split` by default dev. */
export interface LabelOptions extends TaskOptions {
  task: LabelTask;
  classifier: ElasticClassifier;
}

/** `data` is the folder of STS-B's files, or of all GLUE tasks; `split` by default dev. */
export interface RegressionOptions extends TaskOptions {
  ranker: ElasticRanker;
}

/** Likewise. */
export interface StsOptions extends TaskOptions {
  denser: ElasticDenser;
}

/** The task's official metrics by name. */
export interface TaskResult {
  task: string;
  level: number;
  /** that the metrics are of; MNLI's dev also has examplesMismatched and accuracyMismatched */
  examples: number;
  [metric: string]: string | number;
}

export interface CorrelationResult {
  task: 'sts' | 'stsb';
  level: number;
  examples: number;
  pearson: number;
  spearman: number;
}

/** One result per level. @throws ELASTICLM_DATA_INVALID, ELASTICLM_HEAD_MISSING, ELASTICLM_LEVEL_UNKNOWN, … */
export async function* evaluateLabels(options: LabelOptions): AsyncGenerator<TaskResult> {
  const { task, classifier, maxLength, signal } = options;
  const official = officialLabels(task, classifier.labels);
  const results = evaluateGlue(task, options, {
    levels: resolveLevels(options.levels, classifier),
    predict: async ({ texts }, level) => {
      const classified = await classifier.classify(texts, { level, maxLength, signal });
      return classified.map(({ label }) => official.get(label)!);
    },
  });
  for await (const { level, counts, metrics } of results) yield { task, level, ...counts, ...metrics };
}

/** STS-B through a model of one label that gives the score itself. One result per level. @throws as evaluateLabels */
export async function* evaluateRegression(options: RegressionOptions): AsyncGenerator<CorrelationResult> {
  const { ranker, maxLength, signal } = options;
  const results = evaluateGlue('stsb', options, {
    levels: resolveLevels(options.levels, ranker),
    predict: ({ texts }, level) =>
      ranker.score(texts as [string, string][], { level, maxLength, signal, activation: 'identity' }),
  });
  for await (const result of results) yield correlationResult('stsb', result);
}

/** STS-B by an embedding model: cosines of the two sentences' vectors, both at the same level. @throws as evaluateLabels */
export async function* evaluateSts(options: StsOptions): AsyncGenerator<CorrelationResult> {
  const { denser, maxLength, signal } = options;
  const results = evaluateGlue('stsb', options, {
    levels: resolveLevels(options.levels, denser),
    predict: async ({ texts }, level) => {
      const { data, dims } = await denser.encode(texts.flat(), { level, maxLength, signal });
      return texts.map((_, pair) => cosineOfRows(data, dims, 2 * pair));
    },
  });
  for await (const result of results) yield correlationResult('sts', result);
}

function correlationResult(task: 'sts' | 'stsb', { level, counts, metrics }: GlueLevel): CorrelationResult {
  const { examples } = counts;
  return { task, level, examples, pearson: metrics['pearson']!, spearman: metrics['spearman']! };
}

/** Cosine of rows `row` and `row + 1`; NaN when one of them is zero. */
function cosineOfRows(data: Float32Array, dims: number, row: number): number {
  let dot = 0;
  let firstSquares = 0;
  let secondSquares = 0;
  for (let i = row * dims; i < (row + 1) * dims; ++i) {
    const first = data[i]!;
    const second = data[i + dims]!;
    dot += first * second;
    firstSquares += first * first;
    secondSquares += second * second;
  }
  return dot / Math.sqrt(firstSquares * secondSquares);
}

/** A task's examples through a model. */
interface GlueRun {
  levels: readonly number[];
  /** [n] labels or scores of a set's examples */
  predict: (set: GlueSet, level: number) => Promise<ArrayLike<number>>;
}

/** What came of one level. */
interface GlueLevel {
  level: number;
  counts: { examples: number; [ofOtherSet: string]: number };
  metrics: Record<string, number>;
}

async function* evaluateGlue(
  task: GlueTask,
  { data, split, onProgress }: TaskOptions,
  { levels, predict }: GlueRun,
): AsyncGenerator<GlueLevel> {
  const sets = await readGlueSets(task, data, split);
  const total = levels.length * sets.reduce((sum, { texts }) => sum + texts.length, 0);
  let done = 0;
  for (const level of levels) {
    const counts: GlueLevel['counts'] = { examples: 0 };
    const metrics: Record<string, number> = {};
    for (const set of sets) {
      Object.assign(metrics, glueMetrics(task, set, await predict(set, level)));
      counts[`examples${set.suffix}`] = set.texts.length;
      onProgress?.((done += set.texts.length), total);
    }
    yield { level, counts, metrics };
  }
}

/**
 * The official number of each of the classifier's labels: by name where it uses the official names, else by position.
 * @throws ELASTICLM_HEAD_MISSING when it has another number of labels
 */
function officialLabels(task: LabelTask, labels: readonly string[]): ReadonlyMap<string, number> {
  const names = glueFormats[task].labels;
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
