/** What a recipe measures on the way and at the end. */
import { evaluate, type EvaluationResult } from '../eval/index.js';
import { ElasticError } from '../errors.js';
import type { Metrics } from './options.js';
import { taskName, type RecipeEvaluation } from './recipe.js';

export interface RecipeEvaluationOptions {
  /** folder of the checkpoint */
  model: string;
  threads?: number | undefined;
  /** of a task, by its name */
  onProgress?: ((task: string, done: number, total: number) => void) | undefined;
  signal?: AbortSignal | undefined;
}

/** @throws ELASTICLM_RECIPE_INVALID for a metric that a task does not have, and what evaluate() throws */
export async function evaluateRecipe(
  { tasks }: RecipeEvaluation,
  { model, threads, onProgress, signal }: RecipeEvaluationOptions,
): Promise<Metrics> {
  const metrics: Record<string, Record<string, number>> = {};
  for (const entry of tasks) {
    const { task, data, split, indexLevel, maxLength } = entry;
    const name = taskName(entry);
    const results = evaluate({
      model,
      task,
      data,
      ...(split === undefined ? {} : { split }),
      ...(indexLevel === undefined ? {} : { indexLevel }),
      ...(maxLength === undefined ? {} : { maxLength }),
      ...(threads === undefined ? {} : { threads }),
      ...(onProgress === undefined
        ? {}
        : { onProgress: (done: number, total: number) => onProgress(name, done, total) }),
      ...(signal === undefined ? {} : { signal }),
    });
    for await (const result of results) {
      for (const metric of entry.metrics) {
        (metrics[`${name}/${metric}`] ??= {})[String(result.level)] = readMetric(result, metric);
      }
    }
  }
  return metrics;
}

function readMetric(result: EvaluationResult, metric: string): number {
  const fields = result as unknown as Readonly<Record<string, unknown>>;
  const value = Object.hasOwn(fields, metric) ? fields[metric] : undefined;
  if (typeof value === 'number') return value;
  const known = Object.keys(fields).filter((name) => typeof fields[name] === 'number');
  throw ElasticError.of('ELASTICLM_RECIPE_INVALID', {
    expected: `one of ${known.join(', ')}`,
    subject: `evaluation.tasks of ${result.task}: metrics`,
    received: metric,
  });
}
