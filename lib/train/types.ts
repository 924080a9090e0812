/** Records that the parts of training share. Axes: B sequences, T packed tokens. */
import type { TrainBatch } from '../types.js';

export type { LossName, Objective, TrainBatch } from '../types.js';

/**
 * Examples to train on. `batch` is a pure function of its arguments, so that a resumed run sees what the uninterrupted one saw;
 * it holds the event loop for no more than a few milliseconds at a time.
 */
export interface TrainData {
  /** number of examples (for contrastive: pairs; for ranking: lists) */
  readonly size: number;
  /** the examples at these positions as one micro-batch. `seed` differs at every micro-batch: for masks and negatives */
  batch(positions: readonly number[], seed: number): Promise<TrainBatch>;
  /** tokens of the example at a position, at most: micro-batches are filled up to a number of tokens */
  length(position: number): number;
}

/** Data that can be told from other data: a resumed run refuses to go on with another fingerprint. */
export interface DescribedData extends TrainData {
  /** of everything that decides what the batches hold */
  fingerprint(): Promise<string>;
}

/** Where a run stands in its data: all that a resumed run needs beside the weights. */
export interface DataPosition {
  epoch: number;
  /** examples of the epoch's order that are done */
  cursor: number;
}
