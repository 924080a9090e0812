/** The bars that the project has set itself on the CPU, on one thread and on two. */
import type { BenchPrecision } from './options.js';
import type { ShapeName } from './shapes.js';

type PerPrecision = Record<BenchPrecision, number>;

/** A peer's time over ours, level 1: f32 and bf16 beside onnxruntime in f32, int8 beside its dynamic int8. */
export const miniLmSpeedups: Record<ShapeName, PerPrecision> = {
  '1x16': { f32: 2.0, bf16: 4.2, i8: 1.8 },
  '1x32': { f32: 1.6, bf16: 3.1, i8: 2.2 },
  '1x64': { f32: 1.35, bf16: 2.6, i8: 2.0 },
  '1x128': { f32: 1.22, bf16: 2.3, i8: 1.8 },
  '8x128': { f32: 1.2, bf16: 2.2, i8: 1.7 },
  // against the whole batch, padded
  ragged32: { f32: 2.5, bf16: 5, i8: 3.7 },
};
/** The ragged batch against onnxruntime's length-sorted batches of 8. */
export const sortedSpeedup: PerPrecision = { f32: 1.3, bf16: 2.6, i8: 2.1 };

/** The BERT-base shape, at each of its shapes. */
export const bertBaseSpeedup: PerPrecision = { f32: 1.2, bf16: 2.2, i8: 1.3 };

/**
 * Share of one core's peak that a whole forward reaches. On one thread: what two threads lose has bars of its own, which
 * allow less than these at 1x32.
 */
export const sharesOfPeak: PerPrecision = { f32: 0.8, bf16: 0.76, i8: 0.66 };
export const shareShapes: readonly ShapeName[] = ['1x32', '1x64', '1x128', '8x128'];
export const avx2ShareOfPeak = { shape: '8x128', atLeast: 0.75 } as const;

/** A level's time over level 1's may exceed its computeFraction by this. */
export const levelMargins: PerPrecision = { f32: 0.03, bf16: 0.03, i8: 0.05 };
export const levelShapes: readonly ShapeName[] = ['1x32', '8x128'];

/** A mixed ragged batch over what its sequences cost in same-level batches. */
export const mixedOverSeparate = 1.06;
/** One forward per level over one mixed batch of a short sequence per level. */
export const shortMixedSpeedup = 1.3;

/** One thread's time over that of two. */
export const twoThreadSpeedups: Partial<Record<ShapeName, number>> = { '1x32': 1.6, '8x128': 1.85 };
/** With another process busy on one core: two threads' time over one thread's undisturbed. */
export const busyOverOneThread = 1.3;
/** Two forwards at once over the same two in one batch. */
export const concurrentOverBatch = 1.1;

/** Indexing end to end: our tokens per second over onnxruntime's in f32 with length-sorted batches of 16. */
export const indexingSpeedups: PerPrecision = { f32: 1.6, bf16: 2.8, i8: 4.5 };
