/** The rules of a packed batch that can be checked in O(B). Ids are checked natively, away from the event loop. */
import { unshared } from '../binding/index.js';
import { describeValue, ElasticError } from '../errors.js';
import type { EncoderConfig, PackedBatch } from '../types.js';

/**
 * The batch in memory that no other thread can change, checked there.
 * @throws ELASTICLM_BATCH_INVALID naming the field and the first offending position
 */
export function checkBatch(batch: PackedBatch, config: EncoderConfig): PackedBatch {
  const given: unknown = batch;
  if (typeof given !== 'object' || given === null) fail('batch', 'a packed batch', describeValue(given));
  const inputIds = ownArray(batch, 'inputIds');
  const tokenTypeIds = ownArray(batch, 'tokenTypeIds');
  const cuSeqlens = ownArray(batch, 'cuSeqlens');
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
  return { inputIds, tokenTypeIds, cuSeqlens };
}

function ownArray(batch: PackedBatch, field: keyof PackedBatch): Int32Array {
  const array: unknown = batch[field];
  if (!(array instanceof Int32Array)) fail(`batch.${field}`, 'an Int32Array', describeValue(array));
  return unshared(array);
}

function fail(subject: string, expected: string, received: string): never {
  throw ElasticError.of('ELASTICLM_BATCH_INVALID', { expected, subject, received });
}
