/** What native code does to checkpoint files without loading them as a model. */
import type { EncoderConfig } from '../types.js';
import { loadAddon } from './addon.js';
import { captureCallSite, runCall } from './call.js';

export interface CheckpointSource {
  config: EncoderConfig;
  /** the checkpoint's safetensors files */
  files: readonly string[];
}

/** The new order of each layer: `heads[l][i]` is the old place of the head that moves to place i. */
export interface Permutation {
  heads: readonly (readonly number[])[];
  neurons: readonly (readonly number[])[];
}

/** Norms of the outgoing weights, for label-free importance. */
export interface OutgoingNorms {
  /** [L * H] Frobenius norm of each head's columns of the attention output projection */
  heads: Float64Array;
  /** [L * F] norm of each neuron's column of the FFN-down projection */
  neurons: Float64Array;
}

/**
 * Writes all tensors of a checkpoint to the one file `output`, heads and neurons in their new order.
 * @throws ELASTICLM_STRUCTURE_INVALID, ELASTICLM_FILE_UNWRITABLE, and what loading a checkpoint throws
 */
export async function writePermutedCheckpoint(
  source: CheckpointSource,
  permutation: Permutation,
  output: string,
): Promise<void> {
  const site = captureCallSite();
  const addon = loadAddon();
  await runCall(() => addon.writePermutedCheckpoint(source.config, source.files, permutation, output), site);
}

/** @throws what loading a checkpoint throws */
export async function outgoingNorms(source: CheckpointSource): Promise<OutgoingNorms> {
  const site = captureCallSite();
  const { numLayers, numHeads, intermediateSize } = source.config;
  const heads = new Float64Array(numLayers * numHeads);
  const neurons = new Float64Array(numLayers * intermediateSize);
  const addon = loadAddon();
  await runCall(() => addon.outgoingNorms(source.config, source.files, heads, neurons), site);
  return { heads, neurons };
}
