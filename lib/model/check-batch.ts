/** The rules of a packed batch that can be checked in O(B). Ids are checked natively, away from the event loop. */
import { describeValue, ElasticError } from '../errors.js';
import type { EncoderConfig, PackedBatch } from '../types.js';

/** @throws ELASTICLM_BATCH_INVALID naming the field and the first offending position */
export function checkBatch(batch: PackedBatch, config: EncoderConfig): void {
  const given: unknown = batch;
  if (typeof given !== 'object' || given === null) fail('batch', 'a packed batch', describeValue(given));
  for (const field of ['inputIds', 'tokenTypeIds', 'cuSeqlens'] as const) {
    const array: unknown = batch[field];
    if (!(array instanceof Int32Array)) fail(`batch.${field}`, 'an Int32Array', describeValue(array));
  }
  const { inputIds, tokenTypeIds, cuSeqlens } = batch;
  if (tokenTypeIds.length !== inputIds.length) {
    fail('batch.tokenTypeIds', `${inputIds.length} entries, as in inputIds`, `${tokenTypeIds.length}`);
  }
  if (cuSeqlens[0] !== 0) {
    fail('batch.cuSeqlens[0]', '0, the first of B + 1 offsets', String(cuSeqlens[0] ?? 'an empty array'));
  }
  for (let sequence = 0; sequence + 1 < cuSeqlens.length; ++sequence) {
    const begin = cuSeqlens[sequence] ?? 0;
    const end = cuSeqlens[sequence + 1] ?? 0;
    if (end <= begin || end - begin > config.maxPositionEmbeddings) {
      const rule = `an offset 1 to ${config.maxPositionEmbeddings} tokens after ${begin}`;
      fail(`batch.cuSeqlens[${sequence + 1}]`, rule, String(end));
    }
  }
  const last = cuSeqlens[cuSeqlens.length - 1];
  if (last !== inputIds.length) {
    fail(
      `batch.cuSeqlens[${cuSeqlens.length - 1}]`,
      `${inputIds.length}, the length of inputIds`,
      String(last),
    );
  }
}

function fail(subject: string, expected: string, received: string): never {
  throw ElasticError.of('ELASTICLM_BATCH_INVALID', { expected, subject, received });
}
