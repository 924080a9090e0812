/** How long batches take: coefficients measured once, and one factor that follows what batches really take. */
import { describeValue, ElasticError } from '../errors.js';
import type { Assignment, Work } from './types.js';

/** A level's part of the service time, for each sequence, token, and squared number of tokens of a sequence. */
export interface LevelCost {
  perSequenceMs: number;
  perTokenMs: number;
  perTokenSquareMs: number;
}

/** Service time of a batch = batchMs + the sum over its members of what their level costs. */
export interface CostCoefficients {
  batchMs: number;
  /** by levelIdx */
  levels: readonly LevelCost[];
}

export interface CostModelOptions {
  /** which quantile of real over nominal time `slowdown` follows, in (0, 1); default 0.9: one batch of ten may take longer */
  quantile?: number | undefined;
}

const defaultQuantile = 0.9;
/**
 * How fast the factor follows, relative to itself, for one batch. A machine that is twice as slow is known after about 15
 * batches; at rest the factor wanders by about 2%.
 */
const step = 0.05;
/** Beyond these a measurement says more about a paused process than about the machine. */
const bounds = { least: 0.25, most: 64 };

export class CostModel {
  readonly coefficients: CostCoefficients;
  readonly #quantile: number;
  #slowdown = 1;

  /** @throws ELASTICLM_ARGUMENT_INVALID */
  constructor(coefficients: CostCoefficients, options: CostModelOptions = {}) {
    checkCoefficients(coefficients);
    const { quantile = defaultQuantile } = options;
    if (!(quantile > 0 && quantile < 1)) throw invalid('quantile', 'a number between 0 and 1', quantile);
    this.coefficients = coefficients;
    this.#quantile = quantile;
  }

  /** What batches really take over their nominal time: a quantile of the recent ones, so mostly an upper bound. */
  get slowdown(): number {
    return this.#slowdown;
  }

  /** A request's part of a batch at a level, in nominal ms: without batchMs, without slowdown. */
  nominalMs(levelIdx: number, work: Work): number {
    const cost = this.coefficients.levels[levelIdx]!;
    return (
      cost.perSequenceMs * work.sequences +
      cost.perTokenMs * work.tokens +
      cost.perTokenSquareMs * work.tokenSquares
    );
  }

  /** A whole batch, in nominal ms. */
  nominalBatchMs(members: readonly Assignment[]): number {
    let sum = this.coefficients.batchMs;
    for (const { request, levelIdx } of members) sum += this.nominalMs(levelIdx, request.work);
    return sum;
  }

  /**
   * Follows one batch. The factor rises by step * quantile when the batch took longer than it says, and falls by
   * step * (1 - quantile) otherwise, so that it rests where the quantile of the batches lies below it (a stochastic
   * approximation of the quantile: Robbins and Monro, 1951).
   */
  observe(members: readonly Assignment[], serviceMs: number): void {
    const ratio = serviceMs / this.nominalBatchMs(members);
    if (!(ratio > 0)) return;
    const change = ratio > this.#slowdown ? step * this.#quantile : -step * (1 - this.#quantile);
    const next = this.#slowdown * (1 + change);
    this.#slowdown = Math.min(bounds.most, Math.max(bounds.least, next));
  }
}

function checkCoefficients({ batchMs, levels }: CostCoefficients): void {
  if (!isCost(batchMs)) throw invalid('batchMs', 'milliseconds of at least 0', batchMs);
  if (levels.length === 0) throw invalid('levels', 'at least one level', levels);
  for (const [idx, { perSequenceMs, perTokenMs, perTokenSquareMs }] of levels.entries()) {
    const parts = [perSequenceMs, perTokenMs, perTokenSquareMs];
    if (parts.every(isCost) && parts.some((part) => part > 0)) continue;
    throw invalid(`levels[${idx}]`, 'milliseconds of at least 0, one of them above 0', parts.join(', '));
  }
}

function isCost(value: number): boolean {
  return Number.isFinite(value) && value >= 0;
}

function invalid(subject: string, expected: string, received: unknown): ElasticError {
  return ElasticError.of('ELASTICLM_ARGUMENT_INVALID', {
    expected,
    subject: `the cost model's ${subject}`,
    received: describeValue(received),
  });
}
