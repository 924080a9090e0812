/** What changes from step to step: the learning rate and the levels that take part. */
import { mixBits, shuffle } from './random.js';

export interface LearningRateSchedule {
  /** the peak */
  learningRate: number;
  warmupSteps: number;
  /** of the whole run */
  steps: number;
}

/**
 * The learning rate of update `step` (from 0): rises linearly over the warm-up, reaches its peak with the last of it, and falls
 * linearly to 0, which it would reach one update after the last.
 */
export function learningRateAt(
  step: number,
  { learningRate, warmupSteps, steps }: LearningRateSchedule,
): number {
  if (step < warmupSteps) return (learningRate * (step + 1)) / warmupSteps;
  return (learningRate * (steps - step)) / (steps - warmupSteps);
}

/** 'all': every level at every step, as in the paper; sandwich: the largest, the smallest and so many random ones between them */
export type LevelSampling = 'all' | { sandwich: number };

/** Positions, rising, in a list of `numLevels` levels of those that take part in a step. */
export function sampleLevels(
  sampling: LevelSampling,
  numLevels: number,
  seed: number,
  step: number,
): number[] {
  const all = Array.from({ length: numLevels }, (_, position) => position);
  if (sampling === 'all' || numLevels <= sampling.sandwich + 2) return all;
  const between = shuffle(all.slice(1, -1), mixBits(seed, step)).slice(0, sampling.sandwich);
  return [0, ...between, numLevels - 1].sort((a, b) => a - b);
}

/** The weights of some levels, divided by their sum: with equal ones 1 / K each, as in the paper. */
export function shareWeights(positions: readonly number[], weights: readonly number[]): number[] {
  const total = positions.reduce((sum, position) => sum + weights[position]!, 0);
  return positions.map((position) => weights[position]! / total);
}
