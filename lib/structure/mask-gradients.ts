/** Importance by gradients: how much a loss would change with a head or a neuron (paper, section 3, "expressive score"). */
import { ElasticError, throwIfAborted } from '../errors.js';
import type { NativeTrainer } from '../binding/index.js';
import type { Objective, TrainBatch } from '../types.js';
import type { Importance } from './importance.js';

export interface MaskGradientSpec {
  trainer: Pick<NativeTrainer, 'maskGradients'>;
  batches: AsyncIterable<TrainBatch> | Iterable<TrainBatch>;
  objective: Objective;
  /** after each batch: examples done */
  onProgress?: ((examples: number) => void) | undefined;
  signal?: AbortSignal | undefined;
}

export interface MeasuredGradients extends Importance {
  /** sequences, pairs or lists, as the loss counts */
  examples: number;
  tokens: number;
}

/**
 * The mean over batches of the absolute gradient of the batch's loss with respect to a mask of ones over each head's context and
 * each neuron's activation. The absolute value is taken of a batch's whole gradient, so that examples which pull one mask in
 * different directions count as little as they would for the weights.
 * @throws ELASTICLM_ARGUMENT_INVALID without batches, ELASTICLM_CALL_ABORTED and what NativeTrainer.maskGradients throws
 */
export async function meanMaskGradients(spec: MaskGradientSpec): Promise<MeasuredGradients> {
  const { trainer, objective, onProgress, signal } = spec;
  let sums: Importance | undefined;
  let numBatches = 0;
  let examples = 0;
  let tokens = 0;
  for await (const batch of spec.batches) {
    throwIfAborted(signal);
    const gradients = await trainer.maskGradients(batch, objective, signal);
    sums ??= {
      heads: new Float64Array(gradients.heads.length),
      neurons: new Float64Array(gradients.neurons.length),
    };
    addAbsolute(sums.heads, gradients.heads);
    addAbsolute(sums.neurons, gradients.neurons);
    numBatches += 1;
    examples += countExamples(batch);
    tokens += batch.batch.inputIds.length;
    onProgress?.(examples);
  }
  if (sums === undefined) {
    throw ElasticError.of('ELASTICLM_ARGUMENT_INVALID', {
      expected: 'at least one batch to measure importance with',
      subject: 'batches',
      received: 'none',
    });
  }
  const mean = (sum: Float64Array): Float64Array => sum.map((value) => value / numBatches);
  return { heads: mean(sums.heads), neurons: mean(sums.neurons), examples, tokens };
}

function addAbsolute(sums: Float64Array, values: Float64Array): void {
  for (let idx = 0; idx < sums.length; ++idx) sums[idx]! += Math.abs(values[idx]!);
}

function countExamples({ batch, cuLists, numQueries }: TrainBatch): number {
  if (cuLists !== undefined) return cuLists.length - 1;
  return numQueries ?? batch.cuSeqlens.length - 1;
}
