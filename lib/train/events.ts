/** What a run tells about itself: to its caller as it happens, and line by line to its log. */
import type { TrainPrecision } from '../binding/index.js';
import type { Metrics } from './options.js';
import type { LossName } from './types.js';

/** A run begins, or goes on. */
export interface StartEvent {
  type: 'start';
  /** updates done before; 0 for a new run */
  step: number;
  /** updates of the whole run */
  steps: number;
  /** trained, falling */
  levels: number[];
  isa: string;
  precision: TrainPrecision;
  threads: number;
  /** memory of parameters, gradients, moments and packed weights */
  bytes: number;
}

/** Losses of one level: each term of the objective times its weight, and their sum. */
export type StepLosses = { total: number } & Partial<Record<LossName, number>>;

/** One update is done. */
export interface StepEvent {
  type: 'step';
  /** updates done, from 1 */
  step: number;
  epoch: number;
  /** by level as JSON prints it; means over the step's micro-batches. Levels that did not take part are absent. */
  losses: Record<string, StepLosses>;
  /** global, before clipping */
  gradientNorm: number;
  learningRate: number;
  /** of the step's micro-batches; a token counts once, however many levels see it */
  tokens: number;
  tokensPerSecond: number;
  /** until the last update, evaluations not counted */
  secondsLeft: number;
}

export interface EvaluationEvent {
  type: 'evaluation';
  step: number;
  metrics: Metrics;
  /** whether these are the best weights so far; true where no metric was chosen to decide */
  isBest: boolean;
}

/** The state is on disk. */
export interface CheckpointEvent {
  type: 'checkpoint';
  step: number;
}

export type TrainEvent = StartEvent | StepEvent | EvaluationEvent | CheckpointEvent;
