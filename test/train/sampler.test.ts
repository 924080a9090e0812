import { describe, expect, it } from 'vitest';
import { randomOrder } from '../../lib/train/random.js';
import { Sampler, type MicroBatch, type SamplerOptions } from '../../lib/train/sampler.js';
import type { DataPosition } from '../../lib/train/types.js';
import { expectCode } from '../support/expect-code.js';
import { Random } from '../support/random.js';

interface Corpus {
  lengths: number[];
  options: SamplerOptions;
}

function corpusOf(size: number, changes: Partial<SamplerOptions> = {}): Corpus {
  const random = new Random(size);
  const lengths = Array.from({ length: size }, () => 3 + Math.floor(125 * random.uniform() ** 3));
  const options = {
    size,
    length: (position: number) => lengths[position]!,
    seed: 1,
    tokensPerMicroBatch: 512,
  };
  return { lengths, options: { ...options, ...changes } };
}

/** All micro-batches of one epoch, and where the next epoch begins. */
function epochOf(sampler: Sampler, epoch: number): { microBatches: MicroBatch[]; next: DataPosition } {
  const microBatches: MicroBatch[] = [];
  let next: DataPosition = { epoch, cursor: 0 };
  do {
    const microBatch = sampler.microBatchAt(next);
    microBatches.push(microBatch);
    next = microBatch.next;
  } while (next.epoch === epoch);
  return { microBatches, next };
}

describe('Sampler', () => {
  it('gives each example once an epoch, in micro-batches that are nearly full, whatever the size', () => {
    for (const size of [1, 2, 3, 17, 1000, 2049, 5000]) {
      const { lengths, options } = corpusOf(size);
      const sampler = new Sampler(options);
      for (const epoch of [0, 1, 7]) {
        const { microBatches, next } = epochOf(sampler, epoch);
        expect(next).toEqual({ epoch: epoch + 1, cursor: 0 });
        const positions = microBatches.flatMap((microBatch) => microBatch.positions);
        expect([...positions].sort((a, b) => a - b)).toEqual(lengths.map((_, position) => position));
        const tokens = microBatches.map((microBatch) =>
          microBatch.positions.reduce((sum, position) => sum + lengths[position]!, 0),
        );
        expect(Math.max(...tokens)).toBeLessThanOrEqual(options.tokensPerMicroBatch);
        // Equal shares of a window, off by no more than one example each.
        const longest = Math.max(...lengths);
        const share = tokens.reduce((sum, count) => sum + count, 0) / tokens.length;
        if (tokens.length > 1) expect(Math.min(...tokens)).toBeGreaterThanOrEqual(share - 2 * longest);
        expect(new Set(microBatches.map(({ seed }) => seed)).size).toBe(microBatches.length);
      }
    }
  });

  it('is a function of seed and position alone', () => {
    const { options } = corpusOf(5000);
    const straight = epochOf(new Sampler(options), 2).microBatches;
    const jumping = new Sampler(options);
    let position: DataPosition = { epoch: 2, cursor: 0 };
    const places = straight.map((microBatch) => {
      const place = position;
      position = microBatch.next;
      return place;
    });
    for (const idx of [straight.length - 1, 0, straight.length >> 1, 3, straight.length - 2]) {
      expect(jumping.microBatchAt(places[idx]!)).toEqual(straight[idx]);
    }
    const ordered = (microBatches: MicroBatch[]): number[] =>
      microBatches.flatMap(({ positions }) => positions);
    const other = epochOf(new Sampler({ ...options, seed: 2 }), 2).microBatches;
    const later = epochOf(new Sampler(options), 3).microBatches;
    expect(ordered(other)).not.toEqual(ordered(straight));
    expect(ordered(later)).not.toEqual(ordered(straight));
  });

  it('puts examples of similar length together, and long and short micro-batches in no order', () => {
    const { lengths, options } = corpusOf(2000);
    const { microBatches } = epochOf(new Sampler(options), 0);
    const means = microBatches.map(({ positions }) => {
      const own = positions.map((position) => lengths[position]!);
      const range = Math.max(...own) - Math.min(...own);
      expect(range).toBeLessThan(40); // of 125
      return own.reduce((sum, length) => sum + length, 0) / own.length;
    });
    const rises = means.slice(1).filter((mean, idx) => mean > means[idx]!).length;
    expect(rises / (means.length - 1)).toBeGreaterThan(0.25);
    expect(rises / (means.length - 1)).toBeLessThan(0.75);
  });

  it('gives an example that is longer than a micro-batch one of its own', () => {
    const { options } = corpusOf(50, {
      tokensPerMicroBatch: 64,
      length: (position) => (position === 7 ? 100 : 10),
    });
    const { microBatches } = epochOf(new Sampler(options), 0);
    expect(microBatches.filter(({ positions }) => positions.includes(7))).toMatchObject([{ positions: [7] }]);
    for (const { positions } of microBatches) expect(positions.length).toBeLessThanOrEqual(6);
  });

  it('counts the micro-batches of an epoch', async () => {
    const { options } = corpusOf(5000);
    const { microBatches } = epochOf(new Sampler(options), 0);
    expect(await new Sampler(options).countMicroBatches(0)).toBe(microBatches.length);
  });

  it('refuses a position inside a micro-batch', () => {
    const { options } = corpusOf(100, { length: () => 10 });
    const sampler = new Sampler(options);
    const code = 'ELASTICLM_CHECKPOINT_INVALID';
    expectCode(() => sampler.microBatchAt({ epoch: 0, cursor: 1 }), code, /example 1 of epoch 0/);
    expectCode(() => sampler.microBatchAt({ epoch: 0, cursor: 100 }), code);
    expectCode(() => sampler.microBatchAt({ epoch: 0, cursor: 1e9 }), code);
  });

  it('plans a window in a few milliseconds', () => {
    const { options } = corpusOf(1_000_000, { tokensPerMicroBatch: 2048 });
    const sampler = new Sampler(options);
    const times: number[] = [];
    for (let window = 0; window < 40; ++window) {
      const beginMs = performance.now();
      epochPart(sampler, window);
      times.push(performance.now() - beginMs);
    }
    // The median: others may use this machine. The event loop should wait for no more than 5 ms.
    expect(times.sort((a, b) => a - b)[20]).toBeLessThan(5);
  });
});

/** Plans the beginning of another epoch, which is never the window planned last. */
function epochPart(sampler: Sampler, epoch: number): void {
  sampler.microBatchAt({ epoch, cursor: 0 });
}

describe('randomOrder()', () => {
  it('is a permutation of every size, without pattern', () => {
    for (const size of [1, 2, 3, 4, 5, 16, 17, 1000, 4097]) {
      const order = Array.from({ length: size }, (_, place) => place).map(randomOrder(size, 3));
      expect([...order].sort((a, b) => a - b)).toEqual(Array.from({ length: size }, (_, place) => place));
    }
    const size = 4096;
    const order = Array.from({ length: size }, (_, place) => place).map(randomOrder(size, 9));
    // Correlation of place and position: of a random order normal with deviation 1 / sqrt(size).
    const middle = (size - 1) / 2;
    const products = order.reduce((sum, position, place) => sum + (position - middle) * (place - middle), 0);
    const correlation = products / (size * ((size * size - 1) / 12));
    expect(Math.abs(correlation)).toBeLessThan(4 / Math.sqrt(size));
    // Fixed points of a random order: 1 in the mean, more than 8 once in a million.
    expect(order.filter((position, place) => position === place).length).toBeLessThanOrEqual(8);
  });
});
