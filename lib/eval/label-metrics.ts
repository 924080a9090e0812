/** Metrics of classification (GLUE's official ones). Label arrays have one entry per example. */
import { ElasticError } from '../errors.js';

/** The share of examples whose label was predicted. */
export function accuracy(predicted: ArrayLike<number>, labels: ArrayLike<number>): number {
  checkSameLength(predicted, labels);
  let right = 0;
  for (let idx = 0; idx < labels.length; ++idx) if (labels[idx] === predicted[idx]) right += 1;
  return right / labels.length;
}

/** Harmonic mean of precision and recall of label 1; 0 when nothing of label 1 was found. */
export function f1(predicted: ArrayLike<number>, labels: ArrayLike<number>): number {
  const { truePositive, falsePositive, falseNegative } = countOutcomes(predicted, labels);
  return truePositive === 0 ? 0 : (2 * truePositive) / (2 * truePositive + falsePositive + falseNegative);
}

/** Matthews correlation of two labels, 0 and 1, in [-1, 1]; 0 when either side has one label only. */
export function matthews(predicted: ArrayLike<number>, labels: ArrayLike<number>): number {
  const { truePositive, falsePositive, falseNegative, trueNegative } = countOutcomes(predicted, labels);
  const spread =
    (truePositive + falsePositive) *
    (truePositive + falseNegative) *
    (trueNegative + falsePositive) *
    (trueNegative + falseNegative);
  return spread === 0 ? 0 : (truePositive * trueNegative - falsePositive * falseNegative) / Math.sqrt(spread);
}

interface Outcomes {
  truePositive: number;
  falsePositive: number;
  falseNegative: number;
  trueNegative: number;
}

function countOutcomes(predicted: ArrayLike<number>, labels: ArrayLike<number>): Outcomes {
  checkSameLength(predicted, labels);
  const outcomes: Outcomes = { truePositive: 0, falsePositive: 0, falseNegative: 0, trueNegative: 0 };
  for (let idx = 0; idx < labels.length; ++idx) {
    const guess = predicted[idx];
    if (labels[idx] === 1) outcomes[guess === 1 ? 'truePositive' : 'falseNegative'] += 1;
    else outcomes[guess === 1 ? 'falsePositive' : 'trueNegative'] += 1;
  }
  return outcomes;
}

/** @throws ELASTICLM_ARGUMENT_INVALID unless both have the same length of at least 1 */
export function checkSameLength(a: ArrayLike<number>, b: ArrayLike<number>): void {
  if (a.length === b.length && a.length > 0) return;
  throw ElasticError.of('ELASTICLM_ARGUMENT_INVALID', {
    expected: 'two lists of the same length, at least 1',
    subject: 'a metric',
    received: `${a.length} and ${b.length} values`,
  });
}
