/** How long batches really take in a simulation, which the policy's cost model need not know. */
import { describeValue, ElasticError } from '../../errors.js';
import { CostModel, type CostCoefficients } from '../cost-model.js';
import type { Assignment } from '../types.js';
import { RandomStream } from './random-stream.js';

export interface ServiceTruth {
  /** default: those of the policy's cost model */
  coefficients?: CostCoefficients | undefined;
  /** every batch takes a lognormal factor of its own, of mean 1 and this deviation of its logarithm; default 0 */
  noiseSigma?: number | undefined;
  /** default 0 */
  noiseSeed?: number | undefined;
  /** a noisy neighbour: batches that begin within take `factor` times as long */
  slowPeriods?: readonly SlowPeriod[] | undefined;
}

export interface SlowPeriod {
  beginMs: number;
  endMs: number;
  factor: number;
}

export class ServiceTimes {
  readonly #nominal: CostModel;
  readonly #noiseSigma: number;
  readonly #random: RandomStream;
  readonly #slowPeriods: readonly SlowPeriod[];

  /** @throws ELASTICLM_ARGUMENT_INVALID */
  constructor(truth: ServiceTruth, believed: CostCoefficients) {
    const { coefficients = believed, noiseSigma = 0, noiseSeed = 0, slowPeriods = [] } = truth;
    if (!(noiseSigma >= 0 && noiseSigma < Infinity)) {
      throw invalid('noiseSigma', 'a number of at least 0', noiseSigma);
    }
    for (const period of slowPeriods) {
      if (period.factor > 0 && period.factor < Infinity && period.beginMs < period.endMs) continue;
      throw invalid('slowPeriods', 'periods that end after they begin, with factors above 0', period);
    }
    if (coefficients.levels.length !== believed.levels.length) {
      throw invalid('coefficients', `${believed.levels.length} levels`, coefficients.levels.length);
    }
    this.#nominal = new CostModel(coefficients);
    this.#noiseSigma = noiseSigma;
    this.#random = new RandomStream(noiseSeed);
    this.#slowPeriods = slowPeriods;
  }

  /** Of a batch that begins at `nowMs`: another draw for each call. */
  batchMs(members: readonly Assignment[], nowMs: number): number {
    return this.#nominal.nominalBatchMs(members) * this.#noise() * this.#slowness(nowMs);
  }

  #noise(): number {
    const sigma = this.#noiseSigma;
    // Half of sigma squared less, so that the mean is 1 and not the median: noise by itself is no more load.
    return sigma === 0 ? 1 : Math.exp(sigma * this.#random.normal() - (sigma * sigma) / 2);
  }

  #slowness(nowMs: number): number {
    let factor = 1;
    for (const period of this.#slowPeriods) {
      if (nowMs >= period.beginMs && nowMs < period.endMs) factor *= period.factor;
    }
    return factor;
  }
}

function invalid(subject: string, expected: string, received: unknown): ElasticError {
  return ElasticError.of('ELASTICLM_ARGUMENT_INVALID', {
    expected,
    subject: `the truth's ${subject}`,
    received: describeValue(received),
  });
}
