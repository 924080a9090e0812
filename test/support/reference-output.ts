import type { ForwardOptions } from '../../lib/model/index.js';
import type { PackedBatch } from '../../lib/types.js';
import { sequenceOf } from './batches.js';
import { range, type KeptParts, type ReferenceEncoder } from './reference-encoder.js';

/** What the reference gives for each sequence of a batch, end to end. */
export function referenceOutput(
  reference: ReferenceEncoder,
  batch: PackedBatch,
  options: ForwardOptions,
  kept: (sequence: number) => KeptParts = () => reference.everything(),
): number[] {
  return range(batch.cuSeqlens.length - 1).flatMap((sequence) => {
    const parts = kept(sequence);
    const hidden = reference.hidden(sequenceOf(batch, sequence), parts);
    switch (options.output) {
      case 'hidden':
        return [...hidden];
      case 'pooled':
        return [
          ...reference.pool(hidden, options.pooling ?? 'mean', options.normalize ?? false, parts.adapter),
        ];
      case 'pooler':
        return [...reference.pooler(hidden)];
      case 'logits':
        return [...reference.logits(hidden)];
    }
  });
}
