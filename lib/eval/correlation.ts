/** Correlations of two lists of numbers, as scipy.stats gives them. */
import { checkSameLength } from './label-metrics.js';

/** Pearson's r in [-1, 1]; NaN when either list is constant. */
export function pearson(a: ArrayLike<number>, b: ArrayLike<number>): number {
  checkSameLength(a, b);
  const meanA = meanOf(a);
  const meanB = meanOf(b);
  let covariance = 0;
  let varianceA = 0;
  let varianceB = 0;
  for (let i = 0; i < a.length; ++i) {
    const x = a[i]! - meanA;
    const y = b[i]! - meanB;
    covariance += x * y;
    varianceA += x * x;
    varianceB += y * y;
  }
  const r = covariance / Math.sqrt(varianceA * varianceB);
  return Number.isNaN(r) ? r : Math.min(1, Math.max(-1, r));
}

/** Spearman's rho: Pearson's r of the ranks, equal values sharing the mean of theirs. NaN when either list is constant. */
export function spearman(a: ArrayLike<number>, b: ArrayLike<number>): number {
  return pearson(averageRanks(a), averageRanks(b));
}

/** [n] ranks from 1; equal values share the mean of the ranks they take. */
export function averageRanks(values: ArrayLike<number>): Float64Array {
  const order = Array.from(values, (_, idx) => idx).sort((i, j) => values[i]! - values[j]!);
  const ranks = new Float64Array(values.length);
  for (let begin = 0; begin < order.length;) {
    let end = begin + 1;
    while (end < order.length && values[order[end]!] === values[order[begin]!]) end += 1;
    for (let i = begin; i < end; ++i) ranks[order[i]!] = (begin + 1 + end) / 2;
    begin = end;
  }
  return ranks;
}

function meanOf(values: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < values.length; ++i) sum += values[i]!;
  return sum / values.length;
}
