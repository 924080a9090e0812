import type { EncoderConfig } from '../types.js';

/** The length that level costs are compared at: a usual passage. */
const referenceTokens = 128;

/** Counts per layer of one SubLM. */
export interface StructureCounts {
  heads: readonly number[];
  neurons: readonly number[];
}

/**
 * Multiply-adds times two of the linear and attention steps of one sequence of `numTokens` tokens. Per kept head: the Q, K
 * and V rows and the output columns (8 T E D) and the two products of attention (4 T² D); per kept neuron: its row of
 * FFN-up and column of FFN-down (4 T E).
 */
export function forwardFlops(config: EncoderConfig, counts: StructureCounts, numTokens: number): number {
  const { hiddenSize, headDim } = config;
  const perHead = 8 * numTokens * hiddenSize * headDim + 4 * numTokens * numTokens * headDim;
  const perNeuron = 4 * numTokens * hiddenSize;
  const total = (list: readonly number[]): number => list.reduce((sum, count) => sum + count, 0);
  return total(counts.heads) * perHead + total(counts.neurons) * perNeuron;
}

/** Flops of a 128-token forward of `counts` over those of the whole model: in [0, 1]. */
export function computeFraction(config: EncoderConfig, counts: StructureCounts): number {
  const { numLayers, numHeads, intermediateSize } = config;
  const whole = {
    heads: Array<number>(numLayers).fill(numHeads),
    neurons: Array<number>(numLayers).fill(intermediateSize),
  };
  return forwardFlops(config, counts, referenceTokens) / forwardFlops(config, whole, referenceTokens);
}
