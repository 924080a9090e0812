/** How long requests are. */
import { describeValue, ElasticError } from '../../errors.js';
import type { Work } from '../types.js';
import type { RandomStream } from './random-stream.js';

/** Tokens of one request, of one sequence. */
export type RequestSizes =
  | { kind: 'fixed'; tokens: number }
  /** each as likely as any other */
  | { kind: 'list'; tokens: readonly number[] }
  /** rounded, and clipped to 1 … 512 */
  | { kind: 'lognormal'; medianTokens: number; sigma: number };

/** Encoders of the BERT family have so many positions. */
export const mostTokens = 512;

/** One sequence's work. Shared, since there are few sizes and many requests. */
export function sequenceWork(tokens: number): Work {
  return (works[tokens] ??= Object.freeze({ sequences: 1, tokens, tokenSquares: tokens * tokens }));
}

/** by tokens */
const works: Work[] = [];

export function drawTokens(sizes: RequestSizes, random: RandomStream): number {
  switch (sizes.kind) {
    case 'fixed':
      return sizes.tokens;
    case 'list':
      return sizes.tokens[Math.floor(random.uniform() * sizes.tokens.length)]!;
    case 'lognormal':
      return lognormalTokens(sizes, random.normal());
  }
}

function lognormalTokens({ medianTokens, sigma }: LognormalSizes, normal: number): number {
  const tokens = Math.round(medianTokens * Math.exp(sigma * normal));
  return Math.min(mostTokens, Math.max(1, tokens));
}

type LognormalSizes = Extract<RequestSizes, { kind: 'lognormal' }>;

/** The mean of `of` over the sizes that are drawn. */
export function meanOverSizes(sizes: RequestSizes, of: (work: Work) => number): number {
  switch (sizes.kind) {
    case 'fixed':
      return of(sequenceWork(sizes.tokens));
    case 'list':
      return sizes.tokens.reduce((sum, tokens) => sum + of(sequenceWork(tokens)), 0) / sizes.tokens.length;
    case 'lognormal':
      return meanOverNormal((normal) => of(sequenceWork(lognormalTokens(sizes, normal))));
  }
}

/** Beyond 8 deviations lies less than 1e-14 of a normal variable; 100 points to each leave the steps of rounding below 1e-3. */
const integral = { most: 8, step: 0.01 };

/** By the trapezoidal rule, over its own sum of weights. */
function meanOverNormal(of: (normal: number) => number): number {
  let sum = 0;
  let weights = 0;
  for (let normal = -integral.most; normal <= integral.most; normal += integral.step) {
    const weight = Math.exp(-(normal * normal) / 2);
    weights += weight;
    sum += weight * of(normal);
  }
  return sum / weights;
}

/** @throws ELASTICLM_ARGUMENT_INVALID */
export function checkSizes(sizes: RequestSizes): void {
  if (sizes.kind === 'lognormal') {
    const { medianTokens, sigma } = sizes;
    if (medianTokens > 0 && medianTokens <= mostTokens && sigma >= 0 && sigma < Infinity) return;
    const received = `median ${medianTokens}, sigma ${sigma}`;
    throw invalid(`a median above 0 and up to ${mostTokens}, and a sigma of at least 0`, received);
  }
  const all = sizes.kind === 'fixed' ? [sizes.tokens] : sizes.tokens;
  if (all.length === 0) throw invalid('at least one size', 'none');
  for (const tokens of all) {
    if (Number.isInteger(tokens) && tokens >= 1 && tokens <= mostTokens) continue;
    throw invalid(`whole numbers of tokens from 1 to ${mostTokens}`, describeValue(tokens));
  }
}

function invalid(expected: string, received: string): ElasticError {
  return ElasticError.of('ELASTICLM_ARGUMENT_INVALID', { expected, subject: 'request sizes', received });
}
