/** Random token sequences as training data: pure functions of a seed, as TrainData must be. */
import type { TrainData } from '../../lib/train/types.js';
import type { EncoderConfig, TrainBatch } from '../../lib/types.js';
import { randomBatch } from './batches.js';
import { Random } from './random.js';

export interface RandomDataOptions {
  config: EncoderConfig;
  size: number;
  /** tokens of a sequence, both included; default [4, 24] */
  lengths?: [number, number];
  seed?: number;
}

export class RandomData implements TrainData {
  readonly size: number;
  /** how often each example was asked for */
  readonly uses: Int32Array;
  readonly #options: Required<RandomDataOptions>;

  constructor(options: RandomDataOptions) {
    this.#options = { lengths: [4, 24], seed: 1, ...options };
    this.size = options.size;
    this.uses = new Int32Array(options.size);
  }

  length(position: number): number {
    const [least, most] = this.#options.lengths;
    return this.#random(position).integer(least, most);
  }

  batch(positions: readonly number[]): Promise<TrainBatch> {
    const { config } = this.#options;
    const parts = positions.map((position) => {
      this.uses[position] = this.uses[position]! + 1;
      return randomBatch(config, [this.length(position)], this.#random(position));
    });
    const cuSeqlens = new Int32Array(parts.length + 1);
    parts.forEach(({ inputIds }, idx) => (cuSeqlens[idx + 1] = cuSeqlens[idx]! + inputIds.length));
    const joined = (field: 'inputIds' | 'tokenTypeIds'): Int32Array =>
      Int32Array.from(parts.flatMap((part) => [...part[field]]));
    return Promise.resolve({
      batch: { inputIds: joined('inputIds'), tokenTypeIds: joined('tokenTypeIds'), cuSeqlens },
    });
  }

  #random(position: number): Random {
    return new Random(this.#options.seed * 1_000_003 + position);
  }
}
