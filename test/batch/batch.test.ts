import { describe, expect, it } from 'vitest';
import { packBatch, splitByTokens } from '../../lib/batch/index.js';
import type { Encoding } from '../../lib/types.js';
import { Random } from '../support/random.js';
import { range } from '../support/reference-encoder.js';

function encodingsOf(lengths: readonly number[]): Encoding[] {
  const random = new Random(1);
  const ids = (length: number, bound: number): Int32Array =>
    Int32Array.from({ length }, () => random.integer(0, bound));
  return lengths.map((length) => ({ inputIds: ids(length, 999), tokenTypeIds: ids(length, 1) }));
}

describe('packBatch()', () => {
  it.each([[[]], [[1]], [[5]], [[3, 1, 4, 1, 5, 9, 2, 6]]])('lays lengths %j end to end', (lengths) => {
    const encodings = encodingsOf(lengths);
    const batch = packBatch(encodings);
    expect(batch.cuSeqlens).toHaveLength(lengths.length + 1);
    for (const [sequence, encoding] of encodings.entries()) {
      const [begin, end] = [batch.cuSeqlens[sequence], batch.cuSeqlens[sequence + 1]];
      expect(batch.inputIds.slice(begin, end)).toEqual(encoding.inputIds);
      expect(batch.tokenTypeIds.slice(begin, end)).toEqual(encoding.tokenTypeIds);
    }
    expect(batch.inputIds).toHaveLength(batch.cuSeqlens.at(-1) ?? -1);
  });

  it('shares no memory with the encodings', () => {
    const encodings = encodingsOf([3]);
    const batch = packBatch(encodings);
    const before = batch.inputIds.slice();
    encodings[0]?.inputIds.fill(-1);
    expect(batch.inputIds).toEqual(before);
  });
});

describe('splitByTokens()', () => {
  it('keeps the order, loses nothing, and keeps runs within the limit', () => {
    const random = new Random(2);
    for (let trial = 0; trial < 200; ++trial) {
      const encodings = encodingsOf(range(random.integer(0, 20)).map(() => random.integer(1, 30)));
      const maxTokens = random.integer(1, 60);
      const runs = splitByTokens(encodings, maxTokens);
      expect(runs.flat()).toEqual(encodings);
      for (const run of runs) {
        const tokens = run.reduce((sum, { inputIds }) => sum + inputIds.length, 0);
        expect(tokens <= maxTokens || run.length === 1).toBe(true);
        expect(run.length).toBeGreaterThan(0);
      }
    }
  });

  it('fills each run: the next encoding would not have fitted', () => {
    const runs = splitByTokens(encodingsOf([10, 10, 10, 25, 5, 5]), 20);
    expect(runs.map((run) => run.map(({ inputIds }) => inputIds.length))).toEqual([
      [10, 10],
      [10],
      [25],
      [5, 5],
    ]);
  });
});
