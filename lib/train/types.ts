/** Records that the parts of training share. Axes: B sequences, T packed tokens. */
import type { PackedBatch, Pooling } from '../types.js';

/** Weights and settings of the losses; `native/train/objective.h` says what each is. A term that is absent has weight 0. */
export interface Objective {
  /** default 'mean' */
  pooling?: Pooling;
  embedding?: {
    cosineWeight?: number;
    mseWeight?: number;
    similarityWeight?: number;
    /** default 0.05 */
    temperature?: number;
  };
  contrastive?: { weight: number; temperature?: number };
  classification?: { weight: number };
  regression?: { weight: number };
  logits?: { weight: number; temperature?: number };
  ranking?: { labelWeight?: number; teacherWeight?: number; temperature?: number };
  hidden?: { weight: number };
  relation?: { weight: number; numRelationHeads?: number };
  mlm?: { weight: number };
}

/** One loss's name, as logs and results call it. */
export type LossName = Exclude<keyof Objective, 'pooling'>;

/** One micro-batch with what its losses compare against. */
export interface TrainBatch {
  batch: PackedBatch;
  /** [B] classes, for classification */
  labels?: Int32Array;
  /** [B] numbers, for regression */
  targets?: Float32Array;
  /** [lists + 1] and [B], for ranking */
  cuLists?: Int32Array;
  relevance?: Float32Array;
  /** for contrastive: the first sequences are queries, sequence numQueries + i answers query i, the rest are hard negatives */
  numQueries?: number;
  /** [T] vocabulary ids to predict, -1 elsewhere, for mlm */
  mlmLabels?: Int32Array;
}

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

/** Where a run stands in its data: all that a resumed run needs beside the weights. */
export interface DataPosition {
  epoch: number;
  /** examples of the epoch's order that are done */
  cursor: number;
}
