/** Batches of training data for measuring importance: see elasticize(). */
import { checkCount } from './data-options.js';
import { mixBits, randomOrder } from './random.js';
import type { TrainBatch, TrainData } from './types.js';

export interface ImportanceBatchOptions {
  /** how many of the examples to use; default 1024 */
  maxExamples?: number | undefined;
  /** tokens of a batch at most, but for an example that is longer; default 4096 */
  maxTokens?: number | undefined;
  /** picks the examples; default 1 */
  seed?: number | undefined;
}

/** @throws ELASTICLM_ARGUMENT_INVALID */
export async function* importanceBatches(
  data: TrainData,
  options: ImportanceBatchOptions = {},
): AsyncGenerator<TrainBatch> {
  const { maxExamples = 1024, maxTokens = 4096, seed = 1 } = options;
  checkCount('maxExamples', maxExamples, 1);
  checkCount('maxTokens', maxTokens, 1);
  checkCount('seed', seed, 0);
  if (data.size === 0) return;
  const order = randomOrder(data.size, seed);
  let positions: number[] = [];
  let tokens = 0;
  for (let place = 0; place < Math.min(data.size, maxExamples); ++place) {
    const position = order(place);
    const length = data.length(position);
    if (positions.length > 0 && tokens + length > maxTokens) {
      yield await data.batch(positions, mixBits(seed, place));
      positions = [];
      tokens = 0;
    }
    positions.push(position);
    tokens += length;
  }
  if (positions.length > 0) yield await data.batch(positions, mixBits(seed, data.size));
}
