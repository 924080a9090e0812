import { describeValue, ElasticError } from '../errors.js';

/** What every reader of training data takes. */
export interface DataOptions {
  /** tokens of a sequence, special ones included; longer ones are cut */
  maxLength: number;
  /** of random choices; default 1 */
  seed?: number | undefined;
  signal?: AbortSignal | undefined;
}

export interface CheckedDataOptions {
  maxLength: number;
  seed: number;
  signal: AbortSignal | undefined;
}

/** @throws ELASTICLM_ARGUMENT_INVALID */
export function checkDataOptions({ maxLength, seed = 1, signal }: DataOptions): CheckedDataOptions {
  checkCount('maxLength', maxLength, 1);
  checkCount('seed', seed, 0);
  return { maxLength, seed, signal };
}

/** @throws ELASTICLM_ARGUMENT_INVALID */
export function checkCount(name: string, value: number, least: number): void {
  if (Number.isSafeInteger(value) && value >= least) return;
  throw invalidOption(name, `a whole number of at least ${least}`, value);
}

export function invalidOption(name: string, expected: string, received: unknown): ElasticError {
  return ElasticError.of('ELASTICLM_ARGUMENT_INVALID', {
    expected,
    subject: `options.${name}`,
    received: describeValue(received),
  });
}
