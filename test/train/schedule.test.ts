import { describe, expect, it } from 'vitest';
import { learningRateAt, sampleLevels, shareWeights } from '../../lib/train/schedule.js';

describe('learningRateAt()', () => {
  it('rises over the warm-up, reaches the peak with its last update, and falls towards 0', () => {
    const schedule = { learningRate: 1, warmupSteps: 4, steps: 12 };
    const rates = Array.from({ length: 12 }, (_, step) => learningRateAt(step, schedule));
    expect(rates).toEqual([0.25, 0.5, 0.75, 1, 1, 7 / 8, 6 / 8, 5 / 8, 4 / 8, 3 / 8, 2 / 8, 1 / 8]);
  });

  it('falls from the first update without a warm-up, and never falls where all is warm-up', () => {
    expect(learningRateAt(0, { learningRate: 2, warmupSteps: 0, steps: 4 })).toBe(2);
    expect(learningRateAt(3, { learningRate: 2, warmupSteps: 0, steps: 4 })).toBe(0.5);
    expect(learningRateAt(3, { learningRate: 2, warmupSteps: 4, steps: 4 })).toBe(2);
  });
});

describe('sampleLevels()', () => {
  it("takes all levels where asked for 'all', or where there are no more", () => {
    expect(sampleLevels('all', 6, 1, 0)).toEqual([0, 1, 2, 3, 4, 5]);
    expect(sampleLevels({ sandwich: 4 }, 6, 1, 0)).toEqual([0, 1, 2, 3, 4, 5]);
    expect(sampleLevels({ sandwich: 0 }, 1, 1, 0)).toEqual([0]);
  });

  it('takes the largest, the smallest and random ones between, each as often as the others', () => {
    const counts = new Array<number>(6).fill(0);
    const steps = 3000;
    for (let step = 0; step < steps; ++step) {
      const levels = sampleLevels({ sandwich: 2 }, 6, 5, step);
      expect(levels).toHaveLength(4);
      expect([...levels].sort((a, b) => a - b)).toEqual(levels);
      for (const level of levels) counts[level] = counts[level]! + 1;
    }
    expect([counts[0], counts[5]]).toEqual([steps, steps]);
    // Half of the steps each: a deviation of sqrt(3000 / 4) = 27, five of them.
    for (const count of counts.slice(1, 5)) expect(Math.abs(count - steps / 2)).toBeLessThan(5 * 27.4);
    expect(sampleLevels({ sandwich: 0 }, 6, 5, 1)).toEqual([0, 5]);
  });
});

describe('shareWeights()', () => {
  it('divides by the sum over the levels that take part', () => {
    expect(shareWeights([0, 1, 2], [1, 1, 1])).toEqual([1 / 3, 1 / 3, 1 / 3]);
    expect(shareWeights([0, 2], [3, 5, 1])).toEqual([0.75, 0.25]);
  });
});
