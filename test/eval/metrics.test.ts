import { describe, expect, it } from 'vitest';
import {
  accuracy,
  averagePrecision,
  f1,
  matthews,
  ndcgAt,
  pearson,
  rankRun,
  recallAt,
  reciprocalRankAt,
  spearman,
} from '../../lib/eval/index.js';
import { expectCode } from '../support/expect-code.js';

describe('rankRun()', () => {
  it('orders equal scores by falling document id, as trec_eval does', () => {
    const run = ['d2', 'd10', 'd1', 'e'].map((id) => ({ id, score: id === 'e' ? 2 : 1 }));
    expect(rankRun(run)).toEqual(['e', 'd2', 'd10', 'd1']);
  });

  it('takes scores that differ in double precision only as equal', () => {
    const run = [
      { id: 'a', score: 0.1 + 1e-12 },
      { id: 'b', score: 0.1 },
    ];
    expect(rankRun(run)).toEqual(['b', 'a']);
  });

  it('compares ids by code points, not by UTF-16 units', () => {
    // U+FFFD has the larger UTF-16 unit, U+1F600 (a surrogate pair) the larger code point and the larger UTF-8 bytes
    const run = ['\uFFFD', '\u{1F600}'].map((id) => ({ id, score: 1 }));
    expect(rankRun(run)).toEqual(['\u{1F600}', '\uFFFD']);
  });

  it('orders infinite scores', () => {
    const run = [
      { id: 'a', score: -Infinity },
      { id: 'b', score: Infinity },
      { id: 'c', score: Infinity },
      { id: 'd', score: 0 },
    ];
    expect(rankRun(run)).toEqual(['c', 'b', 'd', 'a']);
  });

  it('refuses a document twice and a score that is not a number', () => {
    const twice = [
      { id: 'a', score: 1 },
      { id: 'a', score: 2 },
    ];
    expectCode(() => rankRun(twice), 'ELASTICLM_DATA_INVALID', /"a" twice/);
    expectCode(() => rankRun([{ id: 'a', score: NaN }]), 'ELASTICLM_DATA_INVALID', /NaN/);
  });
});

const judgments = new Map([
  ['a', 2],
  ['b', 1],
  ['c', 0],
  ['d', 1],
  ['spam', -2],
]);

describe('ndcgAt()', () => {
  it('gives gain = relevance over log2(rank + 1), against the best order of all judged documents', () => {
    const gained = 1 / Math.log2(2) + 2 / Math.log2(4);
    const best = 2 / Math.log2(2) + 1 / Math.log2(3) + 1 / Math.log2(4);
    expect(ndcgAt(['b', 'x', 'a', 'c'], judgments, 10)).toBeCloseTo(gained / best, 14);
  });

  it('cuts the ranking and the best order at k', () => {
    expect(ndcgAt(['b', 'a'], judgments, 1)).toBe(1 / 2);
    expect(ndcgAt(['a', 'b', 'd'], judgments, 2)).toBe(1);
  });

  it('gains nothing from a negative judgment', () => {
    expect(ndcgAt(['spam', 'a'], judgments, 10)).toBe(ndcgAt(['x', 'a'], judgments, 10));
  });

  it('is 0 without a relevant document and for an empty ranking', () => {
    expect(ndcgAt(['a'], new Map([['a', 0]]), 10)).toBe(0);
    expect(ndcgAt([], judgments, 10)).toBe(0);
  });
});

describe('reciprocalRankAt(), recallAt(), averagePrecision()', () => {
  it('give hand-worked values', () => {
    const ranked = ['c', 'x', 'b', 'y', 'a'];
    expect(reciprocalRankAt(ranked, judgments, 10)).toBe(1 / 3);
    expect(reciprocalRankAt(ranked, judgments, 2)).toBe(0);
    expect(recallAt(ranked, judgments, 3)).toBe(1 / 3);
    expect(recallAt(ranked, judgments, 100)).toBe(2 / 3);
    expect(averagePrecision(ranked, judgments)).toBeCloseTo((1 / 3 + 2 / 5) / 3, 14);
  });

  it('are 0 when nothing is relevant', () => {
    const none = new Map([['a', 0]]);
    expect([
      reciprocalRankAt(['a'], none, 10),
      recallAt(['a'], none, 10),
      averagePrecision(['a'], none),
    ]).toEqual([0, 0, 0]);
  });
});

describe('accuracy(), f1(), matthews()', () => {
  // true positives 2, false positives 1, false negatives 1, true negatives 3
  const labels = [1, 1, 1, 0, 0, 0, 0];
  const predicted = [1, 1, 0, 1, 0, 0, 0];

  it('give hand-worked values', () => {
    expect(accuracy(predicted, labels)).toBe(5 / 7);
    expect(f1(predicted, labels)).toBe(2 / 3);
    expect(matthews(predicted, labels)).toBeCloseTo((2 * 3 - 1 * 1) / Math.sqrt(3 * 3 * 4 * 4), 14);
  });

  it('are 0 where the formula divides 0 by 0', () => {
    expect(f1([0, 0], [0, 0])).toBe(0);
    expect(matthews([1, 1], [0, 1])).toBe(0);
  });

  it('count any label in accuracy', () => {
    expect(accuracy([0, 1, 2, 2], [0, 1, 2, 1])).toBe(3 / 4);
  });

  it('refuse lists of different or no length', () => {
    for (const metric of [accuracy, f1, matthews, pearson, spearman]) {
      expectCode(() => metric([1], [1, 0]), 'ELASTICLM_ARGUMENT_INVALID', /1 and 2/);
      expectCode(() => metric([], []), 'ELASTICLM_ARGUMENT_INVALID', /0 and 0/);
    }
  });
});

describe('pearson(), spearman()', () => {
  it('give hand-worked values', () => {
    // deviations (-1, 0, 1) and (-2, 1, 1): 3 / sqrt(2 * 6)
    expect(pearson([1, 2, 3], [0, 3, 3])).toBeCloseTo(3 / Math.sqrt(12), 14);
    // ranks (1, 2, 3, 4) and (2.5, 2.5, 4, 1): deviations (0, 0, 1.5, -1.5), (−1.5, −0.5, 0.5, 1.5): −1.5 / sqrt(5 · 4.5)
    expect(spearman([1, 2, 3, 4], [5, 5, 9, 2])).toBeCloseTo(-1.5 / Math.sqrt(5 * 4.5), 14);
  });

  it('are 1 and -1 for the same and the opposite order', () => {
    expect(spearman([1, 10, 100], [2, 3, 50])).toBe(1);
    expect(spearman([1, 10, 100], [9, 8, -7])).toBe(-1);
    expect(pearson([1e9, 1e9 + 1, 1e9 + 2], [0, 1, 2])).toBeCloseTo(1, 12);
  });

  it('are not a number for a constant list', () => {
    expect(pearson([1, 1], [1, 2])).toBeNaN();
    expect(spearman([1, 2], [3, 3])).toBeNaN();
  });
});
