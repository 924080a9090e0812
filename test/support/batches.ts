import type { EncoderConfig, PackedBatch } from '../../lib/types.js';
import type { Random } from './random.js';

/** Sequences of the given lengths with random ids, packed end to end. */
export function randomBatch(config: EncoderConfig, lengths: readonly number[], random: Random): PackedBatch {
  const cuSeqlens = new Int32Array(lengths.length + 1);
  lengths.forEach((length, sequence) => {
    cuSeqlens[sequence + 1] = (cuSeqlens[sequence] ?? 0) + length;
  });
  const totalTokens = cuSeqlens.at(-1) ?? 0;
  const ids = (bound: number): Int32Array =>
    Int32Array.from({ length: totalTokens }, () => random.integer(0, bound - 1));
  return { inputIds: ids(config.vocabSize), tokenTypeIds: ids(config.typeVocabSize), cuSeqlens };
}

/** The tokens of one sequence of a batch. */
export function sequenceOf(
  batch: PackedBatch,
  sequence: number,
): { inputIds: Int32Array; tokenTypeIds: Int32Array } {
  const begin = batch.cuSeqlens[sequence] ?? 0;
  const end = batch.cuSeqlens[sequence + 1] ?? 0;
  return {
    inputIds: batch.inputIds.slice(begin, end),
    tokenTypeIds: batch.tokenTypeIds.slice(begin, end),
  };
}
