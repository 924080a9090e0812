import {
  forwardFlops,
  packBatch,
  type EncoderConfig,
  type Level,
  type PackedBatch,
} from '../../lib/index.js';

/** 32 sequences of 8 to 128 tokens. */
export const raggedLengths: readonly number[] = Array.from({ length: 32 }, (_, i) =>
  Math.round(8 + (i * 120) / 31),
);

const uniform = (count: number, length: number): readonly number[] => new Array<number>(count).fill(length);

export const shapes = {
  '1x16': uniform(1, 16),
  '1x32': uniform(1, 32),
  '1x64': uniform(1, 64),
  '1x128': uniform(1, 128),
  '8x128': uniform(8, 128),
  ragged32: raggedLengths,
} as const satisfies Record<string, readonly number[]>;

export type ShapeName = keyof typeof shapes;
export const shapeNames = Object.keys(shapes) as ShapeName[];

/** BERT's [CLS] and [SEP], which runtimes that take tokens expect around a text. */
const clsId = 101;
const sepId = 102;
const firstWordId = 1000;

/** Sequences of ordinary tokens; which ones does not matter to the time. */
export function makeBatch(lengths: readonly number[], vocabSize: number): PackedBatch {
  return packBatch(
    lengths.map((length, s) => {
      const inputIds = Int32Array.from(
        { length },
        (_, i) => firstWordId + ((1009 * (s + 1) + 7919 * i) % (vocabSize - firstWordId)),
      );
      inputIds[0] = clsId;
      inputIds[length - 1] = sepId;
      return { inputIds, tokenTypeIds: new Int32Array(length) };
    }),
  );
}

/** The lengths in batches of `size` after sorting: what a runtime that pads is best given. */
export function sortedBatches(lengths: readonly number[], size: number): number[][] {
  const sorted = [...lengths].sort((a, b) => a - b);
  return Array.from({ length: Math.ceil(sorted.length / size) }, (_, i) =>
    sorted.slice(i * size, (i + 1) * size),
  );
}

/** Flops of a forward of such sequences, attention included, padding not. */
export function batchFlops(config: EncoderConfig, level: Level, lengths: readonly number[]): number {
  return lengths.reduce((sum, length) => sum + forwardFlops(config, level, length), 0);
}
