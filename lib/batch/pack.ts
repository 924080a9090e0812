import type { Encoding, PackedBatch } from '../types.js';

/** Lays encodings end to end, in their order. Axes: B sequences, T packed tokens. */
export function packBatch(encodings: readonly Encoding[]): PackedBatch {
  const cuSeqlens = new Int32Array(encodings.length + 1);
  let totalTokens = 0;
  for (const [sequence, encoding] of encodings.entries()) {
    totalTokens += encoding.inputIds.length;
    cuSeqlens[sequence + 1] = totalTokens;
  }
  const inputIds = new Int32Array(totalTokens);
  const tokenTypeIds = new Int32Array(totalTokens);
  let begin = 0;
  for (const encoding of encodings) {
    inputIds.set(encoding.inputIds, begin);
    tokenTypeIds.set(encoding.tokenTypeIds, begin);
    begin += encoding.inputIds.length;
  }
  return { inputIds, tokenTypeIds, cuSeqlens };
}
