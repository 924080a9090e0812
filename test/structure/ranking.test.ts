import { describe, expect, it } from 'vitest';
import { activationImportance, normalizePerLayer, rankStructures } from '../../lib/structure/index.js';
import { Random } from '../support/random.js';
import { expectCode } from '../support/expect-code.js';

const paperLevels = [1, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.25, 0.2, 0.1, 0.05, 0.01];

/** Importance of L layers with many ties, zeros and layers of very different size. */
function randomImportance(random: Random, numLayers: number, numHeads: number, numNeurons: number) {
  const values = (width: number): Float64Array => {
    const scales = Array.from({ length: numLayers }, () => 10 ** random.integer(-3, 3));
    return Float64Array.from({ length: numLayers * width }, (_, idx) =>
      random.uniform() < 0.3 ? random.integer(0, 2) : random.uniform() * scales[Math.floor(idx / width)]!,
    );
  };
  return { heads: values(numHeads), neurons: values(numNeurons) };
}

describe('rankStructures()', () => {
  it('keeps exactly round(p L H) heads and round(p L F) neurons, nested, as prefixes of each layer', () => {
    const random = new Random(1);
    for (let trial = 0; trial < 200; ++trial) {
      const [numLayers, numHeads, numNeurons] = [
        random.integer(1, 6),
        random.integer(1, 12),
        random.integer(1, 100),
      ];
      const importance = randomImportance(random, numLayers, numHeads, numNeurons);
      const { levels, permutation } = rankStructures(importance, numLayers, paperLevels);
      expect(levels.map(({ level }) => level)).toEqual(paperLevels);
      for (const [part, width] of [
        ['heads', numHeads],
        ['neurons', numNeurons],
      ] as const) {
        for (const [idx, kept] of levels.entries()) {
          const total = kept[part].reduce((sum, count) => sum + count, 0);
          expect(total, `trial ${trial}, ${part} at ${kept.level}`).toBe(
            Math.round(kept.level * (numLayers * width)),
          );
          const larger = levels[idx - 1]?.[part] ?? new Array<number>(numLayers).fill(width);
          kept[part].forEach((count, layer) => expect(count).toBeLessThanOrEqual(larger[layer]!));
          expectBest(importance[part], permutation[part], kept[part]);
        }
        for (const order of permutation[part]) {
          expect([...order].sort((a, b) => a - b)).toEqual(
            Array.from({ length: width }, (_, place) => place),
          );
        }
      }
    }
  });

  it('breaks ties by layer, then by position', () => {
    const importance = { heads: new Float64Array(6).fill(1), neurons: Float64Array.from([0, 2, 2, 0, 2, 2]) };
    const { levels, permutation } = rankStructures(importance, 2, [0.5]);
    expect(levels[0]).toEqual({ level: 0.5, heads: [3, 0], neurons: [2, 1] });
    expect(permutation.heads).toEqual([
      [0, 1, 2],
      [0, 1, 2],
    ]);
    expect(permutation.neurons).toEqual([
      [1, 2, 0],
      [1, 2, 0],
    ]);
  });
});

describe('rankStructures() of importance that is not finite', () => {
  it('names the layer', () => {
    for (const wrong of [NaN, Infinity]) {
      const importance = { heads: Float64Array.from([1, 1]), neurons: Float64Array.from([1, wrong]) };
      expectCode(() => rankStructures(importance, 2, [0.5]), 'ELASTICLM_STRUCTURE_INVALID', /layer 1/);
    }
  });
});

/** Nothing that is left out is more important than anything that is kept, over the whole model. */
function expectBest(values: Float64Array, permutation: number[][], counts: number[]): void {
  const width = values.length / permutation.length;
  let leastKept = Infinity;
  let mostLeftOut = -Infinity;
  permutation.forEach((order, layer) =>
    order.forEach((old, place) => {
      const value = values[layer * width + old]!;
      if (place < counts[layer]!) leastKept = Math.min(leastKept, value);
      else mostLeftOut = Math.max(mostLeftOut, value);
    }),
  );
  expect(mostLeftOut).toBeLessThanOrEqual(leastKept);
}

describe('activationImportance()', () => {
  it('multiplies the mean over tokens by the norm of the outgoing weights', () => {
    const sums = { heads: Float64Array.from([10, 30]), neurons: Float64Array.from([4, 0]), numTokens: 10 };
    const norms = { heads: Float64Array.from([2, 3]), neurons: Float64Array.from([5, 7]) };
    expect(activationImportance(sums, norms)).toEqual({
      heads: Float64Array.from([2, 9]),
      neurons: Float64Array.from([2, 0]),
    });
  });
});

describe('normalizePerLayer()', () => {
  it('divides each layer by its L2 norm and leaves a layer of zeros alone', () => {
    const normalized = normalizePerLayer(
      { heads: Float64Array.from([3, 4, 0, 0]), neurons: Float64Array.from([5, 5e-200]) },
      2,
    );
    expect(normalized.heads).toEqual(Float64Array.from([0.6, 0.8, 0, 0]));
    expect(normalized.neurons).toEqual(Float64Array.from([1, 1]));
  });
});
