import { describe, expect, it } from 'vitest';
import { calibrate, CostModel, type CostCoefficients } from '../../lib/schedule/index.js';
import { Random } from '../support/random.js';

const truth: CostCoefficients = {
  batchMs: 0.15,
  levels: [1, 0.5, 0.1].map((level) => ({
    perSequenceMs: 0.02,
    perTokenMs: 0.04 * level,
    perTokenSquareMs: 2e-5 * level,
  })),
};

function timeOf(levelIdx: number, lengths: readonly number[]): number {
  const cost = new CostModel(truth);
  const works = lengths.map((tokens) => ({ sequences: 1, tokens, tokenSquares: tokens * tokens }));
  return works.reduce((sum, work) => sum + cost.nominalMs(levelIdx, work), truth.batchMs);
}

describe('calibrate()', () => {
  it('finds the coefficients that times follow', async () => {
    const measure = (levelIdx: number, lengths: readonly number[]) =>
      Promise.resolve(timeOf(levelIdx, lengths));
    const found = await calibrate(measure, { numLevels: 3, maxLength: 512 });
    expect(found.batchMs).toBeCloseTo(truth.batchMs, 6);
    for (const [idx, level] of truth.levels.entries()) {
      expect(found.levels[idx]!.perSequenceMs).toBeCloseTo(level.perSequenceMs, 6);
      expect(found.levels[idx]!.perTokenMs / level.perTokenMs).toBeCloseTo(1, 6);
      expect(found.levels[idx]!.perTokenSquareMs / level.perTokenSquareMs).toBeCloseTo(1, 6);
    }
  });

  it('stays within 10% for shapes it has not seen, where times are noisy and the longest sequence is short', async () => {
    const random = new Random(1);
    const measure = (levelIdx: number, lengths: readonly number[]) =>
      Promise.resolve(timeOf(levelIdx, lengths) * Math.exp(0.05 * random.normal()));
    const found = new CostModel(await calibrate(measure, { numLevels: 3, maxLength: 128 }));
    for (const lengths of [[16], [100], [24, 24, 90]]) {
      for (const levelIdx of [0, 1, 2]) {
        const works = lengths.map((tokens) => ({ sequences: 1, tokens, tokenSquares: tokens * tokens }));
        const { batchMs } = found.coefficients;
        const ms = works.reduce((sum, work) => sum + found.nominalMs(levelIdx, work), batchMs);
        expect(Math.abs(ms / timeOf(levelIdx, lengths) - 1)).toBeLessThan(0.1);
      }
    }
  });
});
